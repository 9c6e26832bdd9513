"""Quantiles, modes, medians without NaN, and covariances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.dims import numel_of, numpy_names, shape_of, wrap_dim
from adjit.dispatch import apply, literal
from adjit.dtypes import require_order
from adjit.elementwise import ceil, clamp_min, div, emit, floor, mul, round, sqrt, sub, where
from adjit.extremes import chosen, of_scalar, ranked, require_elements, shared_by_equals
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BOOL, F32, F64, I64
from adjit.logic import isnan, logical_not
from adjit.promotion import cast_to
from adjit.reductions import any as any_of
from adjit.reductions import reduced
from adjit.reductions import sum as total
from adjit.results import named_result
from adjit.scaled_sums import lerp
from adjit.selecting import iota_like, taken
from adjit.shaping import expand, movedim, narrow, reshape, unsqueeze
from adjit.tensor import Tensor
from adjit.warning import warn

mode_result = named_result("mode", "values", "indices")
nanmedian_result = named_result("nanmedian", "values", "indices")
_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


# -- quantiles ------------------------------------------------------------------------------------------------------
@composite("Quantile")
def _quantile(input: Tensor, q: Tensor, interpolation: str, skip: bool) -> Tensor:
    """Quantiles along the last axis of [..., n], at the ranks of q [m]: [..., m]."""
    lead, extent = tuple(shape_of(input)[:-1]), shape_of(input)[-1]
    count = shape_of(q)[0]
    ordered, _ = apply(PRIMITIVES["sort"], (input,), {"axis": len(lead), "descending": False})
    spoilt = cast_to(isnan(input), input._dtype)
    missing = reduced("reduce_sum", spoilt, -1, True, "")
    if skip:
        ranks = mul(q, sub(extent - 1, missing))
        ranks = clamp_min(ranks, 0.0)
    else:
        ranks = where(emit("lt", "", 0.0, missing), float(extent - 1), mul(q, float(extent - 1)))
    ranks = expand(ranks, *lead, count)
    if interpolation in ("lower", "higher", "nearest"):
        ranks = {"lower": floor, "higher": ceil, "nearest": round}[interpolation](ranks)
    below = floor(ranks)
    low = taken(ordered, len(lead), cast_to(below, I64))
    if interpolation not in ("linear", "midpoint"):
        return low
    weight = sub(ranks, below)
    high = taken(ordered, len(lead), cast_to(ceil(ranks), I64))
    return lerp(low, high, 0.5 if interpolation == "midpoint" else weight)


def _checked_quantile(name: str, input: Tensor, q: Any, dim: Any, keepdim: bool, interpolation: str) -> Tensor:
    title = f"{name}()"
    if numel_of(shape_of(input)) == 0:
        raise RuntimeError(f"{title} input tensor must be non-empty")
    if input._dtype not in (F32, F64):
        raise RuntimeError(f"{title} input tensor must be either float or double dtype")
    if isinstance(q, Tensor):
        if len(shape_of(q)) > 1:
            raise RuntimeError(f"{title} q must be a scalar or 1D tensor")
        if q._dtype is not input._dtype:
            raise RuntimeError(f"{title} q tensor must be same dtype as the input tensor")
        if q._array is not None and bool(any_of(logical_not((q >= 0) & (q <= 1)))):
            raise RuntimeError(f"{title} q values must be in the range [0, 1]")
        ranks = q
    else:
        if not 0 <= q <= 1:
            raise RuntimeError(f"{title} q must be in the range [0, 1] but got {q}")
        ranks = literal(float(q), input._dtype)
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{title} interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    shape = tuple(shape_of(input))
    axis = 0 if dim is None else wrap_dim(dim, len(shape))
    rows = reshape(input, -1) if dim is None or not shape else movedim(input, axis, -1)
    found = _quantile(rows, reshape(ranks, -1), interpolation, name == "nanquantile")
    if keepdim:
        found = movedim(unsqueeze(found, -2), -2, axis) if dim is not None and shape else reshape(
            found, *(1,) * len(shape), -1
        )  # fmt: skip
    return movedim(found, -1, 0) if shape_of(ranks) else reshape(found, *shape_of(found)[:-1])


@numpy_names
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The value below which the share q of the elements lies, along an axis or of all; NaN if there is one."""
    return _checked_quantile("quantile", input, q, dim, keepdim, interpolation)


