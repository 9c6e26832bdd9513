"""L-BFGS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.autograd.modes import enable_grad, no_grad
from adjit.capture.numbers import as_plain
from adjit.creation import zeros_like
from adjit.ir.types import F64
from adjit.joining import cat
from adjit.optim.line_search import strong_wolfe
from adjit.optim.numbers import check_rate, plain
from adjit.optim.optimizer import Optimizer, ParamsT, in_parts
from adjit.state import STATE, outside
from adjit.tensor import Tensor


class LBFGS(Optimizer):
    """Quasi-Newton steps: the inverse Hessian is known by the last `history_size` changes of point and gradient.

    One `step` makes up to `max_iter` iterations, each with at least one call of the closure; in a compiled function
    they are loops of its program.  Source: Liu and Nocedal, 1989.
    """

    def __init__(
        self, params: ParamsT, lr: Any = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:  # fmt: skip
        check_rate(lr)
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        })  # fmt: skip
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self) -> list[Tensor]:
        found: list[Tensor] = self.param_groups[0]["params"]
        return found

    @no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:
        """Iterate until a tolerance or a limit is reached; the loss at the start."""
        if len(self.param_groups) != 1:
            raise AssertionError(f"Expected exactly one param_group, but got {len(self.param_groups)}")
        group = self.param_groups[0]
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        if STATE.tracer is not None:
            return self._traced_step(closure, group)
        lr, tolerance_change = plain(group["lr"]), group["tolerance_change"]
        state = self._listed_state()
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = _recorded(closure)
        loss, evaluations = float(first_loss), 1
        state["func_evals"] += 1
        gradient = self._flat_gradient()
        if gradient.abs().max() <= group["tolerance_grad"]:
            return first_loss
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            direction = self._direction(state, gradient, group["history_size"])
            if state.get("prev_flat_grad") is None:
                state["prev_flat_grad"] = gradient.clone()
            else:
                state["prev_flat_grad"].copy_(gradient)
            loss_before = state["prev_loss"] = loss
            state["t"] = min(1.0, 1.0 / gradient.abs().sum()) * lr if state["n_iter"] == 1 else lr
            slope = gradient.dot(direction)
            if slope > -tolerance_change:
                break
            count = 0
            if group["line_search_fn"] is not None:
                loss, gradient, state["t"], count = strong_wolfe(
                    self.evaluation(closure, direction), state["t"], direction, loss, gradient, slope,
                    most=group["max_eval"] - evaluations,
                )  # fmt: skip
                self.move(state["t"], direction)
            else:
                self.move(state["t"], direction)
                if iteration != group["max_iter"]:
                    count = 1
                    loss, gradient = self.evaluated(closure)
            evaluations += count
            state["func_evals"] += count
            if (
                evaluations >= group["max_eval"]
                or gradient.abs().max() <= group["tolerance_grad"]
                or (direction * state["t"]).abs().max() <= tolerance_change
                or abs(loss - loss_before) < tolerance_change
            ):
                break
        for name in ("d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss"):
            state[name] = state.pop(name)  # the order that PyTorch writes them in
        return first_loss

    def _direction(self, state: dict[str, Any], gradient: Tensor, history_size: int) -> Tensor:
        """Minus the inverse Hessian times the gradient, by the two loops over the history."""
        if state["n_iter"] == 1:
            state.update(d=gradient.neg(), t=None, old_dirs=[], old_stps=[], ro=[], H_diag=1)
            found: Tensor = state["d"]
            return found
        change, move = gradient.sub(state["prev_flat_grad"]), state["d"].mul(state["t"])
        curvature = change.dot(move)
        if curvature > 1e-10:
            if len(state["old_dirs"]) == history_size:
                for name in ("old_dirs", "old_stps", "ro"):
                    state[name].pop(0)
            state["old_dirs"].append(change)
            state["old_stps"].append(move)
            state["ro"].append(1.0 / curvature)
            state["H_diag"] = curvature / change.dot(change)
        history = list(zip(state["old_dirs"], state["old_stps"], state["ro"], strict=True))
        shares = state.setdefault("al", [None] * history_size)
        rest = gradient.neg()
        for index in range(len(history) - 1, -1, -1):
            change, move, inverse = history[index]
            shares[index] = move.dot(rest) * inverse
            rest.sub_(change * shares[index])
        direction: Tensor = rest * state["H_diag"]
        state["d"] = direction
        for index, (change, move, inverse) in enumerate(history):
            direction.add_(move * (shares[index] - change.dot(direction) * inverse))
        return direction

    # -- in a compiled function -------------------------------------------------------------------------------------
    def _traced_step(self, closure: Callable[[], Any], group: dict[str, Any]) -> Any:
        """The step as a part of the program that is being traced."""
        from adjit.optim import lbfgs_loop

        self._check_traceable()
        for name in ("max_iter", "max_eval", "tolerance_grad", "tolerance_change", "history_size", "line_search_fn"):
            self._setting(group, name)
        state, parts = self.state[self._params[0]], list(map(in_parts, self._params))
        with outside(), no_grad():
            lbfgs_loop.with_rows(state, parts[0], sum(part.numel() for part in parts), group["history_size"])
        first_loss = _recorded(closure)
        problem = lbfgs_loop.Problem(self, closure)
        rate = self._rate(group)
        lr = rate.double() if isinstance(rate, Tensor) else as_plain(rate, F64)
        lbfgs_loop.minimize(problem, state, group, lr, first_loss.item(), self._flat_gradient())
        return first_loss

    def _listed_state(self) -> dict[str, Any]:
        """The state as an eager step keeps it: compiled steps, which hold on to its tensors, are traced again."""
        param = self._params[0]
        if isinstance(self.state[param].get("old_dirs"), Tensor):
            from adjit.optim.lbfgs_loop import with_lists

            self.state[param] = with_lists(self.state[param])
            self._has_changed()
        return self.state[param]

    def state_dict(self) -> dict[str, Any]:
        """The state by number of the parameter, and the groups' settings."""
        from adjit.optim.lbfgs_loop import with_lists

        found = super().state_dict()
        found["state"] = {number: with_lists(values) for number, values in found["state"].items()}
        return found

    # -- the problem ------------------------------------------------------------------------------------------------
    def evaluated(self, closure: Callable[[], Any]) -> tuple[Any, Tensor]:
        """The loss and the flat gradient where the parameters stand."""
        loss = _recorded(closure)
        return (loss.item() if isinstance(loss, Tensor) else float(loss)), self._flat_gradient()

    def evaluation(self, closure: Callable[[], Any], direction: Tensor) -> Callable[[Any], tuple[Any, Tensor]]:
        """The loss and gradient at a distance from the present point, which stays."""
        start = [param.clone() for param in self._params]

        def evaluate(distance: Any) -> tuple[Any, Tensor]:
            self.move(distance, direction)
            found = self.evaluated(closure)
            for param, value in zip(self._params, start, strict=True):
                param.copy_(value)
            return found

        return evaluate

    def _flat_gradient(self) -> Tensor:
        parts: Sequence[Tensor] = [
            zeros_like(in_parts(param)).reshape(-1) if param.grad is None else in_parts(param.grad).reshape(-1)
            for param in self._params
        ]
        flat: Tensor = cat(list(parts), 0)
        return flat

    def move(self, distance: Any, direction: Tensor) -> None:
        """Add `distance` times a flat direction to the parameters."""
        offset = 0
        for param in map(in_parts, self._params):
            count = param.numel()
            param.add_(direction[offset : offset + count].view_as(param) * distance)
            offset += count


def _recorded(closure: Callable[[], Any]) -> Any:
    with enable_grad():
        return closure()
