"""The greatest and least element of a float reduction, by one instruction a vector and what its answer lacks.

AVX-512's VRANGE orders -0 below +0, as `llvm.maximum` does, but takes the number beside a NaN: whether there was a NaN
is kept apart, for two vectors by one comparison.  AVX2's VMAXPS does not order zeros either: where the greatest term is
a zero, all terms have a sign but for those that are +0, so that the signs of all together tell which it is.
"""

from __future__ import annotations

from adjit.compiler.llvm.emit_access import combine
from adjit.compiler.llvm.emit_fold import folded, halves
from adjit.compiler.llvm.emit_loops import neutral
from adjit.compiler.llvm.emit_state import Writer
from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.vecmath_lanes import FORMATS, any_lane
from adjit.ir.types import BOOL, F32, F64

_LEAST_BITS, _MOST_BITS = 128, 512
# The immediate operand: the kind of comparison, and the sign that it finds.
_SIGN_OF_RESULT = 4
_CURRENT_ROUNDING = 4


class Extreme:
    """The greatest (`max`) or least (`min`) of the numbers in the lanes of vectors of `type`, and whether all are.

    It has the verbs of `Partials`.  Without `zeros`, one of several zeros may be either.
    """

    def __init__(self, w: Writer, kind: str, type: LLType, *, zeros: bool = True) -> None:
        self.w, self.kind, self.type = w, kind, type
        self.greatest = w.slot(type)
        register = _MOST_BITS if w.module.avx512 else _MOST_BITS // 2
        self.flags = LLType(BOOL, max(type.lanes // 2, min(type.lanes, register // type.dtype.bits)))
        self.nans = w.slot(self.flags)
        self.bits = LLType(FORMATS[type.dtype].integer, type.lanes)
        self.signs = w.slot(self.bits) if zeros and not w.module.avx512 else None
        self.both = "and" if kind == "max" else "or"  # the greatest is -0 if all have a sign, the least if one has

    def clear(self) -> None:
        """No terms yet."""
        self.w.write(self.greatest, self.type.constant(neutral(self.kind, self.type.dtype)))
        self.w.write(self.nans, self.flags.constant(False))
        if self.signs is not None:
            self.w.write(self.signs, self.bits.constant(-1 if self.kind == "max" else 0))

    def add(self, number: str, term: str) -> None:
        """Take in a vector of terms; there is one partial result, number 0."""
        w, f = self.w, self.w.f
        low, high = halves(w, self.type, term) if self.flags.lanes < self.type.lanes else (term, term)
        half = LLType(self.type.dtype, self.flags.lanes)
        found = f.let(f"fcmp uno {half.llvm} {low}, {high}")
        w.write(self.nans, f.let(f"or {self.flags.llvm} {w.read(self.nans)}, {found}"))
        w.write(self.greatest, _greater(w, self.kind, self.type, w.read(self.greatest), term))
        if self.signs is not None:
            bits = f.let(f"bitcast {self.type.llvm} {term} to {self.bits.llvm}")
            w.write(self.signs, f.let(f"{self.both} {self.bits.llvm} {w.read(self.signs)}, {bits}"))

    def total(self) -> str:
        """The element; NaN where some term was."""
        w, f = self.w, self.w.f
        type = LLType(self.type.dtype)
        name = folded(w, self.type, w.read(self.greatest), lambda t, x, y: _greater(w, self.kind, t, x, y))
        if self.signs is not None:
            bits = LLType(self.bits.dtype)
            signs = folded(w, self.bits, w.read(self.signs), lambda t, x, y: f.let(f"{self.both} {t.llvm} {x}, {y}"))
            zero = f.let(f"and {bits.llvm} {signs}, {bits.constant(-1 << bits.dtype.bits - 1)}")
            zero = f.let(f"bitcast {bits.llvm} {zero} to {type.llvm}")
            is_zero = f.let(f"fcmp oeq {type.llvm} {name}, {type.constant(0)}")
            name = f.let(f"select i1 {is_zero}, {type.llvm} {zero}, {type.llvm} {name}")
        some = any_lane(f, self.flags.lanes, w.read(self.nans))
        return f.let(f"select i1 {some}, {type.llvm} {type.constant(float('nan'))}, {type.llvm} {name}")


def has_instruction(w: Writer, type: LLType) -> bool:
    """Whether the target takes the greater of two such vectors by VRANGE or VMAXPS."""
    lanes = type.lanes * type.dtype.bits // _LEAST_BITS
    return w.module.avx2 and type.dtype in (F32, F64) and lanes > 0


def _greater(w: Writer, kind: str, type: LLType, left: str, right: str) -> str:
    """The greater (lesser) of two numbers in each lane, of zeros either one where VRANGE is lacking."""
    if w.module.avx512:
        return _ranged(w, kind, type, left, right)
    first = w.f.let(f"fcmp {'ogt' if kind == 'max' else 'olt'} {type.llvm} {right}, {left}")
    return w.f.let(f"select {LLType(BOOL, type.lanes).llvm} {first}, {type.llvm} {right}, {type.llvm} {left}")


def _ranged(w: Writer, kind: str, type: LLType, left: str, right: str) -> str:
    """The greater (lesser) of two numbers in each lane, +0 above -0."""
    bits = type.lanes * type.dtype.bits
    if bits < _LEAST_BITS:
        return combine(w, kind, type, left, right)
    if bits > _MOST_BITS:
        half = LLType(type.dtype, type.lanes // 2)
        sides = zip(halves(w, type, left), halves(w, type, right), strict=True)
        low, high = (_ranged(w, kind, half, *pair) for pair in sides)
        return w.f.shuffle(half, range(type.lanes), low, high)
    name = f"@llvm.x86.avx512.mask.range.{'ps' if type.dtype is F32 else 'pd'}.{bits}"
    mask, vector = f"i{max(8, type.lanes)}", type.llvm
    rounding = ", i32" if bits == _MOST_BITS else ""
    w.module.declare(f"declare {vector} {name}({vector}, {vector}, i32, {vector}, {mask}{rounding})")
    choice = _SIGN_OF_RESULT + (kind == "max")
    operands = f"{vector} {left}, {vector} {right}, i32 {choice}, {vector} zeroinitializer, {mask} -1"
    return w.f.let(f"call {vector} {name}({operands}{f'{rounding} {_CURRENT_ROUNDING}' if rounding else ''})")
