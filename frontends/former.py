"""Calls in PyTorch's former order, with the numbers before the tensors that they scale: `x.add_(0.1, grad)`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any

from adjit.tensor import Tensor
from adjit.warning import warn


def numbers_first(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function, which takes its keyword-only numbers before its tensors, too, and warns then as PyTorch does."""
    kinds = {name: parameter.kind for name, parameter in signature(function).parameters.items()}
    scales = [name for name, kind in kinds.items() if kind is Parameter.KEYWORD_ONLY]
    count = len(kinds) - len(scales)

    @wraps(function)
    def taking(*args: Any, **kwargs: Any) -> Tensor:
        if len(args) > count:
            tensors = [x for x in args if isinstance(x, Tensor)]
            numbers = [x for x in args if not isinstance(x, Tensor)]
            if len(tensors) == count and len(numbers) <= len(scales) and not kwargs.keys() & set(scales):
                _warn(function.__name__, list(kinds)[1:count], scales[: len(numbers)])
                return function(*tensors, **dict(zip(scales, numbers, strict=False)), **kwargs)
        return function(*args, **kwargs)

    return taking


def _warn(name: str, tensors: list[str], scales: list[str]) -> None:
    listed = ", ".join(f"Tensor {tensor}" for tensor in tensors)
    before = ", ".join(f"Number {scale}" for scale in scales)
    after = ", ".join(f"Number {scale} = 1" for scale in scales)
    warn(
        f"This overload of {name} is deprecated:\n\t{name}({before}, {listed})\n"
        f"Consider using one of the following signatures instead:\n\t{name}({listed}, *, {after})",
        stacklevel=3,
    )
