"""Shapes: views where memory allows, copies where PyTorch copies, and joining."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.dims import named_rest, numel_of, numpy_names, raw, shape_of, sizes_argument, whole, wrap_dim, wrap_dims
from adjit.dispatch import apply
from adjit.dtypes import title_of
from adjit.errors import explained
from adjit.ir.ops.structure import expand as expand_op
from adjit.ir.ops.structure import permute as permute_op
from adjit.ir.ops.structure import reshape as reshape_op
from adjit.ir.primitive import primitive_named
from adjit.size import Size
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
        raise explained(
            RuntimeError,
            "only one dimension can be inferred",
            hint="give all sizes but one, as in {input}.reshape(-1, 2)",
        )
    for size in found:
        if isinstance(size, int) and size < -1:
            raise explained(
                RuntimeError,
                f"invalid shape dimension {size} at index {found.index(size)} of shape {list(sizes)}",
                hint="-1 alone stands for the size that the others leave",
            )
    known = numel_of([size for axis, size in enumerate(found) if axis not in unknown])
    if unknown:
        if known == 0 and total == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(sizes)} because the unspecified dimension size "
                "-1 can be any value and is ambiguous"
            )
        fits = known != 0 and total % known == 0
        found[unknown[0]] = total // known if fits else 0
    else:
        fits = total == known
    if not fits:
        raise explained(
            RuntimeError,
            f"shape '{list(sizes)}' is invalid for input of size {total}",
            "reshape",
            {"input": input},
            f"the sizes must multiply to {total}; -1 stands for the one that the others leave",
        )
    return tuple(found)


@named_rest("dtype")
@named_rest("size")
def view(input: Tensor, *shape: Any) -> Tensor:
    """The same memory in another shape; `view(dtype)` reinterprets bits.  RuntimeError where strides forbid it."""
    from adjit.dtypes import dtype

    if len(shape) == 1 and isinstance(shape[0], dtype):
        from adjit.strided_views import view_dtype

        return view_dtype(input, shape[0])
    sizes = _resolved(input, sizes_argument(shape))
    if viewable_strides(input._tensor_type.dims, strides(input), raw(sizes)) is None:
        raise explained(
            RuntimeError,
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead.",
            "view",
            {"input": input},
            "{input}.reshape(...) copies where it must; {input}.contiguous() copies now",
        )
    return make_view(reshape_op, input, {"shape": sizes}, "View")


@named_rest("shape")
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


@numpy_names
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Axis `dim` cut into `sizes`."""
    shape = tuple(shape_of(input))
    axis = wrap_dim(dim, len(shape))
    parts = list(sizes)
    if not parts:
        raise RuntimeError("unflatten: sizes must be non-empty")
    if parts.count(-1) > 1:
        raise RuntimeError("unflatten got an unexpected error:\nonly one dimension can be inferred")
    if -1 in parts:
        rest = numel_of([p for p in parts if p != -1])
        parts[parts.index(-1)] = shape[axis] // rest if rest else 0
    if numel_of(parts) != shape[axis]:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} ({shape[axis]}) in "
            "the input tensor"
        )
    return view(input, *shape[:axis], *parts, *shape[axis + 1 :])


