"""Padding: with a constant, or with the input mirrored, repeated at its ends, or periodic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.composite import composite
from adjit.creation import ones_like
from adjit.dims import whole
from adjit.dispatch import apply
from adjit.elementwise import where
from adjit.errors import explained
from adjit.ir.ops.indexing import gather
from adjit.ir.ops.source import iota
from adjit.ir.ops.structure import pad as pad_op
from adjit.ir.types import I64
from adjit.joining import cat
from adjit.python_data import check_numbers
from adjit.shaping import expand, part
from adjit.tensor import Tensor


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Extend the last axes: `pad` has (low, high) for the last one, then for the one before, and so on.

    `mode`: constant (negative numbers cut), reflect, replicate, or circular.
    """
    pad = [whole(width) for width in pad]
    if len(pad) % 2 != 0:
        raise explained(
            RuntimeError,
            "Padding length must be divisible by 2",
            hint="give two widths for each axis, the last axis first: (left, right, top, bottom)",
        )
    if len(pad) // 2 > input.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(pad)} and input of dimension {input.ndim}"
        )
    sides = tuple((pad[2 * i], pad[2 * i + 1]) for i in range(len(pad) // 2))
    found: Tensor
    if mode == "constant":
        if value is not None:
            check_numbers(input._dtype, float(value))
        found = constant_pad(input, sides, 0 if value is None else value)
        return found
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value:
        raise AssertionError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if not len(sides) <= input.ndim - 1 <= len(sides) + 1 or len(sides) > 3:
        raise NotImplementedError(
            f"Padding size {len(pad)} is not supported for {input.ndim}D input tensor.\n"
            "Supported combinations for non-constant padding:\n"
            "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
            "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )
    (_check_circular if mode == "circular" else _check_ends)(input, sides, mode)
    name = {"reflect": reflection_pad, "replicate": replication_pad, "circular": circular_pad}[mode]
    found = name(input, sides)
    return found


def _check_circular(input: Tensor, sides: Sequence[tuple[int, int]], mode: str) -> None:
    """No side is wider than its axis, and no axis is cut by more than it has.  Errors: RuntimeError."""
    for number, (low, high) in enumerate(sides):
        extent = input.shape[-1 - number]
        if low > extent or high > extent:
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if extent + low + high < 0:
            raise RuntimeError("Negative padding value is resulting in an empty dimension")


def _check_ends(input: Tensor, sides: Sequence[tuple[int, int]], mode: str) -> None:
    """Every axis after the batch has entries, enough of them to mirror, and keeps some.  Errors: RuntimeError."""
    rank, shape = len(sides), tuple(input.shape)
    if any(size == 0 for size in shape[len(shape) - 1 - rank :]):
        raise RuntimeError(
            f"Expected {rank + 1}D or {rank + 2}D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {list(shape)}"
        )
    for number, (low, high) in enumerate(sides):
        extent = shape[-1 - number]
        if mode == "reflect" and (low >= extent or high >= extent):
            raise RuntimeError(
                f"Argument #{4 + 2 * number}: Padding size should be less than the corresponding input dimension, but "
                f"got: padding ({low}, {high}) at dimension {len(shape) - 1 - number} of input {list(shape)}"
            )
    made = [shape[-1 - number] + low + high for number, (low, high) in enumerate(sides)][::-1]
    if all(size < 1 for size in made):
        names = "DHW"[3 - rank :]
        given = " ".join(f"{name}: {size}" for name, size in zip(names, shape[-rank:], strict=True))
        found = " ".join(f"{name}: {size}" for name, size in zip(names, made, strict=True))
        raise RuntimeError(f"input ({given}) is too small. Calculated output {found}")
    if any(size < 0 for size in made):
        least = next(size for size in made if size < 0)
        raise RuntimeError(
            f"Trying to create tensor with negative dimension {least}: {[*shape[: len(shape) - rank], *made]}"
        )


@composite("ConstantPadNd")
def constant_pad(input: Tensor, sides: tuple[tuple[int, int], ...], value: Any) -> Tensor:
    """`value` around the last axes; negative sides cut."""
    low, high = [0] * input.ndim, [0] * input.ndim
    for number, (before, after) in enumerate(sides):
        axis = input.ndim - 1 - number
        cut = (max(-before, 0), max(-after, 0))
        if cut != (0, 0):
            input = input.narrow(axis, cut[0], input.shape[axis] - cut[0] - cut[1])
        low[axis], high[axis] = max(before, 0), max(after, 0)
    attributes: dict[str, Any] = {"low": tuple(low), "high": tuple(high), "interior": (0,) * input.ndim}
    found: Tensor = apply(pad_op, (input,), {**attributes, "value": 0 if isinstance(value, Tensor) else value})
    if isinstance(value, Tensor):  # a number that is another one at every call
        if not input._dtype.is_float:
            raise TypeError("integers are padded with a constant")
        inside = apply(pad_op, (ones_like(input, dtype=bool),), {**attributes, "value": False})
        found = where(inside, found, value)
    return found


def counted(extent: int, start: int) -> Tensor:
    """start, start + 1, ... of `extent` places."""
    found: Tensor = apply(iota, (), {"shape": (extent,), "axis": 0, "dtype": I64}) + start
    return found


def take(input: Tensor, axis: int, index: Tensor) -> Tensor:
    """The entries of `axis` at `index`, a vector."""
    found: Tensor = apply(gather, (input, index), {"axes": (axis,)}).movedim(0, axis)
    return found


def cut(input: Tensor, axis: int, start: Any, count: Any, step: int = 1) -> Tensor:
    """`count` entries of an axis from `start` on."""
    return part(input, {axis: (start, count, step)}, "")


def _kept_count(extent: Any, low: int, high: int) -> Any:
    """How many entries negative sides leave of an axis; negative where they overlap."""
    return extent + min(low, 0) + min(high, 0)


def _kept(input: Tensor, axis: int, low: int, high: int) -> Tensor:
    """An axis without what negative sides cut off."""
    if low >= 0 and high >= 0:
        return input
    return cut(input, axis, max(-low, 0), _kept_count(input.shape[axis], low, high))


def _in_row(parts: Sequence[tuple[int, Tensor]], axis: int) -> Tensor:
    """The parts of a positive count one after another."""
    found = [x for count, x in parts if count > 0]
    return cat(found, axis) if len(found) != 1 else found[0]


def with_ends(input: Tensor, axis: int, low: int, high: int) -> Tensor:
    """An axis with its first entry `low` times more before it, and its last one `high` times behind it."""
    shape = tuple(input.shape)
    before, behind = (
        expand(cut(input, axis, place, 1), *shape[:axis], count, *shape[axis + 1 :]) if count > 0 else input
        for place, count in ((0, low), (shape[axis] - 1, high))
    )
    return _in_row([(low, before), (1, _kept(input, axis, low, high)), (high, behind)], axis)


def _taken_rows(
    input: Tensor, sides: Sequence[tuple[int, int]], place: Callable[[Any, Any, int, int], Tensor], first: int
) -> Tensor:
    """The axes of `sides` from number `first` on, each at the places that `place(count, extent, low, high)` says.

    Rows are copied whole so, while the last axis is put together from parts wherever it can be.
    """
    for number, (low, high) in enumerate(sides[first:], first):
        axis = input.ndim - 1 - number
        extent = input.shape[axis]
        if low or high:
            input = take(input, axis, place(extent + low + high, extent, low, high))
    return input


@composite("ReflectionPad2D")
def reflection_pad(input: Tensor, sides: tuple[tuple[int, int], ...]) -> Tensor:
    """The input mirrored at its first and last entries."""

    def place(count: Any, extent: Any, low: int, high: int) -> Tensor:
        found: Tensor = extent - 1 - (extent - 1 - counted(count, -low).abs()).abs()
        return found

    axis, (low, high) = input.ndim - 1, sides[0]
    if _kept_count(input.shape[axis], low, high) < 0:
        return _taken_rows(input, sides, place, 0)
    input = _taken_rows(input, sides, place, 1)
    before = cut(input, axis, low, low, -1) if low > 0 else input
    behind = cut(input, axis, input.shape[axis] - 2, high, -1) if high > 0 else input
    return _in_row([(low, before), (1, _kept(input, axis, low, high)), (high, behind)], axis)


@composite("ReplicationPad2D")
def replication_pad(input: Tensor, sides: tuple[tuple[int, int], ...]) -> Tensor:
    """The input with its first and last entries repeated."""

    def place(count: Any, extent: Any, low: int, high: int) -> Tensor:
        found: Tensor = counted(count, -low).clamp(0, extent - 1)
        return found

    axis = input.ndim - 1
    if _kept_count(input.shape[axis], *sides[0]) < 0:
        return _taken_rows(input, sides, place, 0)
    return with_ends(_taken_rows(input, sides, place, 1), axis, *sides[0])


@composite("CircularPad")
def circular_pad(input: Tensor, sides: tuple[tuple[int, int], ...]) -> Tensor:
    """The input repeated periodically; negative sides cut first.  Where nothing is kept there are zeros."""

    def place(count: Any, extent: Any, low: int, high: int) -> Tensor:
        found: Tensor = counted(count, -max(low, 0)) % _kept_count(extent, low, high) + max(-low, 0)
        return found

    for number, side in enumerate(sides):
        axis = input.ndim - 1 - number
        extent = input.shape[axis]
        if min(side) < 0 and _kept_count(extent, *side) <= 0:
            nothing = cut(input, axis, 0, 0).sum(axis, keepdim=True)
            input = expand(nothing, *input.shape[:axis], extent + sum(side), *input.shape[axis + 1 :])
            sides = (*sides[:number], (0, 0), *sides[number + 1 :])
    axis, (low, high) = input.ndim - 1, sides[0]
    if _kept_count(input.shape[axis], low, high) < max(low, high):
        return _taken_rows(input, sides, place, 0)
    input = _taken_rows(input, sides, place, 1)
    kept = _kept(input, axis, low, high)
    before = cut(kept, axis, kept.shape[axis] - max(low, 0), max(low, 0))
    return _in_row([(low, before), (1, kept), (high, cut(kept, axis, 0, max(high, 0)))], axis)
