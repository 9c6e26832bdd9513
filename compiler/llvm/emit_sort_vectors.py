"""A row sorted by vectors of keys (`quicksort.py`).

Values alone are sorted as their keys, and made of them again.  With indices, an entry is a word: the key, or as many
of its leading bits as matter or fit, above the element's index, so that equal keys keep their order.  Where bits were
left out, runs of entries that agree in the others are sorted again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from adjit.compiler.llvm import sorting
from adjit.compiler.llvm.emit_state import Slot, size_of
from adjit.compiler.llvm.quicksort import sort_window
from adjit.compiler.llvm.sequences import below, counted, masked_load, masked_store, maximum, offset, splat, when
from adjit.compiler.llvm.sort_keys import SortedRow, integers, lane_numbers
from adjit.compiler.llvm.sorting_lanes import compressed, counted_lanes, vector_bits
from adjit.compiler.llvm.sorting_network import FEW_ROWS, sorted_rows
from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.vecmath_lanes import any_lane
from adjit.compiler.llvm.words import translate
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node
from adjit.ir.shape import Size
from adjit.ir.types import I8, I16, I32, I64

_INTEGERS = {8: I8, 16: I16, 32: I32, 64: I64}
# Room for the first of an order: so many times their number and some more, where a row is longer by a factor.
_ROOM_FOR_LAST, _LEAST_ROOM, _WORTH = 4, 32, 8


def words_by_vectors(node: Node) -> Size:
    """Words of scratch memory for an element: two arrays of keys or entries, and what runs of ties need.

    From 2^32 elements on an index leaves less than 32 bits of a word to the key.
    """
    bits = node.inputs[0].type.dtype.bits
    if node.attributes["results"] == "values" or bits < 32:
        return 2
    return 6 if bits == 64 else 2 + 4 * (size_of(node.attributes["length"]) // (1 << 32))


def emit_by_vectors(row: SortedRow, wide: bool) -> None:
    """Sort a row and store the window; with `wide`, key and index perhaps do not fit a word."""
    if row.indices:
        _emit_packed(row, wide)
    else:
        _emit_keys(row)


# -- values alone -----------------------------------------------------------------------------------------------------
def _emit_keys(row: SortedRow) -> None:
    f, keys = row.f, row.keys
    bits = max(32, keys.bits)
    type = LLType(_INTEGERS[bits], vector_bits(row.w.module) // bits)
    element = LLType(_INTEGERS[keys.bits], type.lanes)
    shared = _Flag(row)

    def key(i: str, mask: str | None) -> str:
        elements = _load(row, i, mask, type.lanes)
        shared.note(elements, type.lanes)
        return _widened(row, keys.of(elements, type.lanes), type)

    def store(i: str, mask: str | None, key: str) -> None:
        if keys.bits < bits:
            key = f.let(f"trunc {type.llvm} {key} to {element.llvm}")
        _store(row, row.values, i, mask, element, keys.back(key, type.lanes))

    if row.count == row.length and row.length.isdigit() and 0 < int(row.length) <= FEW_ROWS * type.lanes:
        _sort_registers(row, type, key, store)
    else:
        # Where all is wanted and a key is as long as an element, the keys are sorted in their places.
        in_place = bits == keys.bits and row.count == row.length
        other, room = row.room, offset(f, type.element, row.room, row.length)
        out = row.values if in_place else room
        _each(row, type.lanes, row.length, lambda i, mask: _store(row, other, i, mask, type, key(i, mask)))
        _sort(row, type, out, other, row.length, row.first, f.let(f"add i64 {row.first}, {row.count}"))
        start = out if in_place else offset(f, type.element, out, row.first)
        _each(row, type.lanes, row.count, lambda i, mask: store(i, mask, _load_at(row, start, i, mask, type)))
    if keys.dtype.is_float:
        with shared.found():
            _restore(row)


def _sort_registers(
    row: SortedRow,
    type: LLType,
    key: Callable[[str, str | None], str],
    store: Callable[[str, str | None, str], None],
) -> None:
    """A row that fits the registers."""
    f, length = row.f, int(row.length)
    vectors = -(-length // type.lanes)
    masks: list[str | None] = [None] * vectors
    if rest := length % type.lanes:
        flags = ", ".join(f"i1 {str(lane < rest).lower()}" for lane in range(type.lanes))
        masks[-1] = f"<{flags}>"
    table = [key(str(number * type.lanes), mask) for number, mask in enumerate(masks)]
    if mask := masks[-1]:
        greatest = f"{type.llvm} {type.constant(-1)}"
        table[-1] = f.let(f"select <{type.lanes} x i1> {mask}, {type.llvm} {table[-1]}, {greatest}")
    table += [type.constant(-1)] * ((1 << (vectors - 1).bit_length()) - vectors)
    for number, (mask, keys) in enumerate(zip(masks, sorted_rows(f, type, table), strict=False)):
        store(str(number * type.lanes), mask, keys)


def _restore(row: SortedRow) -> None:
    """Zeros of both signs and NaNs in their order: the run of each begins after the elements of lesser keys."""
    f, keys = row.f, row.keys
    kinds = [(key, row.w.slot(LLType(I64))) for key in (keys.zero, keys.nan)]
    for _, next in kinds:
        row.w.write(next, f.let(f"sub i64 0, {row.first}"))
    type = f"i{keys.bits}"
    with _elements(row) as (_, key):
        for limit, next in kinds:
            less = f.let(f"icmp ult {type} {key}, {limit}")
            row.w.write(next, f.let(f"add i64 {row.w.read(next)}, {f.let(f'zext i1 {less} to i64')}"))
    with _elements(row) as (element, key):
        for limit, next in kinds:
            with when(f, f.let(f"icmp eq {type} {key}, {limit}")):
                place = row.w.read(next)
                row.w.write(next, f.let(f"add i64 {place}, 1"))
                with when(f, f.let(f"icmp ult i64 {place}, {row.count}")):
                    f.line(f"store {type} {element}, ptr {offset(f, type, row.values, place)}, align {keys.bits // 8}")


@contextmanager
def _elements(row: SortedRow) -> Iterator[tuple[str, str]]:
    """A loop over the row's elements and their keys."""
    f, type = row.f, f"i{row.keys.bits}"
    with counted(f, "0", row.length, 1) as i:
        element = f.let(f"load {type}, ptr {offset(f, type, row.source, i)}, align {row.keys.bits // 8}")
        yield element, row.keys.of(element, 1)


