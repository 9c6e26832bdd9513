"""x 2^n: one instruction where the target has one (AVX-512's VSCALEF), else products with powers of two.

Both round once, where the result is denormal, so their bits are the same.
"""

from __future__ import annotations

from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.vecmath_lanes import Lanes, power_of_two
from adjit.ir.types import F32

_CURRENT_ROUNDING = 4


def scale(x: Lanes, n: Lanes, exponent: Lanes) -> Lanes:
    """x 2^n for x near 1 and n in exp's range; `exponent` is n as an integer."""
    if x.function.module.scales:
        return _scaled(x, n)
    # Two exact halves, of which the second rounds once where the result is denormal.
    half = exponent >> 1
    return x * power_of_two(half, x.type.dtype) * power_of_two(exponent - half, x.type.dtype)


def scale_normal(x: Lanes, n: Lanes, exponent: Lanes) -> Lanes:
    """x 2^n where that is a normal number, or x is NaN."""
    if x.function.module.scales:
        return _scaled(x, n)
    return x * power_of_two(exponent, x.type.dtype)


def _scaled(x: Lanes, n: Lanes) -> Lanes:
    """x 2^n by vectors of 16 to 64 bytes; what is narrower stands in the first lanes of one."""
    dtype, lanes, f = x.type.dtype, x.type.lanes, x.function
    widest, least = 64 // dtype.itemsize, 16 // dtype.itemsize
    if lanes < least:
        full = LLType(dtype, least)
        return Lanes(f, x.type, _resized(_instruction(_resized(x, 0, full), _resized(n, 0, full)), 0, x.type).text)
    if lanes <= widest:
        return _instruction(x, n)
    part = LLType(dtype, widest)
    parts = [_instruction(_resized(x, start, part), _resized(n, start, part)) for start in range(0, lanes, widest)]
    while len(parts) > 1:
        parts = [_joined(low, high) for low, high in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _instruction(x: Lanes, n: Lanes) -> Lanes:
    type, f = x.type, x.function
    bits = type.lanes * type.dtype.bits
    name = f"@llvm.x86.avx512.mask.scalef.{'ps' if type.dtype is F32 else 'pd'}.{bits}"
    mask = f"i{max(8, type.lanes)}"
    rounding = f", i32 {_CURRENT_ROUNDING}" if bits == 512 else ""
    kinds = f"{type.llvm}, {type.llvm}, {type.llvm}, {mask}{', i32' if rounding else ''}"
    f.module.declare(f"declare {type.llvm} {name}({kinds})")
    operands = f"{type.llvm} {x.text}, {type.llvm} {n.text}, {type.llvm} zeroinitializer, {mask} -1{rounding}"
    return Lanes(f, type, f.let(f"call {type.llvm} {name}({operands})"))


def _resized(x: Lanes, start: int, type: LLType) -> Lanes:
    """The lanes of x from `start` on, as many as `type` has; those that x lacks hold anything."""
    f, source = x.function, x.type
    if source.lanes == 1:
        return Lanes(f, type, f.let(f"insertelement {type.llvm} poison, {source.llvm} {x.text}, i32 0"))
    if type.lanes == 1:
        return Lanes(f, type, f.let(f"extractelement {source.llvm} {x.text}, i32 {start}"))
    places = ", ".join(f"i32 {start + lane if start + lane < source.lanes else 'poison'}" for lane in range(type.lanes))
    text = f"shufflevector {source.llvm} {x.text}, {source.llvm} poison, <{type.lanes} x i32> <{places}>"
    return Lanes(f, type, f.let(text))


def _joined(low: Lanes, high: Lanes) -> Lanes:
    f, type = low.function, LLType(low.type.dtype, 2 * low.type.lanes)
    places = ", ".join(f"i32 {lane}" for lane in range(type.lanes))
    text = f"shufflevector {low.type.llvm} {low.text}, {high.type.llvm} {high.text}, <{type.lanes} x i32> <{places}>"
    return Lanes(f, type, f.let(text))
