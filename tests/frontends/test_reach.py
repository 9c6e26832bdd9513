"""What a compiled function compares at every call ends where other libraries begin."""

from __future__ import annotations

import dataclasses
import functools
import types
from typing import Any

import pytest

import adjit as torch
from adjit.environment import Environment


class Case:
    """A program beside the same program for another library."""

    def __init__(self, ours: object, theirs: object) -> None:
        self.ours, self.theirs = ours, theirs


@pytest.mark.parametrize("library", ["torch.nn.functional", "jax._src.numpy", "mine"])
def test_other_libraries_are_not_looked_into(library: str) -> None:
    namespace = {f"setting{number}": number for number in range(50)} | {"__name__": library}
    code = compile("def theirs(x):\n    return x * (" + " + ".join(list(namespace)[:50]) + ")", library, "exec")
    exec(code, namespace)
    theirs = namespace["theirs"]
    assert isinstance(theirs, types.FunctionType)
    case = Case(lambda x: x * 2, theirs)
    watched = {place.key for place, _ in Environment(lambda x: case.ours(x), []).places}
    assert {"ours", "theirs"} <= watched
    assert ("setting7" in watched) == (library == "mine")


class Implicit:
    """An object whose methods run without being named."""

    factor = 2.0

    def __init__(self, x: Any) -> None:
        self.x = x * Implicit.factor

    def __call__(self, x: Any) -> Any:
        return x * Implicit.factor

    def __getitem__(self, index: Any) -> Any:
        return self.x[index] * Implicit.factor

    def __rmatmul__(self, x: Any) -> Any:
        return x * Implicit.factor

    def __enter__(self) -> float:
        return Implicit.factor

    def __exit__(self, *_: object) -> None:
        pass


def _entered(held: Implicit, x: Any) -> Any:
    with held as factor:
        return x * factor


HELD = Implicit(torch.ones(3))


@pytest.mark.parametrize("use", [
    lambda x: HELD(x), lambda x: x + HELD[0], lambda x: HELD.__rmatmul__(x), lambda x: x @ HELD,
    lambda x: _entered(HELD, x), lambda x: Implicit(x).x, HELD,
])  # fmt: skip
def test_what_methods_read_that_run_unnamed(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, x = torch.compile(use), torch.arange(3.0)
    for factor in (2.0, 2.0, 2.0, 5.0, 5.0, 2.0):
        monkeypatch.setattr(Implicit, "factor", factor)
        assert compiled(x).tolist() == use(x).tolist()


class Settings:
    """What the classes below read without the compiled function naming it."""

    factor = 2.0


class Meta(type):
    def __getattr__(cls, name: str) -> float:
        return Settings.factor


class Base(metaclass=Meta):
    weight = 3.0

    def __new__(cls) -> Base:
        found = object.__new__(cls)
        found.new = Settings.factor
        return found

    def __init__(self) -> None:
        self.made = Settings.factor

    def __round__(self, digits: int | None = None) -> float:
        return Settings.factor

    def __class_getitem__(cls, index: int) -> float:
        return Settings.factor

    @classmethod
    def shared(cls) -> float:
        return cls.weight * Settings.factor

    @functools.cached_property
    def cached(self) -> float:
        return Settings.factor


class Child(Base):
    pass


def _factor() -> float:
    return Settings.factor


@dataclasses.dataclass
class Data:
    made: float = dataclasses.field(default_factory=_factor)
    later: float = 0.0

    def __post_init__(self) -> None:
        self.later = Settings.factor


class ChildData(Data):
    pass


class Table(dict[str, float]):
    def __missing__(self, key: str) -> float:
        return Settings.factor


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * Settings.factor

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient * Settings.factor


class ChildScaled(Scaled):
    pass


TABLE, MADE = Table(), Child()


@pytest.mark.parametrize("use", [
    lambda x: x * Child().made, lambda x: x * Child().new, lambda x: x * Child.shared(), lambda x: x * Child.unknown,
    lambda x: x * Child[0], lambda x: x * Child().cached, lambda x: x * round(MADE), lambda x: x * ChildData().made,
    lambda x: x * ChildData().later, lambda x: x * TABLE["a"], lambda x: ChildScaled.apply(x),
])  # fmt: skip
def test_what_bases_and_metaclasses_read(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, x = torch.compile(use), torch.arange(3.0, requires_grad=True)
    for factor in (2.0, 5.0, 5.0, 2.0):
        monkeypatch.setattr(Settings, "factor", factor)
        found = compiled(x)
        assert found.tolist() == use(x).tolist()
        assert torch.autograd.grad(found.sum(), x)[0].tolist() == torch.autograd.grad(use(x).sum(), x)[0].tolist()


def test_data_of_a_base(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, x = torch.compile(lambda x: x * Child.weight), torch.ones(2)
    for weight in (3.0, 4.0, 3.0):
        monkeypatch.setattr(Base, "weight", weight)
        assert compiled(x).tolist() == [weight] * 2
