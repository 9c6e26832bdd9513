"""Tensors joined into one, and one cut into several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from adjit.dims import numpy_names, shape_of, whole, wrap_dim
from adjit.dispatch import apply, rename
from adjit.errors import explained
from adjit.ir.ops.structure import concat as concat_op
from adjit.ir.ops.structure import reshape as reshape_op
from adjit.shaping import part, reshape, select
from adjit.symbolic_size import SymbolicSize
from adjit.tensor import Tensor
from adjit.views import several


@numpy_names
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an axis."""
    from adjit.promotion import cast_to, result_dtype

    if not isinstance(tensors, (tuple, list)):
        kind = type(tensors).__name__
        raise TypeError(f"cat(): argument 'tensors' (position 1) must be tuple of Tensors, not {kind}")
    tensors = list(tensors)
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for position, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"expected Tensor as element {position} in argument 0, but got {type(tensor).__name__}"
            )
    joined = [x for x in tensors if tuple(shape_of(x)) != (0,)]
    if not joined:  # vectors of nothing fit anywhere
        joined, dim = tensors[:1], 0
    first = tuple(shape_of(joined[0]))
    for position, tensor in enumerate(joined):
        if not shape_of(tensor):
            raise RuntimeError(f"zero-dimensional tensor (at position {position}) cannot be concatenated")
    along = wrap_dim(dim, len(first))
    for position, tensor in enumerate(joined):
        shape = tuple(shape_of(tensor))
        if len(shape) != len(first):
            raise explained(
                RuntimeError,
                f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}",
                hint="unsqueeze(0) gives a tensor one more axis, as in b.unsqueeze(0)",
            )
        for place, (a, b) in enumerate(zip(first, shape, strict=True)):
            if place != along and a != b:
                raise explained(
                    RuntimeError,
                    f"Sizes of tensors must match except in dimension {along}. Expected size {a} but got size {b} for "
                    f"tensor number {position} in the list.",
                    hint="all sizes but that of the axis `dim` must be equal: choose another dim, or cut or pad one "
                    "of the tensors",
                )
    target = result_dtype(tensors)  # of the empty ones, too
    result = apply(concat_op, [cast_to(x, target) for x in joined], {"axis": along}, name="Cat")
    assert isinstance(result, Tensor)
    return result


