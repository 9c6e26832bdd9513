"""The stages of Fourier transforms as functions, which all transforms of a program, and programs, have in common.

Lengths are their arguments: `run` and `groups` of `adjit.compiler.llvm.fourier_plan`.  Vectors are never masked but at
columns: the last one of a loop begins earlier where it would end too late, and computes some results again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adjit.compiler.llvm.fourier_butterfly import Arithmetic, Point, butterfly
from adjit.compiler.llvm.fourier_memory import COMPLEX, SPLIT, SWAPPED, Points, dealt
from adjit.compiler.llvm.fourier_plan import LARGEST_FACTOR
from adjit.compiler.llvm.fourier_prime import emit_prime_stage
from adjit.compiler.llvm.sequences import counted, maximum, minimum, offset, splat, when
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.ir.frozen import frozen
from adjit.ir.types import DType

_ATTRIBUTES = 'noinline nounwind "hot" "prefer-vector-width"="512"'
_PARAMETERS = "ptr %a, ptr %b, ptr %c, ptr %d, ptr %table, i64 %run, i64 %groups, i64 %count, i64 %pitch"


@frozen
class StageKind:
    """What a stage's function is made by.

    `block` is the run of vectors along p and q together, else 0; `by_results`, if they go along the results of one
    transform (`fourier_prime`); the last stage turns nothing.  Memory of `source` and
    `target` is of the kinds of `fourier_memory`; that of `rows` has lines, of which columns are transformed.
    """

    dtype: DType
    lanes: int
    radix: int
    block: int
    last: bool
    source: str = SPLIT
    target: str = SPLIT
    rows: bool = False
    fused: bool = True
    by_results: bool = False

    @property
    def name(self) -> str:
        order = f"block{self.block}" if self.block else "results" if self.by_results else "runs"
        words = (order, "last" * self.last, self.source, self.target, "rows" * self.rows, "fma" * self.fused)
        return ".".join(("adjit.fourier", f"{self.radix}", LLType(self.dtype, self.lanes).suffix, *filter(None, words)))


def emit_stage(module: Module, kind: StageKind) -> str:
    """`void @...(a, b, c, d, table, run, groups, count, pitch)`: a stage from points at (a, b) to (c, d); its name."""
    name = module.shared(kind.name)
    if module.has(name):
        return name
    f = Function(module, name, _PARAMETERS, attributes=_ATTRIBUTES)
    type = LLType(kind.dtype, kind.lanes)
    by_one = LLType(kind.dtype) if kind.by_results else type
    on = Arithmetic(f, type, kind.fused)
    ends = []
    for side, pointers, own in ((kind.source, ("%a", "%b"), by_one), (kind.target, ("%c", "%d"), type)):
        in_rows = kind.rows and side != SPLIT
        ends.append(Points(f, own, side, pointers, *(("%count", "%pitch") if in_rows else ())))
    source, target = ends
    if kind.radix > LARGEST_FACTOR:
        emit_prime_stage(f, on, kind.radix, kind.last, source, target, by_results=kind.by_results)
    elif kind.block:
        _by_blocks(on, kind, source, target)
    else:
        _by_runs(on, kind, source, target)
    f.line("ret void")
    f.finish()
    return name


@contextmanager
def _vectors(f: Function, lanes: int, stop: str, start: str = "0") -> Iterator[str]:
    """A loop over start..stop-1 by vectors, of which the last begins early; of fewer than a vector's, at `start`."""
    with counted(f, start, stop, lanes) as place:
        yield place if lanes == 1 else maximum(f, minimum(f, place, f.let(f"sub i64 {stop}, {lanes}")), start)


def _times(f: Function, a: str, b: str | int) -> str:
    return f.let(f"mul nsw i64 {a}, {b}")


def _plus(f: Function, a: str, b: str) -> str:
    return f.let(f"add nsw i64 {a}, {b}")


def _steps(f: Function, start: str, step: str, count: int) -> list[str]:
    """start, start + step, ..."""
    found = [start]
    for _ in range(count - 1):
        found.append(_plus(f, found[-1], step))
    return found


