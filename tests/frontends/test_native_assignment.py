"""Assignments to parts of tensors served natively: the same numbers, versions and errors, the rest untouched."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.entry import known
from adjit.native import install
from adjit.native.entry import native_entry
from adjit.runtime import layout

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()
ALL = slice(None)
INDICES: list[Any] = [
    2, -1, ALL, ..., None, slice(1, 3), slice(-2, None), slice(None, None, 2), slice(None, 100), (1, 2), (ALL, -1),
    (..., 0), (slice(1, 4, 2), slice(None, None, 3)), (None, 2), (0, ..., None), (ALL, ALL, 1), (1, 2, 3),
    (ALL, None, 0),
]  # fmt: skip


def _refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("Python was asked")


def natively(call: Callable[[], Any]) -> Any:
    """A call that fails unless assignments are served natively."""
    entry = native_entry()
    assert entry is not None
    before = entry.known[known.A_SET_SLOW]
    entry.known[known.A_SET_SLOW] = id(_refuse)
    try:
        return call()
    finally:
        entry.known[known.A_SET_SLOW] = before


def by_python(call: Callable[[], Any]) -> None:
    """A call that native code must leave to Python, and that Python serves."""
    with pytest.raises(AssertionError, match="Python was asked"):
        natively(call)
    call()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_parts_and_values(dtype: str) -> None:
    random = np.random.default_rng(3)
    given = (random.standard_normal((5, 4, 6)) * 50).astype(dtype)
    numbers: list[Any] = [3, -(2**40)] if dtype == "int64" else [0.5, -0.0, 7, float("nan"), float("-inf")]
    for index, kind in product(INDICES, ("number", "whole", "row", "one", "turned", "gaps")):
        expected = np.zeros((7, 5, 4, 6), dtype)
        expected[1:6] = given
        tensor = torch.from_numpy(expected.copy())
        target = tensor[1]
        part = expected[1][index]
        values = {
            "number": numbers[len(str(index)) % len(numbers)],
            "whole": np.asarray(random.standard_normal(part.shape), dtype),
            "row": np.asarray(random.standard_normal(part.shape[-1:]), dtype),
            "one": random.standard_normal((1,) * (part.ndim + 1)).astype(dtype),
            "turned": np.asarray(random.standard_normal(part.shape[::-1]), dtype).T,
            "gaps": random.standard_normal((*part.shape, 2)).astype(dtype)[..., 0],
        }
        value = values[kind]
        expected[1][index] = value.reshape(()) if kind == "one" else value
        wanted = value if kind == "number" else torch.from_numpy(value)
        version = tensor._version
        natively(lambda t=target, i=index, v=wanted: t.__setitem__(i, v))
        assert tensor.numpy().tobytes() == expected.tobytes(), (index, kind)
        assert tensor._version == target._version == version + 1


def test_long_rows() -> None:
    for size in (1, 2, 63, 64, 65, 1000, 4097):
        x, y = torch.zeros(3, size), torch.rand(3, size)
        natively(lambda x=x: x.__setitem__(1, 2.5))
        assert x.sum().item() == 2.5 * size
        natively(lambda x=x, y=y: x.__setitem__(ALL, y))
        assert x.tolist() == y.tolist()
        natively(lambda x=x: x.__setitem__((ALL, slice(None, None, 2)), -1.0))
        assert x[:, ::2].eq(-1).all()
        assert x[:, 1::2].tolist() == y[:, 1::2].tolist()


def test_a_part_of_itself() -> None:
    x = torch.arange(8.0)
    natively(lambda: x.__setitem__(slice(2, 5), x[2:5]))
    assert x._version == 1
    x[2:5] += 1
    assert x.tolist() == [0, 1, 3, 4, 5, 5, 6, 7]
    natively(lambda: x.__setitem__(slice(0, 3), x[5:8]))
    assert x.tolist() == [5, 6, 7, 4, 5, 5, 6, 7]
    before = x.tolist()
    with pytest.raises(RuntimeError, match="single memory location"):
        x[1:4] = x[:3]
    assert x.tolist() == before
    array = np.arange(8, dtype=np.float32)
    one, other = torch.from_numpy(array), torch.from_numpy(array)  # two memories, the same place
    by_python(lambda: one.__setitem__(slice(1, 8), other[:7]))
    assert one.tolist() == [0, 0, 1, 2, 3, 4, 5, 6]


def test_what_python_decides() -> None:
    x = torch.zeros(3, 4)
    for index, value in ((5, 1.0), (slice(None, None, -1), 1.0), ((0, 0, 0), 1.0), (0, torch.zeros(3)), (0, None)):
        with pytest.raises((IndexError, ValueError, RuntimeError, TypeError)):
            x[index] = value
    assert x._version == 0
    assert x.eq(0).all()
    by_python(lambda: x.__setitem__(slice(3, 9), 1.0))
    by_python(lambda: x.__setitem__(slice(10**30, None), 1.0))
    assert x.eq(0).all()
    by_python(lambda: x.__setitem__(True, 1.0))
    by_python(lambda: x.__setitem__([0, ALL], 1.0))
    by_python(lambda: x.__setitem__(0, torch.ones(4, dtype=torch.float64)))
    by_python(lambda: x.__setitem__(0, np.float32(2)))
    by_python(lambda: x.t().__setitem__(0, 2.0))
    by_python(lambda: torch.zeros(3, dtype=torch.int64).__setitem__(0, 2.0))
    with pytest.raises(RuntimeError, match="more than one element"):
        torch.ones(1).expand(4)[1:] = 2.0
    frozen = torch.zeros(4)
    frozen._array.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        frozen[0] = 1.0


def test_what_autograd_sees() -> None:
    w = torch.ones(4, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        w[0] = 2.0
    with torch.no_grad():
        natively(lambda: w.__setitem__(0, 2.0))
        natively(lambda: torch.zeros(4).__setitem__(slice(1, 3), w[:2]))
    assert w.tolist() == [2.0, 1.0, 1.0, 1.0]
    total = torch.zeros(4)
    shown = total[:2]
    total[1] = w[0]
    assert total.requires_grad
    shown[0] = 5.0  # the base has a history since
    assert total.grad_fn.name() == "torch::autograd::CopySlices"
    (gradient,) = torch.autograd.grad(total.sum(), w)
    assert gradient.tolist() == [1.0, 0.0, 0.0, 0.0]
    saved = torch.ones(4)
    result = (w * saved).sum()
    natively(lambda: saved.__setitem__(0, 3.0))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()


def test_traces_see_assignments() -> None:
    def step(x: Any) -> Any:
        x[1:3] = 4.0
        return x * 2

    x = torch.zeros(4)
    natively(lambda: x.__setitem__(0, 1.0))
    assert torch.compile(step)(x).tolist() == [2.0, 8.0, 8.0, 0.0]
    assert x.tolist() == [1.0, 4.0, 4.0, 0.0]
    assert torch.vmap(lambda row: step(row.clone()))(torch.zeros(2, 4)).tolist() == [[0.0, 8.0, 8.0, 0.0]] * 2


RECORDED_PARTS: list[Any] = [
    0, -1, slice(1, 3), slice(None), slice(3, 1), slice(None, None, 2), slice(-2, None), (1, 2), (..., 1), (None, 1),
    (slice(1, 3), slice(0, 2)), (slice(None), None, -1), (..., slice(1, None, 2)), (slice(7, 9), 0), (),
]  # fmt: skip


@pytest.mark.parametrize("index", RECORDED_PARTS, ids=str)
@pytest.mark.parametrize("turned", [False, True])
def test_recorded_parts_of_tensors_of_one_type(index: Any, turned: bool) -> None:
    """How a part comes from its base is found once for each type; what it shows is each tensor's own."""
    for begin in (0.0, 100.0, 200.0):
        leaf = (begin + torch.arange(20.0).reshape(4, 5)).requires_grad_()
        copy, expected = leaf.clone(), leaf.detach().numpy().copy()
        shown, wanted = (copy.T, expected.T) if turned else (copy, expected)
        values = torch.full(wanted[index].shape[-1:], begin + 1.0, requires_grad=True)
        shown[index] = 0.5
        shown[index] = values * 2
        wanted[index] = 2 * (begin + 1)
        np.testing.assert_array_equal(copy.detach().numpy(), expected)
        got = torch.autograd.grad((copy * copy).sum(), (leaf, values))
        untouched = np.ones((5, 4) if turned else (4, 5), np.float32)
        untouched[index] = 0
        np.testing.assert_array_equal(got[0].numpy(), 2 * expected * (untouched.T if turned else untouched))
        of_each = 8 * (begin + 1) * (1 - untouched)[index]
        np.testing.assert_array_equal(got[1].numpy(), of_each.sum(tuple(range(of_each.ndim - 1))))


