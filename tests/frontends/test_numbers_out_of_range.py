"""Python numbers that a tensor's dtype cannot hold: PyTorch's errors where it raises, its values where it does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import adjit as torch

INF = float("inf")


def set_one(x, number):
    x[0] = number
    return x


def set_part(x, number):
    x[1:] = number
    return x


def set_at_places(x, number):
    x[torch.tensor([0, 2])] = number
    return x


def set_by_mask(x, number):
    x[torch.tensor([True, False, True])] = number
    return x


def chosen(x, number):
    return torch.where(x.bool(), x, number)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("function", [set_one, set_part, set_at_places, set_by_mask, chosen])
def test_numbers_that_no_element_holds(function: Callable[..., Any], compiled: bool) -> None:
    def run(x, number):
        return (torch.compile(lambda x: function(x, number)) if compiled else partial(function, number=number))(x)

    for number in (1e300, -3.5e38):
        with pytest.raises(RuntimeError, match="value cannot be converted to type float without overflow"):
            run(torch.zeros(3), number)
    for dtype in (torch.float16, torch.bfloat16):
        assert -INF in run(torch.zeros(3, dtype=dtype), -1e300).tolist()
    assert INF in run(torch.zeros(3, dtype=torch.float16), 70000).tolist()
    assert INF in run(torch.zeros(3), INF).tolist()
    assert -1e300 in run(torch.zeros(3, dtype=torch.float64), -1e300).tolist()


@pytest.mark.parametrize("compiled", [False, True])
def test_powers_beyond_the_range(compiled: bool) -> None:
    def f(x):
        return x**1e300, torch.pow(x, -1e300)

    x = torch.tensor([0.5, 1.0, 2.0, -2.0, 0.0])
    high, low = (torch.compile(f) if compiled else f)(x)
    assert high.tolist() == [0.0, 1.0, INF, INF, 0.0]
    assert low.tolist() == [INF, 1.0, 0.0, 0.0, INF]


def whole_sum(x: Any) -> Any:
    return x + int(x.sum())


def whole_item(x: Any) -> Any:
    return int(x.sum().item())


def floor_of_item(x: Any) -> Any:
    return math.floor(x.sum().item())


def truncated_item(x: Any) -> Any:
    return math.trunc(x.sum().item())


def whole_number_of_turns(x: Any) -> Any:
    total = x * 0
    for _ in range(int(x.sum())):
        total = total + x
    return total


@pytest.mark.parametrize("function", [whole_sum, whole_item, floor_of_item, truncated_item, whole_number_of_turns])
def test_ints_of_traced_numbers_raise_where_python_has_none(function: Any) -> None:
    compiled = torch.compile(function)
    for given in (2.5, -2.5, 0.0, float("nan"), float("inf"), float("-inf"), 3.0):
        x = torch.tensor([given])
        try:
            wanted = function(x)
        except (ValueError, OverflowError) as error:
            with pytest.raises(type(error), match=str(error)):
                compiled(x)
        else:
            assert compiled(x) == wanted
    if function is not whole_number_of_turns:
        with pytest.raises(OverflowError, match="int too big to convert"):
            compiled(torch.tensor([1e30]))


F = torch.nn.functional
# Numbers that PyTorch converts to float32 before it computes with them, also beside float16 and bfloat16.
CONVERTED: dict[str, Callable[[Any, float], Any]] = {
    "elu": lambda x, n: F.elu(x, n), "celu": lambda x, n: F.celu(x, n), "leaky_relu": lambda x, n: F.leaky_relu(x, n),
    "threshold": lambda x, n: F.threshold(x, n, 0.0), "softplus": lambda x, n: F.softplus(x, n),
    "softplus threshold": lambda x, n: F.softplus(x, 1.0, n), "addcmul": lambda x, n: torch.addcmul(x, x, x, value=n),
    "addcdiv": lambda x, n: torch.addcdiv(x, x, x + 1, value=n), "lerp": lambda x, n: torch.lerp(x, x + 1, n),
    "addmm beta": lambda x, n: torch.addmm(x, x, x, beta=n), "addmm alpha": lambda x, n: torch.addmm(x, x, x, alpha=n),
    "addmv": lambda x, n: torch.addmv(x[0], x, x[0], beta=n), "addr": lambda x, n: torch.addr(x, x[0], x[0], alpha=n),
    "baddbmm": lambda x, n: torch.baddbmm(x[None], x[None], x[None], alpha=n),
    "addbmm": lambda x, n: torch.addbmm(x, x[None], x[None], alpha=n),
}  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("case", CONVERTED)
def test_numbers_beside_tensors_that_no_float_holds(case: str, compiled: bool) -> None:
    def run(x: Any, n: float) -> Any:
        return (torch.compile(lambda x: CONVERTED[case](x, n)) if compiled else partial(CONVERTED[case], n=n))(x)

    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for number in (1e300, 3.5e38, -1e39):
            with pytest.raises(RuntimeError, match="value cannot be converted to type float without overflow"):
                run(torch.ones(2, 2, dtype=dtype), number)
        for number in (INF, math.nan, 2.0):
            assert run(torch.ones(2, 2, dtype=dtype), number).dtype is dtype
    assert run(torch.ones(2, 2, dtype=torch.float64), 1e300).dtype is torch.float64


def test_a_range_is_asked_for_also_after_other_numbers() -> None:
    x = torch.ones(2, 2)
    for case, function in CONVERTED.items():
        for n in range(60):
            function(x, 0.5 + n / 64)
        with pytest.raises(RuntimeError, match="value cannot be converted to type float without overflow"):
            function(x, 1e300)
        is_asked = case in ("elu", "celu", "leaky_relu", "threshold", "softplus threshold")
        assert function(x, math.nan).isnan().all() != is_asked


def test_nan_passes_no_check() -> None:
    x = torch.ones(2, 3, 4)
    for _ in range(12):
        with pytest.raises(RuntimeError, match="huber_loss does not support non-positive values for delta"):
            F.huber_loss(x, x, delta=math.nan)
        with pytest.raises(RuntimeError, match="smooth_l1_loss does not support negative values for beta"):
            F.smooth_l1_loss(x, x, beta=math.nan)
        for drop in (F.dropout, F.dropout1d, F.alpha_dropout, F.feature_alpha_dropout):
            for training in (False, True):
                with pytest.raises(RuntimeError, match="dropout probability has to be between 0 and 1, but got nan"):
                    drop(x, math.nan, training)
        for bound in (math.nan, INF, 1e39, -0.5):
            with pytest.raises(RuntimeError, match=r"lambda must be in range \[0, 3.40282e\+38\] for input dtype"):
                F.softshrink(x, bound)
        for _ in range(6):
            F.huber_loss(x, x, delta=0.5), F.smooth_l1_loss(x, x, beta=0.5), F.dropout(x, 0.5), F.softshrink(x, 0.5)


@pytest.mark.parametrize("number", [np.float64(2), np.float32(2), np.int64(2), np.bool_(True)])
def test_numbers_of_numpy_are_no_tensors(number: Any) -> None:
    for name in ("sigmoid", "tanh", "exp", "abs", "sin", "neg", "square", "logical_not", "relu"):
        message = rf"{name}\(\): argument 'input' \(position 1\) must be Tensor, not numpy.{type(number).__name__}"
        with pytest.raises(TypeError, match=message):
            getattr(torch, name)(number)
    for bad in (number, 2.0):
        with pytest.raises(TypeError, match=r"clamp\(\): argument 'input'"):
            torch.clamp(bad, 0, 1)
    assert torch.add(number, number).item() == number + number


def _error(function: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(RuntimeError) as error:
        function(*arguments)
    return str(error.value).split("\n")[0]


def test_a_little_beyond_the_greatest_number() -> None:
    ones, beyond = torch.ones(3), 3.4028235e38  # rounds to the greatest number of float32
    for function in (
        lambda: torch.full((2,), beyond), lambda: ones.masked_fill(ones > 0, beyond), lambda: ones.fill_(beyond),
        lambda: torch.clamp(ones, beyond), lambda: torch.where(ones > 0, beyond, ones),
        lambda: torch.nn.functional.threshold(ones, 0.0, beyond),
    ):  # fmt: skip
        assert _error(function) == "value cannot be converted to type float without overflow"
    for number in (65505.0, -65519.0):
        told = _error(lambda number=number: torch.full((2,), number, dtype=torch.float16))
        assert told == "value cannot be converted to type c10::Half without overflow"
    greatest = float(np.finfo(np.float32).max)
    assert torch.full((2,), greatest).tolist() == (ones * beyond).tolist()[:2] == [greatest] * 2
    assert torch.full((1,), -65504.0, dtype=torch.float16).item() == -65504.0
    assert torch.tensor([beyond]).item() == greatest
    assert (ones**beyond).tolist() == [1.0] * 3


@pytest.mark.parametrize("function", ["clamp", "full_like", "masked_fill", "fill_", "setitem"])
def test_numbers_of_compiled_functions_that_no_half_holds(function: str) -> None:
    def run(x, number):
        if function == "setitem":
            x[0] = number
            return x
        if function == "masked_fill":
            return x.masked_fill(x > 0, number)
        return x.fill_(number) if function == "fill_" else getattr(torch, function)(x, number)

    compiled = torch.compile(run)
    for number in (0.25, 0.5, 0.75, 1.25):
        compiled(torch.ones(3, dtype=torch.float16), number)
    if function == "setitem":  # PyTorch takes an infinity here
        assert compiled(torch.ones(3, dtype=torch.float16), 70000.0)[0].item() == INF
    else:
        told = _error(compiled, torch.ones(3, dtype=torch.float16), 70000.0)
        assert told == "value cannot be converted to type c10::Half without overflow"
    assert compiled(torch.ones(3, dtype=torch.float16), 1.5)[0].item() == 1.5


def test_integers_are_given_no_infinite_bounds() -> None:
    functional, whole = torch.nn.functional, torch.ones(3, dtype=torch.int64)
    for number in (math.nan, INF, -INF, -1e300):
        for arguments in ((whole, number, 1.0), (whole, 1, number)):
            told = _error(functional.threshold, *arguments)
            assert told == "value cannot be converted to type int64_t without overflow"
    for low, high in ((math.nan, 1.0), (-1.0, math.nan), (-INF, 1.0), (0.0, 1e300)):
        assert _error(functional.hardtanh, whole, low, high) == (
            "value cannot be converted to type int64_t without overflow"
        )


@pytest.mark.parametrize(("low", "high"), [(math.nan, 1.0), (-1.0, math.nan), (math.nan, math.nan)])
def test_bounds_of_hardtanh_that_are_nan(low: float, high: float) -> None:
    hardtanh = torch.nn.functional.hardtanh
    for number in (0.5, 0.75, 0.25) * 20:
        hardtanh(torch.ones(3), -number, number)
    x = torch.tensor([-3.0, 0.3, 2.0], requires_grad=True)
    result = hardtanh(x, low, high)
    result.sum().backward()
    assert all(map(math.isnan, result.tolist()))
    assert x.grad is not None
    assert x.grad.tolist() == [0.0 if low >= -3.0 else 1.0, 1.0, 0.0 if high <= 2.0 else 1.0]
    y = torch.tensor([-3.0, 0.3, 2.0])
    assert hardtanh(y, low, high, inplace=True) is y
    assert all(map(math.isnan, y.tolist()))


@pytest.mark.parametrize(
    ("dtype", "value", "name"),
    [(torch.int64, float("inf"), "int64_t"), (torch.int64, float("nan"), "int64_t"), (torch.int64, 1e30, "int64_t"),
     (torch.uint8, 300, "uint8_t")],
)  # fmt: skip
def test_factors_of_integers_are_integers_of_their_dtype(dtype: torch.dtype, value: float, name: str) -> None:
    x = torch.ones(3, dtype=dtype)
    with pytest.raises(RuntimeError, match=f"value cannot be converted to type {name} without overflow"):
        torch.addcmul(x, x, x, value=value)
    assert torch.addcmul(x, x, x, value=2.7).tolist() == [3, 3, 3]


def test_factors_of_outer_products_of_integers() -> None:
    square, vector = torch.ones(2, 2), torch.ones(2, dtype=torch.int32)
    for _ in range(3):
        assert torch.addr(square, vector, vector, alpha=2.5).tolist() == [[3.5, 3.5], [3.5, 3.5]]
    assert torch.addr(square.int(), vector.float(), vector, beta=0.5).tolist() == [[1.5, 1.5], [1.5, 1.5]]
    assert torch.addr(square.int(), vector, vector, alpha=2).tolist() == [[3, 3], [3, 3]]
    for factor in ("beta", "alpha"):
        with pytest.raises(RuntimeError, match=f"argument {factor} must not be a floating point number"):
            torch.addr(square.int(), vector, vector, **{factor: 2.5})
        with pytest.raises(RuntimeError, match=f"Boolean {factor} only supported for Boolean results"):
            torch.addr(square, vector, vector, **{factor: True})
