"""Conditions on tensors that a compiled function captures: they are decided when it runs, not when it is traced."""

from __future__ import annotations

import adjit as torch
from adjit import nn

X = torch.tensor([0.3, 0.5, -1.2, 2.0], dtype=torch.float64)


def close(left: torch.Tensor, right: torch.Tensor) -> None:
    assert left.shape == right.shape and torch.allclose(left, right)


class ActNorm(nn.Module):
    """A layer that takes its scale from the first batch, as a buffer remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.ready:
            with torch.no_grad():
                self.scale.copy_(x.std(0))
                self.ready.fill_(True)
        return x / self.scale


def test_conditions_on_captured_tensors_are_those_of_the_call() -> None:
    x = torch.arange(12.0).reshape(4, 3)
    for batch in (x, x * 5):
        plain, module = ActNorm(), ActNorm()
        step = torch.compile(module)
        for _ in range(2):
            close(step(batch).detach(), plain(batch).detach())
        close(step(x).detach(), plain(x).detach())
        assert module.ready and torch.equal(module.scale, plain.scale)
    flag, count = torch.tensor(True), torch.tensor(3)

    @torch.compile
    def chosen(x: torch.Tensor) -> torch.Tensor:
        y = x if flag else -x
        for i in range(count):
            y = y + i
        return y * 2 if flag and y.sum() > 0 else y

    close(chosen(X), (X + 3) * 2 if (X + 3).sum() > 0 else X + 3)
    flag.fill_(False)
    count.fill_(1)
    close(chosen(X), -X)
    assert chosen.compile_count == 1
