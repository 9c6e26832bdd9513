"""Reductions over axes, running sums, softmax."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.dims import numel_of, shape_of, wrap_dim, wrap_dims
from adjit.dispatch import apply
from adjit.dtypes import to_ir
from adjit.elementwise import add, div, maximum, minimum, mul, sqrt, sub
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BOOL, I64
from adjit.promotion import cast_to
from adjit.tensor import Tensor

_Max = namedtuple("max", ("values", "indices"))
_Min = namedtuple("min", ("values", "indices"))


class _NamedResult:
    """Results with names print as PyTorch's: `torch.return_types.max(values=..., indices=...)`."""

    def __repr__(self) -> str:
        parts = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))  # type: ignore[attr-defined, call-overload]
        return f"torch.return_types.{type(self).__name__}(\n{parts})"


class max_result(_NamedResult, _Max):
    """Values and indices."""

    __slots__ = ()


class min_result(_NamedResult, _Min):
    """Values and indices."""

    __slots__ = ()


max_result.__name__, min_result.__name__ = "max", "min"


def axes_of(dim: Any, axis: Any) -> Any:
    """`dim`, or NumPy's spelling `axis`."""
    return dim if axis is None else axis


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


def _summed(input: Tensor, dtype: Any) -> Tensor:
    """The operand of a sum: integers are summed in int64."""
    if dtype is not None:
        return cast_to(input, to_ir(dtype))
    return input if input._dtype.is_float else cast_to(input, I64)


def sum(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: Any = None,
    keepdims: bool = False,
) -> Tensor:
    """The sum over axes; 0 for none."""
    dim = axes_of(dim, axis)
    name = "SumBackward0" if dim is None else "SumBackward1"
    return reduced("reduce_sum", _summed(input, dtype), dim, keepdim or keepdims, name)


def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over axes, NaN counted as 0."""
    from adjit.elementwise import nan_to_num

    return sum(nan_to_num(input, 0.0, float("inf"), float("-inf")), dim, keepdim, dtype=dtype)


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product over one axis, or all."""
    name = "ProdBackward0" if dim is None else "ProdBackward1"
    return reduced("reduce_prod", _summed(input, dtype), dim, keepdim, name)


def _count(input: Tensor, dim: Any) -> Any:
    shape = shape_of(input)
    return numel_of([shape[axis] for axis in wrap_dims(None if dim == () else dim, len(shape))])


def _need_float(input: Tensor, op: str) -> None:
    if not input._dtype.is_float:
        kind = {"bool": "Bool", "i64": "Long", "i32": "Int", "i16": "Short", "i8": "Char", "u8": "Byte"}
        raise RuntimeError(
            f"{op}(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: "
            f"{kind[input._dtype.name]}"
        )


@composite("MeanBackward0")
def _mean_all(input: Tensor) -> Tensor:
    return div(reduced("reduce_sum", input, None, False, ""), _count(input, None))