def test_recorded_parts_at_bounds_that_change() -> None:
    leaf, end = torch.zeros(5, requires_grad=True), torch.tensor(1)
    copy = leaf.clone()
    for _ in range(4):
        copy[:end] = 1.0
        copy[np.int64(4) :] = 2.0
        end += 1
    assert copy.tolist() == [1.0, 1.0, 1.0, 1.0, 2.0]
    for _ in range(2):
        with pytest.raises(IndexError, match="index 5 is out of bounds for dimension 0 with size 5"):
            copy[5] = 1.0
        with pytest.raises(IndexError, match="too many indices"):
            copy[0, 1] = 1.0


def at_places(shape: tuple[int, ...], random: np.random.Generator) -> list[Any]:
    """Indices by masks, by tensors and by lists, of an array of a shape."""
    first, rank = shape[0], len(shape)
    places = [random.integers(-n, n, (2, 3)) for n in shape]
    masks = [random.random(shape[:axes]) > 0.4 for axes in range(1, rank + 1)]
    return [*masks, places[0], places[0][0], [0, -1, first - 1], (places[0],), tuple(places), tuple(places[:2])]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_places_and_values(dtype: str) -> None:
    random = np.random.default_rng(5)
    numbers: list[Any] = [3, -(2**40)] if dtype == "int64" else [0.5, -0.0, 7, float("nan"), float("-inf")]
    for shape in ((5,), (1,), (4, 3), (2, 5, 3)):
        for number, index in enumerate(at_places(shape, random)):
            for kind in ("number", "one", "rows"):
                whole = (random.standard_normal((3, *shape)) * 50).astype(dtype)
                tensor = torch.from_numpy(whole.copy())
                part = whole[1]
                value: Any = numbers[number % len(numbers)]
                if kind == "one":
                    value = np.asarray(random.standard_normal(()), dtype)
                elif kind == "rows":
                    value = np.asarray(random.standard_normal(part[index].shape) * 9, dtype)
                    if not value.size:
                        continue
                part[index] = value
                target, given = tensor[1], torch.from_numpy(value) if isinstance(value, np.ndarray) else value
                own = tuple(map(torch.from_numpy, index)) if isinstance(index, tuple) else index
                own = torch.from_numpy(index) if isinstance(index, np.ndarray) else own
                version = tensor._version
                natively(lambda target=target, own=own, given=given: target.__setitem__(own, given))
                assert tensor.numpy().tobytes() == whole.tobytes()
                assert tensor._version == version + 1


