"""Elements put, added and combined at index tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.composite import composite
from adjit.dims import numel_of, numpy_names, shape_of, wrap_dim
from adjit.dispatch import apply, literal
from adjit.dtypes import public, title_of
from adjit.errors import explained
from adjit.indexing import check_mask, is_mask, placed_updates, prepared, value_like
from adjit.ir.ops.structure import reshape as reshape_op
from adjit.ir.primitive import primitive_named
from adjit.ir.types import BOOL, I64, DType
from adjit.positions import (
    Outside,
    check_integers,
    check_long,
    flat_error,
    index_error,
    positions,
    range_error,
    runtime_error,
)
from adjit.selecting import check_index, iota_like
from adjit.shaping import expand, part, permute, reshape
from adjit.tensor import Tensor

_KINDS = {"sum": "add", "add": "add", "multiply": "mul", "prod": "mul", "amax": "max", "amin": "min", "mean": "add"}


def put_at(
    input: Tensor, updates: Tensor, indices: Sequence[Tensor], axes: tuple[int, ...], kind: str, name: str
) -> Tensor:
    """A copy of `input` with `updates` set or combined (`kind`) at positions; for bools, + is or and * is and."""
    if input._dtype is BOOL:
        kind = {"add": "max", "mul": "min"}.get(kind, kind)
    op = primitive_named(f"scatter_{kind}")
    return apply(op, (input, updates, *indices), {"axes": axes}, name=name)  # type: ignore[no-any-return]


# -- scatter --------------------------------------------------------------------------------------------------------
@numpy_names
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """A copy of `input` with out[index[i][j]][j] = src[i][j] for dim = 0 (or combined by `reduce`)."""
    if reduce is not None and reduce not in ("add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    kind = "set" if reduce is None else _KINDS[reduce]
    if isinstance(src, Tensor):
        return _scattered(input, dim, index, src, kind, "Scatter")
    number = value_like(value if src is None else src, input)
    return _scattered(input, dim, index, number, kind, "ScatterBackward1", one=True)


@numpy_names
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of `input` with src[i][j] added to out[index[i][j]][j] for dim = 0."""
    return _scattered(input, dim, index, src, "add", "ScatterAdd")


