"""RAdam."""

from __future__ import annotations

from typing import Any

from adjit.creation import zeros_like
from adjit.optim.numbers import (
    check_betas,
    check_not_negative,
    check_rate,
    choose,
    count_of_steps,
    greater,
    root,
    steps_taken,
)
from adjit.optim.optimizer import Group, Optimizer, ParamsT
from adjit.optim.varying import decayed
from adjit.tensor import Tensor


class RAdam(Optimizer):
    """Adam whose division by sqrt(v) begins when v's variance can be told, and is rectified by it.

    With n(step) the length of a simple mean that is as long as v's: p -= lr*m while n <= 5, from then on
    p -= lr*m/(sqrt(v) + eps)*sqrt((n - 4)(n - 2)*N/((N - 4)(N - 2)*n)), N the limit of n.
    Source: Liu et al., 2020.
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_not_negative(eps=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        })  # fmt: skip

    def _update(self, group: Group) -> None:
        lr, eps, weight_decay = self._rate(group), self._setting(group, "eps"), self._factor(group, "weight_decay")
        (beta1, beta2), decoupled = self._factors(group, "betas"), self._setting(group, "decoupled_weight_decay")
        for param, gradient in self._gradients(group):
            state = self._state_of(param, _new_state)
            state["step"].add_(1)
            step = steps_taken(state["step"])
            gradient = decayed(param, gradient, weight_decay, lr if decoupled else None)
            mean, square = state["exp_avg"], state["exp_avg_sq"]
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).add_(gradient * (1 - beta2) * gradient)
            change = mean / (1 - beta1**step) * lr
            length, longest = _length(beta2, step), 2 / (1 - beta2) - 1
            if not isinstance(length, Tensor) and length <= 5.0:
                param.sub_(change)
                continue
            above = greater(length, 5.0)  # below, the root would be of a negative number; choose takes the other branch
            rectified = root((above - 4) * (above - 2) * longest / ((longest - 4) * (longest - 2) * above))
            factor = rectified * root(1 - beta2**step) / (square.sqrt() + eps)
            param.sub_(change * choose(length > 5.0, factor, 1.0) if isinstance(length, Tensor) else change * factor)


def _length(beta2: float, step: Any) -> Any:
    """The length of a simple mean as long as the running mean of squares."""
    return 2 / (1 - beta2) - 1 - 2 * step * beta2**step / (1 - beta2**step)


def _new_state(param: Tensor) -> dict[str, Any]:
    return {"step": count_of_steps(), "exp_avg": zeros_like(param), "exp_avg_sq": zeros_like(param)}
