"""Weighted sums: products and quotients added to a tensor, and what lies between two tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.composite import composite
from adjit.dims import shape_of
from adjit.dispatch import literal, rename
from adjit.dtypes import c_name, title_of
from adjit.elementwise import add, div, emit, mul, operands_of, sub
from adjit.ir.types import F32, F64
from adjit.promotion import cast_to, promote, result_dtype, single
from adjit.state import STATE
from adjit.tensor import Tensor


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    operands = promote(input, tensor1, tensor2, op="addcmul")
    return _addcmul(*operands, _factor(value, operands))  # type: ignore[no-any-return]


@composite("Addcmul")
def _addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any) -> Tensor:
    start, first, second = single(input, tensor1, tensor2)
    product = mul(first, second)
    return cast_to(add(start, product if _is_one(value) else mul(product, value)), input._dtype)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    operands = promote(input, tensor1, tensor2, op="addcdiv")
    return _addcdiv(*operands, _factor(value, operands))  # type: ignore[no-any-return]


def _is_one(value: Any) -> bool:
    return not isinstance(value, Tensor) and bool(value == 1)


def _factor(value: Any, operands: Sequence[Any]) -> Any:
    """The factor of a sum that is not recorded as a tensor: it may be another one at the next call."""
    tracer, dtype = STATE.tracer, operands[0]._dtype
    if type(value) is not float or dtype not in (F32, F64):
        return value
    if (tracer is not None and not getattr(tracer, "is_eager", False)) or (
        STATE.recording and any(operand.requires_grad for operand in operands)
    ):
        return value
    return literal(value, dtype)


@composite("Addcdiv")
def _addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any) -> Tensor:
    start, above, below = single(input, tensor1, tensor2)
    return cast_to(add(start, div(above if _is_one(value) else mul(above, value), below)), input._dtype)


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input)."""
    name = "LerpBackward1" if isinstance(weight, Tensor) else "Lerp"
    operands = operands_of("lerp", input, end, weight)
    for argument, operand in (("end", end), ("weight", weight)):
        if isinstance(operand, Tensor) and operand._dtype is not input._dtype and shape_of(operand):
            raise RuntimeError(
                f"expected dtype {c_name(input._dtype)} for `{argument}` but got dtype {c_name(operand._dtype)}"
            )
    if result_dtype(operands).is_complex:
        return rename(add(input, mul(weight, sub(end, input))), name)
    if not input._dtype.is_float:
        kernel = f"lerp_kernel_{'tensor' if isinstance(weight, Tensor) else 'scalar'}"
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{title_of(input._dtype)}'")
    return emit("lerp", name, *operands)


METHODS: dict[str, Callable[..., Any]] = {"addcdiv": addcdiv, "addcmul": addcmul, "lerp": lerp}
__all__ = ["addcdiv", "addcmul", "lerp"]
