"""What native code answers about a tensor is what Python answers, without asking it where the question is plain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.native import install, questions
from adjit.native.entry import native_entry
from adjit.runtime import layout
from adjit.tensor import Tensor
from tests.frontends.natively import refuse
from tests.frontends.test_native_operations import without_python as refusing

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()

PLACES = {name: place for name, (_, place) in (questions._METHODS | questions._PROPERTIES).items()}
DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.bool, torch.complex64,
]  # fmt: skip


@contextmanager
def without_python(name: str) -> Iterator[None]:
    """Inside, a question that Python would answer fails."""
    entry = native_entry()
    assert entry is not None
    before = int(entry.known[PLACES[name]])
    entry.known[PLACES[name]] = id(refuse)
    try:
        yield
    finally:
        entry.known[PLACES[name]] = before


def told(name: str, tensor: Any, *arguments: Any) -> Any:
    """What native code answers."""
    with without_python(name):
        return asked(name, tensor, *arguments)


def asked(name: str, tensor: Any, *arguments: Any) -> Any:
    """What a tensor answers."""
    found = getattr(tensor, name)
    return found(*arguments) if callable(found) else found


def tensors(dtype: Any) -> Iterator[Any]:
    """Tensors of many kinds of places in memory."""
    whole = torch.arange(24).reshape(2, 3, 4).to(dtype)
    yield from (whole, whole.transpose(0, 2), whole[1], whole[:, 1:, ::2], whole[1, 2, 3], whole[:, :1].expand(2, 5, 4))
    yield from (torch.zeros(1, 1).to(dtype), whole[..., None], torch.nn.Parameter(whole, requires_grad=False))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sizes_strides_and_places(dtype: Any) -> None:
    for x in tensors(dtype):
        array, whole = x._array, x._memory.array
        assert told("shape", x) == told("size", x) == array.shape
        assert type(told("shape", x)) is type(told("size", x)) is torch.Size
        assert told("stride", x) == tuple(step // array.itemsize for step in array.strides)
        assert told("dim", x) == told("ndim", x) == told("ndimension", x) == array.ndim
        assert told("numel", x) == told("nelement", x) == array.size
        assert told("data_ptr", x) == array.__array_interface__["data"][0]
        begin = whole.__array_interface__["data"][0]
        assert told("storage_offset", x) == (told("data_ptr", x) - begin) // array.itemsize
        assert told("is_contiguous", x) is array.flags.c_contiguous
        for axis in range(-array.ndim, array.ndim):
            assert (told("size", x, axis), told("stride", x, axis)) == (x.size()[axis], x.stride()[axis])
        assert array.ndim == 0 or told("__len__", x) == array.shape[0]


def test_tensors_without_elements() -> None:
    x = torch.zeros(2, 0, 3)
    assert (told("shape", x), told("size", x, 1), told("numel", x), told("is_contiguous", x)) == ((2, 0, 3), 0, 0, True)
    assert (x.stride(), x.stride(0), x.storage_offset(), len(x[0])) == ((3, 3, 1), 3, 0, 0)


@pytest.mark.parametrize("number", [0.0, -0.0, 1.5, -3.0, float("inf"), float("nan")])
def test_numbers(number: float) -> None:
    for dtype in (torch.float32, torch.float64):
        one = torch.tensor(number, dtype=dtype)
        for x in (one, one.reshape(1, 1), one.repeat(3)[1]):
            for found in (told("item", x), told("__float__", x)):
                np.testing.assert_equal(found, number)
                assert type(found) is float and np.signbit(found) == np.signbit(number)
            assert told("__bool__", x) is bool(number)


@pytest.mark.parametrize("number", [0, 1, -1, 2**62, -(2**63), 2**63 - 1])
def test_whole_numbers(number: int) -> None:
    x = torch.tensor(number)
    assert told("item", x) == told("__int__", x) == number and type(told("item", x)) is int
    assert told("__bool__", x) is bool(number) and float(x) == float(number)
    assert told("item", torch.tensor(number > 0)) is told("__bool__", torch.tensor(number > 0)) is (number > 0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numbers_of_all_dtypes(dtype: Any) -> None:
    x = torch.tensor([3]).to(dtype)
    kind = float if dtype is torch.bfloat16 else type(x.numpy().item())
    assert x.item() == (True if dtype is torch.bool else 3) and type(x.item()) is kind
    assert bool(x) is True and bool(x * 0 if dtype is not torch.bool else ~x) is False


def test_what_autograd_knows() -> None:
    leaf, plain = torch.rand(3, requires_grad=True), torch.rand(3)
    result = leaf * 2
    leaf.grad = torch.ones(3)
    for x, requires, is_leaf in ((leaf, True, True), (plain, False, True), (result, True, False)):
        assert told("requires_grad", x) is requires and told("is_leaf", x) is is_leaf
    assert told("grad", leaf) is leaf._grad and told("grad", plain) is None
    assert told("grad_fn", leaf) is told("grad_fn", plain) is None
    assert type(result.grad_fn).__name__ == "MulBackward0"
    with pytest.warns(UserWarning, match="not a leaf"):
        assert result.grad is None
    with pytest.raises(AssertionError, match="Python was asked"):
        told("grad_fn", result)


def test_views_of_what_was_written_since() -> None:
    base, leaf = torch.zeros(3), torch.rand(3, requires_grad=True)
    view = base[1:]
    assert told("requires_grad", view) is False
    base.mul_(leaf)
    assert view.requires_grad and not view.is_leaf and view.grad_fn is not None
    assert told("requires_grad", view) is True and told("is_leaf", view) is False


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool], ids=str)
def test_elements_that_are_not_zero(dtype: Any) -> None:
    random = np.random.default_rng(1)
    for shape in ((1,), (7,), (3, 4), (2, 1, 5), (4, 0)):
        x = torch.from_numpy(np.asarray(random.integers(-1, 2, shape))).to(dtype)
        if dtype.is_floating_point and x.numel():
            x.view(-1)[0] = float("nan")
            x.view(-1)[-1] = -0.0
        found = told("nonzero", x)
        np.testing.assert_array_equal(found.numpy(), np.argwhere(x.numpy()))
        assert found.dtype is torch.int64 and found._version == 0 and not found.requires_grad
    assert torch.ones(2000).nonzero().shape == (2000, 1) and torch.ones(()).nonzero().shape == (1, 0)
    assert torch.ones(3, 2).t().nonzero().shape == (6, 2) and len(torch.ones(3).nonzero(as_tuple=True)) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool], ids=str)
def test_equal_tensors(dtype: Any) -> None:
    x = torch.tensor([[1, 0, 3], [0, 5, 6]]).to(dtype)
    y = x.clone()
    assert told("equal", x, y) is told("equal", x, x) is True and torch.equal(x, y) is True
    y[1, 2] = 0
    assert told("equal", x, y) is torch.equal(x, y) is False
    assert told("equal", x, x[:1]) is told("equal", x, x[0]) is told("equal", x, x.reshape(3, 2)) is False
    assert told("equal", x[:0], x[:0]) is True
    assert torch.equal(x.t(), x.t()) and torch.equal(x, x.half()) is x.equal(other=x.clone())


def test_equal_numbers_of_other_bits() -> None:
    for dtype in (torch.float32, torch.float64):
        zeros, nan = torch.tensor([0.0, -0.0], dtype=dtype), torch.tensor([float("nan")], dtype=dtype)
        infinite = torch.tensor([float("inf")], dtype=dtype)
        assert told("equal", zeros, -zeros) and told("equal", infinite, infinite)
        assert not told("equal", nan, nan) and not told("equal", infinite, -infinite)
        assert not told("equal", zeros[:1], infinite) and not told("equal", -nan, -nan)


def test_masks_of_few_elements() -> None:
    random = np.random.default_rng(2)
    for dtype in (np.float32, np.float64, np.int64):
        for shape, axes in (((6,), 1), ((3, 4), 1), ((3, 4), 2), ((2, 3, 2), 2), ((0, 3), 1)):
            array, mask = (random.standard_normal(shape) * 9).astype(dtype), random.random(shape[:axes]) > 0.5
            x, where = torch.from_numpy(array), torch.from_numpy(mask)
            with refusing("__getitem__"):
                found = x[where]
            np.testing.assert_array_equal(found.numpy(), array[mask])
            assert found.numpy().dtype == dtype and found.is_contiguous() and found._base is None
            found += 1  # it is a copy
            np.testing.assert_array_equal(x.numpy(), array)
    leaf = torch.arange(3.0, requires_grad=True)
    chosen = leaf[leaf > 0.5]
    chosen.square().sum().backward()
    assert leaf.grad.tolist() == [0, 2, 4]
    with torch.no_grad(), refusing("__getitem__"):
        assert not leaf[leaf > 0.5].requires_grad
    with pytest.raises(IndexError, match="mask"):
        leaf[torch.ones(4) > 0]
    with torch.inference_mode():
        assert torch.ones(3)[torch.ones(3) > 0].is_inference()


REFUSED: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda x: x.size(2), IndexError, "Dimension out of range"),
    (lambda x: x.stride(-3), IndexError, "Dimension out of range"),
    (lambda x: x.size("a"), TypeError, "dim must be"),
    (lambda x: x.size(10**30), IndexError, "Dimension out of range"),
    (lambda x: x.item(), RuntimeError, "a Tensor with 6 elements cannot be converted to Scalar"),
    (lambda x: bool(x), RuntimeError, "more than one value is ambiguous"),
    (lambda x: float(x), ValueError, "only one element tensors"),
    (lambda x: len(x[0, 0]), TypeError, "len\\(\\) of a 0-d tensor"),
    (lambda x: x.dim(1), TypeError, "positional argument"),
    (lambda x: x.numel(a=1), TypeError, "unexpected keyword"),
    (lambda x: torch.equal(x, 3), TypeError, "must be Tensor, not int"),
    (lambda x: x.equal(), TypeError, "missing"),
    (lambda x: Tensor.size(3), TypeError, "requires a 'adjit.tensor.Tensor'|doesn't apply"),
]


@pytest.mark.parametrize("call, error, text", REFUSED)
def test_errors(call: Callable[[Any], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(torch.rand(2, 3))


def test_names_of_arguments() -> None:
    x = torch.rand(2, 3).t()
    assert (x.size(dim=0), x.stride(dim=1)) == (3, 3)
    assert not x.is_contiguous(memory_format=torch.contiguous_format)


def test_subclasses_are_asked_as_ever() -> None:
    class Named(Tensor):
        @property
        def shape(self) -> Any:
            return "mine"

    x = torch.rand(2, 3).as_subclass(Named)
    assert (x.shape, tuple(x.size()), x.dim(), len(x)) == ("mine", (2, 3), 2, 2)


def test_compiled_functions_ask_their_own_tensors() -> None:
    outside = torch.rand(2, 3)

    def called(x: Any) -> Any:
        assert x.dim() == 2 and outside.stride() == (3, 1)
        return x * x.size(0) + outside.numel() + outside[0, 0].item() + len(x)

    x = torch.rand(2, 3)
    compiled = torch.compile(called)
    for _ in range(3):
        torch.testing.assert_close(compiled(x), called(x))
    outside.zero_()
    torch.testing.assert_close(compiled(x), called(x))


def test_strided_views_of_views() -> None:
    def strided(x: Any) -> Any:
        return x.as_strided((2, 2), (2, 1), 2)

    for _ in range(60):
        strided(torch.rand(8))
    whole = torch.arange(12.0)
    with refusing("as_strided"):
        view = strided(whole[:8])
    assert view.tolist() == [[2, 3], [4, 5]] and view._base is whole
    for part in (whole[2:10], whole[1:9]):  # the offset counts from the memory's beginning
        assert strided(part).tolist() == [[2, 3], [4, 5]]
    crossed = torch.arange(8.0).reshape(2, 4).t().reshape(8)
    assert strided(crossed).tolist() == [[1, 5], [2, 6]]
    for _ in range(60):
        assert strided(whole[:8:2]).tolist() == strided(whole.reshape(3, 4).t()).tolist() == [[2, 3], [4, 5]]
    for size in range(2, 14):  # also where sizes are open
        for part in (whole, whole[2:]):
            assert part.as_strided((size // 2,), (1,), 2).tolist() == [*range(2, 2 + size // 2)]
    with pytest.raises(RuntimeError, match="out of bounds"):
        strided(torch.rand(4))
    strided(whole).mul_(10)
    assert whole.tolist() == [0, 1, 20, 30, 40, 50, 6, 7, 8, 9, 10, 11]


def test_gradients_of_strided_views() -> None:
    for _ in range(60):
        x = torch.arange(6.0, requires_grad=True)
        x.as_strided((3, 2), (1, 1)).square().sum().backward()
        assert x.grad.tolist() == [0, 4, 8, 6, 0, 0]
