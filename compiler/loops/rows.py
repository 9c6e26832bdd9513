"""Kernels by rows: `for rows { sums over the row; loops over the row }`, as softmax and layer_norm want it.

All values of such a kernel start with the same axes, and a row of one needs only the same row of the others.  What is
read back along the row is stored first: in scratch memory for one row where that is small, else in a buffer of its own
or in that of a result that is stored later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adjit.compiler.loops.ir import SCRATCH, STORE
from adjit.compiler.loops.scalars import KernelScalars
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Value
from adjit.ir.ops.contraction import free_axes
from adjit.ir.shape import Size, product

if TYPE_CHECKING:
    from adjit.compiler.loops.tiles import TileTotal

# Bytes of one row of a value, and of all such rows of a kernel, that scratch memory holds in the first cache.
_ROW, _ROWS = 16 << 10, 32 << 10


@frozen
class Reach:
    """How a value is read: at the reader's own index (`same`), or with the reader's first indices at some of its axes.

    The reader's index i stands at axis `axes[i]`; of the indices after these it is not known where they stand.
    """

    same: bool
    axes: tuple[int, ...]

    @property
    def lead(self) -> int:
        """How many of the reader's first indices are the value's first indices."""
        return _first(self.axes, lambda place, axis: place == axis)

    def __and__(self, other: Reach) -> Reach:
        common = _first(self.axes, lambda place, axis: other.axes[place : place + 1] == (axis,))
        return Reach(self.same and other.same, self.axes[:common])


@frozen
class Block:
    """The rows start..start+length-1, of `total`, of the sample at `index`, and how many `columns` (None: all)."""

    index: tuple[Size, ...]
    start: Size
    length: Size
    total: Size
    columns: Size | None = None

    def row(self, number: Size) -> tuple[Size, ...]:
        """The leading indices of a row of the block."""
        return (*self.index, self.start + number)


def reads_of(root: Node, is_read: Callable[[Value], bool]) -> tuple[set[Node], dict[Value, Reach]]:
    """The nodes that compute `root` from values that `is_read`, and how these are read."""
    nodes = {root: Reach(True, tuple(range(root.outputs[0].type.ndim)))}
    reads: dict[Value, Reach] = {}
    stack = [root]
    while stack:
        node = stack.pop()
        for value in dict.fromkeys(node.inputs):
            reach = _through(node, value, nodes[node])
            if is_read(value):
                reads[value] = reads.get(value, reach) & reach
                continue
            producer = value.node
            assert producer is not None
            known = nodes.get(producer)
            if known is None or known & reach != known:
                nodes[producer] = reach if known is None else known & reach
                stack.append(producer)
    return set(nodes), reads


def _through(node: Node, value: Value, reach: Reach) -> Reach:
    """How the operand `value` of `node` is read where the result is read as `reach` says."""
    if node.op.family == "scalar" and value.type.ndim == node.outputs[0].type.ndim:
        return reach
    places = [_operand_axis(node, value, axis) for axis in reach.axes]
    known = places.index(None) if None in places else len(places)
    return Reach(False, tuple(place for place in places[:known] if place is not None))


def _operand_axis(node: Node, value: Value, axis: int) -> int | None:
    """The axis of the operand `value` whose index is the result's at `axis`, if there is one."""
    dims, out = value.dims, node.outputs[0].dims
    a: Mapping[str, Any] = node.attributes
    stays = axis < len(dims) and dims[axis] == out[axis]
    match node.op.name:
        case "reshape":
            stays = dims[: axis + 1] == out[: axis + 1]
        case "expand":
            stays = stays and len(dims) == len(out)
        case "permute":
            return a["perm"][axis]  # type: ignore[no-any-return]
        case "slice":
            stays = stays and a["start"][axis] == 0 and a["step"][axis] == 1
        case "pad":
            stays = stays and a["low"][axis] == 0
        case "concat":
            stays = stays and axis != a["axis"]
        case "argmax" | "argmin":
            stays = axis < a["axis"]
        case "dot":
            return _factor_axis(node, value, axis)
        case _ if "axes" in a and node.op.family in ("reduction", "structure"):
            stays = axis < min(a["axes"], default=len(out))
        case _:
            stays = False
    return axis if stays else None


