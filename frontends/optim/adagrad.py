"""Adagrad."""

from __future__ import annotations

from typing import Any

from adjit.creation import full_like
from adjit.optim.numbers import check_forms, check_not_negative, check_rate, count_of_steps, steps_taken
from adjit.optim.optimizer import Group, Optimizer, ParamsT
from adjit.optim.varying import decayed, is_zero
from adjit.state import outside
from adjit.tensor import Tensor


class Adagrad(Optimizer):
    """p -= lr/(1 + (step - 1)*lr_decay)*gradient/(sqrt(sum of squares) + eps).

    Source: Duchi, Hazan and Singer, 2011.
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_not_negative(
            lr_decay=lr_decay, weight_decay=weight_decay, initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )  # fmt: skip
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused,
        })  # fmt: skip
        check_forms(foreach, fused, differentiable)
        for group in self.param_groups:
            for param in group["params"]:
                self._state_of(param, lambda p, group=group: _new_state(p, group))  # type: ignore[misc]

    def _update(self, group: Group) -> None:
        lr, lr_decay, eps = self._rate(group), self._factor(group, "lr_decay"), self._setting(group, "eps")
        weight_decay = self._factor(group, "weight_decay")
        for param, gradient in self._gradients(group):
            state = self._state_of(param, lambda p: _new_state(p, group))
            state["step"].add_(1)
            gradient = decayed(param, gradient, weight_decay)
            rate = lr if is_zero(lr_decay) else lr / (1 + (steps_taken(state["step"]) - 1) * lr_decay)
            total = state["sum"]
            total.add_(gradient * gradient)
            param.sub_(gradient * rate / total.sqrt().add_(eps))


def _new_state(param: Tensor, group: Group) -> dict[str, Any]:
    with outside():
        return {"step": count_of_steps(), "sum": full_like(param.detach(), group["initial_accumulator_value"])}
