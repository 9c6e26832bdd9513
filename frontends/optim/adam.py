"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

from typing import Any

from adjit.creation import zeros_like
from adjit.optim.numbers import (
    check_betas,
    check_forms,
    check_not_negative,
    check_rate,
    count_of_steps,
    plain,
    root,
    steps_taken,
)
from adjit.optim.optimizer import Group, Optimizer, ParamsT
from adjit.optim.varying import decayed
from adjit.tensor import Tensor


def _check_kinds(betas: tuple[Any, Any], foreach: bool | None, capturable: bool) -> None:
    """ValueError unless both are floats or both tensors of one element."""
    if not all(isinstance(beta, float) for beta in betas) and not all(isinstance(beta, Tensor) for beta in betas):
        raise ValueError("betas must be either both floats or both Tensors")
    for number, beta in enumerate(betas):
        if isinstance(beta, Tensor):
            if not capturable and foreach:
                raise ValueError(
                    f"betas[{number}] as a Tensor is not supported for capturable=False and foreach=True"
                )
            if beta.numel() != 1:
                raise ValueError(f"Tensor betas[{number}] must be 1-element")


class Adam(Optimizer):
    """p -= lr*m/(sqrt(v) + eps), with m and v the running means of gradient and square, freed of their bias.

    `decoupled_weight_decay` shrinks p by lr*weight_decay instead of adding weight_decay*p to the gradient; `amsgrad`
    divides by the greatest v so far.  Source: Kingma and Ba, 2015; Loshchilov and Hutter, 2019; Reddi, Kale and Kumar,
    2018.
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr, foreach, capturable)
        check_not_negative(eps=eps)
        check_betas(tuple(map(plain, betas)))
        check_not_negative(weight_decay=weight_decay)
        _check_kinds(betas, foreach, capturable)
        betas = (plain(betas[0]), plain(betas[1]))
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
            "fused": fused, "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip
        check_forms(foreach, fused, differentiable)

    def _update(self, group: Group) -> None:
        lr, eps = self._rate(group), self._setting(group, "eps")
        beta1, beta2 = self._factors(group, "betas")
        weight_decay = self._factor(group, "weight_decay")
        decoupled, amsgrad = self._setting(group, "decoupled_weight_decay"), self._setting(group, "amsgrad")

        def make(param: Tensor) -> dict[str, Any]:
            averages = {name: zeros_like(param) for name in ("exp_avg", "exp_avg_sq")}
            if amsgrad:
                averages["max_exp_avg_sq"] = zeros_like(param)
            return {"step": count_of_steps(), **averages}

        for param, gradient in self._gradients(group):
            state = self._state_of(param, make)
            state["step"].add_(1)
            gradient = decayed(param, gradient, weight_decay, lr if decoupled else None)
            mean, square = state["exp_avg"], state["exp_avg_sq"]
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).add_(gradient * (1 - beta2) * gradient)
            step = steps_taken(state["step"])
            size = lr / (1 - beta1**step)
            scale = root(1 - beta2**step)
            if amsgrad:
                greatest = state["max_exp_avg_sq"]
                greatest.copy_(greatest.maximum(square))
                square = greatest
            param.sub_(mean * size / ((square.sqrt() / scale).add_(eps)))


class AdamW(Adam):
    """Adam with decoupled weight decay.

    Source: Loshchilov and Hutter, 2019.
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False, foreach: bool | None = None,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip
