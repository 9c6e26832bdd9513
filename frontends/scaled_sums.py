"""Weighted sums: products and quotients added to a tensor, and what lies between two tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.capture.numbers import as_plain
from adjit.composite import composite
from adjit.dims import shape_of
from adjit.dispatch import rename
from adjit.dtypes import c_name, title_of
from adjit.elementwise import add, div, emit, mul, operands_of, sub
from adjit.former import numbers_first
from adjit.ir.types import BOOL, F32, F64
from adjit.promotion import broadcast_shapes, cast_to, is_one, promote, result_dtype, single
from adjit.python_data import check_numbers, check_wide_numbers
from adjit.shaping import expand
from adjit.tensor import Tensor


@numbers_first
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    operands = promote(input, tensor1, tensor2, op="addcmul")
    dtype = operands[0]._dtype
    if dtype is BOOL:
        raise NotImplementedError("\"addcmul_cpu_out\" not implemented for 'Bool'")
    if dtype.is_integer:
        check_numbers(dtype, value)
        value = int(value)  # as PyTorch cuts it
    check_wide_numbers(operands[0]._dtype, value)
    return _addcmul(*operands, value)  # type: ignore[no-any-return]


@composite("Addcmul")
def _addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any) -> Tensor:
    start, first, second = single(input, tensor1, tensor2)
    product = mul(first, second)
    return cast_to(add(start, product if is_one(value) else mul(product, value)), input._dtype)


@numbers_first
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    if not result_dtype((tensor1, tensor2)).is_continuous:
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future  release addcdiv will perform a "
            "true division of tensor1 and tensor2. The historic addcdiv behavior can be implemented as (input + value "
            "* torch.trunc(tensor1 / tensor2)).to(input.dtype) for integer inputs and as (input + value * tensor1 / "
            "tensor2) for float inputs. The future addcdiv behavior is just the latter implementation: (input + value "
            "* tensor1 / tensor2), for all dtypes."
        )
    operands = promote(input, tensor1, tensor2, op="addcdiv")
    check_wide_numbers(operands[0]._dtype, value)
    return _addcdiv(*operands, value)  # type: ignore[no-any-return]


@composite("Addcdiv")
def _addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any) -> Tensor:
    start, above, below = single(input, tensor1, tensor2)
    return cast_to(add(start, div(above if is_one(value) else mul(above, value), below)), input._dtype)


def sum_of_halves(name: str, first: Any, second: Any, alpha: Any) -> Tensor:
    """first + alpha * second of 16 bits, alpha rounded to them and the sum rounded once, as PyTorch adds them."""
    target = result_dtype((first, second))
    operands = promote(as_plain(first, target), as_plain(second, target), target=target)
    if len(shape_of(operands[0])) != len(shape_of(operands[1])):  # one is of rank 0
        shape = broadcast_shapes(*map(shape_of, operands))
        operands = [expand(x, *shape) for x in operands]
    return rename(_sum_of_halves(*operands, alpha), name)


@composite("Add")
def _sum_of_halves(first: Tensor, second: Tensor, alpha: Any) -> Tensor:
    from adjit.linalg.ruled import apply_with_rule

    found: Tensor = apply_with_rule("Add", _weighted, _weighted_rule, (0, 1), first, second, as_plain(alpha, F64))
    return found


def _weighted(first: Tensor, second: Tensor, alpha: Tensor) -> tuple[Tensor]:
    one, other, factor = single(first, second, cast_to(alpha, first._dtype))
    return (cast_to(add(one, mul(other, factor)), first._dtype),)


def _weighted_rule(g: Tensor, first: Tensor, second: Tensor, alpha: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    return g, cast_to(mul(g, cast_to(alpha, F32)), g._dtype)  # which alpha is not rounded for


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
    check_wide_numbers(input._dtype, weight)
    return emit("lerp", name, *operands)


METHODS: dict[str, Callable[..., Any]] = {"addcdiv": addcdiv, "addcmul": addcmul, "lerp": lerp}
__all__ = ["addcdiv", "addcmul", "lerp"]
