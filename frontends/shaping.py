"""Shapes: views where memory allows, copies where PyTorch copies, and joining."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.dims import numel_of, raw, shape_of, sizes_argument, wrap_dim, wrap_dims
from adjit.dispatch import apply, rename
from adjit.errors import explained
from adjit.ir.ops.structure import concat
from adjit.ir.ops.structure import expand as expand_op
from adjit.ir.ops.structure import permute as permute_op
from adjit.ir.ops.structure import reshape as reshape_op
from adjit.ir.primitive import primitive_named
from adjit.tensor import Tensor
from adjit.views import is_contiguous, strides, viewable_strides
from adjit.views import view as make_view

_slice = primitive_named("slice")


def _resolved(input: Tensor, sizes: Sequence[Any]) -> tuple[Any, ...]:
    """`sizes` with -1 replaced.  RuntimeError where they do not hold as many elements as `input`."""
    shape = shape_of(input)
    total = numel_of(shape)
    found = list(sizes)
    unknown = [axis for axis, size in enumerate(found) if isinstance(size, int) and size == -1]
    if len(unknown) > 1:
        raise RuntimeError("only one dimension can be inferred")
    for size in found:
        if isinstance(size, int) and size < -1:
            raise RuntimeError(f"invalid shape dimension {size}")
    known = numel_of([size for axis, size in enumerate(found) if axis not in unknown])
    if unknown:
        if known == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(sizes)} because the unspecified dimension size "
                "-1 can be any value and is ambiguous"
            )
        fits = total % known == 0
        found[unknown[0]] = total // known
    else:
        fits = total == known
    if not fits:
        raise explained(
            RuntimeError, f"shape '{list(sizes)}' is invalid for input of size {total}", "reshape", {"input": input}
        )
    return tuple(found)


def view(input: Tensor, *shape: Any) -> Tensor:
    """The same memory in another shape; `view(dtype)` reinterprets bits.  RuntimeError where strides forbid it."""
    from adjit.dtypes import dtype

    if len(shape) == 1 and isinstance(shape[0], dtype):
        return _view_dtype(input, shape[0])
    sizes = _resolved(input, sizes_argument(shape))
    if viewable_strides(input._tensor_type.dims, strides(input), raw(sizes)) is None:
        raise explained(
            RuntimeError,
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead.",
            "view",
            {"input": input},
        )
    return make_view(reshape_op, input, {"shape": sizes}, "View")


def _view_dtype(input: Tensor, target: Any) -> Tensor:
    if target.itemsize != input._dtype.itemsize:
        raise RuntimeError("view(dtype) is only possible between dtypes of the same size")
    result = apply(primitive_named("bitcast"), (input,), {"dtype": target.ir}, name="View")
    assert isinstance(result, Tensor)
    return result


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """Another shape: a view where strides allow it, a copy elsewhere."""
    sizes = _resolved(input, sizes_argument(shape))
    if viewable_strides(input._tensor_type.dims, strides(input), raw(sizes)) is not None:
        return make_view(reshape_op, input, {"shape": sizes}, "View")
    result = apply(reshape_op, (input,), {"shape": sizes}, name="UnsafeView")
    assert isinstance(result, Tensor)
    return result


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """`input.view(other.shape)`."""
    return view(input, *shape_of(other))


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """`input.reshape(other.shape)`."""
    return reshape(input, *shape_of(other))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes start_dim..end_dim as one."""
    ndim = len(shape_of(input))
    if ndim == 0:
        return reshape(input, 1)
    start, end = wrap_dim(start_dim, ndim), wrap_dim(end_dim, ndim)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if start == end:
        return input
    shape = tuple(shape_of(input))
    return reshape(input, *shape[:start], numel_of(shape[start : end + 1]), *shape[end + 1 :])


