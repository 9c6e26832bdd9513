"""Adamax."""

from __future__ import annotations

from typing import Any

from adjit.creation import zeros_like
from adjit.optim.numbers import check_betas, check_not_negative, check_rate, count_of_steps, steps_taken
from adjit.optim.optimizer import Group, Optimizer, ParamsT
from adjit.optim.varying import decayed
from adjit.tensor import Tensor


class Adamax(Optimizer):
    """p -= lr/(1 - beta1**step)*m/u, with m the running mean of gradients and u = max(beta2*u, |gradient| + eps).

    Source: Kingma and Ba, 2015, section 7.
    """

    def __init__(
        self, params: ParamsT, lr: Any = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False, differentiable: bool = False,
        capturable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_not_negative(eps=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def _update(self, group: Group) -> None:
        lr, eps, weight_decay = self._rate(group), self._setting(group, "eps"), self._factor(group, "weight_decay")
        beta1, beta2 = self._factors(group, "betas")
        for param, gradient in self._gradients(group):
            state = self._state_of(param, _new_state)
            state["step"].add_(1)
            gradient = decayed(param, gradient, weight_decay)
            mean, greatest = state["exp_avg"], state["exp_inf"]
            mean.lerp_(gradient, 1 - beta1)
            greatest.copy_((greatest * beta2).maximum(gradient.abs() + eps))
            param.sub_(mean / greatest * (lr / (1 - beta1 ** steps_taken(state["step"]))))


def _new_state(param: Tensor) -> dict[str, Any]:
    return {"step": count_of_steps(), "exp_avg": zeros_like(param), "exp_inf": zeros_like(param)}
