"""Averaged stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from adjit.creation import zeros_like
from adjit.optim.numbers import (
    check_not_negative,
    check_rate,
    choose,
    count_of_steps,
    greater,
    plain,
    scalar,
    steps_taken,
)
from adjit.optim.optimizer import Group, Optimizer, ParamsT
from adjit.optim.varying import decayed
from adjit.tensor import Tensor


class ASGD(Optimizer):
    """p = p*(1 - lambd*eta) - eta*gradient, and beside it `ax`, the mean of p from step t0 on.

    eta = lr/(1 + lambd*lr*step)**alpha.  Source: Polyak and Juditsky, 1992.
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6,
        weight_decay: float = 0, foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
        capturable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_not_negative(weight_decay=weight_decay)
        super().__init__(params, {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def _update(self, group: Group) -> None:
        lr, lambd, alpha = self._rate(group), self._factor(group, "lambd"), self._factor(group, "alpha")
        begin, weight_decay = self._setting(group, "t0"), self._factor(group, "weight_decay")

        def make(param: Tensor) -> dict[str, Any]:
            return {
                "step": count_of_steps(), "eta": scalar(plain(group["lr"])), "mu": scalar(1.0), "ax": zeros_like(param)
            }  # fmt: skip

        for param, gradient in self._gradients(group):
            state = self._state_of(param, make)
            state["step"].add_(1)
            gradient = decayed(param, gradient, weight_decay)
            eta, mean, share = steps_taken(state["eta"]), state["ax"], steps_taken(state["mu"])
            param.mul_(1 - lambd * eta)
            param.sub_(gradient * eta)
            mean.copy_(choose(share != 1, mean + (param - mean) * share, param))
            step = steps_taken(state["step"])
            _set(state["eta"], lr / ((1 + lambd * lr * step) ** alpha))
            _set(state["mu"], 1 / greater(step - begin, 1.0))


def _set(held: Tensor, value: Any) -> None:
    if isinstance(value, Tensor):
        held.copy_(value)
    else:
        held.fill_(value)