def test_places_that_python_serves() -> None:
    x, places = torch.arange(6.0), torch.tensor([0, 4])
    by_python(lambda: x.__setitem__(places, torch.tensor([[1.0, 2.0]])))
    by_python(lambda: x.__setitem__(places.int(), 5.0))
    by_python(lambda: x.__setitem__([True, False, False, False, False, True], 3.0))
    by_python(lambda: x.__setitem__(places, torch.tensor([1, 2])))
    by_python(lambda: x.half().__setitem__(places, 5.0))
    natively(lambda: x.__setitem__(torch.zeros(6) > 100, 5.0))  # nowhere
    by_python(lambda: torch.zeros(4, 4).__setitem__((places[:1], slice(1)), 5.0))
    by_python(lambda: torch.zeros(2000).__setitem__(torch.ones(2000) > 0, 5.0))
    assert x.tolist() == [1, 1, 2, 3, 2, 3]


def test_places_outside_change_nothing() -> None:
    x = torch.zeros(3, 2)
    wrong: list[Any] = [
        torch.tensor([0, 3]), torch.tensor([-4, 0]), [1, 7], (torch.tensor([0]), torch.tensor([2])),
        torch.tensor([2**62]), torch.tensor([-(2**63)]), torch.tensor([True, False]), torch.ones(3, 3) > 0,
    ]  # fmt: skip
    for index in wrong:
        with pytest.raises(IndexError):
            x[index] = 1.0
        with pytest.raises(IndexError):
            x[index] = torch.ones(2)
    with pytest.raises((RuntimeError, ValueError)):
        x[torch.tensor([0, 1])] = torch.ones(3, 2)
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        x[x == 0] = torch.ones(5)
    assert x.tolist() == [[0, 0]] * 3 and x._version == 0


