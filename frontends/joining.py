"""Tensors joined into one, and one cut into several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from adjit.dims import numpy_names, shape_of, wrap_dim
from adjit.dispatch import apply, rename
from adjit.ir.ops.structure import concat as concat_op
from adjit.ir.ops.structure import reshape as reshape_op
from adjit.shaping import part, reshape, select
from adjit.tensor import Tensor


@numpy_names
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an axis."""
    from adjit.promotion import promote_dtypes

    tensors = list(tensors)
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    joined = [x for x in tensors if tuple(shape_of(x)) != (0,)] or tensors[:1]
    first = tuple(shape_of(joined[0]))
    if not first:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    along = wrap_dim(dim, len(first))
    for position, tensor in enumerate(joined):
        shape = tuple(shape_of(tensor))
        if len(shape) != len(first):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}")
        for place, (a, b) in enumerate(zip(first, shape, strict=True)):
            if place != along and a != b:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {along}. Expected size {a} but got size {b} for "
                    f"tensor number {position} in the list."
                )
    result = apply(concat_op, promote_dtypes(joined), {"axis": along}, name="Cat")
    assert isinstance(result, Tensor)
    return result


@numpy_names
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    first = tuple(shape_of(tensors[0]))
    for position, tensor in enumerate(tensors):
        if tuple(shape_of(tensor)) != first:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                f"{list(shape_of(tensor))} at entry {position}"
            )
    axis = wrap_dim(dim, len(first) + 1)
    wide = [apply(reshape_op, (tensor,), {"shape": (*first[:axis], 1, *first[axis:])}) for tensor in tensors]
    return rename(cat(wide, axis), "Stack")


def atleast_1d(*tensors: Any) -> Any:
    """0-d tensors as vectors of one element."""
    return _at_least(tensors, 1, lambda x: reshape(x, 1))


def atleast_2d(*tensors: Any) -> Any:
    """Vectors as rows."""
    return _at_least(tensors, 2, lambda x: reshape(x, 1, -1))


def atleast_3d(*tensors: Any) -> Any:
    """Vectors as [1, n, 1], matrices as [m, n, 1]."""

    def widen(x: Tensor) -> Tensor:
        shape = tuple(shape_of(x))
        return reshape(x, *shape, 1) if len(shape) == 2 else reshape(x, 1, -1, 1)

    return _at_least(tensors, 3, widen)


def _at_least(tensors: Sequence[Any], rank: int, widen: Callable[[Tensor], Tensor]) -> Any:
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    found = tuple(widen(x) if len(shape_of(x)) < rank else x for x in given)
    return found[0] if len(tensors) == 1 and isinstance(tensors[0], Tensor) else found


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along axis 1 (axis 0 for vectors)."""
    parts = atleast_1d(tuple(tensors))
    return cat(parts, 0 if len(shape_of(parts[0])) == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined as rows."""
    return cat(atleast_2d(tuple(tensors)), 0)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along axis 2."""
    return cat(atleast_3d(tuple(tensors)), 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Vectors as the columns of a matrix."""
    return hstack([reshape(x, -1, 1) if len(shape_of(x)) < 2 else x for x in tensors])


# -- cutting --------------------------------------------------------------------------------------------------------
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All entries of an axis."""
    axis = wrap_dim(dim, len(shape_of(input)))
    return tuple(rename(select(input, axis, index), "Unbind") for index in range(shape_of(input)[axis]))


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of a size (the last may be smaller), or of the listed sizes, as views."""
    axis = wrap_dim(dim, len(shape_of(tensor)))
    extent = shape_of(tensor)[axis]
    if isinstance(split_size_or_sections, int):
        step = split_size_or_sections
        if step < 0 or (step == 0 and extent != 0):
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step}")
        count = max((int(extent) + step - 1) // step, 1) if step else 1
        sizes = [min(step, int(extent) - index * step) for index in range(count)]
    else:
        sizes = list(split_size_or_sections)
        if sum(sizes) != extent:
            raise RuntimeError(
                "split_with_sizes expects split_sizes to sum exactly to "
                f"{extent} (input tensor's size at dimension {axis}), but got split_sizes={sizes}"
            )
    name = "Split" if isinstance(split_size_or_sections, int) else "SplitWithSizes"
    found, start = [], 0
    for size in sizes:
        found.append(part(tensor, {axis: (start, size, 1)}, name))
        start += size
    return tuple(found)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size, the last may be smaller."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    extent = int(shape_of(input)[wrap_dim(dim, len(shape_of(input)))])
    return split(input, max((extent + chunks - 1) // chunks, 1), dim)


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """A number of pieces whose sizes differ by 1 at most, or the pieces between indices, as views."""
    axis = wrap_dim(dim, len(shape_of(input)))
    extent = shape_of(input)[axis]
    if isinstance(indices_or_sections, int):
        count = indices_or_sections
        if count <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {count}")
        least, more = divmod(int(extent), count)
        ends = [place * least + min(place, more) for place in range(count + 1)]
    else:
        marks = [int(index) for index in indices_or_sections]
        ends = [0, *(min(max(mark + extent if mark < 0 else mark, 0), extent) for mark in marks), extent]
    pieces = pairwise(ends)
    return tuple(part(input, {axis: (start, max(stop - start, 0), 1)}, "Slice") for start, stop in pieces)


def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """`tensor_split` along axis 1 (axis 0 for vectors)."""
    return tensor_split(input, indices_or_sections, 0 if len(shape_of(input)) == 1 else 1)


def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """`tensor_split` along axis 0."""
    return tensor_split(input, indices_or_sections, 0)


concat = concatenate = cat
row_stack = vstack
_CUTTING: tuple[Callable[..., Any], ...] = (chunk, hsplit, split, tensor_split, unbind, vsplit)
METHODS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _CUTTING}
METHODS["split_with_sizes"] = split
__all__ = [
    "atleast_1d", "atleast_2d", "atleast_3d", "cat", "chunk", "column_stack", "concat", "concatenate", "dstack",
    "hsplit", "hstack", "row_stack", "split", "stack", "tensor_split", "unbind", "vsplit", "vstack",
]  # fmt: skip
