"""`owner[mask] op= value` with a mask whose numbers are not known: what is computed of all elements is kept in it."""

from __future__ import annotations

import operator
from typing import Any

from adjit.capture.parts import is_traced
from adjit.ir.types import BOOL
from adjit.tensor import Tensor


def augmented(owner: Any, key: Any, name: str, value: Any) -> None:
    """`owner[key] op= value`, where `name` is that of the operator in place in Python's `operator`."""
    function = getattr(operator, name)
    if isinstance(owner, Tensor) and _is_unknown_mask(owner, key) and _is_one_number(value):
        from adjit.elementwise import where

        mask = key.reshape(*key.shape, *(1,) * (owner.ndim - key.ndim))
        owner.copy_(where(mask, function(owner.clone(), value), owner))
    else:
        owner[key] = function(owner[key], value)


def _is_unknown_mask(owner: Tensor, key: Any) -> bool:
    return is_traced(key) and key._dtype is BOOL and key.ndim > 0 and owner.shape[: key.ndim] == key.shape


def _is_one_number(value: Any) -> bool:
    return isinstance(value, (int, float, complex)) or (isinstance(value, Tensor) and value.ndim == 0)
