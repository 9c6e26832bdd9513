"""Indexing: every form that NumPy has too, read, written and differentiated as NumPy does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import adjit as torch

SHAPE = (4, 3, 5)
MASK = np.arange(12).reshape(4, 3) % 5 < 2
FORMS: dict[str, Any] = {
    "int": 1, "negative int": -2, "two ints": (1, -1), "all ints": (3, 0, 4), "slice": slice(1, 3),
    "slice with a step": slice(None, None, 2), "slice past the end": slice(2, 99), "empty slice": slice(3, 1),
    "negative bounds": slice(-3, -1), "slices": (slice(1, None), slice(None, 2), slice(0, 5, 3)),
    "int and slice": (2, slice(None), slice(1, 4)), "none": None, "none inside": (slice(None), None, 1),
    "dots": ..., "dots first": (..., 2), "dots in the middle": (1, ..., 3), "dots and none": (..., None, 0),
    "list": [2, 0, 0], "array": np.array([3, -1]), "matrix of ints": np.array([[0, 1], [2, 3]]),
    "array and slice": (np.array([0, 2]), slice(1, 3)), "slice and array": (slice(None), np.array([0, 2])),
    "two arrays": (np.array([0, 2]), np.array([1, 1])), "broadcast arrays": (np.array([[0], [2]]), np.array([1, 2])),
    "arrays apart": (np.array([0, 2]), slice(None), np.array([4, 1])), "array and int": (np.array([0, 2]), 1),
    "last two": (slice(2), np.array([0, 1]), np.array([3, 3])),
    "mask of rows": np.array([True, False, True, True]), "mask of two axes": MASK, "mask and int": (MASK, 2),
    "mask of all": np.arange(60).reshape(SHAPE) % 7 == 0, "mask inside": (slice(1, 3), np.array([True, False, True])),
    "mask with nothing": np.zeros(4, bool), "list of bools": [True, False, False, True],
    "array and none": (np.array([1, 2]), None, slice(1)), "0-d array": np.array(2), "true": True,
}  # fmt: skip


def values() -> np.ndarray:
    return np.arange(60, dtype=np.float64).reshape(SHAPE)


def ours(form: Any) -> Any:
    """The index with its arrays as tensors."""
    if isinstance(form, tuple):
        return tuple(map(ours, form))
    return torch.from_numpy(form) if isinstance(form, np.ndarray) else form


@pytest.mark.parametrize("name", FORMS)
def test_reading(name: str) -> None:
    found, expected = torch.tensor(values())[ours(FORMS[name])], values()[FORMS[name]]
    assert tuple(found.shape) == expected.shape
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("kind", ["number", "tensor", "row"])
def test_writing(name: str, kind: str) -> None:
    form, x, expected = FORMS[name], torch.tensor(values()), values()
    shape = expected[form].shape
    new = -7.0 if kind == "number" else -np.arange(1.0, np.prod(shape, dtype=int) + 1).reshape(shape)
    if kind == "row" and shape:
        new = new[..., :1]
    expected[form] = new
    x[ours(form)] = new if kind == "number" else torch.tensor(new)
    np.testing.assert_array_equal(x.numpy(), expected)


@pytest.mark.parametrize("name", FORMS)
def test_gradient_counts_what_was_read(name: str) -> None:
    x = torch.tensor(values(), requires_grad=True)
    found = x[ours(FORMS[name])]
    weights = np.arange(1.0, found.numel() + 1).reshape(tuple(found.shape))
    (found * torch.tensor(weights)).sum().backward()
    expected = np.zeros(SHAPE)
    np.add.at(expected, FORMS[name], weights)
    np.testing.assert_array_equal(x.grad.numpy(), expected)


def is_basic(form: Any) -> bool:
    items = form if isinstance(form, tuple) else (form,)
    return not any(isinstance(item, (list, bool, np.ndarray)) for item in items)


BASIC = [name for name, form in FORMS.items() if is_basic(form)]


@pytest.mark.parametrize("spread", ["whole", "first", "one", "leading"])
@pytest.mark.parametrize("name", BASIC)
def test_gradients_go_into_what_is_put_in_a_place(name: str, spread: str) -> None:
    """The place is a view of a plain tensor or of one with a history; the base's numbers are read elsewhere, too."""
    shape = np.zeros(SHAPE)[FORMS[name]].shape
    own = {"whole": shape, "first": (1, *shape[1:]), "one": (), "leading": (1, 1, *shape)}[spread]
    weights = torch.tensor(values())
    for has_history in (False, True):
        x = torch.tensor(values(), requires_grad=True)
        new = torch.full(own if shape else (), 3.0, dtype=torch.float64, requires_grad=True)
        y = x * x if has_history else x.detach().clone()
        y[ours(FORMS[name])] = new * new
        part = np.asarray(weights.numpy()[FORMS[name]])
        assert bool((y[ours(FORMS[name])] == 9).all())
        found = torch.autograd.grad((y * weights).sum(), (x, new) if has_history else (new,), create_graph=True)
        added = tuple(i for i, extent in enumerate(new.shape) if extent == 1)
        if spread == "one" or not shape:
            expected = np.asarray(part.sum())
        elif spread == "leading":
            expected = part[None, None]
        else:
            expected = part.sum(0, keepdims=True) if 0 in added else part
        torch.testing.assert_close(found[-1], torch.tensor(6.0 * expected.reshape(tuple(new.shape))))
        (again,) = torch.autograd.grad(found[-1].sum(), new)
        torch.testing.assert_close(again, torch.tensor(2.0 * expected.reshape(tuple(new.shape))))
        if has_history:
            kept = 2 * values() * values()
            kept[FORMS[name]] = 0
            torch.testing.assert_close(found[0], torch.tensor(kept))


