"""Elements that a turn of a loop writes and one of the next reads are handed on in carries, so in registers.

In `x[i] = f(x[i - 1], x[i - 2])` each turn waits for memory to give back what the last one stored.  With the elements
before x[i] as carries of their own, memory is only written.  Tables of several axes are handed on along the axis of
which the index counts, where the others stay: x[i, j - 1] for x[i, j] in a loop over j.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adjit.compiler.turns import offset_of, step_of
from adjit.ir.analysis import carries_of, invariants_of
from adjit.ir.builder import Builder, Expr
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.frozen import frozen
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.ops.indexing import gather
from adjit.ir.rewrite import rewrite, rewrite_region
from adjit.ir.types import I64

# How many turns an element is carried, and how large it may be.
_LONGEST, _LARGEST = 4, 8


@frozen
class _Table:
    """A carry of which each turn writes one element: its number, the value written, and the reads of others.

    `reads` gives ages, in turns, of what is read; `axes` are those that are indexed, `places` the index that the first
    turn writes along each, of which only the one `counted` changes, by `step` a turn.
    """

    carry: int
    written: Value
    axes: tuple[int, ...]
    places: Sequence[_Index]
    counted: int
    step: int
    reads: Mapping[Node, int]


def handed_on(graph: Graph) -> Graph:
    """The graph with such carries in its scans."""
    found = rewrite(graph, _handed_on, follow_calls=False, inner_first=True)
    return graph if found is graph else eliminate_dead(found)


def _handed_on(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name != "scan":
        return None
    (body,) = node.regions
    tables = _tables(node, body)
    if not tables:
        return None
    fixed, carries = invariants_of(node), carries_of(node)
    end = fixed + carries
    first: list[Value] = []  # of the new carries: what they are before the first turn, in a turn, and after it
    inside: list[Value] = []
    after: list[Value] = []
    found: dict[Node, Value] = {}
    outside = dict(zip(body.inputs, operands, strict=False))
    for table in tables:
        recent = [Value(table.written.type) for _ in range(max(table.reads.values()))]
        x = operands[fixed + table.carry]
        first += [_element(builder, x, table, outside, age) for age in range(1, len(recent) + 1)]
        inside += recent
        after += [table.written, *recent[:-1]]
        found |= {read: recent[age - 1] for read, age in table.reads.items()}
    given = [*operands[:end], *first, *operands[end:]]
    outputs = [*body.outputs[:carries], *after, *body.outputs[carries:]]
    turn = Region([*body.inputs[:end], *inside, *body.inputs[end:]], body.nodes, outputs)
    turn = rewrite_region(turn, lambda _, inner, __: [found[inner]] if inner in found else None)
    attributes = {**node.attributes, "carries": carries + len(first)}
    results = builder.emit(node.op, given, attributes, [turn]).outputs
    return (*results[:carries], *results[carries + len(first) :])


def _element(builder: Builder, x: Value, table: _Table, outside: Mapping[Value, Value], age: int) -> Value:
    """What the table holds, before the first turn, `age` turns before the place that this turn writes."""
    places = [*table.places]
    places[table.counted] = _Index(None, 1, places[table.counted].number - table.step * age)
    indices = [place.outside(builder, outside) for place in places]
    # As an index of a turn that comes, or between two of these, it is inside.
    found = gather(builder.expr(x), *indices, axes=table.axes, certain=True)
    assert isinstance(found, Expr)
    return found.value


# -- what is handed on ------------------------------------------------------------------------------------------------
def _tables(node: Node, body: Region) -> list[_Table]:
    length = node.attributes["length"]
    if not isinstance(length, int) or length < 1:
        return []
    first, carries = invariants_of(node), carries_of(node)
    counters = _counters(node, body, first, carries, length)
    if not counters:
        return []
    found = (_table(body, place, body.inputs[first + place], counters, first) for place in range(carries))
    return [table for table in found if table is not None]


def _counters(node: Node, body: Region, first: int, carries: int, length: int) -> dict[Value, tuple[int, int]]:
    """The body's inputs that count: what they are in the first turn, and how much they grow in each."""
    found: dict[Value, tuple[int, int]] = {}
    for place in range(carries):
        start, step = node.inputs[first + place].constant, step_of(body, first + place, place)
        if isinstance(start, int) and step:
            found[body.inputs[first + place]] = (start, step)
    for value, stack in zip(body.inputs[first + carries :], node.inputs[first + carries :], strict=True):
        start = _first_count(stack)
        if start is not None:
            found[value] = (start + length - 1, -1) if node.attributes["reverse"] else (start, 1)
    return found


