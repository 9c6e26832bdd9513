"""What a compiled function compares at every call ends where other libraries begin."""

from __future__ import annotations

import collections
import dataclasses
import functools
import operator
import types
from typing import Any

import pytest

import adjit as torch
from adjit import nn
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


class Recording:
    """A policy that keeps what happened: its `forward` does not read that."""

    def __init__(self) -> None:
        self.rewards: list[float] = []
        self.past: collections.deque[float] = collections.deque(maxlen=4)
        self.scales = [2.0]
        self.act = torch.compile(self._act)

    def _act(self, x: Any) -> Any:
        return x * self.scales[0]


class RecordingNet(nn.Module):
    def __init__(self, read: Any) -> None:
        super().__init__()
        self.rewards: list[float] = []
        self.read = read

    def forward(self, x: Any) -> Any:
        return x + self.read(self)


def test_lists_that_no_code_names_are_no_condition_of_a_program() -> None:
    agent, x = Recording(), torch.ones(2)
    for turn in range(3):
        assert agent.act(x).tolist() == [2.0, 2.0]
        agent.rewards.append(1.0)
        agent.past.append(float(turn))
    assert "1 program in the cache" in str(agent.act.explain(x))
    agent.scales[0] = 3.0
    assert agent.act(x).tolist() == [3.0, 3.0]
    agent.scales = [4.0]
    assert agent.act(x).tolist() == [4.0, 4.0]


@pytest.mark.parametrize(
    "read",
    [
        lambda net: len(net.rewards),
        lambda net: len(getattr(net, "rew" + "ards")),
        lambda net: len(operator.attrgetter("rewards")(net)),
        lambda net: len(vars(net)["rewards"]),
        lambda net: len(net.__dict__["rewards"]),
        lambda net: _matched(net),
    ],
)
def test_lists_that_code_reads_in_whatever_way_are_compared(read: Any) -> None:
    net = RecordingNet(read)
    run = torch.compile(net)
    for turn in range(3):
        assert run(torch.zeros(1)).item() == turn
        net.rewards.append(1.0)


def _matched(net: Any) -> int:
    match net:
        case RecordingNet(rewards=[]):
            return 0
        case RecordingNet(rewards=found):
            return len(found)
    return -1
