"""Padding: with a constant, or with the input mirrored, repeated at its ends, or periodic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.composite import composite
from adjit.dispatch import apply
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
    for number, (low, high) in enumerate(sides):
        extent = input.shape[-1 - number]
        if mode == "reflect" and (low >= extent or high >= extent):
            raise RuntimeError(
                "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
                f"({low}, {high}) at dimension {input.ndim - 1 - number} of input {list(input.shape)}"
            )
        if mode == "circular" and (low > extent or high > extent):
            raise RuntimeError("Padding value causes wrapping around more than once.")
    name = {"reflect": reflection_pad, "replicate": replication_pad, "circular": circular_pad}[mode]
    found = name(input, sides)
    return found


@composite("ConstantPadNd")
def constant_pad(input: Tensor, sides: tuple[tuple[int, int], ...], value: float) -> Tensor:
    """`value` around the last axes; negative sides cut."""
    low, high = [0] * input.ndim, [0] * input.ndim
    for number, (before, after) in enumerate(sides):
        axis = input.ndim - 1 - number
        cut = (max(-before, 0), max(-after, 0))
        if cut != (0, 0):
            input = input.narrow(axis, cut[0], input.shape[axis] - cut[0] - cut[1])
        low[axis], high[axis] = max(before, 0), max(after, 0)
    attributes: dict[str, Any] = {
        "low": tuple(low), "high": tuple(high), "interior": (0,) * input.ndim, "value": value
    }  # fmt: skip
    found: Tensor = apply(pad_op, (input,), attributes)
    return found


def counted(extent: int, start: int) -> Tensor:
    """start, start + 1, ... of `extent` places."""
    found: Tensor = apply(iota, (), {"shape": (extent,), "axis": 0, "dtype": I64}) + start
    return found


def take(input: Tensor, axis: int, index: Tensor) -> Tensor:
    """The entries of `axis` at `index`, a vector."""
    found: Tensor = apply(gather, (input, index), {"axes": (axis,)}).movedim(0, axis)
    return found


def _cut(input: Tensor, axis: int, start: Any, count: Any, step: int = 1) -> Tensor:
    """`count` entries of an axis from `start` on."""
    return part(input, {axis: (start, count, step)}, "")


def _kept(input: Tensor, axis: int, low: int, high: int) -> Tensor:
    """An axis without what negative sides cut off."""
    before, behind = max(-low, 0), max(-high, 0)
    return _cut(input, axis, before, input.shape[axis] - before - behind) if before or behind else input


def _in_row(parts: Sequence[tuple[int, Tensor]], axis: int) -> Tensor:
    """The parts of a positive count one after another."""
    found = [x for count, x in parts if count > 0]
    return cat(found, axis) if len(found) != 1 else found[0]


@composite("ReflectionPad2D")
def reflection_pad(input: Tensor, sides: tuple[tuple[int, int], ...]) -> Tensor:
    """The input mirrored at its first and last entries."""
    for number, (low, high) in enumerate(sides):
        axis = input.ndim - 1 - number
        before = _cut(input, axis, low, low, -1) if low > 0 else input
        behind = _cut(input, axis, input.shape[axis] - 2, high, -1) if high > 0 else input
        input = _in_row([(low, before), (1, _kept(input, axis, low, high)), (high, behind)], axis)
    return input


@composite("ReplicationPad2D")
def replication_pad(input: Tensor, sides: tuple[tuple[int, int], ...]) -> Tensor:
    """The input with its first and last entries repeated."""
    for number, (low, high) in enumerate(sides):
        axis = input.ndim - 1 - number
        shape = tuple(input.shape)
        before, behind = (
            expand(_cut(input, axis, place, 1), *shape[:axis], count, *shape[axis + 1 :]) if count > 0 else input
            for place, count in ((0, low), (shape[axis] - 1, high))
        )
        input = _in_row([(low, before), (1, _kept(input, axis, low, high)), (high, behind)], axis)
    return input


@composite("CircularPad")
def circular_pad(input: Tensor, sides: tuple[tuple[int, int], ...]) -> Tensor:
    """The input repeated periodically; negative sides cut first."""
    for number, (low, high) in enumerate(sides):
        axis = input.ndim - 1 - number
        kept = _kept(input, axis, low, high)
        before = _cut(kept, axis, kept.shape[axis] - max(low, 0), max(low, 0))
        input = _in_row([(low, before), (1, kept), (high, _cut(kept, axis, 0, max(high, 0)))], axis)
    return input
