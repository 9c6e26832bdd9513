"""Reverse mode as a pass: a graph's backward graph, emitted symbolically.

`@f.vjp` takes the cotangents of `@f`'s outputs, then the forward values that it uses (the residuals: its signature is
the list of what is saved), and returns the cotangents of the inputs asked for.  The cotangent of `%4` is named `%d4`,
and every line keeps the forward's line.  The pass runs on its own output, so it gives any order.

What is saved: the forward values that the rules mention.  A mentioned value is recomputed instead where that needs
nothing more to be kept: its op is a view, a constant or cheap arithmetic (CHEAP), and all its operands are inputs or
saved for another reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from adjit.compiler.pullback import pull_back
from adjit.ir.builder import Builder, Expr
from adjit.ir.errors import DifferentiationError
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.printer import value_names
from adjit.ir.rewrite import eliminate_dead, inline_calls

CHEAP = frozenset(
    ("reshape", "permute", "expand", "slice", "pad", "iota", "const", "detach", "add", "sub", "mul", "neg", "abs",
     "maximum", "minimum", "lt", "le", "eq", "and", "or", "not", "where", "cast", "relu", "square")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Derivative:
    """A graph split for reverse mode.

    `forward` computes the original outputs, then the residuals.  `backward` takes the cotangents of the outputs listed
    in `seeded`, then the residuals; it returns the cotangents of the inputs listed in `reached`.
    """

    forward: Graph
    backward: Graph
    residuals: tuple[Value, ...]
    seeded: tuple[int, ...]
    reached: tuple[int, ...]


def differentiate(
    graph: Graph, inputs: Sequence[int] | None = None, outputs: Sequence[int] | None = None
) -> Derivative:
    """The derivative of `outputs` (default: all floating ones) with respect to `inputs` (likewise).

    The given graph is not changed.  Errors: DifferentiationError where an op on the way has no derivative.
    """
    source = inline_calls(graph)
    wrt = [i for i, v in enumerate(source.inputs) if v.dtype.is_float] if inputs is None else list(inputs)
    seeds = [i for i, v in enumerate(source.outputs) if v.dtype.is_float] if outputs is None else list(outputs)
    for index in seeds:
        if not source.outputs[index].dtype.is_float:
            dtype = source.outputs[index].dtype
            raise DifferentiationError(f"output {index} of @{graph.name} has dtype {dtype}: no gradient")
    backward, residuals, reached = backward_of(source, wrt, seeds)
    forward = Graph(
        source.name, source.inputs, source.nodes, (*source.outputs, *residuals), source.guards, source.writes
    )
    return Derivative(forward, backward, residuals, tuple(seeds), tuple(reached))


def backward_of(graph: Graph, wrt: Sequence[int], seeds: Sequence[int]) -> tuple[Graph, tuple[Value, ...], list[int]]:
    """The backward graph, the forward values it takes after its cotangents, and the inputs that a cotangent reaches."""
    names = value_names(graph)
    backward = Graph(f"{graph.name}.vjp", guards=graph.guards)
    builder = Builder(backward)
    cotangents: list[Expr] = []
    for position, index in enumerate(seeds):
        name = "g" if len(seeds) == 1 else f"g{position}"
        cotangents.append(builder.expr(builder.input(graph.outputs[index].type, name)))
    found = pull_back(
        builder,
        graph.nodes,
        [graph.outputs[i] for i in seeds],
        cotangents,
        [graph.inputs[i] for i in wrt],
        names,
    )
    reached = [i for i, cotangent in zip(wrt, found, strict=True) if cotangent is not None]
    backward.outputs = tuple(cotangent.value for cotangent in found if cotangent is not None)
    backward = eliminate_dead(backward)
    residuals = _close(graph, backward, names)
    return backward, residuals, reached


def _close(graph: Graph, backward: Graph, names: dict[Value, str]) -> tuple[Value, ...]:
    """Make the forward values that `backward` mentions its inputs, recomputing those that cost nothing to keep."""
    own = {value for node in backward.nodes for value in node.outputs} | set(backward.inputs)
    mentioned = _mentioned(backward.nodes, backward.outputs, own)
    kept, recomputed = _choose_saved(graph, mentioned)
    replacement: dict[Value, Value] = {}
    saved = list(kept)
    bound = frozenset().union(*(v.type.names for v in (*backward.inputs, *saved)))
    for value in graph.inputs:  # a size that only attributes mention still has to be read off some input
        if value.type.names - bound and _uses_sizes(backward, value.type.names - bound):
            saved.append(value)
            bound |= value.type.names
    for value in saved:
        copy = replacement[value] = Value(value.type, names.get(value, value.name))
        backward.inputs = (*backward.inputs, copy)
    again = [_renew(node, replacement, names, always=True) for node in recomputed]
    backward.nodes = again + [_renew(node, replacement, names, always=False) for node in backward.nodes]
    backward.outputs = tuple(replacement.get(value, value) for value in backward.outputs)
    return tuple(saved)


def _mentioned(nodes: Iterable[Node], outputs: Iterable[Value], own: set[Value]) -> list[Value]:
    found = {value: None for node in nodes for value in node.inputs if value not in own}
    found.update({value: None for value in outputs if value not in own})
    return list(found)


def _choose_saved(graph: Graph, mentioned: list[Value]) -> tuple[list[Value], list[Node]]:
    position = {node: index for index, node in enumerate(graph.nodes)}
    inputs = set(graph.inputs)
    kept = set(mentioned)
    recomputed: list[Node] = []
    for value in sorted(mentioned, key=lambda v: -1 if v.node is None else position[v.node], reverse=True):
        node = value.node
        if node is None or value in inputs or node.op.name not in CHEAP:
            continue
        constants = [v.node for v in node.inputs if v.constant is not None and v not in kept]
        if all(v in kept or v in inputs or v.constant is not None for v in node.inputs):
            kept.discard(value)
            recomputed.append(node)
            recomputed.extend(c for c in constants if c is not None)
            kept.update(v for v in node.inputs if v in inputs)
    unique = sorted(set(recomputed), key=position.__getitem__)
    order = {value: index for index, value in enumerate(graph.inputs)}
    saved = sorted(
        kept, key=lambda v: (0, order[v]) if v in inputs else (1, -1 if v.node is None else position[v.node])
    )
    return saved, unique


def _uses_sizes(backward: Graph, names: frozenset[str]) -> bool:
    from adjit.ir.analysis import size_names_used

    return bool(size_names_used(backward) & names)


def _renew(node: Node, replacement: dict[Value, Value], names: dict[Value, str], *, always: bool) -> Node:
    """`node` on replaced operands; a copy enters its results into `replacement`."""
    if not always and not any(value in replacement for value in node.inputs):
        return node
    copy = Node(
        node.op,
        [replacement.get(v, v) for v in node.inputs],
        node.attributes,
        [v.type for v in node.outputs],
        node.location,
        node.regions,
    )
    for old, new in zip(node.outputs, copy.outputs, strict=True):
        new.name = names.get(old) if always and old.constant is None else old.name
        replacement[old] = new
    return copy
