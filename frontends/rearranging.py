"""Entries repeated, reversed and moved along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.dims import numpy_names, shape_of, sizes_argument, wrap_dim, wrap_dims
from adjit.dispatch import apply, rename
from adjit.ir.primitive import primitive_named
from adjit.joining import cat
from adjit.shaping import clone, expand, part, reshape, transpose, unsqueeze
from adjit.tensor import Tensor


@composite("Repeat")
def _repeat(input: Tensor, counts: tuple[Any, ...]) -> Tensor:
    shape = (1,) * (len(counts) - len(shape_of(input))) + tuple(shape_of(input))
    paired = reshape(input, *[part for size in shape for part in (1, size)])
    wide = expand(paired, *[part for count, size in zip(counts, shape, strict=True) for part in (count, size)])
    return reshape(clone(wide), *[count * size for count, size in zip(counts, shape, strict=True)])


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """Copies side by side, `repeats[i]` along axis i."""
    counts = sizes_argument(repeats)
    if len(counts) < len(shape_of(input)):
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    return _repeat(input, counts)  # type: ignore[no-any-return]


def tile(input: Tensor, *dims: Any) -> Tensor:
    """`repeat`, with counts of 1 filled in on the left."""
    counts = sizes_argument(dims)
    return repeat(input, *((1,) * (len(shape_of(input)) - len(counts)) + counts))


@numpy_names
def repeat_interleave(input: Tensor, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Tensor:
    """Each entry of an axis `repeats` times in a row, or as often as the vector `repeats` says for it."""
    if dim is None:
        input, dim = reshape(input, -1), 0
    shape = tuple(shape_of(input))
    axis = wrap_dim(dim, len(shape))
    if isinstance(repeats, Tensor) and repeats._tensor_type.size != 1:
        return _repeat_each(input, repeats, axis)
    count = int(repeats) if isinstance(repeats, Tensor) else repeats
    wide = expand(unsqueeze(input, axis + 1), *shape[: axis + 1], count, *shape[axis + 1 :])
    return reshape(clone(wide), *shape[:axis], shape[axis] * count, *shape[axis + 1 :])


def _repeat_each(input: Tensor, repeats: Tensor, axis: int) -> Tensor:
    import numpy as np

    from adjit.conversion import concrete
    from adjit.creation import from_numpy
    from adjit.selecting import index_select

    counts = concrete(repeats, "repeat_interleave() with a tensor of counts")
    if counts.shape != (shape_of(input)[axis],):
        raise RuntimeError("repeats must have the same size as input along dim")
    places = np.repeat(np.arange(len(counts)), counts)
    return rename(index_select(input, axis, from_numpy(places)), "IndexSelect")


def flip(input: Tensor, *dims: Any) -> Tensor:
    """A copy with axes reversed."""
    shape = tuple(shape_of(input))
    axes = wrap_dims(sizes_argument(dims), len(shape))
    attributes = {
        "start": tuple(size - 1 if axis in axes else 0 for axis, size in enumerate(shape)),
        "size": shape,
        "step": tuple(-1 if axis in axes else 1 for axis in range(len(shape))),
    }
    result = apply(primitive_named("slice"), (input,), attributes, name="Flip")
    assert isinstance(result, Tensor)
    return result


def fliplr(input: Tensor) -> Tensor:
    """Axis 1 reversed."""
    if len(shape_of(input)) < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """Axis 0 reversed."""
    if not shape_of(input):
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """A plane turned by k quarters, from its first axis towards its second."""
    first, second = wrap_dims(tuple(dims), len(shape_of(input)))
    turns = k % 4
    if turns == 0:
        return clone(input)
    if turns == 2:
        return flip(input, first, second)
    if turns == 1:
        return clone(transpose(flip(input, second), first, second))
    return flip(transpose(input, first, second), second)


@composite("Roll")
def _roll(input: Tensor, shifts: tuple[Any, ...], axes: tuple[int, ...]) -> Tensor:
    for shift, axis in zip(shifts, axes, strict=True):
        extent = shape_of(input)[axis]
        if extent == 0:
            continue
        cut = (extent - shift) % extent
        input = cat([part(input, {axis: (cut, extent - cut, 1)}, ""), part(input, {axis: (0, cut, 1)}, "")], axis)
    return input


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Entries moved along axes, those that fall off coming in at the other end; in the flat order without `dims`."""
    moves = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    if dims is None:
        if len(moves) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:0")
        return reshape(_roll(reshape(input, -1), moves, (0,)), *shape_of(input))
    given = (dims,) if isinstance(dims, int) else tuple(dims)
    if len(given) != len(moves):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:{len(given)}")
    return _roll(input, moves, tuple(wrap_dim(dim, len(shape_of(input))) for dim in given))  # type: ignore[no-any-return]


_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    flip, fliplr, flipud, repeat, repeat_interleave, roll, rot90, tile,
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _FUNCTIONS}
__all__ = ["flip", "fliplr", "flipud", "repeat_interleave", "roll", "rot90", "tile"]