def test_parts_written_in_a_loop_have_the_gradients_of_the_same_stacked() -> None:
    w = torch.tensor([[0.5, -0.2], [0.1, 0.3]], requires_grad=True)

    def written() -> torch.Tensor:
        out, h = torch.zeros(6, 2, 1), torch.ones(2, 1)
        pairs = out.view(3, 2, 2, 1)
        for t in range(3):
            h = torch.tanh(w @ h)
            pairs[t, 0] = h
            pairs[t, 1, 1:] = h[:1]
            out[2 * t][0] = h[1]
        return out

    def stacked() -> torch.Tensor:
        rows, h = [], torch.ones(2, 1)
        for _ in range(3):
            h = torch.tanh(w @ h)
            rows += [torch.stack([h[1], h[1]]), torch.stack([torch.zeros(1), h[0]])]
        return torch.stack(rows)

    weights = torch.arange(12.0).reshape(6, 2, 1)
    (found,), (expected,) = (torch.autograd.grad((f() * weights).sum(), w) for f in (written, stacked))
    torch.testing.assert_close(written(), stacked())
    torch.testing.assert_close(found, expected)


def test_parts_that_may_not_be_written_are_refused_as_by_any_write() -> None:
    leaf = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        leaf[0] = leaf[1]
    y = leaf * 1
    with pytest.raises(RuntimeError, match="more than one element"):
        y[:1].expand(3)[:2] = y[1]
    with pytest.raises(RuntimeError, match="some elements of the input tensor"):
        y[:2] = y[1:]
    with pytest.raises(RuntimeError, match=r"must match the size of tensor b|expanded size"):
        y[:2] = torch.stack([leaf[0]] * 3)
    y[0] = y[1] * 2
    y.sum().backward()
    assert leaf.grad.tolist() == [0.0, 3.0, 1.0]
    y = leaf * 1
    z = y * y
    y[0] = leaf[2]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


@pytest.mark.parametrize("name", FORMS)
def test_gradient_of_what_was_overwritten_is_zero(name: str) -> None:
    x = torch.tensor(values(), requires_grad=True)
    new = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    y = x * 1
    y[ours(FORMS[name])] = new
    y.sum().backward()
    expected = np.ones(SHAPE)
    expected[FORMS[name]] = 0
    np.testing.assert_array_equal(x.grad.numpy(), expected)
    assert new.grad.item() == 60 - expected.sum()


