"""Rprop."""

from __future__ import annotations

from typing import Any

from adjit.creation import full_like, zeros_like
from adjit.elementwise import where
from adjit.optim.numbers import check_rate, count_of_steps, plain
from adjit.optim.optimizer import Group, Optimizer, ParamsT
from adjit.tensor import Tensor


class Rprop(Optimizer):
    """p -= sign(gradient)*size: an element's size grows by etas[1] while its gradient keeps its sign.

    When the sign changes, the size shrinks by etas[0] and the element rests for one step.
    Source: Riedmiller and Braun, 1993.
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_rate(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(params, {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def _update(self, group: Group) -> None:
        shrink, grow = self._factors(group, "etas")
        least, most = self._setting(group, "step_sizes")

        def make(param: Tensor) -> dict[str, Any]:
            return {
                "step": count_of_steps(), "prev": zeros_like(param), "step_size": full_like(param, plain(group["lr"]))
            }  # fmt: skip

        for param, gradient in self._gradients(group):
            state = self._state_of(param, make)
            state["step"].add_(1)
            size, before = state["step_size"], state["prev"]
            agreement = gradient * before
            turned = agreement < 0
            size.copy_(where(agreement > 0, size * grow, where(turned, size * shrink, size)).clamp(least, most))
            kept = where(turned, 0.0, gradient)
            param.sub_(kept.sign() * size)
            before.copy_(kept)
