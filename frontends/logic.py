"""Bits, truth values, and tests of single elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.dtypes import require_order
from adjit.elementwise import emit, named, operands_of
from adjit.errors import not_a_tensor
from adjit.ir.types import BOOL
from adjit.promotion import cast_to
from adjit.tensor import Tensor


def _bitwise(op: str, name: str, doc: str, kernel: str = "") -> Callable[..., Tensor]:
    def function(input: Any, other: Any) -> Tensor:
        return emit(op, "", *operands_of(name, input, other), kernel=kernel or name)

    return named(function, name, doc)


bitwise_and = _bitwise("and", "bitwise_and", "Bits set in both.")
bitwise_or = _bitwise("or", "bitwise_or", "Bits set in either.")
bitwise_xor = _bitwise("xor", "bitwise_xor", "Bits set in one of both.")
bitwise_left_shift = _bitwise("shl", "bitwise_left_shift", "Bits moved up.", "lshift")
bitwise_right_shift = _bitwise("shr", "bitwise_right_shift", "Bits moved down, the sign kept.", "rshift")


def bitwise_not(input: Tensor) -> Tensor:
    """Bits turned over."""
    (x,) = operands_of("bitwise_not", input)
    return emit("not", "", x, kernel="bitwise_not")


def _truth(name: str, value: Any, position: int = 0) -> Any:
    if isinstance(value, Tensor):
        return cast_to(value, BOOL)
    if type(value) is not bool:
        raise not_a_tensor(name, "other" if position else "input", position, value)
    return value


def logical_and(input: Tensor, other: Any) -> Tensor:
    """Both true."""
    return emit("and", "", _truth("logical_and", input), _truth("logical_and", other, 1), kernel="logical_and")


def logical_or(input: Tensor, other: Any) -> Tensor:
    """One true."""
    return emit("or", "", _truth("logical_or", input), _truth("logical_or", other, 1), kernel="logical_or")


def logical_xor(input: Tensor, other: Any) -> Tensor:
    """One true, not both."""
    return emit("xor", "", _truth("logical_xor", input), _truth("logical_xor", other, 1), kernel="logical_xor")


def logical_not(input: Tensor) -> Tensor:
    """Not true."""
    (x,) = operands_of("logical_not", input)
    return emit("not", "", _truth("logical_not", x))


def _always(input: Tensor, value: bool) -> Tensor:
    """One truth value in the tensor's shape."""
    return emit("or" if value else "and", "", cast_to(input, BOOL), value)


def _test(op: str, doc: str, integers: bool) -> Callable[..., Tensor]:
    def function(input: Tensor) -> Tensor:
        return emit(op, "", input) if input._dtype.is_continuous else _always(input, integers)

    return named(function, op, doc)


isnan = _test("isnan", "Whether an element is NaN.", False)
isinf = _test("isinf", "Whether an element is infinite.", False)
isfinite = _test("isfinite", "Whether an element is neither NaN nor infinite.", True)


def isposinf(input: Tensor) -> Tensor:
    """Whether an element is plus infinity."""
    require_order(input._dtype, text="isposinf does not support complex inputs.")
    return emit("eq", "", input, float("inf")) if input._dtype.is_float else _always(input, False)


def isneginf(input: Tensor) -> Tensor:
    """Whether an element is minus infinity."""
    require_order(input._dtype, text="isneginf does not support complex inputs.")
    return emit("eq", "", input, float("-inf")) if input._dtype.is_float else _always(input, False)


_PUBLIC = (
    "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "isfinite",
    "isinf", "isnan", "isneginf", "isposinf", "logical_and", "logical_not", "logical_or", "logical_xor",
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {name: globals()[name] for name in _PUBLIC}
__all__ = list(_PUBLIC)