@pytest.mark.parametrize("name", [n for n, form in FORMS.items() if "mask" not in n and "bool" not in n])
def test_traced_reading_and_writing(name: str) -> None:
    index = ours(FORMS[name])

    def function(x: Any) -> Any:
        y = x * 2
        y[index] = y[index] + 1
        return y

    found = torch.compile(function)(torch.tensor(values()))
    np.testing.assert_array_equal(found.numpy(), function(torch.tensor(values())).numpy())


@given(hnp.basic_indices(SHAPE, allow_newaxis=True, max_dims=6))
def test_basic_indices(form: Any) -> None:
    parts = form if isinstance(form, tuple) else (form,)
    if any(isinstance(part, slice) and (part.step or 1) < 0 for part in parts):
        return  # PyTorch has no slices backwards
    view = torch.tensor(values())[form]
    np.testing.assert_array_equal(view.numpy(), values()[form])


@given(hnp.integer_array_indices(SHAPE, result_shape=hnp.array_shapes(max_dims=2, max_side=4)))
def test_integer_array_indices(form: Any) -> None:
    np.testing.assert_array_equal(torch.tensor(values())[ours(form)].numpy(), values()[form])


@given(hnp.arrays(np.bool_, st.sampled_from([(4,), (4, 3), SHAPE])), st.booleans())
def test_masks(mask: np.ndarray, write: bool) -> None:
    x, expected = torch.tensor(values()), values()
    np.testing.assert_array_equal(x[torch.from_numpy(mask)].numpy(), expected[mask])
    if write:
        x[torch.from_numpy(mask)] *= -1
        expected[mask] *= -1
        np.testing.assert_array_equal(x.numpy(), expected)


def test_an_int_is_taken_before_arrays() -> None:
    """Unlike NumPy, where the int would be an array apart from the other one, and their axis come first."""
    x = torch.tensor(values())
    np.testing.assert_array_equal(x[0, :, torch.tensor([4, 1])].numpy(), values()[0][:, [4, 1]])


def test_lists_that_hold_more_than_numbers_are_tuples() -> None:
    """As NumPy did once, and PyTorch does."""
    x = torch.tensor(values())
    np.testing.assert_array_equal(x[[[0, 1], [1, 2]]].numpy(), values()[[0, 1], [1, 2]])
    np.testing.assert_array_equal(x[[1, slice(0, 2)]].numpy(), values()[1, 0:2])
    np.testing.assert_array_equal(x[[0, ...]].numpy(), values()[0])
    assert x[[]].shape == (0, 3, 5)


def test_a_mask_without_axes() -> None:
    x = torch.tensor(values())
    assert x[torch.tensor(True)].shape == (1, *SHAPE)
    assert x[torch.tensor(False)].shape == (0, *SHAPE)
    x[torch.tensor(False)] = 9
    np.testing.assert_array_equal(x.numpy(), values())
    x[torch.tensor(True)] = 9
    assert bool((x == 9).all())


def test_ints_and_slices_are_views_and_arrays_are_copies() -> None:
    x = torch.zeros(3, 4)
    for form in (1, slice(1, 2), (slice(None), 2), None, ..., (1, slice(0, 4, 2))):
        view = x[form]
        before = x._version
        view.add_(1)
        assert x._version == before + 1
        assert view.data_ptr() >= x.data_ptr()
        assert bool((x[form] == view).all())
    for form in (torch.tensor([1]), [0, 1], x > 0):
        total = x.sum().item()
        x[form].add_(1)
        assert x.sum().item() == total


