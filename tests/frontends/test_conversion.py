"""Tensors as Python and NumPy values, in other dtypes, and what they say of themselves."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.ir.errors import TraceError

X = torch.tensor([[1.5, -2.0, 0.0], [4.0, 5.0, 6.0]])
DTYPES = ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
DTYPES += ["float16", "bfloat16", "float32", "float64"]


# What PyTorch 2.13 gives.
VALUES: list[tuple[Callable[[], Any], Any]] = [
    (lambda: torch.tensor([[2]]).item(), 2),
    (lambda: torch.tensor(1.5, dtype=torch.bfloat16).item(), 1.5),
    (lambda: X.tolist(), [[1.5, -2.0, 0.0], [4.0, 5.0, 6.0]]),
    (lambda: torch.tensor(True).tolist(), True),
    (lambda: int(torch.tensor([1.9])), 1),
    (lambda: complex(torch.tensor(1.5)), 1.5 + 0j),
    (lambda: [10, 20, 30][torch.tensor([1])], 20),
    (lambda: list(range(torch.tensor(2))), [0, 1]),
    (lambda: len(X), 2),
    (lambda: [row.tolist() for row in X], [[1.5, -2.0, 0.0], [4.0, 5.0, 6.0]]),
    (lambda: [float(x) for x in reversed(torch.tensor([1, 2]))], [2.0, 1.0]),
    (lambda: 5 in X, True),
    (lambda: torch.tensor(7.0) in X, False),
    (lambda: bool(torch.tensor([0.0])), False),
    (lambda: torch.is_nonzero(torch.tensor([3])), True),
    (lambda: X.shape, (2, 3)),
    (lambda: repr(X.shape), "torch.Size([2, 3])"),
    (lambda: repr((1,) + X.shape * 2), "torch.Size([1, 2, 3, 2, 3])"),
    (lambda: X.size(-1), 3),
    (lambda: (X.dim(), X.ndim, X.numel(), X.nelement()), (2, 2, 6, 6)),
    (lambda: (X.stride(), X.stride(-1), X.t().stride()), ((3, 1), 1, (1, 3))),
    (lambda: torch.zeros(2, 0, 3).stride(), (3, 3, 1)),
    (lambda: (X.is_contiguous(), X.t().is_contiguous()), (True, False)),
    (lambda: X[1:, 1:].storage_offset(), 4),
    (lambda: X[:, 1].data_ptr() - X.data_ptr(), 4),
    (lambda: (X.element_size(), X.itemsize, X.nbytes), (4, 4, 24)),
    (lambda: (X.is_floating_point(), X.is_complex(), X.is_signed()), (True, False, True)),
    (lambda: (X.device.type, X.is_cuda, X.get_device()), ("cpu", False, -1)),
    (lambda: repr(X.layout), "torch.strided"),
    (lambda: X.type(), "torch.FloatTensor"),
    (lambda: X.type("torch.LongTensor").tolist(), [[1, -2, 0], [4, 5, 6]]),
    (lambda: X.type_as(torch.ones(1, dtype=torch.bool)).tolist(), [[True, True, False], [True, True, True]]),
    (lambda: torch.cuda.is_available() or torch.backends.mps.is_available(), False),
    (lambda: f"{torch.tensor(1.234):.2f}", "1.23"),
]


@pytest.mark.parametrize(("make", "expected"), VALUES)
def test_values(make: Callable[[], Any], expected: Any) -> None:
    found = make()
    assert found == expected
    assert isinstance(found, type(expected))


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: torch.ones(2).item(), RuntimeError, "a Tensor with 2 elements cannot be converted to Scalar"),
    (lambda: float(torch.ones(2)), ValueError, "only one element tensors can be converted to Python scalars"),
    (lambda: bool(torch.ones(2)), RuntimeError, "Boolean value of Tensor with more than one value is ambiguous"),
    (lambda: bool(torch.ones(0)), RuntimeError, "Boolean value of Tensor with no values is ambiguous"),
    (
        lambda: torch.ones(1, requires_grad=True).numpy(),
        RuntimeError,
        "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.",
    ),
    (lambda: torch.ones(1, dtype=torch.bfloat16).numpy(), TypeError, "Got unsupported ScalarType BFloat16"),
    (lambda: [1, 2][torch.tensor(1.0)], TypeError, "only integer tensors of a single element can be converted"),
    (lambda: len(torch.tensor(1)), TypeError, "len() of a 0-d tensor"),
    (lambda: iter(torch.tensor(1)), TypeError, "iteration over a 0-d tensor"),
    (lambda: "a" in X, RuntimeError, "Tensor.__contains__ only supports Tensor or scalar"),
    (lambda: X.to(torch.int64, torch.int32), TypeError, "to() received an invalid combination of arguments"),
    (lambda: X.cuda(), AssertionError, "Torch not compiled with CUDA enabled"),
    (lambda: X.to("cuda:0"), AssertionError, "Torch not compiled with CUDA enabled"),
    (lambda: X.size(2), IndexError, "Dimension out of range (expected to be in range of [-2, 1], but got 2)"),
    (lambda: X.type("foo"), ValueError, "invalid type: 'foo'"),
]


@pytest.mark.parametrize(("make", "kind", "first"), ERRORS, ids=[first for _, _, first in ERRORS])
def test_errors(make: Callable[[], Any], kind: type[Exception], first: str) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value).startswith(first)


# -- NumPy ----------------------------------------------------------------------------------------------------------
def test_numpy_shares_memory() -> None:
    x = torch.zeros(3)
    x.numpy()[0] = 4
    assert x.tolist() == [4.0, 0.0, 0.0]
    assert np.shares_memory(np.asarray(x[1:]), x.numpy())
    assert not np.shares_memory(np.array(x), x.numpy())


def test_arrays_beside_tensors() -> None:
    assert (torch.ones(2) * np.full(2, 2.0)).dtype is torch.float64
    assert (torch.ones(2) + np.float32(3)).tolist() == [4.0, 4.0]
    assert isinstance(np.float32(3) + torch.ones(2), torch.Tensor)
    assert np.sin(torch.zeros(2)).tolist() == [0.0, 0.0]


# -- dtypes ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("source", DTYPES)
def test_every_dtype_converts_to_every_other(source: str, target: str) -> None:
    values = [0, 1, 3, 100]
    x = torch.tensor(values).to(getattr(torch, source))
    y = x.to(getattr(torch, target))
    kept = [bool(v) for v in values] if "bool" in (source, target) else values
    assert y.dtype is getattr(torch, target)
    assert y.tolist() == kept
    assert (y is x) == (source == target)


def test_to_takes_devices_flags_and_copies_on_demand() -> None:
    assert X.to("cpu", torch.int64).dtype is torch.int64
    assert X.to(device=torch.device("cpu"), dtype=torch.float64, non_blocking=True).dtype is torch.float64
    assert X.to(torch.ones(1, dtype=torch.int8)).dtype is torch.int8
    assert X.to(torch.float32) is X and X.float() is X and X.cpu() is X
    assert X.to(torch.float32, copy=True) is not X and X.to(torch.float32, False, True) is not X


def test_conversion_is_differentiable() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x.double()
    (y * 3).sum().backward()
    assert x.grad is not None and x.grad.dtype is torch.float32 and x.grad.tolist() == [3.0, 3.0]
    assert "ToCopyBackward0" in repr(y)


# -- copies ---------------------------------------------------------------------------------------------------------
def duplicates() -> list[Callable[[Any], Any]]:
    return [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]


@pytest.mark.parametrize("duplicate", duplicates(), ids=["deepcopy", "pickle"])
def test_copies_keep_data_flags_and_attributes(duplicate: Callable[[Any], Any]) -> None:
    for dtype in DTYPES:
        x = torch.tensor([0.0, 1.0]).to(getattr(torch, dtype))
        assert duplicate(x).dtype is x.dtype and duplicate(x).tolist() == x.tolist()
    x = torch.ones(2, requires_grad=True)
    x.note = "kept"
    y = duplicate(x)
    assert y is not x and y.requires_grad and y.is_leaf and y.note == "kept"
    with torch.no_grad():
        y.zero_()
    assert x.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("duplicate", duplicates(), ids=["deepcopy", "pickle"])
def test_copies_keep_what_is_shared(duplicate: Callable[[Any], Any]) -> None:
    x = torch.arange(6.0).reshape(2, 3)
    given = {"whole": x, "row": x[1], "turned": x.t(), "same": x}
    found = duplicate(given)
    assert found["whole"] is found["same"]
    assert found["turned"].stride() == (1, 3)
    found["whole"][1, 0] = 9
    assert found["row"].tolist() == [9.0, 4.0, 5.0] and found["turned"][0, 1].item() == 9
    assert x[1, 0].item() == 3
    # A copied view is one to compiled code too, where views replay how they came about.
    compiled = torch.compile(lambda: found["row"] + found["turned"][0, 1])
    assert compiled().tolist() == [18.0, 13.0, 14.0]


def test_deepcopy_takes_the_gradient_along_and_refuses_results() -> None:
    x = torch.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    y = copy.deepcopy(x)
    assert y.grad.tolist() == [3.0, 3.0] and y.grad is not x.grad
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly by the user"):
        copy.deepcopy(x * 2)


@pytest.mark.parametrize("value", [torch.float32, torch.Size([1, 2]), torch.device("cpu"), torch.strided])
def test_other_values_are_pickled(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


# -- in compiled programs -------------------------------------------------------------------------------------------
def test_dtypes_change_in_compiled_code() -> None:
    def function(x: Any) -> Any:
        return x.long(), x.to(torch.float64) / 3, x.half().float(), x.type_as(x.bool())

    for found, expected in zip(torch.compile(function)(X), function(X), strict=True):
        assert found.dtype is expected.dtype and found.tolist() == expected.tolist()


@pytest.mark.parametrize("read", [complex, lambda x: x.numpy(), lambda x: f"{x.item():.3f}"])
def test_numbers_of_a_traced_tensor_are_refused_by_name(read: Callable[[Any], Any]) -> None:
    def function(x: Any) -> Any:
        read(x[0])
        return x

    with pytest.raises(TraceError, match="needs the numbers of a traced tensor") as caught:
        torch.compile(function)(torch.ones(2))
    assert "test_conversion.py" in str(caught.value)


@pytest.mark.parametrize("read", [
    lambda z: z.item(),
    lambda z: z.reshape(1).tolist(),
    lambda z: z.item() * 2.0,
    lambda z: abs(z.item()),
], ids=["item", "tolist", "product", "abs"])  # fmt: skip
def test_complex_numbers_of_a_traced_tensor_are_refused(read: Callable[[Any], Any]) -> None:
    """A number whose value is unknown is an int or a float: the imaginary part would be lost."""
    with pytest.raises(TraceError, match="needs the numbers of a traced tensor"):
        torch.compile(lambda x: read((x * 1j).sum()))(X)


def _truth(x: Any) -> Any:
    return bool((x * 1j).sum()) if x.sum() > 0 else x


def _whole(x: Any) -> Any:
    return int((x * 1j).sum()) if x.sum() > 0 else x


def _real(x: Any) -> Any:
    return float((x * 1j).sum()) if x.sum() > 0 else x


@pytest.mark.parametrize("function", [_truth, _whole, _real])
def test_complex_numbers_are_not_converted_in_captured_code(function: Callable[[Any], Any]) -> None:
    with pytest.raises(TraceError, match="needs the numbers of a traced tensor"):
        torch.compile(function)(X)


def test_arrays_beside_tensors_are_compared_element_by_element() -> None:
    for left in (np.array([1, 3]), np.float32(1), np.int64(1)):
        found = left == torch.tensor([1, 2])
        assert isinstance(found, torch.Tensor) and found.tolist() == [True, False]
        assert (left != torch.tensor([1, 2])).tolist() == [False, True]