# -- with indices -----------------------------------------------------------------------------------------------------
def _emit_packed(row: SortedRow, wide: bool) -> None:
    f, w, packing = row.f, row.w, _packing(row, wide)
    out, shared, lanes = offset(f, "i64", row.room, row.length), _Flag(row), packing.type.lanes
    first, last = row.first, f.let(f"add i64 {row.first}, {row.count}")
    count, is_open = w.slot(LLType(I64)), w.slot(LLType(I64))
    is_cut = f.let(f"icmp ne i64 {packing.left_out}, 0") if wide else ""

    def entries(i: str, mask: str | None) -> str:
        elements = _load(row, i, mask, lanes)
        shared.note(elements, lanes)
        return packing.entry(_widened(row, row.keys.of(elements, lanes), packing.type), i)

    def of_all(number: str, all: str) -> str:
        return f.let(f"select i1 {is_cut}, i64 {all}, i64 {number}") if wide else number

    w.write(is_open, "1")
    if row.count != row.length:
        # With an entry more it shows whether those that were left out are apart from the last one in what they have.
        kept = f.let(f"add i64 {last}, 1") if wide else last
        most = f.let(f"add i64 {f.let(f'mul i64 {kept}, {_ROOM_FOR_LAST}')}, {_LEAST_ROOM}")
        few = f.let(f"icmp sle i64 {f.let(f'mul i64 {most}, {_WORTH}')}, {row.length}")
        some = f.let(f"icmp sgt i64 {last}, 0")
        with when(f, f.let(f"and i1 {few}, {some}")):
            _sift(row, packing.type, entries, out, count, kept, most)
            _sort(row, packing.type, out, row.room, w.read(count), of_all(first, "0"), kept)
            w.write(count, last)
            w.write(is_open, _agree(row, out, last, packing.index_bits, is_cut) if wide else "0")
    with when(f, f.let(f"icmp ne i64 {w.read(is_open)}, 0")):
        _each(row, lanes, row.length, lambda i, mask: _store(row, row.room, i, mask, packing.type, entries(i, mask)))
        _sort(row, packing.type, out, row.room, row.length, of_all(first, "0"), of_all(last, row.length))
        w.write(count, row.length)
    if wide:
        with when(f, is_cut):
            _sort_ties(row, out, w.read(count), packing.index_bits)
            w.write(shared.slot, "1")
    _take(row, out, packing, shared)


