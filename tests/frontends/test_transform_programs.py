"""Programs that live on transformations, as users write them: the compiled ones give what eager mode gives."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from time import perf_counter
from typing import Any

import pytest

import adjit as torch
from adjit import func, nn

F = Callable[..., Any]
D = {"dtype": torch.float64}


def close(left: Any, right: Any, bound: float = 1e-9) -> None:
    assert left.shape == right.shape and torch.allclose(left, right, rtol=bound, atol=bound), (left, right)


def network(seed: int, *sizes: int) -> list[Any]:
    torch.manual_seed(seed)
    return [
        (torch.randn(after, before, **D) / before**0.5, torch.zeros(after, **D))
        for before, after in pairwise(sizes)
    ]


def predict(layers: Any, x: Any) -> Any:
    for weight, bias in layers[:-1]:
        x = torch.tanh(x @ weight.T + bias)
    weight, bias = layers[-1]
    return x @ weight.T + bias


def tree_close(left: Any, right: Any) -> None:
    for (a, b), (c, d) in zip(left, right, strict=True):
        close(a, c)
        close(b, d)


def both(function: F, *args: Any) -> Any:
    """The compiled result, which equals the eager one."""
    found, wanted = torch.compile(function)(*args), function(*args)
    tree_close(found, wanted)
    return found


def test_a_physics_informed_network() -> None:
    """u'' + u = 0: the loss has second derivatives in x, its gradient third ones."""
    layers, x = network(0, 1, 8, 1), torch.linspace(0, 1, 7, **D)

    def loss(layers: Any) -> Any:
        def u(x: Any) -> Any:
            return predict(layers, x.reshape(1))[0]

        residual = func.vmap(lambda x: func.grad(func.grad(u))(x) + u(x))(x)
        return (residual**2).mean() + u(x[0]) ** 2

    gradient = both(func.grad(loss), layers)
    step = 1e-6
    moved = [(weight + step * g, bias + step * h) for (weight, bias), (g, h) in zip(layers, gradient, strict=True)]
    slope = sum(float((g**2).sum() + (h**2).sum()) for g, h in gradient)
    assert float(loss(moved) - loss(layers)) == pytest.approx(step * slope, rel=1e-3)


def test_learning_through_an_optimizer() -> None:
    """MAML: the gradient of the loss after two steps of gradient descent on another task."""
    layers, x = network(1, 1, 6, 1), torch.linspace(-1, 1, 5, **D).reshape(-1, 1)

    def loss(layers: Any, task: Any) -> Any:
        return ((predict(layers, x) - torch.sin(task * x)) ** 2).mean()

    def adapted(layers: Any, task: Any) -> Any:
        for _ in range(2):
            change = func.grad(loss)(layers, task)
            layers = [(w - 0.1 * g, b - 0.1 * h) for (w, b), (g, h) in zip(layers, change, strict=True)]
        return loss(layers, task)

    tasks = torch.tensor([0.5, 1.0, 2.0], **D)
    both(func.grad(lambda layers: func.vmap(adapted, in_dims=(None, 0))(layers, tasks).mean()), layers)

    rate = torch.tensor(0.1, **D, requires_grad=True)
    weight = torch.tensor([1.0, -2.0], **D, requires_grad=True)

    def after_steps(rate: Any) -> Any:
        w = weight
        for _ in range(3):
            (g,) = torch.autograd.grad((w**4).sum(), w, create_graph=True)
            w = w - rate * g
        return (w**2).sum()

    (wanted,) = torch.autograd.grad(after_steps(rate), rate)
    torch.compile(after_steps)(rate).backward()
    close(rate.grad, wanted)


def test_a_gradient_penalty() -> None:
    """WGAN-GP: the critic's step has the gradient of a norm of its gradient in the input."""

    def steps(compiled: bool) -> list[Any]:
        torch.manual_seed(2)
        critic = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
        optimizer = torch.optim.Adam(critic.parameters(), lr=0.01)

        def step(real: Any, fake: Any, mix: Any) -> Any:
            between = (mix * real + (1 - mix) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            loss = critic(fake).mean() - critic(real).mean() + 10 * ((slope.norm(dim=1) - 1) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.detach()

        run = torch.compile(step) if compiled else step
        draws = [torch.randn(3, 4, 3, **D) for _ in range(3)]
        return [run(real, fake, mix[:, :1].sigmoid()) for real, fake, mix in draws]

    for found, wanted in zip(steps(True), steps(False), strict=True):
        close(found, wanted)


def test_a_neural_differential_equation() -> None:
    """Runge-Kutta steps in a scan, their number by a while loop with a step size of its own; both differentiated."""
    layers, start = network(3, 2, 6, 2), torch.tensor([1.0, 0.5], **D)

    def fixed(layers: Any) -> Any:
        def step(y: Any, _: Any) -> Any:
            h = 0.1
            k1 = predict(layers, y)
            k2 = predict(layers, y + h / 2 * k1)
            k3 = predict(layers, y + h / 2 * k2)
            k4 = predict(layers, y + h * k3)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            return y, y

        return (torch.scan(step, start, None, length=10)[1] ** 2).sum()

    def adaptive(layers: Any) -> Any:
        def step(t: Any, h: Any, y: Any) -> Any:
            k1 = predict(layers, y)
            k2 = predict(layers, y + h * k1)
            error = (h / 2 * (k2 - k1)).abs().max().detach()
            fine = error < 1e-3
            after = torch.where(fine, y + h / 2 * (k1 + k2), y)
            again = torch.where(fine, h * 1.5, h / 2)
            t = torch.where(fine, t + h, t)
            return t, torch.minimum(again, 1 - t).clamp(min=1e-12), after

        zero = torch.tensor(0.0, **D)
        return (torch.while_loop(lambda t, h, y: t < 1 - 1e-9, step, (zero, zero + 0.1, start))[2] ** 2).sum()

    both(func.grad(fixed), layers)
    found = torch.compile(func.grad(adaptive))(layers)
    own = [(w.clone().requires_grad_(), b.clone().requires_grad_()) for w, b in layers]
    adaptive(own).backward()
    tree_close(found, [(w.grad, b.grad) for w, b in own])


def test_a_recurrent_network_by_scan() -> None:
    torch.manual_seed(4)
    weights = [(torch.randn(5, 5, **D) / 3, torch.randn(5, 2, **D))]
    rows, targets = torch.randn(9, 2, **D), torch.randn(9, 5, **D)

    def loss(weights: Any) -> Any:
        ((w, u),) = weights

        def step(h: Any, x: Any) -> Any:
            h = torch.tanh(w @ h + u @ x)
            return h, h

        return ((torch.scan(step, torch.zeros(5, **D), rows)[1] - targets) ** 2).mean()

    both(func.grad(loss), weights)
    unrolled = [(w.clone().requires_grad_(), u.clone().requires_grad_()) for w, u in weights]
    h, found = torch.zeros(5, **D), []
    for x in rows:
        h = torch.tanh(unrolled[0][0] @ h + unrolled[0][1] @ x)
        found.append(h)
    ((torch.stack(found) - targets) ** 2).mean().backward()
    tree_close(func.grad(loss)(weights), [(w.grad, u.grad) for w, u in unrolled])


def test_newton_by_a_while_loop() -> None:
    def root(a: Any) -> Any:
        def step(k: Any, x: Any) -> Any:
            return k + 1, x - (x**3 + x - a) / (3 * x**2 + 1)

        return torch.while_loop(lambda k, x: ((x**3 + x - a).abs() > 1e-12) & (k < 50), step, (0, a))[1]

    a = torch.tensor(3.0, **D)
    slope = 1 / (3 * root(a) ** 2 + 1)
    for transformed in (func.grad(root), lambda a: func.jvp(root, (a,), (torch.ones_like(a),))[1]):
        close(torch.compile(transformed)(a), slope)
    second = torch.compile(func.grad(func.grad(root)))(a)
    close(second, -6 * root(a) * slope**3, 1e-7)
    batch = torch.tensor([1.0, 3.0, 20.0], **D)
    close(torch.compile(func.vmap(func.grad(root)))(batch), torch.stack([func.grad(root)(a) for a in batch]))


def test_a_steps_compile_time_does_not_grow() -> None:
    def seconds(count: int) -> float:
        def function(x: Any) -> Any:
            return torch.scan(lambda h, _: (torch.tanh(h * x) + h, h.sum()), x, None, length=count)[1].sum()

        start = perf_counter()
        torch.compile(func.grad(function))(torch.linspace(0, 1, 4 + count % 7, **D))
        return perf_counter() - start

    seconds(3)
    assert seconds(10_000) < 3 * seconds(10) + 0.2


@pytest.mark.parametrize("compiled", [False, True])
def test_randomness_of_vmap(compiled: bool) -> None:
    x = torch.zeros(4, 3)

    def drawn(mode: str) -> Any:
        function = func.vmap(lambda row: row + torch.rand(3), randomness=mode)
        torch.manual_seed(5)
        return (torch.compile(function) if compiled else function)(x)

    same, different = drawn("same"), drawn("different")
    assert bool((same == same[0]).all()) and len({tuple(row.tolist()) for row in different}) == 4
    assert torch.equal(different, drawn("different"))
    with pytest.raises(RuntimeError, match="randomness error mode"):
        drawn("error")


def shared(p: Any, x: Any) -> Any:
    return torch.sin(p * x).sum()


SHARING: dict[str, Callable[..., Any]] = {
    "grad": lambda p, xs: torch.vmap(func.grad(shared, argnums=1), (None, 0))(p, xs),
    "closure": lambda p, xs: torch.vmap(lambda x: func.grad(lambda y: shared(p, y))(x))(xs),
    "grad and value": lambda p, xs: torch.vmap(func.grad_and_value(shared, argnums=1), (None, 0))(p, xs)[1],
    "hessian": lambda p, xs: torch.vmap(func.hessian(shared, argnums=1), (None, 0))(p, xs),
    "vjp": lambda p, xs: torch.vmap(lambda x: func.vjp(lambda y: shared(p, y), x)[1](torch.tensor(2.0))[0])(xs),
    "two": lambda p, xs: torch.vmap(
        lambda x: func.grad(lambda y: func.grad(shared, argnums=1)(p, y).sum())(x)
    )(xs),
}


@pytest.mark.parametrize("name", SHARING)
def test_gradients_for_examples_keep_those_of_what_the_examples_share(name: str) -> None:
    function = SHARING[name]
    p, xs = torch.tensor([1.0, 2.0]), torch.arange(6.0).reshape(3, 2) / 4
    one_by_one = {
        "grad": lambda p, x: p * torch.cos(p * x),
        "closure": lambda p, x: p * torch.cos(p * x),
        "grad and value": lambda p, x: torch.sin(p * x).sum(),
        "hessian": lambda p, x: torch.diag(-p * p * torch.sin(p * x)),
        "vjp": lambda p, x: 2 * p * torch.cos(p * x),
        "two": lambda p, x: -p * p * torch.sin(p * x),
    }[name]
    q = p.clone().requires_grad_()
    expected = torch.stack([one_by_one(q, x) for x in xs])
    weights = torch.arange(expected.numel(), dtype=torch.float32).reshape(expected.shape)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), q)

    def loss(p: Any) -> Any:
        return (function(p, xs) * weights).sum()

    found = [func.grad(loss)(p), torch.compile(func.grad(loss))(p)]
    for root in (q, (2 * q) / 2):  # a leaf, and what has a history
        found.append(torch.autograd.grad(loss(root), q)[0])
    found.append(torch.autograd.grad(torch.compile(loss)(q), q)[0])
    for gradient in found:
        assert torch.allclose(gradient, wanted, rtol=1e-5, atol=1e-6)
    tangent = func.jvp(loss, (p,), (torch.tensor([1.0, -1.0]),))[1]
    assert torch.allclose(tangent, wanted[0] - wanted[1], rtol=1e-5, atol=1e-5)


def test_values_beside_gradients_have_tangents() -> None:
    x = torch.tensor([0.5, -0.3])

    def value(v: Any) -> Any:
        return func.grad_and_value(lambda y: (y**3).sum())(v)[1]

    def aside(v: Any) -> Any:
        return func.grad(lambda y: ((y**3).sum(), (y * v).sum()), has_aux=True)(v)[1]

    for function, slopes in ((value, 3 * x * x), (aside, 2 * x)):
        for each in (function, torch.compile(function)):
            assert torch.allclose(func.jvp(each, (x,), (torch.ones(2),))[1], slopes.sum())
            assert torch.allclose(func.jacfwd(each)(x), slopes)
            assert torch.allclose(func.grad(each)(x), slopes)


def test_what_is_returned_beside_a_gradient_keeps_other_histories() -> None:
    weight, x = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([0.5, 0.25])
    _, (scaled, doubled) = func.grad(lambda y: ((y**3).sum(), (weight * y, y * 2)), has_aux=True)(x)
    assert scaled.requires_grad and not doubled.requires_grad
    assert torch.autograd.grad(scaled.sum(), weight)[0].tolist() == x.tolist()
