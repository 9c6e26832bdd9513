"""`__torch_function__`: classes and modes that take public functions over, in eager and compiled programs."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

import adjit as torch
from adjit import overrides, surface
from adjit.nn import functional as F

# mypy: disable-error-code="misc, no-untyped-def, attr-defined"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Functions are their own again after each test, which others count on."""
    yield
    overrides._lasting = False
    overrides._unwrap_all()
    assert surface.override is surface.keep


def plain_class() -> Any:
    class Plain(torch.Tensor):
        pass

    return Plain


def named_class(seen: list[str]) -> Any:
    class Named(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            seen.append(func.__name__)
            return super().__torch_function__(func, types, args, kwargs)

    return Named


class Diagonal:
    """A class of no tensors that functions are taken over by."""

    handlers: ClassVar[dict[Any, Any]] = {}

    def __init__(self, size: int, value: float) -> None:
        self.size, self.value = size, value

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func not in cls.handlers:
            return NotImplemented
        return cls.handlers[func](*args, **(kwargs or {}))


SOURCES: list[Callable[[Any], Any]] = [
    lambda x: x * 2, lambda x: 2 - x, lambda x: x @ x.T, lambda x: x[0], lambda x: torch.exp(x), lambda x: x.data,
    lambda x: torch.cat([torch.ones(2, 3), x]), lambda x: F.softmax(x, -1), lambda x: torch.zeros_like(x),
    lambda x: x.new_zeros(2), lambda x: torch.linalg.norm(x), lambda x: torch.fft.fft(x), lambda x: x.max(dim=1).values,
    lambda x: x.split(1)[0], lambda x: torch.ones(2, 3) + x, lambda x: torch.nn.Linear(3, 2)(x), lambda x: x.add_(1),
    lambda x: torch.special.expit(x), lambda x: torch.cumsum(x, 0), lambda x: x.float().double(),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(SOURCES)))
def test_results_are_of_the_subclass(number: int) -> None:
    cls = plain_class()
    x = torch.arange(6.0).reshape(2, 3)
    found = SOURCES[number](x.clone().as_subclass(cls))
    assert type(found) is cls
    if number not in (15,):
        assert torch.equal(found.as_subclass(torch.Tensor), SOURCES[number](x.clone()))


def test_a_subclass_keeps_memory_history_and_its_name_when_printed() -> None:
    cls = plain_class()
    x = torch.ones(2, requires_grad=True)
    y = x.as_subclass(cls)
    assert repr(y) == "Plain([1., 1.], grad_fn=<AliasBackward0>)"
    (y * 3).sum().backward()
    assert x.grad is not None
    assert type(x.grad) is torch.Tensor
    assert x.grad.tolist() == [3.0, 3.0]
    base = torch.zeros(2)
    base.as_subclass(cls).add_(1)
    assert base.tolist() == [1.0, 1.0]
    assert repr(cls([1.0, 2.0])) == "Plain([1., 2.])"
    assert type(torch.Tensor._make_subclass(cls, base, True)) is cls
    with pytest.raises(TypeError, match="cls must be a type"):
        base.as_subclass(3)  # type: ignore[arg-type]


def test_own_arguments_of_new_and_attributes() -> None:
    class Tagged(torch.Tensor):
        @staticmethod
        def __new__(cls, data, tag="", **options):
            return super().__new__(cls, data, **options)

        def __init__(self, data, tag=""):
            self.tag = tag

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            found = super().__torch_function__(func, types, args, kwargs)
            tags = [a.tag for a in args if hasattr(a, "tag")]
            if isinstance(found, cls) and tags:
                found.tag = tags[0]
            return found

    x = Tagged([1.0, 2.0], tag="u")
    assert (x * 2).exp().tag == "u"
    f = torch.compile(lambda z: (z * 2).exp())
    for _ in range(4):
        found = f(x)
        assert type(found) is Tagged
        assert found.tag == "u"
        assert torch.allclose(found.as_subclass(torch.Tensor), torch.tensor([7.389056, 54.59815]))
    assert f(Tagged([0.0], tag="w")).tag == "w"
    assert type(f(torch.ones(2))) is torch.Tensor


def test_compiled_functions_give_gradients_to_subclasses_and_write_to_them() -> None:
    cls = plain_class()
    x = torch.arange(3.0, requires_grad=True)
    f = torch.compile(lambda z: (z * z).sum())
    f(x.as_subclass(cls)).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 2.0, 4.0]
    y = torch.zeros(2)

    @torch.compile
    def write(z: Any) -> None:
        z += 1

    for _ in range(3):
        write(y.as_subclass(cls))
    assert y.tolist() == [3.0, 3.0]