@composite("MeanBackward1")
def _mean(input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    return div(reduced("reduce_sum", input, dim, keepdim, ""), _count(input, dim))


_mean_all.__wrapped__.__name__ = _mean.__wrapped__.__name__ = "mean"


def mean(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: Any = None,
    keepdims: bool = False,
) -> Tensor:
    """The mean over axes; NaN for none."""
    dim = axes_of(dim, axis)
    if dtype is not None:
        input = cast_to(input, to_ir(dtype))
    _need_float(input, "mean")
    found = _mean_all(input) if dim is None else _mean(input, _static(dim), keepdim or keepdims)
    assert isinstance(found, Tensor)
    return found


def _static(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, (list, tuple)) else dim


@composite("Var")
def _var(input: Tensor, dim: Any, correction: float, keepdim: bool) -> Tensor:
    return _variance(input, dim, correction, keepdim)


def _variance(input: Tensor, dim: Any, correction: float, keepdim: bool) -> Tensor:
    """Mean squared distance from the mean, over max(count - correction, 0)."""
    count = _count(input, dim)
    centre = div(reduced("reduce_sum", input, dim, True, ""), count)
    distance = sub(input, centre)
    total = reduced("reduce_sum", mul(distance, distance), dim, keepdim, "")
    left = count - correction
    return div(total, left if left > 0 else 0)


@composite("Std")
def _std(input: Tensor, dim: Any, correction: float, keepdim: bool) -> Tensor:
    return sqrt(_variance(input, dim, correction, keepdim))


def _spread_of(function: Callable[..., Any], input: Tensor, args: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    """The arguments of var and std in all of PyTorch's forms: (unbiased), (dim, unbiased, keepdim), correction=..."""
    dim, unbiased, keepdim = (
        options.pop("dim", options.pop("axis", None)),
        options.pop("unbiased", None),
        options.pop("keepdim", options.pop("keepdims", False)),
    )
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
    _need_float(input, function.__name__.strip("_"))
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return function(input, _static(dim), correction, bool(keepdim))  # type: ignore[no-any-return]


def var(input: Tensor, *args: Any, **options: Any) -> Tensor:
    """The variance over axes, divided by count - correction (1 by default)."""
    return _spread_of(_var, input, args, options)


def std(input: Tensor, *args: Any, **options: Any) -> Tensor:
    """The square root of the variance; its derivative at 0 is 0."""
    return _spread_of(_std, input, args, options)


def var_mean(input: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Variance and mean."""
    dim = options.get("dim", args[0] if args and not isinstance(args[0], bool) else None)
    return var(input, *args, **options), mean(input, dim, options.get("keepdim", False))


def std_mean(input: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean."""
    dim = options.get("dim", args[0] if args and not isinstance(args[0], bool) else None)
    return std(input, *args, **options), mean(input, dim, options.get("keepdim", False))


# -- extremes -------------------------------------------------------------------------------------------------------
def amax(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The greatest over axes; ties share the gradient."""
    return reduced("reduce_max", input, dim, keepdim, "Amax")


def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The least over axes; ties share the gradient."""
    return reduced("reduce_min", input, dim, keepdim, "Amin")


def _extreme(kind: str, input: Tensor, dim: Any, keepdim: bool) -> tuple[Tensor, Tensor]:
    """The first greatest or least along an axis, with its position."""
    from adjit.indexing import gather
    from adjit.shaping import squeeze

    ndim = len(shape_of(input))
    if ndim == 0:
        from adjit.creation import zeros
        from adjit.shaping import clone

        wrap_dim(dim, 0)
        return clone(input), zeros((), dtype=I64)
    axis = wrap_dim(dim, ndim)
    positions = arg_extreme(f"arg{kind}", input, axis, True)
    values = gather(input, axis, positions)
    if keepdim:
        return values, positions
    return squeeze(values, axis), squeeze(positions, axis)


def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Any:
    """The greatest of all; along `dim`, (values, indices); with a tensor, `maximum`."""
    dim = axes_of(dim, axis)
    if isinstance(dim, Tensor):
        return maximum(input, dim)
    if dim is None:
        return reduced("reduce_max", input, None, False, "MaxBackward1")
    return max_result(*_extreme("max", input, dim, keepdim))


def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Any:
    """The least of all; along `dim`, (values, indices); with a tensor, `minimum`."""
    dim = axes_of(dim, axis)
    if isinstance(dim, Tensor):
        return minimum(input, dim)
    if dim is None:
        return reduced("reduce_min", input, None, False, "MinBackward1")
    return min_result(*_extreme("min", input, dim, keepdim))


def arg_extreme(op: str, input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    """The position of the first greatest or least along an axis, or in the flat order."""
    from adjit.shaping import reshape, unsqueeze

    if dim is None:
        found = apply(PRIMITIVES[op], (reshape(input, -1),), {"axis": 0})
        return reshape(found, *(1,) * len(shape_of(input))) if keepdim else found  # type: ignore[no-any-return]
    axis = wrap_dim(dim, len(shape_of(input)))
    if not shape_of(input):
        return arg_extreme(op, input, None, False)
    found = apply(PRIMITIVES[op], (input,), {"axis": axis})
    return unsqueeze(found, axis) if keepdim else found  # type: ignore[no-any-return]


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
    """The position of the first greatest."""
    return arg_extreme("argmax", input, axes_of(dim, axis), keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
    """The position of the first least."""
    return arg_extreme("argmin", input, axes_of(dim, axis), keepdim)


def all(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
    """Whether every element is true; true for none."""
    return reduced("reduce_all", cast_to(input, BOOL), axes_of(dim, axis), keepdim, "All")


def any(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
    """Whether an element is true; false for none."""
    return reduced("reduce_any", cast_to(input, BOOL), axes_of(dim, axis), keepdim, "Any")


def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements are not 0."""
    return sum(cast_to(input, BOOL), dim)


# -- norms and exponentials -----------------------------------------------------------------------------------------
@composite("LinalgVectorNorm")
def _norm(input: Tensor, p: float, dim: Any, keepdim: bool) -> Tensor:
    from adjit.elementwise import abs as absolute
    from adjit.elementwise import ne, pow

    if p == 2:
        return sqrt(reduced("reduce_sum", mul(input, input), dim, keepdim, ""))
    size = absolute(input)
    if p == float("inf"):
        return amax(size, () if dim is None else dim, keepdim)
    if p == float("-inf"):
        return amin(size, () if dim is None else dim, keepdim)
    if p == 0:
        return reduced("reduce_sum", cast_to(ne(input, 0), input._dtype), dim, keepdim, "")
    if p == 1:
        return reduced("reduce_sum", size, dim, keepdim, "")
    return pow(reduced("reduce_sum", pow(size, p), dim, keepdim, ""), 1 / p)


def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """The p-norm over axes; the derivative at 0 is 0."""
    if dtype is not None:
        input = cast_to(input, to_ir(dtype))
    if not input._dtype.is_float:
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{input._dtype.long_name.capitalize()}"
        )
    order = 2.0 if p in ("fro", None) else float(p)
    return _norm(input, order, _static(dim), keepdim)  # type: ignore[no-any-return]


def _stable_greatest(input: Tensor, dim: Any) -> Tensor:
    """The greatest along axes, without gradient, 0 where it is infinite."""
    from adjit.elementwise import isfinite, where

    greatest = amax(input, dim, True).detach()
    return where(isfinite(greatest), greatest, 0.0)


@composite("Logsumexp")
def _logsumexp(input: Tensor, dim: Any, keepdim: bool) -> Tensor:
    from adjit.elementwise import exp, log

    greatest = _stable_greatest(input, dim)
    total = log(reduced("reduce_sum", exp(sub(input, greatest)), dim, True, ""))
    found = add(total, greatest)
    if keepdim:
        return found
    shape = tuple(shape_of(input))
    axes = wrap_dims(dim, len(shape))
    kept = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    return apply(PRIMITIVES["reshape"], (found,), {"shape": kept})  # type: ignore[no-any-return]


def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))) over axes, without overflow."""
    from adjit.dtypes import default_float

    input = input if input._dtype.is_float else cast_to(input, default_float())
    return _logsumexp(input, _static(dim), keepdim)  # type: ignore[no-any-return]


@composite("Softmax")
def _softmax(input: Tensor, dim: int) -> Tensor:
    from adjit.elementwise import exp

    weights = exp(sub(input, amax(input, dim, True).detach()))
    return div(weights, reduced("reduce_sum", weights, dim, True, ""))


@composite("LogSoftmax")
def _log_softmax(input: Tensor, dim: int) -> Tensor:
    from adjit.elementwise import exp, log

    shifted = sub(input, amax(input, dim, True).detach())
    return sub(shifted, log(reduced("reduce_sum", exp(shifted), dim, True, "")))


def _along(function: Callable[..., Any], input: Tensor, dim: int, dtype: Any, op: str) -> Tensor:
    if dtype is not None:
        input = cast_to(input, to_ir(dtype))
    if not input._dtype.is_float:
        raise RuntimeError(f"\"{op}_lastdim_kernel_impl\" not implemented for '{input._dtype.long_name.capitalize()}'")
    wrap_dim(dim, len(shape_of(input)))
    if not shape_of(input):
        from adjit.shaping import reshape

        return reshape(function(reshape(input, 1), 0), ())
    return function(input, dim)  # type: ignore[no-any-return]


def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """exp(x_i) / sum_j exp(x_j) along an axis."""
    return _along(_softmax, input, dim, dtype, "softmax")


def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """x_i - log(sum_j exp(x_j)) along an axis."""
    return _along(_log_softmax, input, dim, dtype, "log_softmax")


# -- running --------------------------------------------------------------------------------------------------------
def _running(op: str, name: str, doc: str) -> Callable[..., Tensor]:
    def function(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
        source = _summed(input, dtype)
        axis = wrap_dim(dim, len(shape_of(input)))
        if not shape_of(input):
            return source
        result = apply(PRIMITIVES[op], (source,), {"axis": axis, "reverse": False}, name=name)
        assert isinstance(result, Tensor)
        return result

    function.__name__ = function.__qualname__ = name.lower()
    function.__doc__ = doc
    return function


cumsum = _running("cumulate_sum", "Cumsum", "Running sums along an axis.")
cumprod = _running("cumulate_prod", "Cumprod", "Running products along an axis.")


_PUBLIC = (
    "all", "amax", "amin", "any", "argmax", "argmin", "count_nonzero", "cumprod", "cumsum", "log_softmax", "logsumexp",
    "max", "mean", "min", "nansum", "norm", "prod", "softmax", "std", "std_mean", "sum", "var", "var_mean",
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {
    name: globals()[name] for name in _PUBLIC if name not in ("std_mean", "var_mean")
}
__all__ = list(_PUBLIC)
