"""A user's function inside a trace: its forward stands in the program, its backward becomes the rule of a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adjit.autograd.function import Function, FunctionCtx, backward_of
from adjit.autograd.rules import validated
from adjit.inner_trace import InnerTracer
from adjit.ir.errors import TraceError
from adjit.ir.graph import Graph, Value
from adjit.ir.primitive import primitive_named
from adjit.state import STATE, user_location
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.trace import Tracer


def record_traced(
    tracer: Tracer, cls: type[Function], ctx: FunctionCtx, args: Sequence[Any], outputs: Sequence[Any]
) -> tuple[Any, ...]:
    """The results with the user's gradients: `call {vjp=...}` on the arguments, the results and what backward reads."""
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    open_results = [
        item
        for item in outputs
        if isinstance(item, Tensor) and item._dtype.is_continuous and not any(item is fixed for fixed in ctx._fixed)
    ]
    operands = [tracer.operand(tensor, True) for tensor in tensors]
    for tensor in ctx._dirty:  # its value before it was written is what the gradient goes to
        operands = [tracer.gradient_value(t) if t is tensor else o for t, o in zip(tensors, operands, strict=True)]
    results = [tracer.value_of(tensor) for tensor in open_results]
    rule = _BackwardTrace(tracer, cls, ctx, args, outputs, open_results, operands, results)
    graph, wrt, captured = rule.run()
    inputs = [*operands, *results, *captured]
    if not wrt:  # the user's backward gives nothing back
        made = tuple(tracer.emit(primitive_named("detach"), [value], {})[0] for value in results)
    else:
        places = [Value(value.type) for value in inputs]
        shown = places[len(operands) : len(operands) + len(results)]
        callee = Graph(cls.__name__, places, (), shown)
        tracer.builder.location = user_location()
        made = tracer.emit(primitive_named("call"), inputs, {"callee": callee, "vjp": graph, "wrt": tuple(wrt)})
    found = []
    new = {id(tensor): value for tensor, value in zip(open_results, made, strict=True)}
    for item in outputs:
        value = new.get(id(item))
        if value is None:
            found.append(item)
            continue
        tracer.note_values([value])
        result = tracer.wrap(value, requires_grad=True, name=f"{cls.__name__}Backward")
        found.append(tracer.write(item, result) if any(item is tensor for tensor in ctx._dirty) else result)
    return tuple(found)


class _BackwardTrace:
    """One trace of a user's backward, with its own inputs for what it is given and what it reads."""

    def __init__(
        self,
        tracer: Tracer,
        cls: type[Function],
        ctx: FunctionCtx,
        args: Sequence[Any],
        outputs: Sequence[Any],
        open_results: Sequence[Tensor],
        operands: Sequence[Value],
        results: Sequence[Value],
    ) -> None:
        self.outer = tracer
        self.cls = cls
        self.ctx = ctx
        self.args = args
        self.outputs = outputs
        self.open_results = open_results
        self.operands = operands
        self.results = results
        self.inner = InnerTracer(f"{cls.__name__}.vjp")

    def run(self) -> tuple[Graph, list[int], list[Value]]:
        """The graph of the backward, the operands that it gives gradients to, and what else it reads."""
        inner = self.inner
        recording, STATE.recording = STATE.recording, False
        try:
            with inner:
                cotangents = [inner.argument(v.type, f"g{i}", i) for i, v in enumerate(self.results)]
                mine = [inner.argument(value.type, f"x{i}", i) for i, value in enumerate(self.operands)]
                shown = [inner.argument(value.type, f"y{i}", i) for i, value in enumerate(self.results)]
                heads = [inner.value_of(tensor) for tensor in (*cotangents, *mine, *shown)]
                self._save(mine, shown)
                returned = backward_of(self.cls)(self.ctx, *self._gradients(cotangents))
                types = [arg._tensor_type if isinstance(arg, Tensor) else None for arg in self.args]
                found = validated(self.cls.__name__, returned, types)
                given = [g for g, type in zip(found, types, strict=True) if type is not None]
                needs = [n for n, type in zip(self.ctx.needs_input_grad, types, strict=True) if type is not None]
                wrt = [i for i, (g, need) in enumerate(zip(given, needs, strict=True)) if need and g is not None]
                values = [inner.value_of(g) for i, g in enumerate(given) if i in wrt and g is not None]
        finally:
            STATE.recording = recording
        if inner.writes():
            raise TraceError(
                f"the backward of {self.cls.__name__} writes to a tensor that it did not make\n"
                "  hint: clone() the tensor before the in-place operation"
            )
        graph = inner.graph
        extra = graph.inputs[len(heads) :]
        first, last = heads[: -len(shown)], heads[-len(shown) :]
        unread = [Value(value.type) for value in self.results]  # the forward's results stand among the operands too
        graph.inputs = (*first, *unread, *extra, *last)
        graph.outputs = tuple(values)
        return graph, wrt, [self.outer.operand(tensor, True) for tensor in inner.closure]

    def _gradients(self, cotangents: Sequence[Tensor]) -> list[Tensor | None]:
        """What the user's backward is given: one for each result."""
        by_result = {id(t): c for t, c in zip(self.open_results, cotangents, strict=True)}
        given: list[Tensor | None] = []
        for item in self.outputs:
            gradient = by_result.get(id(item))
            if gradient is None and isinstance(item, Tensor) and self.ctx._materialize:
                from adjit.creation import zeros

                gradient = zeros(item._tensor_type.dims, dtype=item._dtype)
            given.append(gradient)
        return given

    def _save(self, mine: Sequence[Tensor], shown: Sequence[Tensor]) -> None:
        """Let the context hand out this trace's own tensors for arguments, results and what else was saved."""
        stand_ins = {id(tensor): proxy for tensor, proxy in zip(self.open_results, shown, strict=True)}
        tensors = [arg for arg in self.args if isinstance(arg, Tensor)]
        for tensor, proxy in zip(tensors, mine, strict=True):
            if not any(tensor is dirty for dirty in self.ctx._dirty):
                stand_ins[id(tensor)] = proxy
        inner = self.inner
        inner.stand_for(stand_ins)
        saved = [None if t is None else inner.local(t) for t in self.ctx._chosen]
        self.ctx._finish([(tensor, None) for tensor in saved])
        self.ctx._chosen = ()
