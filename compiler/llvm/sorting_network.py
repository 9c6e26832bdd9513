"""Sorting networks in vector registers: up to 16 vectors of keys, ordered as numbers without sign.

The vectors are the rows of a table.  Batcher's network sorts its columns; then groups of columns are merged two and two
by bitonic merges, until the table reads row by row in order.  Comparisons are made between whole rows while they can,
the first row with the last one mirrored, and only in the end within a row.  The merges of many rows are a loop, which
takes permutations of lanes from a table: LLVM needs a third of the time for it.
Source: Blacher, Giesen, Sanders and Wassenberg, "Vectorized and performance-portable Quicksort", 2021.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adjit.compiler.llvm.sequences import below, counted, masked_load, masked_store, offset, when
from adjit.compiler.llvm.sorting_lanes import choice, choices, compared, permutations, permuted, turned
from adjit.compiler.llvm.text import Function, LLType, Module

# Rows of the largest table, and of the largest whose merges are written out.
MOST_ROWS, FEW_ROWS = 16, 2
_ROWS = (1, 2, 4, 8, MOST_ROWS)
_ATTRIBUTES = 'noinline nounwind "best" "prefer-vector-width"="512"'


def small_sort(module: Module, type: LLType) -> str:
    """`void @...(ptr data, ptr out, i64 n)`: the keys of data in order, for n up to 16 vectors; data may be out."""
    name = module.shared(f"adjit.sort.small.{type.suffix}")
    if module.has(name):
        return name
    f = Function(module, name, "ptr %data, ptr %out, i64 %n", attributes=_ATTRIBUTES)
    table = [f.let(f"alloca {type.llvm}, align 64") for _ in range(MOST_ROWS)]
    for rows in _ROWS:
        if rows == MOST_ROWS:
            _sort_rows(f, type, table)
            break
        with when(f, f.let(f"icmp sle i64 %n, {rows * type.lanes}")):
            _sort_rows(f, type, table[:rows])
            f.line("ret void")
            f.start(f.label("larger"))
    f.line("ret void")
    f.finish()
    return name


def _sort_rows(f: Function, type: LLType, table: Sequence[str]) -> None:
    """Load, sort and store vectors, of which more than half are full; lanes that do not exist are greatest.

    `table` is room for them on the stack, as which LLVM uses registers.
    """
    count, keys = len(table), []
    full = count // 2
    masks = [below(f, type.lanes, f.let(f"sub i64 %n, {row * type.lanes}")) for row in range(full, count)]
    for row in range(count):
        at = offset(f, type.element, "%data", row * type.lanes)
        if row < full:
            keys.append(f.let(f"load {type.llvm}, ptr {at}, align {type.dtype.itemsize}"))
        else:
            keys.append(masked_load(f, type, at, masks[row - full], type.constant(-1)))
    for row, found in enumerate(sorted_rows(f, type, keys) if count <= FEW_ROWS else _sorted(f, type, keys, table)):
        at = offset(f, type.element, "%out", row * type.lanes)
        if row < full:
            f.line(f"store {type.llvm} {found}, ptr {at}, align {type.dtype.itemsize}")
        else:
            masked_store(f, type, found, at, masks[row - full])


# -- written out ------------------------------------------------------------------------------------------------------
def sorted_rows(f: Function, type: LLType, rows: Sequence[str]) -> list[str]:
    """The keys of vectors in order, from the first lane of the first vector on; their number is a power of two."""
    table = turned(f, type, rows)
    for i, j in _batcher(len(table)):
        table[i], table[j] = compared(f, type, table[i], table[j])
    width = 2
    while width <= type.lanes:
        for i, j in _mirrored(len(table)):
            reverse = f.shuffle(type, _reverse(type.lanes, width), table[j])
            table[i], table[j] = compared(f, type, table[i], reverse)
        for partners, chosen in _stages(type.lanes, width):
            flags = ", ".join(f"i1 {str(flag).lower()}" for flag in chosen)
            for row, own in enumerate(table):
                lesser, greater = compared(f, type, own, f.shuffle(type, partners, own))
                both = f"{type.llvm} {lesser}, {type.llvm} {greater}"
                table[row] = f.let(f"select <{type.lanes} x i1> <{flags}>, {both}")
        width *= 2
    return turned(f, type, table)


# -- as a loop --------------------------------------------------------------------------------------------------------
def _sorted(f: Function, type: LLType, rows: Sequence[str], table: Sequence[str]) -> list[str]:
    """`sorted_rows` of more rows, which stand in `table` meanwhile."""
    keys = turned(f, type, rows)
    for i, j in _batcher(len(keys)):
        keys[i], keys[j] = compared(f, type, keys[i], keys[j])
    _put(f, type, table, keys)
    widths = (type.lanes - 1).bit_length()
    with counted(f, "0", str(widths), 1) as level:
        # The stages within rows are 1, 2, 3, ... for the widths 2, 4, 8, ...
        after = f.let(f"add nuw i64 {level}, 1")
        before = f.let(f"lshr i64 {f.let(f'mul nuw i64 {level}, {after}')}, 1")
        keys = _taken(f, type, table)
        reverse, _ = _stage(f, type, before)
        for i, j in _mirrored(len(keys)):
            keys[i], keys[j] = compared(f, type, keys[i], permuted(f, type, keys[j], reverse))
        _put(f, type, table, keys)
        with counted(f, before, f.let(f"add nuw i64 {before}, {after}"), 1) as number:
            partners, chosen = _stage(f, type, number)
            keys = _taken(f, type, table)
            for row, own in enumerate(keys):
                lesser, greater = compared(f, type, own, permuted(f, type, own, partners))
                both = f"{type.llvm} {lesser}, {type.llvm} {greater}"
                keys[row] = f.let(f"select <{type.lanes} x i1> {chosen}, {both}")
            _put(f, type, table, keys)
    return turned(f, type, _taken(f, type, table))


def _put(f: Function, type: LLType, table: Sequence[str], keys: Sequence[str]) -> None:
    for place, row in zip(table, keys, strict=True):
        f.line(f"store {type.llvm} {row}, ptr {place}, align 64")


def _taken(f: Function, type: LLType, table: Sequence[str]) -> list[str]:
    return [f.let(f"load {type.llvm}, ptr {place}, align 64") for place in table]


def _stage(f: Function, type: LLType, number: str) -> tuple[str, str]:
    """Of a stage within rows: the lanes' partners, and which of them keep the lesser key."""
    lanes, widths = type.lanes, [2 << k for k in range((type.lanes - 1).bit_length())]
    stages = [stage for width in widths for stage in _stages(lanes, width)]
    partners, moved = permutations(f, type, f"@adjit.sort.partners.{type.suffix}", [each for each, _ in stages])
    flags = choices(f, type, f"@adjit.sort.chosen.{type.suffix}", [each for _, each in stages])
    row = f.let(f"load {moved.llvm}, ptr {offset(f, moved.llvm, partners, number)}, align 32")
    return row, choice(f, type, flags, number)


# -- comparisons ------------------------------------------------------------------------------------------------------
def _mirrored(rows: int) -> Iterator[tuple[int, int]]:
    """The comparisons between rows of a bitonic merge, first with last, then within halves, quarters, ..."""
    block = rows
    while block > 1:
        for start in range(0, rows, block):
            for row in range(block // 2):
                yield start + row, start + block - 1 - row
        block //= 2


def _reverse(lanes: int, width: int) -> list[int]:
    return [lane ^ (width - 1) for lane in range(lanes)]


def _stages(lanes: int, width: int) -> Iterator[tuple[list[int], list[bool]]]:
    """The comparisons within rows of a bitonic merge of `width` columns: partners, and the lanes of lesser keys."""
    distance = width // 2
    partners = _reverse(lanes, width)
    while distance:
        yield partners, [not lane & distance for lane in range(lanes)]
        distance //= 2
        partners = [lane ^ distance for lane in range(lanes)]


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