@numpy_names
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy of `input` with src[i][j] combined into out[index[i][j]][j] by sum, prod, mean, amax or amin.

    Without `include_self` the elements that were there do not take part where something arrives.
    """
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    if include_self and reduce != "mean":
        return _scattered(input, dim, index, src, _KINDS[reduce], "ScatterReduce")
    if reduce == "mean" and input._dtype is BOOL:
        raise NotImplementedError("\"scatter_gather_tensor_cpu_reduce_mean\" not implemented for 'Bool'")
    if not shape_of(input):
        found = scatter_reduce(reshape(input, 1), 0, reshape(index, -1), reshape(src, -1), reduce,
                               include_self=include_self)  # fmt: skip
        return reshape(found)
    axes, places, src = _places(input, dim, index, src, one=False)
    return _reduced(input, src, tuple(places), axes, reduce, include_self, "ScatterReduce")


def _scattered(
    input: Tensor, dim: int, index: Tensor, src: Tensor, kind: str, name: str, *, one: bool = False
) -> Tensor:
    check_index(index, "scatter", 3)
    if src._dtype is not input._dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if not shape_of(input):
        wrap_dim(dim, 0)
        flat = src if one else reshape(src, -1)
        return reshape(_scattered(reshape(input, 1), 0, reshape(index, -1), flat, kind, name, one=one))
    if numel_of(shape_of(index)) == 0:
        wrap_dim(dim, len(shape_of(input)))
        return apply(primitive_named("reshape"), (input,), {"shape": tuple(shape_of(input))}, name=name)  # type: ignore[no-any-return]
    axes, places, src = _places(input, dim, index, src, one)
    return put_at(input, src, places, axes, kind, name)


def _places(
    input: Tensor, dim: int, index: Tensor, src: Tensor, one: bool
) -> tuple[tuple[int, ...], list[Tensor], Tensor]:
    """All axes, full index tensors for an index that runs along one, and the part of `src` that is used."""
    check_integers(index, "scatter(): Expected dtype int32/int64 for index")
    own, shape, given = tuple(shape_of(index)), tuple(shape_of(input)), tuple(shape_of(src))
    axis = wrap_dim(dim, len(shape))
    if not own and len(shape) == 1:
        index, own = reshape(index, 1), (1,)
        src, given = (src, given) if one else (reshape(src, -1), (numel_of(given),))
    if len(own) != len(shape):
        raise explained(
            RuntimeError,
            "Index tensor must have the same number of dimensions as self tensor",
            hint="index has one axis for each of the target, as in {index}.unsqueeze(1)",
        )
    if not one and len(given) != len(own):
        raise explained(
            RuntimeError,
            "Index tensor must have the same number of dimensions as src tensor",
            hint="index and src have the same axes",
        )
    small = all(a <= b for place, (a, b) in enumerate(zip(own, shape, strict=True)) if place != axis)
    if not small or not (one or all(a <= b for a, b in zip(own, given, strict=True))):
        text = f"Expected index {list(own)} to be no larger than self {list(shape)} apart from dimension {axis}"
        raise RuntimeError(text if one else f"{text} and to be no larger size than src {list(given)}")
    at = positions(index, input, axis, runtime_error)
    places = [at if place == axis else iota_like(index, place) for place in range(len(shape))]
    if one:
        src = expand(src, *own)
    elif given != own:
        src = part(src, {place: (0, size, 1) for place, size in enumerate(own)}, "")
    return tuple(range(len(shape))), places, src


def _neutral(reduce: str, dtype: DType) -> Any:
    """The element that leaves others as they are."""
    from adjit.numeric_limits import iinfo

    if reduce in ("sum", "mean"):
        return False if dtype is BOOL else 0
    if reduce == "prod":
        return True if dtype is BOOL else 1
    if dtype is BOOL:
        return reduce == "amin"
    if dtype.is_float:
        return float("-inf") if reduce == "amax" else float("inf")
    limits = iinfo(public(dtype))
    return limits.min if reduce == "amax" else limits.max


def _reduced(
    input: Tensor, src: Tensor, places: tuple[Tensor, ...], axes: tuple[int, ...], reduce: str, include_self: bool,
    name: str,
) -> Tensor:  # fmt: skip
    function = _scatter_reduce if name == "ScatterReduce" else _index_reduce
    return function(input, src, places, axes, reduce, include_self)  # type: ignore[no-any-return]


def _combined(
    input: Tensor, src: Tensor, places: tuple[Tensor, ...], axes: tuple[int, ...], reduce: str, include_self: bool
) -> Tensor:
    """Elements combined at positions; where something arrives, `input` takes part only with `include_self`."""
    from adjit.elementwise import div, emit, where

    expand_op = primitive_named("expand")
    none = apply(expand_op, (literal(0, I64),), {"shape": tuple(shape_of(input))})
    ones = apply(expand_op, (literal(1, I64),), {"shape": tuple(shape_of(src))})
    count = put_at(none, ones, places, axes, "add", "")
    base = input if include_self else where(emit("lt", "", 0, count), _neutral(reduce, input._dtype), input)
    total = put_at(base, src, places, axes, _KINDS[reduce], "")
    if reduce != "mean":
        return total
    share = emit("add", "", count, 1) if include_self else where(emit("lt", "", 0, count), count, 1)
    return div(total, share, rounding_mode=None if input._dtype.is_continuous else "floor")


@composite("ScatterReduce")
def _scatter_reduce(
    input: Tensor, src: Tensor, places: tuple[Tensor, ...], axes: tuple[int, ...], reduce: str, include_self: bool
) -> Tensor:
    return _combined(input, src, places, axes, reduce, include_self)


@composite("IndexReduce")
def _index_reduce(
    input: Tensor, src: Tensor, places: tuple[Tensor, ...], axes: tuple[int, ...], reduce: str, include_self: bool
) -> Tensor:
    return _combined(input, src, places, axes, reduce, include_self)


# -- along an axis --------------------------------------------------------------------------------------------------
@numpy_names
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """A copy of `input` with alpha times the entries of `source` added at `index` along an axis."""
    _check_source("index_add", input, dim, index, source)
    if alpha != 1:
        from adjit.promotion import cast_to

        source = cast_to(source * alpha, input._dtype)
    return _put_along(input, dim, index, source, "add", "IndexAdd", runtime_error)


@numpy_names
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of `input` with the entries of `source` put at `index` along an axis."""
    _check_copied(input, dim, index, source)

    def outside(place: int, axis: int, extent: int) -> Exception:
        return IndexError(f"index_copy_(): {index_error(place, axis, extent)}")

    return _put_along(input, dim, index, source, "set", "IndexCopy", outside)