def _agree(row: SortedRow, entries: str, last: str, index_bits: str, is_cut: str) -> str:
    """1 if keys are cut, and the entries before and at place `last` have the same bits of them, else 0."""
    f = row.f
    places = (offset(f, "i64", entries, place) for place in (f.let(f"sub i64 {last}, 1"), last))
    fronts = [f.let(f"lshr i64 {f.let(f'load i64, ptr {place}, align 8')}, {index_bits}") for place in places]
    equal = f.let(f"icmp eq i64 {fronts[0]}, {fronts[1]}")
    return f.let(f"zext i1 {f.let(f'and i1 {equal}, {is_cut}')} to i64")


def _sift(
    row: SortedRow,
    type: LLType,
    entries: Callable[[str, str | None], str],
    out: str,
    found: Slot,
    last: str,
    most: str,
) -> None:
    """Collect the entries that may be among the first `last` of the order, and how many there are.

    They must be below the last-th of those that were found before; whenever there are more than `most`, the first ones
    stay.
    """
    f, w = row.f, row.w
    limit = w.slot(LLType(I64))
    w.write(found, "0")
    w.write(limit, "-1")

    def meet(i: str, mask: str | None) -> None:
        entry = entries(i, mask)
        good = f.let(f"icmp ult {type.llvm} {entry}, {splat(f, type, w.read(limit))}")
        if mask is not None:
            good = f.let(f"and <{type.lanes} x i1> {good}, {mask}")
        with when(f, any_lane(f, type.lanes, good)):
            count = w.read(found)
            _store(row, row.room, count, None, type, compressed(f, type, entry, good))
            count = f.let(f"add i64 {count}, {counted_lanes(f, type.lanes, good)}")
            w.write(found, count)
            with when(f, f.let(f"icmp sgt i64 {count}, {most}")):
                _sort(row, type, out, row.room, count, "0", last)
                f.copy(row.room, out, f.let(f"shl i64 {last}, 3"))
                w.write(found, last)
                end = offset(f, "i64", out, f.let(f"sub i64 {last}, 1"))
                w.write(limit, f.let(f"load i64, ptr {end}, align 8"))

    _each(row, type.lanes, row.length, meet)


@frozen
class _Packing:
    """How key and index make an entry: (key - least) without its lowest `left_out` bits, above `index_bits`."""

    row: SortedRow
    type: LLType
    least: str
    index_bits: str
    left_out: str

    def entry(self, key: str, first: str) -> str:
        """The entries of keys whose elements stand from `first` on."""
        f, type = self.row.f, self.type.llvm
        if self.least != "0":
            key = f.let(f"sub {type} {key}, {self._all(self.least)}")
        if self.left_out != "0":
            key = f.let(f"lshr {type} {key}, {self._all(self.left_out)}")
        key = f.let(f"shl {type} {key}, {self._all(self.index_bits)}")
        return f.let(f"or {type} {key}, {lane_numbers(f, first, self.type.lanes)}")

    def key(self, entry: str) -> str:
        """The keys of entries, if no bits were left out."""
        f, type = self.row.f, self.type.llvm
        key = f.let(f"lshr {type} {entry}, {self._all(self.index_bits)}")
        return key if self.least == "0" else f.let(f"add {type} {key}, {self._all(self.least)}")

    def index(self, entry: str) -> str:
        """The indices of entries."""
        f = self.row.f
        numbers = f.let(f"sub i64 {f.let(f'shl i64 1, {self.index_bits}')}, 1")
        return f.let(f"and {self.type.llvm} {entry}, {self._all(numbers)}")

    def _all(self, number: str) -> str:
        return splat(self.row.f, self.type, number) if number.startswith("%") else self.type.constant(int(number))