def _factor_axis(dot: Node, value: Value, axis: int) -> int | None:
    """The same for windows, whose images a kernel by rows pads row by row; other products have kernels of their own."""
    if value.node is None or value.node.op.name != "window" or dot.inputs[0] is dot.inputs[1]:
        return None
    side = dot.inputs.index(value)
    sides: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for number, x in enumerate(dot.inputs):
        contract, batch = dot.attributes["contract"][number], dot.attributes["batch"][number]  # type: ignore[index]
        sides.append((batch, free_axes(x.type.ndim, contract, batch)))  # type: ignore[arg-type]
    before = len(sides[0][1]) if side else 0  # the axes of the other factor
    batch, free = sides[side]
    own = (*batch, *(None,) * before, *free)
    return own[axis] if axis < len(own) else None


def _first(axes: Sequence[int], holds: Callable[[int, int], bool]) -> int:
    """The first place whose axis does not hold, else the number of axes."""
    return next((place for place, axis in enumerate(axes) if not holds(place, axis)), len(axes))


def lower_rows(
    scalars: KernelScalars,
    rows: int,
    outputs: Sequence[Value],
    buffers: Mapping[Value, Value],
    sums: Sequence[TileTotal] = (),
    block: Block | None = None,
    widths: Mapping[Value, tuple[Size, ...]] | None = None,
) -> None:
    """One loop over the first `rows` axes of `outputs`.  Those without a buffer are computed where they are needed.

    Where there are `sums` over tiles of rows, the loop is cut into loops over tiles and over the rows of each.  With a
    `block`, the loop goes over its rows only; `widths` are the extents of the rows of values that are not done whole.
    """
    stages = levels(outputs, rows)
    loops: dict[tuple[int, tuple[Size, ...]], list[Value]] = {}
    for value in outputs:
        # A value of the row as a whole is computed before the loops that use it, stored or not.
        if value in buffers or value.type.ndim == rows:
            width = (widths or {}).get(value, value.dims[rows:])
            loops.setdefault((stages[value], width), []).append(value)
    added: dict[int, list[TileTotal]] = {}
    for each in sums:
        stage = stages.get(each.term)
        added.setdefault(level_of(each.term, rows, stages) if stage is None else stage, []).append(each)
    every = list(buffers.values())
    scalars.written.update(buffer for buffer in every if every.count(buffer) > 1 or buffer in scalars.scratch)
    last = max([stage for stage, _ in loops] + list(added))

    def row_of(row: tuple[Size, ...]) -> None:
        for stage in range(last + 1):
            here = sorted((columns for at, columns in loops if at == stage), key=len)
            for columns in here:
                _store_columns(scalars, row, columns, loops[stage, columns], buffers)
            for each in added.get(stage, ()):
                each.add(scalars, row[0])

    if sums:
        _in_tiles(scalars, sums, outputs[0].dims[0], row_of)
        return
    with scalars.loop(outputs[0].dims[:rows] if block is None else (block.length,)) as row:
        row_of(row if block is None else block.row(*row))


def _store_columns(
    scalars: KernelScalars,
    row: tuple[Size, ...],
    columns: tuple[Size, ...],
    values: Sequence[Value],
    buffers: Mapping[Value, Value],
) -> None:
    """One loop over the columns of a row, which stores the elements of `values`."""
    with scalars.loop(columns) as column:
        elements = [scalars.element(value, (*row, *column)) for value in values]
        for value, element in zip(values, elements, strict=True):
            if value in buffers:
                with scalars.builder.at(value.node.location if value.node else scalars.builder.location):
                    scalars.write(STORE, buffers[value], (*row, *column), element)
    if columns:
        scalars.buffers.update((value, buffers[value]) for value in values)


