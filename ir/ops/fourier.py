"""Discrete Fourier transforms, unscaled: a transform and its inverse multiply by the number of points.

They are linear, so each is the transpose of another: of the complex transform the one of the other direction; the
transform of real numbers and its inverse are each other's, but for the weights of frequencies that occur twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adjit.ir.ops.arrays import Array, Axes, cast, counted, dtype_of, equal, full, shifted, where
from adjit.ir.ops.checks import require, require_axes, require_kind
from adjit.ir.primitive import primitive
from adjit.ir.shape import Size
from adjit.ir.types import TensorType, complex_of

# -- complex to complex ------------------------------------------------------------------------------------------------


@primitive("fourier", exact=False)
def fft(x: Array, *, axes: Axes, inverse: bool) -> Array:
    """out[k...] = sum over n at `axes` of x[n...] * exp(-2*pi*i * sum of n*k/N); `inverse` takes the other sign.

    Shapes: c64[*dims] -> c64[*dims], and c128.
    """
    found = np.asarray(x)
    for axis in reversed(axes):
        found = np.fft.ifft(found, axis=axis, norm="forward") if inverse else np.fft.fft(found, axis=axis)
    return found.astype(np.asarray(x).dtype, copy=False)


@fft.infers
def _(x: TensorType, *, axes: Axes, inverse: bool) -> TensorType:
    require_kind("fft", x, "complex")
    require_axes("fft", axes, x.ndim)
    require(all(x.dims[axis] != 0 for axis in axes), f"fft: of no points, axes {list(axes)} of {x}")
    return x


@fft.transposes
def _(g: Array, x: Array, *, axes: Axes, inverse: bool) -> Array:
    return fft(g, axes=axes, inverse=not inverse)


@fft.batches
def _(batched: Sequence[bool], x: Array, *, axes: Axes, inverse: bool) -> Array:
    return fft(x, axes=shifted(axes), inverse=inverse)


# -- real to complex, and back -----------------------------------------------------------------------------------------


@primitive("fourier", exact=False)
def rfft(x: Array, *, axis: int) -> Array:
    """out[..., k] = sum over n of x[..., n] * exp(-2*pi*i*n*k/N) for k <= N/2.

    Shapes: f32[..., N] -> c64[..., N//2 + 1], and f64 -> c128; the axis may be any.
    """
    return np.fft.rfft(x, axis=axis)


@rfft.infers
def _(x: TensorType, *, axis: int) -> TensorType:
    require_kind("rfft", x, "float")
    require_axes("rfft", (axis,), x.ndim)
    require(x.dims[axis] != 0, f"rfft: of no points, axis {axis} of {x}")
    return TensorType(complex_of(x.dtype), _resized(x, axis, x.dims[axis] // 2 + 1))


@primitive("fourier", exact=False)
def irfft(x: Array, *, axis: int, size: int) -> Array:
    """out[..., n] = sum over k of X[k] * exp(2*pi*i*n*k/N), X being x continued by X[N - k] = conj(X[k]); N is `size`.

    The imaginary parts of x[0], and of x[N/2] for an even N, do not count.
    Shapes: c64[..., size//2 + 1] -> f32[..., size], and c128 -> f64; the axis may be any.
    """
    return np.fft.irfft(x, size, axis=axis, norm="forward")


@irfft.infers
def _(x: TensorType, *, axis: int, size: Size) -> TensorType:
    require_kind("irfft", x, "complex")
    require_axes("irfft", (axis,), x.ndim)
    require(size != 0 and x.dims[axis] == size // 2 + 1, f"irfft: axis {axis} of {x} is not half of {size} points")
    return TensorType(x.dtype.part, _resized(x, axis, size))


def _resized(x: TensorType, axis: int, size: Size) -> tuple[Size, ...]:
    return (*x.dims[:axis], size, *x.dims[axis + 1 :])


def weighted(x: Array, axis: int, size: Size, weight: float) -> Array:
    """x with the frequencies that the whole spectrum has twice multiplied by `weight`: all but 0 and size/2."""
    place = counted(x, tuple(x.shape), axis)
    single = equal(place, 0) | equal(place * 2, size)
    dtype = dtype_of(x)
    one, other = (full(x, number, tuple(x.shape), dtype.part) for number in (1, weight))
    return x * cast(where(single, one, other), dtype)


@rfft.transposes
def _(g: Array, x: Array, *, axis: int) -> Array:
    size = x.shape[axis]
    return irfft(weighted(g, axis, size, 0.5), axis=axis, size=size)


@irfft.transposes
def _(g: Array, x: Array, *, axis: int, size: Size) -> Array:
    return weighted(rfft(g, axis=axis), axis, size, 2)


@rfft.batches
def _(batched: Sequence[bool], x: Array, *, axis: int) -> Array:
    return rfft(x, axis=axis + 1)


@irfft.batches
def _(batched: Sequence[bool], x: Array, *, axis: int, size: Size) -> Array:
    return irfft(x, axis=axis + 1, size=size)
