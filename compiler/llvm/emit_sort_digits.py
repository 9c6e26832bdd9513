"""A row sorted by the digits of its keys (`sorting.py`), for targets without AVX2: keys and indices, then elements
by index.
"""

from __future__ import annotations

from adjit.compiler.llvm import sorting
from adjit.compiler.llvm.sequences import counted, offset
from adjit.compiler.llvm.sort_keys import SortedRow, constant, integers, lane_numbers
from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.words import translate
from adjit.ir.types import I64

_LANES = 8


def emit_by_digits(row: SortedRow, wide: bool) -> None:
    """Sort all of a row and store the window; `wide` entries are two words, a key and an index."""
    f = row.f
    define_radix(row)
    buckets = buckets_of(row)
    _fill(row, wide)
    spare = offset(f, "i8", row.room, f.let(f"mul nsw i64 {row.length}, {8 << wide}"))
    low = 0 if wide else 32
    places = ", ".join(f"i64 {f.let(f'ptrtoint ptr {place} to i64')}" for place in (row.room, spare))
    rest = ", ".join(f"i64 {item}" for item in (row.length, int(wide), low, low + row.keys.bits, buckets))
    entries = f.let(f"inttoptr i64 {f.let(f'call i64 @radix_sorted({places}, {rest})')} to ptr")
    with counted(f, "0", row.count, 1) as i:
        place = f.let(f"add nuw nsw i64 {i}, {row.first}")
        if wide:
            entry = offset(f, "i64", entries, f.let(f"or disjoint i64 {f.let(f'shl i64 {place}, 1')}, 1"))
            index = f.let(f"load i64, ptr {entry}, align 8")
        else:
            entry = f.let(f"load i64, ptr {offset(f, 'i64', entries, place)}, align 8")
            index = f.let(f"and i64 {entry}, {0xFFFFFFFF}")
        row.store_element(i, index)
        if row.indices:
            f.line(f"store i64 {index}, ptr {offset(f, 'i64', row.indices, i)}, align 8")


def define_radix(row: SortedRow) -> None:
    """The word functions of the sort by digits."""
    module = row.w.module
    if not module.has("radix_sorted"):
        module.define("radix_sorted", translate(sorting.FUNCTIONS, {}, (), table=False))


def buckets_of(row: SortedRow) -> str:
    """The address, as a word, of room for the counts of digits."""
    return row.f.let(f"ptrtoint ptr {row.w.room(LLType(I64), sorting.BUCKETS)} to i64")


def _fill(row: SortedRow, wide: bool) -> None:
    """The entries of the row's elements, several at a time."""
    f = row.f
    stop = f.let(f"and i64 {row.length}, {-_LANES}")
    for start, end, lanes in (("0", stop, _LANES), (stop, row.length, 1)):
        with counted(f, start, end, lanes) as i:
            _fill_some(row, i, lanes, wide)


def _fill_some(row: SortedRow, i: str, lanes: int, wide: bool) -> None:
    f, bits = row.f, row.keys.bits
    at = offset(f, f"i{bits}", row.source, i)
    key = row.keys.of(f.let(f"load {integers(bits, lanes)}, ptr {at}, align {bits // 8}"), lanes)
    words, index = integers(64, lanes), lane_numbers(f, i, lanes)
    if bits < 64:
        key = f.let(f"zext {integers(bits, lanes)} {key} to {words}")
    if not wide:
        above = f.let(f"shl {words} {key}, {constant(32, 64, lanes)}")
        both = f.let(f"or {words} {above}, {index}")
        f.line(f"store {words} {both}, ptr {offset(f, 'i64', row.room, i)}, align 8")
        return
    for lane in range(lanes):
        place = offset(f, "i64", row.room, f.let(f"shl i64 {f.let(f'add i64 {i}, {lane}')}, 1"))
        for part, at in ((key, place), (index, offset(f, "i64", place, 1))):
            item = part if lanes == 1 else f.let(f"extractelement {words} {part}, i32 {lane}")
            f.line(f"store i64 {item}, ptr {at}, align 8")
