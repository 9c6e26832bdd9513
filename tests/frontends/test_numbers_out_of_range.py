"""Python numbers that a tensor's dtype cannot hold: PyTorch's errors where it raises, its values where it does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

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
