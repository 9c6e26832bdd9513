"""Kernels by blocks of rows: products and loops over rows, one block after another, as attention wants it.

The values of such a kernel start with the same axes: some that number the samples, then the rows.  Of each sample, a
block of rows goes through all stages, a product or a loop over its rows each, before the next block begins: what one
stage hands to the next stands in scratch memory for one block.  A product may also be a sum over the rows, which then
adds up block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from adjit.compiler.loops.contract import Piece, PieceOf, lower_piece
from adjit.compiler.loops.ir import REDUCE, SCRATCH, STORE
from adjit.compiler.loops.packed import is_packed
from adjit.compiler.loops.rows import Block, lower_rows, make_scratch, reads_of, share_buffers
from adjit.compiler.loops.scalars import KernelScalars
from adjit.ir.builder import Expr
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Value
from adjit.ir.ops.contraction import free_axes
from adjit.ir.shape import Size

# By axis of a value: which of the leading axes it is, or None.
Roles = tuple[int | None, ...]


@frozen
class Sides:
    """The roles of the axes of a product's operands and result; `summed`: the rows are what it sums over."""

    x: Roles
    y: Roles
    out: Roles
    summed: bool


def contraction_of(value: Value, is_stored: Callable[[Value], bool]) -> Node | None:
    """The packed product that `value` holds in any layout, unless it only views one that is stored."""
    node = value.node
    while node is not None and node.op.name in ("reshape", "permute"):
        (source,) = node.inputs
        if is_stored(source):
            return None
        node = source.node
    return node if node is not None and node.op.name == "dot" and is_packed(node) else None


class Alignment:
    """Which axes of the values of a chain of stages are its leading axes, `rows` of them, and which are columns.

    `aligned` are the results of stages that start with the leading axes; the role of their columns is `rows`: these are
    the free axes of y in the chain's first products.  Values for which `is_outside` holds are read as wholes.
    """

    def __init__(self, rows: int, is_outside: Callable[[Value], bool]) -> None:
        self.rows = rows
        self.is_outside = is_outside
        self.aligned: dict[Value, Roles] = {}
        self._roles: dict[Value, Roles | None] = {}

    def roles(self, value: Value) -> Roles | None:
        """The roles of the axes of `value`; None where these got mixed up."""
        if value in self.aligned:
            return self.aligned[value]
        if value.node is None or self.is_outside(value):
            return (None,) * value.type.ndim
        if value not in self._roles:
            self._roles[value] = _through(value.node, [self.roles(operand) for operand in value.node.inputs])
        return self._roles[value]

    def align(self, value: Value) -> None:
        """Note a value that is found row by row."""
        assert value.node is not None
        found = _through(value.node, [self.roles(operand) for operand in value.node.inputs]) or ()
        columns = [role if role == self.rows else None for role in found[self.rows :]]
        self.aligned[value] = (*range(self.rows), *columns, *[None] * (value.type.ndim - self.rows - len(columns)))

    def align_product(self, value: Value, dot: Node, sides: Sides) -> None:
        """Note a product that starts with the leading axes, if it does."""
        if dot.output is value and sides.out[: self.rows] == tuple(range(self.rows)):
            self.aligned[value] = sides.out

    def sides(self, dot: Node) -> Sides | None:
        """The roles in a product that can be computed block by block, else None.

        One that reads no stage's result has the leading axes in front: its batch, and the first free axis of x.
        """
        given = [self.roles(operand) for operand in dot.inputs]
        contract: Any = dot.attributes["contract"]
        batch: Any = dot.attributes["batch"]
        free = [free_axes(v.type.ndim, contract[n], batch[n]) for n, v in enumerate(dot.inputs)]
        if given[0] is None or given[1] is None:
            return None
        x, y, last = list(given[0]), list(given[1]), self.rows - 1
        if all(role is None for role in (*x, *y)):
            if len(batch[0]) != last or not free[0]:
                return None
            for left, right, role in zip(batch[0], batch[1], range(last), strict=True):
                x[left] = y[right] = role
            x[free[0][0]] = last
            if len(free[0]) == len(free[1]) == 1:
                y[free[1][0]] = self.rows
        for left, right in zip((*batch[0], *contract[0]), (*batch[1], *contract[1]), strict=True):
            role = y[right] if x[left] is None else x[left]
            if y[right] not in (None, role):
                return None
            x[left] = y[right] = role
        out = (*(x[axis] for axis in (*batch[0], *free[0])), *(y[axis] for axis in free[1]))
        batched = {x[axis] for axis in batch[0]} - {None}
        summed = last in [x[axis] for axis in contract[0]]
        lead = [role for role in out if role is not None and role < last]
        if batched != set(range(last)) or len(lead) != last or out.count(last) + summed != 1:
            return None
        self._roles[dot.output] = out
        return Sides(tuple(x), tuple(y), out, summed)


