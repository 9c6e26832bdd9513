"""Adadelta."""

from __future__ import annotations

from typing import Any

from adjit.creation import zeros_like
from adjit.optim.numbers import check_not_negative, check_rate, count_of_steps
from adjit.optim.optimizer import Group, Optimizer, ParamsT
from adjit.optim.varying import decayed
from adjit.tensor import Tensor


class Adadelta(Optimizer):
    """p -= lr*d with d = gradient*sqrt(u + eps)/sqrt(v + eps), v and u the running means of gradient**2 and d**2.

    Source: Zeiler, 2012.
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0,
        foreach: bool | None = None, *, capturable: bool = False, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_not_negative(eps=eps, weight_decay=weight_decay)
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        })  # fmt: skip

    def _update(self, group: Group) -> None:
        lr, rho, eps = self._rate(group), self._factor(group, "rho"), self._setting(group, "eps")
        weight_decay = self._factor(group, "weight_decay")
        for param, gradient in self._gradients(group):
            state = self._state_of(param, _new_state)
            state["step"].add_(1)
            gradient = decayed(param, gradient, weight_decay)
            square, moved = state["square_avg"], state["acc_delta"]
            square.mul_(rho).add_(gradient * gradient * (1 - rho))
            change = (moved + eps).sqrt() / (square + eps).sqrt() * gradient
            moved.mul_(rho).add_(change * change * (1 - rho))
            param.sub_(change * lr)


def _new_state(param: Tensor) -> dict[str, Any]:
    return {"step": count_of_steps(), "square_avg": zeros_like(param), "acc_delta": zeros_like(param)}
