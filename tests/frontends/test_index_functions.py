"""Gather, scatter and their kin: values from their definitions, gradients against differences, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch

GENERATOR = np.random.default_rng(7)
COMBINE: dict[str, Callable[[float, float], float]] = {
    "sum": lambda a, b: a + b, "prod": lambda a, b: a * b, "amax": max, "amin": min, "mean": lambda a, b: a + b,
    "add": lambda a, b: a + b, "multiply": lambda a, b: a * b,
}  # fmt: skip


def draw(*shape: int) -> np.ndarray:
    return GENERATOR.permutation(np.arange(1.0, np.prod(shape, dtype=int) + 1)).reshape(shape) / 4


def places(shape: tuple[int, ...], extent: int) -> np.ndarray:
    return GENERATOR.integers(0, extent, shape)


def combined(x: np.ndarray, targets: list[tuple[Any, float]], how: str | None, include_self: bool = True) -> np.ndarray:
    """x with values put at places one after another, or combined with what is there."""
    out, count = x.copy(), np.ones(x.shape, int)
    touched = np.zeros(x.shape, bool)
    for place, value in targets:
        first = not touched[place] and not include_self
        out[place] = value if how is None or first else COMBINE[how](out[place], value)
        count[place] += 0 if first else 1
        touched[place] = True
    return out / count if how == "mean" else out


def along(index: np.ndarray, axis: int) -> list[tuple[int, ...]]:
    return [(*at[:axis], int(index[at]), *at[axis + 1 :]) for at in np.ndindex(*index.shape)]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("how", [None, "add", "multiply"])
def test_scatter(how: str | None, axis: int) -> None:
    x, src, index = draw(4, 3), draw(3, 3), places((3, 2), 3)
    axis_ = axis % 2
    targets = list(zip(along(index, axis_), src[:3, :2].ravel(), strict=True))
    found = torch.tensor(x).scatter(axis, torch.tensor(index), torch.tensor(src), **({"reduce": how} if how else {}))
    np.testing.assert_allclose(found.numpy(), combined(x, targets, how), rtol=1e-15)
    filled = combined(x, [(place, 2.5) for place, _ in targets], how)
    found = torch.scatter(torch.tensor(x), axis, torch.tensor(index), 2.5, **({"reduce": how} if how else {}))
    np.testing.assert_allclose(found.numpy(), filled, rtol=1e-15)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("how", ["sum", "prod", "mean", "amax", "amin"])
def test_scatter_reduce(how: str, include_self: bool) -> None:
    x, src, index = draw(3, 3), draw(4, 3), places((4, 3), 3)
    expected = combined(x, list(zip(along(index, 0), src.ravel(), strict=True)), how, include_self)
    arguments = torch.tensor(x), 0, torch.tensor(index), torch.tensor(src)
    found = torch.scatter_reduce(*arguments, how, include_self=include_self)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-15)
    y = torch.tensor(x)
    assert y.scatter_reduce_(*arguments[1:], how, include_self=include_self) is y
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-15)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("how", [None, "add", "prod", "mean", "amax", "amin"])
def test_along_an_axis(how: str | None, include_self: bool) -> None:
    x, source, index = draw(2, 4, 3), draw(2, 5, 3), places((5,), 4)
    targets = [((i, int(index[j]), k), source[i, j, k]) for j in range(5) for i in range(2) for k in range(3)]
    arguments = torch.tensor(x), 1, torch.tensor(index), torch.tensor(source)
    if how is None:
        found = torch.index_copy(*arguments)
    elif how == "add":
        found = torch.index_add(*arguments)
    else:
        found = torch.index_reduce(*arguments, how, include_self=include_self)
    expected = combined(x, targets, how, include_self or how in (None, "add"))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-15)
    np.testing.assert_array_equal(
        torch.index_fill(*arguments[:3], 9.0).numpy(), combined(x, [(place, 9.0) for place, _ in targets], None)
    )
    np.testing.assert_array_equal(torch.index_select(*arguments[:3]).numpy(), x[:, index])


def test_gather_take_and_put() -> None:
    x, index = draw(3, 4), places((2, 4), 3)
    expected = np.array([x[place] for place in along(index, 0)]).reshape(2, 4)
    np.testing.assert_array_equal(torch.tensor(x).gather(0, torch.tensor(index)).numpy(), expected)
    np.testing.assert_array_equal(
        torch.take_along_dim(torch.tensor(x), torch.tensor([[0], [-1], [2]]), 1).numpy(),
        np.take_along_axis(x, np.array([[0], [3], [2]]), 1),
    )
    flat = np.array([5, -1, 0])
    np.testing.assert_array_equal(torch.take(torch.tensor(x), torch.tensor(flat)).numpy(), x.ravel()[flat])
    put = x.copy()
    put.ravel()[flat] = [1, 2, 3]
    np.testing.assert_array_equal(torch.tensor(x).put(torch.tensor(flat), torch.tensor([1.0, 2, 3]).double()), put)
    twice = torch.zeros(3).put_(torch.tensor([1, 1]), torch.ones(2), accumulate=True)
    assert twice.tolist() == [0.0, 2.0, 0.0]


def test_numbers_without_axes() -> None:
    x, zero = torch.tensor(3.0), torch.tensor([0])
    assert x.gather(0, zero).tolist() == [3.0]
    assert x.index_select(0, zero).item() == 3.0
    assert x.index_add(0, zero, torch.tensor(2.0)).item() == 5.0
    assert x.index_copy(0, zero, torch.tensor(2.0)).item() == 2.0
    assert x.index_fill(0, zero, 7).item() == 7.0
    assert x.scatter(0, zero, torch.tensor([4.0])).item() == 4.0
    assert x.scatter_add(0, zero, torch.tensor([4.0])).item() == 7.0
    assert x.masked_select(torch.tensor(True)).tolist() == [3.0]


def test_bools_add_as_or_and_multiply_as_and() -> None:
    x, index = torch.tensor([True, False, False]), torch.tensor([0, 1, 1])
    assert x.scatter_add(0, index, torch.tensor([False, True, False])).tolist() == [True, True, False]
    assert x.scatter_reduce(0, index, torch.tensor([False, True, False]), "prod").tolist() == [False, False, False]
    assert x.index_put((index,), torch.tensor([False, True, True]), accumulate=True).tolist() == [True, True, False]


def test_index_put_takes_whole_axes_for_none() -> None:
    x = torch.zeros(2, 3, 2)
    found = torch.index_put(x, (None, torch.tensor([0, 2])), torch.ones(2))
    expected = np.zeros((2, 3, 2))
    expected[:, [0, 2]] = 1
    np.testing.assert_array_equal(found.numpy(), expected)
    many = torch.zeros(3).index_put_((torch.tensor([0, 0, 2]),), torch.ones(3), accumulate=True)
    assert many.tolist() == [2.0, 0.0, 1.0]


INDEX, ROWS = torch.tensor([[0, 2, 1], [1, 0, 0]]), torch.tensor([2, 0, 0])
DIFFERENTIABLE: dict[str, Callable[[Any, Any], Any]] = {
    "scatter": lambda x, y: x.scatter(0, INDEX, y), "scatter_add": lambda x, y: x.scatter_add(0, INDEX, y),
    "scatter prod": lambda x, y: x.scatter_reduce(0, INDEX, y, "prod"),
    "scatter mean": lambda x, y: x.scatter_reduce(0, INDEX, y, "mean", include_self=False),
    "scatter amax": lambda x, y: x.scatter_reduce(0, INDEX, y, "amax"),
    "scatter multiply": lambda x, y: x.scatter(0, INDEX, y, reduce="multiply"),
    "index_add": lambda x, y: x.index_add(0, ROWS, y, alpha=2), "index_copy": lambda x, y: x.index_copy(0, ROWS, y),
    "index_reduce": lambda x, y: x.index_reduce(0, ROWS, y, "prod"),
    "index_fill": lambda x, y: x.index_fill(0, ROWS, y[0, 0]), "gather": lambda x, y: x.gather(0, INDEX) * y[:2],
    "take": lambda x, y: x.take(INDEX) * y[:2], "put": lambda x, y: x.put(INDEX, y[:2], accumulate=True),
    "index_select": lambda x, y: x.index_select(1, ROWS) * y,
    "as_strided": lambda x, y: x.as_strided((3, 2), (1, 2)) * y[:, :2],
    "as_strided_scatter": lambda x, y: torch.as_strided_scatter(x, y[:2, :2], (2, 2), (1, 2), 1),
    "slice_scatter": lambda x, y: torch.slice_scatter(x, y[:, :2], 1, 0, 3, 2),
    "select_scatter": lambda x, y: torch.select_scatter(x, y[0], 1, -1),
    "unfold": lambda x, y: x.unfold(1, 2, 1) * y[:, :2, None],
    "repeat_interleave": lambda x, y: x.repeat_interleave(torch.tensor([2, 0, 1]), 0) * y,
    "masked_scatter": lambda x, y: x.masked_scatter(torch.tensor([[True], [False], [True]]), y),
}  # fmt: skip


def slopes(function: Callable[..., Any], arrays: list[np.ndarray], weights: np.ndarray, which: int) -> np.ndarray:
    """Central differences of sum(weights * function)."""
    step, found = 1e-6, np.zeros(arrays[which].shape)
    for place in np.ndindex(*found.shape):
        ends = []
        for side in (step, -step):
            moved = [array.copy() for array in arrays]
            moved[which][place] += side
            ends.append((function(*map(torch.tensor, moved)).numpy() * weights).sum())
        found[place] = (ends[0] - ends[1]) / (2 * step)
    return found


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients(name: str) -> None:
    function = DIFFERENTIABLE[name]
    arrays = [draw(3, 3), draw(3, 3) + 0.1]
    if name in ("scatter", "scatter multiply", "scatter_add"):
        arrays[1] = arrays[1][:2]
    leaves = [torch.tensor(array, requires_grad=True) for array in arrays]
    result = function(*leaves)
    weights = GENERATOR.normal(size=tuple(result.shape))
    found = torch.autograd.grad(result, leaves, torch.tensor(weights))
    compiled = torch.compile(function)(*leaves)
    np.testing.assert_array_equal(compiled.detach().numpy(), result.detach().numpy())
    again = torch.autograd.grad(compiled, leaves, torch.tensor(weights))
    for which, (gradient, native) in enumerate(zip(found, again, strict=True)):
        expected = slopes(function, arrays, weights, which)
        np.testing.assert_allclose(gradient.numpy(), expected, atol=2e-8)
        np.testing.assert_allclose(native.numpy(), expected, atol=2e-8)


ONE = torch.tensor([[3]])
X = torch.arange(12.0).view(3, 4)
ERRORS: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda x: x.gather(0, -ONE), RuntimeError, "index -3 is out of bounds for dimension 0 with size 3"),
    (lambda x: x.scatter(0, ONE, 1.0), RuntimeError, "index 3 is out of bounds for dimension 0 with size 3"),
    (lambda x: x.index_select(0, ONE[0]), IndexError, "index out of range in self"),
    (lambda x: x.index_add(0, ONE[0], x[:1]), RuntimeError, "index 3 is out of bounds for dimension 0 with size 3"),
    (lambda x: x.index_copy(0, ONE[0], x[:1]), IndexError,
     "index_copy_(): index 3 is out of bounds for dimension 0 with size 3"),
    (lambda x: x.take(ONE + 9), IndexError, "out of range: tried to access index 12 on a tensor of 12 elements."),
    (lambda x: x.put(ONE - 16, x[0, :1]), IndexError,
     "out of range: tried to access index -13 on a tensor of 12 elements."),
    (lambda x: x[ONE], IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
]  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("function", "kind", "first"), ERRORS, ids=[str(n) for n in range(len(ERRORS))])
def test_places_outside(function: Callable[[Any], Any], kind: type[Exception], first: str, compiled: bool) -> None:
    with pytest.raises(kind) as caught:
        (torch.compile(function) if compiled else function)(X)
    assert str(caught.value).split("\n")[0] == first


CHECKS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: X.scatter(0, ONE, X[0]), RuntimeError,
     "Index tensor must have the same number of dimensions as src tensor"),
    (lambda: X.scatter(0, ONE.float(), X), RuntimeError, "scatter(): Expected dtype int32/int64 for index"),
    (lambda: X.scatter(0, ONE, X.double()), RuntimeError, "scatter(): Expected self.dtype to be equal to src.dtype"),
    (lambda: X.index_add(0, ONE[0], X), RuntimeError,
     "index_add_(): Number of indices (1) should be equal to source.size(dim): (3), for dim: 0"),
    (lambda: X.index_reduce(0, ONE[0], X[:1], "sum"), RuntimeError,
     "index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got sum."),
    (lambda: X.index_select(0, ONE), IndexError, "index_select(): Index is supposed to be a vector"),
    (lambda: X.masked_scatter(X > 3, X[0]), RuntimeError, "Number of elements of source < number of ones in mask"),
    (lambda: X.half().masked_fill(X > 3, 1e9), RuntimeError,
     "value cannot be converted to type c10::Half without overflow"),
    (lambda: X.narrow(0, 4, 0), IndexError, "start out of range (expected to be in range of [-3, 3], but got 4)"),
    (lambda: X.repeat_interleave(torch.tensor([1, -1, 0]), 0), RuntimeError, "repeats can not be negative"),
    (lambda: X.movedim((0, 0), (0, 1)), RuntimeError, "movedim: repeated dim in `source` ([0, 0])"),
    (lambda: torch.rot90(X, 1, (0, -2)), RuntimeError,
     "expected rotation dims to be different, but got dim0 = 0 and dim1 = -2"),
    (lambda: X[0].hsplit(3), RuntimeError,
     "torch.hsplit attempted to split along dimension 0, but the size of the dimension 4 is not divisible by the "
     "split_size 3!"),
    (lambda: torch.searchsorted(X, X[0]), RuntimeError,
     "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor "
     "and input value tensor must match, but we got boundaries tensor [3, 4] and input value tensor [4]"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "kind", "first"), CHECKS, ids=[str(n) for n in range(len(CHECKS))])
def test_errors_start_with_pytorchs_line(function: Callable[[], Any], kind: type[Exception], first: str) -> None:
    with pytest.raises(kind) as caught:
        function()
    assert str(caught.value).split("\n")[0] == first


@pytest.mark.parametrize("shape", [(), (5,), (7, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64"])
def test_many_updates_are_combined_in_their_order(dtype: str, shape: tuple[int, ...]) -> None:
    """Eager scatters of many elements run a kernel, which has NumPy's bits."""
    random = np.random.default_rng(0)
    target = (random.standard_normal((200, *shape)) * 5).astype(dtype)
    places = random.integers(0, 200, 20000)
    updates = (random.standard_normal((20000, *shape)) * 5).astype(dtype)
    x, index, source = (torch.from_numpy(array) for array in (target, places, updates))
    for kind, at in (("sum", np.add), ("amax", np.maximum), ("amin", np.minimum)):
        expected = target.copy()
        at.at(expected, places, updates)
        wide = index.reshape(-1, *[1] * len(shape)).expand(20000, *shape)
        found = x.index_add(0, index, source) if kind == "sum" else x.scatter_reduce(0, wide, source, kind)
        assert found.numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize("reduce", ["sum", "amax"])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_compiled_scatters_combine_rows_or_elements(dim: int, reduce: str) -> None:
    """Along the last axes a place is its own index, and an expanded index names whole rows: a loop over vectors."""
    random = np.random.default_rng(dim)
    shape, wide = (4, 6, 33), [4, 6, 33]
    wide[dim] = 40
    x, updates = (torch.from_numpy(random.standard_normal(s).astype(np.float32)) for s in (shape, wide))
    column = torch.from_numpy(random.integers(0, shape[dim], 40)).reshape(*(40 if k == dim else 1 for k in range(3)))
    full = torch.from_numpy(random.integers(0, shape[dim], wide))
    scattered = torch.compile(lambda x, index, src: x.scatter_reduce(dim, index.expand(*wide), src, reduce))
    for index in (column, full):
        expected = x.scatter_reduce(dim, index.expand(*wide), updates, reduce)
        assert scattered(x, index, updates).numpy().tobytes() == expected.numpy().tobytes()
    full[-1, -1, -1] = shape[dim]
    with pytest.raises((IndexError, RuntimeError)):
        scattered(x, full, updates)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("shape", [(6,), (3, 4), (2, 1, 3)], ids=str)
