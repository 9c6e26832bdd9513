"""Conditions on tensors that a compiled function captures: they are decided when it runs, not when it is traced."""

from __future__ import annotations

from typing import Any

import pytest

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


def test_comparisons_of_numbers_are_bools(capfd: pytest.CaptureFixture[str]) -> None:
    def told(x: torch.Tensor) -> Any:
        total = x.sum().item()
        large = total > 3
        print(large, not large, f"{large}")
        y = x * 2 if large and total < 100 else x
        return y, large, not large, (x > 0) & large, large + 1, (total > 1) == (total > 2)

    compiled = torch.compile(told)
    for x in (torch.ones(4), -torch.ones(4)):
        wanted, found = told(x), compiled(x)
        assert torch.equal(found[0], wanted[0]) and torch.equal(found[3], wanted[3])
        for left, right in zip(found, wanted, strict=True):
            assert type(left) is type(right)
            assert isinstance(left, torch.Tensor) or left == right
        lines = capfd.readouterr().out.splitlines()
        assert lines[0] == lines[1] == f"{wanted[1]} {wanted[2]} {wanted[1]}"


def test_and_and_or_of_numbers_give_one_of_them() -> None:
    def function(x: torch.Tensor) -> tuple[Any, ...]:
        number = x.sum().item()
        return number == 3 or 5, number == 3 and 7, 0 < number < 4, number and 2.5, x + (number > 3 or 10)

    compiled = torch.compile(function)
    for value in (3.0, 0.0, 4.0):
        found, expected = compiled(torch.tensor([value])), function(torch.tensor([value]))
        assert found == expected
        assert not any(isinstance(each, torch.Tensor) for each in found[:-1])


def test_numbers_are_looked_for_among_keys() -> None:
    table = {1: 2.0, 2: 3.0}

    @torch.compile
    def function(x: torch.Tensor) -> Any:
        number = int(x[0].item())
        return x * 2 if number in table else x * 3 if number in {5: 0}.keys() else x  # noqa: SIM118

    assert [function(torch.tensor([float(value)])).item() for value in (1, 2, 3, 5)] == [2.0, 4.0, 3.0, 15.0]


def guarded_read(x: Any, i: Any) -> Any:
    if i < 3 and x[i] > 0:
        x = x * 3
    return x * 2


def read_otherwise(x: Any, i: Any) -> Any:
    return x * 3 if i >= 3 or x[i] > 0 else x * 2


def guarded_turns(x: Any, i: Any) -> Any:
    while i < x.shape[0] and x[i] != 0:
        i = i + 1
    return i * 1


def guarded_quotient(x: Any, i: Any) -> Any:
    if i != 0 and 6 // i > 1 and x[i % 3] > 0:
        x = x * 3
    return x


def guarded_for_nothing(x: Any, i: Any) -> Any:
    _ = i < 3 and x[i] > 0
    return x * 2


def guarded_choice(x: Any, i: Any) -> Any:
    if i < 3 and (x[i] if x.sum() > 0 else x[0]) > 0 and x[i - 1] > 0:
        x = x * 3
    return x


def guarded_numbers(x: Any, i: Any) -> Any:
    i = int(i)
    return (i < 3 and x[i].item()) or (i + 5)


@pytest.mark.parametrize(
    "function",
    [
        guarded_read, read_otherwise, guarded_turns, guarded_quotient, guarded_for_nothing, guarded_choice,
        guarded_numbers,
    ],
)  # fmt: skip
def test_operands_that_may_fail_run_only_where_those_before_them_let_them(function: Any) -> None:
    compiled = torch.compile(function)
    for i in (0, 9, 1, 3, 2):
        x = torch.tensor([1.0, 2.0, 0.0], requires_grad=True)
        y = x.detach().clone().requires_grad_()
        found, expected = compiled(x, torch.tensor(i)), function(y, torch.tensor(i))
        if not isinstance(expected, torch.Tensor):
            assert found == expected
            continue
        assert found.tolist() == expected.tolist()
        if expected.requires_grad:
            found.sum().backward()
            expected.sum().backward()
            assert x.grad.tolist() == y.grad.tolist()
