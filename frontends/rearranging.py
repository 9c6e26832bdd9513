"""Entries repeated, reversed and moved along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.composite import composite
from adjit.conversion import concrete
from adjit.creation import from_numpy
from adjit.dims import named_rest, numpy_names, shape_of, sizes_argument, whole, wrap_dim, wrap_dims
from adjit.dispatch import apply, rename
from adjit.dtypes import title_of
from adjit.errors import explained
from adjit.ir.primitive import primitive_named
from adjit.joining import cat
from adjit.shaping import clone, expand, part, reshape, transpose, unsqueeze
from adjit.symbolic_size import SymbolicSize
from adjit.tensor import Tensor


@composite("Repeat")
def _repeat(input: Tensor, counts: tuple[Any, ...]) -> Tensor:
    shape = (1,) * (len(counts) - len(shape_of(input))) + tuple(shape_of(input))
    paired = reshape(input, *[part for size in shape for part in (1, size)])
    wide = expand(paired, *[part for count, size in zip(counts, shape, strict=True) for part in (count, size)])
    return reshape(clone(wide), *[count * size for count, size in zip(counts, shape, strict=True)])


@named_rest("repeats")
def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """Copies side by side, `repeats[i]` along axis i."""
    counts = sizes_argument(repeats)
    ndim = len(shape_of(input))
    if len(counts) < ndim:
        raise explained(
            RuntimeError,
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor",
            hint="give a count for each axis, 1 for those that stay",
        )
    if any(isinstance(count, int) and count < 0 for count in counts):
        shape = (1,) * (len(counts) - ndim) + tuple(shape_of(input))
        sizes = [count * size for count, size in zip(counts, shape, strict=True)]
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(sizes)}: {sizes}")
    return _repeat(input, counts)  # type: ignore[no-any-return]


@named_rest("dims")
def tile(input: Tensor, *dims: Any) -> Tensor:
    """`repeat`, with counts of 1 filled in on the left."""
    counts = sizes_argument(dims)
    return repeat(input, *((1,) * (len(shape_of(input)) - len(counts)) + counts))


@numpy_names
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each entry of an axis `repeats` times in a row, or as often as the vector `repeats` says for it.

    With one argument: the number i as often as the vector's entry i says.
    """
    from adjit.ranges import arange

    if repeats is None:
        return _repeat_each(arange(shape_of(input)[0]), input, 0, output_size)
    if not isinstance(repeats, (Tensor, int, SymbolicSize)):
        got = ", ".join(type(x).__name__ for x in (input, repeats, dim) if x is not None)
        raise TypeError(
            f"repeat_interleave() received an invalid combination of arguments - got ({got}), but expected one of:\n"
            " * (Tensor repeats, *, int output_size = None)\n"
            " * (Tensor input, Tensor repeats, int dim = None, *, int output_size = None)\n"
            " * (Tensor input, int repeats, int dim = None, *, int output_size = None)"
        )
    if dim is None:
        input, dim = reshape(input, -1), 0
    shape = tuple(shape_of(input))
    axis = wrap_dim(dim, len(shape))
    if isinstance(repeats, Tensor) and (repeats._tensor_type.size != 1 or repeats._tensor_type.ndim > 1):
        return _repeat_each(input, repeats, axis, output_size)
    count = int(repeats) if isinstance(repeats, Tensor) else repeats
    if count < 0:
        raise RuntimeError("Repeats must be non-negative")
    if not shape:
        return repeat_interleave(reshape(input, 1), count, 0, output_size=output_size)
    _check_output_size(output_size, shape[axis] * count)
    wide = expand(unsqueeze(input, axis + 1), *shape[: axis + 1], count, *shape[axis + 1 :])
    return rename(reshape(clone(wide), *shape[:axis], shape[axis] * count, *shape[axis + 1 :]), "UnsafeView")


def _check_output_size(given: int | None, found: Any) -> None:
    if given is not None and given != found:
        raise RuntimeError(f"repeat_interleave: Invalid output_size, expected {found} but got {given}")


def _repeat_each(input: Tensor, repeats: Tensor, axis: int, output_size: int | None) -> Tensor:
    """By a vector of counts; the size of a trace's result is that of `output_size`."""
    from adjit.selecting import index_select
    from adjit.state import outside

    if len(shape_of(repeats)) != 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    if not repeats._dtype.is_integer:
        raise NotImplementedError(f"\"repeat_interleave_cpu\" not implemented for '{title_of(repeats._dtype)}'")
    if shape_of(repeats)[0] != shape_of(input)[axis]:
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{shape_of(repeats)[0]} and input.size({axis}) = {shape_of(input)[axis]}"
        )
    if repeats._array is None and output_size is not None:
        return index_select(input, axis, _places(repeats, output_size))
    counts = concrete(repeats, "repeat_interleave() with a tensor of counts and no output_size")
    if counts.size and int(counts.min()) < 0:
        raise RuntimeError("repeats can not be negative")
    _check_output_size(output_size, int(counts.sum()))
    with outside():
        places = from_numpy(np.repeat(np.arange(len(counts)), counts))
    return index_select(input, axis, places)


@composite("")
def _places(repeats: Tensor, total: Any) -> Tensor:
    """For each of `total` results, how many runs end at or before it."""
    from adjit.ir.types import I64
    from adjit.searching import searchsorted

    counts = apply(primitive_named("cast"), (repeats,), {"dtype": I64})
    ends = apply(primitive_named("cumulate_sum"), (counts,), {"axis": 0, "reverse": False})
    place = apply(primitive_named("iota"), (), {"shape": (total,), "axis": 0, "dtype": I64})
    return searchsorted(ends, place, right=True)


def flip(input: Tensor, *axes: Any, dims: Any = None) -> Tensor:
    """A copy with axes reversed."""
    if dims is None and not axes:
        raise TypeError('flip() missing 1 required positional arguments: "dims"')
    shape = tuple(shape_of(input))
    chosen = sizes_argument(axes if dims is None else (dims,))
    axes = wrap_dims(chosen, len(shape))
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
    ndim, given = len(shape_of(input)), tuple(dims)
    if len(given) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(given)}")
    if ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {ndim}")
    if given[0] == given[1] or abs(given[0] - given[1]) == ndim:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {given[0]} and dim1 = {given[1]}"
        )
    first, second = wrap_dims(given, ndim)
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
    moves = tuple(map(whole, shifts if isinstance(shifts, (tuple, list)) else (shifts,)))
    if not moves:
        raise RuntimeError("`shifts` required")
    if dims is None or dims == ():
        if len(moves) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:0")
        return reshape(_roll(reshape(input, -1), moves, (0,)), *shape_of(input))
    given = (dims,) if isinstance(dims, (int, Tensor)) else tuple(dims)
    if len(given) != len(moves):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:{len(given)}")
    if not shape_of(input):
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    return _roll(input, moves, tuple(wrap_dim(dim, len(shape_of(input))) for dim in given))  # type: ignore[no-any-return]


_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    flip, fliplr, flipud, repeat, repeat_interleave, roll, rot90, tile,
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _FUNCTIONS}
__all__ = ["flip", "fliplr", "flipud", "repeat_interleave", "roll", "rot90", "tile"]