def _by_blocks(on: Arithmetic, kind: StageKind, source: Points, target: Points) -> None:
    """Vectors along p and q, and turned by vectors of the table, which has a number for each place."""
    f, type, radix = on.f, on.type, kind.radix
    extent = _times(f, "%run", "%groups")
    with _vectors(f, kind.lanes, extent) as place:
        found = butterfly(on, [source.load(at) for at in _steps(f, place, extent, radix)])
        for j, start in enumerate(_steps(f, place, _times(f, extent, 2), radix - 1), 1):
            parts = [
                f.let(f"load {type.llvm}, ptr {offset(f, type.element, '%table', at)}, align {type.dtype.itemsize}")
                for at in (start, _plus(f, start, extent))
            ]
            found[j] = on.turned(found[j], (parts[0], parts[1]))
        rows = [dealt(f, type, [point[part] for point in found], kind.block) for part in (0, 1)]
        first = _times(f, place, radix)
        for number, point in enumerate(zip(*rows, strict=True)):
            target.store(f.let(f"add nsw i64 {first}, {number * kind.lanes}"), point)


def _by_runs(on: Arithmetic, kind: StageKind, source: Points, target: Points) -> None:
    """Vectors along q; each p has its own numbers to turn by."""
    f, radix = on.f, kind.radix
    stride = _times(f, "%run", "%groups")
    with counted(f, "0", "1" if kind.last else "%groups", 1) as p:
        factors = [] if kind.last else _factors(on, _times(f, p, 2 * (radix - 1)), radix)
        begin, end = _times(f, p, "%run"), _times(f, _times(f, p, "%run"), radix)
        with _vectors(f, kind.lanes, "%run") as q:
            found = butterfly(on, [source.load(at) for at in _steps(f, _plus(f, begin, q), stride, radix)])
            found[1:] = [on.turned(x, w) for x, w in zip(found[1:], factors, strict=True)] if factors else found[1:]
            # In this order: a vector longer than the run is continued by the next one's.
            for point, at in zip(found, _steps(f, _plus(f, end, q), "%run", radix), strict=True):
                target.store(at, point)


def _factors(on: Arithmetic, start: str, radix: int) -> list[Point]:
    """What the results but the first are turned by, in all lanes."""
    f, element = on.f, on.type.element
    first = offset(f, element, "%table", start)
    numbers = [
        splat(f, on.type, f.let(f"load {element}, ptr {offset(f, element, first, at)}, align {on.type.dtype.itemsize}"))
        for at in range(2 * (radix - 1))
    ]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


# -- real numbers ------------------------------------------------------------------------------------------------------
def emit_unpack(module: Module, dtype: DType, lanes: int, fused: bool) -> str:
    """From the transform z of pairs of real numbers, 2*run of them, at (a, b) to theirs, run + 1 numbers at c.

    x[k] = (z[k] + conj(z[run-k]))/2 - i/2 * exp(-pi*i*k/run) * (z[k] - conj(z[run-k])); the table has the factors.
    """
    return _emit_halves(module, "unpack", LLType(dtype, lanes), fused)


def emit_pack(module: Module, dtype: DType, lanes: int, fused: bool) -> str:
    """The inverse of `unpack`, unscaled: from run + 1 numbers at a to the spectrum of pairs at (c, d).

    z[k] = x[k] + conj(x[run-k]) + i * exp(pi*i*k/run) * (x[k] - conj(x[run-k])).
    """
    return _emit_halves(module, "pack", LLType(dtype, lanes), fused)


