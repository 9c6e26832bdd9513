"""Partial results: where they stand, and how they are put together at the end."""

from __future__ import annotations

from collections.abc import Callable

from adjit.compiler.llvm.emit_access import combine
from adjit.compiler.llvm.emit_loops import neutral
from adjit.compiler.llvm.emit_state import Slot, Writer
from adjit.compiler.llvm.sequences import counted, offset, splat
from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.vecmath_lanes import any_lane
from adjit.ir.frozen import frozen
from adjit.ir.types import BOOL, I32, I64, DType


class Partials:
    """`rows` vectors of `type`: partial results number 0, 1, ... of the order `lanes`, `step` to a row.

    With step 1, a row is one partial result for each lane of the scope; else a row's lanes are partial results.
    """

    def __init__(self, w: Writer, kind: str, type: LLType, rows: int, step: int) -> None:
        self.w, self.kind, self.type, self.rows, self.step = w, kind, type, rows, step
        self.slot = w.slot(type, rows)

    def clear(self) -> None:
        """Every partial result becomes the neutral element."""
        zero = self.type.constant(neutral(self.kind, self.type.dtype))
        if self.rows == 1:
            self.w.write(self.slot, zero)
            return
        with counted(self.w.f, "0", str(self.rows), 1) as row:
            self.w.write(self._row(row), zero)

    def add(self, number: str, term: str) -> None:
        """Fold a term (a row of terms) into partial result `number` (and those after it)."""
        row = self.slot
        if self.rows > 1:
            width = self.step.bit_length() - 1
            row = self._row(number if width == 0 else self.w.f.let(f"lshr i64 {number}, {width}"))
        self.w.write(row, combine(self.w, self.kind, self.type, self.w.read(row), term))

    def total(self) -> str:
        """The partial results folded as a balanced tree: l with l + half."""
        rows = [self.w.read(self._row(str(row)) if self.rows > 1 else self.slot) for row in range(self.rows)]
        while len(rows) > 1:
            half = len(rows) // 2
            rows = [combine(self.w, self.kind, self.type, rows[i], rows[i + half]) for i in range(half)]
        return rows[0] if self.step == 1 else fold_lanes(self.w, self.kind, self.type.dtype, rows[0], self.type.lanes)

    def turn(self, by: str) -> None:
        """Partial result number `by` becomes number 0, the next one number 1, and so on, and those before are last."""
        f, type = self.w.f, self.type
        rows = [self.w.read(self._row(str(row))) for row in range(self.rows)]
        twice = self.w.slot(type, 2 * self.rows)
        for place, value in enumerate((*rows, *rows)):
            self.w.write(Slot(offset(f, type.llvm, twice.pointer, place), type), value)
        start = offset(f, type.element, twice.pointer, by)
        for number in range(self.rows):
            at = offset(f, type.llvm, start, number)
            self.w.write(self._row(str(number)), f.let(f"load {type.llvm}, ptr {at}, align {type.dtype.itemsize}"))

    def _row(self, row: str) -> Slot:
        return Slot(offset(self.w.f, self.type.llvm, self.slot.pointer, row), self.type)


def fold_lanes(w: Writer, kind: str, dtype: DType, name: str, lanes: int) -> str:
    """The fold of a vector's lanes as a balanced tree: lane l with lane l + half."""
    while lanes > 1:
        half = lanes // 2
        wide, narrow = LLType(dtype, lanes), LLType(dtype, half)
        low, high = halves(w, wide, name)
        name = combine(w, kind, narrow, low, high)
        lanes = half
    return name


def halves(w: Writer, type: LLType, name: str) -> tuple[str, str]:
    """The lower and the upper lanes of a vector."""
    half = type.lanes // 2
    if half == 1:
        low, high = (w.f.let(f"extractelement {type.llvm} {name}, i32 {lane}") for lane in (0, 1))
        return low, high
    return w.f.shuffle(type, range(half), name), w.f.shuffle(type, range(half, 2 * half), name)


@frozen
class Pair:
    """A value and its index, in as many lanes as `value` has."""

    value: str
    index: str


def pick_first(
    w: Writer,
    kind: str,
    types: tuple[LLType, LLType],
    old: Pair,
    new: Pair,
    fresh: str | None,
    *,
    by_index: bool = False,
) -> Pair:
    """The better of two pairs: a NaN, else the greater (less); of equals the old one, or that of smaller index.

    `fresh` says that there is no old pair; None: there is.
    """
    f, (value, index) = w.f, types
    bools = LLType(BOOL, value.lanes).llvm
    if value.dtype.is_float:
        # Unordered or greater, while the old one is no NaN.
        better = f.let(f"fcmp {'ugt' if kind == 'argmax' else 'ult'} {value.llvm} {new.value}, {old.value}")
        better = f.let(f"and {bools} {better}, {f.let(f'fcmp ord {value.llvm} {old.value}, {old.value}')}")
    else:
        better = f.let(f"{_relation(kind, value.dtype)} {value.llvm} {new.value}, {old.value}")
    if by_index:
        sooner = f.let(f"icmp slt {index.llvm} {new.index}, {old.index}")
        equal = f.let(f"and {bools} {_equal(w, value, old.value, new.value)}, {sooner}")
        better = f.let(f"or {bools} {better}, {equal}")
    if fresh is not None:
        better = f.let(f"or {bools} {better}, {fresh}")
    return Pair(
        *(
            f.let(f"select {bools} {better}, {type.llvm} {after}, {type.llvm} {before}")
            for type, before, after in ((value, old.value, new.value), (index, old.index, new.index))
        )
    )