def test_elements_put_and_scattered_in_place(shape: tuple[int, ...], recorded: bool) -> None:
    """As NumPy's `put` and `place`, again and again: Python's and native calls, of tensors in order and turned."""
    random = np.random.default_rng(len(shape))
    size = int(np.prod(shape))
    for number in range(45):
        start = random.standard_normal(shape).astype(np.float32)
        index, new = random.integers(-size, size, 5), random.standard_normal(size + 2).astype(np.float32)
        mask = random.random(shape) > (0.2, 0.5, 2.0)[number % 3]
        leaf = torch.tensor(start, requires_grad=recorded)
        source = torch.tensor(new, requires_grad=recorded)
        x, turned = leaf.clone(), leaf.transpose(0, -1).clone().transpose(0, -1)
        index, last = np.unique(index % size, return_index=True)[0], number % 2 == 0
        given = torch.tensor(index - size if last else index)
        expected, unput = start.copy(), np.ones(size, np.float32)
        expected.put(index, new[: len(index)])
        unput[index] = 0
        for each in (x, turned):
            assert each.put_(given, source[: len(index)]) is each
            np.testing.assert_array_equal(each.detach().numpy(), expected)
            added = each.put(torch.cat([given, given]), torch.ones(2 * len(index)), accumulate=True) - each
            np.testing.assert_allclose(added.detach().numpy(), 2 * (1 - unput).reshape(shape), atol=1e-6)
            assert each.masked_scatter_(torch.tensor(mask), source) is each
        np.place(expected, mask, new)
        for each in (x, turned):
            np.testing.assert_array_equal(each.detach().numpy(), expected)
        if recorded:
            (gradient,) = torch.autograd.grad(x.sum(), leaf)
            np.testing.assert_array_equal(gradient.numpy(), unput.reshape(shape) * ~mask)


