"""PyTorch's `torch._assert` and `torch._check`, and what tensors are asked for in modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.tensor import Tensor

__all__ = ["_assert", "_check", "_check_index", "_check_not_implemented", "_check_type", "_check_value",
           "is_inference"]  # fmt: skip

_FALSE = (
    "Expected cond to be True, but got False. (Could this error message be improved? If so, please report an "
    "enhancement request to PyTorch.)"
)


def _assert(condition: Any, message: str) -> None:
    """`assert condition, message`."""
    if not condition:
        raise AssertionError(message)


def is_inference(input: Tensor) -> bool:
    """`input.is_inference()`."""
    return bool(input.is_inference())


def _asks(kind: type[Exception], name: str) -> Callable[..., None]:
    def check(cond: bool | Tensor, message: Callable[[], object] | None = None) -> None:
        if not isinstance(cond, bool):
            raise TypeError(f"cond must be a bool, but got {type(cond)}")
        if not cond:
            if message is not None and not callable(message):
                raise TypeError("message must be a callable")
            raise kind(_FALSE if message is None else str(message()))

    check.__doc__ = f"{kind.__name__} with the message that a function makes, unless the condition holds."
    check.__name__ = check.__qualname__ = name
    return check


_check = _asks(RuntimeError, "_check")
_check_index = _asks(IndexError, "_check_index")
_check_value = _asks(ValueError, "_check_value")
_check_type = _asks(TypeError, "_check_type")
_check_not_implemented = _asks(NotImplementedError, "_check_not_implemented")

METHODS: dict[str, Any] = {}