def _equal(w: Writer, type: LLType, left: str, right: str) -> str:
    """Whether values are equal, two NaNs being so."""
    f = w.f
    if not type.dtype.is_float:
        return f.let(f"icmp eq {type.llvm} {left}, {right}")
    same = f.let(f"fcmp oeq {type.llvm} {left}, {right}")
    nans = [f.let(f"fcmp uno {type.llvm} {v}, {v}") for v in (left, right)]
    bools = LLType(BOOL, type.lanes).llvm
    return f.let(f"or {bools} {same}, {f.let(f'and {bools} {nans[0]}, {nans[1]}')}")


def fold_pairs(w: Writer, kind: str, types: tuple[LLType, LLType], pair: Pair) -> Pair:
    """The best pair among lanes, of equals that of smallest index; a lane whose index is negative holds none.

    First the best value is found, then the smallest index of those that have it, or of those that are NaN.
    """
    f, (value, index) = w.f, types
    if value.lanes == 1:
        return pair
    flags = f"<{value.lanes} x i1>"

    def better(type: LLType, low: str, high: str) -> str:
        relation = _relation(kind, type.dtype)
        first = f.let(f"{relation} {type.llvm} {low}, {high}")
        return f.let(f"select {LLType(BOOL, type.lanes).llvm} {first}, {type.llvm} {low}, {type.llvm} {high}")

    best = splat(f, value, folded(w, value, pair.value, better))
    if value.dtype.is_float:
        found = f.let(f"fcmp oeq {value.llvm} {pair.value}, {best}")
        nans = f.let(f"fcmp uno {value.llvm} {pair.value}, {pair.value}")
        found = f.let(f"select i1 {any_lane(f, value.lanes, nans)}, {flags} {nans}, {flags} {found}")
    else:
        found = f.let(f"icmp eq {value.llvm} {pair.value}, {best}")
    none = index.constant(-1)
    places = f.let(f"select {flags} {found}, {index.llvm} {pair.index}, {index.llvm} {none}")
    return lowest(w, types, Pair(pair.value, places))


def lowest(w: Writer, types: tuple[LLType, LLType], pair: Pair) -> Pair:
    """Of lanes the one whose index is smallest as a number without sign, of which -1 is the greatest."""
    f, (value, index) = w.f, types
    place = folded(w, index, pair.index, lambda type, low, high: f.intrinsic("umin", type, low, high))
    chosen = f.let(f"icmp eq {index.llvm} {pair.index}, {splat(f, index, place)}")
    bits, own = _bits(w, value, pair.value)
    kept = f.let(f"select <{value.lanes} x i1> {chosen}, {bits.llvm} {own}, {bits.llvm} {bits.constant(0)}")
    only = folded(w, bits, kept, lambda type, low, high: f.let(f"or {type.llvm} {low}, {high}"))
    if bits is not value:
        only = f.let(f"bitcast {bits.element} {only} to {value.element}")
    return Pair(only, place)


def _relation(kind: str, dtype: DType) -> str:
    """The comparison that says whether the first of two numbers is better."""
    order = "gt" if kind == "argmax" else "lt"
    if dtype.is_float:
        return f"fcmp o{order}"
    return f"icmp {'u' if dtype.kind in ('uint', 'bool') else 's'}{order}"


def folded(w: Writer, type: LLType, name: str, combined: Callable[[LLType, str, str], str]) -> str:
    """The lanes of a vector folded as a balanced tree."""
    while type.lanes > 1:
        low, high = halves(w, type, name)
        type = LLType(type.dtype, type.lanes // 2)
        name = combined(type, low, high)
    return name


def _bits(w: Writer, type: LLType, name: str) -> tuple[LLType, str]:
    """Floats as integers; integers as they are."""
    if not type.dtype.is_float:
        return type, name
    bits = LLType(I32 if type.dtype.bits == 32 else I64, type.lanes)
    return bits, w.f.let(f"bitcast {type.llvm} {name} to {bits.llvm}")


def better_of(w: Writer, kind: str, types: tuple[LLType, LLType], old: Pair, new: Pair) -> Pair:
    """The better of two pairs, of equals that of smaller index; one whose index is negative is none."""
    zero = types[1].constant(0)
    fresh = w.f.let(f"icmp slt {types[1].llvm} {old.index}, {zero}")
    found = pick_first(w, kind, types, old, new, fresh, by_index=True)
    # Where there is no new pair, the old one stands.
    bools = LLType(BOOL, types[0].lanes).llvm
    none = w.f.let(f"icmp slt {types[1].llvm} {new.index}, {zero}")
    return Pair(
        *(
            w.f.let(f"select {bools} {none}, {type.llvm} {before}, {type.llvm} {after}")
            for type, before, after in ((types[0], old.value, found.value), (types[1], old.index, found.index))
        )
    )
