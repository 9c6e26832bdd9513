"""Search, membership, distinct values, positions of nonzero elements, and the order of axes in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adjit as torch

NUMBERS = st.lists(st.integers(-4, 4), max_size=9)


@given(NUMBERS, NUMBERS, st.booleans())
def test_searchsorted(edges: list[int], values: list[int], right: bool) -> None:
    ordered = np.sort(np.array(edges, np.float64))
    wanted = np.searchsorted(ordered, np.array(values, np.float64), "right" if right else "left")
    found = torch.searchsorted(torch.tensor(ordered), torch.tensor(values, dtype=torch.float64), right=right)
    assert found.tolist() == wanted.tolist()
    bucket = torch.bucketize(torch.tensor(values, dtype=torch.float64), torch.tensor(ordered), right=right)
    assert bucket.tolist() == wanted.tolist()


def test_searchsorted_forms() -> None:
    rows = torch.tensor([[1.0, 3, 5], [2, 4, 6]])
    assert torch.searchsorted(rows, torch.tensor([[3.0, 9], [3, 0]])).tolist() == [[1, 3], [1, 0]]
    assert torch.searchsorted(rows[0], 4).item() == 2
    assert torch.searchsorted(rows[0], torch.tensor([float("nan")])).tolist() == [3]
    assert torch.searchsorted(rows[0], rows, out_int32=True).dtype == torch.int32
    unsorted = torch.tensor([5.0, 1, 3])
    assert torch.searchsorted(unsorted, torch.tensor([3.0]), sorter=unsorted.argsort(), side="right").tolist() == [2]
    compiled = torch.compile(lambda a, b: torch.searchsorted(a, b), dynamic=True)
    for count in (3, 5, 8):
        edges, values = torch.arange(float(count)), torch.arange(6.0) - 0.5
        assert torch.equal(compiled(edges, values), torch.searchsorted(edges, values))


@given(NUMBERS, NUMBERS, st.booleans())
def test_isin(elements: list[int], wanted: list[int], invert: bool) -> None:
    given_, list_ = torch.tensor(elements, dtype=torch.long), torch.tensor(wanted, dtype=torch.long)
    found = torch.isin(given_, list_, invert=invert)
    assert found.tolist() == [(x in wanted) != invert for x in elements]


@given(NUMBERS)
def test_unique_consecutive(values: list[int]) -> None:
    x = torch.tensor(values, dtype=torch.long)
    found, inverse, counts = torch.unique_consecutive(x, return_inverse=True, return_counts=True)
    assert found[inverse].tolist() == values
    assert found.repeat_interleave(counts).tolist() == values
    assert all(a != b for a, b in zip(found.tolist(), found.tolist()[1:], strict=False))


def test_unique() -> None:
    x = torch.tensor([3, 1, 2, 1])
    values, inverse, counts = x.unique(return_inverse=True, return_counts=True)
    assert (values.tolist(), inverse.tolist(), counts.tolist()) == ([1, 2, 3], [2, 0, 1, 0], [2, 1, 1])
    rows = torch.tensor([[1, 2], [1, 2], [0, 5]])
    assert rows.unique(dim=0).tolist() == [[0, 5], [1, 2]]
    assert rows.unique_consecutive(dim=0).tolist() == [[1, 2], [0, 5]]
    assert str(torch.tensor([float("nan"), 1.0, float("nan")]).unique()) == "tensor([1., nan, nan])"


@given(st.lists(st.booleans(), max_size=8), st.integers(0, 6))
def test_nonzero_static(flags: list[bool], size: int) -> None:
    x = torch.tensor(flags, dtype=torch.bool)
    rows = [[place] for place, flag in enumerate(flags) if flag][:size]
    assert torch.nonzero_static(x, size=size, fill_value=-7).tolist() == rows + [[-7]] * (size - len(rows))


def test_nonzero_static_in_a_trace() -> None:
    def function(x: Any) -> Any:
        return torch.nonzero_static(x > 0, size=3)

    x = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    assert torch.compile(function)(x).tolist() == function(x).tolist() == [[0, 1], [1, 0], [-1, -1]]


def test_unravel_index() -> None:
    flat = torch.tensor([5, 11, -1, 12])
    assert [axis.tolist() for axis in torch.unravel_index(flat, (3, 4))] == [[1, 2, 2, 0], [1, 3, 3, 0]]


def test_repeats_by_a_vector_in_a_trace() -> None:
    def function(x: Any, counts: Any) -> Any:
        return torch.repeat_interleave(x, counts, 0, output_size=4)

    x, counts = torch.arange(6.0).view(3, 2), torch.tensor([1, 0, 3])
    assert torch.equal(torch.compile(function)(x, counts), function(x, counts))
    assert torch.repeat_interleave(counts).tolist() == [0, 2, 2, 2]


# -- memory -----------------------------------------------------------------------------------------------------------
def test_channels_last() -> None:
    x = torch.arange(24.0).view(1, 2, 3, 4)
    y = x.to(memory_format=torch.channels_last)
    assert y.stride() == (24, 1, 8, 2)
    assert torch.equal(x, y)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert not y.is_contiguous()
    assert not x.is_contiguous(memory_format=torch.channels_last)
    assert y.contiguous(memory_format=torch.channels_last) is y
    assert y.contiguous().stride() == x.stride()
    with pytest.raises(RuntimeError, match=r"^required rank 4 tensor to use channels_last format$"):
        x[0].contiguous(memory_format=torch.channels_last)
    leaf = y.requires_grad_()
    (leaf * 2).sum().backward()
    assert torch.equal(leaf.grad, torch.full_like(x, 2))
    assert torch.compile(lambda a: a.contiguous(memory_format=torch.channels_last) + 1)(x).sum() == x.sum() + 24


def test_strides_of_choice() -> None:
    x = torch.empty_strided((2, 3), (1, 2))
    x.copy_(torch.arange(6.0).view(2, 3))
    assert x.stride() == (1, 2)
    assert x.t().is_contiguous()
    assert x.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert torch.empty_permuted((2, 3, 4), (2, 0, 1)).stride() == (3, 1, 6)
    assert torch.ones(1).new_empty_strided((2, 2), (3, 1), dtype=torch.int64).dtype == torch.int64
    assert torch.ones(2, 3).t().dim_order() == (1, 0)


def test_memory_of_other_libraries() -> None:
    array = np.zeros(3, np.float32)
    x = torch.from_dlpack(array)
    x += 1
    assert array.tolist() == [1.0] * 3
    assert np.shares_memory(np.from_dlpack(x), array)
    data = bytearray(array.tobytes())
    y = torch.frombuffer(data, dtype=torch.float32, offset=4)
    y.zero_()
    assert np.frombuffer(data, np.float32).tolist() == [1.0, 0.0, 0.0]
    assert torch.arange(3.0).apply_(lambda v: v * v).tolist() == [0.0, 1.0, 4.0]
    assert torch.arange(3.0).map_(torch.ones(3), lambda a, b: a - b).tolist() == [-1.0, 0.0, 1.0]


def test_real_numbers_are_their_own_conjugates() -> None:
    x = torch.ones(2, 3)
    assert x.real is x.conj() is torch.resolve_conj(x) is x
    assert x.H.shape == x.mH.shape == x.adjoint().shape == (3, 2)
    with pytest.raises(RuntimeError, match=r"^imag is not implemented for tensors with non-complex dtypes"):
        _ = x.imag


def test_constants_and_functions_in_place() -> None:
    assert (torch.pi, torch.e, torch.inf, torch.newaxis) == (np.pi, np.e, np.inf, None)
    x = torch.ones(2)
    assert torch.fill(x, 3).tolist() == [3.0, 3.0]
    assert torch.zero_(x) is x
    assert torch.exp_(x).tolist() == [1.0, 1.0]
    assert "relu_" in dir(torch)


def test_compiled_functions_count_up_to_minlength() -> None:
    numbers = torch.tensor([0, 1, 1, 3])
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    for function, operands in (
        (lambda x: torch.bincount(x, minlength=6), (numbers,)),
        (lambda x: x.int().bincount(minlength=4) * 2, (numbers,)),
        (lambda x, w: torch.bincount(x, w, minlength=6), (numbers, weights)),
        (lambda x, w: torch.bincount(x, w, minlength=6), (numbers, weights.long())),
        (lambda x: torch.bincount(x, minlength=3), (numbers[:0],)),
    ):
        found, wanted = torch.compile(function)(*operands), function(*operands)
        assert found.dtype is wanted.dtype
        assert torch.equal(found, wanted)
    rows = torch.stack([numbers, numbers.flip(0) * 0 + 2])
    mapped = torch.vmap(lambda x: torch.bincount(x, minlength=4))(rows)
    assert mapped.tolist() == [[1, 2, 0, 1], [0, 0, 4, 0]]
    with pytest.raises(RuntimeError, match="bincount: a compiled function counts minlength=2 numbers, but 3 is among"):
        torch.compile(lambda x: torch.bincount(x, minlength=2))(numbers)
    with pytest.raises(RuntimeError, match="bincount only supports 1-d non-negative integral inputs"):
        torch.compile(lambda x: torch.bincount(x - 1, minlength=5))(numbers)


def test_orders_of_axes_may_have_to_be_the_only_ones() -> None:
    formats = [torch.contiguous_format, torch.channels_last]
    plain, one = torch.zeros(2, 3, 4, 5), torch.zeros(1, 2, 3, 4)
    assert plain.dim_order(ambiguity_check=True) == (0, 1, 2, 3)
    assert plain.to(memory_format=torch.channels_last).dim_order(ambiguity_check=formats) == (0, 2, 3, 1)
    assert one.dim_order(ambiguity_check=formats) == (0, 1, 2, 3)
    for tensor, check in ((one, True), (torch.zeros(1, 1, 1, 1), formats)):
        with pytest.raises(RuntimeError, match="does not have unique dim order"):
            tensor.dim_order(ambiguity_check=check)
    with pytest.raises(TypeError, match="must be a bool or a list of memory formats"):
        plain.dim_order(ambiguity_check="no")


@pytest.mark.parametrize("values", [[], [0.0, 1.0, 0.0, 2.0], [0.0, 0.0], [True, False, True]])
@pytest.mark.parametrize("step", [1, 2])
def test_nonzero_of_vectors_gives_a_column_of_its_own(values: list[float], step: int) -> None:
    x = torch.tensor(values)[::step]
    found = x.nonzero()
    expected = [[place] for place, value in enumerate(values[::step]) if value]
    assert found.tolist() == expected and found.dtype is torch.int64 and tuple(found.shape) == (len(expected), 1)
    assert found.add_(1).is_contiguous() and x.tolist() == values[::step]
