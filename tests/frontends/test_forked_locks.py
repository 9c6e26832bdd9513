"""Children forked while another thread traces, draws or makes a program: they find the locks free."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import adjit as torch
from adjit import following, generator, memory
from adjit.capture import prints
from adjit.compiler import single
from adjit.runtime import improving, results
from adjit.runtime.fork_locks import ForkLock
from tests.threads import in_child

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


@contextmanager
def held_elsewhere(lock: Any) -> Iterator[None]:
    """Inside, another thread holds the lock."""
    has_it, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            has_it.set()
            may_go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    has_it.wait()
    try:
        yield
    finally:
        may_go.set()
        thread.join()


def taken(lock: ForkLock) -> None:
    with lock:
        assert lock.depth == 1
    assert lock.depth == 0


LOCKS = {
    "following": following._lock, "drawing": generator.DRAWING, "periods": memory._BEGINNING, "prints": prints._lock,
    "single": single._lock, "improving": improving._improving, "results": results.ResultPool(1 << 20)._lock,
}  # fmt: skip


@pytest.mark.parametrize("name", LOCKS)
def test_a_child_finds_a_lock_free_that_another_thread_holds(name: str) -> None:
    with held_elsewhere(LOCKS[name]):
        assert in_child(lambda: taken(LOCKS[name])) == 0
    taken(LOCKS[name])


def test_a_child_compiles_what_another_thread_was_tracing() -> None:
    """The other thread stands in the user's function, with the lock of its compiled function and others."""
    inside, may_go = threading.Event(), threading.Event()
    here = threading.get_ident()

    @torch.compile  # type: ignore[untyped-decorator]
    def function(x: torch.Tensor) -> torch.Tensor:
        if threading.get_ident() != here:
            inside.set()
            may_go.wait()
        return (x * 2).sum() + torch.rand(())

    thread = threading.Thread(target=function, args=(torch.ones(3),))
    thread.start()
    inside.wait()
    try:
        assert in_child(lambda: function(torch.ones(4))) == 0
    finally:
        may_go.set()
        thread.join()
    assert 6 <= function(torch.ones(3)).item() < 7


def test_a_child_draws_natively_after_another_thread_was_drawing() -> None:
    def drawn() -> None:
        assert generator.DRAWING.held[0] == 0
        torch.rand(3)

    with held_elsewhere(generator.DRAWING):
        assert in_child(drawn) == 0
        assert generator.DRAWING.held[0] == 1


def test_a_child_keeps_the_locks_of_the_thread_that_forked() -> None:
    lock = ForkLock()

    def inner() -> None:
        assert lock.depth == 2
        lock.__exit__()
        lock.__exit__()
        taken(lock)

    with lock, lock:
        assert in_child(inner) == 0
        assert lock.depth == 2
