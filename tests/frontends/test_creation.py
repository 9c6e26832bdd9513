"""Making tensors: PyTorch's dtypes, values and errors, in eager mode and as part of a compiled program."""

from __future__ import annotations

import copy
import pickle
from collections import UserList, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch

NAN = float("nan")


def described(tensor: Any) -> tuple[str, Any]:
    return tensor.dtype.__repr__().removeprefix("torch."), tensor.tolist()


# What PyTorch 2.13 gives: dtype and elements.
VALUES: list[tuple[Callable[[], Any], str, Any]] = [
    (lambda: torch.tensor(3), "int64", 3),
    (lambda: torch.tensor(True), "bool", True),
    (lambda: torch.tensor([1, 2.5]), "float32", [1.0, 2.5]),
    (lambda: torch.tensor([True, 2]), "int64", [1, 2]),
    (lambda: torch.tensor([]), "float32", []),
    (lambda: torch.tensor([[], []]), "float32", [[], []]),
    (lambda: torch.tensor(range(3)), "int64", [0, 1, 2]),
    (lambda: torch.tensor(deque([1.0, 2.0])), "float32", [1.0, 2.0]),
    (lambda: torch.tensor([deque([1, 2]), UserList([3, 4])]), "int64", [[1, 2], [3, 4]]),
    (lambda: torch.tensor(bytearray(b"ab")), "int64", [97, 98]),
    (lambda: torch.tensor(((1, 2), [3, 4])), "int64", [[1, 2], [3, 4]]),
    (lambda: torch.tensor([1.9, -2.9], dtype=torch.int32), "int32", [1, -2]),
    (lambda: torch.tensor([-1], dtype=torch.uint8), "uint8", [255]),
    (lambda: torch.tensor([1, 0], dtype=bool), "bool", [True, False]),
    (lambda: torch.tensor(2**64, dtype=torch.float64), "float64", 2.0**64),
    (lambda: torch.tensor([1e5], dtype=torch.float16), "float16", [float("inf")]),
    (lambda: torch.tensor([1.00390625, 1.01171875], dtype=torch.bfloat16), "bfloat16", [1.0, 1.015625]),
    (lambda: torch.tensor(np.array([1, 2], np.int32)), "int32", [1, 2]),
    (lambda: torch.tensor(np.float64(1.5)), "float64", 1.5),
    (lambda: torch.tensor([np.float64(1.5), 2]), "float64", [1.5, 2.0]),
    (lambda: torch.tensor([np.float32(1.5), 2]), "float32", [1.5, 2.0]),
    (lambda: torch.tensor([np.int32(1)]), "int32", [1]),
    (lambda: torch.tensor([np.array([1, 2]), np.array([3, 4])]), "int64", [[1, 2], [3, 4]]),
    (lambda: torch.tensor([1, torch.tensor(2.5)]), "float32", [1.0, 2.5]),
    (lambda: torch.tensor([torch.tensor([1.0]), torch.tensor([2.0])]), "float32", [1.0, 2.0]),
    (lambda: torch.as_tensor(np.float32(3)), "float32", 3.0),
    (lambda: torch.scalar_tensor(3), "float32", 3.0),
    (lambda: torch.full((2,), 3), "int64", [3, 3]),
    (lambda: torch.full((2,), True), "bool", [True, True]),
    (lambda: torch.full((), 2.5), "float32", 2.5),
    (lambda: torch.full((2,), torch.tensor(3.0)), "float32", [3.0, 3.0]),
    (lambda: torch.full([2], 3.7, dtype=torch.int64), "int64", [3, 3]),
    (lambda: torch.full((2,), 1.5, dtype=torch.bfloat16), "bfloat16", [1.5, 1.5]),
    (lambda: torch.full_like(torch.ones(1, dtype=torch.int64), 3.7), "int64", [3]),
    (lambda: torch.zeros(size=(1, 2)), "float32", [[0.0, 0.0]]),
    (lambda: torch.ones(2, dtype=int), "int64", [1, 1]),
    (lambda: torch.ones_like(torch.zeros(2), dtype=torch.bool), "bool", [True, True]),
    (lambda: torch.ones(2, dtype=torch.int64).new_tensor([1.5]), "int64", [1]),
    (lambda: torch.ones(2, dtype=torch.float64).new_zeros((1, 2)), "float64", [[0.0, 0.0]]),
    (lambda: torch.ones(2).new_full((2,), 3), "float32", [3.0, 3.0]),
    (lambda: torch.eye(2, 3), "float32", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    (lambda: torch.eye(2, dtype=torch.bfloat16), "bfloat16", [[1.0, 0.0], [0.0, 1.0]]),
    (lambda: torch.arange(3), "int64", [0, 1, 2]),
    (lambda: torch.arange(end=3), "int64", [0, 1, 2]),
    (lambda: torch.arange(5, 1, -2), "int64", [5, 3]),
    (lambda: torch.arange(1, 2.5, 0.5), "float32", [1.0, 1.5, 2.0]),
    (lambda: torch.arange(0.5, 5, 1.5, dtype=torch.int64), "int64", [0, 1, 2, 3, 4]),
    (lambda: torch.arange(0.5, 5, 1.5, dtype=torch.int32), "int32", [0, 1, 2]),
    (lambda: torch.arange(-5.5, -3, dtype=torch.int64), "int64", [-5, -4]),
    (lambda: torch.arange(0, 0.4, 0.1, dtype=torch.float64), "float64", [0.0, 0.1, 0.2, 0.30000000000000004]),
    (
        lambda: torch.linspace(0, 1, 7),
        "float32",
        [0.0, 0.1666666716337204, 0.3333333432674408, 0.5, 0.6666666269302368, 0.8333333134651184, 1.0],
    ),
    (lambda: torch.linspace(-1, 1, 5)[2:], "float32", [0.0, 0.5, 1.0]),
    (lambda: torch.linspace(3, 9, 1), "float32", [3.0]),
    (lambda: torch.linspace(-3, 10, 4, dtype=torch.int64), "int64", [-3, 1, 5, 10]),
    (lambda: torch.logspace(0, 2, 3), "float32", [1.0, 10.0, 100.0]),
    (lambda: torch.logspace(0, 3, 4, 2, dtype=torch.float64), "float64", [1.0, 2.0, 4.0, 8.0]),
    (lambda: torch.tril_indices(2, 2), "int64", [[0, 1, 1], [0, 0, 1]]),
    (lambda: torch.triu_indices(2, 2, 1, dtype=torch.int32), "int32", [[0], [1]]),
    (lambda: torch.meshgrid(torch.arange(2), torch.arange(3), indexing="xy")[0], "int64", [[0, 1]] * 3),
    (lambda: torch.Tensor([1, 2]), "float32", [1.0, 2.0]),
    (lambda: torch.LongTensor([1.5]), "int64", [1]),
    (lambda: torch.BoolTensor([1, 0]), "bool", [True, False]),
]


@pytest.mark.parametrize(("make", "dtype", "elements"), VALUES)
def test_dtype_and_elements(make: Callable[[], Any], dtype: str, elements: Any) -> None:
    assert described(make()) == (dtype, elements)


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: torch.tensor([[1, 2], [3]]), ValueError, "expected sequence of length 2 at dim 1 (got 1)"),
    (lambda: torch.tensor([[1, 2], 3]), TypeError, "not a sequence"),
    (lambda: torch.tensor([1, [2]]), TypeError, "'list' object cannot be interpreted as an integer"),
    (lambda: torch.tensor([1.0, [2.0]]), TypeError, "must be real number, not list"),
    (lambda: torch.tensor(["a"]), ValueError, "too many dimensions 'str'"),
    (lambda: torch.tensor("a"), TypeError, "new(): invalid data type 'str'"),
    (lambda: torch.tensor(None), RuntimeError, "Could not infer dtype of NoneType"),
    (lambda: torch.tensor([{}]), RuntimeError, "Could not infer dtype of dict"),
    (
        lambda: torch.tensor([300], dtype=torch.uint8),
        RuntimeError,
        "value cannot be converted to type uint8 without overflow",
    ),
    (
        lambda: torch.tensor([NAN], dtype=torch.int32),
        RuntimeError,
        "value cannot be converted to type int32 without overflow",
    ),
    (lambda: torch.tensor([2**63]), ValueError, "Overflow when unpacking long long"),
    (
        lambda: torch.tensor([torch.ones(2)]),
        ValueError,
        "only one element tensors can be converted to Python scalars",
    ),
    (
        lambda: torch.tensor([1], requires_grad=True),
        RuntimeError,
        "Only Tensors of floating point and complex dtype can require gradients",
    ),
    (
        lambda: torch.tensor([1], dtype="float32"),
        TypeError,
        "tensor(): argument 'dtype' must be torch.dtype, not str",
    ),
    (lambda: torch.tensor([1], device="cuda"), AssertionError, "Torch not compiled with CUDA enabled"),
    (lambda: torch.from_numpy([1]), TypeError, "expected np.ndarray (got list)"),
    (
        lambda: torch.from_numpy(np.arange(3)[::-1]),
        ValueError,
        "At least one stride in the given numpy array is negative",
    ),
    (lambda: torch.zeros(2.5), TypeError, "zeros(): argument 'size' (position 1) must be tuple of ints, not float"),
    (lambda: torch.zeros(), TypeError, 'zeros() missing 1 required positional arguments: "size"'),
    (lambda: torch.zeros(2, -3), RuntimeError, "zeros: Dimension size must be non-negative."),
    (lambda: torch.rand(-1), RuntimeError, "Trying to create tensor with negative dimension -1: [-1]"),
    (lambda: torch.zeros(2**62, 8), RuntimeError, "Storage size calculation overflowed with sizes="),
    (
        lambda: torch.full((2,), 300, dtype=torch.uint8),
        RuntimeError,
        "value cannot be converted to type uint8_t without overflow",
    ),
    (lambda: torch.zeros_like([1]), TypeError, "zeros_like(): argument 'input' (position 1) must be Tensor, not list"),
    (lambda: torch.eye(-1), RuntimeError, "n must be greater or equal to 0, got -1"),
    (lambda: torch.arange(1, 5, 0), RuntimeError, "step must be nonzero"),
    (lambda: torch.arange(5, 1), RuntimeError, "upper bound and lower bound inconsistent with step sign"),
    (lambda: torch.arange(0, float("inf")), RuntimeError, "unsupported range: 0 -> inf"),
    (lambda: torch.linspace(0, 1, -1), RuntimeError, "number of steps must be non-negative"),
    (lambda: torch.Tensor(2.5), TypeError, "new(): data must be a sequence (got float)"),
    (lambda: torch.device("cpu:-1"), RuntimeError, "Invalid device string: 'cpu:-1'"),
    (lambda: torch.device("toaster"), RuntimeError, "Expected one of cpu, cuda, "),
]