@numpy_names
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of `input` with a value at `index` along an axis."""
    check_index(index, "index_fill", 3)
    check_long(index, "index_fill_(): Expected dtype int64 for index.", IndexError)
    if len(shape_of(index)) > 1:
        raise RuntimeError("Index has to be a vector/scalar")
    if isinstance(value, Tensor) and shape_of(value):
        raise RuntimeError(
            f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {len(shape_of(value))} "
            "dimension(s)."
        )
    name = "IndexFillBackward1" if isinstance(value, Tensor) else "IndexFill"
    one = value_like(value, input)
    shape = list(shape_of(input))
    axis = wrap_dim(dim, len(shape))
    if shape:
        shape[axis] = numel_of(shape_of(index))
    return _put_along(input, dim, index, expand(one, *shape), "set", name, index_error, negative=True)


@numpy_names
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy of `input` with the entries of `source` combined at `index` along an axis by prod, mean, amax or amin."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}."
        )
    _check_source("index_reduce", input, dim, index, source)
    if not shape_of(input):
        found = index_reduce(reshape(input, 1), 0, index, reshape(source, 1), reduce, include_self=include_self)
        return reshape(found)
    axis = wrap_dim(dim, len(shape_of(input)))
    at = positions(reshape(index, -1), input, axis, range_error)
    return _reduced(input, _front(source, axis), (at,), (axis,), reduce, include_self, "IndexReduce")


def _check_source(name: str, input: Tensor, dim: int, index: Tensor, source: Tensor) -> None:
    check_index(index, name, 3)
    check_integers(
        index, f"{name}_(): Expected dtype int32/int64 for index but got: {title_of(index._dtype)}"
    )
    if len(shape_of(index)) > 1:
        raise IndexError(
            f"{name}_(): Index is supposed to be a vector, but got dim: {len(shape_of(index))} with type: "
            f"{title_of(index._dtype)} and size: {list(shape_of(index))}"
        )
    if input._dtype is not source._dtype:
        raise RuntimeError(
            f"{name}_(): self ({title_of(input._dtype)}) and source ({title_of(source._dtype)}) must have the same "
            "scalar type"
        )
    own, given = list(shape_of(input)), list(shape_of(source))
    axis = wrap_dim(dim, len(own))
    count = numel_of(shape_of(index))
    extent = given[axis] if axis < len(given) else 1
    if extent != count:
        if not own and given:
            raise _slice_mismatch(own, given)
        raise RuntimeError(
            f"{name}_(): Number of indices ({count}) should be equal to source.size(dim): ({extent}), for dim: {dim}"
        )
    if len(own) != len(given) or own[:axis] + own[axis + 1 :] != given[:axis] + given[axis + 1 :]:
        raise _slice_mismatch(own, given)


def _slice_mismatch(own: list[Any], given: list[Any]) -> RuntimeError:
    return RuntimeError(
        "source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = "
        f"{own} source.shape = {given}"
    )


def _check_copied(input: Tensor, dim: int, index: Tensor, source: Tensor) -> None:
    check_index(index, "index_copy", 3)
    own, given, count = list(shape_of(input)), list(shape_of(source)), numel_of(shape_of(index))
    axis = wrap_dim(dim, len(own))
    if len(shape_of(index)) > 1:
        raise IndexError(f"index_copy_(): Index should have dimension 1 or 0 (got {len(shape_of(index))})")
    if not given and count != 1:
        raise IndexError(f"index_copy_(): When source is scalar, index should have one element (got {count})")
    if given and own and len(given) != len(own):
        raise IndexError(
            "index_copy_(): When source and destination are not scalars, their dimensionality must match. Source "
            f"dimensionality ({len(given)}), destination dimensionality ({len(own)})"
        )
    check_long(index, f"index_copy_(): Expected a long tensor for index, but got {title_of(index._dtype)}")
    if input._dtype is not source._dtype:
        raise RuntimeError(
            "index_copy_(): self and source expected to have the same dtype, but got (self) "
            f"{title_of(input._dtype)} and (source) {title_of(source._dtype)}"
        )
    rest = own[:axis] + own[axis + 1 :], given[:axis] + given[axis + 1 :]
    if given and own and rest[0] != rest[1]:
        here, there = (" ".join(map(str, sizes)) for sizes in rest)
        raise RuntimeError(
            "index_copy_(): Source/destination tensor must have same slice shapes. Destination slice shape: "
            f"{here} at dimension {axis} and source slice shape: {there} at dimension 0."
        )
    if given and count != given[axis if own else 0]:
        raise IndexError(
            f"index_copy_(): Number of indices ({count}) should be equal to source.size(dim) "
            f"({given[axis if own else 0]})"
        )


def _front(source: Tensor, axis: int) -> Tensor:
    """The axis first, where scatters take it."""
    ndim = len(shape_of(source))
    return permute(source, (axis, *(place for place in range(ndim) if place != axis))) if axis else source


def _put_along(
    input: Tensor, dim: int, index: Tensor, source: Tensor, kind: str, name: str, outside: Outside, *,
    negative: bool = False,
) -> Tensor:  # fmt: skip
    if not shape_of(input):
        source = expand(reshape(source, -1), numel_of(shape_of(index)))
        found = _put_along(reshape(input, 1), 0, index, source, kind, name, outside, negative=negative)
        return reshape(found)
    axis = wrap_dim(dim, len(shape_of(input)))
    at = positions(reshape(index, -1), input, axis, outside, negative=negative)
    updates = _front(source, axis) if shape_of(source) else reshape(source, 1)
    if len(shape_of(updates)) != len(shape_of(input)):  # a 0-d source for one entry
        updates = expand(updates, 1, *(s for place, s in enumerate(shape_of(input)) if place != axis))
    return put_at(input, updates, (at,), (axis,), kind, name)


# -- many axes ------------------------------------------------------------------------------------------------------
def index_put(input: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of `input` with `values` put (or added) at `indices`; an index of None takes a whole axis."""
    advanced = _places_put(input, indices)
    if numel_of(shape_of(values)) == 1 and not accumulate and len(advanced) == 1 and is_mask(advanced[0][1]):
        values = value_like(values, input)  # a mask that is filled
    if values._dtype is not input._dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{title_of(input._dtype)} for the destination and {title_of(values._dtype)} for the source."
        )
    axes, tensors, common = prepared(input, advanced)
    updates = placed_updates(input, axes, common, values)
    return put_at(input, updates, tensors, tuple(axes), "add" if accumulate else "set", "IndexPut")