@numpy_names
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    tensors = _some(tensors, "stack")
    first = tuple(shape_of(tensors[0]))
    for position, tensor in enumerate(tensors):
        if tuple(shape_of(tensor)) != first:
            raise explained(
                RuntimeError,
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                f"{list(shape_of(tensor))} at entry {position}",
                hint="pad them to one size, nn.utils.rnn.pad_sequence([...]), or join them end to end with torch.cat",
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
    parts = atleast_1d(_some(tensors, "hstack"))
    return cat(parts, 0 if len(shape_of(parts[0])) == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined as rows."""
    return cat(atleast_2d(_some(tensors, "vstack")), 0)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along axis 2."""
    return cat(atleast_3d(_some(tensors, "dstack")), 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Vectors as the columns of a matrix."""
    given = _some(tensors, "column_stack")
    return hstack([reshape(x, -1, 1) if len(shape_of(x)) < 2 else x for x in given])


def _some(tensors: Sequence[Tensor], function: str) -> tuple[Tensor, ...]:
    if isinstance(tensors, Tensor):
        raise TypeError(f"{function}(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor")
    given = tuple(tensors)
    if not given:
        raise RuntimeError(f"{function} expects a non-empty TensorList")
    return given


# -- cutting --------------------------------------------------------------------------------------------------------
@numpy_names
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All entries of an axis."""
    if not shape_of(input):
        wrap_dim(dim, 0)
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    axis = wrap_dim(dim, len(shape_of(input)))
    found = tuple(rename(select(input, axis, index), "Unbind") for index in range(shape_of(input)[axis]))
    return several(found, "Unbind")


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of a size (the last may be smaller), or of the listed sizes, as views."""
    given = whole(split_size_or_sections)
    if not isinstance(given, int):
        return split_with_sizes(tensor, given, dim)
    return several(_pieces(tensor, given, dim), "Split")


def _pieces(tensor: Tensor, step: int, dim: int) -> tuple[Tensor, ...]:
    if not shape_of(tensor):
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    axis = wrap_dim(dim, len(shape_of(tensor)))
    extent = shape_of(tensor)[axis]
    if step < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step}")
    if step == 0 and extent != 0:
        raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {extent}")
    count = max((int(extent) + step - 1) // step, 1) if step else 1
    sizes = [min(step, int(extent) - index * step) for index in range(count)]
    return _cut(tensor, axis, sizes, "Split")


def _cut(tensor: Tensor, axis: int, sizes: Sequence[Any], name: str) -> tuple[Tensor, ...]:
    found: list[Tensor] = []
    start: Any = 0
    for size in sizes:
        found.append(part(tensor, {axis: (start, size, 1)}, name))
        start += size
    return tuple(found)


def _split(self: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of that size, the last may be smaller, or pieces of the listed sizes."""
    return split(self, split_size, dim)


_split.__name__ = _split.__qualname__ = "split"


@numpy_names
def split_with_sizes(input: Tensor, split_sizes: Sequence[Any], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of the listed sizes, as views."""
    return several(_listed(input, split_sizes, dim), "SplitWithSizes")


def _listed(input: Tensor, split_sizes: Sequence[Any], dim: int) -> tuple[Tensor, ...]:
    if not shape_of(input):
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    axis = wrap_dim(dim, len(shape_of(input)))
    extent = shape_of(input)[axis]
    sizes = [size if isinstance(size, SymbolicSize) else size.__index__() for size in split_sizes]
    if any(size < 0 for size in sizes):
        raise RuntimeError(
            f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={sizes}"
        )
    if sum(sizes) != extent:
        raise explained(
            RuntimeError,
            "split_with_sizes expects split_sizes to sum exactly to "
            f"{extent} (input tensor's size at dimension {axis}), but got split_sizes={sizes}",
            hint="the parts must add up to the size of the axis `dim`; a number splits into parts of that size",
        )
    return _cut(input, axis, sizes, "SplitWithSizes")


@numpy_names
def unsafe_split(input: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """`split` whose pieces may be written in place."""
    return _pieces(input, split_size, dim)


def unsafe_split_with_sizes(input: Tensor, split_sizes: Sequence[Any], dim: int = 0) -> tuple[Tensor, ...]:
    """`split_with_sizes` whose pieces may be written in place."""
    return _listed(input, split_sizes, dim)


@numpy_names
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size, the last may be smaller."""
    return split(input, _chunk_size(input, chunks, dim), dim)


@numpy_names
def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """`chunk` whose pieces may be written in place."""
    return unsafe_split(input, _chunk_size(input, chunks, dim), dim)


def _chunk_size(input: Tensor, chunks: int, dim: int) -> int:
    if not shape_of(input):
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    extent = int(shape_of(input)[wrap_dim(dim, len(shape_of(input)))])
    return max((extent + chunks - 1) // chunks, 1)


@numpy_names
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """A number of pieces whose sizes differ by 1 at most, or the pieces between indices, as views."""
    if not shape_of(input):
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    axis = wrap_dim(dim, len(shape_of(input)))
    extent = shape_of(input)[axis]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = _split_marks(indices_or_sections)
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


def _split_marks(given: Tensor) -> Any:
    """A tensor's number of pieces, or its indices."""
    from adjit.conversion import concrete
    from adjit.ir.types import I64

    ndim = len(shape_of(given))
    if ndim > 1:
        raise RuntimeError(
            "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or one-dimensional tensor, but "
            f"got a tensor with {ndim} dims"
        )
    if given._dtype is not I64:
        raise RuntimeError(
            "tensor_split expected tensor_indices_or_sections to have dtype of long, but got "
            f"{given._dtype.long_name.capitalize()}"
        )
    return concrete(given, "tensor_split() at the places in a tensor").tolist()


def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """`tensor_split` along axis 1 (axis 0 for vectors)."""
    return _split_evenly("hsplit", input, indices_or_sections, 0 if len(shape_of(input)) == 1 else 1, 1)


def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """`tensor_split` along axis 0."""
    return _split_evenly("vsplit", input, indices_or_sections, 0, 2)


def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """`tensor_split` along axis 2."""
    return _split_evenly("dsplit", input, indices_or_sections, 2, 3)


def _split_evenly(name: str, input: Tensor, indices_or_sections: Any, axis: int, least: int) -> tuple[Tensor, ...]:
    """`tensor_split` of at least `least` axes; a number of pieces must divide the extent."""
    ndim = len(shape_of(input))
    if ndim < least:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with {ndim} dimensions!"
        )
    if isinstance(indices_or_sections, int):
        extent = shape_of(input)[axis]
        if indices_or_sections == 0 or extent % indices_or_sections:
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {axis}, but the size of the dimension {extent} is "
                f"not divisible by the split_size {indices_or_sections}!"
            )
    return tensor_split(input, indices_or_sections, axis)


concat = concatenate = cat
row_stack = vstack
_CUTTING: tuple[Callable[..., Any], ...] = (
    chunk, dsplit, hsplit, split, split_with_sizes, tensor_split, unbind, unsafe_chunk, unsafe_split,
    unsafe_split_with_sizes, vsplit,
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _CUTTING}
METHODS["split"] = _split
__all__ = [
    "atleast_1d", "atleast_2d", "atleast_3d", "cat", "chunk", "column_stack", "concat", "concatenate", "dsplit",
    "dstack", "hsplit", "hstack", "row_stack", "split", "split_with_sizes", "stack", "tensor_split", "unbind",
    "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes", "vsplit", "vstack",
]  # fmt: skip
