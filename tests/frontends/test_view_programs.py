"""Random programs of views and in-place writes: eager, compiled and differentiated, against NumPy's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adjit as torch

Step = tuple[str, int, int, int, int]
SHAPE = (2, 3, 4)


class Numpy:
    """The model: NumPy's own views and writes."""

    def transpose(self, x: np.ndarray, a: int, b: int) -> np.ndarray:
        return x.swapaxes(a, b)

    def slice(self, x: np.ndarray, axis: int, start: int, step: int) -> np.ndarray:
        return x[(slice(None),) * axis + (slice(start, None, step),)]

    def select(self, x: np.ndarray, axis: int, place: int) -> np.ndarray:
        return x[(*(slice(None),) * axis, place, ...)]

    def unsqueeze(self, x: np.ndarray, axis: int) -> np.ndarray:
        return np.expand_dims(x, axis)

    def flatten(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(-1)

    def unfold(self, x: np.ndarray, axis: int, size: int, step: int) -> np.ndarray:
        found = np.lib.stride_tricks.sliding_window_view(x, size, axis, writeable=True)
        return self.slice(found, axis, 0, step)

    def diagonal(self, x: np.ndarray, offset: int) -> np.ndarray:
        found = np.diagonal(x, offset)
        found.flags.writeable = True
        return found

    def add(self, x: np.ndarray, number: int) -> None:
        x += number

    def mul(self, x: np.ndarray, other: Any) -> None:
        x *= other

    def fill(self, x: np.ndarray, number: int) -> None:
        x[...] = number

    def copy(self, x: np.ndarray, y: np.ndarray) -> None:
        x[...] = y

    def put(self, x: np.ndarray, places: list[int], number: int) -> None:
        x[places] = number

    def copied(self, x: np.ndarray) -> np.ndarray:
        return x.copy()

    def mask(self, x: np.ndarray, number: int) -> None:
        x[x > 5] = number


class Adjit:
    """The same on tensors."""

    def transpose(self, x: Any, a: int, b: int) -> Any:
        return x.transpose(a, b)

    def slice(self, x: Any, axis: int, start: int, step: int) -> Any:
        return x[(slice(None),) * axis + (slice(start, None, step),)]

    def select(self, x: Any, axis: int, place: int) -> Any:
        return x.select(axis, place)

    def unsqueeze(self, x: Any, axis: int) -> Any:
        return x.unsqueeze(axis)

    def flatten(self, x: Any) -> Any:
        return x.reshape(-1)

    def unfold(self, x: Any, axis: int, size: int, step: int) -> Any:
        return x.unfold(axis, size, step)

    def diagonal(self, x: Any, offset: int) -> Any:
        return x.diagonal(offset)

    def add(self, x: Any, number: int) -> None:
        x += number

    def mul(self, x: Any, other: Any) -> None:
        x *= other

    def fill(self, x: Any, number: int) -> None:
        x.fill_(number)

    def copy(self, x: Any, y: Any) -> None:
        x.copy_(y)

    def put(self, x: Any, places: list[int], number: int) -> None:
        x[torch.tensor(places)] = number

    def copied(self, x: Any) -> Any:
        return x.clone()

    def mask(self, x: Any, number: int) -> None:
        x.masked_fill_(x > 5, number)


def step(library: Any, pool: list[Any], kind: str, place: int, a: int, b: int, c: int) -> None:
    """One view, added to the pool, or one write through a member; nothing where the shape does not allow it."""
    x = pool[place % len(pool)]
    shape = tuple(x.shape)
    ndim, axis = len(shape), a % max(len(shape), 1)
    if kind in ("add", "fill", "mask"):
        getattr(library, kind)(x, b)
    elif kind == "scale":
        library.mul(x, b)
    elif kind in ("copy", "mul"):
        y = pool[a % len(pool)]
        if tuple(y.shape) == shape:
            getattr(library, kind)(x, library.copied(y))
    elif kind == "unsqueeze" and ndim < 5:
        pool.append(library.unsqueeze(x, a % (ndim + 1)))
    elif ndim == 0 or 0 in shape:
        return
    elif kind == "transpose":
        pool.append(library.transpose(x, axis, b % ndim))
    elif kind == "slice":
        pool.append(library.slice(x, axis, b % shape[axis], 1 + c % 2))
    elif kind == "select":
        pool.append(library.select(x, axis, b % shape[axis]))
    elif kind == "unfold" and ndim < 5:
        size = 1 + b % shape[axis]
        pool.append(library.unfold(x, axis, size, size + c % 2))
    elif kind == "flatten":
        pool.append(library.flatten(x))
    elif kind == "diagonal" and ndim >= 2:
        pool.append(library.diagonal(x, b % 3 - 1))
    elif kind == "put":
        library.put(x, [b % shape[0], c % shape[0]], a)


def run(library: Any, x: Any, program: list[Step]) -> list[Any]:
    """All that the pool holds after the program."""
    pool = [x]
    for kind, *numbers in program:
        step(library, pool, kind, *numbers)
    return pool


KINDS = ["transpose", "slice", "select", "unsqueeze", "flatten", "unfold", "diagonal", "add", "scale", "fill", "copy",
         "mul", "put"]  # fmt: skip
SMALL = st.integers(0, 5)


def programs(*kinds: str) -> Any:
    return st.lists(st.tuples(st.sampled_from([*KINDS, *kinds]), SMALL, SMALL, SMALL, SMALL), max_size=8)


def start() -> np.ndarray:
    return np.arange(24.0).reshape(SHAPE) % 7


def same(found: list[Any], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for tensor, array in zip(found, expected, strict=True):
        assert tuple(tensor.shape) == array.shape
        np.testing.assert_array_equal(tensor.detach().numpy(), array)


@settings(max_examples=60, deadline=None)
@given(programs("mask"))
def test_memory_is_shared_as_numpy_shares_it(program: list[Step]) -> None:
    expected = run(Numpy(), start(), program)
    x = torch.tensor(start())
    found = run(Adjit(), x, program)
    same(found, expected)
    for tensor, array in zip(found, expected, strict=True):
        assert np.shares_memory(tensor.numpy(), x.numpy()) == np.shares_memory(array, expected[0])
        if array.size and np.shares_memory(array, expected[0]):
            assert tensor.storage_offset() == (array.__array_interface__["data"][0] - address(expected[0])) // 8
            assert [s for s, n in zip(tensor.stride(), array.shape, strict=True) if n > 1] == [
                s // 8 for s, n in zip(array.strides, array.shape, strict=True) if n > 1
            ]


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


@settings(max_examples=15, deadline=None)
@given(programs("mask"))
def test_a_trace_writes_as_eager_does(program: list[Step]) -> None:
    def function(x: Any) -> Any:
        return [x * 1 for x in run(Adjit(), x * 1, program)]

    same(torch.compile(function)(torch.tensor(start())), run(Numpy(), start(), program))


@settings(max_examples=15, deadline=None)
@given(programs())
def test_an_argument_is_written_by_a_compiled_program(program: list[Step]) -> None:
    expected = run(Numpy(), start(), program)[0]
    x = torch.tensor(start())
    torch.compile(lambda x: run(Adjit(), x, program)[-1] + 0)(x)
    np.testing.assert_array_equal(x.numpy(), expected)


LINEAR = [kind for kind in KINDS if kind != "mul"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LINEAR), SMALL, SMALL, SMALL, SMALL), max_size=8), st.booleans())
def test_gradients_of_linear_programs(program: list[Step], compiled: bool) -> None:
    """<gradient, d> = <weights, f(x + d) - f(x)>, exactly for whole numbers."""
    rng = np.random.default_rng(len(program))
    direction = rng.integers(-3, 4, SHAPE).astype(float)

    def total(library: Any, x: Any, weigh: Callable[[int], Any]) -> Any:
        results = run(library, x, program)
        return sum(((result * (1 + place % 3)) * weigh(place)).sum() for place, result in enumerate(results))

    def function(x: Any) -> Any:
        return total(Adjit(), x * 1, lambda place: place + 1)

    x = torch.tensor(start(), requires_grad=True)
    (torch.compile(function) if compiled else function)(x).backward()
    ends = [total(Numpy(), array, lambda place: place + 1) for array in (start() + direction, start())]
    assert (x.grad.numpy() * direction).sum() == ends[0] - ends[1]


