"""Sums over tiles of rows, found while a kernel goes row by row: totals in scratch memory, which each row adds to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adjit.compiler.loops.ir import SCRATCH, STORE, UPDATE, lanes_of
from adjit.compiler.loops.scalars import KernelScalars
from adjit.compiler.tile_sums import tile_of
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Value
from adjit.ir.shape import Size


@frozen
class TileTotal:
    """The sum over `rows` rows at a time of `term`, which becomes an element or a row of `result`.

    `totals` has a place for each column, or (`whole`) for each partial sum of the order `lanes`.
    """

    term: Value
    rows: int
    whole: bool
    totals: Value
    result: Value

    def clear(self, scalars: KernelScalars) -> None:
        """Begin a tile."""
        with scalars.loop(self.totals.dims) as place:
            scalars.write(STORE, self.totals, place, scalars.constant(0, self.totals.dtype))

    def add(self, scalars: KernelScalars, row: Size) -> None:
        """Add a row's terms, in a loop over its columns."""
        if self.whole:
            lanes, columns = self.totals.dims[0], self.term.dims[1]
            with scalars.loop((columns // lanes, lanes)) as (group, lane):
                term = scalars.element(self.term, (row, group * lanes + lane))
                scalars.write(UPDATE, self.totals, (lane,), term, kind="add")
            return
        with scalars.loop(self.totals.dims) as (column,):
            self.add_at(scalars, row, column)

    def add_at(self, scalars: KernelScalars, row: Size, column: Size) -> None:
        """Add the term of one column."""
        scalars.write(UPDATE, self.totals, (column,), scalars.element(self.term, (row, column)), kind="add")

    def finish(self, scalars: KernelScalars, tile: Size) -> None:
        """Store what tile number `tile` amounts to."""
        if self.whole:
            total = scalars.sum_in_lanes(self.totals.dims, lambda place: scalars.load(self.totals, (place,)))
            scalars.write(STORE, self.result, (tile,), total)
            return
        with scalars.loop(self.totals.dims) as (column,):
            scalars.write(STORE, self.result, (tile, column), scalars.load(self.totals, (column,)))


def tile_totals(
    scalars: KernelScalars, sums: Mapping[Value, int], results: Mapping[Value, Value]
) -> Sequence[TileTotal]:
    """The sums over tiles that a kernel finds, of `sums` and the rows of their tiles."""
    found = []
    for value in sums:
        tile = tile_of(value.node) if value.node else None
        assert tile is not None
        place = lanes_of(value.dtype) if tile.whole else value.dims[1]
        type = value.type.with_dims((place,))
        node = Node(SCRATCH, (), {"shared": False}, (type,), scalars.builder.location)
        scalars.builder.perform(node)
        scalars.written.add(node.output)
        found.append(TileTotal(tile.term, tile.rows, tile.whole, node.output, results[value]))
    return found
