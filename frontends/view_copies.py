"""Views as copies, and copies of a tensor in which one of its views is replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from adjit.conversion import stride as stride_of
from adjit.diagonals import diagonal
from adjit.dims import numpy_names, shape_of, wrap_dim
from adjit.dispatch import rename
from adjit.indexing import slice_bounds
from adjit.joining import split, split_with_sizes, unbind
from adjit.promotion import cast_to
from adjit.shaping import (
    clone,
    expand,
    narrow,
    part,
    permute,
    select,
    squeeze,
    t,
    transpose,
    unsqueeze,
    view,
)
from adjit.strided_views import as_strided, offset_of, unfold, whole_memory
from adjit.tensor import Tensor
from adjit.views import is_contiguous
from adjit.writing_through import write_through


def alias(input: Tensor) -> Tensor:
    """The same memory as another tensor."""
    return view(input, tuple(shape_of(input)))


def detach(input: Tensor) -> Tensor:
    """The same memory without history."""
    return input.detach()


def sliced(input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    """Entries start, start + step, ... of an axis, before `end`, as a view."""
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    axis = wrap_dim(dim, len(shape_of(input)))
    return part(input, {axis: slice_bounds(slice(start, end, step), shape_of(input)[axis])}, "Slice")


def _copying(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function with its views cloned."""
    title = "".join(word.capitalize() for word in name.split("_")[:-1])

    @wraps(function)
    def copied(*args: Any, **kwargs: Any) -> Any:
        found = function(*args, **kwargs)
        if isinstance(found, Tensor):
            return rename(clone(found), f"{title}Backward0_copy")
        return tuple(rename(clone(piece), f"{title}Backward0_copy") for piece in found)

    copied.__name__ = copied.__qualname__ = name
    copied.__doc__ = f"`{name.removesuffix('_copy')}` as a copy."
    return copied


_VIEWS: dict[str, Callable[..., Any]] = {
    "alias": alias, "as_strided": as_strided, "detach": detach, "diagonal": diagonal, "expand": expand,
    "permute": permute, "select": select, "slice": sliced, "split": split, "split_with_sizes": split_with_sizes,
    "squeeze": squeeze, "t": t, "transpose": transpose, "unbind": unbind, "unfold": unfold, "unsqueeze": unsqueeze,
    "view": view,
}  # fmt: skip
_COPIES = {f"{name}_copy": _copying(function, f"{name}_copy") for name, function in _VIEWS.items()}
globals().update(_COPIES)


def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`narrow` as a copy."""
    if length < 0 and shape_of(input):
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({shape_of(input)[dim]}).")
    return rename(clone(narrow(input, dim, start, length)), "NarrowCopy")


# -- one view replaced ------------------------------------------------------------------------------------------------
def _replaced(input: Tensor, shown: Tensor, src: Tensor, name: str) -> Tensor:
    """A copy of `input` whose part that `shown`, a view of it, shows is `src`."""
    own, shape = list(shape_of(src)), list(shape_of(shown))
    if own != shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {own}, slice size = {shape}"
        )
    chain = shown._chain[len(input._chain) :]
    new = clone(cast_to(src, input._dtype))
    return rename(write_through(input, chain, new) if chain else new, name)


@numpy_names
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of `input` with `src` in the place of one entry of an axis."""
    return _replaced(input, select(input, dim, index), src, "SelectScatter")


@numpy_names
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy of `input` with `src` in the place of entries start, start + step, ... of an axis."""
    return _replaced(input, sliced(input, dim, start, end, step), src, "SliceScatter")


def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of `input` with `src` on a diagonal of two axes."""
    from adjit.shaping import contiguous

    whole = contiguous(input)
    return _replaced(whole, diagonal(whole, offset, dim1, dim2), src, "DiagonalScatter")


def as_strided_scatter(
    input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """A copy of `input` with `src` at the places that `as_strided` shows."""
    shown = as_strided(input, size, stride, storage_offset)
    if is_contiguous(input) and len(shown._chain) == len(input._chain) + 1:
        return _replaced(input, shown, src, "AsStridedScatter")
    # Through the whole memory, gaps included.
    flat = whole_memory(input)
    start = offset_of(input) if storage_offset is None else storage_offset
    found = _replaced(flat, as_strided(flat, size, stride, start), src, "")
    return rename(as_strided(found, shape_of(input), stride_of(input), offset_of(input)), "AsStridedScatter")


METHODS: dict[str, Callable[..., Any]] = {
    "as_strided_scatter": as_strided_scatter,
    "diagonal_scatter": diagonal_scatter,
    "narrow_copy": narrow_copy,
    "select_scatter": select_scatter,
    "slice_scatter": slice_scatter,
}
__all__ = [
    "as_strided_scatter", "detach", "diagonal_scatter", "narrow_copy", "select_scatter", "slice_scatter", *_COPIES,
]  # fmt: skip
