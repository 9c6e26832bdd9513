"""Questions about graphs: who uses a value, how long values live, which sizes are bound, how often an op occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from adjit.ir.errors import VerifyError
from adjit.ir.graph import Attribute, Graph, Node, Region, Value
from adjit.ir.shape import Dim, Size, size_names, substitute
from adjit.ir.types import TensorType

# Ops whose regions run once for each turn.
LOOPS = ("scan", "while")
# Ops of which numbers say which regions run, and how often.
CONTROL = ("cond", *LOOPS)
_NUMBERS = frozenset({bool, int, float})
# The names of operations that only say which elements of their operand stand where.
VIEWS = frozenset({"reshape", "permute", "expand", "slice"})


def users(region: Region) -> dict[Value, list[tuple[Node, int]]]:
    """For each value its uses `(node, operand index)`, those in nested regions included; outputs are no uses."""
    found: dict[Value, list[tuple[Node, int]]] = {}
    for node in region.walk():
        for index, value in enumerate(node.inputs):
            found.setdefault(value, []).append((node, index))
    return found


def count_ops(region: Region) -> Counter[str]:
    """How often each op occurs, nested regions included and callees not."""
    return Counter(node.op.name for node in region.walk())


def captured(node: Node) -> tuple[Value, ...]:
    """The values from outside that regions of `node` use directly; none where its regions are isolated."""
    if node.op.isolated or not node.regions:
        return ()
    defined: set[Value] = set()
    used: dict[Value, None] = {}
    for region in _open_regions(node):
        defined.update(region.inputs)
        for inner in region.nodes:
            defined.update(inner.outputs)
            used.update(dict.fromkeys(inner.inputs))
        used.update(dict.fromkeys(region.outputs))
    return tuple(value for value in used if value not in defined)


def _open_regions(node: Node) -> Iterator[Region]:
    """The regions below `node` that can see what `node` sees."""
    stack = [node]
    while stack:
        owner = stack.pop()
        if owner.op.isolated:
            continue
        for region in owner.regions:
            yield region
            stack.extend(inner for inner in region.nodes if inner.regions)


def uses(node: Node) -> tuple[Value, ...]:
    """All values that `node` needs: its operands, and those its regions capture."""
    return (*node.inputs, *captured(node)) if node.regions else node.inputs


def has_rule(node: Node) -> bool:
    """Whether `node` is a call with a derivative of its own."""
    return "vjp" in node.attributes or "jvp" in node.attributes


def varies_with(node: Node) -> tuple[Value, ...]:
    """The operands with which the results of `node` vary, as its derivative has it."""
    if node.op.constant_result:
        return ()
    if node.op.name == "while":
        return _of_steps(node)
    return tuple(node.inputs[index] for index in node.attributes["wrt"]) if has_rule(node) else node.inputs  # type: ignore[index, union-attr]


def invariants_of(node: Node) -> int:
    """How many operands of a loop are the same in all its turns: the first ones."""
    return int(node.attributes["invariants"])  # type: ignore[arg-type]


def carries_of(node: Node) -> int:
    """How many operands after these a loop hands from turn to turn: one for each result of a `while`."""
    return int(node.attributes.get("carries", len(node.outputs)))  # type: ignore[arg-type]


def _of_steps(loop: Node) -> tuple[Value, ...]:
    """The operands of a `while` that its steps vary with: not those that only its condition looks at."""
    body = loop.regions[1]
    found = {*body.outputs, *body.inputs[invariants_of(loop) :]}
    for node in reversed(body.nodes):
        if any(value in found for value in node.outputs):
            found.update(varies_with(node))
    return tuple(value for value, inner in zip(loop.inputs, body.inputs, strict=True) if inner in found)


# -- liveness ---------------------------------------------------------------------------------------------------------
def has_effect(node: Node) -> bool:
    """Whether `node` does more than compute its outputs: it calls the host, or writes something that is not its own."""
    stack = [(node, True)]
    seen: set[Graph] = set()
    while stack:
        inner, outside = stack.pop()
        if inner.op.name == "host_call" or (outside and not inner.outputs and inner.op.name not in CONTROL):
            return True
        for region in inner.regions:
            stack.extend((n, outside and not inner.op.isolated) for n in region.nodes)
        for callee in graphs_in(inner.attributes.values()):
            if callee not in seen:
                seen.add(callee)
                stack.extend((n, False) for n in callee.nodes)
    return False


def last_uses(region: Region) -> list[tuple[Value, ...]]:
    """For each node of `region`, the values that nothing needs after it; the region's outputs stay."""
    seen = set(region.outputs)
    result: list[tuple[Value, ...]] = []
    for node in reversed(region.nodes):
        ending = tuple(dict.fromkeys(value for value in (*uses(node), *node.outputs) if value not in seen))
        seen.update(ending)
        result.append(ending)
    result.reverse()
    return result


# -- callees ----------------------------------------------------------------------------------------------------------
def graphs_in(values: Iterable[object]) -> list[Graph]:
    """The graphs among attribute values, through nested tuples."""
    found: list[Graph] = []
    for value in values:
        if isinstance(value, Graph):
            found.append(value)
        elif isinstance(value, tuple) and not _NUMBERS.issuperset(map(type, value)):
            found += graphs_in(value)
    return found


