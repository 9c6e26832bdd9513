"""Captured loops and branches write through views, and see what is written to them: as plain Python does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch

Function = Callable[..., Any]


def slice_in_for(x, n):
    a = x[0]
    for _ in range(n):
        x[0] = x[0] + a
    return x


def slice_in_while(x, n):
    a, i = x[0], 0
    while i < n:
        x[0] = x[0] + a
        i = i + 1
    return x * 1, a * 2


def two_overlapping_slices(x, n):
    a, b = x[1:3], x[2:4]
    for _ in range(n):
        a.mul_(2.0)
        b.add_(1)
    return x * a.sum() + b.sum()


def transposed_and_reshaped(x, n):
    v = x.view(2, 2)
    t = v.t()
    for _ in range(n):
        t[0] = t[0] + t[1] * 0.5
        x[3] = (x[3] + 1) * (v[0, 1] + 1)
    return x, v * 2, t * 3


def view_of_a_view(x, n):
    v = x.view(2, 2)
    row = v[1]
    for _ in range(n):
        v.mul_(1.5)
        row.add_(2)
        x[0] = x[0] + row[0]
    return x + row.sum(), v


def detached(x, n):
    d = x.detach()
    for _ in range(n):
        x[0] = x[0] * 2
        x[1] = x[1] + d[0]
    return x, d * 1


def unbound(x, n):
    p, q, r, s = x.unbind()
    for _ in range(n):
        x[0] = x[0] * 2
        x[1] = x[1] + p
    return x + p * q + r * s


def condition_reads_the_base(x, n):
    v, k = x[0], 0
    while x[0] < n and k < 9:
        v.add_(1)
        k = k + 1
    return x * v + k


def condition_reads_the_view(x, n):
    v, k = x[0], 0
    while v < n and k < 9:
        x[0] = x[0] + 1
        k = k + 1
    return x * v + k


def in_a_list(x, n):
    rows = [x[0:2], x[2:4]]
    for _ in range(n):
        rows[0].add_(rows[1])
        x[3] = x[3] + rows[0][1]
    return x, rows[0] * 2


def in_nested_loops(x, n):
    for _ in range(n):
        a, j = x[0], 0
        while j < n:
            x[0] = x[0] * 1.1 + a * 0.5
            j = j + 1
        x[1] = a
    return x


def branch_in_a_loop(x, n):
    v, w = x[1:], x[:3]
    for i in range(n):
        if i > 0:
            v.mul_(2)
        else:
            w.add_(1)
        x[0] = x[0] + v[0] + w[1]
    return x, v + 0, w + 0


def views_made_in_turns(x, n):
    y = x * 1
    for _ in range(n):
        r = y.view(2, 2)[0]
        r.mul_(2)
        s = y[1]
        y[1] = s + r[0]
    return y


def branch(x, n):
    a = x[0]
    if n > 2:
        x[0] = x[0] + a
        a.mul_(2)
        x[0] = x[0] + a
    return x + a


def branches_that_write_two_views(x, n):
    a, b = x[:3], x[1:]
    if n > 2:
        a.mul_(3)
    else:
        b.mul_(2)
    return x, a + 0, b + 0


def augmented_view(x, n):
    a = x[0]
    for _ in range(n):
        a += 1
    return x, a


def augmented_argument(x, n):
    for _ in range(n):
        x += 1
    x[0] = x[0] * 3
    return x


def augmented_with_a_second_name(x, n):
    y = x * 2
    z = y
    for _ in range(n):
        y += 1
    return y + 0, z + 0


def augmented_in_a_branch(x, n):
    y, z = x * 2, x[1:]
    if n > 2:
        y += 1
        z *= 2
    y[0] = 7.0
    z[0] = 3.0
    return x, y


CASES = [
    slice_in_for, slice_in_while, two_overlapping_slices, transposed_and_reshaped, view_of_a_view, detached, unbound,
    condition_reads_the_base, condition_reads_the_view, in_a_list, in_nested_loops, branch_in_a_loop,
    views_made_in_turns, branch, branches_that_write_two_views, augmented_view, augmented_argument,
    augmented_with_a_second_name, augmented_in_a_branch,
]  # fmt: skip


def numbers(result: Any) -> torch.Tensor:
    parts = result if isinstance(result, tuple) else (result,)
    return torch.cat([part.reshape(-1) for part in parts])


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("function", CASES)
def test_writes_are_seen_through_every_view(function: Function) -> None:
    compiled = torch.compile(function)
    for count in (3, 0, 1, 4):
        x = torch.tensor([1.0, 2.0, -3.0, 4.0])
        plain, given = x.clone(), x.clone()
        wanted, found = numbers(function(plain, count)), numbers(compiled(given, torch.tensor(count)))
        close(found, wanted)
        close(given, plain)  # what became of the argument


@pytest.mark.parametrize("function", [function for function in CASES if function is not detached])
def test_gradients_go_through_every_view(function: Function) -> None:
    def whole(x: torch.Tensor, n: Any) -> torch.Tensor:
        return numbers(function(x * 1, n)).square().sum()

    compiled = torch.compile(whole)
    for count in (3, 0):
        plain, given = (torch.tensor([1.0, 2.0, -3.0, 4.0], requires_grad=True) for _ in range(2))
        wanted, found = whole(plain, count), compiled(given, torch.tensor(count))
        close(found, wanted)
        close(*torch.autograd.grad(found, given), *torch.autograd.grad(wanted, plain))


def views_as_arguments(x, a, b, n):
    for _ in range(n):
        x[0] = x[0] + a
        b.mul_(2)
    return x + a + b.sum()


def test_arguments_that_are_views_of_one_memory() -> None:
    compiled = torch.compile(views_as_arguments)
    for _ in range(2):
        plain, given = (torch.tensor([1.0, 2.0, -3.0, 4.0]) for _ in range(2))
        wanted = views_as_arguments(plain, plain[0], plain[1:3], 3)
        close(compiled(given, given[0], given[1:3], torch.tensor(3)), wanted)
        close(given, plain)


def test_captured_tensors_on_one_memory() -> None:
    base = torch.tensor([1.0, 2.0, -3.0, 4.0])
    part = base[1:]

    def grows(n: Any) -> torch.Tensor:
        for _ in range(n):
            part.mul_(2)
            base[1] = base[1] + part[0]
        return base * 1

    wanted = base.clone()
    for _ in range(3):
        wanted[1:].mul_(2)
        wanted[1] = wanted[1] + wanted[1]
    close(torch.compile(grows)(torch.tensor(3)), wanted)
    close(base, wanted)


def test_transformed_functions_see_writes_through_captured_views() -> None:
    base = torch.tensor([1.0, 2.0])
    part = base[0]

    def grows(x: torch.Tensor) -> torch.Tensor:
        base[0] = base[0] * 2
        return (x * part).sum()

    close(torch.func.grad(grows)(torch.ones(3)), torch.full((3,), 2.0))
    close(base, torch.tensor([2.0, 2.0]))