@pytest.mark.parametrize(("make", "kind", "first"), ERRORS, ids=[first for _, _, first in ERRORS])
def test_errors(make: Callable[[], Any], kind: type[Exception], first: str) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value).startswith(first)


# -- memory ---------------------------------------------------------------------------------------------------------
def test_from_numpy_and_as_tensor_share_memory_and_tensor_copies() -> None:
    array = np.zeros(3, np.float32)
    shared, also, copied = torch.from_numpy(array), torch.as_tensor(array), torch.tensor(array)
    shared[0] = 5
    array[1] = 6
    assert array.tolist() == shared.tolist() == also.tolist() == [5.0, 6.0, 0.0]
    assert copied.tolist() == [0.0, 0.0, 0.0]
    assert torch.as_tensor(shared) is shared


def test_asarray_shares_or_copies_as_told() -> None:
    array = np.zeros(2)
    assert np.shares_memory(torch.asarray(array).numpy(), array)
    assert not np.shares_memory(torch.asarray(array, copy=True).numpy(), array)
    with pytest.raises(ValueError, match="can't alias"):
        torch.asarray([1.0], copy=False)


def test_copying_a_tensor_warns_as_pytorch_does() -> None:
    x = torch.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="To copy construct from a tensor"):
        made = torch.tensor(x)
    assert not made.requires_grad and made.is_leaf


