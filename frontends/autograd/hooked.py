"""Hooks inside a compiled function that see gradients from outside: they become part of its backward program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adjit.autograd import traced
from adjit.autograd.tape import TraceNode, Watch
from adjit.compiler.differentiate import Derivative, close
from adjit.compiler.pullback import pull_back
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.graph import Value, from_outputs
from adjit.ir.printer import value_names
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.trace import Tracer

if TYPE_CHECKING:
    from adjit.trace_parts import Cell


class _Sweep(Tracer):
    """The trace of a backward pass over another trace, whose values it uses freely."""

    def __init__(self, forward: Tracer) -> None:
        super().__init__(f"{forward.graph.name}.vjp", forward.hints)
        self.forward = forward
        self.guards = forward.guards
        self.cells = forward.cells
        self.arguments, self.proxies, self.coinciding = forward.arguments, forward.proxies, forward.coinciding
        self._depends = forward._depends

    def cell_of(self, tensor: Tensor) -> Cell:
        """The memory of a tensor; one from outside becomes an input of the forward program, which hands it on."""
        return self.cells.get(tensor._memory) or self.forward.cell_of(tensor)


def derivative_with_hooks(tracer: Tracer, arguments: Sequence[Tensor], seeds: Sequence[int]) -> Derivative | None:
    """The derivative of a traced program in which the hooks of its values and nodes run; None where there are none.

    `arguments` are the call's tensors, `seeds` the outputs that gradients may come from.
    """
    graph = tracer.graph
    leaves = list(tracer.leaves)
    roots = [graph.outputs[index] for index in seeds]
    nodes = from_outputs("", [*graph.inputs, *leaves], roots).nodes
    if not any(_is_hooked(node.attached, node.outputs) for node in nodes) and not _is_hooked(None, graph.inputs):
        return None
    sweep = _Sweep(tracer)
    names = value_names(graph)
    wanted = [index for index, source in enumerate(tracer.sources) if _needs(source, arguments)]
    recording, outer, tracing = STATE.recording, STATE.sweep, STATE.tracer
    STATE.recording, STATE.sweep = False, traced.Sweep(tracer, nodes, roots, leaves)
    try:
        with sweep:
            cotangents = [sweep.builder.input(root.type, f"g{place}") for place, root in enumerate(roots)]
            found = pull_back(
                sweep.builder,
                nodes,
                roots,
                sweep.builder.exprs(cotangents),
                [graph.inputs[index] for index in wanted],
                names,
                lambda value, cotangent: traced.observe(sweep, value, cotangent, False),
                lambda node, arriving, found: traced.observe_node(sweep, node, arriving, found, False),
                lambda node, arriving, active: traced.before_node(sweep, node, arriving, active, False),
            )
    finally:
        STATE.recording, STATE.sweep, STATE.tracer = recording, outer, tracing
    backward = sweep.graph
    backward.guards, backward.approximate = graph.guards, graph.approximate
    backward.outputs = tuple(c.value for c in found if c is not None)
    backward = eliminate_dead(backward)
    residuals = close(graph, backward, names)
    reached = tuple(index for index, c in zip(wanted, found, strict=True) if c is not None)
    forward = graph.with_parts(graph.inputs, graph.nodes, (*graph.outputs, *residuals))
    return Derivative(forward, backward, residuals, tuple(seeds), reached)


def _is_hooked(attached: object, values: Sequence[Value]) -> bool:
    if isinstance(attached, TraceNode) and attached.hooks:
        return True
    return any(isinstance(value.attached, Watch) and bool(value.attached.hooks) for value in values)


def _needs(source: object, arguments: Sequence[Tensor]) -> bool:
    from adjit.trace_parts import Source

    assert isinstance(source, Source)
    if source.kind == "argument":
        return arguments[source.index].requires_grad
    return source.kind == "tensor" and source.tensor is not None and source.tensor.requires_grad