def test_views_made_without_recording_require_grad_and_may_not_be_written_while_recording() -> None:
    for x in (torch.ones(4, requires_grad=True), torch.ones(4, requires_grad=True) * 1):
        with torch.no_grad():
            view = x.view(2, 2)
            assert view.requires_grad and view.is_leaf and not (view * 2).requires_grad
            assert view.numpy().tolist() == [[1.0, 1.0], [1.0, 1.0]]
            view.mul_(3)
            assert not x.view(torch.int32).requires_grad and not x.detach()[0].requires_grad
        assert x.tolist() == [3.0] * 4
        with pytest.raises(RuntimeError, match="A view was created in no_grad mode and is being modified inplace"):
            view.mul_(2)
        with pytest.raises(RuntimeError, match="Can't call numpy"):
            view.numpy()


def test_a_product_in_place_with_itself_loses_what_backward_needs() -> None:
    y = torch.ones(3, requires_grad=True) * 2
    y.mul_(y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    z = torch.ones(3, requires_grad=True) * 2
    z.sub_(z)
    z.sum().backward()


def test_gradients_reach_a_parameter_through_strided_views_in_a_compiled_step() -> None:
    x = torch.arange(15.0).reshape(3, 5).clone().requires_grad_()

    def step() -> torch.Tensor:
        loss = x.mT.diagonal().square().sum() + x.as_strided((2, 2), (1, 5), 3).square().sum()
        loss.backward()
        return loss

    step()
    expected, x.grad = x.grad.tolist(), None
    torch.compile(step)()
    assert x.grad.tolist() == expected


PARTS: list[Callable[[Any], Any]] = [
    lambda y: y.expand(2, 3)[0],
    lambda y: y.expand(2, 3)[1, 1:],
    lambda y: y.unfold(0, 2, 1)[0],
    lambda y: y.expand(2, 3).t()[:, 0].view(3, 1),
]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("part", PARTS)
def test_writes_to_parts_of_views_that_show_elements_several_times(part: Callable[[Any], Any], compiled: bool) -> None:
    def scaled(x: torch.Tensor) -> torch.Tensor:
        y = x * 1
        part(y).mul_(10.0)
        return y

    whole = np.arange(1.0, 4.0)
    factors = np.ones(3)
    factors[part(torch.arange(3)).flatten().numpy()] = 10
    x = torch.tensor(whole, requires_grad=True)
    y = (torch.compile(scaled) if compiled else scaled)(x)
    assert y.tolist() == (factors * whole).tolist()
    y.sum().backward()
    assert x.grad.tolist() == factors.tolist()
