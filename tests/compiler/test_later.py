"""What is compiled beside the program: one thing at a time, safe to fork and at the interpreter's end."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from functools import partial
from typing import Any

import pytest

from adjit.compiler import later, passes
from adjit.compiler.later import compile_later, settle
from adjit.runtime.collection import collector_paused
from tests.threads import in_child

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def in_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJIT_BACKGROUND", "1")


def test_the_caller_goes_on_and_one_works_at_a_time() -> None:
    go, order = threading.Event(), []

    def first() -> None:
        assert go.wait(20)
        order.append("first begins")
        time.sleep(0.01)
        order.append("first ends")

    compile_later(first)
    compile_later(lambda: order.append("second"))
    assert not order
    go.set()
    settle()
    assert order == ["first begins", "first ends", "second"]


def test_at_once_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def note() -> None:
        threads.append(threading.current_thread())

    monkeypatch.setenv("ADJIT_BACKGROUND", "0")
    compile_later(note)
    monkeypatch.setenv("ADJIT_BACKGROUND", "1")
    monkeypatch.setattr(passes, "_registered", {"mine": None})
    compile_later(note)
    assert threads == [threading.main_thread()] * 2


def test_at_once_where_there_is_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done = []
    compile_later(lambda: done.append(1))
    assert done == [1]


def test_the_collector_goes_on_meanwhile() -> None:
    paused = []

    def work() -> None:
        with collector_paused():
            paused.append(not gc.isenabled())

    compile_later(work)
    settle()
    work()
    assert paused == [False, True]
    assert gc.isenabled()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_fails_does_not_stand_in_the_way_of_the_next() -> None:
    done = []
    compile_later(lambda: [].pop())
    compile_later(lambda: done.append(1))
    settle()
    assert done == [1]


def test_one_thread_does_all_that_waits() -> None:
    go, done = threading.Event(), []
    compile_later(lambda: done.append(go.wait(20)))
    before = threading.active_count()
    for number in range(60):
        compile_later(partial(done.append, number))
    assert threading.active_count() == before
    go.set()
    settle()
    assert done == [True, *range(60)]


def test_what_an_interrupt_kept_from_starting_is_started_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    done: list[int] = []
    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr(threading.Thread, "start", interrupt)
        compile_later(partial(done.append, 1))
    compile_later(partial(done.append, 2))
    settle()
    assert done == [1, 2]


HINDRANCES = [(passes, "_registered", {"mine": None}), (later, "_is_started", bool)]


@pytest.mark.parametrize("part, name, hindrance", HINDRANCES, ids=["passes", "no thread"])
def test_who_asks_what_pays_does_nothing_itself(
    part: Any, name: str, hindrance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where users' passes came meanwhile, or there is no thread for the work, what pays waits on."""
    threads: list[str] = []
    pays = threading.Event()
    monkeypatch.setattr(later, "_LONG", float("inf"))
    compile_later(lambda: threads.append(threading.current_thread().name), pays.is_set)
    with monkeypatch.context() as changed:
        changed.setattr(part, name, hindrance)
        pays.set()
        time.sleep(4 * later._PAUSE)
        assert not threads
    settle()
    assert threads == ["adjit compiles later"]


def test_what_an_interrupt_kept_from_asking_is_asked_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    settle()
    while later._asker is not None:
        time.sleep(later._PAUSE)
    done = threading.Semaphore(0)
    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr(threading.Thread, "start", interrupt)
        compile_later(done.release, lambda: True)
    compile_later(done.release, lambda: True)
    assert done.acquire(timeout=60) and done.acquire(timeout=60)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_does_not_wait_for_what_has_not_begun() -> None:
    begun, go, done = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        time.sleep(0.3)

    def child() -> None:
        compile_later(partial(done.append, "child"))
        settle()
        assert done == ["child"]

    compile_later(work)
    compile_later(lambda: done.append(go.wait(20)))
    assert begun.wait(20)
    assert in_child(child) == 0
    go.set()
    settle()
    assert done == [True]


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_waits_and_the_child_compiles_later_too() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        time.sleep(0.05)
        ended.set()

    def child() -> None:
        done = []
        compile_later(lambda: done.append(ended.is_set()))
        settle()
        assert done == [True]

    compile_later(work)
    assert begun.wait(20)
    assert in_child(child) == 0
    assert ended.is_set()
    settle()


PROGRAM = """
import sys
import adjit as torch
x = torch.ones(5).requires_grad_()
w = torch.full((5, 5), 0.1).requires_grad_()
def loss():
    y = x
    for _ in range(3):
        y = ((y @ w).tanh() * y).exp()
    return y.sum()
found = set()
for turn in range(int(sys.argv[1])):
    x.grad = w.grad = None
    loss().backward()
    found.add(x.grad.numpy().tobytes() + w.grad.numpy().tobytes())
assert len(found) == 1
"""


@pytest.mark.parametrize("turns", [4, 5, 40])
def test_a_program_may_end_while_a_plan_is_compiled(turns: int) -> None:
    environment = {**os.environ, "ADJIT_CACHE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(turns)], env=environment, check=False, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
