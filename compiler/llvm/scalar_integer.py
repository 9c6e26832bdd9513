"""Division, powers and shifts of integers, defined for all operands."""

from __future__ import annotations

from collections.abc import Callable

from adjit.compiler.llvm.vecmath_lanes import Lanes
from adjit.compiler.llvm.vecmath_power import integer_power
from adjit.ir.types import F32, F64


def divide(op: str, a: Lanes, b: Lanes, report_zero: Callable[[Lanes], None]) -> Lanes:
    """Floor division (`op` div) or its remainder (mod), wrapping; 0 for a divisor of 0, which is reported."""
    power = _power_of_two(b)
    if power is not None:
        return a >> power if op == "div" else a & (1 << power) - 1
    zero = b.equal(0)
    report_zero(zero)
    if a.type.dtype.kind == "uint":
        divisor = zero.choose(1, b)
        quotient = _truncated_quotient(a, divisor, b.varies)
        return zero.choose(0, quotient if op == "div" else a - quotient * divisor)
    # The least integer over -1 is itself, as over 1; the machine would trap.
    overflow = b.equal(-1) & a.equal(-(1 << (a.type.dtype.bits - 1)))
    divisor = (zero | overflow).choose(1, b)
    quotient = _truncated_quotient(a, divisor, b.varies)
    rest = a - quotient * divisor
    below = ((rest ^ divisor) < 0) & ~rest.equal(0)
    if op == "div":
        return zero.choose(0, below.choose(quotient - 1, quotient))
    return zero.choose(0, below.choose(rest + divisor, rest))


def _power_of_two(b: Lanes) -> int | None:
    """n of a constant 2^n, by which a shift divides, rounding down; None of anything else."""
    powers = range(0 if b.varies else b.type.dtype.bits)
    return next((n for n in powers if b.text == b.type.constant(1 << n)), None)


def _truncated_quotient(a: Lanes, divisor: Lanes, varies: bool) -> Lanes:
    """a / divisor rounded to 0, for a divisor that neither is 0 nor overflows.

    No machine divides vectors of integers.  Of at most 32 bits they are exact in a float that also has room for the
    quotient's distance to the next integer, at least 1/divisor, so its rounded quotient has the same integer part.
    A constant divisor LLVM replaces by a multiplication.
    """
    ty = a.type
    letter = "s" if ty.dtype.kind == "int" else "u"
    if ty.lanes == 1 or ty.dtype.bits > 32 or not varies:
        return Lanes(a.function, ty, a.function.let(f"{letter}div {ty.llvm} {a.text}, {divisor.text}"))
    wide = F32 if ty.dtype.bits <= 16 else F64
    quotient = a.convert(f"{letter}itofp", wide) / divisor.convert(f"{letter}itofp", wide)
    return quotient.convert(f"fpto{letter}i", ty.dtype)


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