def _emit_halves(module: Module, way: str, type: LLType, fused: bool) -> str:
    name = module.shared(f"adjit.fourier.{way}.{type.suffix}{'.fma' * fused}")
    if module.has(name):
        return name
    f = Function(module, name, _PARAMETERS, attributes=_ATTRIBUTES)
    on = Arithmetic(f, type, fused)
    unpacks = way == "unpack"
    kinds = (SPLIT, COMPLEX) if unpacks else (COMPLEX, SPLIT)
    pointers = (("%a", "%b"), ("%c", "%d"))
    source, target = (Points(f, type, kind, own) for kind, own in zip(kinds, pointers, strict=True))
    first, last = (
        Points(f, LLType(type.dtype), kind, own) for kind, own in zip(kinds, pointers, strict=True)
    )
    _halves_ends(Arithmetic(f, LLType(type.dtype), fused), first, last, unpacks)
    half = type.constant(0.5)
    with when(f, f.let("icmp sgt i64 %run, 1")), _vectors(f, type.lanes, "%run", "1") as k:
        mirrored = f.let(f"sub i64 {f.let(f'sub i64 %run, {k}')}, {type.lanes - 1}")
        x, y = source.load(k), source.load(mirrored)
        if type.lanes > 1:
            order = range(type.lanes - 1, -1, -1)
            y = f.shuffle(type, order, y[0]), f.shuffle(type, order, y[1])
        even = on.add(x[0], y[0]), on.sub(x[1], y[1])
        odd = on.sub(x[0], y[0]), on.add(x[1], y[1])
        c, s = (
            f.let(f"load {type.llvm}, ptr {offset(f, type.element, '%table', at)}, align {type.dtype.itemsize}")
            for at in (k, _plus(f, k, "%run"))
        )
        if unpacks:
            even, odd = ((on.mul(half, p), on.mul(half, q)) for p, q in (even, odd))
            re, im = on.turned((odd[1], f.let(f"fneg {type.llvm} {odd[0]}")), (c, s))
            target.store(k, (on.add(even[0], re), on.add(even[1], im)))
        else:
            re, im = on.turned(odd, (c, f.let(f"fneg {type.llvm} {s}")))
            target.store(k, (on.sub(even[0], im), on.add(even[1], re)))
    f.line("ret void")
    f.finish()
    return name


def _halves_ends(on: Arithmetic, source: Points, target: Points, unpacks: bool) -> None:
    """The numbers of frequency 0 and of the highest one, which are real."""
    zero = on.type.constant(0.0)
    re, im = source.load("0")
    if unpacks:
        target.store("0", (on.add(re, im), zero))
        target.store("%run", (on.sub(re, im), zero))
    else:
        last, _ = source.load("%run")
        target.store("0", (on.add(re, last), on.sub(re, last)))


def emit_mirror(module: Module, dtype: DType) -> str:
    """From groups = run//2 + 1 numbers at a to all `run` of the spectrum of real numbers, swapped: at (c, d)."""
    name = module.shared(f"adjit.fourier.mirror.{dtype.name}")
    if module.has(name):
        return name
    f = Function(module, name, _PARAMETERS, attributes=_ATTRIBUTES)
    type = LLType(dtype)
    source, target = Points(f, type, SWAPPED, ("%a", "%b")), Points(f, type, SPLIT, ("%c", "%d"))
    zero = type.constant(0.0)
    _, first = source.load("0")
    target.store("0", (zero, first))
    with counted(f, "1", "%groups", 1) as k:
        im, re = source.load(k)
        target.store(k, (im, re))
        target.store(f.let(f"sub i64 %run, {k}"), (f.let(f"fneg {type.llvm} {im}"), re))
    f.line("ret void")
    f.finish()
    return name


def emit_taken(module: Module, dtype: DType, lanes: int) -> str:
    """The first `run` points at (a, b) as complex numbers at c."""
    type = LLType(dtype, lanes)
    name = module.shared(f"adjit.fourier.taken.{type.suffix}")
    if module.has(name):
        return name
    f = Function(module, name, _PARAMETERS, attributes=_ATTRIBUTES)
    source, target = Points(f, type, SPLIT, ("%a", "%b")), Points(f, type, COMPLEX, ("%c", "%d"))
    with _vectors(f, lanes, "%run") as k:
        target.store(k, source.load(k))
    f.line("ret void")
    f.finish()
    return name
