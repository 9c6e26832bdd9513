"""Control flow: eager is plain Python, and compiled, differentiated and vectorised programs equal it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit import func

F = Callable[..., Any]
X = torch.tensor([0.3, 0.5, -1.2, 2.0], dtype=torch.float64)
W = torch.tensor([1.1, -0.4, 0.7, 0.2], dtype=torch.float64)
ROWS = torch.stack([X, X * W, W - X])


def chosen(x: torch.Tensor) -> torch.Tensor:
    return torch.cond(x.sum() > 0, lambda x: (x * W).sin(), lambda x: x.exp() + W, (x,))


def nested(x: torch.Tensor) -> torch.Tensor:
    def inner(x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x[0] > 0.1, lambda x: x * 2, lambda x: x**2, (x,))

    return torch.cond(x.sum() > 0, inner, lambda x: x - W, (x,))


def newton(x: torch.Tensor) -> torch.Tensor:
    """Square roots of x² + 1."""
    target = x * x + 1
    _, root = torch.while_loop(
        lambda i, y: (i < 30) & ((y * y - target).abs().max() > 1e-12),
        lambda i, y: (i + 1, (y + target / y) / 2),
        (0, torch.ones_like(x)),
    )
    return root


def recurrence(x: torch.Tensor) -> torch.Tensor:
    carry, rows = torch.scan(lambda h, w: (torch.tanh(h * w + x), h * w), x, torch.stack([W, W * 2, W - 1]))
    return carry + rows.sum(0)


def backwards(x: torch.Tensor) -> torch.Tensor:
    (total, count), rows = torch.scan(
        lambda state, v: ((state[0] * 0.5 + v, state[1] + 1), {"seen": state[0]}), (x.sum(), 0), x, reverse=True
    )
    return rows["seen"] + total + count


def power(x: torch.Tensor) -> torch.Tensor:
    return torch.fori_loop(0, 5, lambda i, y: y * x + i, torch.ones_like(x))


def powers(x: torch.Tensor) -> torch.Tensor:
    return torch.fori_loop(torch.tensor(1), torch.tensor(4), lambda i, y: y * x, torch.ones_like(x))


def mapped(x: torch.Tensor) -> torch.Tensor:
    return torch.map(lambda v: torch.cond(v > 0, torch.sin, torch.exp, (v,)) * x.sum(), x)


def written(x: torch.Tensor) -> torch.Tensor:
    """A loop that writes to a tensor from outside it."""
    total = torch.zeros_like(x)

    def step(i: torch.Tensor, y: torch.Tensor) -> Any:
        total.add_(y * i)
        total[1:].mul_(0.5)
        return i + 1, y * x

    torch.while_loop(lambda i, y: i < 3, step, (0, x))
    return total


FUNCTIONS = {f.__name__: f for f in (
    chosen, nested, newton, recurrence, backwards, power, powers, mapped, written
)}  # fmt: skip


def close(left: torch.Tensor, right: torch.Tensor) -> None:
    assert left.shape == right.shape and torch.allclose(left, right, rtol=1e-9, atol=1e-9), (left, right)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("sign", [1, -1])
def test_compiled_is_eager(name: str, sign: int) -> None:
    function, x = FUNCTIONS[name], sign * X
    expected = function(x)
    compiled = torch.compile(function)
    close(compiled(x), expected)
    close(compiled(-x), function(-x))  # the same program, the other course
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf).sum(), leaf)
    (found,) = torch.autograd.grad(compiled(leaf).sum(), leaf)
    close(found, gradient)
    close(torch.compile(func.grad(lambda x: function(x).sum()))(x), gradient)
    _, tangent = torch.compile(lambda x, t: func.jvp(function, (x,), (t,)))(x, W)
    close(tangent, func.jacrev(function)(x) @ W)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_vectorised_is_a_loop(name: str) -> None:
    function = FUNCTIONS[name]
    if name == "written":
        pytest.skip("a write to what all examples share")
    close(torch.vmap(function)(ROWS), torch.stack([function(row) for row in ROWS]))
    gradient = func.grad(lambda x: function(x).sum())
    close(torch.vmap(gradient)(ROWS), torch.stack([gradient(row) for row in ROWS]))


def test_a_loops_program_does_not_grow() -> None:
    def loop(count: int) -> int:
        graph = torch.compile(lambda x: torch.fori_loop(0, count, lambda i, y: y * x, x)).graph(X)
        return len(str(graph))

    assert abs(loop(10) - loop(1000)) < 30


def test_the_step_of_a_scan_runs_once_for_its_gradient() -> None:
    def network(w: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return torch.scan(lambda h, row: (torch.tanh(w * h + row.exp()), h.sum()), X, rows)[0].sum()

    text = str(torch.compile(func.grad(network)).graph(W, ROWS))
    assert text.count(" tanh ") == text.count(" exp ") == 1
    step = torch.compile(lambda w: network(w, ROWS))
    leaf = W.clone().requires_grad_()
    step(leaf).backward()
    close(leaf.grad, func.grad(network)(W, ROWS))
    assert " tanh " not in str(step.backward_graph(leaf))


@pytest.mark.parametrize(("size", "steps"), [(1, 1_000_000), (300, 40_000)])
def test_going_back_through_more_steps_than_a_block(size: int, steps: int) -> None:
    """y' = y*a + x*(1 - a): y = x*(1 - a**steps) after so many steps from 0."""

    def last(x: Any, a: Any, steps: Any) -> Any:
        start = (torch.tensor(0), torch.zeros_like(x))
        return torch.while_loop(lambda i, y: i < steps, lambda i, y: (i + 1, y * a + x * (1 - a)), start)[1].sum()

    x, a = torch.ones(size, dtype=torch.float64), torch.tensor(1 - 1e-7, dtype=torch.float64)
    of_x, of_a = torch.compile(torch.func.grad(last, argnums=(0, 1)))(x, a, torch.tensor(steps))
    left = a.item() ** steps
    torch.testing.assert_close(of_x, torch.full_like(x, 1 - left), rtol=1e-10, atol=0.0)
    torch.testing.assert_close(of_a.item(), -size * steps * left / a.item(), rtol=1e-9, atol=0.0)