def _through(node: Node, given: Sequence[Roles | None]) -> Roles | None:
    """The roles of the axes of a node's result, from those of its operands."""
    out = node.outputs[0].dims
    if any(roles is None for roles in given):
        return None
    if all(role is None for roles in given for role in roles or ()):
        return (None,) * len(out)
    roles, dims = given[0] or (), node.inputs[0].dims
    attributes: Mapping[str, Any] = node.attributes
    if node.op.family == "scalar":
        merged: list[int | None] = [None] * len(out)
        for each in given:
            for axis, role in enumerate(each or ()):
                if role is not None and merged[axis] not in (None, role):
                    return None
                merged[axis] = merged[axis] if role is None else role
        return tuple(merged)
    match node.op.name:
        case "permute":
            return tuple(roles[axis] for axis in attributes["perm"])
        case "expand":
            return roles if len(dims) == len(out) else None
        case "reshape":
            kept = [(role, dim) for role, dim in zip(roles, dims, strict=True) if dim != 1]
            if [dim for _, dim in kept] != [dim for dim in out if dim != 1]:
                return None
            names = iter(kept)
            return tuple(None if dim == 1 else next(names)[0] for dim in out)
        case _ if node.op.family == "reduction" and "axes" in attributes:
            return tuple(role for axis, role in enumerate(roles) if axis not in attributes["axes"])
    return None


