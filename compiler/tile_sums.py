"""Large sums in two stages: the sums of tiles of rows, which kernels by rows find on the way, then their sum.

    reduce_sum x {axes=[0]}      ->  reduce_sum (reduce_sum (reshape x : [tiles, rows, n]) {axes=[1]}) {axes=[0]}
    reduce_sum x {axes=[0, 1]}   ->  the same with axes=[1, 2] inside
    reduce_sum v {axes=[0]}      ->  reduce_sum (reduce_sum (reshape (pad v) : [tiles, terms]) {axes=[1]}) {axes=[0]}

Tiles are the runs and blocks that the order of the sum has anyway (`adjit.compiler.loops.ir`), so the bits stay; a sum
whose rows do not make up whole tiles stays as it is.  The sums of a vector's blocks are found by any kernel that goes
through its elements: for them zeros are thought up behind the last ones, which are nowhere in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.compiler.loops.ir import BLOCK, RUN, lanes_of
from adjit.ir.builder import Builder
from adjit.ir.frozen import frozen
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.ops.arrays import reshape, window_of
from adjit.ir.ops.reduction import cumulate_sum, reduce_sum
from adjit.ir.ops.structure import pad
from adjit.ir.rewrite import rewrite
from adjit.ir.shape import Size

# Bytes of an array below which a sum is not worth a second stage.
LEAST = 4 << 20
# Tiles that one core adds up without delay.
MOST = 1 << 14
# Blocks of a vector from which on its sum is worth a second stage.
FEWEST = 2


@frozen
class Tile:
    """The sum of `rows` rows of `term` at a time: over the columns too if `whole`, else column by column.

    The elements of a vector are its rows.  `views` stand between the term and the sum.
    """

    term: Value
    rows: int
    whole: bool
    views: tuple[Node, ...]

    @property
    def is_flat(self) -> bool:
        """Whether these are the blocks of a vector."""
        return self.term.type.ndim == 1


def tile_sums(graph: Graph) -> Graph:
    """The graph with large sums over the rows of matrices in two stages."""
    if not any(_rows_of_tile(node) or _blocks(node) for node in graph.walk()):
        return graph
    return rewrite(graph, _in_two_stages, follow_calls=False)


def tile_of(node: Node) -> Tile | None:
    """What the first stage of a sum adds up, if `node` is one."""
    if node.op is not reduce_sum or node.inputs[0].node is None:
        return None
    if node.inputs[0].type.ndim == 2:
        return _flat_tile(node, node.inputs[0].node)
    if node.inputs[0].type.ndim != 3:
        return None
    view = node.inputs[0].node
    (_, rows, columns), whole = node.inputs[0].dims, node.attributes["axes"] == (1, 2)
    term = view.inputs[0]
    if view.op.name != "reshape" or not (whole or node.attributes["axes"] == (1,)):
        return None
    if not _is_large(term) or not isinstance(rows, int):
        return None
    if term.type.ndim != 2 or term.dims[1] != columns or rows != _tile_rows(term, whole=whole):
        return None
    return Tile(term, rows, whole, (view,))


def _flat_tile(node: Node, view: Node) -> Tile | None:
    """What `node` adds up, if these are the blocks of a vector."""
    if view.op.name != "reshape" or node.attributes["axes"] != (1,) or view.output.dims[1] != BLOCK:
        return None
    padded = view.inputs[0]
    before = padded.node
    if before is not None and before.op.name == "pad" and before.attributes["low"] == (0,):
        plain = before.attributes["interior"] == (0,) and before.attributes["value"] == 0
        tile = Tile(before.inputs[0], BLOCK, True, (view, before)) if plain else None
    else:
        tile = Tile(padded, BLOCK, True, (view,))
    count = None if tile is None or not tile.is_flat else _count_of_blocks(tile.term)
    return tile if count == view.output.dims[0] else None


def _in_two_stages(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    rows = _rows_of_tile(node)
    if rows is None:
        return _sum_of_blocks(builder, node, operands[0]) if _blocks(node) else None
    x = builder.expr(operands[0])
    count, columns = x.shape
    whole = len(node.attributes["axes"]) == 2  # type: ignore[arg-type]
    parts = reduce_sum(reshape(x, (count // rows, rows, columns)), axes=(1, 2) if whole else (1,))
    return [_sum_in_order(parts, whole, node.output.dims).value]


def _sum_in_order(parts: Any, whole: bool, dims: tuple[Size, ...]) -> Any:
    """The sum of the tiles' sums, in their order."""
    tiles = parts.shape[0]
    if isinstance(tiles, int) and tiles > RUN:  # a sum would be cut into runs
        last = window_of(cumulate_sum(parts, axis=0, reverse=False), (tiles - 1,), (1,))
        return reshape(last, dims)
    if whole:  # the order of sums over the last axis is another
        parts = reshape(parts, (tiles, 1))
    return reshape(reduce_sum(parts, axes=(0,)), dims)


def _sum_of_blocks(builder: Builder, node: Node, vector: Value) -> Sequence[Value]:
    x, (terms,) = builder.expr(vector), vector.dims
    blocks = _count_of_blocks(vector)
    assert blocks is not None and isinstance(terms, int)
    if blocks * BLOCK != terms:
        x = pad(x, low=(0,), high=(blocks * BLOCK - terms,), interior=(0,), value=0.0)
    parts = reduce_sum(reshape(x, (blocks, BLOCK)), axes=(1,))
    return [_sum_in_order(parts, True, node.output.dims).value]


def _blocks(node: Node) -> int | None:
    """The blocks that the terms of a vector's sum make up; None where the sum stays as it is."""
    if node.op is not reduce_sum or node.attributes["axes"] != (0,) or node.inputs[0].type.ndim != 1:
        return None
    return _count_of_blocks(node.inputs[0])


def _count_of_blocks(vector: Value) -> int | None:
    (terms,) = vector.dims
    if not vector.dtype.is_float or not isinstance(terms, int):
        return None
    count = -(-terms // BLOCK)
    return count if FEWEST <= count <= MOST else None


def _rows_of_tile(node: Node) -> int | None:
    """The rows of a tile of the sum `node`; None where it stays as it is."""
    if node.op is not reduce_sum or node.attributes["axes"] not in ((0,), (0, 1)):
        return None
    x = node.inputs[0]
    if x.type.ndim != 2 or not _is_large(x):
        return None
    return _tile_rows(x, whole=node.attributes["axes"] == (0, 1))


def _tile_rows(x: Value, *, whole: bool) -> int | None:
    count, columns = x.dims
    assert isinstance(count, int) and isinstance(columns, int)
    if whole:
        rows = BLOCK // columns
        if columns % lanes_of(x.dtype) or BLOCK % columns:
            return None
    else:
        rows = -(-count // -(-count // RUN))
    tiles = count // rows if rows and count % rows == 0 else 0
    return rows if 1 < tiles <= (MOST if whole else RUN) else None


def _is_large(x: Value) -> bool:
    size = x.type.size
    return x.dtype.is_float and isinstance(size, int) and size * x.dtype.itemsize >= LEAST
