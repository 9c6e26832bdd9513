"""remainder: PyTorch's a mod b on floats, exact but for the last addition."""

from __future__ import annotations

import math

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_lanes import Lanes, call_shared, fma, loop_while


def mod(function: Function, ty: LLType, a: str, b: str) -> str:
    """a - b floor(a / b), of the sign of b, but for a zero: fmod, plus b where the signs differ; NaN for b = 0."""
    return call_shared(function, "remainder", ty, (a, b), _remainder)


def _remainder(a: Lanes, b: Lanes) -> Lanes:
    size = abs(b)
    defined = (abs(a) < math.inf) & (size > 0.0)

    def unfinished(x: Lanes) -> Lanes:
        return abs(x) >= size

    def step(x: Lanes) -> tuple[Lanes]:
        return (unfinished(x).choose(_reduce(x, size), x),)

    (rest,) = loop_while((defined.choose(a, math.nan),), lambda x: unfinished(x).any(), step)
    zero = rest.equal(0.0)
    differ = (rest.bits() ^ b.bits()) < 0
    return zero.choose(rest.copy_sign(a), (differ & ~zero).choose(rest + b, rest))


def _reduce(x: Lanes, size: Lanes) -> Lanes:
    """x - n size, exactly, for an integer n that leaves at most a 2^-precision part of x, or less than size.

    n is the rounded quotient.  If it has more bits than the format, x - n size is a multiple of ulp(n) ulp(size) and at
    most ulp(n) size / 2, so it is representable and the fma exact.  A quotient that overflows is taken by size times a
    power of two instead; two steps of the exponent range cover the widest ratio.
    """
    scale = 2.0**x.format.bias
    for _ in range(2):
        size = abs(x / size).equal(math.inf).choose(size * scale, size)
    return fma(-(x / size).truncate(), size, x)
