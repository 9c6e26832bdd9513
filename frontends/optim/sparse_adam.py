"""SparseAdam, which has no use without sparse gradients."""

from __future__ import annotations

from typing import Any

from adjit.optim.numbers import check_betas
from adjit.optim.optimizer import Group, Optimizer, ParamsT
from adjit.tensor import Tensor


class SparseAdam(Optimizer):
    """Adam for sparse gradients.  Errors: RuntimeError at a step on dense gradients, and adjit has no others."""

    def __init__(
        self, params: ParamsT, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:  # fmt: skip
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr > 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps > 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        places = [
            [number, index]
            for number, group in enumerate(self.param_groups)
            for index, param in enumerate(group["params"])
            if param.is_complex()
        ]
        if places:
            raise ValueError(f"Complex params at indices {places}: SparseAdam does not support complex parameters")

    def _update(self, group: Group) -> None:
        if any(True for _ in self._gradients(group)):
            raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