def ravel(input: Tensor) -> Tensor:
    """All elements in one axis."""
    return reshape(input, -1)


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Axis `dim` cut into `sizes`."""
    shape = tuple(shape_of(input))
    axis = wrap_dim(dim, len(shape))
    parts = list(sizes)
    if -1 in parts:
        rest = numel_of([p for p in parts if p != -1])
        parts[parts.index(-1)] = shape[axis] // rest
    if numel_of(parts) != shape[axis]:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} ({shape[axis]}) in "
            "the input tensor"
        )
    return view(input, *shape[:axis], *parts, *shape[axis + 1 :])


# -- permutations ---------------------------------------------------------------------------------------------------
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Axes in another order."""
    order = sizes_argument(dims)
    ndim = len(shape_of(input))
    if len(order) != ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(order)}"
        )
    axes = tuple(wrap_dim(dim, ndim) for dim in order)
    if len(set(axes)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return make_view(permute_op, input, {"perm": axes}, "Permute")


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged."""
    return _exchange(input, dim0, dim1, "Transpose")


def _exchange(input: Tensor, dim0: int, dim1: int, name: str) -> Tensor:
    ndim = len(shape_of(input))
    a, b = wrap_dim(dim0, ndim), wrap_dim(dim1, ndim)
    order = list(range(ndim))
    if ndim:
        order[a], order[b] = order[b], order[a]
    return make_view(permute_op, input, {"perm": tuple(order)}, name)


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a vector stays as it is."""
    ndim = len(shape_of(input))
    if ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D")
    return _exchange(input, 0, 1, "T") if ndim == 2 else make_view(permute_op, input, {"perm": tuple(range(ndim))}, "T")


def _reversed(input: Tensor) -> Tensor:
    return make_view(permute_op, input, {"perm": tuple(reversed(range(len(shape_of(input)))))}, "Permute")


def _matrix_transpose(input: Tensor) -> Tensor:
    if len(shape_of(input)) < 2:
        raise RuntimeError("tensor.mT is only supported on matrices or batches of matrices. Got 1-D tensor.")
    return transpose(input, -2, -1)


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Axes moved to other places, the rest in order."""
    ndim = len(shape_of(input))
    sources = wrap_dims(source, ndim)
    destinations = wrap_dims(destination, ndim)
    if len(sources) != len(destinations):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(sources)} dims) should contain the same "
            f"number of dims as destination ({list(destinations)} dims)"
        )
    order: list[int | None] = [None] * ndim
    for a, b in zip(sources, destinations, strict=True):
        order[b] = a
    rest = iter(axis for axis in range(ndim) if axis not in sources)
    return permute(input, *[next(rest) if axis is None else axis for axis in order])


# -- axes of size one -----------------------------------------------------------------------------------------------
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without axes of size 1 (those in `dim`, or all)."""
    shape = tuple(shape_of(input))
    chosen = range(len(shape)) if dim is None else wrap_dims(dim, len(shape))
    dropped = {axis for axis in chosen if shape[axis] == 1}
    kept = tuple(size for axis, size in enumerate(shape) if axis not in dropped)
    return make_view(reshape_op, input, {"shape": kept}, "Squeeze")


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With an axis of size 1 at `dim`."""
    shape = tuple(shape_of(input))
    axis = wrap_dim(dim, len(shape) + 1)
    return make_view(reshape_op, input, {"shape": (*shape[:axis], 1, *shape[axis:])}, "Unsqueeze")


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Axes of size 1 repeated without copying; -1 keeps a size."""
    wanted = sizes_argument(sizes)
    shape = tuple(shape_of(input))
    if len(wanted) < len(shape):
        raise RuntimeError(
            f"expand(torch.{input._dtype.long_name.capitalize()}Tensor{{{list(shape)}}}, size={list(wanted)}): the "
            f"number of sizes provided ({len(wanted)}) must be greater or equal to the number of dimensions in the "
            f"tensor ({len(shape)})"
        )
    lead = len(wanted) - len(shape)
    full = list(wanted)
    for axis, size in enumerate(shape):
        target = wanted[lead + axis]
        if isinstance(target, int) and target == -1:
            full[lead + axis] = size
        elif size != 1 and size != target:
            raise RuntimeError(
                f"The expanded size of the tensor ({target}) must match the existing size ({size}) at non-singleton "
                f"dimension {lead + axis}.  Target sizes: {list(wanted)}.  Tensor sizes: {list(shape)}"
            )
    if any(isinstance(size, int) and size < 0 for size in full):
        raise RuntimeError(
            f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {full.index(-1)}"
        )
    return make_view(expand_op, input, {"shape": tuple(full)}, "Expand")


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`input.expand(other.shape)`."""
    return expand(input, *shape_of(other))


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """`input.expand(size)`."""
    return expand(input, *size)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors expanded to their common shape."""
    from adjit.promotion import broadcast_shapes

    shape = broadcast_shapes(*(shape_of(tensor) for tensor in tensors))
    return tuple(expand(tensor, *shape) for tensor in tensors)


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """Copies side by side, `repeats[i]` along axis i."""
    counts = sizes_argument(repeats)
    shape = tuple(shape_of(input))
    if len(counts) < len(shape):
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    shape = (1,) * (len(counts) - len(shape)) + shape
    paired = reshape(input, *[part for size in shape for part in (1, size)])
    wide = expand(paired, *[part for count, size in zip(counts, shape, strict=True) for part in (count, size)])
    return rename(reshape(clone(wide), *[count * size for count, size in zip(counts, shape, strict=True)]), "Repeat")


def tile(input: Tensor, *dims: Any) -> Tensor:
    """`repeat`, with counts of 1 filled in on the left."""
    counts = sizes_argument(dims)
    return repeat(input, *((1,) * (len(shape_of(input)) - len(counts)) + counts))


# -- copies ---------------------------------------------------------------------------------------------------------
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy in memory of its own."""
    result = apply(reshape_op, (input,), {"shape": tuple(shape_of(input))}, name="Clone")
    assert isinstance(result, Tensor)
    return result


def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself if its elements lie in row-major order, else a copy where they do."""
    return input if is_contiguous(input) else clone(input)


# -- joining and cutting --------------------------------------------------------------------------------------------
def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors joined along an axis."""
    from adjit.promotion import promote_dtypes

    dim = dim if axis is None else axis
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
    result = apply(concat, promote_dtypes(joined), {"axis": along}, name="Cat")
    assert isinstance(result, Tensor)
    return result


def stack(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors of one shape along a new axis."""
    dim = dim if axis is None else axis
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
    return rename(cat([unsqueeze(tensor, dim) for tensor in tensors], wrap_dim(dim, len(first) + 1)), "Stack")


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along axis 1 (axis 0 for vectors)."""
    parts = [reshape(x, 1) if not shape_of(x) else x for x in tensors]
    return cat(parts, 0 if len(shape_of(parts[0])) == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined as rows."""
    return cat([reshape(x, 1, -1) if len(shape_of(x)) < 2 else x for x in tensors], 0)


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` entries of an axis from `start`, as a view."""
    shape = tuple(shape_of(input))
    axis = wrap_dim(dim, len(shape))
    start = start + shape[axis] if start < 0 else start
    if start + length > shape[axis]:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({shape[axis]}).")
    return part(input, {axis: (start, length, 1)}, "Slice")


def part(input: Tensor, cuts: dict[int, tuple[Any, Any, int]], name: str) -> Tensor:
    """The view of (start, size, step) along some axes."""
    shape = tuple(shape_of(input))
    chosen = [cuts.get(axis, (0, size, 1)) for axis, size in enumerate(shape)]
    attributes = {
        "start": tuple(c[0] for c in chosen),
        "size": tuple(c[1] for c in chosen),
        "step": tuple(c[2] for c in chosen),
    }
    return make_view(_slice, input, attributes, name)


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One entry of an axis, which is dropped, as a view."""
    shape = tuple(shape_of(input))
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    axis = wrap_dim(dim, len(shape))
    if not -shape[axis] <= index < shape[axis]:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {axis}")
    start = index + shape[axis] if index < 0 else index
    taken = part(input, {axis: (start, 1, 1)}, "")
    return make_view(reshape_op, taken, {"shape": (*shape[:axis], *shape[axis + 1 :])}, "Select")


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
    found, start = [], 0
    for size in sizes:
        found.append(part(tensor, {axis: (start, size, 1)}, "Split"))
        start += size
    return tuple(found)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size, the last may be smaller."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    extent = int(shape_of(input)[wrap_dim(dim, len(shape_of(input)))])
    return split(input, max((extent + chunks - 1) // chunks, 1), dim)


def flip(input: Tensor, *dims: Any) -> Tensor:
    """A copy with axes reversed."""
    shape = tuple(shape_of(input))
    axes = wrap_dims(sizes_argument(dims), len(shape))
    attributes = {
        "start": tuple(size - 1 if axis in axes else 0 for axis, size in enumerate(shape)),
        "size": shape,
        "step": tuple(-1 if axis in axes else 1 for axis in range(len(shape))),
    }
    result = apply(_slice, (input,), attributes, name="Flip")
    assert isinstance(result, Tensor)
    return result


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Entries moved along axes, those that fall off coming in at the other end."""
    if dims is None:
        return reshape(roll(reshape(input, -1), shifts, 0), *shape_of(input))
    moves = zip(
        (shifts,) if isinstance(shifts, int) else shifts, (dims,) if isinstance(dims, int) else dims, strict=True
    )
    for shift, dim in moves:
        axis = wrap_dim(dim, len(shape_of(input)))
        extent = shape_of(input)[axis]
        if extent == 0:
            continue
        cut = (extent - shift) % extent
        pieces = [part(input, {axis: (cut, extent - cut, 1)}, ""), part(input, {axis: (0, cut, 1)}, "")]
        input = rename(cat(pieces, axis), "Roll")
    return input


def repeat_interleave(input: Tensor, repeats: int, dim: int | None = None) -> Tensor:
    """Each entry of an axis `repeats` times in a row."""
    if dim is None:
        input, dim = reshape(input, -1), 0
    shape = tuple(shape_of(input))
    axis = wrap_dim(dim, len(shape))
    wide = expand(unsqueeze(input, axis + 1), *shape[: axis + 1], repeats, *shape[axis + 1 :])
    return reshape(clone(wide), *shape[:axis], shape[axis] * repeats, *shape[axis + 1 :])


_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    broadcast_to, chunk, clone, contiguous, expand, expand_as, flatten, flip, movedim, narrow, permute, ravel, repeat,
    repeat_interleave, reshape, reshape_as, roll, select, split, squeeze, t, tile, transpose, unbind, unflatten,
    unsqueeze, view, view_as,
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _FUNCTIONS}
METHODS.update(swapaxes=transpose, swapdims=transpose, moveaxis=movedim)
PROPERTIES = {"T": property(_reversed), "mT": property(_matrix_transpose)}
swapaxes = swapdims = transpose
moveaxis = movedim
__all__ = [
    "broadcast_tensors", "broadcast_to", "cat", "chunk", "clone", "flatten", "flip", "hstack", "moveaxis", "movedim",
    "narrow", "permute", "ravel", "repeat_interleave", "reshape", "roll", "select", "split", "squeeze", "stack",
    "swapaxes", "swapdims", "t", "tile", "transpose", "unbind", "unflatten", "unsqueeze", "vstack",
]  # fmt: skip