def test_going_back_through_a_while_is_linear_in_its_steps() -> None:
    runs = []

    def counted(y: Any) -> Any:
        runs.append(1)
        return y * 1.0001

    @torch.custom_vjp
    def step(y: torch.Tensor) -> torch.Tensor:
        return torch.host_call(counted, y, y)

    step.defvjp(lambda y: (step(y), None), lambda _, g: (g * 1.0001,))

    def function(x: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return torch.while_loop(lambda i, y: i < steps, lambda i, y: (i + 1, step(y)), (0, x))[1].sum()

    gradient = torch.compile(func.grad(function))
    for steps in (0, 1, 700):
        close(gradient(X, torch.tensor(steps)), torch.full((4,), 1.0001**steps, dtype=X.dtype))
        assert len(runs) <= 8 * steps
        runs.clear()


def test_a_branch_is_kept_where_all_examples_share_its_predicate() -> None:
    def function(flag: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.vmap(lambda row: torch.cond(flag, torch.sin, torch.cos, (row,)))(x)

    text = str(torch.compile(function).graph(torch.tensor(True), ROWS))
    assert "cond" in text and "where" not in text


def test_random_numbers_in_a_loop() -> None:
    def walk(x: torch.Tensor) -> torch.Tensor:
        return torch.fori_loop(0, 3, lambda i, y: y + torch.rand(4, dtype=torch.float64), x)

    torch.manual_seed(5)
    expected, after = walk(X), torch.rand(1)
    torch.manual_seed(5)
    close(torch.compile(walk)(X), expected)
    assert torch.equal(torch.rand(1), after)


@pytest.mark.parametrize("length", [0, 1])
def test_short_scans(length: int) -> None:
    rows = ROWS[:length]

    def function(x: torch.Tensor) -> Any:
        return torch.scan(lambda c, row: (c + row, c.sum()), x, rows)

    for found, expected in zip(torch.compile(function)(X), function(X), strict=True):
        close(found, expected)


ERRORS: list[tuple[F, str]] = [
    (lambda x: torch.cond(x > 0, torch.sin, torch.cos, (x,)), "Expected pred to be bool or single-element tensor"),
    (lambda x: torch.cond(x.sum() > 0, lambda x: x, lambda x: x.sum(), (x,)), "true_fn and false_fn must give results"),
    (lambda x: torch.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x.float()), (0, x)), "must keep its types"),
    (lambda x: torch.scan(lambda c, row: c, x, x), "f must return (carry, y)"),
]


@pytest.mark.parametrize(("function", "text"), ERRORS, ids=[text for _, text in ERRORS])
def test_errors_of_traces(function: F, text: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.compile(function)(X)
    assert text in str(caught.value)