def test_masked_scatter_in_place_takes_what_the_function_takes() -> None:
    x, mask = torch.zeros(4), torch.tensor([True, False, True, True])
    for _ in range(10):
        with pytest.raises(RuntimeError, match="Number of elements of source < number of ones in mask"):
            x.masked_scatter_(mask, torch.ones(2))
        with pytest.raises(RuntimeError, match="only supports boolean masks"):
            x.masked_scatter_(mask.long(), torch.ones(4))
        with pytest.raises(RuntimeError, match="expected self and source to have same dtypes"):
            x.masked_scatter_(mask, torch.ones(4).double())
        with pytest.raises(IndexError, match="out of range"):
            x.put_(torch.tensor([4]), torch.ones(1))
    assert x.tolist() == [0.0] * 4 and x._version == 0
    assert x.masked_scatter_(mask, torch.arange(1.0, 4.0))._version == 1
    assert x.masked_scatter_(mask, x).tolist() == [1.0, 0.0, 0.0, 2.0]
    wide = torch.zeros(2, 3).masked_scatter_(torch.tensor([True, False, True]), torch.arange(1.0, 5.0))
    assert wide.tolist() == [[1.0, 0.0, 2.0], [3.0, 0.0, 4.0]]
    flags = torch.tensor([True, False, True])
    assert flags.masked_scatter_(flags, torch.tensor([False, True])).tolist() == [False, False, True]
    leaf = torch.zeros(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        leaf.masked_scatter_(flags, torch.ones(3))
    assert torch.zeros(0).masked_scatter_(torch.zeros(0) > 0, torch.ones(2)).tolist() == []
    assert torch.tensor(1.0).masked_scatter_(torch.tensor(True), torch.tensor(5.0)).item() == 5.0


@pytest.mark.parametrize("value", [7.0, torch.tensor(7.0)], ids=str)
def test_diagonals_of_more_axes_are_filled(value: Any) -> None:
    for size in (0, 1, 3):
        for wrap in (False, True):
            turned = torch.zeros(size, size, size).transpose(0, 1)
            for x in (torch.zeros(size, size, size), turned, torch.zeros(size, size, size, requires_grad=True) * 1):
                wanted = np.zeros((size, size, size), np.float32)
                wanted[(np.arange(size),) * 3] = 7
                np.testing.assert_array_equal(x.fill_diagonal_(value, wrap).detach().numpy(), wanted)
    with pytest.raises(RuntimeError, match="all dimensions of input must be of equal length"):
        torch.zeros(2, 2, 3).fill_diagonal_(value)
    with pytest.raises(RuntimeError, match="dimensions must larger than 1"):
        torch.zeros(2).fill_diagonal_(value)


def test_index_put_checks_its_indices() -> None:
    mask = torch.tensor([True, False, False, True])
    with pytest.raises(IndexError, match=r"shape of the mask \[4\] at index 0 does not match .* \[2, 4\] at index 0"):
        torch.zeros(2, 4).index_put_((torch.tensor([True, False, False, False]),), torch.tensor(2.5))
    with pytest.raises(IndexError, match="tensors used as indices must be long"):
        torch.zeros(4).index_put_((torch.tensor([1.0]),), torch.tensor(2.0))
    with pytest.raises(IndexError, match=r"too many indices for tensor of dimension 1 \(got 2\)"):
        torch.zeros(3).index_put_((torch.tensor(0), torch.tensor(0)), torch.tensor(2.0))
    assert torch.zeros(4).index_put_((mask,), torch.tensor(2)).tolist() == [2.0, 0.0, 0.0, 2.0]
    assert torch.zeros(4).index_put_((mask,), torch.tensor([3.0], dtype=torch.float64)).tolist() == [3.0, 0.0, 0.0, 3.0]
    with pytest.raises(RuntimeError, match="source and destination dtypes match"):
        torch.zeros(4).index_put_((mask,), torch.tensor(2), accumulate=True)
