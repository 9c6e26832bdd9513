"""Reverse mode as a pass: a graph's backward graph, emitted symbolically.

`@f.vjp` takes the cotangents of `@f`'s outputs, then the forward values that it uses (the residuals: its signature is
the list of what is saved), and returns the cotangents of the inputs asked for.  The cotangent of `%4` is named `%d4`,
and every line keeps the forward's line.  The pass runs on its own output, so it gives any order.

What is saved: the forward values that the rules mention, but for two kinds.  A mentioned value is recomputed where
that needs nothing more to be kept: its op is a constant, a view or cheap arithmetic (CHEAP), and all its operands are
inputs, saved for another reason, or views of such.  And where a value only repeats or rearranges one that is no larger
(COMPACT), that one is saved in its place.  Inputs cost nothing: the caller has them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

from adjit.compiler.keep import keeping
from adjit.compiler.pullback import pull_back
from adjit.ir.analysis import VIEWS, bound_sizes, size_names_used, sizes_in
from adjit.ir.builder import Builder, Expr
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.errors import DifferentiationError
from adjit.ir.frozen import frozen
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.printer import value_names
from adjit.ir.rewrite import inline_calls

CHEAP = frozenset(
    ("reshape", "permute", "expand", "slice", "pad", "iota", "const", "detach", "add", "sub", "mul", "neg", "abs",
     "maximum", "minimum", "lt", "le", "eq", "and", "or", "not", "where", "cast", "relu", "square", "cube")
)  # fmt: skip
PASSED = VIEWS | {"detach"}
COMPACT = frozenset(("reshape", "permute", "expand", "detach", "cast"))


@frozen
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
    source = inline_calls(graph, keep_rules=True)
    if any(node.regions for node in source.nodes):  # loops keep more of each turn than they compute
        source = eliminate_dead(source)
    wrt = [i for i, v in enumerate(source.inputs) if v.dtype.is_continuous] if inputs is None else list(inputs)
    seeds = [i for i, v in enumerate(source.outputs) if v.dtype.is_continuous] if outputs is None else list(outputs)
    for index in seeds:
        if not source.outputs[index].dtype.is_continuous:
            dtype = source.outputs[index].dtype
            raise DifferentiationError(f"output {index} of @{graph.name} has dtype {dtype}: no gradient")
    source = keeping(source, [source.inputs[index] for index in wrt])
    backward, residuals, reached = backward_of(source, wrt, seeds)
    forward = source.with_parts(source.inputs, source.nodes, (*source.outputs, *residuals))
    return Derivative(forward, backward, residuals, tuple(seeds), tuple(reached))


def backward_of(graph: Graph, wrt: Sequence[int], seeds: Sequence[int]) -> tuple[Graph, tuple[Value, ...], list[int]]:
    """The backward graph, the forward values it takes after its cotangents, and the inputs that a cotangent reaches."""
    names = value_names(graph)
    backward = Graph(f"{graph.name}.vjp", guards=graph.guards, approximate=graph.approximate)
    builder = Builder(backward)
    cotangents: list[Expr] = []
    taken = set(names.values())
    for position, index in enumerate(seeds):
        name = _free("g" if len(seeds) == 1 else f"g{position}", taken)
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
    residuals = close(graph, backward, names)
    return backward, residuals, reached


def _free(name: str, taken: set[str]) -> str:
    """`name`, with a number where the forward program uses it: its values keep their names."""
    found, number = name, 0
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found


def close(graph: Graph, backward: Graph, names: dict[Value, str]) -> tuple[Value, ...]:
    """Make the forward values that `backward` mentions its inputs, recomputing those that cost nothing to keep."""
    own = {value for node in backward.nodes for value in node.outputs} | set(backward.inputs)
    mentioned = _mentioned(backward.nodes, backward.outputs, own)
    kept, recomputed = _choose_saved(graph, mentioned)
    used = size_names_used(backward).union(*(v.type.names for v in kept), *_sizes_of(recomputed))
    saved = [*kept, *binding(graph, [*backward.inputs, *kept], used)]
    replacement = {value: Value(value.type, names.get(value, value.name)) for value in saved}
    backward.inputs = (*backward.inputs, *replacement.values())
    again = [_renew(node, replacement, names, always=True) for node in recomputed]
    backward.nodes = again + [_renew(node, replacement, names, always=False) for node in backward.nodes]
    backward.outputs = tuple(replacement.get(value, value) for value in backward.outputs)
    bound = bound_sizes(backward.inputs)
    backward.guards = tuple(guard for guard in backward.guards if guard.names <= bound)
    return tuple(saved)


def _mentioned(nodes: Iterable[Node], outputs: Iterable[Value], own: set[Value]) -> list[Value]:
    found = {value: None for node in nodes for value in node.inputs if value not in own}
    found.update({value: None for value in outputs if value not in own})
    return list(found)


def _choose_saved(graph: Graph, mentioned: list[Value]) -> tuple[list[Value], list[Node]]:
    """What is kept of the `mentioned` values, inputs first, and the nodes that compute the others from it."""
    position = {node: index for index, node in enumerate(graph.nodes)}
    inputs = {value: index for index, value in enumerate(graph.inputs)}
    kept = set(mentioned)
    recomputed: set[Node] = set()
    # Last ones first: what a value is recomputed from stands before it.
    waiting = {value.node for value in mentioned if value.node is not None and value not in inputs}
    for node in reversed(graph.nodes):
        if node not in waiting:
            continue
        values = [value for value in node.outputs if value in kept]
        if not values or node.op.name not in CHEAP:
            continue
        chains = [_chain(value, kept, inputs) for value in node.inputs]
        found = [chain for chain in chains if chain is not None]
        if len(found) == len(chains):
            kept.update(chain.root for chain in found if chain.root is not None)
            recomputed.update(n for chain in found for n in chain.nodes)
        elif _compacts(node) and (source := node.inputs[0]).node is not None:
            kept.add(source)
            waiting.add(source.node)
        else:
            continue
        kept.difference_update(values)
        recomputed.add(node)

    def place(value: Value) -> tuple[int, int, int]:
        if value in inputs or value.node is None:
            return 0, inputs[value], 0
        return 1, position[value.node], value.index

    saved = sorted(kept, key=place)
    return saved, sorted(recomputed, key=position.__getitem__)


@frozen
class _Chain:
    """A value as views of `root`, which is there already; `nodes` compute it from `root`, in no order."""

    root: Value | None
    nodes: tuple[Node, ...]


def _chain(value: Value, kept: set[Value], inputs: Container[Value]) -> _Chain | None:
    """How `value` comes from an input, a kept value or nothing by views alone; None if it does not."""
    nodes: list[Node] = []
    while value not in kept and value not in inputs:
        node = value.node
        if node is None or node.op.name not in (PASSED if node.inputs else CHEAP):
            return None
        nodes.append(node)
        if not node.inputs:
            return _Chain(None, tuple(nodes))
        (value,) = node.inputs
    return _Chain(value, tuple(nodes))


def _compacts(node: Node) -> bool:
    """Whether the node's operand says as much as its result, in no more bytes."""
    if node.op.name != "cast":
        return node.op.name in COMPACT
    return node.inputs[0].dtype.storage.itemsize <= node.output.dtype.storage.itemsize


