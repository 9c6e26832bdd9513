"""Reduction of large arguments modulo pi/2, after Payne and Hanek (1983): a product of wide integers.

A float is m 2^e with an integer m, so x 2/pi modulo 4 needs only the bits of 2/pi from weight 2^(1-e) down: a window
of them is loaded from a table, multiplied by m modulo the window's width, and what remains is a fixed-point number
whose top two bits are the quadrant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.vecmath_lanes import (
    FORMATS,
    Lanes,
    Table,
    fma,
    loop_while,
    math_function,
    power_of_two,
    repair,
)
from adjit.compiler.memory import LINE
from adjit.ir.types import F32, F64, I32, I64, DType

# The first 1280 bits of 2/pi (computed with mpmath; a test compares them), 64 to a line but for the last.
TWO_OVER_PI = int(
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561"
    "b7246e3a424dd2e006492eea09d1921cfe1deb1cb129a73ee88235f52ebb4484"
    "e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980f"
    "ef2f118b5a0a6d1f6d367ecf27cb09b74f463f669e5fea2d7527bac7ebe5f17b"
    "3d0739f78a5292ea6bfb5fb11f8d5d0856033046fc7b6babf0cfbc209af4361d",
    16,
)
TABLE_BITS = 1280
# Zeros above the binary point, for windows that begin before it.
_TABLE_WORDS = TABLE_BITS // 64 + 1
# A window holds the two quadrant bits, the mantissa, the bits that cancel where x is next to a multiple of pi/2 (30 in
# f32, 62 in f64: Muller et al., Handbook of Floating-Point Arithmetic, 2nd ed., section 11.1), and two mantissas more.
_WINDOW: dict[DType, int] = {F32: 128, F64: 256}
# pi/2 as the sum of three numbers of the dtype.
HALF_PI: Table = {
    F32: tuple(map(float.fromhex, ("0x1.921fb6p+0", "-0x1.777a5cp-25", "-0x1.ee59dap-50"))),
    F64: tuple(map(float.fromhex, ("0x1.921fb54442d18p+0", "0x1.1a62633145c07p-54", "-0x1.f1976b7ed8fbcp-110"))),
}


# From here on too little is left of x by subtraction: the error of q times the last bit of the parts of pi/2 stays far
# below the smallest |r| under these bounds.
LARGE: dict[DType, float] = {F32: 2.0**17, F64: 2.0**30}
# (r, its correction, q) with x = q pi/2 + r and |r| <= pi/4.
Turned: TypeAlias = tuple[Lanes, Lanes, Lanes]


def reduce_large(x: Lanes, reduced: Turned) -> Turned:
    """`reduced` with the large lanes of x reduced here, q modulo 4 in these.

    Functions that all calls share do it, lane by lane: what hardly ever runs is compiled once.
    """

    def again() -> Turned:
        if x.type.lanes == 1:
            return _of_number(x)
        return _called(f"adjit.reduce_large.{x.type.suffix}", _lane_by_lane, x, *reduced)

    r, correction, q = repair(_is_large(x), reduced, again)
    return r, correction, q


def _of_number(x: Lanes) -> Turned:
    return _called(f"adjit.reduce_large.{x.type.suffix}", _reduced, x)


def _is_large(x: Lanes) -> Lanes:
    return (abs(x) >= LARGE[x.type.dtype]) & (abs(x) < math.inf)


def _called(name: str, body: Callable[..., Turned], *operands: Lanes) -> Turned:
    """`body(*operands)` by a function with this name."""
    x = operands[0]
    module, types = x.function.module, [operand.type for operand in operands]
    kinds = [x.type, x.type, x.type.with_dtype(x.format.integer)]
    together = f"{{ {', '.join(kind.llvm for kind in kinds)} }}"
    if not module.has(name := module.shared(name)):
        inner = math_function(module, name, types, together, inline=False)
        found = "poison"
        for place, part in enumerate(body(*(Lanes(inner, ty, f"%x{i}") for i, ty in enumerate(types)))):
            found = inner.let(f"insertvalue {together} {found}, {part.type.llvm} {part.text}, {place}")
        inner.line(f"ret {together} {found}")
        inner.finish()
    passed = ", ".join(f"{operand.type.llvm} {operand.text}" for operand in operands)
    call = x.function.let(f"call {together} @{name}({passed})")
    r, correction, q = (
        Lanes(x.function, kind, x.function.let(f"extractvalue {together} {call}, {place}"))
        for place, kind in enumerate(kinds)
    )
    return r, correction, q


def _lane_by_lane(x: Lanes, *reduced: Lanes) -> Turned:
    """The large lanes are reduced in memory: an index of lanes in registers takes LLVM several times longer."""
    function = x.function
    own, *parts = [_Stored(value) for value in (x, *reduced)]

    def step(i: Lanes) -> tuple[Lanes]:
        number = own.load(i)

        def again() -> tuple[()]:
            for part, new in zip(parts, _of_number(number), strict=True):
                part.store(i, new)
            return ()

        repair(_is_large(number), (), again)
        return (i + 1,)

    loop_while([Lanes(function, LLType(I32), "0")], lambda i: (i < x.type.lanes).text, step)
    r, correction, q = (part.whole() for part in parts)
    return r, correction, q


class _Stored:
    """A vector in memory, where its lanes can be changed one by one."""

    def __init__(self, value: Lanes) -> None:
        self._value = value
        self._place = value.function.let(f"alloca {value.type.llvm}, align {LINE}")
        value.function.line(f"store {value.type.llvm} {value.text}, ptr {self._place}, align {LINE}")

    def load(self, i: Lanes) -> Lanes:
        function, ty = self._value.function, LLType(self._value.type.dtype)
        return Lanes(function, ty, function.let(f"load {ty.llvm}, ptr {self._lane(i)}, align {ty.dtype.itemsize}"))

    def store(self, i: Lanes, new: Lanes) -> None:
        align = new.type.dtype.itemsize
        new.function.line(f"store {new.type.llvm} {new.text}, ptr {self._lane(i)}, align {align}")

    def whole(self) -> Lanes:
        function, ty = self._value.function, self._value.type
        return Lanes(function, ty, function.let(f"load {ty.llvm}, ptr {self._place}, align {LINE}"))

    def _lane(self, i: Lanes) -> str:
        element = LLType(self._value.type.dtype)
        return self._value.function.let(f"getelementptr {element.llvm}, ptr {self._place}, i32 {i.text}")


def _reduced(x: Lanes) -> Turned:
    """(r, its correction, q) of one number with LARGE <= |x| < inf."""
    dtype = x.type.dtype
    layout, width = FORMATS[dtype], _WINDOW[dtype]
    bits = x.bits()
    exponent = ((bits >> layout.mantissa) & (1 << (layout.integer.bits - 1 - layout.mantissa)) - 1) - (
        layout.bias + layout.mantissa
    )
    mantissa = (bits & (1 << layout.mantissa) - 1) | (1 << layout.mantissa)

    # The window starts at a byte, so the product is short of full scale by 0 to 7 bits, added before or after it.
    skipped = (TABLE_BITS + 2 - width) - exponent
    byte = (skipped + 7) >> 3
    missing = (byte << 3) - skipped
    find = _turned_in_words if dtype is F32 else _turned_in_one
    r, correction, quadrant = find(mantissa, missing, byte)
    # The sign of x turns both parts.
    negative = bits < 0
    return negative.choose(-r, r), negative.choose(-correction, correction), negative.choose(0 - quadrant, quadrant)


def _turned_in_words(mantissa: Lanes, missing: Lanes, byte: Lanes) -> Turned:
    """(r, its correction, q) in f32, by products of 64 bits, of which LLVM makes code in a third of the time.

    Of the product's 62 bits after the point, too small by one or two units, at most 30 are lost next to a multiple of
    pi/2: what is left has a relative error of 2^-30, and elsewhere that of f64.
    """
    factor = (mantissa << missing).convert("zext", I64)
    low, high = (Lanes(factor.function, factor.type, _load(byte + place, "i64")) for place in (0, 8))
    turns = factor * high + (factor * low.shift_in_zeros(32)).shift_in_zeros(32)
    quadrant = (turns + (1 << 61)).shift_in_zeros(62).convert("trunc", I32)
    angle = (turns << 2).convert("sitofp", F64) * (HALF_PI[F64][0] * 2.0**-64)
    r = angle.convert("fptrunc", F32)
    return r, (angle - r.convert("fpext", F64)).convert("fptrunc", F32), quadrant


def _turned_in_one(mantissa: Lanes, missing: Lanes, byte: Lanes) -> Turned:
    """(r, its correction, q) in f64, by one product of the whole window."""
    function, width = mantissa.function, _WINDOW[F64]
    wide = f"i{width}"
    product = function.let(f"mul {wide} {_widen(mantissa, wide)}, {_load(byte, wide)}")
    turns = function.let(f"shl {wide} {product}, {_widen(missing, wide)}")
    rounded = function.let(f"add {wide} {turns}, {1 << (width - 3)}")
    quadrant = _narrow(mantissa, wide, function.let(f"lshr {wide} {rounded}, {width - 2}"))
    fraction = function.let(f"shl {wide} {turns}, 2")
    return *_times_half_pi(*_fraction_to_float(mantissa, wide, fraction)), quadrant


def _fraction_to_float(mantissa: Lanes, wide: str, fraction: str) -> tuple[Lanes, Lanes]:
    """The signed integer `fraction` over 2^width as a sum of two numbers."""
    function, width, digits = mantissa.function, _WINDOW[F64], FORMATS[F64].precision
    function.module.declare(f"declare {wide} @llvm.abs.{wide}({wide}, i1)")
    function.module.declare(f"declare {wide} @llvm.ctlz.{wide}({wide}, i1)")
    size = function.let(f"call {wide} @llvm.abs.{wide}({wide} {fraction}, i1 false)")
    zeros = function.let(f"call {wide} @llvm.ctlz.{wide}({wide} {size}, i1 true)")
    normal = function.let(f"shl {wide} {size}, {zeros}")
    rest = function.let(f"shl {wide} {normal}, {digits}")
    unit = power_of_two(-digits - _narrow(mantissa, wide, zeros), F64)
    negative = function.let(f"icmp slt {wide} {fraction}, 0")
    signed = Lanes(function, unit.type, function.let(f"select i1 {negative}, {_pair(-unit, unit)}"))

    def leading(value: str) -> Lanes:
        whole = function.let(f"lshr {wide} {value}, {width - digits}")
        return _narrow(mantissa, wide, whole).convert("sitofp", F64)

    return leading(normal) * signed, leading(rest) * (signed * 2.0**-digits)


def _times_half_pi(high: Lanes, low: Lanes) -> tuple[Lanes, Lanes]:
    half_pi, half_pi_low, _ = HALF_PI[F64]
    product = high * half_pi
    return product, fma(high, half_pi, -product) + fma(high, half_pi_low, low * half_pi)


def _load(byte: Lanes, integer: str) -> str:
    """The integer of this LLVM type that starts at `byte` of the table, whose least significant byte comes first."""
    function = byte.function
    words = [(TWO_OVER_PI >> (64 * i)) & (2**64 - 1) for i in range(_TABLE_WORDS)]
    text = ", ".join(f"i64 {word}" for word in words)
    function.module.declare(f"@adjit.two_over_pi = internal constant [{_TABLE_WORDS} x i64] [{text}]")
    place = function.let(f"getelementptr i8, ptr @adjit.two_over_pi, {byte.type.llvm} {byte.text}")
    return function.let(f"load {integer}, ptr {place}, align 1")


def _pair(first: Lanes, second: Lanes) -> str:
    return f"{first.type.llvm} {first.text}, {second.type.llvm} {second.text}"


def _widen(value: Lanes, wide: str) -> str:
    return value.function.let(f"zext {value.type.llvm} {value.text} to {wide}")


def _narrow(like: Lanes, wide: str, value: str) -> Lanes:
    """The low bits of `value` in the integer type of `like`."""
    return Lanes(like.function, like.type, like.function.let(f"trunc {wide} {value} to {like.type.llvm}"))