def lower_blocks(scalars: KernelScalars, node: Node, live: Mapping[Value, Value]) -> None:
    """The stages of a `fuse` with `block`; of the results of its region, `live` ones go to the buffers that these have.

    With `diagonal`, only columns up to that many beyond the last row of a block are computed.
    """
    outputs = node.regions[0].outputs
    rows, length, diagonal = (node.attributes.get(name) for name in ("rows", "block", "diagonal"))
    assert isinstance(rows, int) and isinstance(length, int)
    among = set(outputs)
    dots = {value: dot for value in outputs if (dot := contraction_of(value, among.__contains__)) is not None}
    stages = list(_stages(outputs, dots))
    alignment = Alignment(rows, lambda value: value.node is None)
    sides: dict[Value, Sides] = {}
    for value in outputs:
        if value not in dots:
            alignment.align(value)
            continue
        found = alignment.sides(dots[value])
        assert found is not None
        sides[value] = found
        alignment.align_product(value, dots[value], found)
    lead = next(value.dims[:rows] for value in outputs if value in alignment.aligned)
    independent = rows - 1 if any(each.summed for each in sides.values()) else rows
    with scalars.blocks((*lead[:-1], lead[-1] // length), independent) as index:
        start = index[-1] * length
        columns = start + length + diagonal if isinstance(diagonal, int) else None
        block = Block(index[:-1], start, length, lead[-1], columns)
        for number, stage in enumerate(stages):
            later = {value for other in stages[number + 1 :] for value in _read(other, among)}
            buffers = {value: live.get(value) or _scratch(scalars, value, rows, block)
                       for value in stage if value in live or value in later}  # fmt: skip
            first = stage[0]
            if first not in sides:
                _lower_rows(scalars, stage, alignment, block, buffers)
            elif sides[first].summed:
                _add_up(scalars, first, sides[first], block, buffers[first])
            else:
                lower_piece(scalars, first, buffers[first], _pieces(sides[first], block))
            scalars.buffers.update(buffers)


def _stages(outputs: Sequence[Value], dots: Container[Value]) -> Iterator[list[Value]]:
    """Products one by one, and between them all that is computed row by row."""
    rows: list[Value] = []
    for value in outputs:
        if value not in dots:
            rows.append(value)
            continue
        if rows:
            yield rows
        yield [value]
        rows = []
    if rows:
        yield rows


def _read(stage: Sequence[Value], among: Container[Value]) -> set[Value]:
    """What a stage reads of the values `among`."""
    found: set[Value] = set()
    for value in stage:
        assert value.node is not None
        _, reads = reads_of(value.node, lambda v: v.node is None or v in among)
        found |= {read for read in reads if read in among}
    return found


def _scratch(scalars: KernelScalars, value: Value, rows: int, block: Block) -> Value:
    """Memory for one block of `value`."""
    type = value.type.with_dims((block.length, *value.dims[rows:]))
    node = Node(SCRATCH, (), {"shared": True}, (type,), scalars.builder.location)
    scalars.builder.perform(node)
    scalars.scratch[node.output] = (rows - 1, block.start)
    return node.output


def _lower_rows(
    scalars: KernelScalars,
    stage: Sequence[Value],
    alignment: Alignment,
    block: Block,
    buffers: Mapping[Value, Value],
) -> None:
    """A loop over the rows of the block."""
    rows = alignment.rows
    places = share_buffers(stage, rows, buffers)
    inside = {**places.buffers, **make_scratch(scalars, rows, places.scratch)}
    inside |= {value: _scratch(scalars, value, rows, block) for value in places.made}
    widths: dict[Value, tuple[Size, ...]] = {}
    if block.columns is not None:
        widths = {v: (block.columns,) for v in stage if alignment.aligned[v][rows:] == (rows,)}
    lower_rows(scalars, rows, stage, inside, block=block, widths=widths)
    if block.columns is not None:  # all its reductions are over columns
        for node in scalars.builder.scope.region.nodes[-1].regions[0].walk():
            if node.op is REDUCE:
                node.attributes["extent"] = (block.columns,)
    for value in inside:  # a later stage computes what it has no buffer of
        scalars.buffers.pop(value, None)


def _pieces(sides: Sides, block: Block) -> PieceOf:
    """The part of each axis of the operands that belongs to the block."""

    def piece(side: int, axis: int, dim: Size) -> Piece:
        role = (sides.x, sides.y)[side][axis]
        if role is not None and role < len(block.index):
            return block.index[role], 1
        if role == len(block.index):
            return block.start, block.length
        return 0, dim if role is None or block.columns is None else block.columns

    return piece


def _add_up(scalars: KernelScalars, value: Value, sides: Sides, block: Block, buffer: Value) -> None:
    """Add the block's part of a product that sums over the rows; columns that no block before has had are stored."""
    column = next((at for at, role in enumerate(sides.out) if role == len(block.index) + 1), None)

    def add(inside: KernelScalars, part: Expr, place: Size, index: Sequence[Size]) -> None:
        inside.written.add(buffer)
        known = [(block.start - block.length, block.total)]
        if block.columns is not None and column is not None:
            known.append((block.columns - block.length - 1 - index[column], block.columns))
        follows = inside.inside(known)
        total = inside.select(follows, lambda: inside.load(buffer, (place,)) + part, lambda: part)
        inside.write(STORE, buffer, (place,), total)

    lower_piece(scalars, value, buffer, _pieces(sides, block), add)
