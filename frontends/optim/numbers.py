"""What updates compute beside the parameters' arithmetic: settings that are checked, counts and factors.

In eager mode a count is read as a Python number, in a trace it is a float64 tensor: the helpers here take both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.creation import full, tensor
from adjit.dtypes import float32, float64, get_default_dtype
from adjit.elementwise import where
from adjit.state import STATE
from adjit.tensor import Tensor

_WORDS = {
    "lr": "learning rate", "eps": "epsilon value", "weight_decay": "weight_decay value",
    "momentum": "momentum value", "alpha": "alpha value", "lr_decay": "lr_decay value", "rho": "rho value",
    "initial_accumulator_value": "initial_accumulator_value value", "momentum_decay": "momentum_decay value",
}  # fmt: skip


def check_rate(lr: Any, foreach: bool | None = None, capturable: bool = False) -> None:
    """ValueError, in PyTorch's words, for a learning rate below 0 or a tensor of several."""
    if isinstance(lr, Tensor):
        if foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        if lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
    check_not_negative(lr=lr)


def refuse_complex(name: str, params: Sequence[Tensor]) -> None:
    """RuntimeError for a complex parameter that has a gradient."""
    if any(param.is_complex() and param.grad is not None for param in params):
        raise RuntimeError(f"{name} does not support complex parameters")


def check_not_negative(**settings: Any) -> None:
    """ValueError, in PyTorch's words, for a setting below 0."""
    for name, value in settings.items():
        if not (isinstance(value, Tensor) and STATE.tracer is not None) and not value >= 0.0:
            raise ValueError(f"Invalid {_WORDS[name]}: {value}")


def check_betas(betas: tuple[Any, Any]) -> None:
    """ValueError for a factor of a running mean outside [0, 1)."""
    for index, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {index}: {beta}")


def check_forms(foreach: bool | None, fused: bool | None, differentiable: bool) -> None:
    """RuntimeError for forms of PyTorch's kernels that exclude each other; all of them are one program here."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def plain(value: Any) -> Any:
    """The number in a 0-d or 1-element tensor; other values as they are."""
    return value.item() if isinstance(value, Tensor) else value


def scalar(value: float) -> Tensor:
    """A 0-d tensor of the dtype of counts, so that a compiled step can carry it on."""
    found: Tensor = tensor(value, dtype=float64 if get_default_dtype() is float64 else float32)
    return found


def count_of_steps() -> Tensor:
    """A count of steps at 0."""
    return scalar(0.0)


def steps_taken(step: Tensor) -> Any:
    """The count as a number, or in a trace as a float64 tensor: what bias corrections are computed from."""
    return step.item() if STATE.tracer is None else step.to(float64)


def root(value: Any) -> Any:
    """The square root of a number or of a tensor."""
    return value.sqrt() if isinstance(value, Tensor) else value**0.5


def choose(condition: Any, if_true: Any, if_false: Any) -> Any:
    """One of two numbers or tensors; in a trace both are computed."""
    if not isinstance(condition, Tensor):
        return if_true if condition else if_false
    return where(condition, if_true, if_false)


def greater(a: Any, b: float) -> Any:
    """The greater of two numbers, or of a 0-d tensor and a number."""
    return a.maximum(full((), b, dtype=a.dtype)) if isinstance(a, Tensor) else max(a, b)
