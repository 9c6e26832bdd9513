"""Python functions called on every element, and the order of axes in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.conversion import concrete
from adjit.dims import shape_of
from adjit.tensor import Tensor
from adjit.views import check_overlap, strides


def apply_(input: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replace every element by what a Python function makes of it."""
    if input.requires_grad:
        raise RuntimeError("Can't call apply_() on Variable that requires grad. Use var.detach().apply_() instead.")
    check_overlap(input)
    array = concrete(input, "apply_()")
    for place in np.ndindex(*array.shape):
        array[place] = callable(array[place].item())
    input._memory.version += 1
    return input


def map_(input: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Replace every element by what a Python function makes of it and the element of another tensor."""
    if input.requires_grad or tensor.requires_grad:
        raise RuntimeError("Can't call map_() on Variable that requires grad. Use var.detach().map_() instead.")
    check_overlap(input)
    array = concrete(input, "map_()")
    other = np.broadcast_to(concrete(tensor, "map_()"), array.shape)
    for place in np.ndindex(*array.shape):
        array[place] = callable(array[place].item(), other[place].item())
    input._memory.version += 1
    return input


def dim_order(input: Tensor) -> tuple[int, ...]:
    """The axes from the one with the greatest stride to the one with the least."""
    steps: Any = strides(input)
    return tuple(sorted(range(len(shape_of(input))), key=lambda axis: (-steps[axis], axis)))


METHODS: dict[str, Callable[..., Any]] = {
    "apply_": apply_,
    "dim_order": dim_order,
    "map_": map_,
}
__all__: list[str] = []
