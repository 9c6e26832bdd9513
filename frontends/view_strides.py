"""Strides of views, from the op and the strides of what it views."""

from __future__ import annotations

from typing import Any

from adjit.ir.errors import TraceError
from adjit.ir.primitive import Primitive
from adjit.ir.shape import Size, strides_of
from adjit.ir.types import DType, TensorType
from adjit.tensor import Chain


def strides_of_view(
    op: Primitive, old: tuple[Size, ...], steps: tuple[Size, ...], attributes: dict[str, Any], dims: tuple[Size, ...]
) -> tuple[Size, ...]:
    """The strides that the view, of `dims`, has on what has `old` dims and `steps`."""
    from adjit.views import viewable_strides

    match op.name:
        case "permute":
            return tuple(steps[axis] for axis in attributes["perm"])
        case "expand":
            lead = len(dims) - len(old)
            return (0,) * lead + tuple(0 if a != b else s for a, b, s in zip(old, dims[lead:], steps, strict=True))
        case "gather":  # one place of each of some axes, or places one after another of one axis
            rest = tuple(step for axis, step in enumerate(steps) if axis not in attributes["axes"])
            return (*(steps[attributes["axes"][0]] for _ in range(len(dims) - len(rest))), *rest)
        case "slice":
            return tuple(s * k for s, k in zip(steps, attributes["step"], strict=True))
        case "window":
            return (
                *_stepped(steps, attributes["axes"], attributes["stride"]),
                *(steps[axis] * gap for axis, gap in zip(attributes["axes"], attributes["dilation"], strict=True)),
            )
        case "as_strided":
            return tuple(attributes["strides"])
        case "bitcast":
            return steps
        case "imag" | "real":  # counted in parts, of which two make a number
            return tuple(step * 2 for step in steps)
        case "view_as_real":
            return (*(step * 2 for step in steps), 1)
        case "view_as_complex":
            return tuple(step // 2 for step in steps[:-1])
        case "reshape":
            found = viewable_strides(old, steps, dims)
            return strides_of(dims) if found is None else found
    return strides_of(dims)


def offset_of_chain(dims: tuple[Size, ...], dtype: DType, chain: Chain) -> Size:
    """How many elements lie before the first that a chain of views shows, of dense memory of `dims`."""
    type = TensorType(dtype, dims)
    steps = strides_of(dims)
    offset: Size = 0
    for op, items in chain:
        attributes: dict[str, Any] = dict(items)
        if op.name == "slice":
            for start, step in zip(attributes["start"], steps, strict=True):
                offset = offset + start * step
        elif op.name == "as_strided":
            offset = offset + attributes["offset"]
        elif op.name == "gather":
            raise TraceError(
                "where a view at a place that is computed lies in its memory is not known in a trace\n"
                "  hint: clone() it first"
            )
        elif op.name in ("imag", "real", "view_as_real"):
            offset = 2 * offset + (op.name == "imag")
        elif op.name == "view_as_complex":
            offset = offset // 2
        (made,) = op.infer([type], attributes)
        steps = strides_of_view(op, type.dims, steps, attributes, made.dims)
        type = made
    return offset


def _stepped(steps: tuple[Size, ...], axes: tuple[int, ...], strides: tuple[int, ...]) -> tuple[Size, ...]:
    """Strides times those of windows along some axes."""
    factors = dict(zip(axes, strides, strict=True))
    return tuple(step * factors.get(axis, 1) for axis, step in enumerate(steps))
