"""Index tensors, masks, lists and views in eager mode: again and again, the same numbers, gradients and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.native import install
from adjit.runtime import layout

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()
ROUNDS = 50
GIVEN = np.random.default_rng(5).standard_normal((6, 4)).astype(np.float32)
MASK = GIVEN > 0.2
ROWS = np.array([3, 0, -1, 3])
INDICES: list[Any] = [
    MASK, MASK[:, 0], (slice(None), MASK[0]), ROWS, (ROWS, ROWS), (slice(None), ROWS), (slice(1, 3), ROWS), (..., ROWS),
    (ROWS[:2, None], ROWS), (None, ROWS), (2, ROWS), [0, 2], [[0, 2]], [True, False, True, False, True, True],
    (slice(None), [0, 2]), ([1, 1], [0, 2]), (slice(None), []), (slice(None, None, 2), [3]), np.zeros((6, 4), bool),
]  # fmt: skip


def _as_given(index: Any, convert: Callable[[np.ndarray], Any]) -> Any:
    if isinstance(index, tuple):
        return tuple(_as_given(item, convert) for item in index)
    return convert(index) if isinstance(index, np.ndarray) else index


def _of_numpy(index: Any) -> Any:
    """The index as NumPy must see it to do what PyTorch does."""
    if isinstance(index, list) and index and isinstance(index[0], list):
        return tuple(index)  # PyTorch reads it as a tuple
    return index


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("convert", [torch.from_numpy, np.array])
def test_reading(index: Any, convert: Any) -> None:
    wanted = GIVEN[_of_numpy(index)]
    slope = np.zeros_like(GIVEN)
    weights = np.arange(1, wanted.size + 1, dtype=np.float32).reshape(wanted.shape)
    np.add.at(slope, _of_numpy(index), weights)
    for recording in (False, True):
        x = torch.from_numpy(GIVEN.copy()).requires_grad_(recording)
        given = _as_given(index, convert)
        for _ in range(ROUNDS):
            found = x[given]
            assert found.detach().numpy().tobytes() == wanted.tobytes() and found.shape == wanted.shape
            assert found.is_contiguous() and found.requires_grad is recording
        if recording:
            if wanted.size:
                assert found.grad_fn.name() == "IndexBackward0"
            (found * torch.from_numpy(weights)).sum().backward()
            assert x.grad is not None and np.allclose(x.grad.numpy(), slope)


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("kind", ["number", "tensor", "one"])
def test_writing(index: Any, kind: str) -> None:
    place = _of_numpy(index)
    shape = GIVEN[place].shape
    numbers = np.zeros(shape, np.float32)
    # Positions that come twice take the same value.
    numbers[...] = {"number": 0.5, "one": -2.0, "tensor": 7.0}[kind]
    wanted = 3 * GIVEN
    wanted[place] = numbers
    kept = np.ones_like(GIVEN)
    kept[place] = 0
    for recording in (False, True):
        for _ in range(ROUNDS):
            x = torch.from_numpy(GIVEN.copy()).requires_grad_(recording)
            value: Any = 0.5
            if kind != "number":
                array = numbers if kind == "tensor" else numbers.max(initial=-2, keepdims=True)
                value = torch.from_numpy(array).requires_grad_(recording)
            y = x * 3
            before = y._version
            y[_as_given(index, torch.from_numpy)] = value
            assert y._version == before + 1 and y.detach().numpy().tobytes() == wanted.tobytes()
        if recording:
            y.sum().backward()
            assert np.allclose(x.grad.numpy(), 3 * kept)


def test_places_outside() -> None:
    x = torch.arange(6.0).requires_grad_()
    for _ in range(ROUNDS):
        assert x[[0, 5]].tolist() == [0, 5]
        with pytest.raises(IndexError, match="index 6 is out of bounds for dimension 0 with size 6"):
            x[[0, 6]]
        with pytest.raises(IndexError, match="index -7 is out of bounds for dimension 0 with size 6"):
            x[np.array([-7])]
        with pytest.raises(IndexError, match="index 9 is out of bounds"):
            y = x * 2
            y[torch.tensor([9])] = torch.ones(1)
        with pytest.raises(IndexError, match="The shape of the mask"):
            x[torch.ones(5, dtype=torch.bool)]
        with pytest.raises(RuntimeError, match="leaf Variable"):
            x[x > 2] = 0.0


def test_masked_select_and_nonzero() -> None:
    array = GIVEN.copy()
    x, mask = torch.from_numpy(array), torch.from_numpy(MASK)
    leaf = torch.from_numpy(array).requires_grad_()
    for _ in range(ROUNDS):
        assert torch.masked_select(x, mask).tolist() == array[MASK].tolist()
        assert torch.masked_select(x, mask[:, :1]).tolist() == array[np.broadcast_to(MASK[:, :1], (6, 4))].tolist()
        chosen = torch.masked_select(leaf, mask)
        assert chosen.grad_fn.name() == "MaskedSelectBackward0"
        assert torch.nonzero(x).tolist() == np.argwhere(array).tolist()
        assert torch.nonzero(torch.tensor([0.0, -0.0, np.nan])).tolist() == [[2]]
        assert torch.nonzero(torch.tensor([0.0, -0.0, 1]).bfloat16()).tolist() == [[2]]
        assert torch.nonzero(torch.tensor(3)).shape == (1, 0) and torch.nonzero(torch.tensor(0)).shape == (0, 0)
        assert torch.nonzero(torch.zeros(0, 3)).shape == (0, 2)
    chosen.sum().backward()
    assert leaf.grad.tolist() == MASK.astype(float).tolist()


def test_counts_that_change() -> None:
    """How many elements a mask chooses is another number at each call."""
    random = np.random.default_rng(0)
    for _ in range(2 * ROUNDS):
        array = random.standard_normal(9).astype(np.float32)
        x = torch.from_numpy(array).requires_grad_()
        mask = torch.from_numpy(array > random.random())
        found = x[mask]
        assert found.tolist() == array[mask.numpy()].tolist()
        (found * found).sum().backward()
        assert x.grad.tolist() == (2 * array * mask.numpy()).tolist()


def _changed_parts(x: torch.Tensor, form: int) -> torch.Tensor:
    y = x * 2
    if form == 0:
        y[0].mul_(2)
        y[:, 1].add_(x[:, 0])
    elif form == 1:
        y[1:] += 1
        y[1:] *= y[:-1].exp()
    elif form == 2:
        y.view(-1)[2:].sigmoid_()
    elif form == 3:
        part = y[1:]
        part += x[1:] ** 2
        y[1:] = part
        y[1:] = part.detach()
    else:
        part = y.t()
        part[0].copy_(x[0, 0])
        part.mul_(x.t())
    return y


@pytest.mark.parametrize("form", range(5))
def test_views_written_while_recording(form: int) -> None:
    """Like the same program of functions."""
    x = torch.from_numpy(GIVEN.copy()).requires_grad_()
    for _ in range(ROUNDS):
        found = _changed_parts(x, form)
    if form == 0:
        wanted = torch.cat([4 * x[:1], 2 * x[1:]])
        wanted = torch.stack([wanted[:, 0], wanted[:, 1] + x[:, 0], wanted[:, 2], wanted[:, 3]], 1)
    elif form == 1:
        lower = 2 * x[1:] + 1
        wanted = torch.cat([2 * x[:1], lower * torch.cat([2 * x[:1], lower[:-1]]).exp()])
    elif form == 2:
        flat = (2 * x).reshape(-1)
        wanted = torch.cat([flat[:2], flat[2:].sigmoid()]).reshape(6, 4)
    elif form == 3:
        wanted = torch.cat([2 * x[:1], (2 * x[1:] + x[1:] ** 2).detach()])
    else:
        wanted = torch.cat([x[0, 0].expand(6, 1), 2 * x[:, 1:]], 1) * x
    assert torch.allclose(found, wanted)
    weights = torch.from_numpy(GIVEN + 3)
    slopes = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, wanted)]
    assert torch.allclose(*slopes)


def test_a_part_written_to_itself() -> None:
    x = torch.ones(4, requires_grad=True)
    y = x * 2
    part = y[1:]
    version = y._version
    y[1:] = part
    assert y._version == version + 1 and y.grad_fn is not None
    with torch.no_grad():
        late = y[1:]
    y[1:] = late.detach()
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [2, 0, 0, 0]


def test_out_that_is_an_operand() -> None:
    x, y = torch.arange(3.0), torch.ones(3)
    for _ in range(ROUNDS):
        before = y.tolist()
        assert torch.add(x, y, out=y) is y
        assert y.tolist() == [a + b for a, b in zip(range(3), before, strict=True)]
    z = torch.empty(3)
    for _ in range(ROUNDS):
        assert torch.cumsum(x, 0, out=z).tolist() == [0, 1, 3]
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        torch.cumsum(x.clone().requires_grad_(), 0, out=z)


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_masks_of_turned_and_cut_tensors(size: int) -> None:
    array = np.random.default_rng(size).standard_normal((size, 4)).astype(np.float32)
    ways: list[Callable[[Any], Any]] = [
        lambda x: x, lambda x: x.T, lambda x: x[::2], lambda x: x[:, 1:3], lambda x: x[:, 0],
    ]  # fmt: skip
    for shown in ways:
        wanted = array.copy()
        x = torch.from_numpy(wanted.copy())
        given = shown(wanted)
        view = torch.from_numpy(shown(x.numpy()))  # NumPy's view of the same memory
        mask = given > 0.3
        assert view[torch.from_numpy(np.ascontiguousarray(mask))].tolist() == given[mask].tolist()
        assert view[torch.from_numpy(mask)].is_contiguous()
        view[torch.from_numpy(mask)] = -7.0
        given[mask] = -7
        assert x.tolist() == wanted.tolist()
        view[torch.from_numpy(~mask)] = torch.tensor(float("nan"))
        given[~mask] = np.nan
        assert x.numpy().tobytes() == wanted.tobytes()
    whole = torch.zeros(3, dtype=torch.int64)
    whole[torch.tensor([True, False, True])] = 2**31 - 1
    assert whole.tolist() == [2**31 - 1, 0, 2**31 - 1]


def test_one_element_written_to_itself() -> None:
    x = torch.arange(12.0).reshape(3, 4).requires_grad_()
    y = x * 2
    for index in (1, (2, 3), (..., -1), (0, None), slice(0, 2)):
        version, before = y._version, y.tolist()
        y[index] = y[index]
        assert y._version == version + 1 and y.tolist() == before
        y[index] += 1
    other = (x * 3)[1:]
    y[1:] = other  # the same place of another memory
    with pytest.raises(IndexError, match="out of bounds"):
        y[5] = y[2]
    y.sum().backward()
    assert x.grad.tolist() == [[2.0] * 4, [3.0] * 4, [3.0] * 4]
