"""float16 and bfloat16 with numbers: which numbers are rounded to 16 bits, and how often results are, as in PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch

HALVES = [torch.float16, torch.bfloat16]
NUMBERS = (0.01, 0.1, 1 / 3, 1e-5, -0.7, 7, 2049, 0.3, 0.7, 1e-3) * 3
VALUES = np.random.default_rng(0).normal(size=320).astype(np.float32) * 3
WEIGHTS = np.random.default_rng(1).normal(size=320).astype(np.float32)
Array = np.ndarray


def rounded(values: Array, dtype: Any) -> Array:
    """Values of float32 rounded to 16 bits."""
    found: Array = torch.tensor(values).to(dtype).float().numpy()
    return found


def half(number: float, dtype: Any) -> Any:
    """A number rounded to 16 bits, in float32."""
    return rounded(np.float32(number).reshape(1), dtype)[0]


def check(function: Callable[[Any, Any], Any], dtype: Any, expected: Callable[..., Any], slope: Any = None) -> None:
    """function(x, number) has the bits of expected(x, number), in float32, and cotangents those of slope(g, number)."""
    for number in NUMBERS:
        x = torch.tensor(VALUES).to(dtype).requires_grad_()
        result = function(x, number)
        assert result.dtype == dtype
        assert result.tolist() == rounded(expected(rounded(VALUES, dtype), number), dtype).tolist()
        assert function(x.detach(), number).tolist() == result.tolist()
        if slope is not None:
            result.backward(torch.tensor(WEIGHTS).to(dtype))
            assert x.grad is not None
            assert x.grad.tolist() == rounded(slope(rounded(WEIGHTS, dtype), number), dtype).tolist()


def either(function: Callable[[Any, Any], Any], compiled: bool) -> Callable[[Any, Any], Any]:
    """A function of its own, compiled or not."""
    return torch.compile(lambda x, number: function(x, number)) if compiled else function  # type: ignore[no-any-return]


PLAIN: dict[str, Callable[[Any, Any], Any]] = {
    "mul": operator.mul, "div": operator.truediv, "rmul": lambda x, n: n * x,
    "mul_": lambda x, n: x.clone().mul_(n), "div_": lambda x, n: x.clone().div_(n),
    "foreach": lambda x, n: torch._foreach_mul([x], n)[0],
    "tensor": lambda x, n: x * torch.tensor(n), "tensor64": lambda x, n: x / torch.tensor(n, dtype=torch.float64),
}  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("dtype", HALVES)
def test_products_and_quotients_take_numbers_as_float32(dtype: Any, name: str, compiled: bool) -> None:
    plain = operator.truediv if "div" in name or name == "tensor64" else operator.mul
    step = lambda x, number: plain(x, np.float32(number))  # noqa: E731 - the same for values and cotangents
    check(either(PLAIN[name], compiled), dtype, step, step)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_a_number_over_halves_is_the_number_times_the_reciprocal(dtype: Any, compiled: bool) -> None:
    check(either(lambda x, n: n / x, compiled), dtype, lambda x, n: rounded(1 / x, dtype) * np.float32(n))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_quotients_by_numbers_are_cut_off_unrounded(dtype: Any, compiled: bool) -> None:
    trunc = either(lambda x, n: torch.div(x, n, rounding_mode="trunc"), compiled)
    check(trunc, dtype, lambda x, n: np.trunc(x / np.float32(n)))
    floor = either(lambda x, n: torch.div(x, n, rounding_mode="floor"), compiled)
    check(floor, dtype, lambda x, n: torch.div(torch.tensor(x), n, rounding_mode="floor").numpy())


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_alpha_is_rounded_and_the_sum_once(dtype: Any, compiled: bool) -> None:
    other = torch.tensor(WEIGHTS).to(dtype)
    beside = rounded(WEIGHTS, dtype)
    plus = either(lambda x, n: torch.add(x, other, alpha=n), compiled)
    check(plus, dtype, lambda x, n: x + beside * half(n, dtype), lambda g, n: g)
    minus = either(lambda x, n: x.clone().sub_(other, alpha=n), compiled)
    check(minus, dtype, lambda x, n: x - beside * half(n, dtype), lambda g, n: g)
    scaled = either(lambda x, n: torch.rsub(x, 3.3, alpha=n), compiled)
    check(scaled, dtype, lambda x, n: half(3.3, dtype) - x * half(n, dtype), lambda g, n: g * -np.float32(n))
    number = either(lambda x, n: torch.add(x, 3.3, alpha=n), compiled)
    check(number, dtype, lambda x, n: x + half(3.3, dtype) * half(n, dtype))


@pytest.mark.parametrize("dtype", HALVES)
def test_sums_with_alpha_keep_the_shapes_and_names_of_gradients(dtype: Any) -> None:
    x = torch.ones(3, 1, dtype=dtype, requires_grad=True)
    y = torch.ones(4, dtype=dtype, requires_grad=True)
    total = torch.sub(x, y, alpha=0.5)
    assert total.grad_fn is not None
    assert total.grad_fn.name() == "SubBackward0"
    total.sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert (x.grad.tolist(), y.grad.tolist()) == ([[4.0]] * 3, [-1.5] * 4)
    with pytest.raises(RuntimeError, match="value cannot be converted to type"):
        torch.add(x, y, alpha=1e39)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_tensor_of_rank_0_takes_its_gradient_from_halves(dtype: Any) -> None:
    x = torch.tensor([1.0, 2.0, 3.0], dtype=dtype)
    for function in (lambda n: x * n, torch.compile(lambda n: x * n)):
        number = torch.tensor(0.3, requires_grad=True)
        function(number).sum().backward()
        assert number.grad is not None
        assert (number.grad.item(), number.grad.dtype) == (6.0, torch.float32)
    shown = torch.vmap(lambda row, n: row * n)(x.expand(2, 3), torch.tensor([0.5, 2.0]))
    assert shown.tolist() == [[0.5, 1.0, 1.5], [2.0, 4.0, 6.0]]
    # The first operand is rounded before the product.
    first = torch.tensor(1 / 3) * torch.tensor([3.3], dtype=dtype).expand(2)
    assert first[0].item() == half(half(1 / 3, dtype) * half(3.3, dtype), dtype)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_steps_of_gradient_descent_round_as_sums_with_alpha(dtype: Any, compiled: bool) -> None:
    gradient = rounded(WEIGHTS, dtype)
    for lr in (0.01, 0.3):
        parameter = torch.tensor(VALUES).to(dtype).requires_grad_()
        optimizer = torch.optim.SGD([parameter], lr=lr, weight_decay=0.1)
        step = torch.compile(optimizer.step) if compiled else optimizer.step
        expected = rounded(VALUES, dtype)
        for _ in range(3):
            parameter.grad = torch.tensor(WEIGHTS).to(dtype)
            step()
            total = rounded(gradient + expected * half(0.1, dtype), dtype)
            expected = rounded(expected - total * half(lr, dtype), dtype)
        assert parameter.tolist() == expected.tolist()


def test_numbers_over_tensors_are_the_same_compiled() -> None:
    x = torch.tensor(VALUES)
    function = torch.compile(lambda x, n: n / x)
    for number in NUMBERS:
        assert function(x, number).tolist() == (number / x).tolist()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_softplus_of_halves_is_rounded_once(dtype: Any, compiled: bool) -> None:
    def expected(x: Array, beta: float) -> Array:
        return torch.nn.functional.softplus(torch.tensor(x), beta).numpy()  # type: ignore[no-any-return]

    check(either(lambda x, n: torch.nn.functional.softplus(x, n), compiled), dtype, expected)


@pytest.mark.parametrize("compiled", [False, True])
def test_losses_with_a_bound_are_rounded_at_each_step_or_once(compiled: bool) -> None:
    """As in PyTorch: huber_loss once for float16, smooth_l1_loss once for bfloat16, the others at each step."""
    functional, target = torch.nn.functional, rounded(WEIGHTS, torch.float16)

    def huber(x: Array, n: float) -> Array:
        size, bound = np.abs(x - target), np.float32(abs(n))
        return np.where(size < bound, size / 2 * size, bound * (size - bound / 2))

    def smooth(x: Array, n: float) -> Array:
        size, bound = np.abs(x - rounded(WEIGHTS, torch.bfloat16)), np.float32(abs(n))
        return np.where(size < bound, size / 2 * size / bound, size - bound / 2)

    def stepwise(x: Array, n: float) -> Array:
        dtype = torch.bfloat16
        size, bound = rounded(np.abs(x - rounded(WEIGHTS, dtype)), dtype), half(abs(n), dtype)
        beyond = bound * rounded(size - bound / 2, dtype)
        return np.where(size < bound, rounded(size / 2 * size, dtype), beyond)

    def loss(name: str, dtype: Any) -> Any:
        other = torch.tensor(WEIGHTS).to(dtype)
        function = getattr(functional, name)
        key = "delta" if name == "huber_loss" else "beta"
        return either(lambda x, n: function(x, other, reduction="none", **{key: abs(n)}), compiled)

    check(loss("huber_loss", torch.float16), torch.float16, huber)
    check(loss("smooth_l1_loss", torch.bfloat16), torch.bfloat16, smooth)
    check(loss("huber_loss", torch.bfloat16), torch.bfloat16, stepwise)


@pytest.mark.parametrize("dtype", HALVES)
def test_sums_of_rank_0_with_alpha_stay_halves(dtype: Any) -> None:
    for number in (3, 3.5, 15):
        x = torch.tensor(2.0, dtype=dtype, requires_grad=True)
        for function in (torch.add, torch.compile(torch.add)):
            result = function(x, number, alpha=2)
            assert (result.dtype, result.shape, result.item()) == (dtype, (), 2.0 + 2 * number)
        (slope,) = torch.autograd.grad(torch.sub(number * x, x, alpha=3), x)
        assert (slope.dtype, slope.item()) == (dtype, number - 3)
        y = torch.tensor(2.0, dtype=dtype)
        assert y.sub_(number, alpha=2).item() == 2.0 - 2 * number
