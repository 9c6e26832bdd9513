"""LLVM's users work side by side; a fork waits for all of them, and they for it."""

from __future__ import annotations

import os
import threading

import pytest

from adjit.compiler.llvm import jit
from adjit.compiler.llvm.users import Users
from tests.threads import in_child, in_threads, meanwhile


def test_threads_are_inside_together_and_enter_again() -> None:
    users, together = Users(), threading.Barrier(4, timeout=20)

    def work(_: int) -> int:
        with users, users:
            together.wait()
            return users.depth

    assert in_threads(work) == [2] * 4
    assert (users.depth, users._inside) == (0, set())


def test_what_is_closed_is_entered_when_it_is_opened() -> None:
    users, entered = Users(), threading.Event()
    users._close()
    assert not users.enter(wait=False)

    def enter() -> None:
        with users:
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.wait(0.02)
    users._open()
    thread.join()
    assert entered.is_set()


def test_closing_waits_for_others_and_not_for_oneself() -> None:
    users, inside, go = Users(), threading.Event(), threading.Event()

    def work() -> None:
        with users:
            inside.set()
            go.wait(20)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(20)
    closing = threading.Thread(target=users._close)
    closing.start()
    closing.join(0.02)
    assert closing.is_alive()
    go.set()
    thread.join()
    closing.join()
    users._open()
    with users:
        users._close()
        users._open()
    assert not users._inside


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forks_of_several_threads() -> None:
    users = Users()

    def enter() -> None:
        with users:
            pass

    with meanwhile(enter):
        assert in_threads(lambda _: [in_child(enter) for _ in range(5)]) == [[0] * 5] * 4


def test_a_program_does_not_wait_for_another_one(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """A text is compiled while another thread is at a longer one."""
    monkeypatch.setenv("ADJIT_CACHE_DIR", str(tmp_path))
    text = "define i64 @f() {\n  ret i64 %d\n}\n"
    original, begun, go = jit.compile_object, threading.Event(), threading.Event()

    def compile_object(text: str, *given: object, **named: object) -> bytes:
        with jit.in_use:
            if "111" in text:
                begun.set()
                assert go.wait(20)
            return original(text, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(jit, "compile_object", compile_object)
    thread = threading.Thread(target=jit.object_of, args=(text % 111,))
    thread.start()
    assert begun.wait(20)
    try:
        assert jit.object_of(text % 222)[1]
    finally:
        go.set()
        thread.join()


def test_a_finalizer_that_enters_and_leaves_while_its_thread_enters_does_not_take_it_out() -> None:
    users = Users()

    class Inside(set[int]):
        def add(self, thread: int) -> None:
            is_new = thread not in self
            super().add(thread)
            if is_new:  # the collector may free something here
                users.enter(wait=False)
                users.leave()

    users._inside = Inside()
    with users:
        assert users._inside == {threading.get_ident()}
        assert users.depth == 1
    assert users._inside == set()