def test_functions_are_named_as_pytorch_names_them() -> None:
    seen: list[str] = []
    x = torch.ones(3).as_subclass(named_class(seen))
    x + 1, 1 + x, 1 - x, x * 2, -x, x @ x, x[0], torch.add(x, 1), x == 1, len(x), x.shape, bool(x[0])
    x += 1
    x[0] = 2
    assert seen == [
        "add", "add", "__rsub__", "mul", "neg", "matmul", "__getitem__", "add", "__eq__", "__len__", "__get__",
        "__getitem__", "__bool__", "add_", "__setitem__",
    ]  # fmt: skip


def test_classes_that_are_no_tensors_are_asked_from_the_first_call() -> None:
    Diagonal.handlers = {torch.mean: lambda x: x.value / x.size, F.relu: lambda x: "relu"}
    assert torch.mean(Diagonal(5, 2.0)) == 0.4
    assert F.relu(Diagonal(5, 2.0)) == "relu"
    assert torch.mean(torch.ones(2)).item() == 1.0


def test_refusals_have_pytorchs_words() -> None:
    Diagonal.handlers = {}
    plain_class()
    with pytest.raises(TypeError, match=r"Multiple dispatch failed for 'torch.mul'; all __torch_function__ handlers"):
        torch.mul(Diagonal(2, 1.0), 2)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"no implementation found for 'torch.nn.functional.relu' on types that impl"):
        F.relu(Diagonal(2, 1.0))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \+: 'Tensor' and 'Diagonal'"):
        torch.ones(2) + Diagonal(2, 1.0)


def test_subclasses_come_before_their_bases_and_others_from_the_left() -> None:
    asked: list[str] = []

    def make(name: str, base: type) -> Any:
        def take(cls: type, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            asked.append(cls.__name__)
            return NotImplemented

        return type(name, (base,), {"__torch_function__": classmethod(take)})

    first, second = make("First", torch.Tensor), make("Second", torch.Tensor)
    third = make("Third", first)
    one, two, three = (torch.Tensor._make_subclass(cls, torch.ones(1)) for cls in (first, second, third))
    with pytest.raises(TypeError):
        torch.stack([one, two, three])
    assert asked == ["Third", "First", "Second"]


def test_modes_see_every_public_call_and_leave_nothing_behind() -> None:
    seen: list[str | None] = []

    class Log(overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(overrides.resolve_name(func))
            return func(*args, **(kwargs or {}))

    with Log(), overrides.BaseTorchFunctionMode():
        F.gelu(torch.ones(2).exp() + 1)
    assert seen == ["torch.ones", "torch.Tensor.exp", "torch.Tensor.add", "torch.nn.functional.gelu"]
    torch.ones(2)
    assert not overrides._wrappers
    assert len(seen) == 4


def test_parameters_and_disabled_classes_are_not_asked() -> None:
    cls = plain_class()

    class Own(torch.nn.Parameter):
        pass

    assert type(Own(torch.ones(2)) * 2) is torch.Tensor
    assert not overrides.has_torch_function((Own(torch.ones(2)), torch.ones(2), 1))
    x = torch.ones(2).as_subclass(cls)
    assert overrides.has_torch_function((x,))
    with torch.DisableTorchFunctionSubclass():
        assert type(x * 2) is torch.Tensor
    with torch._C.DisableTorchFunction():
        assert type(x * 2) is torch.Tensor

    class Off(torch.Tensor):
        __torch_function__ = torch._C._disabled_torch_function_impl

    assert type(torch.ones(2).as_subclass(Off) * 2) is torch.Tensor


def test_own_functions_can_be_taken_over() -> None:
    seen: list[str] = []

    @overrides.wrap_torch_function(lambda x: (x,))
    def twice(x: Any) -> Any:
        return x * 2

    assert twice(torch.ones(1)).item() == 2.0
    assert twice(torch.ones(1).as_subclass(named_class(seen))).item() == 2.0
    assert seen[0] == "twice"
    assert overrides.is_tensor_like(Diagonal(1, 1.0))
    assert not overrides.is_tensor_like(1.0)


def test_copies_and_pickles_are_of_the_subclass() -> None:
    x = torch.arange(3.0).as_subclass(Module)
    for found in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(found) is Module
        assert found.tolist() == [0.0, 1.0, 2.0]


class Module(torch.Tensor):
    """A subclass that pickles find by name."""
