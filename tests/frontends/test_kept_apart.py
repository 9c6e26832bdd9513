"""Names of one memory that branches and loops of a captured program keep apart: both see what is written to either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.ir.errors import TraceError

Function = Callable[..., Any]


def choice_of_views(y, n):
    k = y[0] if n > 2 else y[1]
    k += 1
    return y * 1, k * 1


def base_of_a_choice(y, n):
    if n > 2:
        k = y[0]
        k[1] = 7
    else:
        k = y[1]
    y += 1
    return y * 1, k * 1


def choice_of_tensors(y, n):
    z = y * 2
    k = y if n > 2 else z
    k += 1
    y *= 3
    return y * 1, k * 1, z


def choice_at_computed_places(y, n):
    for i in range(n):
        k = y[i] if y[i].sum() > 20 else y[i - 1]
        k += 1
    return y * 1


def choice_of_choices(y, n):
    k = (y[0] if n > 2 else y[1]) if y.sum() > 0 else y[2]
    y[1] += 5
    k *= 2
    return y * 1, k * 1


def choice_used_in_a_loop(y, n):
    k = y[0] if n > 2 else y[1]
    s = y.sum()
    for _ in range(n):
        k += 1
        s = s + y.sum()
    return y * 1, s


def two_writes_in_two_branches(y, n):
    k = y[0] if n > 2 else y[1]
    if y[2].sum() > n:
        k += 1
    else:
        y *= 2
    return y * 1, k * 1


def second_name(y, n):
    k = y
    for _ in range(n):
        y += 1
        k = k * 2
    return y * 1, k * 1


def second_name_for_a_view(y, n):
    k = y[0]
    for _ in range(n):
        y *= 2
        k = k + y[1]
    k += 1
    return y * 1, k * 1


def written_then_new(y, n):
    for _ in range(n):
        y[0] += 1
        y = y * 2
    return y * 1


def new_then_written(y, n):
    for _ in range(n):
        y = y * 2
    y += 1
    return y * 1


def exchanged(y, n):
    z = y.clone()
    for _ in range(n):
        z[1:] = y[:-1] + 1
        y, z = z, y
    return y * 1, z * 1


def exchanged_among_three(y, n):
    a, b = y + 1, y + 2
    for _ in range(n):
        a[0] += y[1]
        y, a, b = a, b, y
    a *= 2
    return y * 1, a * 1, b * 1


# What PyTorch 2.13 leaves of y = arange(12.).reshape(3, 4) for n = 3, 2 and 0, then what it returns:
# the sums of their elements times 1, 2, 3 and so on.
EXPECTED: dict[Function, tuple[list[float], ...]] = {
    choice_of_views: ([582.0, 582.0, 30.0], [598.0, 598.0, 70.0], [598.0, 598.0, 70.0]),
    base_of_a_choice: ([662.0, 662.0, 42.0], [650.0, 650.0, 70.0], [650.0, 650.0, 70.0]),
    choice_of_tensors: (
        [1950.0, 1950.0, 1950.0, 1144.0], [1716.0, 1716.0, 1222.0, 1222.0], [1716.0, 1716.0, 1222.0, 1222.0]
    ),
    choice_at_computed_places: ([682.0, 682.0], [640.0, 640.0], [572.0, 572.0]),
    choice_of_choices: ([722.0, 722.0, 40.0], [980.0, 980.0, 220.0], [980.0, 980.0, 220.0]),
    choice_used_in_a_loop: ([602.0, 602.0, 288.0], [624.0, 624.0, 210.0], [572.0, 572.0, 66.0]),
    two_writes_in_two_branches: ([582.0, 582.0, 30.0], [598.0, 598.0, 70.0], [598.0, 598.0, 70.0]),
    second_name: ([806.0, 806.0, 5200.0], [728.0, 728.0, 2600.0], [572.0, 572.0, 572.0]),
    second_name_for_a_view: ([4576.0, 4576.0, 890.0], [2288.0, 2288.0, 410.0], [582.0, 582.0, 30.0]),
    written_then_new: ([582.0, 4716.0], [582.0, 2348.0], [572.0, 572.0]),
    new_then_written: ([572.0, 4654.0], [572.0, 2366.0], [650.0, 650.0]),
    exchanged: ([242.0, 242.0, 242.0], [242.0, 242.0, 368.0], [572.0, 572.0, 572.0]),
    exchanged_among_three: (
        [652.0, 652.0, 1420.0, 798.0], [1144.0, 798.0, 1144.0, 710.0], [572.0, 572.0, 1300.0, 728.0]
    ),
}  # fmt: skip


@pytest.mark.parametrize("function", EXPECTED, ids=lambda function: function.__name__)
def test_both_names_see_what_is_written(function: Function) -> None:
    compiled = torch.compile(function)
    for n, wanted in zip((3, 2, 0), EXPECTED[function], strict=True):
        y = torch.arange(12.0).reshape(3, 4)
        found = compiled(y, torch.tensor(n))
        results = found if isinstance(found, tuple) else (found,)
        weights = torch.arange(1.0, 13.0)
        sums = [float((x.reshape(-1) * weights[: x.numel()]).sum()) for x in (y, *results)]
        assert sums == wanted


def test_gradients_go_through_a_choice_of_views() -> None:
    def f(x, n):
        y = x * 1
        k = y[0] if n > 2 else y[1]
        k *= 3
        y[0] *= 2
        return (k * y).sum()

    for n, wanted in ((3, [[75.0, 120.0], [6.0, 9.0]]), (2, [[3.0, 12.0], [15.0, 45.0]])):  # PyTorch's
        x = torch.tensor([[1.0, 1.5], [0.5, 2.0]], requires_grad=True)
        torch.compile(f)(x, torch.tensor(n)).backward()
        np.testing.assert_allclose(x.grad.numpy(), wanted)


def test_what_a_program_cannot_tell_is_refused() -> None:
    def f(y, n):
        k = y[0]
        for i in range(n):
            k += 1
            k = y[i]
        return y * 1

    with pytest.raises(TraceError, match=r"k and another name may be the same memory[\s\S]*k\.clone\(\)"):
        torch.compile(f)(torch.ones(3, 2), torch.tensor(2))


def test_many_choices_in_a_row_are_traced_in_time() -> None:
    def f(y, n):
        k = y
        for _ in range(60):
            k = k * 2 if n > 0 else k
        k += 1
        return k.sum()

    y = torch.zeros(2)
    assert torch.compile(f)(y, torch.tensor(0)) == 2
    assert y.tolist() == [1, 1]
