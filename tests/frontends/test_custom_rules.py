"""Functions with a derivative of their own: the rule is used in eager mode, in every transformation and compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import func

F = Callable[..., Any]
X = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
Y = torch.tensor([2.0, 0.5, -0.7], dtype=torch.float64)


def close(left: Any, right: Any) -> None:
    assert left.shape == right.shape and torch.allclose(left, right, rtol=1e-9, atol=1e-9), (left, right)


# The rules give three times the derivative, so that it shows whether they were used.
@torch.custom_vjp
def reverse(x: Any, y: Any) -> Any:
    return torch.sin(x) * y


def reverse_forward(x: Any, y: Any) -> Any:
    out = reverse(x, y)
    return out, (torch.cos(x), {"y": y, "out": out})


reverse.defvjp(reverse_forward, lambda res, g: (3 * g * res[0] * res[1]["y"], 3 * g * res[1]["out"] / res[1]["y"]))


@torch.custom_jvp
def forward(x: Any, y: Any) -> Any:
    return torch.sin(x) * y


@forward.defjvp
def forward_rule(primals: Any, tangents: Any) -> Any:
    (x, y), (s, t) = primals, tangents
    out = forward(x, y)
    return out, 3 * (torch.cos(x) * y * s + out / y * t)


@torch.custom_jvp
def by_argument(x: Any, y: Any) -> Any:
    return torch.sin(x) * y


by_argument.defjvps(lambda s, out, x, y: 3 * torch.cos(x) * y * s, lambda t, out, x, y: 3 * out / y * t)

WRITTEN: dict[str, F] = {"custom_vjp": reverse, "custom_jvp": forward, "defjvps": by_argument}


def total(function: F) -> F:
    return lambda x, y: (function(x, y) * torch.arange(1.0, 4.0, dtype=x.dtype)).sum()


def plain(x: Any, y: Any) -> Any:
    return torch.sin(x) * y


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", WRITTEN)
def test_every_transformation_uses_the_rule(name: str, compiled: bool) -> None:
    function = WRITTEN[name]

    def run(transformed: F) -> Any:
        return (torch.compile(transformed) if compiled else transformed)(X, Y)

    close(run(function), plain(X, Y))
    wanted = func.grad(total(plain), (0, 1))(X, Y)
    for index, found in enumerate(run(func.grad(total(function), (0, 1)))):
        close(found, 3 * wanted[index])
    _, tangent = run(lambda x, y: func.jvp(function, (x, y), (y, x)))
    close(tangent, 3 * func.jvp(plain, (X, Y), (Y, X))[1])
    close(run(func.jacfwd(function, 1)), 3 * func.jacrev(plain, 1)(X, Y))
    close(run(func.vmap(func.grad(function))), 3 * Y * torch.cos(X))
    # d/dx of 3 cos(x) y is by the product rule, and by the rule again where the result stands in it.
    close(run(func.hessian(total(function))), 3 * func.hessian(total(plain))(X, Y))
    both = run(func.grad(lambda x, y: func.grad(total(function), 1)(x, y).sum()))
    close(both, 9 * torch.arange(1.0, 4.0, dtype=X.dtype) * torch.cos(X))


@pytest.mark.parametrize("name", WRITTEN)
def test_the_tape_uses_the_rule(name: str) -> None:
    function = WRITTEN[name]
    x, y = X.clone().requires_grad_(), Y.clone().requires_grad_()
    assert function(x, y).grad_fn.name().endswith("Backward")
    first, second = torch.autograd.grad(function(x, y).sum(), (x, y), create_graph=True)
    close(first, 3 * Y * torch.cos(X))
    close(torch.autograd.grad(first.sum(), x, retain_graph=True)[0], -3 * Y * torch.sin(X))
    close(torch.autograd.grad(second.sum(), x)[0], 9 * torch.cos(X))
    torch.compile(function)(x, y).sum().backward()
    close(x.grad, 3 * Y * torch.cos(X))


def test_trees_constants_and_missing_cotangents() -> None:
    @torch.custom_vjp
    def f(power: int, values: Any, mode: str) -> Any:
        return {"a": values["x"] ** power, "n": torch.tensor(7)}, mode

    def forward(power: int, values: Any, mode: str) -> Any:
        return f(power, values, mode), values["x"]

    f.nondiff_argnums = (0,)
    f.defvjp(forward, lambda power, x, g: ({"x": power * x ** (power - 1) * g[0]["a"] * 2, "unused": None}, None))
    values = {"x": X, "unused": Y}
    found = func.grad(lambda v: f(3, v, "mode")[0]["a"].sum())(values)
    close(found["x"], 6 * X**2)
    close(found["unused"], torch.zeros_like(Y))
    compiled = torch.compile(func.grad(lambda v: f(3, v, "mode")[0]["a"].sum()))(values)
    close(compiled["x"], 6 * X**2)
    assert f(2, values, mode="mode")[1] == "mode"


def test_a_rule_that_needs_the_next_function() -> None:
    # d/dx cos(x + n pi/2) = cos(x + (n + 1) pi/2): the rule of n calls the function for n + 1.
    @torch.custom_jvp
    def wave(n: int, x: Any) -> Any:
        return torch.cos(x + n * math.pi / 2)

    wave.nondiff_argnums = (0,)
    wave.defjvp(lambda n, primals, tangents: (wave(n, *primals), wave(n + 1, *primals) * tangents[0]))
    order = torch.cos
    found: F = lambda x: wave(0, x)  # noqa: E731
    for _ in range(3):
        order, found = (func.grad(lambda x, f=f: f(x).sum()) for f in (order, found))
        close(found(X), order(X))
        close(torch.compile(found)(X), order(X))


def test_a_function_of_the_host_with_a_written_rule() -> None:
    calls = []

    def on_host(x: np.ndarray) -> np.ndarray:
        calls.append(x.shape)
        return np.sin(x)

    @torch.custom_vjp
    def sine(x: Any) -> Any:
        return torch.host_call(on_host, x, x)

    sine.defvjp(lambda x: (sine(x), x), lambda x, g: (g * torch.cos(x),))
    close(sine(X), torch.sin(X))
    compiled = torch.compile(lambda x: sine(x) * 2)
    close(compiled(X), 2 * torch.sin(X))
    close(compiled(-X), -2 * torch.sin(X))
    for transformed in (func.grad(lambda x: sine(x).sum()), lambda x: func.jvp(sine, (x,), (torch.ones_like(x),))[1]):
        close(transformed(X), torch.cos(X))
        close(torch.compile(transformed)(X), torch.cos(X))
    before = len(calls)
    close(func.vmap(sine)(torch.stack((X, Y))), torch.sin(torch.stack((X, Y))))
    assert calls[before:] == [(3,), (3,)]
    with pytest.raises(RuntimeError, match="host_call has no derivative"):
        torch.host_call(on_host, X, X.clone().requires_grad_()).sum().backward()
    with pytest.raises(RuntimeError, match=r"returned the shape \[3\], not f64\[2\]"):
        torch.host_call(on_host, X[:2], X)


def test_errors() -> None:
    f, g = torch.custom_vjp(torch.sin), torch.custom_jvp(torch.sin)
    with pytest.raises(AttributeError, match="No VJP defined"):
        f(X)
    with pytest.raises(AttributeError, match="No JVP defined"):
        g(X)
    f = torch.custom_vjp(lambda x: x)
    f.defvjp(lambda x: (x, None), lambda res, g: g)
    with pytest.raises(TypeError, match="must produce a tuple of length"):
        func.grad(lambda x: f(x).sum())(X)
    f.defvjp(lambda x: x, lambda res, g: (g,))
    with pytest.raises(TypeError, match="must produce a pair"):
        func.grad(lambda x: f(x).sum())(X)
    g = torch.custom_jvp(lambda x: x)
    g.defjvp(lambda primals, tangents: (primals[0], tangents[0][:1]))
    with pytest.raises(TypeError, match="equal shapes"):
        func.jvp(g, (X,), (X,))