ERRORS: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda x: x[5], IndexError, "index 5 is out of bounds for dimension 0 with size 4"),
    (lambda x: x[0, -4], IndexError, "index -4 is out of bounds for dimension 1 with size 3"),
    (lambda x: x[0, 0, 0, 0], IndexError, "too many indices for tensor of dimension 3"),
    (lambda x: x[torch.tensor([4])], IndexError, "index 4 is out of bounds for dimension 0 with size 4"),
    (lambda x: x[torch.tensor([0.5])], IndexError, "tensors used as indices must be long, int, byte or bool tensors"),
    (lambda x: x[torch.tensor([0, 1]), torch.tensor([0, 1, 2])], IndexError,
     "shape mismatch: indexing tensors could not be broadcast together with shapes [2], [3]"),
    (lambda x: x[torch.tensor([True, False])], IndexError,
     "The shape of the mask [2] at index 0 does not match the shape of the indexed tensor [4, 3, 5] at index 0"),
    (lambda x: x["a"], TypeError, "new(): invalid data type 'str'"),
    (lambda x: x.__setitem__(0, None), TypeError, "can't assign a NoneType to a torch.DoubleTensor"),
    (lambda x: x.__delitem__(0), TypeError, "Tensor does not support deleting items"),
    (lambda x: x[::-1], ValueError, "step must be greater than zero"),
    (lambda x: x[1.0:3], TypeError, "slice indices must be integers or None or have an __index__ method"),
    (lambda x: x[::0], ValueError, "slice step cannot be zero"),
    (lambda x: x.sum()[0], IndexError,
     "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim "
     "tensor to a number"),
    (lambda x: x.gather(1, torch.tensor([[[9]]])), RuntimeError,
     "index 9 is out of bounds for dimension 1 with size 3"),
    (lambda x: x.gather(1, torch.tensor([1])), RuntimeError,
     "Index tensor must have the same number of dimensions as input tensor"),
    (lambda x: x.select(1, 3), IndexError,
     "select(): index 3 out of range for tensor of size [4, 3, 5] at dimension 1"),
    (lambda x: x.narrow(0, 3, 2), RuntimeError, "start (3) + length (2) exceeds dimension size (4)."),
    (lambda x: x.masked_fill(x, 0), RuntimeError,
     "masked_fill_ only supports boolean masks, but got mask with dtype double"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "kind", "first"), ERRORS, ids=[first[:40] for _, _, first in ERRORS])
def test_errors_start_with_pytorchs_line(function: Callable[[Any], Any], kind: type[Exception], first: str) -> None:
    with pytest.raises(kind) as caught:
        function(torch.tensor(values()))
    assert str(caught.value).split("\n")[0] == first


def test_byte_masks_are_masks_when_written() -> None:
    x = torch.zeros(2, 3)
    x[:, torch.tensor([0, 1, 1], dtype=torch.uint8)] = 5.0
    assert x.tolist() == [[0, 5, 5], [0, 5, 5]]


@pytest.mark.parametrize(
    ("shape", "index", "text"),
    [
        ((2, 3), (None, 2), "index 2 is out of bounds for dimension 1 with size 2"),
        ((2, 3), (..., 5), "index 5 is out of bounds for dimension 1 with size 3"),
        ((), 2, "index 2 is out of bounds for dimension 0 with size 0"),
        ((), 0, "invalid index of a 0-dim tensor."),
        ((), slice(1), "slice() cannot be applied to a 0-dim tensor."),
        ((), (1, 2), "too many indices for tensor of dimension 0"),
        ((3,), torch.tensor([0, 1], dtype=torch.int8), "tensors used as indices must be long, int, byte or bool"),
        ((3, 4), (0, torch.ones(3, dtype=torch.bool)),
         "The shape of the mask [3] at index 0 does not match the shape of the indexed tensor [4] at index 0"),
    ],
)  # fmt: skip
def test_errors_of_indices(shape: tuple[int, ...], index: Any, text: str) -> None:
    with pytest.raises(IndexError) as error:
        torch.zeros(shape)[index]
    assert str(error.value).startswith(text)