def _places_put(input: Tensor, indices: Sequence[Tensor | None]) -> list[tuple[int, Tensor]]:
    """The indices that are given, with the axes where they begin.  IndexError for those that fit no axis."""
    found: list[tuple[int, Tensor]] = []
    axis, shape = 0, tuple(shape_of(input))
    for index in indices:
        if index is not None and not is_mask(index):
            check_integers(index, "tensors used as indices must be long, int, byte or bool tensors", IndexError)
        if index is not None:
            found.append((axis, index))
        axis += len(shape_of(index)) if index is not None and is_mask(index) else 1
    if axis > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)} (got {axis})")
    for axis, index in found:
        if is_mask(index):
            check_mask(index, shape, axis)
    return found


def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of `input` with the elements of `source` put (or added) at `index` in the flat order."""
    check_index(index, "put", 2)
    check_long(index, f"put_(): Expected a long tensor for index, but got {title_of(index._dtype)}")
    if input._dtype is not source._dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{title_of(input._dtype)} and source.dtype = {title_of(source._dtype)}"
        )
    count, total = numel_of(shape_of(index)), numel_of(shape_of(input))
    if numel_of(shape_of(source)) != count:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{numel_of(shape_of(source))}, index.numel() = {count}"
        )
    if total == 0 and count != 0:
        raise IndexError("put_(): Tried to put elements into an empty tensor")
    # No view of what the form in place overwrites.
    flat = input if len(shape_of(input)) == 1 else apply(reshape_op, (input,), {"shape": (total,)})
    at = positions(reshape(index, -1), flat, 0, flat_error, negative=True)
    found = put_at(flat, reshape(source, -1), (at,), (0,), "add" if accumulate else "set", "Put")
    return found if flat is input else reshape(found, shape_of(input))


_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    index_add, index_copy, index_fill, index_put, index_reduce, put, scatter, scatter_add, scatter_reduce,
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _FUNCTIONS}
__all__ = [*METHODS]
