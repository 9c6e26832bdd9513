"""Casts between all dtypes.

Integers wrap; floats saturate to integers, NaN to 0; everything but 0 is true, NaN too; floats round to nearest even.
To bf16, and from integers to f16, the way is by f32 (`adjit.ir.halfs.cast_array` says the same).
"""

from __future__ import annotations

from adjit.compiler.llvm.vecmath_lanes import Lanes
from adjit.ir.types import BF16, BOOL, F16, F32, F64, I16, DType

_HALVES = (F16, BF16)


def cast(x: Lanes, target: DType) -> Lanes:
    """x as `target`."""
    source = x.type.dtype
    if source is target:
        return x
    if source in _HALVES and target not in (F32, F64):
        return cast(x.convert("fpext", F32), target)
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
    ty = x.type.with_dtype(target)
    name = f"@llvm.fpto{'s' if target.kind == 'int' else 'u'}i.sat.{ty.suffix}.{x.type.suffix}"
    x.function.module.declare(f"declare {ty.llvm} {name}({x.type.llvm})")
    return Lanes(x.function, ty, x.function.let(f"call {ty.llvm} {name}({x.type.llvm} {x.text})"))


def _to_half(x: Lanes) -> Lanes:
    """f16 by way of f32, which is the type that machines convert from.

    From f64 the first rounding is to odd, so that the second rounds as if it were the only one (Boldo and Melquiond
    2008).  Integers that f32 rounds are beyond f16.
    """
    single = _rounded_to_odd(x) if x.type.dtype is F64 else cast(x, F32)
    return single.convert("fptrunc", F16)


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
    return chosen.convert("trunc", I16).convert("bitcast", BF16)
