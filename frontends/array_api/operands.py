"""Operands by the standard's rules of promotion: a tensor of no dims counts as any other, a number takes its dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.dispatch import literal
from adjit.dtypes import default_float
from adjit.ir.types import BOOL, DType
from adjit.promotion import cast_to, promote_types_ir
from adjit.tensor import Tensor


def common_dtype(dtypes: Sequence[DType]) -> DType:
    """The smallest dtype that holds all of them."""
    found, *others = dtypes
    for other in others:
        found = promote_types_ir(found, other)
    return found


def promoted(*operands: Any) -> list[Tensor]:
    """Tensors of one dtype.  TypeError where no operand is a tensor."""
    tensors = [operand for operand in operands if isinstance(operand, Tensor)]
    if not tensors:
        raise TypeError("at least one operand must be a tensor")
    target = common_dtype([tensor._dtype for tensor in tensors])
    if not target.is_float and any(isinstance(operand, float) for operand in operands):
        target = default_float()
    elif target is BOOL and any(type(operand) is int for operand in operands):
        raise TypeError("an integer beside a tensor of truth values has no dtype in the standard")
    return [cast_to(x, target) if isinstance(x, Tensor) else literal(x, target) for x in operands]
