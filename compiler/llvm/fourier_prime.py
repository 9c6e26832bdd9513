"""Stages of Fourier transforms for a large prime factor r: two loops where `fourier_butterfly` writes all terms out.

With s and d the sums and differences of x[k] and x[r - k], even[j] = x[0] + sum over k of cos(2*pi*j*k/r) * s[k] and
odd[j] = sum over k of sin(2*pi*j*k/r) * d[k] make y[j] = even[j] - i*odd[j] and y[r - j] = even[j] + i*odd[j].  The
table has the cosines by k and j, the sines, and for each p what the results are turned by: real, then imaginary parts.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.llvm.fourier_butterfly import Arithmetic, Point
from adjit.compiler.llvm.fourier_memory import REAL, Points
from adjit.compiler.llvm.fourier_plan import ABREAST, row_of_prime
from adjit.compiler.llvm.sequences import counted, maximum, minimum, offset, splat
from adjit.compiler.llvm.text import Function, LLType


class PrimeStage:
    """A stage of factor `radix`, whose last form turns nothing, from points to points."""

    def __init__(self, on: Arithmetic, radix: int, last: bool, source: Points, target: Points) -> None:
        self.on, self.f, self.type = on, on.f, on.type
        self.radix, self.half, self.last = radix, radix // 2, last
        self.row = row_of_prime(radix, on.type.lanes)
        self.source, self.target = source, target
        self.parts = 1 if source.kind == REAL else 2  # of points that are not 0

    # -- memory -------------------------------------------------------------------------------------------------------
    def _room(self, type: LLType, count: int) -> str:
        return self.f.let(f"alloca [{count} x {type.llvm}], align 64")

    def _load(self, type: LLType, pointer: str, place: str | int) -> str:
        at = offset(self.f, type.element, pointer, place)
        return self.f.let(f"load {type.llvm}, ptr {at}, align {type.dtype.itemsize}")

    def _store(self, type: LLType, value: str, pointer: str, place: str | int) -> None:
        at = offset(self.f, type.element, pointer, place)
        self.f.line(f"store {type.llvm} {value}, ptr {at}, align {type.dtype.itemsize}")

    def _add(self, a: str, b: str | int) -> str:
        return self.f.let(f"add nsw i64 {a}, {b}")

    def _times(self, a: str, b: str | int) -> str:
        return self.f.let(f"mul nsw i64 {a}, {b}")

    # -- what both ways have in common --------------------------------------------------------------------------------
    def _fold(self, on: Arithmetic, first: str, stride: str, sums: str, total: str | None = None) -> Point:
        """Write s and d of all k to `sums`, and x[0] + s[1] + ... to `total`; x[0]."""
        f, type = self.f, on.type
        x = self.source.load(first)
        for part in (0, 1) if total else ():
            self._store(type, x[part], str(total), part * type.lanes)
        last = self._add(first, self._times(stride, self.radix))
        with counted(f, "1", str(self.half + 1), 1) as k:
            step = self._times(stride, k)
            near, far = self.source.load(self._add(first, step)), self.source.load(f.let(f"sub i64 {last}, {step}"))
            s, d = on.sum(near, far), on.less(near, far)
            start = self._times(self._add(k, -1), 2 * self.parts * type.lanes)
            for number, value in enumerate((*s[: self.parts], *d[: self.parts])):
                self._store(type, value, sums, self._add(start, number * type.lanes))
            for part in (0, 1) if total else ():
                at = part * type.lanes
                self._store(type, on.add(self._load(type, str(total), at), s[part]), str(total), at)
        return x

    def _set(self, places: Sequence[str], x: Point) -> None:
        """Each result's accumulators, even and odd parts, as they are before the first k."""
        for room in places:
            for number, value in enumerate((*x[: self.parts], *[self.type.constant(0.0)] * self.parts)):
                self._store(self.type, value, room, number * self.type.lanes)

    def _accumulate(self, room: str, terms: Sequence[str], cosine: str, sine: str) -> None:
        for number, term in enumerate(terms):
            at = number * self.type.lanes
            before = self._load(self.type, room, at)
            self._store(self.type, self.on.product(term, cosine if number < self.parts else sine, before), room, at)

    def _results(self, room: str) -> tuple[Point, Point]:
        """y[j] and y[r - j]."""
        found = [self._load(self.type, room, n * self.type.lanes) for n in range(2 * self.parts)]
        even, odd = ((*found[n : n + self.parts], self.type.constant(0.0))[:2] for n in (0, self.parts))
        return self.on.apart((even[0], even[1]), (odd[0], odd[1]))

    @property
    def _sines(self) -> int:
        """Where the sines begin in the table; the numbers to turn by begin at twice that."""
        return self.half * self.row

    # -- the two ways -------------------------------------------------------------------------------------------------
    def along_results(self, scalars: Arithmetic) -> None:
        """Vectors along j, for runs of one: `source` has points of one number."""
        f, type, lanes, radix = self.f, self.type, self.type.lanes, self.radix
        sums = self._room(scalars.type, 4 * self.half)
        rooms = [self._room(type, 4) for _ in range(ABREAST)]
        # Results stand behind room for those of the table's padding.
        pad, size = ABREAST * lanes, ABREAST * lanes + max(self.row, radix + 1)
        found = [self._room(scalars.type, size) for _ in range(2)]
        with counted(f, "0", "%groups", 1) as p:
            re, im = self._fold(scalars, p, "%groups", sums)
            first = splat(f, type, re), splat(f, type, im)
            with counted(f, "0", str(self.row), pad) as j:
                self._set(rooms, first)
                with counted(f, "0", str(self.half), 1) as k:
                    begin = self._times(k, 2 * self.parts)
                    terms = [
                        splat(f, type, self._load(scalars.type, sums, self._add(begin, number)))
                        for number in range(2 * self.parts)
                    ]
                    start = self._add(self._times(k, self.row), j)
                    for number, room in enumerate(rooms):
                        at = self._add(start, number * lanes)
                        sine = self._load(type, "%table", self._add(at, self._sines))
                        self._accumulate(room, terms, self._load(type, "%table", at), sine)
                for number, room in enumerate(rooms):
                    near, far = self._results(room)
                    at = self._add(j, pad + number * lanes)
                    mirrored = f.let(f"sub i64 {pad * 2 + radix - lanes + 1}, {at}")
                    for memory, own, other in zip(found, near, far, strict=True):
                        self._store(type, own, memory, at)
                        self._store(type, f.shuffle(type, range(lanes - 1, -1, -1), other), memory, mirrored)
            end, factors = self._times(p, radix), self._add(self._times(p, 2 * radix), 2 * self._sines)
            with counted(f, "0", str(radix), lanes) as place:
                j = minimum(f, place, radix - lanes)
                point = tuple(self._load(type, memory, self._add(j, pad)) for memory in found)
                result = point[0], point[1]
                if not self.last:
                    at = self._add(factors, j)
                    w = self._load(type, "%table", at), self._load(type, "%table", self._add(at, radix))
                    result = self.on.turned(result, w)
                self.target.store(self._add(end, j), result)

    def along_runs(self) -> None:
        """Vectors along q, for runs of a vector and more."""
        f, type = self.f, self.type
        one = LLType(type.dtype)
        sums, total = self._room(type, 4 * self.half), self._room(type, 2)
        rooms = [self._room(type, 4) for _ in range(ABREAST)]
        stride = self._times("%run", "%groups")
        with counted(f, "0", "1" if self.last else "%groups", 1) as p:
            begin, factors = self._times(p, "%run"), self._add(self._times(p, 2 * self.radix), 2 * self._sines)
            with counted(f, "0", "%run", type.lanes) as place:
                q = maximum(f, minimum(f, place, f.let(f"sub i64 %run, {type.lanes}")), "0")
                x = self._fold(self.on, self._add(begin, q), stride, sums, total)
                out = self._add(self._times(begin, self.radix), q)
                self.target.store(out, (self._load(type, total, 0), self._load(type, total, type.lanes)))
                with counted(f, "1", str(self.half + 1), ABREAST) as j:
                    self._set(rooms, x)
                    with counted(f, "0", str(self.half), 1) as k:
                        start = self._times(k, 2 * self.parts * type.lanes)
                        terms = [
                            self._load(type, sums, self._add(start, n * type.lanes)) for n in range(2 * self.parts)
                        ]
                        at = self._add(self._times(k, self.row), j)
                        for number, room in enumerate(rooms):
                            places = (self._add(at, number), self._add(at, number + self._sines))
                            cosine, sine = (splat(f, type, self._load(one, "%table", each)) for each in places)
                            self._accumulate(room, terms, cosine, sine)
                    for number, room in enumerate(rooms):
                        own = self._add(j, number)
                        numbers = own, f.let(f"sub i64 {self.radix}, {own}")
                        for result, point in zip(numbers, self._results(room), strict=True):
                            if not self.last:
                                at = self._add(factors, result)
                                pair = [splat(f, type, self._load(one, "%table", each))
                                        for each in (at, self._add(at, self.radix))]  # fmt: skip
                                point = self.on.turned(point, (pair[0], pair[1]))
                            self.target.store(self._add(out, self._times(result, "%run")), point)


def emit_prime_stage(
    f: Function, on: Arithmetic, radix: int, last: bool, source: Points, target: Points, *, by_results: bool
) -> None:
    """The stage; by results, `source` has points of one number."""
    stage = PrimeStage(on, radix, last, source, target)
    if by_results:
        stage.along_results(Arithmetic(f, LLType(on.type.dtype), on.fused))
    else:
        stage.along_runs()