def _sizes_of(nodes: Sequence[Node]) -> Iterator[frozenset[str]]:
    """The named sizes in what each node computes and is told."""
    for node in nodes:
        yield frozenset().union(*map(sizes_in, (*node.attributes.values(), *(v.type for v in node.outputs))))


def binding(graph: Graph, given: Sequence[Value], used: frozenset[str]) -> list[Value]:
    """Inputs of `graph` off which, beside `given`, the sizes in `used` can be read."""
    found: list[Value] = []
    missing = used - bound_sizes(given)
    for value in graph.inputs:
        if missing & value.type.names and value not in given:
            found.append(value)
            missing = used - bound_sizes([*given, *found])
    return found


def _renew(node: Node, replacement: dict[Value, Value], names: dict[Value, str], *, always: bool) -> Node:
    """`node` on replaced operands; a copy enters its results into `replacement`."""
    if not always and not any(value in replacement for value in node.inputs):
        return node
    copy = Node(
        node.op,
        [replacement.get(v, v) for v in node.inputs],
        node.attributes,
        [v.type for v in node.outputs],
        node.location.again() if always else node.location,
        node.regions,
    )
    for old, new in zip(node.outputs, copy.outputs, strict=True):
        new.name = names.get(old) if always and old.constant is None else old.name
        replacement[old] = new
    return copy
