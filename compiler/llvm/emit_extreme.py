"""The greatest and least element of a float reduction: one instruction a vector where the target has one.

AVX-512's VRANGE orders -0 below +0, as `llvm.maximum` does, but takes the number beside a NaN: whether there was a NaN
is kept apart, for two vectors by one comparison.
"""

from __future__ import annotations

from adjit.compiler.llvm.emit_access import combine
from adjit.compiler.llvm.emit_fold import halves
from adjit.compiler.llvm.emit_loops import neutral
from adjit.compiler.llvm.emit_state import Writer
from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.vecmath_lanes import any_lane
from adjit.ir.types import BOOL, F32, F64

_LEAST_BITS, _MOST_BITS = 128, 512
# The immediate operand: the kind of comparison, and the sign that it finds.
_SIGN_OF_RESULT = 4
_CURRENT_ROUNDING = 4


class Extreme:
    """The greatest (`max`) or least (`min`) of the numbers in the lanes of vectors of `type`, and whether all are.

    It has the verbs of `Partials`.
    """

    def __init__(self, w: Writer, kind: str, type: LLType) -> None:
        self.w, self.kind, self.type = w, kind, type
        self.greatest = w.slot(type)
        self.flags = LLType(BOOL, max(type.lanes // 2, min(type.lanes, _MOST_BITS // type.dtype.bits)))
        self.nans = w.slot(self.flags)

    def clear(self) -> None:
        """No terms yet."""
        self.w.write(self.greatest, self.type.constant(neutral(self.kind, self.type.dtype)))
        self.w.write(self.nans, self.flags.constant(False))

    def add(self, number: str, term: str) -> None:
        """Take in a vector of terms; there is one partial result, number 0."""
        w, f = self.w, self.w.f
        low, high = halves(w, self.type, term) if self.flags.lanes < self.type.lanes else (term, term)
        half = LLType(self.type.dtype, self.flags.lanes)
        found = f.let(f"fcmp uno {half.llvm} {low}, {high}")
        w.write(self.nans, f.let(f"or {self.flags.llvm} {w.read(self.nans)}, {found}"))
        w.write(self.greatest, greater(w, self.kind, self.type, w.read(self.greatest), term))

    def total(self) -> str:
        """The element; NaN where some term was."""
        w, f, type, name = self.w, self.w.f, self.type, self.w.read(self.greatest)
        while type.lanes > 1:
            low, high = halves(w, type, name)
            type = LLType(type.dtype, type.lanes // 2)
            name = greater(w, self.kind, type, low, high)
        some = any_lane(f, self.flags.lanes, w.read(self.nans))
        return f.let(f"select i1 {some}, {type.llvm} {type.constant(float('nan'))}, {type.llvm} {name}")


def has_instruction(w: Writer, type: LLType) -> bool:
    """Whether the target takes the greater of two such vectors by VRANGE."""
    lanes = type.lanes * type.dtype.bits // _LEAST_BITS
    return w.module.avx512 and type.dtype in (F32, F64) and lanes > 0


def greater(w: Writer, kind: str, type: LLType, left: str, right: str) -> str:
    """The greater (lesser) of two numbers in each lane, +0 above -0."""
    bits = type.lanes * type.dtype.bits
    if bits < _LEAST_BITS:
        return combine(w, kind, type, left, right)
    if bits > _MOST_BITS:
        half = LLType(type.dtype, type.lanes // 2)
        sides = zip(halves(w, type, left), halves(w, type, right), strict=True)
        low, high = (greater(w, kind, half, *pair) for pair in sides)
        places = ", ".join(f"i32 {lane}" for lane in range(type.lanes))
        both = f"{half.llvm} {low}, {half.llvm} {high}"
        return w.f.let(f"shufflevector {both}, <{type.lanes} x i32> <{places}>")
    name = f"@llvm.x86.avx512.mask.range.{'ps' if type.dtype is F32 else 'pd'}.{bits}"
    mask, vector = f"i{max(8, type.lanes)}", type.llvm
    rounding = ", i32" if bits == _MOST_BITS else ""
    w.module.declare(f"declare {vector} {name}({vector}, {vector}, i32, {vector}, {mask}{rounding})")
    choice = _SIGN_OF_RESULT + (kind == "max")
    operands = f"{vector} {left}, {vector} {right}, i32 {choice}, {vector} zeroinitializer, {mask} -1"
    return w.f.let(f"call {vector} {name}({operands}{f'{rounding} {_CURRENT_ROUNDING}' if rounding else ''})")