def _in_tiles(
    scalars: KernelScalars, sums: Sequence[TileTotal], count: Size, body: Callable[[tuple[Size, ...]], None]
) -> None:
    """`body` for each of `count` rows, in loops over tiles; each size of a tile is a multiple of the next."""
    sizes = sorted({each.rows for each in sums}, reverse=True)
    extents = [extent // size for extent, size in zip((count, *sizes), (*sizes, 1), strict=True)]

    def nest(depth: int, first: Size) -> None:
        """The rows of a tile of size `sizes[depth - 1]` that begins with row `first`."""
        step = sizes[depth] if depth < len(sizes) else 1
        with scalars.loop((extents[depth],), parallel=depth == 0, sequential=depth > 0) as (number,):
            row = first + number * step
            if depth == len(sizes):
                body((row,))
                return
            here = [each for each in sums if each.rows == step]
            for each in here:
                each.clear(scalars)
            nest(depth + 1, row)
            for each in here:
                each.finish(scalars, row // step)

    nest(0, 0)


def levels(outputs: Sequence[Value], rows: int) -> dict[Value, int]:
    """For each value the place of its loop in the row's sequence: after the loops that store what it reads back."""
    found: dict[Value, int] = {}
    for value in outputs:
        found[value] = level_of(value, rows, found)
    return found


def level_of(value: Value, rows: int, found: Mapping[Value, int]) -> int:
    """The place of the loop of one value, after those of the values `found`; 0 for an operand."""
    if value.node is None:
        return 0
    _, reads = reads_of(value.node, lambda v: v in found or v.node is None)
    level = 0
    for source, reach in reads.items():
        if source not in found:
            continue
        is_wide = value.type.ndim > rows, source.type.ndim > rows
        together = is_wide == (False, False) or (is_wide == (True, True) and reach.same)
        level = max(level, found[source] + (not together))
    return level


@frozen
class Places:
    """Where values of a kernel by rows stand: in `buffers` that there are, in `scratch`, or in buffers to be `made`."""

    buffers: dict[Value, Value]
    scratch: list[Value]
    made: list[Value]


def make_scratch(scalars: KernelScalars, rows: int, values: Sequence[Value]) -> dict[Value, Value]:
    """Memory for one row of each value."""
    found = {}
    for value in values:
        type = value.type.with_dims(value.dims[rows:])
        node = Node(SCRATCH, (), {"shared": False}, (type,), scalars.builder.location)
        scalars.builder.perform(node)
        found[value] = node.output
        scalars.scratch[node.output] = (rows, 0)
    return found


def share_buffers(outputs: Sequence[Value], rows: int, live: Mapping[Value, Value]) -> Places:
    """The places of `outputs`: of `live` ones their buffers; of others none, scratch, a live one's, or one to be made.

    A value that is read back along its row needs one.  A live one's is that of a result of its type, stored in a later
    loop or in the loop that reads it last, there at the same index.
    """
    stages = levels(outputs, rows)
    among = set(outputs)
    readers: dict[Value, list[tuple[Value, Reach]]] = {value: [] for value in outputs}
    for value in outputs:
        assert value.node is not None
        for source, reach in reads_of(value.node, lambda v: v in among or v.node is None)[1].items():
            if source in readers:
                readers[source].append((value, reach))
    buffers = dict(live)
    taken: set[Value] = set()
    scratch: list[Value] = []
    made: list[Value] = []
    room = _ROWS
    for value in outputs:
        if value in live or value.type.ndim == rows:
            continue
        later = [(user, reach) for user, reach in readers[value] if stages[user] > stages[value]]
        if not later:
            continue
        length = product(value.dims[rows:])
        if isinstance(length, int) and length * value.dtype.itemsize <= min(room, _ROW):
            room -= length * value.dtype.itemsize
            scratch.append(value)
            continue
        last = max(stages[user] for user, _ in later)
        at_end = all(reach.same for user, reach in later if stages[user] == last)
        host = next(
            (
                other for other in live
                if other.type == value.type and other not in taken and stages[other] > stages[value]
                and (stages[other] > last or (stages[other] == last and at_end))
            ),
            None,
        )  # fmt: skip
        if host is None:
            made.append(value)
        else:
            taken.add(host)
            buffers[value] = live[host]
    return Places(buffers, scratch, made)
