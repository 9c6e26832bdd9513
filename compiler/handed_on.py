"""Elements that a turn of a loop writes and one of the next reads are handed on in carries, so in registers.

In `x[i] = f(x[i - 1], x[i - 2])` each turn waits for memory to give back what the last one stored.  With the elements
before x[i] as carries of their own, memory is only written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adjit.compiler.turns import offset_of, step_of
from adjit.ir.builder import Builder, Expr
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.frozen import frozen
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.ops.arrays import reshape, window_of
from adjit.ir.rewrite import rewrite, rewrite_region

# How many turns an element is carried, and how large it may be.
_LONGEST, _LARGEST = 4, 8


@frozen
class _Table:
    """A carry of which each turn writes one element: its number, the value written, and the reads of others.

    `start` is the index that the first turn writes, `step` its advance; `reads` gives ages, in turns, of what is read.
    """

    carry: int
    written: Value
    start: int
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
    carries = int(node.attributes["carries"])  # type: ignore[arg-type]
    end = int(node.attributes["invariants"]) + carries  # type: ignore[arg-type]
    first: list[Value] = []  # of the new carries: what they are before the first turn, in a turn, and after it
    inside: list[Value] = []
    after: list[Value] = []
    found: dict[Node, Value] = {}
    for table in tables:
        recent = [Value(table.written.type) for _ in range(max(table.reads.values()))]
        x = operands[int(node.attributes["invariants"]) + table.carry]  # type: ignore[arg-type]
        first += [_element(builder, x, table.start - table.step * age) for age in range(1, len(recent) + 1)]
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


def _element(builder: Builder, x: Value, place: int) -> Value:
    """x[place]."""
    dims = x.type.dims
    row = reshape(window_of(builder.expr(x), (place, *(0 for _ in dims[1:])), (1, *dims[1:])), dims[1:])
    assert isinstance(row, Expr)
    return row.value


# -- what is handed on ------------------------------------------------------------------------------------------------
def _tables(node: Node, body: Region) -> list[_Table]:
    length = node.attributes["length"]
    if not isinstance(length, int) or length < 1:
        return []
    first, carries = int(node.attributes["invariants"]), int(node.attributes["carries"])  # type: ignore[arg-type]
    counters = _counters(node, body, first, carries, length)
    if not counters:
        return []
    found = (_table(body, place, body.inputs[first + place], counters) for place in range(carries))
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


def _table(body: Region, carry: int, x: Value, counters: Mapping[Value, tuple[int, int]]) -> _Table | None:
    """The table that a carry is, if each turn writes its next element and reads some of the last ones."""
    write = body.outputs[carry].node
    if write is None or write.op.name != "scatter_set" or write.inputs[0] is not x or not _is_plain(write):
        return None
    base, offset = offset_of(write.inputs[2])
    size = write.inputs[1].type.size
    if base not in counters or not isinstance(size, int) or size > _LARGEST:
        return None
    start, step = counters[base]
    reads = {}
    for node in body.nodes:
        if node.op.name == "gather" and node.inputs[0] is x and _is_plain(node):
            other, place = offset_of(node.inputs[1])
            age, rest = divmod(offset - place, step)
            if other is base and rest == 0 and 1 <= age <= _LONGEST:
                reads[node] = age
    return _Table(carry, write.inputs[1], start + offset, step, reads) if reads else None


def _is_plain(node: Node) -> bool:
    """Whether a gather or scatter is at one index along the first axis, which is inside."""
    axes = node.attributes["axes"]
    return bool(node.attributes.get("certain")) and axes in ((0,), [0]) and not node.inputs[-1].dims
