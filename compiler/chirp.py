"""Fourier transforms of awkward lengths as convolutions of lengths that have kernels.

With w[j] = exp(-pi*i*j^2/n) the product j*k is (j^2 + k^2 - (j - k)^2)/2, so that the transform is w[k] times the
convolution of x*w with 1/w, whose own transform is known before.
Source: Bluestein, "A linear filtering approach to the computation of discrete Fourier transform", 1970.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from adjit.compiler.llvm.fourier_plan import factors_of
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.ops.arrays import expand, moved, window_of
from adjit.ir.ops.fourier import fft, weighted
from adjit.ir.primitive import primitive_named, source
from adjit.ir.rewrite import rewrite
from adjit.ir.shape import Size
from adjit.ir.types import DType
from adjit.runtime.fourier import powers

# The host makes longer transforms: a program has the numbers of a convolution as constants.
LONGEST = 1 << 11
# Stages of larger factors, whose time grows with their square, take longer in most lengths.
_LARGEST = 41
# The stages of convolutions have no greater factors.
_SMOOTH = 8


def with_chirps(graph: Graph) -> Graph:
    """The graph with transforms of awkward lengths as convolutions of complex numbers, each along one axis."""
    return rewrite(graph, _convolved)


def is_convolved(size: Size) -> bool:
    """Whether transforms of so many points are made by convolutions."""
    if not isinstance(size, int) or not 1 < size <= LONGEST:
        return False
    factors = factors_of(size)
    return factors is None or max(factors) > _LARGEST


def _convolved(builder: Builder, node: Node, operands: tuple[Value, ...]) -> list[Value] | None:
    if node.op.family != "fourier":
        return None
    (x,) = builder.exprs(operands)
    if node.op.name == "fft":
        return _along_axes(node, x)
    axis: int = node.attributes["axis"]  # type: ignore[assignment]
    size = (node.output if node.op.name == "irfft" else operands[0]).dims[axis]
    if not is_convolved(size):
        return None
    assert isinstance(size, int)
    if node.op.name == "rfft":
        whole = _along(primitive_named("complex")(x, _zeros(x)), axis, inverse=False)
        return [_first(whole, axis, size // 2 + 1).value]
    # The real part of a sum in which each of two conjugate terms stands for both.
    half = _padded(weighted(x, axis, size, 2.0), axis, size)
    return [primitive_named("real")(_along(half, axis, inverse=True)).value]


def _along_axes(node: Node, x: Expr) -> list[Value] | None:
    axes: tuple[int, ...] = node.attributes["axes"]  # type: ignore[assignment]
    inverse = bool(node.attributes["inverse"])
    if not any(is_convolved(x.shape[axis]) for axis in axes):
        return None
    for axis in reversed(axes):
        convolved = is_convolved(x.shape[axis])
        x = _along(x, axis, inverse=inverse) if convolved else fft(x, axes=(axis,), inverse=inverse)
    return [x.value]


def _along(x: Expr, axis: int, *, inverse: bool) -> Expr:
    """The transform along one axis."""
    last = x.ndim - 1
    x = moved(x, axis, last)
    size = x.shape[last]
    assert isinstance(size, int)
    length = _length(2 * size - 1)
    chirp, spectrum = (_numbers(x, values) for values in _tables(size, length, inverse, x.dtype.part))
    found = _padded(x * expand(chirp, x.shape), last, length)
    found = fft(found, axes=(last,), inverse=False)
    found = fft(found * expand(spectrum, found.shape), axes=(last,), inverse=True)
    found = _first(found, last, size) * expand(chirp, x.shape)
    return moved(found, last, axis)  # type: ignore[no-any-return]


def _length(least: int) -> int:
    """The least length for which there are quick stages, whole vectors among them."""
    length = -(-least // 4) * 4
    while max(factors_of(length) or (least,)) > _SMOOTH:
        length += 4
    return length


@cache
def _tables(size: int, length: int, inverse: bool, dtype: DType) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """The real and imaginary parts of the chirp, and of the transform of its inverse over `length`."""
    places = np.arange(size)
    chirp = np.empty(size, np.clongdouble)
    chirp.real, chirp.imag = powers(2 * size, places * places)
    chirp = chirp.conj() if inverse else chirp
    other = np.zeros(length, np.clongdouble)
    other[:size] = chirp.conj()
    other[length - size + 1 :] = chirp.conj()[:0:-1]
    spectrum = np.fft.fft(other) / length
    rounded = [part.astype(dtype.storage) for each in (chirp, spectrum) for part in (each.real, each.imag)]
    re, im, *others = (tuple(map(float, part)) for part in rounded)
    return (re, im), tuple(others)


def _numbers(like: Expr, parts: tuple[tuple[float, ...], ...]) -> Expr:
    """Constants, by their real and imaginary parts."""
    table, dtype = primitive_named("table"), like.dtype.part
    re, im = (source(like, table, values=values, dtype=dtype) for values in parts)
    return primitive_named("complex")(re, im)  # type: ignore[no-any-return]


def _zeros(like: Expr) -> Expr:
    return expand(source(like, primitive_named("const"), value=0.0, dtype=like.dtype), like.shape)  # type: ignore[no-any-return]


def _padded(x: Expr, axis: int, length: int) -> Expr:
    """`x` with zeros behind it."""
    none = [0] * x.ndim
    high = [length - size if at == axis else 0 for at, size in enumerate(x.shape)]
    pad = primitive_named("pad")
    return pad(x, low=tuple(none), high=tuple(high), interior=tuple(none), value=0)  # type: ignore[no-any-return]


def _first(x: Expr, axis: int, count: int) -> Expr:
    sizes = [count if at == axis else size for at, size in enumerate(x.shape)]
    return window_of(x, (0,) * x.ndim, sizes)  # type: ignore[no-any-return]
