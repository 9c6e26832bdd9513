"""Rows fetched ahead: while the row at hand is computed, memory already sends the next one.

A loop over rows reads memory in its first pass over a row only; the other passes would leave memory idle.  What memory
sends comes to the second cache, since the first one waits for few lines at a time (Zen 4: layer_norm's gradient takes
0.6 of the time, sums over rows 0.85); of arrays that a cache holds, to the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adjit.compiler.llvm.emit_choice import column_stride, cost, extents_of, variables_of
from adjit.compiler.llvm.emit_state import Writer
from adjit.compiler.llvm.sequences import offset, prefetch
from adjit.compiler.llvm.text import LLType
from adjit.compiler.loops.ir import FOR, LOAD, REDUCE, STORE, UPDATE
from adjit.compiler.memory import LINE
from adjit.ir.graph import Node, Value

# Bytes of an array that a core's own cache may hold; of one that the last cache sends as fast as the first one takes
# it; of one that no cache holds; and of a row beside the next.
_SMALL, _NEAR, _HUGE, _LONGEST = 1 << 20, 6 << 20, 16 << 20, 32 << 10
# Bytes that are fetched ahead in a row of which a few vectors are read at a time; in rows that are read once from an
# array that no cache holds; and in a row that is too long to be fetched as a whole.
_AHEAD, _STREAM, _FAR = 512, 2 << 10, 8 << 10
# What the only pass over a row may cost: memory is busy all the time, and what is fetched ahead only stands in its way
# where a cache holds the array.  A mere sum gains by it.
_CHEAP = 8


def fetched_ahead(node: Node, passes: Sequence[Sequence[Node]]) -> dict[Node, int]:
    """Loads in the loops inside a `for` over rows, by each the elements from a row to the next: one load a buffer.

    `passes` are the nodes of its body, those that run together side by side.  Each pass fetches for few buffers, so
    that memory is busy all the time, and the dearest first, where memory has most time.
    """
    names = variables_of(node)
    if not names:
        return {}
    written = {inner.inputs[0] for inner in node.regions[0].walk() if inner.op in (STORE, UPDATE)}
    found: dict[Value, dict[int, tuple[Node, int]]] = {}
    loops = [loop for nodes in passes for loop in _loops(nodes)]
    once = len(loops) == 1 and cost(loops[0].regions[0]) <= _CHEAP
    cheap = once and cost(loops[0].regions[0]) > 1
    costs = [sum(cost(loop.regions[0]) for loop in _loops(nodes)) for nodes in passes]
    for number, nodes in enumerate(passes):
        for loop in _loops(nodes):
            for load in loop.regions[0].nodes:
                if load.op is not LOAD or len(load.inputs) != 1 or load.inputs[0] in written:
                    continue
                step = column_stride(load, names[-1])
                if column_stride(load, variables_of(loop)[-1]) != 1 or not isinstance(step, int):
                    continue
                size = load.inputs[0].type.dtype.itemsize
                if once and is_in_memory(load.inputs[0]) and step == extents_of(loop)[-1]:
                    step = _STREAM // size
                elif cheap:
                    continue
                elif loop in nodes and step * size > _LONGEST:
                    step = _FAR // size
                if _is_worth_it(load.inputs[0], step):
                    found.setdefault(load.inputs[0], {}).setdefault(number, (load, step))
    taken = [0] * len(passes)
    chosen = {}
    for loads in sorted(found.values(), key=len):
        best = min(loads, key=lambda number: (taken[number], -costs[number]))
        taken[best] += 1
        chosen[loads[best][0]] = loads[best][1]
    return chosen


def columns_ahead(sum: Node, column: str) -> Iterator[tuple[Node, int]]:
    """Loads of a sum over rows, a vector of columns at a time, each with the elements that it fetches ahead in its row.

    Several rows pass side by side, each too short a while for the processor to see where it goes.
    """
    for load in sum.regions[0].nodes:
        plain = load.op is LOAD and len(load.inputs) == 1 and is_large(load.inputs[0])
        if plain and column_stride(load, column) == 1 and column_stride(load, variables_of(sum)[0]) != 0:
            yield load, _AHEAD // load.inputs[0].type.dtype.itemsize


def _loops(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        for inner in (node, *(deeper for region in node.regions for deeper in region.walk())):
            if inner.op in (FOR, REDUCE) and variables_of(inner):
                yield inner


def is_in_memory(buffer: Value, least: int = _HUGE) -> bool:
    """Whether no cache holds an array: it has `least` bytes."""
    size = buffer.type.size
    return isinstance(size, int) and size * buffer.type.dtype.itemsize >= least


def _is_worth_it(buffer: Value, step: int) -> bool:
    """Whether rows `step` elements apart fit the first cache, and the array does not."""
    return 2 * LINE <= step * buffer.type.dtype.itemsize <= _LONGEST and is_large(buffer)


def is_large(buffer: Value) -> bool:
    """Whether an array may lie in memory: where its size is open, it may."""
    size = buffer.type.size
    return not isinstance(size, int) or size * buffer.type.dtype.itemsize >= _SMALL


def fetch_ahead(w: Writer, buffer: Value, type: LLType, at: str, step: int) -> None:
    """Ask for what is `step` elements after the vector at `at` of a buffer."""
    cache = 2 if is_in_memory(buffer, _NEAR) else 1
    line = min(type.lanes, LINE // type.dtype.itemsize)
    for start in range(0, type.lanes, line):  # the line of the last element: a row may begin amid the first one
        prefetch(w.f, offset(w.f, type.element, at, step + start + line - 1), cache=cache)
