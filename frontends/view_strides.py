"""Strides of views, from the op and the strides of what it views."""

from __future__ import annotations

from typing import Any

from adjit.ir.primitive import Primitive
from adjit.ir.shape import Size, strides_of
from adjit.tensor import Tensor


def strides_of_view(
    op: Primitive, tensor: Tensor, attributes: dict[str, Any], dims: tuple[Size, ...]
) -> tuple[Size, ...]:
    """The strides that the view would have in eager mode."""
    from adjit.views import strides, viewable_strides

    steps = strides(tensor)
    old = tensor._tensor_type.dims
    match op.name:
        case "permute":
            return tuple(steps[axis] for axis in attributes["perm"])
        case "expand":
            lead = len(dims) - len(old)
            return (0,) * lead + tuple(0 if a != b else s for a, b, s in zip(old, dims[lead:], steps, strict=True))
        case "slice":
            return tuple(s * k for s, k in zip(steps, attributes["step"], strict=True))
        case "reshape":
            found = viewable_strides(old, steps, dims)
            return strides_of(dims) if found is None else found
    return strides_of(dims)