def test_out_receives_the_result() -> None:
    out = torch.ones(3)
    assert torch.zeros(3, out=out) is out and out.tolist() == [0.0, 0.0, 0.0]


def test_legacy_classes_know_their_tensors() -> None:
    x = torch.ones(2, dtype=torch.float64)
    assert isinstance(x, torch.DoubleTensor) and not isinstance(x, torch.FloatTensor)
    assert x.type() == "torch.DoubleTensor" and x.type(torch.LongTensor).dtype is torch.int64


# -- in compiled programs -------------------------------------------------------------------------------------------
def scalar_total(x: Any) -> Any:
    total = torch.tensor(0.0)
    for i in range(3):
        total += x[i]
    return total


def equal_literals(x: Any) -> Any:
    first, second = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 3.0])
    first[0] = x[1]
    second *= x
    return torch.stack([first, second, torch.tensor([1.0, 2.0, 3.0])])


def written_data(x: Any) -> Any:
    data = torch.tensor([1.0, 2.0, 3.0])
    data += x
    data[0] = 7
    return data


def written_range(x: Any) -> Any:
    steps, points = torch.arange(3), torch.linspace(0, 1, 3)
    points += x
    return points * steps


def written_identity(x: Any) -> Any:
    z = torch.eye(3)
    z[0, 1] = 5
    return z @ x + torch.zeros(3) + torch.ones_like(x) * torch.full((3,), 2.5)


