"""Python functions called on every element, and the order of axes in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.conversion import concrete
from adjit.device import memory_format
from adjit.dims import shape_of
from adjit.memory_layout import lies_in
from adjit.shaping import expand
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


def map2_(input: Tensor, x: Tensor, y: Tensor, callable: Callable[[Any, Any, Any], Any]) -> Tensor:
    """Replace every element by what a Python function makes of it and the elements of two other tensors."""
    if input.requires_grad or x.requires_grad or y.requires_grad:
        raise RuntimeError("Can't call map2_() on Variable that requires grad. Use var.detach().map2_() instead.")
    pairs = list(zip(*(expand(other, *shape_of(input)).reshape(-1).tolist() for other in (x, y)), strict=True))
    turn = iter(pairs)
    return apply_(input, lambda element: callable(element, *next(turn)))


def dim_order(input: Tensor, *, ambiguity_check: Any = False) -> tuple[int, ...]:
    """The axes from the one with the greatest stride to the one with the least.

    With `ambiguity_check`, that must be the only order that the strides allow: no axis of one element, no two strides
    alike; or, of the memory formats that it lists, the tensor must have just one.  Errors: RuntimeError, or TypeError
    for a check that is neither.
    """
    is_list = isinstance(ambiguity_check, list) and all(isinstance(each, memory_format) for each in ambiguity_check)
    if not (is_list or isinstance(ambiguity_check, bool)):
        raise TypeError("The ambiguity_check argument must be a bool or a list of memory formats.")
    steps: Any = strides(input)
    sizes: Any = shape_of(input)
    formats = ambiguity_check if is_list else []
    is_open = 1 in sizes or len(set(steps)) < len(steps)
    if ambiguity_check is not False and is_open and sum(lies_in(input, each) for each in formats) != 1:
        raise RuntimeError(
            "The tensor does not have unique dim order, or cannot map to exact one of the given memory formats."
        )
    return tuple(sorted(range(len(sizes)), key=lambda axis: (-steps[axis], axis)))


METHODS: dict[str, Callable[..., Any]] = {
    "apply_": apply_,
    "dim_order": dim_order,
    "map2_": map2_,
    "map_": map_,
}
__all__: list[str] = []
