"""L-BFGS inside compiled functions: the same iterations, evaluations and state as in eager mode."""

from __future__ import annotations

from typing import Any

import pytest

import adjit as torch
from adjit import nn
from adjit.nn import functional as F

X = torch.linspace(-2, 2, 20, dtype=torch.float64).unsqueeze(1)
Y = X**3 - X


class Fit:
    """A regression whose closure counts its calls."""

    def __init__(self, **settings: Any) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        self.optimizer = torch.optim.LBFGS(self.net.parameters(), **settings)
        self.calls = 0

    def closure(self) -> Any:
        self.optimizer.zero_grad()
        loss = F.mse_loss(self.net(X), Y)
        loss.backward()
        self.calls += 1
        return loss

    def step(self) -> Any:
        return self.optimizer.step(self.closure)

    def numbers(self) -> list[float]:
        """Weights, gradients, calls and counters."""
        state = self.optimizer.state_dict()["state"][0]
        params = list(self.net.parameters())
        found = [*(p.sum().item() for p in params), *(p.grad.sum().item() for p in params)]
        found += [self.calls, state["func_evals"], state["n_iter"], len(state["old_dirs"])]
        return [*found, state["d"].sum().item()]


@pytest.mark.parametrize(
    "settings",
    [{"lr": 0.1, "max_iter": 4, "history_size": 3}, {"max_iter": 5, "line_search_fn": "strong_wolfe"}],
    ids=["fixed", "wolfe"],
)
def test_a_compiled_step_is_the_eager_one(settings: dict[str, Any]) -> None:
    eager, compiled = Fit(**settings), Fit(**settings)
    step = torch.compile(compiled.step)
    for number in range(3):
        if number == 1:
            for fit in (eager, compiled):
                fit.optimizer.param_groups[0]["lr"] *= 0.5
        assert step().item() == pytest.approx(eager.step().item(), rel=1e-8)
        assert compiled.numbers() == pytest.approx(eager.numbers(), rel=1e-6, abs=1e-9)
    assert compiled.step().item() == pytest.approx(eager.step().item(), rel=1e-8)  # eager mode goes on from there
    assert step().item() == pytest.approx(eager.step().item(), rel=1e-8)
    assert compiled.numbers() == pytest.approx(eager.numbers(), rel=1e-6, abs=1e-9)
