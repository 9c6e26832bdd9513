"""Sums, products, means, moments and norms over axes."""

from __future__ import annotations

from builtins import all as all_of
from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.dims import named_rest, numel_of, numpy_names, shape_of, sizes_argument, wrap_dims
from adjit.dispatch import apply
from adjit.dtypes import default_float, title_of, to_ir
from adjit.elementwise import abs as absolute
from adjit.elementwise import add, div, emit, exp, log, mul, nan_to_num, pow, sub, where
from adjit.errors import explained
from adjit.heard_numbers import as_float
from adjit.ir.primitive import PRIMITIVES, primitive_named
from adjit.ir.types import BOOL, I64, U8
from adjit.logic import isfinite, isnan, logical_not
from adjit.promotion import cast_to, single
from adjit.tensor import Tensor
from adjit.warning import warn


def reduced(op: str, input: Tensor, dim: Any, keepdim: bool, name: str) -> Tensor:
    """A primitive reduction; with `keepdim` the axes stay with size 1."""
    shape = tuple(shape_of(input))
    axes = wrap_dims(None if dim == () else dim, len(shape))
    result = apply(PRIMITIVES[op], (input,), {"axes": axes}, name="" if keepdim else name)
    if keepdim:
        kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
        result = apply(PRIMITIVES["reshape"], (result,), {"shape": kept}, name=name)
    assert isinstance(result, Tensor)
    return result


def summed(input: Tensor, dtype: Any) -> Tensor:
    """The operand of a sum: integers are summed in int64."""
    if dtype is not None:
        return cast_to(input, to_ir(dtype))
    return input if input._dtype.is_continuous else cast_to(input, I64)


def static(dim: Any) -> Any:
    """Axes as a composite takes them."""
    return tuple(dim) if isinstance(dim, (list, tuple)) else dim


@numpy_names
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over axes; 0 for none."""
    if dtype is not None and to_ir(dtype) is BOOL:
        return reduced("reduce_any", cast_to(input, BOOL), dim, keepdim, "")
    name = "SumBackward0" if dim is None else "SumBackward1"
    return reduced("reduce_sum", summed(input, dtype), dim, keepdim, name)


@composite("Nansum")
def _nansum(input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    return reduced("reduce_sum", nan_to_num(input, 0.0, float("inf"), float("-inf")), dim, keepdim, "")


@numpy_names
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over axes, NaN counted as 0."""
    if input._dtype.is_complex:
        raise RuntimeError("nansum on CPU does not support complex inputs")
    return _nansum(summed(input, dtype), static(dim), keepdim)  # type: ignore[no-any-return]


@numpy_names
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over axes of what is not NaN."""
    if not input._dtype.is_continuous:
        raise RuntimeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {title_of(input._dtype)}"
        )
    source = summed(input, dtype)
    count = sum(logical_not(isnan(source)), dim, keepdim)
    return div(nansum(source, dim, keepdim), count)


@numpy_names
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product over one axis, or all."""
    if dtype is not None and to_ir(dtype) is BOOL:
        return reduced("reduce_all", cast_to(input, BOOL), dim, keepdim, "")
    name = "ProdBackward0" if dim is None else "ProdBackward1"
    return reduced("reduce_prod", summed(input, dtype), dim, keepdim, name)


@named_rest("size")
def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """The sums over the axes that broadcasting from `size` to the tensor's shape would make."""
    from adjit.shaping import reshape

    shape, wanted = tuple(shape_of(input)), sizes_argument(size)
    lead = len(shape) - len(wanted)
    if lead < 0 or not all_of(b in (1, a) for a, b in zip(shape[lead:], wanted, strict=True)):
        raise RuntimeError(
            f"size {{[{', '.join(map(str, wanted))}]}} is not expandable to size {{[{', '.join(map(str, shape))}]}}."
        )
    axes = tuple(axis for axis in range(len(shape)) if axis < lead or (wanted[axis - lead] == 1 != shape[axis]))
    if wanted and not axes:
        return input
    return reshape(reduced("reduce_sum", summed(input, None), axes, False, ""), *wanted)


# -- means and moments ----------------------------------------------------------------------------------------------
def _count(input: Tensor, dim: Any) -> Any:
    shape = shape_of(input)
    return numel_of([shape[axis] for axis in wrap_dims(None if dim == () else dim, len(shape))])


def _need_float(input: Tensor, op: str, dtype: Any) -> None:
    given = input._dtype if dtype is None else to_ir(dtype)
    if not given.is_continuous:
        which = "Input" if dtype is None else "Optional"
        raise explained(
            RuntimeError,
            f"{op}(): could not infer output dtype. {which} dtype must be either a floating point or complex dtype. "
            f"Got: {title_of(given)}",
            hint="convert it first, as in {input}.float()",
        )


