"""Partial results: where they stand, and how they are put together at the end."""

from __future__ import annotations

from adjit.compiler.llvm.emit_access import combine
from adjit.compiler.llvm.emit_loops import neutral
from adjit.compiler.llvm.emit_state import Slot, Writer
from adjit.compiler.llvm.gemm_tile import counted, offset
from adjit.compiler.llvm.text import LLType
from adjit.ir.types import DType


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

    def _row(self, row: str) -> Slot:
        return Slot(offset(self.w.f, self.type.llvm, self.slot.pointer, row), self.type)


def fold_lanes(w: Writer, kind: str, dtype: DType, name: str, lanes: int) -> str:
    """The fold of a vector's lanes as a balanced tree: lane l with lane l + half."""
    while lanes > 1:
        half = lanes // 2
        wide, narrow = LLType(dtype, lanes), LLType(dtype, half)
        if half == 1:
            low, high = (w.f.let(f"extractelement {wide.llvm} {name}, i32 {lane}") for lane in (0, 1))
        else:
            low, high = (
                w.f.let(
                    f"shufflevector {wide.llvm} {name}, {wide.llvm} poison, "
                    f"<{half} x i32> <{', '.join(f'i32 {lane}' for lane in range(start, start + half))}>"
                )
                for start in (0, half)
            )
        name = combine(w, kind, narrow, low, high)
        lanes = half
    return name


def pick_first(
    w: Writer,
    kind: str,
    slots: tuple[Slot, Slot],
    old: tuple[str, str],
    new: tuple[str, str],
    fresh: str,
    exists: str | None = None,
    smaller_index: bool = False,
) -> None:
    """Put the better of two pairs (value, index) into the slots: a NaN, else the greater (less); the first of equals.

    `fresh` says that there is no old pair, `exists` that there is a new one.  `smaller_index` decides between equals
    by the index, not by which came first.
    """
    f, (value, index) = w.f, (slots[0].type, slots[1].type)
    bools = "i1" if value.lanes == 1 else f"<{value.lanes} x i1>"
    greater = kind == "argmax"
    if value.dtype.is_float:
        # Unordered or greater; and the old one is no NaN.
        better = f.let(f"fcmp {'ugt' if greater else 'ult'} {value.llvm} {new[0]}, {old[0]}")
        better = f.let(f"and {bools} {better}, {f.let(f'fcmp ord {value.llvm} {old[0]}, {old[0]}')}")
        new_nan, old_nan = (f.let(f"fcmp uno {value.llvm} {v}, {v}") for v in (new[0], old[0]))
        equal = f.let(f"or {bools} {f.let(f'fcmp oeq {value.llvm} {new[0]}, {old[0]}')}, "
                      f"{f.let(f'and {bools} {new_nan}, {old_nan}')}")  # fmt: skip
    else:
        sign = "u" if value.dtype.kind in ("uint", "bool") else "s"
        better = f.let(f"icmp {sign}{'gt' if greater else 'lt'} {value.llvm} {new[0]}, {old[0]}")
        equal = f.let(f"icmp eq {value.llvm} {new[0]}, {old[0]}")
    if smaller_index:
        sooner = f.let(f"icmp slt {index.llvm} {new[1]}, {old[1]}")
        better = f.let(f"or {bools} {better}, {f.let(f'and {bools} {equal}, {sooner}')}")
    better = f.let(f"or {bools} {better}, {fresh}")
    if exists is not None:
        better = f.let(f"and {bools} {better}, {exists}")
    for slot, before, after in zip(slots, old, new, strict=True):
        w.write(slot, f.let(f"select {bools} {better}, {slot.type.llvm} {after}, {slot.type.llvm} {before}"))
