"""Products and quotients added to a tensor, rounded once for halves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.elementwise import add, div, mul
from adjit.promotion import cast_to, promote, single
from adjit.tensor import Tensor


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    return _addcmul(*promote(input, tensor1, tensor2, op="addcmul"), value)  # type: ignore[no-any-return]


@composite("Addcmul")
def _addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any) -> Tensor:
    start, first, second = single(input, tensor1, tensor2)
    product = mul(first, second)
    return cast_to(add(start, product if value == 1 else mul(product, value)), input._dtype)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    return _addcdiv(*promote(input, tensor1, tensor2, op="addcdiv"), value)  # type: ignore[no-any-return]


@composite("Addcdiv")
def _addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any) -> Tensor:
    start, above, below = single(input, tensor1, tensor2)
    return cast_to(add(start, div(above if value == 1 else mul(above, value), below)), input._dtype)


METHODS: dict[str, Callable[..., Any]] = {"addcdiv": addcdiv, "addcmul": addcmul}
__all__ = ["addcdiv", "addcmul"]
