"""The greater and the lesser of two floating numbers, as IEEE 754-2019 has them: NaN if either is, -0.0 below 0.0.

The instructions of x86 answer their second operand where the numbers are equal or one is NaN.  There the answer is put
together from the bits of both: equal numbers differ in a zero's sign at most, and the exponent of a NaN is all ones.
"""

from __future__ import annotations

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_lanes import Lanes


def extreme(function: Function, kind: str, type: LLType, left: str, right: str) -> str:
    """`maximum` or `minimum` (`kind`) of two registers of a floating type."""
    x, y = Lanes(function, type, left), Lanes(function, type, right)
    if not (function.module.scales and x.varies and y.varies):  # LLVM's own form is as short there
        return function.intrinsic(kind, type, left, right)
    one, other = x.bits(), y.bits()
    alike = one | other
    if kind == "minimum":
        chosen = (x < y).choose(x, y)
    else:
        chosen = (x > y).choose(x, y)
        most = (1 << x.format.integer.bits - 1) - 1
        alike = alike & (one & other | most)  # a zero is negative only if both are
    return x.is_like(y).choose(alike.as_float(type.dtype), chosen).text
