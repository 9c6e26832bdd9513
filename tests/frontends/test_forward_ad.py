"""Dual tensors: what `unpack_dual` gives is what `func.jvp` gives, and can be differentiated further."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import adjit as torch
from adjit import overrides
from adjit.autograd import forward_ad

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "scalar ops": lambda x: (x.sin() * x.exp() + x**3) / (1 + x * x),
    "softmax": lambda x: torch.softmax(x * 2, -1),
    "product": lambda x: x @ x.T,
    "in place": lambda x: x.clone().mul_(x).add_(1),
    "pieces": lambda x: torch.cat([x[:1], x[1:] * 2]).cumsum(0),
    "constant": lambda x: torch.ones_like(x) * 3,
}


@pytest.fixture
def level() -> Iterator[None]:
    with forward_ad.dual_level():
        yield


def primal_and_tangent() -> tuple[Any, Any]:
    torch.manual_seed(0)
    return torch.randn(3, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tangents_are_those_of_jvp(name: str, level: None) -> None:
    primal, tangent = primal_and_tangent()
    output, along = torch.func.jvp(FUNCTIONS[name], (primal,), (tangent,))
    found = forward_ad.unpack_dual(FUNCTIONS[name](forward_ad.make_dual(primal, tangent)))
    assert torch.equal(found.primal, output)
    assert not found.primal.requires_grad
    if name == "constant":
        assert found.tangent is None
        return
    assert found.tangent is not None
    torch.testing.assert_close(found.tangent, along)
    assert not found.tangent.requires_grad


def test_tangents_have_gradients(level: None) -> None:
    primal, tangent = primal_and_tangent()
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    primal.requires_grad_()
    found = forward_ad.unpack_dual((forward_ad.make_dual(primal, tangent) ** 3 * weight).sum()).tangent
    assert found is not None
    of_primal, of_weight = torch.autograd.grad(found, [primal, weight])
    torch.testing.assert_close(of_primal, 6 * primal.detach() * tangent)
    torch.testing.assert_close(of_weight, (3 * primal.detach() ** 2 * tangent).sum(0))


def test_complex_tangents(level: None) -> None:
    z, t = torch.tensor([1 + 2j, 3 - 1j]), torch.tensor([1j, 2 + 0j])
    dual = forward_ad.make_dual(z, t)
    torch.testing.assert_close(forward_ad.unpack_dual(dual * dual).tangent, 2 * z * t)
    torch.testing.assert_close(forward_ad.unpack_dual(dual.abs()).tangent, (z.conj() * t).real / z.abs())


def test_a_tangent_ends_with_its_level() -> None:
    primal, tangent = primal_and_tangent()
    with forward_ad.dual_level():
        doubled = forward_ad.make_dual(primal, tangent) * 2
        assert forward_ad.unpack_dual(primal).tangent is None
    assert forward_ad.unpack_dual(doubled).tangent is None


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda x: forward_ad.enter_dual_level(), RuntimeError, "Nested forward mode AD is not supported"),
        (lambda x: forward_ad.exit_dual_level(level=3), RuntimeError, "Trying to exit a forward AD level"),
        (lambda x: forward_ad.make_dual(x.int(), x), ValueError, "Expected primal to be floating point or complex"),
        (lambda x: forward_ad.make_dual(x, x.int()), ValueError, "Expected tangent to be floating point or complex"),
        (lambda x: forward_ad.make_dual(x, x[:1]), RuntimeError, "that has a different size than that of the original"),
        (lambda x: forward_ad.make_dual(forward_ad.make_dual(x, x), x), RuntimeError, "already has a forward gradient"),
    ],
)  # fmt: skip
def test_errors(make: Callable[[Any], Any], error: type[Exception], text: str, level: None) -> None:
    with pytest.raises(error, match=text):
        make(torch.ones(2))


def test_errors_without_a_level() -> None:
    with pytest.raises(RuntimeError, match="no level exists, make sure to enter_dual_level"):
        forward_ad.make_dual(torch.ones(2), torch.ones(2))
    with pytest.raises(RuntimeError, match="Dual level must be a positive number"):
        forward_ad.exit_dual_level()


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "constant"])
def test_tangents_pass_no_grad(name: str) -> None:
    primal, tangent = primal_and_tangent()
    _, along = torch.func.jvp(FUNCTIONS[name], (primal,), (tangent,))
    with torch.no_grad(), forward_ad.dual_level():
        found = forward_ad.unpack_dual(FUNCTIONS[name](forward_ad.make_dual(primal, tangent)))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(primal, tangent)
        with torch.no_grad():
            inside = FUNCTIONS[name](dual)
        within = forward_ad.unpack_dual(inside).tangent
    assert found.tangent is not None
    assert within is not None
    torch.testing.assert_close(found.tangent, along)
    torch.testing.assert_close(within, along)


def test_tangents_of_a_module_under_no_grad() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
    primal, tangent = primal_and_tangent()
    _, along = torch.func.jvp(model, (primal,), (tangent,))
    with torch.no_grad(), forward_ad.dual_level():
        found = forward_ad.unpack_dual(model(forward_ad.make_dual(primal, tangent)))
    assert found.tangent is not None
    torch.testing.assert_close(found.tangent, along)
    assert not found.primal.requires_grad


def test_gradients_do_not_pass_no_grad_with_the_tangents(level: None) -> None:
    primal, tangent = primal_and_tangent()
    weight = torch.full((2,), 3.0, dtype=torch.float64, requires_grad=True)
    dual = forward_ad.make_dual(primal, tangent)
    with torch.no_grad():
        scaled = dual * weight
        weight.grad = None
    found = forward_ad.unpack_dual(scaled * weight)
    assert found.tangent is not None
    torch.testing.assert_close(found.tangent.detach(), tangent * 9)
    (of_weight,) = torch.autograd.grad(found.tangent.sum(), weight)
    torch.testing.assert_close(of_weight, (tangent * 3).sum(0))


def test_inference_mode_ends_tangents(level: None) -> None:
    primal, tangent = primal_and_tangent()
    dual = forward_ad.make_dual(primal, tangent)
    with torch.inference_mode():
        doubled = dual * 2
    assert forward_ad.unpack_dual(doubled).tangent is None


class Product(torch.autograd.Function):
    """a * b and a + 1, with tangents ten times too large and gradients that are right."""

    @staticmethod
    def forward(ctx: Any, a: Any, times: int, b: Any) -> Any:
        ctx.save_for_backward(a, b)
        ctx.save_for_forward(a, b)
        return a * b * times, a + 1

    @staticmethod
    def backward(ctx: Any, product: Any, after: Any) -> Any:
        a, b = ctx.saved_tensors
        return product * b * 3 + after, None, product * a * 3

    @staticmethod
    def jvp(ctx: Any, of_a: Any, of_times: Any, of_b: Any) -> Any:
        assert of_times is None
        a, b = ctx.saved_tensors
        return (of_a * b + a * of_b) * 30, None


class Doubled(torch.autograd.Function):
    """Twice a tensor, in place, without a backward."""

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        ctx.mark_dirty(a)
        return a.mul_(2)

    @staticmethod
    def jvp(ctx: Any, of_a: Any) -> Any:
        return of_a.mul_(20)


def test_tangents_of_users_functions_are_those_of_their_jvp(level: None) -> None:
    primal, tangent = primal_and_tangent()
    weight = torch.full_like(primal, 4.0).requires_grad_()
    product, after = Product.apply(forward_ad.make_dual(primal, tangent), 3, weight)
    found = forward_ad.unpack_dual(product.sin())
    assert found.tangent is not None
    torch.testing.assert_close(found.tangent.detach(), (primal * 12).cos() * tangent * 120)
    assert forward_ad.unpack_dual(after).tangent is None
    (of_weight,) = torch.autograd.grad(product.sum(), weight, retain_graph=True)
    torch.testing.assert_close(of_weight, primal * 3)
    moved = forward_ad.unpack_dual(product).tangent
    assert moved is not None
    (of_weight,) = torch.autograd.grad(moved.sum(), weight)
    torch.testing.assert_close(of_weight, tangent * 30)


def test_a_function_with_a_jvp_alone_may_write_to_a_part(level: None) -> None:
    primal, tangent = primal_and_tangent()
    whole = forward_ad.make_dual(primal, tangent) * 1
    part = whole[1:]
    assert Doubled.apply(part) is part
    found = forward_ad.unpack_dual(whole)
    assert found.tangent is not None
    torch.testing.assert_close(found.primal, torch.cat([primal[:1], primal[1:] * 2]))
    torch.testing.assert_close(found.tangent, torch.cat([tangent[:1], tangent[1:] * 20]))


def test_a_jvp_that_returns_too_many_tangents_is_refused(level: None) -> None:
    class Pair(torch.autograd.Function):
        forward = staticmethod(lambda ctx, a: a * 2)
        jvp = staticmethod(lambda ctx, of_a: (of_a, of_a))

    with pytest.raises(RuntimeError, match=r"invalid number of forward gradients \(expected 1 but got 2\)"):
        Pair.apply(forward_ad.make_dual(*primal_and_tangent()))


def test_what_no_grad_brings_is_entered_once_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        with torch.no_grad():
            pass

    before = overrides._RUNNING.modes.copy()
    with monkeypatch.context() as patched:
        patched.setattr(overrides, "_wrap_all", load)
        with forward_ad.dual_level(), torch.no_grad():
            assert len(overrides._RUNNING.modes) == len(before) + 1
    assert overrides._RUNNING.modes == before
    weight = torch.ones(2, requires_grad=True)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(2), torch.ones(2)) * weight
        with torch.no_grad():  # the mode itself applies a function to what depends on the weight
            scaled = dual * weight
        assert forward_ad.unpack_dual(scaled).tangent is not None
    assert overrides._RUNNING.modes == before
