"""Adafactor."""

from __future__ import annotations

from typing import Any

from adjit.creation import zeros
from adjit.numeric_limits import finfo
from adjit.optim.numbers import count_of_steps, greater, plain, refuse_complex, steps_taken
from adjit.optim.optimizer import Group, Optimizer, ParamsT
from adjit.optim.varying import decayed
from adjit.tensor import Tensor


class Adafactor(Optimizer):
    """p -= rate*max(eps2, rms(p))*u/max(1, rms(u)/d), u = gradient/sqrt(v), rate = min(lr, 1/sqrt(step)).

    Of v, the running mean of squares, a matrix keeps the means of rows and columns.  Source: Shazeer and Stern, 2018.
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1e-2, beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0, weight_decay: float = 0.0, *,
        foreach: bool | None = None, maximize: bool = False,
    ) -> None:  # fmt: skip
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not plain(lr) >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not eps[1] >= 0.0:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        super().__init__(params, {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize,
        })  # fmt: skip

    def _update(self, group: Group) -> None:
        refuse_complex("Adafactor", group["params"])
        lr, decay, (least, floor) = self._rate(group), self._setting(group, "beta2_decay"), self._setting(group, "eps")
        clip, weight_decay = self._setting(group, "d"), self._factor(group, "weight_decay")
        for param, gradient in self._gradients(group):
            state = self._state_of(param, _new_state)
            state["step"].add_(1)
            step = steps_taken(state["step"])
            epsilon = finfo(param.dtype).eps if least is None else least
            limit = step**-0.5
            rate = lr.minimum(limit) if isinstance(limit, Tensor) and isinstance(lr, Tensor) else min(plain(lr), limit)
            size = greater(_number(_rms(param)), floor) * rate
            gradient = decayed(param, gradient, weight_decay, lr)
            estimate = _mean_square(state, gradient, step**decay, epsilon)
            change = gradient * estimate.clamp(min=epsilon * epsilon).rsqrt()
            param.sub_(change * (size / greater(_number(_rms(change)) / clip, 1.0)))


def _mean_square(state: dict[str, Any], gradient: Tensor, share: Any, eps: float) -> Tensor:
    """The running mean of squares, moved by `share`; for matrices the product of the means of rows and columns."""
    square = gradient * gradient
    if gradient.dim() <= 1:
        _move(state["variance"], square, share)
        return state["variance"]  # type: ignore[no-any-return]
    rows, columns = state["row_var"], state["col_var"]
    _move(rows, square.mean(dim=-1, keepdim=True), share)
    _move(columns, square.mean(dim=-2, keepdim=True), share)
    return rows @ columns / rows.mean(dim=-2, keepdim=True).clamp(min=eps)  # type: ignore[no-any-return]


def _move(average: Tensor, value: Tensor, share: Any) -> None:
    if isinstance(share, Tensor):
        share = share.to(average.dtype)
    average.lerp_(value, share)


def _rms(tensor: Tensor) -> Tensor:
    found: Tensor = tensor.norm(2) / tensor.numel() ** 0.5
    return found


def _number(value: Tensor) -> Any:
    """A number in eager mode, a float64 tensor in a trace."""
    return steps_taken(value)


def _new_state(param: Tensor) -> dict[str, Any]:
    if param.dim() <= 1:
        return {"step": count_of_steps(), "variance": zeros(param.shape, dtype=param.dtype)}
    *front, rows, columns = param.shape
    return {
        "step": count_of_steps(), "row_var": zeros(*front, rows, 1, dtype=param.dtype),
        "col_var": zeros(*front, 1, columns, dtype=param.dtype),
    }  # fmt: skip
