"""Sorting networks in vector registers: up to 16 vectors of keys, ordered as numbers without sign.

The vectors are the rows of a table.  Batcher's network sorts its columns; then groups of columns are merged two and two
by bitonic merges, until the table reads row by row in order.  Comparisons are made between whole rows while they can,
the first row with the last one mirrored, and only in the end within a row.
Source: Blacher, Giesen, Sanders and Wassenberg, "Vectorized and performance-portable Quicksort", 2021.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adjit.compiler.llvm.gemm_tile import below, masked_load, masked_store, offset, when
from adjit.compiler.llvm.text import Function, LLType, Module

# Rows of the largest table; what the network may be cut to.
MOST_ROWS = 16
_ROWS = (1, 2, 4, 8, MOST_ROWS)
_ATTRIBUTES = 'noinline nounwind "hot" "prefer-vector-width"="512"'


def small_sort(module: Module, type: LLType) -> str:
    """`void @...(ptr data, ptr out, i64 n)`: the keys of data in order, for n up to 16 vectors; data may be out."""
    name = module.shared(f"adjit.sort.small.{type.suffix}")
    if module.has(name):
        return name
    f = Function(module, name, "ptr %data, ptr %out, i64 %n", attributes=_ATTRIBUTES)
    for rows in _ROWS:
        if rows == MOST_ROWS:
            _sort_rows(f, type, rows)
            break
        with when(f, f.let(f"icmp sle i64 %n, {rows * type.lanes}")):
            _sort_rows(f, type, rows)
            f.line("ret void")
            f.start(f.label("larger"))
    f.line("ret void")
    f.finish()
    return name


def _sort_rows(f: Function, type: LLType, rows: int) -> None:
    """Load, sort and store `rows` vectors, of which more than half are full; lanes that do not exist are greatest."""
    full = rows // 2
    masks = [below(f, type.lanes, f.let(f"sub i64 %n, {row * type.lanes}")) for row in range(full, rows)]
    table = []
    for row in range(rows):
        at = offset(f, type.element, "%data", row * type.lanes)
        if row < full:
            table.append(f.let(f"load {type.llvm}, ptr {at}, align {type.dtype.itemsize}"))
        else:
            table.append(masked_load(f, type, at, masks[row - full], type.constant(-1)))
    for row, keys in enumerate(sorted_rows(f, type, table)):
        at = offset(f, type.element, "%out", row * type.lanes)
        if row < full:
            f.line(f"store {type.llvm} {keys}, ptr {at}, align {type.dtype.itemsize}")
        else:
            masked_store(f, type, keys, at, masks[row - full])


def sorted_rows(f: Function, type: LLType, rows: Sequence[str]) -> list[str]:
    """The keys of vectors in order, from the first lane of the first vector on; their number is a power of two."""
    table = list(rows)
    for i, j in _batcher(len(table)):
        table[i], table[j] = _both(f, type, table[i], table[j])
    width = 2
    while width <= type.lanes:
        _merge(f, type, table, width)
        width *= 2
    return table


def _merge(f: Function, type: LLType, table: list[str], width: int) -> None:
    """Merge the sorted halves of each group of `width` columns, read row by row."""
    reverse = [lane ^ (width - 1) for lane in range(type.lanes)]
    block = len(table)
    while block > 1:
        for start in range(0, len(table), block):
            for row in range(block // 2):
                low, high = start + row, start + block - 1 - row
                mirrored = _shuffled(f, type, table[high], reverse)
                table[low], table[high] = _both(f, type, table[low], mirrored)
        block //= 2
    distance = width // 2
    partners = reverse
    while distance:
        chosen = ", ".join(f"i1 {str(not lane & distance).lower()}" for lane in range(type.lanes))
        for row, own in enumerate(table):
            lesser, greater = _both(f, type, own, _shuffled(f, type, own, partners))
            table[row] = f.let(f"select <{type.lanes} x i1> <{chosen}>, {type.llvm} {lesser}, {type.llvm} {greater}")
        distance //= 2
        partners = [lane ^ distance for lane in range(type.lanes)]


def _both(f: Function, type: LLType, left: str, right: str) -> tuple[str, str]:
    """The lesser and the greater key in each lane."""
    return f.intrinsic("umin", type, left, right), f.intrinsic("umax", type, left, right)


def _shuffled(f: Function, type: LLType, row: str, lanes: Sequence[int]) -> str:
    places = ", ".join(f"i32 {lane}" for lane in lanes)
    return f.let(f"shufflevector {type.llvm} {row}, {type.llvm} poison, <{type.lanes} x i32> <{places}>")


def _batcher(count: int) -> Iterator[tuple[int, int]]:
    """The comparisons of Batcher's odd-even merge sort of `count` items, a power of two.

    Source: Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M.
    """
    run = 1
    while run < count:
        distance = run
        while distance:
            for start in range(distance % run, count - distance, 2 * distance):
                for i in range(start, start + min(distance, count - start - distance)):
                    if i // (2 * run) == (i + distance) // (2 * run):
                        yield i, i + distance
            distance //= 2
        run *= 2
