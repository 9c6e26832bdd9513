"""Functions of several operations that compute in float32 where their tensors are halves, and round once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from adjit.dtypes import float32, public
from adjit.ir.types import BF16, F16
from adjit.tensor import Tensor


def in_single(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with half tensors as float32; its first result takes the dtype of its first tensor again.

    Further results (moments) stay float32.
    """

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if not any(tensor._dtype in (F16, BF16) for tensor in given):
            return function(*args, **kwargs)
        found = function(*map(_widened, args), **{name: _widened(value) for name, value in kwargs.items()})
        dtype = public(given[0]._dtype)
        if isinstance(found, Tensor):
            return found.to(dtype)
        return (found[0].to(dtype), *found[1:])

    return wrapped


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor) and value._dtype in (F16, BF16):
        return value.to(float32)
    return value