@numpy_names
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """`quantile` of what is not NaN."""
    return _checked_quantile("nanquantile", input, q, dim, keepdim, interpolation)


# -- the middle and the most frequent -------------------------------------------------------------------------------
def _nan_middle(input: Tensor, dim: int) -> Tensor:
    """The position of the lower middle one of the elements that are not NaN; NaN stands last in the order."""
    if not input._dtype.is_float:
        return ranked(input, (shape_of(input)[dim] + 1) // 2, dim)
    _, order = apply(PRIMITIVES["sort"], (input.detach(),), {"axis": dim, "descending": False})
    count = reduced("reduce_sum", cast_to(logical_not(isnan(input.detach())), I64), dim, True, "")
    return taken(order, dim, emit("div", "", emit("maximum", "", sub(count, 1), 0), 2))


@composite("NanmedianBackward1", "nanmedian")
def _nanmedian_along(input: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    return chosen(input, dim, keepdim, _nan_middle(input, dim))


@composite("NanmedianBackward0", "nanmedian")
def _nanmedian(input: Tensor) -> Tensor:
    return shared_by_equals(input, chosen(input, 0, False, _nan_middle(input, 0))[0])


@numpy_names
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle of what is not NaN (the lower of two); along `dim`, (values, indices)."""
    require_order(input._dtype, "median_cpu" if dim is None else "median_out")
    if input._dtype is BOOL:
        raise NotImplementedError("\"median_out\" not implemented for 'Bool'")
    if dim is None:
        if numel_of(shape_of(input)) == 0:
            from adjit.creation import full

            return full((), float("nan") if input._dtype.is_continuous else 0, dtype=input._dtype)
        return _nanmedian(reshape(input, -1))
    require_elements("nanmedian", input, dim)
    if not shape_of(input):
        return nanmedian_result(*of_scalar(input, dim))
    return nanmedian_result(*_nanmedian_along(input, wrap_dim(dim, len(shape_of(input))), keepdim))


@composite("Mode")
def _mode(input: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    values, order = apply(PRIMITIVES["sort"], (input.detach(),), {"axis": dim, "descending": False})
    place = iota_like(values, dim)
    extent = shape_of(input)[dim]
    if extent == 1:
        return chosen(input, dim, keepdim, order)
    later, earlier = narrow(values, dim, 1, extent - 1), narrow(values, dim, 0, extent - 1)
    fresh = where(emit("ne", "", later, earlier), narrow(place, dim, 1, extent - 1), 0)
    from adjit.joining import cat

    starts = cat([narrow(place, dim, 0, 1), fresh], dim)
    start = apply(PRIMITIVES["cumulate_max"], (starts,), {"axis": dim, "reverse": False})
    shape = tuple(shape_of(input))
    longest = apply(PRIMITIVES["argmax"], (sub(place, start),), {"axis": dim})
    longest = apply(PRIMITIVES["reshape"], (longest,), {"shape": (*shape[:dim], 1, *shape[dim + 1 :])})
    return chosen(input, dim, keepdim, taken(order, dim, longest))


@numpy_names
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent value along an axis (the least of several), and the last place where it stands."""
    require_order(input._dtype, "mode_cpu")
    require_elements("mode", input, dim)
    if not shape_of(input):
        return mode_result(*of_scalar(input, dim))
    return mode_result(*_mode(input, wrap_dim(dim, len(shape_of(input))), keepdim))


# -- covariance -----------------------------------------------------------------------------------------------------
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariances of the rows of a matrix, whose columns are observations."""
    from adjit.autocasting import lowered
    from adjit.creation import scalar_tensor
    from adjit.products import matmul
    from adjit.shaping import squeeze, t

    rank = len(shape_of(input))
    if rank > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {rank} dimensions"
        )
    if input._dtype is BOOL:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    rows = input if rank == 2 else reshape(input, 1, -1)
    count = shape_of(rows)[1]
    weights = None
    if fweights is not None:
        _check_weights("fweights", fweights, count, integers=True)
        weights = fweights
    if aweights is not None:
        _check_weights("aweights", aweights, count, integers=False)
        weights = aweights if weights is None else mul(weights, aweights)
    rows = rows if rows._dtype.is_continuous else cast_to(rows, _float_of(rows))
    norm: Any
    if weights is None:
        centre = div(total(rows, 1, True), count)
        norm = scalar_tensor(max(count - correction, 0), dtype=_public(rows))
        lacking = count <= correction
        centred = sub(rows, centre)
        other = centred
    else:
        whole = total(weights)
        centre = div(total(mul(rows, weights), 1, True), whole)
        if aweights is None or correction == 0:
            norm = sub(whole, correction)
        elif fweights is None:
            norm = sub(whole, mul(div(total(mul(weights, aweights)), whole), correction))
        else:
            norm = sub(whole, mul(div(total(mul(weights, aweights)), whole), correction))
        lacking = norm._array is not None and bool(norm <= 0)
        norm = clamp_min(norm, 0)
        centred = sub(rows, centre)
        other = mul(centred, weights)
    if lacking:
        warn("cov(): degrees of freedom is <= 0", UserWarning, stacklevel=2)
    centred, other = lowered(centred, other)
    return squeeze(div(matmul(centred, t(other).conj()), norm))


def _float_of(tensor: Tensor) -> Any:
    from adjit.dtypes import default_float

    return tensor._dtype if tensor._dtype.is_continuous else default_float()


def _public(tensor: Tensor) -> Any:
    from adjit.dtypes import public

    return public(tensor._dtype)


def _check_weights(name: str, weights: Tensor, count: Any, *, integers: bool) -> None:
    if len(shape_of(weights)) > 1:
        raise RuntimeError(
            f"cov(): expected {name} to have one or fewer dimensions but got {name} with {len(shape_of(weights))} "
            "dimensions"
        )
    if integers != (weights._dtype.is_integer and weights._dtype is not BOOL):
        kind = "integral" if integers else "floating point"
        raise RuntimeError(f"cov(): expected {name} to have {kind} dtype but got {name} with {_title(weights)} dtype")
    if numel_of(shape_of(weights)) != count:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the input but got "
            f"{numel_of(shape_of(weights))} != {count}"
        )
    if weights._array is not None and numel_of(shape_of(weights)) and bool(weights.min() < 0):
        raise RuntimeError(f"cov(): {name} cannot be negative")


def _title(tensor: Tensor) -> str:
    from adjit.dtypes import title_of

    return title_of(tensor._dtype)


def corrcoef(input: Tensor) -> Tensor:
    """The correlations of the rows of a matrix, in -1..1."""
    from adjit.diagonals import diagonal
    from adjit.elementwise import clamp

    rank = len(shape_of(input))
    if rank > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {rank} dimensions"
        )
    found = cov(input)
    if not shape_of(found):
        return div(found, found)
    spread = sqrt(diagonal(found))
    found = div(div(found, unsqueeze(spread, -1)), unsqueeze(spread, -2))
    if not found._dtype.is_complex:
        return clamp(found, -1.0, 1.0)
    from adjit.complex_parts import each_part

    return each_part(lambda part: clamp(part, -1.0, 1.0), found)


_PUBLIC = ("corrcoef", "cov", "mode", "nanmedian", "nanquantile", "quantile")
METHODS: dict[str, Callable[..., Any]] = {name: globals()[name] for name in _PUBLIC}
__all__ = list(_PUBLIC)