def _packing(row: SortedRow, wide: bool) -> _Packing:
    """The packing of a row's entries; with `wide`, key and index perhaps do not fit a word."""
    f, type = row.f, _entries(row)
    if not wide:
        return _Packing(row, type, "0", "32", "0")
    index_bits = _length_of(row, row.length)
    least, span = _range(row) if row.keys.bits == 64 else ("0", str((1 << row.keys.bits) - 1))
    both = f.let(f"add i64 {_length_of(row, span)}, {index_bits}")
    return _Packing(row, type, least, index_bits, maximum(f, f.let(f"sub i64 {both}, 64"), 0))


def _entries(row: SortedRow) -> LLType:
    """A vector of entries."""
    return LLType(I64, vector_bits(row.w.module) // 64)


def _length_of(row: SortedRow, number: str) -> str:
    """How many bits a number without sign has, at least one."""
    f = row.f
    row.w.module.declare("declare i64 @llvm.ctlz.i64(i64, i1)")
    zeros = f.let(f"call i64 @llvm.ctlz.i64(i64 {f.let(f'or i64 {number}, 1')}, i1 false)")
    return f.let(f"sub i64 64, {zeros}")


def _range(row: SortedRow) -> tuple[str, str]:
    """The least key, and the greatest less the least."""
    f, type = row.f, _entries(row)
    ends = [(kind, row.w.slot(type), other) for kind, other in (("umin", -1), ("umax", 0))]
    for _, slot, other in ends:
        row.w.write(slot, type.constant(other))

    def meet(i: str, mask: str | None) -> None:
        key = row.keys.of(_load(row, i, mask, type.lanes), type.lanes)
        for kind, slot, other in ends:
            known = key
            if mask is not None:
                none = type.constant(other)
                known = f.let(f"select <{type.lanes} x i1> {mask}, {type.llvm} {key}, {type.llvm} {none}")
            row.w.write(slot, f.intrinsic(kind, type, row.w.read(slot), known))

    _each(row, type.lanes, row.length, meet)
    found = []
    for kind, slot, _ in ends:
        name = f"@llvm.vector.reduce.{kind}.{type.suffix}"
        row.w.module.declare(f"declare i64 {name}({type.llvm})")
        found.append(f.let(f"call i64 {name}({type.llvm} {row.w.read(slot)})"))
    least, most = found
    return least, f.let(f"sub i64 {most}, {least}")


def _sort_ties(row: SortedRow, entries: str, count: str, index_bits: str) -> None:
    """Order, of the first `count`, the runs of entries that agree in what they have of their keys."""
    f, keys, module = row.f, row.keys, row.w.module
    if not module.has("ties_sorted"):
        module.define("ties_sorted", translate(sorting.FUNCTIONS, {}, (), table=False))
    indices = f.let(f"sub i64 {f.let(f'shl i64 1, {index_bits}')}, 1")
    with counted(f, "1", count, 1) as i:
        pair = []
        for place in (f.let(f"sub i64 {i}, 1"), i):
            pair.append((place, f.let(f"load i64, ptr {offset(f, 'i64', entries, place)}, align 8")))
        fronts = [f.let(f"lshr i64 {entry}, {index_bits}") for _, entry in pair]
        with when(f, f.let(f"icmp eq i64 {fronts[0]}, {fronts[1]}")):
            for place, entry in pair:
                at = offset(f, f"i{keys.bits}", row.source, f.let(f"and i64 {entry}, {indices}"))
                key = keys.of(f.let(f"load i{keys.bits}, ptr {at}, align {keys.bits // 8}"), 1)
                if keys.bits < 64:
                    key = f.let(f"zext i{keys.bits} {key} to i64")
                f.line(f"store i64 {key}, ptr {offset(f, 'i64', row.room, place)}, align 8")
    room = offset(f, "i64", entries, row.length)
    buckets = row.w.room(LLType(I64), sorting.BUCKETS)
    named, kept, free, counts = (f.let(f"ptrtoint ptr {p} to i64") for p in (entries, row.room, room, buckets))
    numbers = ", ".join(f"i64 {n}" for n in (named, kept, count, index_bits, free, counts))
    f.let(f"call i64 @ties_sorted({numbers})")


def _take(row: SortedRow, entries: str, packing: _Packing, shared: _Flag) -> None:
    """Store indices, and values: of the keys if entries have all of them and no two elements share one."""
    f, keys, type = row.f, row.keys, packing.type
    start = offset(f, "i64", entries, row.first)

    def store(i: str, mask: str | None) -> None:
        entry = _load_at(row, start, i, mask, type)
        _store(row, row.indices, i, mask, type, packing.index(entry))
        if row.values:
            element, key = type.with_dtype(_INTEGERS[keys.bits]), packing.key(entry)
            if keys.bits < 64:
                key = f.let(f"trunc {type.llvm} {key} to {element.llvm}")
            _store(row, row.values, i, mask, element, keys.back(key, type.lanes))

    _each(row, type.lanes, row.count, store)
    if row.values and (keys.dtype.is_float or packing.left_out != "0"):
        with shared.found(), counted(f, "0", row.count, 1) as i:
            row.store_element(i, f.let(f"load i64, ptr {offset(f, 'i64', row.indices, i)}, align 8"))


# -- both -------------------------------------------------------------------------------------------------------------
class _Flag:
    """Whether some float is not what its key gives back."""

    def __init__(self, row: SortedRow) -> None:
        self.row = row
        self.slot = row.w.slot(LLType(I64))
        row.w.write(self.slot, "0")

    def note(self, elements: str, lanes: int) -> None:
        """Look at elements; those that do not exist are 0."""
        row, f = self.row, self.row.f
        if row.keys.dtype.is_float:
            some = any_lane(f, lanes, row.keys.is_shared(elements, lanes))
            row.w.write(self.slot, f.let(f"or i64 {row.w.read(self.slot)}, {f.let(f'zext i1 {some} to i64')}"))

    @contextmanager
    def found(self) -> Iterator[None]:
        """The code inside runs if there was one."""
        with when(self.row.f, self.row.f.let(f"icmp ne i64 {self.row.w.read(self.slot)}, 0")):
            yield


def _sort(row: SortedRow, type: LLType, out: str, other: str, count: str, first: str, last: str) -> None:
    """The places first..last-1 of the order of the keys at `other`, in `out`."""
    f = row.f
    depth = f.let(f"shl i64 {_length_of(row, count)}, 1")
    numbers = ", ".join(f"i64 {number}" for number in (count, first, last, depth))
    f.line(f"call void @{sort_window(row.w.module, type)}(ptr {other}, ptr {out}, ptr {other}, {numbers})")


def _each(row: SortedRow, lanes: int, stop: str, body: Callable[[str, str | None], None]) -> None:
    """`body(i, mask)` for the vectors of elements: the first one's number, and which lanes exist if not all.

    What a masked store wrote is not at hand for a load soon after it: only the last vector has a mask.
    """
    f = row.f
    whole = str(int(stop) // lanes * lanes) if stop.isdigit() else f.let(f"and i64 {stop}, {-lanes}")
    with counted(f, "0", whole, lanes) as i:
        body(i, None)
    if whole != stop:
        with when(f, f.let(f"icmp slt i64 {whole}, {stop}")):
            body(whole, below(f, lanes, f.let(f"sub i64 {stop}, {whole}")))


def _load(row: SortedRow, i: str, mask: str | None, lanes: int) -> str:
    """Elements of the row, as their bits."""
    return _load_at(row, row.source, i, mask, LLType(_INTEGERS[row.keys.bits], lanes))


def _load_at(row: SortedRow, start: str, i: str, mask: str | None, type: LLType) -> str:
    at = offset(row.f, type.element, start, i)
    if mask is None:
        return row.f.let(f"load {type.llvm}, ptr {at}, align {type.dtype.itemsize}")
    return masked_load(row.f, type, at, mask, type.constant(0))


def _store(row: SortedRow, start: str, i: str, mask: str | None, type: LLType, value: str) -> None:
    at = offset(row.f, type.element, start, i)
    if mask is None:
        row.f.line(f"store {type.llvm} {value}, ptr {at}, align {type.dtype.itemsize}")
    else:
        masked_store(row.f, type, value, at, mask)


def _widened(row: SortedRow, key: str, type: LLType) -> str:
    """Keys as integers of `type`, which are as long or longer."""
    if row.keys.bits == type.dtype.bits:
        return key
    return row.f.let(f"zext {integers(row.keys.bits, type.lanes)} {key} to {type.llvm}")
