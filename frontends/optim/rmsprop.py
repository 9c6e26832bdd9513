"""RMSprop."""

from __future__ import annotations

from typing import Any

from adjit.creation import zeros_like
from adjit.optim.numbers import check_not_negative, check_rate, count_of_steps
from adjit.optim.optimizer import Group, Optimizer, ParamsT
from adjit.optim.varying import decayed, is_zero
from adjit.tensor import Tensor


class RMSprop(Optimizer):
    """p -= lr*gradient/(sqrt(v) + eps), v the running mean of squares; `centered`: of squares about the running mean.

    Source: Tieleman and Hinton, lecture 6.5, 2012; Graves, 2013 (centered).
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
        momentum: float = 0, centered: bool = False, capturable: bool = False, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_not_negative(eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable,
        })  # fmt: skip

    def _update(self, group: Group) -> None:
        lr, alpha, eps = self._rate(group), self._factor(group, "alpha"), self._setting(group, "eps")
        weight_decay, momentum = self._factor(group, "weight_decay"), self._factor(group, "momentum")
        centered = self._setting(group, "centered")

        def make(param: Tensor) -> dict[str, Any]:
            state: dict[str, Any] = {"step": count_of_steps(), "square_avg": zeros_like(param)}
            if not is_zero(momentum):
                state["momentum_buffer"] = zeros_like(param)
            if centered:
                state["grad_avg"] = zeros_like(param)
            return state

        for param, gradient in self._gradients(group):
            state = self._state_of(param, make)
            state["step"].add_(1)
            gradient = decayed(param, gradient, weight_decay)
            square = state["square_avg"]
            square.mul_(alpha).add_(gradient * (1 - alpha) * gradient)
            if centered:
                mean = state["grad_avg"]
                mean.lerp_(gradient, 1 - alpha)
                spread = (square - mean * mean).sqrt_()
            else:
                spread = square.sqrt()
            spread = spread.add_(eps)
            if not is_zero(momentum):
                buffer = state["momentum_buffer"]
                buffer.mul_(momentum).add_(gradient / spread)
                param.sub_(buffer * lr)
            else:
                param.sub_(gradient * lr / spread)
