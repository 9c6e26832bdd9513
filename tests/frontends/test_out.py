"""`out=`, and tensors that take another size or other memory in place."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch

CASES: dict[str, Callable[..., Any]] = {
    "add": lambda x, **k: torch.add(x, x, **k), "exp": torch.exp, "sum": lambda x, **k: torch.sum(x, 0, **k),
    "cat": lambda x, **k: torch.cat((x, x), **k), "stack": lambda x, **k: torch.stack((x, x), **k),
    "lt": lambda x, **k: torch.lt(x, 2, **k), "index_select": lambda x, **k:
    torch.index_select(x, 0, torch.tensor([1, 1]), **k), "cumsum": lambda x, **k: torch.cumsum(x, 0, **k),
    "matmul": lambda x, **k: torch.matmul(x, x.t(), **k), "arange": lambda x, **k: torch.arange(4.0, **k),
    "nonzero": torch.nonzero,
}  # fmt: skip


def numbers() -> Any:
    return torch.arange(6.0).view(2, 3)


@pytest.mark.parametrize("name", CASES)
def test_the_result_is_written_to_out(name: str) -> None:
    expected = CASES[name](numbers())
    out = torch.zeros_like(expected)
    place = out.data_ptr()
    assert CASES[name](numbers(), out=out) is out
    assert torch.equal(out, expected)
    assert out.data_ptr() == place
    empty = torch.empty(0, dtype=expected.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CASES[name](numbers(), out=empty)
    assert torch.equal(empty, expected)


def test_extremes_of_two_or_of_all_cast_to_out() -> None:
    x, out = torch.tensor([1.0, 5.0]), torch.zeros(2, dtype=torch.float64)
    assert torch.max(x, x.flip(0), out=out).tolist() == [5.0, 5.0]
    assert torch.min(x, out=torch.zeros((), dtype=torch.float64)).item() == 1.0
    with pytest.raises(RuntimeError, match="Expected out tensor to have dtype float, but got double instead"):
        torch.max(x, 0, out=(torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.long)))


def test_several_results() -> None:
    x = torch.tensor([3.0, 1.0, 2.0])
    values, indices = torch.zeros(3), torch.zeros(3, dtype=torch.long)
    found = torch.sort(x, out=(values, indices))
    assert found.values is values
    assert values.tolist() == [1.0, 2.0, 3.0]
    assert indices.tolist() == [1, 2, 0]


def test_an_operand_may_be_out() -> None:
    x = numbers()
    torch.mul(x, x, out=x)
    assert torch.equal(x, numbers() ** 2)
    assert x._version == 1


def test_a_full_out_of_another_shape_is_resized_with_a_warning() -> None:
    out = torch.zeros(2)
    with pytest.warns(UserWarning, match=r"^An output with one or more elements was resized since it had shape \[2\]"):
        torch.exp(torch.zeros(3), out=out)
    assert out.tolist() == [1.0] * 3


def test_out_in_a_trace() -> None:
    def function(x: Any, out: Any) -> Any:
        torch.add(x, 1, out=out)
        return out * 2

    out = torch.zeros(3)
    assert torch.compile(function)(torch.ones(3), out).tolist() == [4.0] * 3
    assert out.tolist() == [2.0] * 3


SHARED = ("unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
          "location. Please clone() the tensor before performing the operation.")  # fmt: skip
X = torch.arange(3.0)
ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: torch.add(X, X, out=torch.zeros(3, dtype=torch.long)), RuntimeError,
     "result type Float can't be cast to the desired output type Long"),
    (lambda: torch.cat((X, X), out=torch.zeros(6, dtype=torch.long)), TypeError,
     "torch.cat(): input types can't be cast to the desired output type Long"),
    (lambda: torch.add(X, torch.ones(3, requires_grad=True), out=torch.zeros(3)), RuntimeError,
     "add(): functions with out=... arguments don't support automatic differentiation, but one of the arguments "
     "requires grad."),
    (lambda: torch.add(X[:2], X[1:], out=X[1:]), RuntimeError, SHARED),
    (lambda: torch.cat((X[:1], X[1:]), out=X), RuntimeError, SHARED),
    (lambda: torch.argmax(X, 0, out=torch.zeros(())), RuntimeError,
     "Expected out tensor to have dtype long int, but got float instead"),
    (lambda: torch.neg(X, out=torch.zeros(3, dtype=torch.float64)), RuntimeError,
     "Found dtype Double but expected Float"),
    (lambda: torch.tril(X.view(1, 3), out=torch.zeros(1, 3, dtype=torch.float64)), RuntimeError,
     "Expected out tensor to have dtype float, but got double instead"),
    (lambda: torch.exp(X, out=torch.zeros(1).expand(3)), RuntimeError,
     "unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please "
     "clone() the tensor before performing the operation."),
    (lambda: torch.ones(2, requires_grad=True).resize_(3), RuntimeError,
     "cannot resize variables that require grad"),
    (lambda: X.as_strided((2, 2), (3, 3)), RuntimeError,
     "setStorage: sizes [2, 2], strides [3, 3], storage offset 0, and itemsize 4 requiring a storage size of 28 are "
     "out of bounds for storage of size 12"),
    (lambda: X.as_strided((2,), (-1,)), RuntimeError,
     "as_strided: Negative strides are not supported at the moment, got strides: [-1]"),
    (lambda: X.view(torch.int64), RuntimeError,
     "self.size(-1) must be divisible by 2 to view Float as Long (different element sizes), but got 3"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "kind", "first"), ERRORS, ids=[first[:50] for _, _, first in ERRORS])
def test_errors_start_with_pytorchs_line(function: Callable[[], Any], kind: type[Exception], first: str) -> None:
    before = X.tolist()
    with pytest.raises(kind) as caught:
        function()
    assert str(caught.value).split("\n")[0] == first
    assert X.tolist() == before


# -- size and memory --------------------------------------------------------------------------------------------------
def test_a_smaller_size_keeps_the_memory() -> None:
    x = numbers()
    rows = x[0]
    assert x.resize_(2, 2) is x
    assert x.tolist() == [[0.0, 1.0], [2.0, 3.0]]
    x.fill_(7)
    assert rows.tolist() == [7.0] * 3
    x.resize_(3, 2)
    assert x.tolist() == [[7.0, 7.0], [7.0, 7.0], [4.0, 5.0]]


def test_a_greater_size_grows() -> None:
    x = torch.arange(2.0)
    x.resize_(2, 2)
    assert x.flatten()[:2].tolist() == [0.0, 1.0]
    x.fill_(1)
    assert torch.compile(lambda y: y + 1)(x).tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert x.resize_as_(torch.zeros(3)).tolist() == [1.0] * 3


def test_a_storage_is_what_views_share() -> None:
    x = numbers()
    storage = x.untyped_storage()
    assert len(storage) == storage.nbytes() == 24
    assert x[1].untyped_storage() == storage
    assert x[1].untyped_storage().data_ptr() == storage.data_ptr() == x.data_ptr()
    assert x.clone().untyped_storage() != storage
    y = torch.empty(0).set_(storage, 1, (2, 2), (3, 1))
    assert y.tolist() == [[1.0, 2.0], [4.0, 5.0]]
    y.zero_()
    assert x.tolist() == [[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]
    assert torch.empty(0).set_(x).is_set_to(x)


def test_other_dtypes_on_the_same_bits() -> None:
    x = torch.ones(2)
    bits = x.view(torch.int32)
    assert bits.tolist() == [0x3F800000] * 2
    bits[1] = 0
    assert x.tolist() == [1.0, 0.0]
    assert x.view(torch.uint8).shape == (8,)
    assert x.view(torch.uint8).view(torch.float32).tolist() == [1.0, 0.0]

    def traced(x: Any) -> Any:
        x.view(torch.int32)[0] = 0
        return x + 1

    assert torch.compile(traced)(torch.ones(2)).tolist() == [1.0, 2.0]


def test_out_of_functions_without_derivatives_takes_what_requires_grad() -> None:
    x = torch.tensor([1.0, 3.0, 2.0], requires_grad=True)
    assert torch.lt(x, 2, out=torch.zeros(3, dtype=torch.bool)).tolist() == [True, False, False]
    assert torch.argmax(x, out=torch.tensor(0)).item() == 1
    for name in ("exp", "floor"):
        with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
            getattr(torch, name)(x, out=torch.zeros(3))
    for name in ("any", "all"):
        assert getattr(torch, name)(x, out=torch.tensor(0, dtype=torch.uint8)).item() == 1
        with pytest.raises(RuntimeError, match=f"{name} only supports bool tensor for result, got: Long"):
            getattr(torch, name)(x, out=torch.tensor(0))


def test_functions_that_make_tensors_resize_out_silently() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for made in (
            torch.zeros(2, 2, out=torch.ones(3)), torch.full((2, 2), 3.0, out=torch.ones(3)),
            torch.linspace(0, 1, 4, out=torch.ones(3)), torch.rand(2, 2, out=torch.ones(3)),
        ):  # fmt: skip
            assert made.numel() == 4