def direct_callees(graph: Region) -> tuple[Graph, ...]:
    """The graphs that nodes of `graph` name, in the order of their first mention."""
    found = (callee for node in graph.walk() if node.attributes for callee in graphs_in(node.attributes.values()))
    return tuple(dict.fromkeys(found))


def callees(graph: Region) -> list[Graph]:
    """All graphs that `graph` calls, directly or not, each after those it calls itself.

    Errors: VerifyError for a graph that calls itself.
    """
    order: list[Graph] = []
    done: dict[Region, bool] = {graph: False}
    stack: list[tuple[Region, Iterator[Graph]]] = [(graph, iter(direct_callees(graph)))]
    while stack:
        current, rest = stack[-1]
        callee = next(rest, None)
        if callee is None:
            stack.pop()
            done[current] = True
            if current is not graph:
                assert isinstance(current, Graph)
                order.append(current)
        elif callee not in done:
            done[callee] = False
            stack.append((callee, iter(direct_callees(callee))))
        elif not done[callee]:
            raise VerifyError(f"@{callee.name} calls itself: recursion is not in the IR")
    return order


# -- sizes ------------------------------------------------------------------------------------------------------------
def sizes_in(value: Attribute) -> frozenset[str]:
    """The named sizes in an attribute."""
    if isinstance(value, Dim):
        return value.names
    if isinstance(value, TensorType):
        return value.names
    if isinstance(value, tuple):
        return frozenset().union(*(sizes_in(item) for item in value))
    return frozenset()


def size_names_used(region: Region) -> frozenset[str]:
    """The named sizes in types and attributes of `region`, nested regions included."""
    found: set[str] = set(region.size_names)
    types: set[TensorType] = set()
    for node in region.walk():
        types.update(value.type for value in node.outputs)
        types.update(value.type for nested in node.regions for value in nested.inputs)
        for attribute in node.attributes.values():
            found |= sizes_in(attribute)
    return frozenset(found.union(*(type.names for type in types)))


def match_sizes(patterns: Sequence[Sequence[Size]], shapes: Sequence[Sequence[Size]]) -> dict[str, Size]:
    """The named sizes of `patterns` for which the patterns become `shapes`.

    A name is read where it stands alone, or where it is the only unknown of a linear dim such as `2*n + 1`.  Names that
    cannot be read off are missing from the result; whether the other dims agree is not checked.
    """
    found: dict[str, Size] = {}
    waiting: list[tuple[Dim, Size]] = []
    for pattern, shape in zip(patterns, shapes, strict=True):
        for dim, extent in zip(pattern, shape, strict=False):
            if isinstance(dim, Dim):
                waiting.append((dim, extent))
    waiting.sort(key=lambda pair: not str(pair[0]).isidentifier())
    while waiting:
        kept = [pair for pair in waiting if not _solve(*pair, found)]
        if len(kept) == len(waiting):
            return found
        waiting = kept
    return found


def _solve(dim: Dim, extent: Size, found: dict[str, Size]) -> bool:
    """Whether `dim` is settled: all its names are in `found`, perhaps after reading its last one off `extent`."""
    unknown = [name for name in dim.names if name not in found]
    if len(unknown) != 1:
        return not unknown
    (name,) = unknown
    factor = dim.coefficient(name)
    if not isinstance(factor, int) or factor == 0:
        return False
    rest = substitute(dim - factor * Dim.named(name), found)
    difference = extent - rest
    if difference % factor == 0:
        found[name] = difference // factor
    return True


def bound_sizes(inputs: Sequence[Value]) -> frozenset[str]:
    """The named sizes whose values can be read off the shapes of `inputs`."""
    shapes = [value.type.dims for value in inputs]
    return frozenset(match_sizes(shapes, shapes))


def tell_their_sizes(types: Sequence[TensorType]) -> bool:
    """Whether all named sizes in some types can be read off arrays of these types."""
    names = {name for type in types for name in type.names}
    shapes = [type.dims for type in types]
    return not names or names <= match_sizes(shapes, shapes).keys()


def substitute_attribute(value: Attribute, sizes: Mapping[str, Size]) -> Attribute:
    """An attribute with named sizes replaced; graphs, whose size names are their own, are left."""
    if isinstance(value, Dim):
        return value.substitute(sizes)
    if isinstance(value, TensorType):
        return substitute_type(value, sizes)
    if isinstance(value, tuple):
        return tuple(substitute_attribute(item, sizes) for item in value)
    return value


def substitute_type(type: TensorType, sizes: Mapping[str, Size]) -> TensorType:
    """A type with named sizes replaced."""
    return type if type.is_static else type.with_dims(tuple(substitute(dim, sizes) for dim in type.dims))


def unbound(sizes: Iterable[Size], bound: frozenset[str]) -> list[str]:
    """The names in `sizes` outside `bound`, in alphabetical order."""
    return sorted(frozenset().union(*(size_names(size) for size in sizes)) - bound)
