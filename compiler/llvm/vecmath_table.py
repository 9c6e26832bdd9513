"""Functions by a table of 16 polynomials: the coefficients of each lane's piece are permuted out of registers.

A piece about `centre` gives f(centre + t) as base + (t + t Q(t)).  Centres are moved so that f there is a number of
the dtype to a hundredth of its ULP (Gal and Bachelis 1991), which leaves the roundings of the last sum.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.vecmath_lanes import FORMATS, Lanes, fma
from adjit.compiler.llvm.vecmath_registers import permuted

PIECES = 16


def piecewise(name: str, x: Lanes, step: float, columns: Sequence[Sequence[float]]) -> Lanes:
    """f(x) for 0 <= x < (PIECES - 1/2) step; piece i reaches from (i - 1/2) step to (i + 1/2) step.

    `columns` hold the pieces' centres, bases, and coefficients of Q from the constant on.
    """
    base, t, rest = pieces(name, x, step, columns)
    return base + fma(t, rest, t)


def pieces(name: str, x: Lanes, step: float, columns: Sequence[Sequence[float]]) -> tuple[Lanes, Lanes, Lanes]:
    """(the base, t, Q(t)) of the piece that x is in."""
    index = fma(x, 1 / step, FORMATS[x.type.dtype].shifter).bits()

    def column(number: int) -> Lanes:
        return _looked_up(f"{name}.{number}", columns[number], index, x)

    t = x - column(0)
    slope = column(len(columns) - 1)
    for number in range(len(columns) - 2, 1, -1):
        slope = fma(slope, t, column(number))
    return column(1), t, slope


def _looked_up(name: str, values: Sequence[float], index: Lanes, like: Lanes) -> Lanes:
    """values[index mod PIECES] in the type of `like`."""
    if like.function.module.avx512:
        return permuted(values, index, like)
    f, ty, one = like.function, like.type, LLType(like.type.dtype)
    table = f"@adjit.{name}.{one.suffix}"
    literals = ", ".join(f"{one.llvm} {one.constant(value)}" for value in values)
    f.module.declare(f"{table} = internal constant [{PIECES} x {one.llvm}] [{literals}]")
    place = index & (PIECES - 1)
    if ty.lanes == 1:
        address = f.let(f"getelementptr {one.llvm}, ptr {table}, {place.type.llvm} {place.text}")
        return Lanes(f, ty, f.let(f"load {ty.llvm}, ptr {address}"))
    addresses = f.let(f"getelementptr {one.llvm}, ptr {table}, {place.type.llvm} {place.text}")
    return Lanes(f, ty, f.gather(ty, addresses, None, "poison"))
