"""Division, powers and shifts of integers, defined for all operands."""

from __future__ import annotations

from collections.abc import Callable

from adjit.compiler.llvm.vecmath_lanes import Lanes
from adjit.compiler.llvm.vecmath_power import integer_power
from adjit.ir.types import BOOL, F32, F64, DType


def divide(op: str, a: Lanes, b: Lanes, report_zero: Callable[[Lanes], None]) -> Lanes:
    """Floor division (`op` div) or its remainder (mod), wrapping; 0 for a divisor of 0, which is reported."""
    power = _power_of_two(b)
    if power is not None:
        return a >> power if op == "div" else a & (1 << power) - 1
    zero = b.equal(0)
    report_zero(zero)
    if a.type.dtype.kind == "uint":
        quotient, rest = _divided(a, zero.choose(1, b), b.varies)
        return zero.choose(0, quotient if op == "div" else rest)
    # The least integer over -1 is itself; the machine would trap.  To ask for -1 alone keeps the divisor one number.
    minus = b.equal(-1)
    quotient, rest = _divided(a, (zero | minus).choose(1, b), b.varies)
    if op == "mod":
        return zero.choose(0, rest)
    return zero.choose(0, minus.choose(0 - quotient, quotient))


def _power_of_two(b: Lanes) -> int | None:
    """n of a constant 2^n, by which a shift divides, rounding down; None of anything else."""
    powers = range(0 if b.varies else b.type.dtype.bits)
    return next((n for n in powers if b.text == b.type.constant(1 << n)), None)


def _divided(a: Lanes, divisor: Lanes, varies: bool) -> tuple[Lanes, Lanes]:
    """a / divisor rounded down, and what is left, for a divisor that is neither 0 nor -1.

    No machine divides vectors of integers.  Up to 32 bits a constant divisor LLVM replaces by a multiplication; others
    are inverted as floats, once in a loop that has only one of them.
    """
    ty = a.type
    letter = "s" if ty.dtype.kind == "int" else "u"
    if ty.lanes > 1 and ty.dtype.bits == 64 and a.function.module.avx512:
        return _divided_long(a, divisor, letter)
    if ty.lanes == 1 or ty.dtype.bits > 32 or not varies:
        quotient = Lanes(a.function, ty, a.function.let(f"{letter}div {ty.llvm} {a.text}, {divisor.text}"))
    else:
        wide = F32 if ty.dtype.bits <= 16 else F64
        inverse = _inverse(divisor, letter, wide, _ABOVE[wide])
        quotient = (a.convert(f"{letter}itofp", wide) * inverse).convert(f"fpto{letter}i", ty.dtype)
    rest = a - quotient * divisor
    if letter == "u":
        return quotient, rest
    below = ((rest ^ divisor) < 0) & ~rest.equal(0)
    return below.choose(quotient - 1, quotient), below.choose(rest + divisor, rest)


# An inverse that is so much larger than 1/d, more than is lost by rounding, gives whole quotients at least their value.
# Others, of n < 2^16 in F32 and of n < 2^32 in F64, are at least 1/d below the next integer, and rise by less.
_ABOVE = {F32: 1 + 2.0**-21, F64: 1 + 2.0**-50}
# As much smaller, it gives no quotient more than its value.
_BELOW = 1 - 2.0**-50
# More than is lost of a quotient below 2^15.
_LESS = 2.0**-34


def _inverse(divisor: Lanes, letter: str, wide: DType, scale: float) -> Lanes:
    return 1.0 / divisor.convert(f"{letter}itofp", wide) * scale


def _divided_long(a: Lanes, divisor: Lanes, letter: str) -> tuple[Lanes, Lanes]:
    """`_divided` of 64 bits.

    A first quotient in double precision is too small by less than 2^15: what is left has the sign of `a`, and no more
    bits.  Its own quotient, less than is lost by rounding, is that or 1 too low when it is rounded down; what is then
    left is less than twice the divisor, so that its magnitude fits the bits unsigned.
    """
    inverse = _inverse(divisor, letter, F64, _BELOW)

    def quotient_of(x: Lanes, less: float) -> Lanes:
        found = x.convert(f"{letter}itofp", F64) * inverse
        return (((found - less).floor()) if less else found).convert(f"fpto{letter}i", a.type.dtype)

    first = quotient_of(a, 0.0)
    rest = a - first * divisor
    second = quotient_of(rest, 0.0 if letter == "u" else _LESS)
    quotient, rest = first + second, rest - second * divisor
    magnitude, size = rest, divisor
    if letter == "s":
        sign = divisor >> 63
        magnitude, size = (rest ^ sign) - sign, (divisor ^ sign) - sign
    over = Lanes(a.function, a.type.with_dtype(BOOL), a.function.let(
        f"icmp uge {a.type.llvm} {magnitude.text}, {size.text}"
    ))  # fmt: skip
    return over.choose(quotient + 1, quotient), over.choose(rest - divisor, rest)


def power(x: Lanes, y: Lanes) -> Lanes:
    """x^y, wrapping; for y < 0 it is 0 unless x is 1 or -1."""
    if x.type.dtype.kind == "uint":
        return _power(x, y)
    # A power of 1 or -1 is told by whether y is odd.
    negative = y < 0
    value = _power(x, negative.choose(y & 1, y))
    return (negative & ~(x.equal(1) | x.equal(-1))).choose(0, value)


def _power(x: Lanes, y: Lanes) -> Lanes:
    return Lanes(x.function, x.type, integer_power(x.function, x.type, x.text, y.text))


def shift(op: str, x: Lanes, y: Lanes) -> Lanes:
    """x shifted left (`op` shl) or right (shr); by a negative count, the width or more only zeros or signs are left."""
    width = x.type.dtype.bits
    # The width is a power of two, so a count within it has no higher bit, no sign either.
    inside = (y & (-width if x.type.dtype.kind == "int" else (1 << width) - width)).equal(0)
    if op == "shr" and x.type.dtype.kind == "int":
        return x >> inside.choose(y, width - 1)
    count = inside.choose(y, 0)
    return inside.choose(x << count if op == "shl" else x >> count, 0)
