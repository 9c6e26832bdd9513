"""Transforms of few points in registers: out[j] = sum over k of x[k] * exp(-2*pi*i*j*k/r), r = 1, 2, 4, 8 or odd.

Points are pairs of names, real and imaginary parts, each of one LLVM type: a number, or a vector of them.
"""

from __future__ import annotations

from math import cos, pi, sin, sqrt
from typing import TypeAlias

from adjit.compiler.llvm.text import Function, LLType

Point: TypeAlias = "tuple[str, str]"


class Arithmetic:
    """Operations on names of one type, products that are added in one rounding where the target can."""

    def __init__(self, f: Function, type: LLType, fused: bool) -> None:
        self.f, self.type, self.fused = f, type, fused

    def add(self, a: str, b: str) -> str:
        return self.f.let(f"fadd {self.type.llvm} {a}, {b}")

    def sub(self, a: str, b: str) -> str:
        return self.f.let(f"fsub {self.type.llvm} {a}, {b}")

    def mul(self, a: str, b: str) -> str:
        return self.f.let(f"fmul {self.type.llvm} {a}, {b}")

    def scaled(self, factor: float, a: str, b: str) -> str:
        """factor*a + b."""
        return self.product(self.type.constant(factor), a, b)

    def product(self, a: str, b: str, c: str) -> str:
        """a*b + c."""
        return self.f.intrinsic("fma", self.type, a, b, c) if self.fused else self.add(self.mul(a, b), c)

    def difference(self, a: str, b: str, c: str) -> str:
        """a*b - c."""
        if not self.fused:
            return self.sub(self.mul(a, b), c)
        return self.f.intrinsic("fma", self.type, a, b, self.f.let(f"fneg {self.type.llvm} {c}"))

    def turned(self, x: Point, w: Point) -> Point:
        """x * w, of complex numbers."""
        (a, b), (c, d) = x, w
        return self.difference(a, c, self.mul(b, d)), self.product(a, d, self.mul(b, c))

    def sum(self, x: Point, y: Point) -> Point:
        return self.add(x[0], y[0]), self.add(x[1], y[1])

    def less(self, x: Point, y: Point) -> Point:
        return self.sub(x[0], y[0]), self.sub(x[1], y[1])

    def apart(self, x: Point, y: Point) -> tuple[Point, Point]:
        """x - i*y and x + i*y."""
        (a, b), (c, d) = x, y
        return (self.add(a, d), self.sub(b, c)), (self.sub(a, d), self.add(b, c))


def butterfly(on: Arithmetic, x: list[Point]) -> list[Point]:
    """The transform of as many points as there are."""
    match len(x):
        case 1:
            return x
        case 2:
            return [on.sum(*x), on.less(*x)]
        case 4:
            return _of_four(on, x)
        case 8:
            return _of_eight(on, x)
    return _of_odd(on, x)


def _of_four(on: Arithmetic, x: list[Point]) -> list[Point]:
    even, odd = on.sum(x[0], x[2]), on.sum(x[1], x[3])
    first, third = on.apart(on.less(x[0], x[2]), on.less(x[1], x[3]))
    return [on.sum(even, odd), first, on.less(even, odd), third]


def _of_eight(on: Arithmetic, x: list[Point]) -> list[Point]:
    """Two transforms of four points; the second's results are turned by eighths of a circle."""
    even, odd = _of_four(on, x[0::2]), _of_four(on, x[1::2])
    root = sqrt(0.5)
    (a, b), (c, d) = odd[1], odd[3]
    # sqrt(2) times odd[1] * exp(-pi*i/4) and odd[3] * exp(-3*pi*i/4)
    turned = {1: (on.add(a, b), on.sub(b, a)), 3: (on.sub(d, c), on.add(c, d))}
    signs = {1: (root, root), 3: (root, -root)}
    found = [on.sum(even[0], odd[0]), *[("", "")] * 7]
    found[4] = on.less(even[0], odd[0])
    found[2], found[6] = on.apart(even[2], odd[2])
    for place in (1, 3):
        (re, im), (first, second) = turned[place], signs[place]
        found[place] = on.scaled(first, re, even[place][0]), on.scaled(second, im, even[place][1])
        found[place + 4] = on.scaled(-first, re, even[place][0]), on.scaled(-second, im, even[place][1])
    return found


def _of_odd(on: Arithmetic, x: list[Point]) -> list[Point]:
    """By sums and differences of x[k] and x[r - k], whose factors are cosines and sines."""
    count, half = len(x), len(x) // 2
    sums = [on.sum(x[k], x[count - k]) for k in range(1, half + 1)]
    differences = [on.less(x[k], x[count - k]) for k in range(1, half + 1)]
    total = x[0]
    for each in sums:
        total = on.sum(total, each)
    found = [total, *[("", "")] * (count - 1)]
    for j in range(1, half + 1):
        even, odd = list(x[0]), ["", ""]
        for k in range(1, half + 1):
            angle = 2 * pi * (j * k % count) / count
            for part in (0, 1):
                even[part] = on.scaled(cos(angle), sums[k - 1][part], even[part])
                term, factor = differences[k - 1][part], sin(angle)
                odd[part] = (
                    on.scaled(factor, term, odd[part]) if k > 1 else on.mul(on.type.constant(factor), term)
                )
        found[j], found[count - j] = on.apart((even[0], even[1]), (odd[0], odd[1]))
    return found
