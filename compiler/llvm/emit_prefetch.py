"""Rows fetched ahead: while the row at hand is computed, memory already sends the next one.

A loop over rows reads memory in its first pass over a row only; the other passes would leave memory idle.
"""

from __future__ import annotations

from collections.abc import Iterator

from adjit.compiler.llvm.emit_choice import column_stride, cost, variables_of
from adjit.compiler.llvm.emit_state import Writer
from adjit.compiler.llvm.gemm_tile import offset, prefetch
from adjit.compiler.llvm.text import LLType
from adjit.compiler.loops.ir import FOR, LOAD, REDUCE, STORE, UPDATE
from adjit.ir.graph import Node, Region, Value

_LINE = 64
# Bytes of an array that a core's own cache may hold; and of a row that it holds beside the next.
_SMALL, _LONGEST = 1 << 20, 32 << 10
# Bytes that are fetched ahead in a row of which a few vectors are read at a time.
_AHEAD = 512


def fetched_ahead(node: Node) -> dict[Node, int]:
    """Loads in the loops inside a `for` over rows, by each the elements from a row to the next: one load a buffer.

    The load is the one in the dearest loop, where memory has most time.
    """
    names = variables_of(node)
    if not names:
        return {}
    (region,) = node.regions
    written = {inner.inputs[0] for inner in region.walk() if inner.op in (STORE, UPDATE)}
    best: dict[Value, tuple[int, Node, int]] = {}
    for loop in _loops(region):
        body = loop.regions[0]
        for load in body.nodes:
            if load.op is not LOAD or len(load.inputs) != 1 or load.inputs[0] in written:
                continue
            step = column_stride(load, names[-1])
            if column_stride(load, variables_of(loop)[-1]) != 1 or not isinstance(step, int):
                continue
            found = best.get(load.inputs[0])
            if _is_worth_it(load.inputs[0], step) and (found is None or cost(body) > found[0]):
                best[load.inputs[0]] = cost(body), load, step
    return {load: step for _, load, step in best.values()}


def columns_ahead(sum: Node, column: str) -> Iterator[tuple[Node, int]]:
    """Loads of a sum over rows, a vector of columns at a time, each with the elements that it fetches ahead in its row.

    Several rows pass side by side, each too short a while for the processor to see where it goes.
    """
    for load in sum.regions[0].nodes:
        plain = load.op is LOAD and len(load.inputs) == 1 and _is_large(load.inputs[0])
        if plain and column_stride(load, column) == 1 and column_stride(load, variables_of(sum)[0]) != 0:
            yield load, _AHEAD // load.inputs[0].type.dtype.itemsize


def _loops(region: Region) -> Iterator[Node]:
    for node in region.walk():
        if node.op in (FOR, REDUCE) and variables_of(node):
            yield node


def _is_worth_it(buffer: Value, step: int) -> bool:
    """Whether rows `step` elements apart fit the first cache, and the array does not."""
    return 2 * _LINE <= step * buffer.type.dtype.itemsize <= _LONGEST and _is_large(buffer)


def _is_large(buffer: Value) -> bool:
    """Whether an array may lie in memory: where its size is open, it may."""
    size = buffer.type.size
    return not isinstance(size, int) or size * buffer.type.dtype.itemsize >= _SMALL


def fetch_ahead(w: Writer, type: LLType, at: str, step: int) -> None:
    """Ask for what is `step` elements after the vector at `at`."""
    for start in range(0, type.lanes, max(1, _LINE // type.dtype.itemsize)):
        prefetch(w.f, offset(w.f, type.element, at, step + start))
