"""`owner[mask] op= value` with a mask whose numbers are not known: what is computed of all elements is kept in it.

So it is for slices with computed ends, of which a program knows where they reach, but perhaps not the size.
"""

from __future__ import annotations

import operator
from typing import Any

from adjit.capture.parts import is_traced
from adjit.dispatch import literal
from adjit.ir.types import BOOL
from adjit.state import STATE
from adjit.tensor import Tensor


def augmented(owner: Any, key: Any, name: str, value: Any) -> None:
    """`owner[key] op= value`, where `name` is that of the operator in place in Python's `operator`."""
    function = getattr(operator, name)
    from adjit.elementwise import where

    if isinstance(owner, Tensor) and _is_unknown_mask(owner, key) and _is_one_number(value):
        mask = key.reshape(*key.shape, *(1,) * (owner.ndim - key.ndim))
        owner.copy_(where(mask, function(_elsewhere_one(owner, mask), value), owner))
    elif isinstance(owner, Tensor) and _is_one_number(value) and (found := _part_of(owner, key)) is not None:
        part, mask = found
        part.copy_(where(mask, function(_elsewhere_one(part, mask), value), part))
    else:
        owner[key] = function(owner[key], value)


def _elsewhere_one(tensor: Tensor, mask: Tensor) -> Tensor:
    """A copy with ones where the mask is false: what is computed there and left has a derivative."""
    from adjit.elementwise import where

    one = literal(tensor._dtype is BOOL or 1, tensor._dtype)
    found: Tensor = where(mask, tensor, one)
    return found


def _part_of(owner: Tensor, key: Any) -> tuple[Tensor, Tensor] | None:
    """A view that has all that computed slices reach, and where in it."""
    from adjit.computed_slices import chosen_part

    if STATE.tracer is None or not any(isinstance(item, slice) for item in (key if type(key) is tuple else (key,))):
        return None
    return chosen_part(owner, key)


def _is_unknown_mask(owner: Tensor, key: Any) -> bool:
    return is_traced(key) and key._dtype is BOOL and key.ndim > 0 and owner.shape[: key.ndim] == key.shape


def _is_one_number(value: Any) -> bool:
    return isinstance(value, (int, float, complex)) or (isinstance(value, Tensor) and value.ndim == 0)