# -- permutations ---------------------------------------------------------------------------------------------------
@named_rest("dims")
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Axes in another order."""
    order = sizes_argument(dims)
    ndim = len(shape_of(input))
    if len(order) != ndim:
        raise explained(
            RuntimeError,
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(order)}",
            hint="name every axis once, or swap two with {input}.transpose(0, 1)",
        )
    axes = tuple(wrap_dim(dim, ndim) for dim in order)
    if len(set(axes)) != ndim:
        raise explained(RuntimeError, "permute(): duplicate dims are not allowed.", hint="name every axis once")
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
        raise explained(
            RuntimeError,
            f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D",
            hint="{input}.mT swaps the last two axes, {input}.transpose(0, 1) any two",
        )
    return _exchange(input, 0, 1, "T") if ndim == 2 else make_view(permute_op, input, {"perm": tuple(range(ndim))}, "T")


def _reversed(input: Tensor) -> Tensor:
    return make_view(permute_op, input, {"perm": tuple(reversed(range(len(shape_of(input)))))}, "Permute")


def _matrix_transpose(input: Tensor) -> Tensor:
    if len(shape_of(input)) == 1:
        raise RuntimeError("tensor.mT is only supported on matrices or batches of matrices. Got 1-D tensor.")
    return transpose(input, -2, -1) if shape_of(input) else make_view(reshape_op, input, {"shape": ()}, "Alias")


def adjoint(input: Tensor) -> Tensor:
    """The last two axes exchanged, and complex numbers conjugated."""
    ndim = len(shape_of(input))
    if ndim == 1:
        raise RuntimeError("tensor.adjoint() is only supported on matrices or batches of matrices. Got 1-D tensor.")
    return _conjugated(transpose(input, -2, -1) if ndim else make_view(reshape_op, input, {"shape": ()}, "Alias"))


def _conjugated(input: Tensor) -> Tensor:
    if not input._dtype.is_complex:
        return input
    from adjit.complex_parts import conj

    return conj(input)


def _batched_adjoint(input: Tensor) -> Tensor:
    if len(shape_of(input)) == 1:
        raise RuntimeError("tensor.mH is only supported on matrices or batches of matrices. Got 1-D tensor.")
    return adjoint(input)


def _matrix_adjoint(input: Tensor) -> Tensor:
    ndim = len(shape_of(input))
    if ndim not in (0, 2):
        text = f"tensor.H is only supported on matrices (2-D tensors). Got {ndim}-D tensor."
        raise RuntimeError(text if ndim == 1 else f"{text} For batches of matrices, consider using tensor.mH")
    return _conjugated(transpose(input, 0, 1) if ndim else make_view(reshape_op, input, {"shape": ()}, "Alias"))


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Axes moved to other places, the rest in order."""
    ndim = len(shape_of(input))
    given = [(dims,) if isinstance(dims, (int, Tensor)) else tuple(dims) for dims in (source, destination)]
    if len(given[0]) != len(given[1]):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(given[0])} dims) should contain the same "
            f"number of dims as destination ({list(given[1])} dims)"
        )
    sources, destinations = (tuple(wrap_dim(dim, ndim) for dim in dims) for dims in given)
    for name, dims, places in zip(("source", "destination"), given, (sources, destinations), strict=True):
        if len(set(places)) != len(places):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({list(dims)})")
    if not ndim:
        return make_view(reshape_op, input, {"shape": ()}, "Alias")
    order: list[int | None] = [None] * ndim
    for a, b in zip(sources, destinations, strict=True):
        order[b] = a
    rest = iter(axis for axis in range(ndim) if axis not in sources)
    return permute(input, *[next(rest) if axis is None else axis for axis in order])


# -- axes of size one -----------------------------------------------------------------------------------------------
@numpy_names
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without axes of size 1 (those in `dim`, or all)."""
    shape = tuple(shape_of(input))
    chosen = range(len(shape)) if dim is None else wrap_dims(dim, len(shape))
    dropped = {axis for axis in chosen if shape[axis] == 1}
    kept = tuple(size for axis, size in enumerate(shape) if axis not in dropped)
    name = "Squeeze" if dim is None else "SqueezeBackward1" if isinstance(dim, int) else "SqueezeBackward2"
    return make_view(reshape_op, input, {"shape": kept}, name)


@numpy_names
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With an axis of size 1 at `dim`."""
    shape = tuple(shape_of(input))
    axis = wrap_dim(dim, len(shape) + 1)
    return make_view(reshape_op, input, {"shape": (*shape[:axis], 1, *shape[axis:])}, "Unsqueeze")


