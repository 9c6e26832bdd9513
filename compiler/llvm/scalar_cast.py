"""Casts between all dtypes.

Half precision is held as its bits.  Integers wrap; floats saturate to integers, NaN to 0; everything but 0 is true,
NaN too; floats round to nearest even.
To bf16, and from integers to f16, the way is by f32 (`adjit.ir.halfs.cast_array` says the same).
"""

from __future__ import annotations

from adjit.compiler.llvm.vecmath_lanes import Lanes
from adjit.ir.types import BF16, BOOL, F16, F32, F64, I32, DType

_HALVES = (F16, BF16)


def cast(x: Lanes, target: DType) -> Lanes:
    """x as `target`."""
    source = x.type.dtype
    if source is target:
        return x
    if source in _HALVES:
        single = _from_half(x) if source is F16 else (x.convert("zext", I32) << 16).as_float(F32)
        return cast(single, target)
    if target is F16:
        return _to_half(x)
    if target is BF16:
        return _to_brain(cast(x, F32))
    if target is BOOL:
        return _is_true(x)
    if source.is_float:
        if target.is_integer:
            return _saturated(x, target)
        return x.convert("fpext" if target.bits > source.bits else "fptrunc", target)
    if target.is_float:
        return x.convert("sitofp" if source.kind == "int" else "uitofp", target)
    width = 1 if source is BOOL else source.bits
    if width == target.bits:
        return Lanes(x.function, x.type.with_dtype(target), x.text)
    return x.convert("trunc" if width > target.bits else "sext" if source.kind == "int" else "zext", target)


def _is_true(x: Lanes) -> Lanes:
    # Unordered or unequal: a NaN is not 0.
    opcode = "fcmp une" if x.type.dtype.is_float else "icmp ne"
    ty = x.type.with_dtype(BOOL)
    return Lanes(x.function, ty, x.function.let(f"{opcode} {x.type.llvm} {x.text}, {x.constant(0).text}"))


def _saturated(x: Lanes, target: DType) -> Lanes:
    """x truncated where it fits, the nearer bound of `target` where not, 0 for NaN; LLVM's own goes lane by lane."""
    signed = target.kind == "int"
    opcode, least = ("fptosi", -(1 << (target.bits - 1))) if signed else ("fptoui", 0)
    most = least + (1 << target.bits) - 1
    if most < 2**x.format.precision:
        bounded = (x < most).choose(x, most)
        bounded = (bounded > least).choose(bounded, least)
        return x.is_nan().choose(0.0, bounded).convert(opcode, target)
    # The greatest integer is no float here, but the power of two above it is.
    fits = ((x >= least) if signed else (x > -1.0)) & (x < most + 1)
    value = fits.choose(x, 0.0).convert(opcode, target)
    value = (x >= most + 1).choose(most, value)
    return (x < least).choose(least, value) if signed else value


def _to_half(x: Lanes) -> Lanes:
    """f16 by way of f32, which is the type that machines convert from.

    From f64 the first rounding is to odd, so that the second rounds as if it were the only one (Boldo and Melquiond
    2008).  Integers that f32 rounds are beyond f16.
    """
    single = _rounded_to_odd(x) if x.type.dtype is F64 else cast(x, F32)
    if x.function.module.halves:
        f, half = x.function, _half_type(x)
        rounded = f.let(f"fptrunc {single.type.llvm} {single.text} to {half}")
        type = x.type.with_dtype(F16)
        return Lanes(f, type, f.let(f"bitcast {half} {rounded} to {type.llvm}"))
    bits = single.bits()
    size = bits & 0x7FFFFFFF
    # Below the least normal number, 2**-14, adding 1/2 leaves the result's bits, rounded, at the end of the sum.
    small = (size.as_float(F32) + 0.5).bits() - 0x3F000000
    # Else the exponent counts from 15 in place of 127, and half a unit goes off the end.
    normal = (size + (((15 - 127) << 23) + 0xFFF) + ((size >> 13) & 1)) >> 13
    # From 2**16 on it is infinite; a NaN stays one and keeps the upper bits that tell it from others.
    special = (size > 0x7F800000).choose(((size >> 13) & 0x3FF) | 0x7E00, size.lift(0x7C00))
    found = (size < 0x38800000).choose(small, (size < 0x47800000).choose(normal, special))
    return (found | ((bits >> 16) & 0x8000)).convert("trunc", F16)


def _from_half(x: Lanes) -> Lanes:
    """The f32 that f16 bits mean."""
    if x.function.module.halves:
        f, half, type = x.function, _half_type(x), x.type.with_dtype(F32)
        text = f.let(f"bitcast {x.type.llvm} {x.text} to {half}")
        return Lanes(f, type, f.let(f"fpext {half} {text} to {type.llvm}"))
    wide = x.convert("zext", I32)
    size = (wide & 0x7FFF) << 13
    # As f32 the bits mean 2**112 times less; infinities and NaNs have the exponent of neither.
    value = (size.as_float(F32) * 2.0**112).bits()
    quiet = (size > 0x0F800000).choose(value | 0x7FC00000, value | 0x7F800000)
    return ((size < 0x0F800000).choose(value, quiet) | ((wide & 0x8000) << 16)).as_float(F32)


def _half_type(x: Lanes) -> str:
    return "half" if x.type.lanes == 1 else f"<{x.type.lanes} x half>"


def _rounded_to_odd(x: Lanes) -> Lanes:
    """The f32 that x is, or the one of its two neighbours whose last bit is 1."""
    nearest = x.convert("fptrunc", F32)
    size, rounded = abs(x), abs(nearest.convert("fpext", F64))
    bits = nearest.bits()
    even = (bits & 1).equal(0)
    # The bits of a float count up with its magnitude, whatever the sign.
    odd = (rounded < size).choose(bits + 1, (rounded > size).choose(bits - 1, bits))
    return even.choose(odd, bits).as_float(F32)


def _to_brain(x: Lanes) -> Lanes:
    """The upper half of f32, rounded by its lower half; machines' own conversion takes denormals for 0."""
    bits = x.bits()
    upper = bits >> 16
    rounded = (bits + 0x7FFF + (upper & 1)) >> 16
    chosen = x.is_nan().choose(upper | 0x40, rounded)
    return chosen.convert("trunc", BF16)
