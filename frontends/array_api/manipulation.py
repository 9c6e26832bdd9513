"""The standard's functions that move elements: shapes, joining, indexing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import adjit
from adjit.array_api.operands import promoted
from adjit.dims import shape_of
from adjit.tensor import Tensor


def broadcast_arrays(*arrays: Tensor) -> list[Tensor]:
    """The tensors in their common shape."""
    return list(adjit.broadcast_tensors(*arrays))


def broadcast_to(x: Tensor, /, shape: Sequence[int]) -> Tensor:
    """x in a shape that repeats it."""
    return adjit.broadcast_to(x, tuple(shape))  # type: ignore[no-any-return]


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """The tensors one after another along `axis`; flat for None."""
    parts = promoted(*arrays)
    if axis is None:
        return adjit.cat([part.reshape(-1) for part in parts])  # type: ignore[no-any-return]
    return adjit.cat(parts, axis)  # type: ignore[no-any-return]


def expand_dims(x: Tensor, /, axis: int) -> Tensor:
    """x with a dim of size 1 at `axis`."""
    return adjit.unsqueeze(x, axis)  # type: ignore[no-any-return]


def flip(x: Tensor, /, *, axis: Any = None) -> Tensor:
    """x with the order along `axis` (all dims for None) reversed."""
    return adjit.flip(x, tuple(range(x.ndim)) if axis is None else axis)  # type: ignore[no-any-return]


def moveaxis(x: Tensor, source: Any, destination: Any, /) -> Tensor:
    """x with dims at other places."""
    return adjit.moveaxis(x, source, destination)  # type: ignore[no-any-return]


def permute_dims(x: Tensor, /, axes: Sequence[int]) -> Tensor:
    """x with its dims in the order `axes`."""
    return adjit.permute(x, tuple(axes))  # type: ignore[no-any-return]


def repeat(x: Tensor, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Each element `repeats` times along `axis`; of the flat tensor for None."""
    return adjit.repeat_interleave(x, repeats, dim=axis)  # type: ignore[no-any-return]


def reshape(x: Tensor, /, shape: Sequence[int], *, copy: bool | None = None) -> Tensor:
    """x in another shape; ValueError where `copy` is False and its memory does not allow that."""
    if copy:
        x = x.clone()
    if copy is False:
        try:
            return x.view(tuple(shape))  # type: ignore[no-any-return]
        except RuntimeError as error:
            raise ValueError(str(error)) from error
    return adjit.reshape(x, tuple(shape))  # type: ignore[no-any-return]


def roll(x: Tensor, /, shift: Any, *, axis: Any = None) -> Tensor:
    """x with its elements moved along `axis` by `shift`, those that leave coming in again."""
    return adjit.roll(x, shift, axis)  # type: ignore[no-any-return]


def squeeze(x: Tensor, /, axis: int | tuple[int, ...]) -> Tensor:
    """x without dims of size 1.  ValueError where a size is another."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    shape = shape_of(x)
    if any(shape[each] != 1 for each in axes if -len(shape) <= each < len(shape)):
        raise ValueError(f"squeeze: the sizes {list(shape)} are not 1 at {list(axes)}")
    return adjit.squeeze(x, axes)  # type: ignore[no-any-return]


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """Tensors of one shape along a new dim."""
    return adjit.stack(promoted(*arrays), axis)  # type: ignore[no-any-return]


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """The elements at `indices` along `axis`."""
    if axis is None:
        if x.ndim != 1:
            raise ValueError("take: axis must be given for a tensor of several dims")
        axis = 0
    place = axis % x.ndim
    return x[(*(slice(None),) * place, indices)]


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """out[..., i, ...] = x[..., indices[..., i, ...], ...] along `axis`."""
    return adjit.take_along_dim(x, indices.to(adjit.int64), axis)  # type: ignore[no-any-return]


def tile(x: Tensor, repetitions: Sequence[int], /) -> Tensor:
    """x repeated along its dims."""
    return adjit.tile(x, tuple(repetitions))  # type: ignore[no-any-return]


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The tensors that lie along `axis`."""
    return tuple(adjit.unbind(x, axis))
