"""Instructions of AVX-512 that no operation of LLVM stands for, on vectors of any number of lanes.

A vector is cut into registers; what is narrower than one stands in the first lanes of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.vecmath_lanes import Lanes
from adjit.ir.types import F32

_WIDEST, _LEAST = 64, 16
_CURRENT_ROUNDING = 4
# VGETMANT's operand: mantissas in [3/4, 3/2) or [1, 2), that of -0 positive, of other negative numbers NaN.
_MANTISSA, _FROM_ONE = 0b1111, 0b1100
# VREDUCE's: rounding down to integers.
_DOWN = 0b0001
# VRANGE's: the operand of the lesser magnitude with the sign of the first one.
_LESSER = 0b0010


def scaled(x: Lanes, n: Lanes) -> Lanes:
    """x 2^floor(n), rounded once (VSCALEF)."""
    return _on_registers(lambda x, n: _masked("scalef", (x, n)), (x, n))


def mantissa(x: Lanes) -> Lanes:
    """m in [3/4, 3/2) with x = m 2^k for an integer k, 1 for 0 and inf, NaN for a negative x (VGETMANT)."""
    return _on_registers(lambda x: _masked("getmant", (x,), _MANTISSA), (x,))


def mantissa_from_one(x: Lanes) -> Lanes:
    """m in [1, 2) with x = m 2^k for an integer k, 1 for 0 and inf, NaN for a negative x (VGETMANT)."""
    return _on_registers(lambda x: _masked("getmant", (x,), _FROM_ONE), (x,))


def exponent(x: Lanes) -> Lanes:
    """floor(log2 |x|) as a float, also of denormals; -inf for 0, inf for inf (VGETEXP)."""
    return _on_registers(lambda x: _masked("getexp", (x,)), (x,))


def limited(x: Lanes, most: float) -> Lanes:
    """x where |x| < most, else `most` with the sign of x; `most` for NaN (VRANGE)."""
    return _on_registers(lambda x: _masked("range", (x, x.constant(most)), _LESSER), (x,))


def fraction(x: Lanes) -> Lanes:
    """x - floor(x), 0 for infinities (VREDUCE)."""
    return _on_registers(lambda x: _masked("reduce", (x,), _DOWN), (x,))


def permuted(values: Sequence[float], index: Lanes, like: Lanes) -> Lanes:
    """The one of 16 `values` that the low four bits of `index` count, in the type of `like` (VPERMPS, VPERMI2PD)."""
    type = LLType(like.type.dtype, _WIDEST // like.type.dtype.itemsize)
    parts = [_literal(type, values[i : i + type.lanes]) for i in range(0, len(values), type.lanes)]

    def instruction(index: Lanes) -> Lanes:
        f, places = index.function, f"{index.type.llvm} {index.text}"
        if len(parts) == 1:
            name = "@llvm.x86.avx512.permvar.sf.512"
            f.module.declare(f"declare {type.llvm} {name}({type.llvm}, {index.type.llvm})")
            return Lanes(f, type, f.let(f"call {type.llvm} {name}({type.llvm} {parts[0]}, {places})"))
        name = "@llvm.x86.avx512.vpermi2var.pd.512"
        f.module.declare(f"declare {type.llvm} {name}({type.llvm}, {index.type.llvm}, {type.llvm})")
        operands = f"{type.llvm} {parts[0]}, {places}, {type.llvm} {parts[1]}"
        return Lanes(f, type, f.let(f"call {type.llvm} {name}({operands})"))

    return _on_registers(instruction, (index,), like.type, least=_WIDEST)


def permuted_eight(values: Sequence[float], index: Lanes, like: Lanes) -> Lanes:
    """The one of 8 float32 `values` that the low three bits of `index` count, in `like`'s type (AVX2's VPERMPS)."""
    type = LLType(like.type.dtype, len(values))
    name, table = "@llvm.x86.avx2.permps", _literal(type, values)

    def instruction(index: Lanes) -> Lanes:
        f = index.function
        f.module.declare(f"declare {type.llvm} {name}({type.llvm}, {index.type.llvm})")
        call = f"call {type.llvm} {name}({type.llvm} {table}, {index.type.llvm} {index.text})"
        return Lanes(f, type, f.let(call))

    return _on_registers(instruction, (index,), like.type, least=_WIDEST // 2, widest=_WIDEST // 2)


def _masked(name: str, operands: Sequence[Lanes], immediate: int | None = None) -> Lanes:
    """One of the instructions that LLVM knows in their masked form only, without a mask."""
    type, f = operands[0].type, operands[0].function
    bits = type.lanes * type.dtype.bits
    full = f"@llvm.x86.avx512.mask.{name}.{'ps' if type.dtype is F32 else 'pd'}.{bits}"
    given = [(type.llvm, operand.text) for operand in operands]
    if immediate is not None:
        given.append(("i32", str(immediate)))
    given += [(type.llvm, "zeroinitializer"), (f"i{max(8, type.lanes)}", "-1")]
    if bits == 8 * _WIDEST:
        given.append(("i32", str(_CURRENT_ROUNDING)))
    f.module.declare(f"declare {type.llvm} {full}({', '.join(kind for kind, _ in given)})")
    call = f"call {type.llvm} {full}({', '.join(f'{kind} {text}' for kind, text in given)})"
    return Lanes(f, type, f.let(call))


def _on_registers(
    instruction: Callable[..., Lanes], operands: Sequence[Lanes], result: LLType | None = None, least: int = _LEAST,
    widest: int = _WIDEST,
) -> Lanes:  # fmt: skip
    """`instruction` on vectors of `least` to `widest` bytes that make up the operands."""
    type = result or operands[0].type
    size = type.dtype.itemsize
    width = max(least // size, min(widest // size, 1 << (type.lanes - 1).bit_length()))
    if width == type.lanes:
        return instruction(*operands)
    starts = range(0, type.lanes, width)
    found = joined([instruction(*(resized(x, start, width) for x in operands)) for start in starts])
    return resized(found, 0, type.lanes)


def _literal(type: LLType, values: Sequence[float]) -> str:
    element = LLType(type.dtype)
    return f"<{', '.join(f'{element.llvm} {element.constant(value)}' for value in values)}>"


def resized(x: Lanes, start: int, lanes: int) -> Lanes:
    """The lanes of x from `start` on, as many as wanted; those that x lacks hold anything."""
    f, source, type = x.function, x.type, LLType(x.type.dtype, lanes)
    if source == type:
        return x
    if source.lanes == 1:
        return Lanes(f, type, f.let(f"insertelement {type.llvm} poison, {source.llvm} {x.text}, i32 0"))
    if lanes == 1:
        return Lanes(f, type, f.let(f"extractelement {source.llvm} {x.text}, i32 {start}"))
    places = [lane if lane < source.lanes else None for lane in range(start, start + lanes)]
    return Lanes(f, type, f.shuffle(source, places, x.text))


def joined(parts: Sequence[Lanes]) -> Lanes:
    """The lanes of vectors of one type, in one vector."""
    while len(parts) > 1:
        rest = parts[len(parts) & -2 :]
        parts = [*(_beside(low, high) for low, high in zip(parts[::2], parts[1::2], strict=False)), *rest]
    return parts[0]


def _beside(low: Lanes, high: Lanes) -> Lanes:
    """The lanes of both in one vector; `high` has no more than `low`."""
    f, lanes = low.function, low.type.lanes
    type = LLType(low.type.dtype, lanes + high.type.lanes)
    high = resized(high, 0, lanes)
    return Lanes(f, type, f.shuffle(low.type, range(type.lanes), low.text, high.text))