@named_rest("size")
def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Axes of size 1 repeated without copying; -1 keeps a size."""
    wanted = sizes_argument(sizes)
    shape = tuple(shape_of(input))
    if len(wanted) < len(shape):
        raise RuntimeError(
            f"expand(torch.{title_of(input._dtype)}Tensor{{{list(shape)}}}, size={list(wanted)}): the "
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
            raise explained(
                RuntimeError,
                f"The expanded size of the tensor ({target}) must match the existing size ({size}) at non-singleton "
                f"dimension {lead + axis}.  Target sizes: {list(wanted)}.  Tensor sizes: {list(shape)}",
                hint="only axes of size 1 can be expanded: {input}.repeat(...) repeats others",
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


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that all shapes expand to."""
    from adjit.promotion import broadcast_shapes as common

    given = [(shape,) if isinstance(shape, int) else tuple(shape) for shape in shapes]
    found: tuple[Any, ...] = ()
    for place, shape in enumerate(given):
        for axis in range(1, min(len(shape), len(found)) + 1):
            if shape[-axis] not in (1, found[-axis]) and found[-axis] != 1:
                raise RuntimeError(
                    f"Attempting to broadcast a dimension of length {shape[-axis]} at {-axis}! Mismatching argument at "
                    f"index {place} had {shape}; but expected shape should be broadcastable to {list(found)}"
                )
        found = common(found, shape)
    return Size(found)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors expanded to their common shape."""
    from adjit.promotion import broadcast_shapes

    shape = broadcast_shapes(*(shape_of(tensor) for tensor in tensors))
    return tuple(expand(tensor, *shape) for tensor in tensors)


# -- copies ---------------------------------------------------------------------------------------------------------
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy in memory of its own."""
    if memory_format is not None:
        from adjit.memory_layout import laid_out

        return laid_out(input, memory_format)
    result = apply(reshape_op, (input,), {"shape": tuple(shape_of(input))}, name="Clone")
    assert isinstance(result, Tensor)
    return result


def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself if its elements lie in row-major order (or as the format says), else a copy where they do."""
    if memory_format is not None:
        from adjit.memory_layout import lies_in

        return input if lies_in(input, memory_format) else clone(input, memory_format=memory_format)
    return input if is_contiguous(input) else clone(input)


@numpy_names
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` entries of an axis from `start`, as a view."""
    shape = tuple(shape_of(input))
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if isinstance(start, Tensor):
        if shape_of(start) or not start._dtype.is_integer:
            raise RuntimeError("start must be an 0-dim integral Tensor.")
        start = int(start)
    axis = wrap_dim(dim, len(shape))
    extent = shape[axis]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if start > extent or start < -extent:
        raise IndexError(
            f"start out of range (expected to be in range of [{-extent}, {extent}], but got {start})"
        )
    start = start + extent if start < 0 else start
    if start + length > extent:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({extent}).")
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


@numpy_names
def select(input: Tensor, dim: int, index: Any) -> Tensor:
    """One entry of an axis, which is dropped, as a view."""
    shape = tuple(shape_of(input))
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    axis = wrap_dim(dim, len(shape))
    if isinstance(index, Tensor) and index._tracer is not None:
        from adjit.computed_views import shown_at

        return shown_at(input, [(axis, index)])
    index = whole(index)
    if not -shape[axis] <= index < shape[axis]:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {axis}")
    start = index + shape[axis] if index < 0 else index
    taken = part(input, {axis: (start, 1, 1)}, "")
    return make_view(reshape_op, taken, {"shape": (*shape[:axis], *shape[axis + 1 :])}, "Select")


_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    adjoint, broadcast_to, clone, contiguous, expand, expand_as, flatten, movedim, narrow, permute, ravel, reshape,
    reshape_as, select, squeeze, t, transpose, unflatten, unsqueeze, view, view_as,
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _FUNCTIONS}
METHODS.update(swapaxes=transpose, swapdims=transpose, moveaxis=movedim)
PROPERTIES = {
    "H": property(_matrix_adjoint),
    "T": property(_reversed),
    "mH": property(_batched_adjoint),
    "mT": property(_matrix_transpose),
}
swapaxes = swapdims = transpose
moveaxis = movedim
__all__ = [
    "adjoint", "broadcast_shapes", "broadcast_tensors", "broadcast_to", "clone", "flatten", "moveaxis", "movedim",
    "narrow", "permute", "ravel", "reshape", "select", "squeeze", "swapaxes", "swapdims", "t", "transpose", "unflatten",
    "unsqueeze",
]  # fmt: skip
