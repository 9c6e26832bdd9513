"""NAdam."""

from __future__ import annotations

from typing import Any

from adjit.creation import zeros_like
from adjit.optim.numbers import check_betas, check_not_negative, check_rate, count_of_steps, scalar, steps_taken
from adjit.optim.optimizer import Group, Optimizer, ParamsT
from adjit.optim.varying import decayed
from adjit.tensor import Tensor


class NAdam(Optimizer):
    """Adam with Nesterov's momentum: the mean looks one step ahead, under a momentum mu that grows towards beta1.

    mu(step) = beta1*(1 - 0.96**(step*momentum_decay)/2).  Source: Dozat, 2016.
    """

    def __init__(
        self, params: ParamsT, lr: Any = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_not_negative(eps=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay, momentum_decay=momentum_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable,
        })  # fmt: skip

    def _update(self, group: Group) -> None:
        lr, eps, weight_decay = self._rate(group), self._setting(group, "eps"), self._factor(group, "weight_decay")
        (beta1, beta2), decay = self._factors(group, "betas"), self._factor(group, "momentum_decay")
        decoupled = self._setting(group, "decoupled_weight_decay")
        for param, gradient in self._gradients(group):
            state = self._state_of(param, _new_state)
            state["step"].add_(1)
            step = steps_taken(state["step"])
            gradient = decayed(param, gradient, weight_decay, lr if decoupled else None)
            mu = beta1 * (1.0 - 0.5 * (0.96 ** (step * decay)))
            ahead = beta1 * (1.0 - 0.5 * (0.96 ** ((step + 1) * decay)))
            # The number takes the product's dtype before it is multiplied, as a Python number would.
            state["mu_product"].mul_(mu.to(state["mu_product"].dtype) if isinstance(mu, Tensor) else mu)
            product = steps_taken(state["mu_product"])
            mean, square = state["exp_avg"], state["exp_avg_sq"]
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).add_(gradient * (1 - beta2) * gradient)
            scale = (square / (1 - beta2**step)).sqrt().add_(eps)
            param.sub_(gradient / scale * (lr * (1.0 - mu) / (1.0 - product)))
            param.sub_(mean / scale * (lr * ahead / (1.0 - product * ahead)))


def _new_state(param: Tensor) -> dict[str, Any]:
    return {
        "step": count_of_steps(), "mu_product": scalar(1.0), "exp_avg": zeros_like(param),
        "exp_avg_sq": zeros_like(param),
    }  # fmt: skip