def _first_count(stack: Value) -> int | None:
    """n of a vector of the integers n, n + 1, ..., or None."""
    total = 0
    while stack.node is not None and stack.node.op.name == "add":
        left, right = stack.node.inputs
        number = right.constant
        if not isinstance(number, int):
            return None
        stack, total = left, total + number
    counts = stack.node is not None and stack.node.op.name == "iota" and stack.type.ndim == 1
    return total if counts and stack.dtype.kind == "int" else None


@frozen
class _Index:
    """number + sign * base; a number alone has no base."""

    base: Value | None
    sign: int
    number: int

    @staticmethod
    def of(value: Value) -> _Index:
        base, number = offset_of(value)
        if isinstance(base.constant, int):
            return _Index(None, 1, base.constant + number)
        if base.node is not None and base.node.op.name == "sub" and isinstance(base.node.inputs[0].constant, int):
            inner, less = offset_of(base.node.inputs[1])
            return _Index(inner, -1, base.node.inputs[0].constant + number - less)
        return _Index(base, 1, number)

    def outside(self, builder: Builder, given: Mapping[Value, Value]) -> Expr:
        """The index where the inputs of a body are the operands of its loop."""
        if self.base is None:
            return builder.expr(builder.constant(self.number, I64))
        base = builder.expr(given[self.base])
        if self.sign < 0:
            return self.number - base
        return base + self.number if self.number else base


def _table(
    body: Region, carry: int, x: Value, counters: Mapping[Value, tuple[int, int]], first: int
) -> _Table | None:
    """The table that a carry is, if each turn writes its next element and reads some of the last ones."""
    write = body.outputs[carry].node
    if write is None or write.op.name != "scatter_set" or write.inputs[0] is not x or not _is_plain(write):
        return None
    size = write.inputs[1].type.size
    places = [*map(_Index.of, write.inputs[2:])]
    counted = [number for number, place in enumerate(places) if place.base in counters]
    stay = all(place.base is None or place.base in (*counters, *body.inputs[:first]) for place in places)
    if len(counted) != 1 or not stay or not isinstance(size, int) or size > _LARGEST:
        return None
    (number,) = counted
    own = places[number]
    start, step = counters[own.base]  # type: ignore[index]
    start, step = own.number + own.sign * start, own.sign * step
    reads = {}
    for node in body.nodes:
        if node.op.name != "gather" or node.inputs[0] is not x or not _is_plain(node):
            continue
        found = [*map(_Index.of, node.inputs[1:])]
        alike = all(a == b for n, (a, b) in enumerate(zip(found, places, strict=False)) if n != number)
        if _axes(node) != _axes(write) or not alike:
            continue
        age, rest = divmod(own.number - found[number].number, step)
        if (found[number].base, found[number].sign) == (own.base, own.sign) and rest == 0 and 1 <= age <= _LONGEST:
            reads[node] = age
    places[number] = _Index(None, 1, start)
    return _Table(carry, write.inputs[1], _axes(write), places, number, step, reads) if reads else None


def _axes(node: Node) -> tuple[int, ...]:
    axes: Sequence[int] = node.attributes["axes"]  # type: ignore[assignment]
    return tuple(axes)


def _is_plain(node: Node) -> bool:
    """Whether a gather or scatter is at one place, which is inside."""
    return bool(node.attributes.get("certain")) and not node.inputs[-1].dims
