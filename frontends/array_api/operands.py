"""Operands by the standard's rules of promotion: a tensor of no dims counts as any other, a number takes its dtype."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from adjit.dispatch import literal
from adjit.dtypes import default_float
from adjit.ir.types import BOOL, C64, DType
from adjit.promotion import cast_to, promote_types_ir
from adjit.tensor import Tensor


def common_dtype(dtypes: Sequence[DType]) -> DType:
    """The smallest dtype that holds all of them."""
    found, *others = dtypes
    for other in others:
        found = promote_types_ir(found, other)
    return found


def beside_numbers(dtype: DType, numbers: Iterable[Any]) -> DType:
    """The dtype of a tensor and Python's numbers, which only bring it to floats or to complex numbers.

    Errors: TypeError for an integer beside truth values, which has no dtype in the standard.
    """
    kinds = {type(number) for number in numbers}
    if complex in kinds:
        return promote_types_ir(dtype if dtype.is_continuous else default_float(), C64)
    if float in kinds and not dtype.is_continuous:
        return default_float()
    if int in kinds and dtype is BOOL:
        raise TypeError("an integer beside truth values has no dtype in the standard")
    return dtype


def promoted(*operands: Any) -> list[Tensor]:
    """Tensors of one dtype.  TypeError where no operand is a tensor."""
    dtypes = [operand._dtype for operand in operands if isinstance(operand, Tensor)]
    if not dtypes:
        raise TypeError("at least one operand must be a tensor")
    target = beside_numbers(common_dtype(dtypes), (x for x in operands if not isinstance(x, Tensor)))
    return [cast_to(x, target) if isinstance(x, Tensor) else literal(x, target) for x in operands]
