"""Functions by a table of 16 polynomials: the coefficients of each lane's piece are permuted out of registers.

Where no instruction does that, a piece's coefficients stand side by side in memory; those of some lanes are read as
vectors and transposed, which takes a third of the time of gathers.

A piece about `centre` gives f(centre + t) as base + (t + t Q(t)).  Centres are moved so that f there is a number of
the dtype to a hundredth of its ULP (Gal and Bachelis 1991), which leaves the roundings of the last sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from adjit.compiler.llvm.sequences import offset
from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.vecmath_lanes import FORMATS, Lanes, fma, polynomial
from adjit.compiler.llvm.vecmath_registers import joined, permuted, permuted_eight
from adjit.ir.types import F32, I64

PIECES = 16
# Lanes whose rows are transposed together.
_SQUARE = 4


def piecewise(name: str, x: Lanes, step: float, columns: Sequence[Sequence[float]]) -> Lanes:
    """f(x) for 0 <= x < (PIECES - 1/2) step; piece i reaches from (i - 1/2) step to (i + 1/2) step.

    `columns` hold the pieces' centres, bases, and coefficients of Q from the constant on.
    """
    base, t, rest = pieces(name, x, step, columns)
    return base + fma(t, rest, t)


def pieces(name: str, x: Lanes, step: float, columns: Sequence[Sequence[float]]) -> tuple[Lanes, Lanes, Lanes]:
    """(the base, t, Q(t)) of the piece that x is in."""
    index = fma(x, 1 / step, FORMATS[x.type.dtype].shifter).bits()
    centre, base, *coefficients = _looked_up(name, columns, index, x)
    t = x - centre
    return base, t, polynomial(t, coefficients)


def _looked_up(name: str, columns: Sequence[Sequence[float]], index: Lanes, like: Lanes) -> list[Lanes]:
    """The element index mod PIECES of each column, in the type of `like`."""
    module, dtype = like.function.module, like.type.dtype
    if module.avx512:
        return [permuted(values, index, like) for values in columns]
    if module.avx2 and dtype is F32 and like.type.lanes > 1:
        upper = (index << 28) < 0
        halves = [[permuted_eight(part, index, like) for part in (v[:8], v[8:])] for v in columns]
        return [upper.choose(high, low) for low, high in halves]
    return _rows_turned(name, columns, index & (PIECES - 1), like)


def _rows_turned(name: str, columns: Sequence[Sequence[float]], place: Lanes, like: Lanes) -> list[Lanes]:
    """The element `place` of each column: rows of the table, a square for so many lanes at a time, transposed."""
    from adjit.compiler.llvm.transposition import transpose  # which AVX2 and AVX-512 do without

    f, lanes = like.function, like.type.lanes
    square = LLType(like.type.dtype, math.gcd(lanes, _SQUARE))
    one, width = LLType(square.dtype), -(-len(columns) // square.lanes) * square.lanes
    rows = zip(*columns, *[[0.0] * PIECES] * (width - len(columns)), strict=True)
    literals = ", ".join(f"{one.llvm} {one.constant(value)}" for row in rows for value in row)
    table = f"@adjit.{name}.{one.suffix}.{square.lanes}"
    f.module.declare(f"{table} = internal constant [{PIECES * width} x {one.llvm}] [{literals}], align 64")
    starts = []
    for lane in range(lanes):
        number = place.text if lanes == 1 else f.let(f"extractelement {place.type.llvm} {place.text}, i32 {lane}")
        number = number if place.type.dtype is I64 else f.let(f"zext {LLType(place.type.dtype).llvm} {number} to i64")
        starts.append(offset(f, f"[{width} x {one.llvm}]", table, number))
    found: list[Lanes] = []
    align = square.lanes * one.dtype.itemsize
    for first in range(0, width, square.lanes):
        groups = []
        for lane in range(0, lanes, square.lanes):
            places = [offset(f, one.llvm, start, first) for start in starts[lane : lane + square.lanes]]
            read = [f.let(f"load {square.llvm}, ptr {each}, align {align}") for each in places]
            groups.append([Lanes(f, square, text) for text in (transpose(f, square, read) if lanes > 1 else read)])
        found += [joined(parts) for parts in zip(*groups, strict=True)]
    return found[: len(columns)]
