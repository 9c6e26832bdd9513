"""The greater and the lesser of two floating numbers, as IEEE 754-2019 has them: NaN if either is, -0.0 below 0.0.

The instructions of x86 answer their second operand where the numbers are equal or one is NaN.  Asked both ways round,
they differ in nothing but a zero's sign, or give the NaN once; the bits of both together are the answer.
"""

from __future__ import annotations

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_lanes import Lanes


def extreme(function: Function, kind: str, type: LLType, left: str, right: str) -> str:
    """`maximum` or `minimum` (`kind`) of two registers of a floating type."""
    x, y = Lanes(function, type, left), Lanes(function, type, right)
    if not (function.module.avx512 and x.varies and y.varies):  # LLVM's own form is as short there
        return function.intrinsic(kind, type, left, right)
    if type.lanes == 1:  # LLVM moves one number to a general register to combine its bits, and vectors not
        pair = LLType(type.dtype, 16 // type.dtype.itemsize)
        first, second = (
            function.let(f"insertelement {pair.llvm} poison, {type.llvm} {each}, i32 0") for each in (left, right)
        )
        return function.let(f"extractelement {pair.llvm} {extreme(function, kind, pair, first, second)}, i32 0")
    minimum = kind == "minimum"
    one, other = (((p < q) if minimum else (p > q)).choose(p, q).bits() for p, q in ((x, y), (y, x)))
    both = one | other  # the exponent of a NaN is all ones, and so it stays
    if not minimum:  # a zero is negative only if both are
        both = both & (one & other | (1 << x.format.integer.bits - 1) - 1)
    return both.as_float(type.dtype).text