@composite("MeanBackward0", "mean")
def _mean_all(input: Tensor) -> Tensor:
    return _mean_of(input, None, False)


@composite("MeanBackward1", "mean")
def _mean(input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    return _mean_of(input, dim, keepdim)


def _mean_of(input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    """The sum over the count; of halves in float32, as the sum may be beyond them."""
    (wide,) = single(input)
    return cast_to(div(reduced("reduce_sum", wide, dim, keepdim, ""), _count(input, dim)), input._dtype)


@numpy_names
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over axes; NaN for none."""
    _need_float(input, "mean", dtype)
    source = summed(input, dtype)
    found = _mean_all(source) if dim is None and not keepdim else _mean(source, static(dim), keepdim)
    assert isinstance(found, Tensor)
    return found


def _variance(input: Tensor, dim: Any, correction: float, keepdim: bool) -> Tensor:
    """Mean squared distance from the mean, over max(count - correction, 0); of halves in float32."""
    (input,) = single(input)
    count = _count(input, dim)
    centre = div(reduced("reduce_sum", input, dim, True, ""), count)
    distance = sub(input, centre)
    total = reduced("reduce_sum", _squares(distance), dim, keepdim, "")
    left = count - correction
    return div(total, left if left > 0 else 0)


def _squares(input: Tensor) -> Tensor:
    """|input|**2, a real number."""
    if not input._dtype.is_complex:
        return mul(input, input)
    from adjit.complex_parts import squared_size

    return squared_size(input)


def _magnitude(squares: Tensor) -> Tensor:
    """The square root, whose derivative at 0 is taken as 0."""
    return apply(PRIMITIVES["magnitude"], (squares,))  # type: ignore[no-any-return]


@composite("Var")
def _var(input: Tensor, dim: Any, correction: float, keepdim: bool) -> Tensor:
    return cast_to(_variance(input, dim, correction, keepdim), input._dtype.part)


@composite("Std")
def _std(input: Tensor, dim: Any, correction: float, keepdim: bool) -> Tensor:
    return cast_to(_magnitude(_variance(input, dim, correction, keepdim)), input._dtype.part)


def _moment_arguments(args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any, bool]:
    """(dim, correction, keepdim) from PyTorch's forms: (unbiased), (dim, unbiased, keepdim), correction=..."""
    dim, unbiased, keepdim = options.pop("dim", None), options.pop("unbiased", None), options.pop("keepdim", False)
    correction = options.pop("correction", None)
    if options:
        raise TypeError(f"unexpected arguments: {', '.join(options)}")
    given = list(args)
    if given and isinstance(given[0], bool):
        unbiased = given.pop(0)
    elif given:
        dim = given.pop(0)
        if given:
            unbiased = given.pop(0)
    if given:
        keepdim = given.pop(0)
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return dim, correction, bool(keepdim)


@composite("VarMean")
def _var_mean(input: Tensor, dim: Any, correction: float, keepdim: bool) -> tuple[Tensor, Tensor]:
    return _var(input, dim, correction, keepdim), mean(input, dim, keepdim)


@composite("StdMean")
def _std_mean(input: Tensor, dim: Any, correction: float, keepdim: bool) -> tuple[Tensor, Tensor]:
    return _std(input, dim, correction, keepdim), mean(input, dim, keepdim)


def _moment(function: Callable[..., Any], input: Tensor, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    name = function.__name__.strip("_")
    dim, correction, keepdim = _moment_arguments(args, options)
    if not input._dtype.is_continuous:
        title = name if name.endswith("mean") else "std and var"
        raise RuntimeError(f"{title} only support floating point and complex dtypes")
    if _count(input, dim) <= correction:
        warn(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor "
            "(input numel divided by output numel).",
            UserWarning,
            stacklevel=4,
        )
    return function(input, static(dim), correction, keepdim)


@numpy_names
def var(input: Tensor, *args: Any, **options: Any) -> Tensor:
    """The variance over axes, divided by count - correction (1 by default)."""
    return _moment(_var, input, args, options)  # type: ignore[no-any-return]


@numpy_names
def std(input: Tensor, *args: Any, **options: Any) -> Tensor:
    """The square root of the variance; its derivative at 0 is 0."""
    return _moment(_std, input, args, options)  # type: ignore[no-any-return]


@numpy_names
def var_mean(input: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Variance and mean."""
    return _moment(_var_mean, input, args, options)  # type: ignore[no-any-return]


@numpy_names
def std_mean(input: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean."""
    return _moment(_std_mean, input, args, options)  # type: ignore[no-any-return]


# -- truth ----------------------------------------------------------------------------------------------------------
def _over_truth(op: str, input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    found = reduced(op, cast_to(input, BOOL), dim, keepdim, "")
    return cast_to(found, U8) if input._dtype is U8 else found


@numpy_names
def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether every element is true; true for none."""
    return _over_truth("reduce_all", input, dim, keepdim)


@numpy_names
def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether an element is true; false for none."""
    return _over_truth("reduce_any", input, dim, keepdim)


@numpy_names
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements are not 0."""
    return sum(cast_to(input, BOOL), dim)


# -- norms and exponentials -----------------------------------------------------------------------------------------
@composite("LinalgVectorNorm")
def _norm(input: Tensor, p: float, dim: Any, keepdim: bool) -> Tensor:
    (source,) = single(input)  # the powers of halves would overflow
    return cast_to(_norm_of(source, p, dim, keepdim), input._dtype.part)


def _norm_of(input: Tensor, p: float, dim: Any, keepdim: bool) -> Tensor:
    if p == 2:
        return _magnitude(reduced("reduce_sum", _squares(input), dim, keepdim, ""))
    size = absolute(input)
    if p in (float("inf"), float("-inf")):
        return reduced("reduce_max" if p > 0 else "reduce_min", size, dim, keepdim, "")
    if p == 0:
        return reduced("reduce_sum", cast_to(emit("ne", "", input, 0), size._dtype), dim, keepdim, "")
    if p == 1:
        return reduced("reduce_sum", size, dim, keepdim, "")
    nothing = emit("eq", "", size, 0)
    powers = where(nothing, 0.0 if p > 0 else float("inf"), pow(where(nothing, 1.0, size), p))
    total = reduced("reduce_sum", powers, dim, keepdim, "")
    nothing = emit("eq", "", total, 0)
    return where(nothing, 0.0 if p > 0 else float("inf"), pow(where(nothing, 1.0, total), 1 / p))  # type: ignore[no-any-return]


@numpy_names
def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """The p-norm over axes; the derivative at 0 is 0.  "nuc" is the sum of a matrix's singular values."""
    if p == "nuc":
        from adjit.linalg import matrix_norm

        found: Tensor = matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
        return found
    if not input._dtype.is_continuous:
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {title_of(input._dtype)}"
        )
    if dtype is not None:
        input = cast_to(input, to_ir(dtype))
    if p == "nuc":
        from adjit.linalg import matrix_norm

        return matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim)  # type: ignore[no-any-return]
    order = 2.0 if p in ("fro", None) else as_float(p)
    if order < 0 or order == float("inf"):
        from adjit.linalg.norms import require_elements

        require_elements(input, order, dim)
    return _norm(input, order, static(dim), keepdim)  # type: ignore[no-any-return]


@composite("Logsumexp")
def _logsumexp(input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    size = apply(primitive_named("real"), (input.detach(),)) if input._dtype.is_complex else input
    greatest = reduced("reduce_max", size, dim, True, "").detach()
    greatest = where(isfinite(greatest), greatest, 0.0)
    greatest = cast_to(greatest, input._dtype)
    total = reduced("reduce_sum", exp(sub(input, greatest)), dim, True, "")
    total = where(emit("ne", "", total, 0), log(total), float("-inf"))  # flat where nothing is finite
    found = add(total, greatest)
    if keepdim:
        return found
    shape = tuple(shape_of(input))
    axes = wrap_dims(dim, len(shape))
    kept = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    return apply(PRIMITIVES["reshape"], (found,), {"shape": kept})  # type: ignore[no-any-return]


@numpy_names
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))) over axes, without overflow; minus infinity for none."""
    input = input if input._dtype.is_continuous else cast_to(input, default_float())
    if _count(input, dim) == 0:
        return log(sum(exp(input), dim, keepdim))
    return _logsumexp(input, static(dim), keepdim)  # type: ignore[no-any-return]


@numpy_names
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of input - other."""
    return norm(sub(input, other), p)


_PUBLIC = (
    "all", "any", "count_nonzero", "dist", "logsumexp", "mean", "nanmean", "nansum", "norm", "prod", "std", "std_mean",
    "sum", "var", "var_mean",
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {
    name: globals()[name] for name in _PUBLIC if name not in ("std_mean", "var_mean")
}
METHODS["sum_to_size"] = sum_to_size
__all__ = list(_PUBLIC)