def test_places_in_the_target_itself() -> None:
    x = torch.arange(6)
    x[x[2:5]] = 9  # the places are what they were before the call
    assert x.tolist() == [0, 1, 9, 9, 9, 5]
    y = torch.arange(6.0)
    by_python(lambda: y.__setitem__(torch.tensor([1, 2, 3]), y[3:]))
    assert y.tolist() == [0, 3, 4, 5, 4, 5]
    mask = torch.tensor([True, False, True])
    by_python(lambda: mask.__setitem__(mask, False))
    assert not mask.any()


def test_the_last_of_several_values_for_a_place_stays() -> None:
    x = torch.zeros(3)
    natively(lambda: x.__setitem__(torch.tensor([1, 1, -2, 0]), torch.tensor([1.0, 2.0, 3.0, 4.0])))
    assert x.tolist() == [4, 3, 0]


def test_places_of_what_is_recorded() -> None:
    leaf = torch.rand(4, requires_grad=True)
    result = leaf * 2
    result[torch.tensor([0, 1])] = 0.0
    result[torch.tensor([False, False, True, False])] = leaf[:1]
    result.sum().backward()
    assert leaf.grad.tolist() == [1, 0, 0, 2]
    with pytest.raises(RuntimeError, match="leaf Variable"):
        leaf[torch.tensor([0])] = 1.0
    with torch.no_grad():
        natively(lambda: leaf.__setitem__(torch.tensor([0]), 1.0))


@pytest.mark.parametrize("index", [torch.tensor([True, False, True]), torch.tensor([0, 2]), [0, 2], 1])
def test_what_may_not_be_written_stays(index: Any) -> None:
    with torch.inference_mode():
        target = torch.ones(3)
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor outside InferenceMode"):
        target[index] = 5.0
    assert target.tolist() == [1.0, 1.0, 1.0]
    with torch.inference_mode():
        target[index] = 5.0
    assert 5.0 in target.tolist()


@pytest.mark.parametrize("rank", [2, 31, 32, 33, 64])
def test_masks_of_tensors_of_many_axes(rank: int) -> None:
    x = torch.arange(6.0).reshape([2, *[1] * (rank - 2), 3])
    for _ in range(3):
        found = x[torch.tensor([False, True])]
        assert found.shape == (1, *x.shape[1:]) and found.flatten().tolist() == [3.0, 4.0, 5.0]
        assert x.sum().item() == 15.0
