"""Averages of a model's weights over training; PyTorch's `torch.optim.swa_utils`.

Source: Izmailov et al., 2018 (equal weights); Polyak and Juditsky, 1992 (exponential weights).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

from adjit.autograd.modes import no_grad
from adjit.creation import tensor
from adjit.nn.module import Module
from adjit.nn.normalization import _BatchNorm
from adjit.optim.cycles import for_each_group
from adjit.optim.optimizer import Optimizer
from adjit.optim.schedules import LRScheduler
from adjit.tensor import Tensor

__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn",
    "update_bn",
]  # fmt: skip


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]:
    """A function that moves averages towards the model: average = decay*average + (1 - decay)*weight."""
    _check_decay(decay)

    @no_grad()
    def update(averages: Sequence[Tensor], current: Sequence[Tensor], _: Any) -> None:
        for average, weight in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, 1 - decay)
            else:
                average.copy_(average * decay + weight * (1 - decay))

    return update


def get_swa_multi_avg_fn() -> Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]:
    """A function that takes one more model into an equally weighted mean of `num_averaged` ones."""

    @no_grad()
    def update(averages: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Any) -> None:
        for average, weight in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, 1 / (int(num_averaged) + 1))
            else:
                average.add_((weight - average) // (int(num_averaged) + 1))

    return update


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """decay*average + (1 - decay)*weight, for one tensor."""
    _check_decay(decay)

    @no_grad()
    def update(average: Tensor, weight: Tensor, num_averaged: Any) -> Tensor:
        result: Tensor = average * decay + weight * (1 - decay)
        return result

    return update


def get_swa_avg_fn() -> Callable[[Tensor, Tensor, Any], Tensor]:
    """average + (weight - average)/(num_averaged + 1), for one tensor."""

    @no_grad()
    def update(average: Tensor, weight: Tensor, num_averaged: Any) -> Tensor:
        result: Tensor = average + (weight - average) / (num_averaged + 1)
        return result

    return update


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


class AveragedModel(Module):
    """A copy of a model whose weights are the average of the model's at the calls of `update_parameters`."""

    n_averaged: Tensor

    def __init__(
        self, model: Module, device: Any = None, avg_fn: Callable[[Tensor, Tensor, Any], Tensor] | None = None,
        multi_avg_fn: Callable[[Sequence[Tensor], Sequence[Tensor], Any], None] | None = None,
        use_buffers: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        self.register_buffer("n_averaged", tensor(0, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged model's result."""
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the model's present weights into the average; the first time, they become the average."""
        buffers = self.use_buffers
        averages = list(chain(self.module.parameters(), self.module.buffers() if buffers else ()))
        current = list(chain(model.parameters(), model.buffers() if buffers else ()))
        averages, current = [a.detach() for a in averages], [c.detach() for c in current]
        if self.n_averaged == 0:
            for average, weight in zip(averages, current, strict=False):
                average.copy_(weight)
        elif self.avg_fn is None:
            update = self.multi_avg_fn or get_swa_multi_avg_fn()
            for dtype in dict.fromkeys(average.dtype for average in averages):
                pairs = [(a, c) for a, c in zip(averages, current, strict=False) if a.dtype is dtype]
                update([a for a, _ in pairs], [c for _, c in pairs], self.n_averaged)
        else:
            for average, weight in zip(averages, current, strict=False):
                average.copy_(self.avg_fn(average, weight, self.n_averaged))
        if not buffers:
            for buffer, weight in zip(self.module.buffers(), model.buffers(), strict=True):
                buffer.detach().copy_(weight.detach())
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of the model's batch normalizations from all batches of `loader`."""
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    was_training = model.training
    model.train()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    for batch in loader:
        batch = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(batch if device is None else batch.to(device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """From the present rates to `swa_lr` in `anneal_epochs` epochs, then constant."""

    def __init__(
        self, optimizer: Optimizer, swa_lr: float | Sequence[float], anneal_epochs: int = 10,
        anneal_strategy: str = "cos", last_epoch: int = -1,
    ) -> None:  # fmt: skip
        for group, rate in zip(optimizer.param_groups, for_each_group("swa_lr", optimizer, swa_lr), strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How far the rates have gone to `swa_lr` after `step` steps."""
        share = max(0, min(1, step / max(1, self.anneal_epochs)))
        return share if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * share)) / 2

    def get_lr(self) -> list[Any]:
        """The rates on the way to `swa_lr`, from the present ones."""
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, share = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            goal, rate = group["swa_lr"], group["lr"]
            start = goal if before == 1 else (rate - before * goal) / (1 - before)
            rates.append(goal * share + start * (1 - share))
        return rates
