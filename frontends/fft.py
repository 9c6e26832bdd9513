"""`adjit.fft`: discrete Fourier transforms with PyTorch's names, normalizations and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from adjit import surface
from adjit.composite import composite
from adjit.dims import numel_of, numpy_names, shape_of, wrap_dim
from adjit.dispatch import apply
from adjit.dtypes import default_float, title_of
from adjit.elementwise import mul
from adjit.ir.primitive import primitive_named
from adjit.ir.types import F32, F64, complex_of
from adjit.out import takes_out
from adjit.promotion import cast_to
from adjit.tensor import Tensor

_MODES = ("backward", "ortho", "forward")


# -- steps ----------------------------------------------------------------------------------------------------------
def _scale(norm: str | None, sizes: Sequence[Any], inverse: bool) -> Any:
    """What the unscaled transform is multiplied by."""
    mode = "backward" if norm is None else norm
    if mode not in _MODES:
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    count = numel_of(sizes)
    if mode == "ortho":
        return 1 / math.sqrt(count)
    return 1 / count if (mode == "forward") != inverse else 1


def _scaled(found: Tensor, scale: Any) -> Tensor:
    return found if isinstance(scale, int) else mul(found, scale)


def _fitted(input: Tensor, dims: Sequence[int], sizes: Sequence[Any]) -> Tensor:
    """The first points along each axis, followed by zeros where there are fewer."""
    shape = list(shape_of(input))
    if all(shape[dim] == size for dim, size in zip(dims, sizes, strict=True)):
        return input
    kept, high = list(shape), [0] * len(shape)
    for dim, size in zip(dims, sizes, strict=True):
        kept[dim], high[dim] = min(shape[dim], size), max(size - shape[dim], 0)
    none = (0,) * len(shape)
    cut: dict[str, Any] = {"start": none, "size": tuple(kept), "step": (1,) * len(shape)}
    border: dict[str, Any] = {"low": none, "high": tuple(high), "interior": none, "value": 0}
    return apply(primitive_named("pad"), (apply(primitive_named("slice"), (input,), cut),), border)  # type: ignore[no-any-return]


@composite("FftC2C", "fft")
def _complex(input: Tensor, dims: tuple[int, ...], sizes: tuple[Any, ...], norm: str | None, inverse: bool) -> Tensor:
    points = _fitted(input, dims, sizes)
    found = apply(primitive_named("fft"), (points,), {"axes": dims, "inverse": inverse})
    return _scaled(found, _scale(norm, sizes, inverse))


@composite("FftR2C", "rfft")
def _from_real(input: Tensor, dim: int, size: Any, norm: str | None, inverse: bool) -> Tensor:
    found = apply(primitive_named("rfft"), (_fitted(input, (dim,), (size,)),), {"axis": dim})
    found = apply(primitive_named("conj"), (found,)) if inverse else found
    return _scaled(found, _scale(norm, (size,), inverse))


@composite("FftC2R", "irfft")
def _to_real(input: Tensor, dim: int, size: Any, norm: str | None, inverse: bool) -> Tensor:
    half = _fitted(input, (dim,), (size // 2 + 1,))
    half = half if inverse else apply(primitive_named("conj"), (half,))
    found = apply(primitive_named("irfft"), (half,), {"axis": dim, "size": size})
    return _scaled(found, _scale(norm, (size,), inverse))


# -- arguments ------------------------------------------------------------------------------------------------------
def _as_complex(input: Tensor) -> Tensor:
    return cast_to(input, complex_of(_supported(input)._dtype))


def _as_real(input: Tensor, name: str) -> Tensor:
    if input._dtype.is_complex:
        wanted = "real-valued" if name == "rfftn" else "real"
        raise RuntimeError(f"{name} expects a {wanted} input tensor, but got {title_of(input._dtype)}")
    return _supported(input)


def _supported(input: Tensor) -> Tensor:
    """A tensor of float32, float64 or a complex dtype."""
    found = input if input._dtype.is_continuous else cast_to(input, default_float())
    if not found._dtype.is_complex and found._dtype not in (F32, F64):
        raise RuntimeError(f"Unsupported dtype {title_of(found._dtype)}")
    return found


def _checked_size(size: Any) -> Any:
    if isinstance(size, int) and size < 1:
        raise RuntimeError(f"Invalid number of data points ({size}) specified")
    return size


def _axes(input: Tensor, s: Any, dim: Any) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """The axes of an n-dimensional transform and their numbers of points, -1 standing for what there is."""
    shape = tuple(shape_of(input))
    s = (s,) if isinstance(s, int) else s
    dim = (dim,) if isinstance(dim, int) else dim
    if dim is None:
        count = len(shape) if s is None else len(s)
        if count > len(shape):
            raise RuntimeError(f"Got shape with {count} values but input tensor only has {len(shape)} dimensions.")
        dims = tuple(range(len(shape) - count, len(shape)))
    else:
        dims = tuple(_axis(input, d) for d in dim)
        if len(set(dims)) != len(dims):
            raise RuntimeError("FFT dims must be unique")
        if s is not None and len(s) != len(dims):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
    given = [-1] * len(dims) if s is None else s
    sizes = [shape[d] if isinstance(n, int) and n == -1 else n for d, n in zip(dims, given, strict=True)]
    return dims, tuple(map(_checked_size, sizes))


def _axis(input: Tensor, dim: int) -> int:
    rank = len(shape_of(input))
    if not rank:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return wrap_dim(dim, rank)


def _one(input: Tensor, n: Any, dim: int) -> tuple[int, Any]:
    axis = _axis(input, dim)
    return axis, _checked_size(shape_of(input)[axis] if n is None else n)


def _half(input: Tensor, n: Any, dim: int) -> tuple[int, Any]:
    """The axis of a half spectrum, and the number of points that it stands for."""
    axis = _axis(input, dim)
    return axis, _checked_size(2 * (shape_of(input)[axis] - 1) if n is None else n)


# -- along one axis -------------------------------------------------------------------------------------------------
@numpy_names
def fft(input: Tensor, n: Any = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The Fourier transform of n points along an axis."""
    axis, size = _one(input, n, dim)
    return _complex(_as_complex(input), (axis,), (size,), norm, False)  # type: ignore[no-any-return]


