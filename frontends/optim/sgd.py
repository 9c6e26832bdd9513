"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from adjit.creation import zeros_like
from adjit.optim.numbers import check_forms, check_not_negative, check_rate
from adjit.optim.optimizer import Group, Optimizer, ParamsT, in_parts, name_state, owner_of, whole
from adjit.optim.varying import decayed, is_zero
from adjit.state import STATE, outside
from adjit.tensor import Tensor


class SGD(Optimizer):
    """p -= lr*d with d = gradient + weight_decay*p; with momentum, d is b = momentum*b + (1 - dampening)*d.

    Nesterov's form takes d + momentum*b.  Source: Sutskever, Martens, Dahl and Hinton, 2013.
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0,
        nesterov: bool = False, *, maximize: bool = False, foreach: bool | None = None, differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_rate(lr)
        check_not_negative(momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused,
        })  # fmt: skip
        check_forms(foreach, fused, differentiable)

    def _update(self, group: Group) -> None:
        lr, weight_decay = self._rate(group), self._factor(group, "weight_decay")
        momentum, nesterov = self._factor(group, "momentum"), self._setting(group, "nesterov")
        for param, gradient in self._gradients(group):
            gradient = decayed(param, gradient, weight_decay)
            if not is_zero(momentum):
                average = self._average(group, param, gradient, momentum)
                gradient = gradient.add(average, alpha=momentum) if nesterov else average
            param.sub_(gradient, alpha=lr)

    def _average(self, group: Group, param: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        """The momentum buffer after this step; at the first it is the gradient, without dampening."""
        owner = owner_of(param)
        state, dampening = self.state[owner], self._factor(group, "dampening")
        tracer = STATE.tracer
        kept = state.get("momentum_buffer")
        if kept is None and tracer is None:
            average: Tensor = gradient.detach().clone()
            state["momentum_buffer"] = whole(average, owner)
            return average
        if kept is None:
            with outside():
                kept = state["momentum_buffer"] = self._made[owner] = zeros_like(owner)
        average = in_parts(kept)
        if tracer is not None:
            name_state(param, state)
        if not is_zero(dampening):
            # Without dampening, zeros give at the first step what the gradient itself would.  With it the first step
            # is a program of its own, for as long as nothing has been written to the buffer.
            first = self._is_empty(owner, kept)
            if tracer is not None:
                tracer.checks.append(lambda: self._is_empty(owner, kept) == first)
            if first:
                average.copy_(gradient)
                return average
            gradient = gradient * (1 - dampening)
        average.mul_(momentum).add_(gradient)
        return average

    @property
    def _made(self) -> dict[Tensor, Tensor]:
        """The buffers that were made for compiled steps to fill."""
        found: dict[Tensor, Tensor] = self.__dict__.setdefault("_made_buffers", {})
        return found

    def _is_empty(self, param: Tensor, average: Tensor) -> bool:
        """Whether the buffer is one that no step has filled yet."""
        return self._made.get(param) is average and average._version == 0