def from_computed(x: Any) -> Any:
    return torch.tensor([x[0], 2.0, x[2]]) + torch.full((3,), x[1])


def read_constant(x: Any) -> Any:
    factor = torch.tensor(3)
    return x * factor.item() if factor.item() > 2 and factor else x


def leaf_inside(x: Any) -> Any:
    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (w * x).sum().backward()
    return w.grad


def sixteen_bits(x: Any) -> Any:
    return x.bfloat16() * 1.5 + torch.full((3,), 0.5, dtype=torch.bfloat16) + torch.tensor(0.25, dtype=torch.bfloat16)


@pytest.mark.parametrize(
    "function",
    [
        scalar_total,
        equal_literals,
        written_data,
        written_range,
        written_identity,
        from_computed,
        read_constant,
        leaf_inside,
        sixteen_bits,
    ],
    ids=lambda f: f.__name__,
)
def test_made_tensors_are_made_anew_at_every_call(function: Callable[..., Any]) -> None:
    x = torch.tensor([0.5, -1.0, 2.0])
    compiled = torch.compile(function)
    expected = described(function(x))
    first = compiled(x)
    assert described(first) == expected
    first.mul_(0)  # what a caller does to a result must not reach the next call
    assert described(compiled(x)) == expected


def test_sizes_of_made_tensors_stay_open() -> None:
    def function(x: Any) -> Any:
        n = x.shape[0]
        return torch.arange(n) * 2 + torch.arange(1, n + 1) + torch.zeros(n) + torch.full((n,), n) + torch.tensor(n)

    compiled = torch.compile(function)
    for n in (3, 4, 5, 9):
        assert described(compiled(torch.ones(n))) == described(function(torch.ones(n)))
    assert compiled.compile_count == 2


def test_a_literal_in_a_loop_is_one_input() -> None:
    def function(x: Any) -> Any:
        for _ in range(30):
            x = x + torch.tensor([0.0, -9.8]) * 0.01 + torch.linspace(0, 1, 2)
        return x

    x = torch.ones(2)
    compiled = torch.compile(function)
    assert described(compiled(x)) == described(function(x))
    assert len(compiled.graph(x).inputs) == 3


def test_asarray_keeps_or_leaves_a_history() -> None:
    x = torch.ones(2, requires_grad=True) + 1
    assert torch.asarray(x) is x
    assert torch.asarray(x, dtype=torch.float64).requires_grad
    apart = torch.asarray(x, requires_grad=False)
    assert not apart.requires_grad
    assert apart.data_ptr() == x.data_ptr()
    assert torch.asarray(x, requires_grad=True) is x


@pytest.mark.parametrize("text", ["cpu", "cpu:0", "cuda:1"])
def test_devices_are_one_object_each_that_nothing_changes(text: str) -> None:
    made = torch.device(text)
    assert made is torch.device(text) and made == torch.device(made)
    assert copy.deepcopy(made) == made and pickle.loads(pickle.dumps(made)) == made and str(made) == text
    with pytest.raises(AttributeError, match=r"^attribute 'type' of 'torch.device' objects is not writable$"):
        made.type = "meta"
    with pytest.raises(AttributeError, match=r"^attribute 'type' of 'torch.device' objects is not writable$"):
        del made.type
    assert str(torch.device(text)) == text


@pytest.mark.parametrize("index", [True, 1.0, "1", []])
def test_devices_refuse_an_index_that_is_no_int(index: Any) -> None:
    kind = type(index).__name__
    with pytest.raises(TypeError, match=rf"^device\(\): argument 'index' \(position 2\) must be int, not {kind}$"):
        torch.device("cpu", index)
    assert type(torch.device("cpu", 1).index) is int
