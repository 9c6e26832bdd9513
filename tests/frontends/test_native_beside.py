"""Plans of backward passes that are compiled beside the program, which goes on node by node until they are there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.autograd import engine
from adjit.compiler.entry import known
from adjit.compiler.later import settle
from adjit.native import install, plans
from adjit.runtime import layout
from tests.frontends.natively import passes_without_python
from tests.threads import in_child, in_threads

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()


def bits(tensors: list[Any]) -> bytes:
    return b"".join(tensor.grad.numpy().tobytes() for tensor in tensors)


@pytest.fixture
def in_background(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Plans made beside the program; gives a lock that, held, keeps them from being done."""
    held, original = threading.Lock(), plans.Plans._add

    def add(own: Any, tape: Any) -> None:
        with held:
            original(own, tape)

    monkeypatch.setenv("ADJIT_BACKGROUND", "1")
    monkeypatch.setattr(plans.Plans, "_add", add)
    yield held
    settle()


def new_loss(width: int) -> tuple[Callable[[], Any], list[Any]]:
    """A loss whose tape no other test has, on leaves of its own."""
    random = np.random.default_rng(width)
    u, v = (torch.tensor(random.normal(size=width).tolist()).requires_grad_() for _ in range(2))
    return lambda: ((u * v).asinh().cos() * u / (v * v + 2)).atan().sum(), [u, v]


def test_passes_before_and_after_a_plan_is_there_have_the_same_bits(in_background: Any) -> None:
    loss, leaves = new_loss(11)
    found = set()

    def step() -> None:
        for own in leaves:
            own.grad = None
        loss().backward()
        found.add(bits(leaves))

    with in_background:
        for _ in range(40):
            step()
    settle()
    for _ in range(10):
        step()
    with passes_without_python():
        step()
    assert len(found) == 1


def test_threads_go_back_while_plans_are_made(in_background: Any) -> None:
    def train(number: int) -> set[bytes]:
        loss, leaves = new_loss(12 + number)
        found = set()
        for _ in range(60):
            for own in leaves:
                own.grad = None
            loss().backward()
            found.add(bits(leaves))
        return found

    assert [len(found) for found in in_threads(train)] == [1] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_while_a_plan_is_made_goes_back(in_background: Any) -> None:
    loss, leaves = new_loss(17)

    def last_of(count: int) -> bytes:
        for _ in range(count):
            for own in leaves:
                own.grad = None
            loss().backward()
        return bits(leaves)

    expected = last_of(40)

    def child() -> None:
        assert last_of(40) == expected
        settle()
        assert last_of(1) == expected

    assert in_child(child) == 0


def test_a_plan_that_a_pass_begins_to_go_by_while_room_is_made_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJIT_BACKGROUND", "0")
    watch: Any = engine.watch
    mine, original = watch.__self__, plans.Plans._make_room
    chosen: list[Any] = []

    def make_room(own: Any) -> Any:
        before = original(own)
        chosen.append(next(each for each in before if all(each is not kept for kept in own._plans)))
        chosen[0][1][known.P_BUSY] = 1
        return before

    def teach(width: int) -> None:
        loss, leaves = new_loss(width)
        for _ in range(40):
            for own in leaves:
                own.grad = None
            loss().backward()

    teach(18)
    with monkeypatch.context() as patch:
        patch.setattr(plans, "_MOST_PLANS", len(mine._plans))
        patch.setattr(plans.Plans, "_make_room", make_room)
        teach(19)
    assert any(each is chosen[0] for each in mine._leaving)
    chosen[0][1][known.P_BUSY] = 0
    teach(20)
    assert not mine._leaving