_AT: dict[str, tuple[tuple[int, ...], Any, tuple[int, ...]]] = {
    "rows": ((5, 4), np.array([3, 0, -1]), (3, 4)),
    "rows, one value": ((5, 4), np.array([[3, 0], [1, -5]]), (1, 1, 4)),
    "pairs": ((5, 4), (np.array([0, 1, 2]), np.array([3, -1, 0])), (3,)),
    "behind a slice": ((5, 4), (slice(None), np.array([3, 1])), (5, 2)),
    "around a slice": ((5, 4, 3), (np.array([4, 1]), slice(1, 3), np.array([2, 0])), (2, 2)),
    "a mask": ((5,), np.array([True, False, True, True, False]), (3,)),
    "a mask, leading ones": ((5,), np.array([True, False, True, True, False]), (1, 3)),
    "a mask of rows": ((3, 4), np.array([True, False, True]), (4,)),
    "an empty mask": ((3,), np.array([False, False, False]), (0,)),
    "no places": ((3,), np.zeros(0, np.int64), (0,)),
}


@pytest.mark.parametrize("dtype", ["float32", "complex64", "bool", "float16"])
@pytest.mark.parametrize("name", sorted(_AT))
def test_assignments_at_places(name: str, dtype: str) -> None:
    shape, index, size = _AT[name]
    expected = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    x = torch.from_numpy(expected.copy())
    value = np.asarray(np.random.default_rng(1).standard_normal(size) * 9).astype(dtype)
    expected[index] = value.reshape(-1) if name == "a mask, leading ones" else value
    given = (
        tuple(torch.from_numpy(i) if isinstance(i, np.ndarray) else i for i in index)
        if isinstance(index, tuple) else torch.from_numpy(index)
    )  # fmt: skip
    x[given] = torch.from_numpy(value)
    assert x.numpy().tobytes() == expected.tobytes()
    assert x._version == 1


def test_assignments_at_places_that_fail_change_nothing() -> None:
    x = torch.zeros(4, 3)
    for index, value in (
        (torch.tensor([0, 4]), torch.ones(2, 3)), (torch.tensor([0, -5]), 1.0),
        (torch.tensor([0, 1]), torch.ones(3, 3)),
        (torch.tensor([True, False, True]), 1.0), (torch.tensor([True, False, True, False]), torch.ones(3, 3)),
    ):  # fmt: skip
        with pytest.raises((IndexError, RuntimeError)):
            x[index] = value
    assert x.eq(0).all()
    w = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        w[torch.tensor([0])] = 1.0
    x[torch.tensor([1, 2])] = w
    assert torch.autograd.grad(x.sum(), w)[0].eq(1).all()


def test_one_number_of_a_complex_tensor_takes_a_tensor_of_one() -> None:
    x = torch.zeros(3, dtype=torch.complex64)
    x[1] = torch.tensor([2 + 1j])
    assert x.tolist() == [0j, 2 + 1j, 0j]


def test_compiled_places_outside_axes_of_one_element_raise() -> None:
    """The element's place does not depend on the index there; parts that are stored apart check it all the same."""
    functions: tuple[Any, ...] = (
        lambda x, i: x[i], lambda x, i: x.index_select(0, i), lambda x, i: x.take(i), lambda x, i: x.gather(0, i),
    )  # fmt: skip
    for dtype in (torch.complex64, torch.complex128, torch.float32):
        x = torch.tensor([2.0]).to(dtype)
        for function in functions:
            compiled = torch.compile(function)
            assert torch.equal(compiled(x, torch.tensor([0])), x)
            for outside in (1, 100, -7):
                for _ in range(3):
                    with pytest.raises((IndexError, RuntimeError), match="out of"):
                        compiled(x, torch.tensor([outside]))
    pair = torch.compile(lambda x, i: torch.cat([x[:, 0][i][:, None], x[:, 1][i][:, None]], 1))
    assert pair(torch.tensor([[1.0, 2.0]]), torch.tensor([-1])).tolist() == [[1.0, 2.0]]
    with pytest.raises(IndexError, match="index 3 is out of bounds for dimension 0 with size 1"):
        pair(torch.tensor([[1.0, 2.0]]), torch.tensor([3]))


def test_lists_of_empty_lists_are_indices() -> None:
    x = torch.arange(12.0).reshape(4, 3)
    assert x[1, [[]]].shape == (1, 0)
    assert x[[[], []]].shape == (0,)
    assert x[np.array([])].shape == (0, 3)
    with pytest.raises(IndexError, match="must be long, int, byte or bool"):
        x[torch.tensor([])]