@numpy_names
def ifft(input: Tensor, n: Any = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `fft`."""
    axis, size = _one(input, n, dim)
    return _complex(_as_complex(input), (axis,), (size,), norm, True)  # type: ignore[no-any-return]


@numpy_names
def rfft(input: Tensor, n: Any = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The first n//2 + 1 frequencies of real points."""
    axis, size = _one(input, n, dim)
    return _from_real(_as_real(input, "rfft"), axis, size, norm, False)  # type: ignore[no-any-return]


@numpy_names
def irfft(input: Tensor, n: Any = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `rfft`: n real points, by default an even number."""
    axis, size = _half(input, n, dim)
    return _to_real(_as_complex(input), axis, size, norm, True)  # type: ignore[no-any-return]


@numpy_names
def hfft(input: Tensor, n: Any = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The real transform of n points of which the second half are conjugates of the first."""
    axis, size = _half(input, n, dim)
    return _to_real(_as_complex(input), axis, size, norm, False)  # type: ignore[no-any-return]


@numpy_names
def ihfft(input: Tensor, n: Any = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `hfft`."""
    axis, size = _one(input, n, dim)
    return _from_real(_as_real(input, "ihfft"), axis, size, norm, True)  # type: ignore[no-any-return]


# -- along several axes ---------------------------------------------------------------------------------------------
@numpy_names
def fftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The Fourier transform along several axes."""
    return _complex(_as_complex(input), *_axes(input, s, dim), norm, False)  # type: ignore[no-any-return]


@numpy_names
def ifftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The inverse of `fftn`."""
    return _complex(_as_complex(input), *_axes(input, s, dim), norm, True)  # type: ignore[no-any-return]


def _half_axes(input: Tensor, s: Any, dim: Any, name: str) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """The axes of a transform to real points, the last of them a half spectrum."""
    dims, sizes = _axes(input, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    last = (s,) if isinstance(s, int) else s
    if last is None or last[-1] == -1:
        sizes = (*sizes[:-1], _checked_size(2 * (shape_of(input)[dims[-1]] - 1)))
    return dims, sizes


@numpy_names
def rfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The transform of real points along several axes; of the last, the first half of the frequencies."""
    return _several_from_real(input, s, dim, norm, "rfftn", False)


@numpy_names
def ihfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The inverse of `hfftn`."""
    return _several_from_real(input, s, dim, norm, "ihfftn", True)


def _several_from_real(input: Tensor, s: Any, dim: Any, norm: str | None, name: str, inverse: bool) -> Tensor:
    points = _as_real(input, name)
    dims, sizes = _axes(input, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    found: Tensor = _from_real(points, dims[-1], sizes[-1], norm, inverse)
    return found if len(dims) == 1 else _complex(found, dims[:-1], sizes[:-1], norm, inverse)


@numpy_names
def irfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The inverse of `rfftn`."""
    return _several_to_real(input, s, dim, norm, "irfftn", True)


@numpy_names
def hfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The real transform of points of which half along the last axis are conjugates of the others."""
    return _several_to_real(input, s, dim, norm, "hfftn", False)


def _several_to_real(input: Tensor, s: Any, dim: Any, norm: str | None, name: str, inverse: bool) -> Tensor:
    dims, sizes = _half_axes(input, s, dim, name)
    found = _as_complex(input)
    if len(dims) > 1:
        found = _complex(found, dims[:-1], sizes[:-1], norm, inverse)
    return _to_real(found, dims[-1], sizes[-1], norm, inverse)  # type: ignore[no-any-return]


def _plane(function: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    def transform(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
        return function(input, s, dim, norm)

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = f"`{name[:-1]}n` along two axes, the last by default."
    return transform


fft2, ifft2 = _plane(fftn, "fft2"), _plane(ifftn, "ifft2")
rfft2, irfft2 = _plane(rfftn, "rfft2"), _plane(irfftn, "irfft2")
hfft2, ihfft2 = _plane(hfftn, "hfft2"), _plane(ihfftn, "ihfft2")


# -- frequencies ----------------------------------------------------------------------------------------------------
def fftfreq(
    n: int, d: float = 1.0, *, out: Tensor | None = None, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The frequencies of `fft`: 0, 1, ..., (n-1)//2, -(n//2), ..., -1, each over n*d."""
    from adjit.creation import finished
    from adjit.ranges import arange

    places = arange(n, dtype=dtype or _float(), device=device)
    places[(n + 1) // 2 :] = arange(-(n // 2), 0, dtype=places.dtype)
    return finished(mul(places, 1.0 / (n * d)), requires_grad, out)


def rfftfreq(
    n: int, d: float = 1.0, *, out: Tensor | None = None, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The frequencies of `rfft`: 0, 1, ..., n//2, each over n*d."""
    from adjit.creation import finished
    from adjit.ranges import arange

    places = arange(n // 2 + 1, dtype=dtype or _float(), device=device)
    return finished(mul(places, 1.0 / (n * d)), requires_grad, out)


def _float() -> Any:
    from adjit.dtypes import public

    return public(default_float())


@numpy_names
def fftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The frequency 0 moved to the middle of each axis."""
    return _rolled(input, dim, lambda size: size // 2)


@numpy_names
def ifftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The inverse of `fftshift`."""
    return _rolled(input, dim, lambda size: (size + 1) // 2)


def _rolled(input: Tensor, dim: Any, distance: Callable[[Any], Any]) -> Tensor:
    from adjit.rearranging import roll

    shape = shape_of(input)
    chosen = range(len(shape)) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = tuple(_axis(input, d) for d in chosen)
    return roll(input, tuple(distance(shape[d]) for d in dims), dims)


_TRANSFORMS = (
    "fft", "fft2", "fftn", "hfft", "hfft2", "hfftn", "ifft", "ifft2", "ifftn", "ihfft", "ihfft2", "ihfftn", "irfft",
    "irfft2", "irfftn", "rfft", "rfft2", "rfftn",
)  # fmt: skip
_SERVED = {name: surface.placed(f"fft.{name}", takes_out(globals()[name]), method=False) for name in _TRANSFORMS}
globals().update(_SERVED)
__all__ = [*_TRANSFORMS, "fftfreq", "fftshift", "ifftshift", "rfftfreq"]
