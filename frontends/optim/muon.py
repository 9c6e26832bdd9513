"""Muon."""

from __future__ import annotations

import math
from typing import Any

from adjit.creation import zeros_like
from adjit.dtypes import bfloat16, float32
from adjit.optim.numbers import plain, refuse_complex
from adjit.optim.optimizer import Group, Optimizer, ParamsT
from adjit.tensor import Tensor

_COEFFICIENTS = (3.4445, -4.775, 2.0315)


class Muon(Optimizer):
    """p = p*(1 - lr*weight_decay) - rate*orthogonalized(momentum), for matrices.

    Source: Jordan et al., 2024; `adjust_lr_fn="match_rms_adamw"`: Liu et al., 2025.
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95, nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = _COEFFICIENTS, eps: float = 1e-7, ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:  # fmt: skip
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for words, value in (("Learning rate", plain(lr)), ("momentum", momentum), ("weight decay", weight_decay)):
            if not value >= 0.0:
                raise ValueError(f"{words} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(params, {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn,
        })  # fmt: skip
        for param in (param for group in self.param_groups for param in group["params"]):
            if param.ndim != 2:
                raise ValueError(
                    f"Muon only supports 2D parameters whereas we found a parameter with size: {param.size()}"
                )

    def _update(self, group: Group) -> None:
        refuse_complex("Muon", group["params"])
        lr, momentum = self._rate(group), self._factor(group, "momentum")
        weight_decay, nesterov = self._factor(group, "weight_decay"), self._setting(group, "nesterov")
        coefficients, steps = self._setting(group, "ns_coefficients"), self._setting(group, "ns_steps")
        eps, adjust = self._setting(group, "eps"), self._setting(group, "adjust_lr_fn")
        if steps >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(coefficients) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        for param, gradient in self._gradients(group):
            average = self._state_of(param, lambda p: {"momentum_buffer": zeros_like(p)})["momentum_buffer"]
            average.lerp_(gradient, 1 - momentum)
            direction = gradient.lerp(average, momentum) if nesterov else average
            direction = orthogonalized(direction, coefficients, steps, eps)
            param.mul_(1 - lr * weight_decay)
            param.sub_(direction * (lr * _factor(adjust, param)))


def orthogonalized(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """The matrix with singular values near 1, in bfloat16: x = a*x + (b*(x x^T) + c*(x x^T)^2) x, `steps` times."""
    a, b, c = coefficients
    x = matrix.to(bfloat16)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = _polynomial(x, gram, a, b, c)
    result: Tensor = x.T if tall else x
    return result


def _polynomial(x: Tensor, gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """a*x + (b*gram + c*gram gram) x, with float32 sums that are rounded to bfloat16 once each."""
    wide, gram = x.to(float32), gram.to(float32)
    factor = (gram * b + (gram @ gram) * c).to(bfloat16).to(float32)
    result: Tensor = (wide * a + factor @ wide).to(bfloat16)
    return result


def _factor(adjust: str | None, param: Tensor) -> float:
    rows, columns = int(param.shape[0]), int(param.shape[1])
    if adjust == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))
