"""`y[i]` with an index that is known only when the program runs is a view, as it is in PyTorch with a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.ir.errors import TraceError

Function = Callable[..., Any]


def written_row(y, n):
    for i in range(int(n)):
        k = y[i]
        k += 1
    return y * 2


def base_written_later(y, n):
    total = torch.zeros(4)
    for i in range(int(n)):
        k = y[i]
        y += 1
        total = total + k
    return total


def exchanged_by_views(y, n):
    for i in range(int(n) - 1):
        a = y[i]
        y[i] = y[i + 1]
        y[i + 1] = a
    return y * 2


def parts_of_parts(y, n):
    for i in range(int(n)):
        y[i] += 1
        y[i, 0] *= 2
        y[i][1] -= 5
        y[:, 1][i] = 3.0
    return y * 2


def views_of_views(y, n):
    for i in range(int(n)):
        k = y.t()[:, i]
        for j in range(int(n)):
            k[j] += i * j
        k[1:3].mul_(1.5)
    return y + 0


def read_beside_tensors(y, n):
    i = n - 1
    return y[i, :, None] + y[i][torch.tensor([0, 1, 2, 1])]


def in_a_branch(y, n):
    for i in range(int(n)):
        if y[i].sum() > 20:
            y[i].neg_()
    return y + 0


def the_index_changes(y, n):
    i = n - 1
    k = y[i]
    i -= 1
    k += 1
    return k * 1, y * i


# What PyTorch 2.13 gives for y = arange(12.).reshape(3, 4) and n = 3.
EXPECTED: dict[Function, list[Any]] = {
    written_row: [[2, 4, 6, 8], [10, 12, 14, 16], [18, 20, 22, 24]],
    base_written_later: [18, 21, 24, 27],
    exchanged_by_views: [[8, 10, 12, 14], [16, 18, 20, 22], [16, 18, 20, 22]],
    parts_of_parts: [[4, 6, 6, 8], [20, 6, 14, 16], [36, 6, 22, 24]],
    views_of_views: [[0, 1.5, 3, 3], [4, 9, 12, 7], [8, 16.5, 21, 11]],
    read_beside_tensors: [[16, 17, 18, 17], [17, 18, 19, 18], [18, 19, 20, 19], [19, 20, 21, 20]],
    in_a_branch: [[0, 1, 2, 3], [-4, -5, -6, -7], [-8, -9, -10, -11]],
    the_index_changes: [[9, 10, 11, 12], [[0, 1, 2, 3], [4, 5, 6, 7], [9, 10, 11, 12]]],
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("function", EXPECTED, ids=lambda function: function.__name__)
def test_views_at_computed_places(function: Function, compiled: bool) -> None:
    y = torch.arange(12.0).reshape(3, 4)
    found = (torch.compile(function) if compiled else function)(y, torch.tensor(3))
    values = [x.tolist() for x in found] if isinstance(found, tuple) else found.tolist()
    assert values == EXPECTED[function]


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_of_what_views_at_computed_places_wrote(compiled: bool) -> None:
    def f(x, n):
        y = x * 1
        for i in range(int(n)):
            k = y[i]
            k *= i + 2
            y[2] += k
        return (y * y).sum()

    x = torch.arange(6.0).reshape(3, 2).requires_grad_()
    (torch.compile(f) if compiled else f)(x, torch.tensor(2)).backward()
    assert x.grad.tolist() == [[40.0, 72.0], [96.0, 150.0], [20.0, 32.0]]


def test_a_tensor_of_one_integer_is_a_view_in_eager_mode() -> None:
    x = torch.zeros(3, 4)
    row = x[torch.tensor(1)]
    row += 1
    assert x.sum() == 4
    assert row._base is x
    assert torch.zeros(3, 4, 5)[torch.tensor(0), :, torch.tensor([1, 2])].shape == (4, 2)


def test_a_computed_place_beside_tensors_is_taken_first() -> None:
    x, i = torch.zeros(3, 4, 5), torch.tensor(1)
    assert torch.compile(lambda x, i: x[i, :, torch.tensor([1, 2])])(x, i).shape == (4, 2)

    def write(x, i):
        x[i, :, torch.tensor([1, 2])] = torch.ones(4, 2)
        return x

    assert torch.compile(write)(x, i).sum() == 8


def test_computed_places_outside_are_errors() -> None:
    compiled = torch.compile(lambda y, i: y[i] * 2)
    assert compiled(torch.arange(3.0), torch.tensor(-1)) == 4
    with pytest.raises(IndexError, match="index 3 is out of bounds for dimension 0 with size 3"):
        compiled(torch.arange(3.0), torch.tensor(3))


def test_gradients_through_a_loop_that_reads_what_is_overwritten_after_it() -> None:
    def f(x, n):
        y = x * 1
        s = y.sum()
        for _ in range(int(n)):
            s = s + torch.tanh(y).sum()
        y.mul_(2)
        return s

    x = torch.tensor([0.0, 0.5], requires_grad=True)
    (grad,) = torch.autograd.grad(torch.compile(f)(x, torch.tensor(2)), x)
    np.testing.assert_allclose(grad.numpy(), [3.0, 2.5728954], rtol=1e-6)  # PyTorch's


def test_a_gradient_that_an_overwritten_value_stands_against_is_not_none() -> None:
    def f(x):
        y = x * 1
        s = torch.exp(y)
        t = (s * s).sum()
        s.mul_(2)
        return t

    x = torch.tensor([0.0, 0.5], requires_grad=True)
    with pytest.raises(RuntimeError, match="has been modified by an inplace operation"):
        torch.autograd.grad(torch.compile(f)(x), x, allow_unused=True)


def test_a_view_from_before_two_loops_sees_what_both_write() -> None:
    def f(y, n):
        s, k = y.sum() * 0, y[0]
        for _ in range(int(n)):
            y.mul_(0.5)
            for j in range(int(n)):
                y[j] += 1
                s = s + k.sum()
            k += 1
        return s

    y, n = torch.arange(8.0).reshape(4, 2), torch.tensor(2)
    assert f(y.clone(), n) == torch.compile(f)(y.clone(), n) == 13.5000  # PyTorch's


def test_a_branch_of_a_loop_that_leaves_nothing() -> None:
    def f(y, n):
        s, t = y.sum(), y * 2
        for _ in range(int(n)):
            s = s + y.sum()
            if t.sum() > 0:
                k = y * 1  # noqa: F841 - nothing reads it
        return s

    assert torch.compile(f)(torch.ones(3, 2), torch.tensor(2)) == 18


def slices_in_turns(y, n):
    for i in range(int(n)):
        y[0, i : i + 2] += 1
        k = y[:, i + 1 : i - 1 + 2]
        k *= 2
    return y + 0


def slice_with_steps(y, n):
    k = y[n - 2 : n, n - 3 : n + 1 : 2]
    y += 1
    k[1] = 7
    return y + 0, k * 1


@pytest.mark.parametrize("function", [slices_in_turns, slice_with_steps])
def test_slices_with_a_computed_start_are_views(function: Function) -> None:
    plain, given = (torch.arange(12.0).reshape(3, 4) for _ in range(2))
    wanted, found = function(plain, 3), torch.compile(function)(given, torch.tensor(3))
    pairs = zip(wanted, found, strict=True) if isinstance(wanted, tuple) else [(wanted, found)]
    assert all(one.tolist() == other.tolist() for one, other in pairs)
    assert given.tolist() == plain.tolist()


def test_gradients_of_slices_with_a_computed_start() -> None:
    def f(x, n):
        y = x * 1
        for i in range(int(n)):
            y[i : i + 2] *= x[i + 1]
        return (y * y).sum()

    x, z = (torch.tensor([1.0, 2.0, -1.0, 0.5], requires_grad=True) for _ in range(2))
    torch.compile(f)(x, torch.tensor(3)).backward()
    f(z, 3).backward()
    np.testing.assert_allclose(x.grad.numpy(), z.grad.numpy(), rtol=1e-5)


def test_slices_that_a_program_cannot_hold_are_errors() -> None:
    compiled = torch.compile(lambda y, i: y[i : i + 2] * 2)
    assert compiled(torch.arange(3.0), torch.tensor(1)).tolist() == [2, 4]
    for start, reached in ((2, 3), (-1, -1)):
        with pytest.raises(IndexError, match=f"a slice with a computed start reaches index {reached}"):
            compiled(torch.arange(3.0), torch.tensor(start))
    for function in (lambda y, i: y[:i], lambda y, i: y[i:], lambda y, i: y[i : i - 1]):
        with pytest.raises(TraceError, match="the size of a slice is not known"):
            torch.compile(function)(torch.arange(3.0), torch.tensor(0))
    with pytest.raises(ValueError, match="step must be greater than zero"):
        torch.compile(lambda y, i: y[i : i + 2 : -1])(torch.arange(3.0), torch.tensor(0))


def filled(x, i, j):
    x[i:j] = 0.0
    return x * 1


def filled_pair(x, i, j):
    x[i : i + 2] = 5.0
    return x * 1


def filled_from_itself(x, i, j):
    x[:, i:j] = x[0, 0]
    return x * 1


def filled_to_the_end(x, i, j):
    x[i:, 1] = 7
    x[2, None, :j] = -1
    return x * 1


def filled_at_a_place(x, i, j):
    x[j % 3, i:] = 9
    x[i - 1 : j - 1, i:j] = 3
    return x * 1


def added(x, i, j):
    x[i:j] += 1
    x[..., i:j] /= 2
    return x * 1


def every_second(x, i, j):
    x[i:j:2] -= 2
    return x * 1


def windows(x, i, j):
    for k in range(j):
        x[k - 1 : k + 2] += k
        x[k : k + 3, :k] *= 2
    return x * 1


CLIPPED = [
    filled, filled_pair, filled_from_itself, filled_to_the_end, filled_at_a_place, added, every_second, windows
]  # fmt: skip


@pytest.mark.parametrize("function", CLIPPED)
def test_numbers_are_written_where_pythons_slices_reach(function):
    compiled = torch.compile(function)
    for i in (-4, -2, 0, 1, 3):
        for j in (-5, -1, 0, 2, 3, 4):
            x = (torch.arange(12.0).reshape(3, 4) + 1).requires_grad_()
            y = x.detach().clone().requires_grad_()
            found, expected = compiled(x * 1, torch.tensor(i), torch.tensor(j)), function(y * 1, i, j)
            assert found.tolist() == expected.tolist()
            (found * found).sum().backward()
            (expected * expected).sum().backward()
            assert x.grad.tolist() == y.grad.tolist()


def divided(x, i, j):
    y = x * 1
    y[i:j] /= 0
    return y[0] + y[3]


def divided_by_mask(x, i, j):
    y = x * 1
    y[torch.arange(4) % 3 > 0] /= 0
    return y[0] + y[3]


@pytest.mark.parametrize("function", [divided, divided_by_mask])
def test_what_is_not_reached_has_its_own_gradient(function):
    x, y = (torch.tensor([0.0, 1.0, 4.0, 9.0], requires_grad=True) for _ in range(2))
    torch.compile(function)(x, torch.tensor(1), torch.tensor(3)).backward()
    function(y, 1, 3).backward()
    assert x.grad[0] == y.grad[0] == 1 and x.grad[3] == y.grad[3] == 1


def test_flags_keep_their_dtype_where_slices_reach():
    def counted(flags, i, j):
        flags[i:j] += 1
        return flags

    def turned(flags, i, j):
        flags[i:j] ^= True
        return flags

    def given():
        return torch.tensor([True, False, True]), torch.tensor(1), torch.tensor(3)

    assert torch.compile(turned)(*given()).tolist() == [True, True, False]
    with pytest.raises(RuntimeError, match="can't be cast to the desired output type Bool"):
        torch.compile(counted)(*given())
