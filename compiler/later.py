"""Compilation beside the program, which goes on as it did until it is done.

A thread does one thing after the other and ends by itself, and Python's end waits for what it does: LLVM must not run
while the process is taken apart.  A fork waits for that, too: a child would inherit locks, such as those of imports,
held by a thread that it does not have.  What has not begun is forgotten in the child.

Some work waits until it pays.  A second thread asks now and then whether it does; Python's end does not wait for that.
In a forked child it waits on, and is asked about again with the next that does.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from time import process_time, sleep

from adjit.compiler.llvm.users import Users
from adjit.compiler.passes import any_registered
from adjit.runtime.collection import never_pause

# Entered by the thread that works, for each work anew.  Forks wait for these `Users` before they wait for LLVM's, which
# were made before.
_workers = Users()
# Guards what waits to be done, and the thread that does it, if there is one.
_changing = threading.RLock()
_waiting: deque[Callable[[], None]] = deque()
_worker: threading.Thread | None = None
# What waits until it pays, each after what tells whether it does; and the thread that asks.
_patient: list[tuple[Callable[[], bool], Callable[[], None]]] = []
_asker: threading.Thread | None = None
# Seconds between its questions; and of the processor's time, after which the process has run so long that all pays.
_PAUSE, _LONG = 0.1, 10.0


def _renew() -> None:
    """Begin anew in a forked child, which has no such threads: who wants what was to be done there asks once more.

    What waits until it pays goes on to: nobody may come for it again whose calls are made natively.
    """
    global _asker, _changing, _worker
    _changing, _asker, _worker = threading.RLock(), None, None
    _waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def works_beside() -> bool:
    """Whether work is done beside the program: not with ADJIT_BACKGROUND=0, and not where users' passes would run in a
    thread that their authors know nothing of.
    """
    return os.environ.get("ADJIT_BACKGROUND", "1") != "0" and not any_registered()


def compile_later(work: Callable[[], None], pays: Callable[[], bool] | None = None) -> None:
    """Do `work` in a thread, one after the other; at once where nothing is done beside the program, or the system has
    no thread to give.

    With `pays` it waits until that is true, or the process has run for long.
    """
    if not works_beside():
        work()
        return
    if pays is not None:
        _wait_until(pays, work)
        return
    if not _is_taken(work):
        work()


def _is_taken(work: Callable[[], None]) -> bool:
    """Whether the thread does `work`; not where the system has none to give."""
    with _changing:
        _waiting.append(work)
        if _worker is not None or _is_started():
            return True
        _waiting.pop()
        return False


def _is_started() -> bool:
    """Start the thread, if the system has one."""
    global _worker
    _worker = threading.Thread(target=_work, name="adjit compiles later")
    try:
        _worker.start()
    except BaseException as error:
        _worker = None
        if not isinstance(error, RuntimeError):  # an interrupt
            raise
    return _worker is not None


def _wait_until(pays: Callable[[], bool], work: Callable[[], None]) -> None:
    """Let work wait; without a thread to ask for it, until `settle`."""
    global _asker
    with _changing:
        _patient.append((pays, work))
        if _asker is None:
            _asker = threading.Thread(target=_ask, name="adjit asks what pays", daemon=True)
            try:
                _asker.start()
            except BaseException as error:
                _asker = None
                if not isinstance(error, RuntimeError):  # an interrupt
                    raise


def _ask() -> None:
    """Have done what pays; the thread ends when nothing waits.

    It does nothing itself, as Python's end does not wait for it.
    """
    global _asker
    never_pause()
    while True:
        sleep(_PAUSE)
        if not threading.main_thread().is_alive():
            return
        with _changing:
            if works_beside():
                _begin_what_pays()
            if not _patient:
                _asker = None
            if _asker is not threading.current_thread():
                return


def _begin_what_pays() -> None:
    """Have it done, and let the rest wait; what no thread takes, too, and all in a child that is forked meanwhile."""
    is_long = process_time() >= _LONG
    _patient[:] = [(pays, work) for pays, work in _patient if not ((is_long or pays()) and _is_taken(work))]


def settle() -> None:
    """Wait until nothing is compiled beside the program, and nothing waits until it pays."""
    with _changing:
        waiting, _patient[:] = [*_patient], []
    for _, work in waiting:
        compile_later(work)
    for thread in threading.enumerate():
        if thread.name.startswith("adjit compiles") and thread is not threading.current_thread():
            thread.join()


def _work() -> None:
    never_pause()
    while (work := _next()) is not None:
        with _workers:
            if threading.main_thread().is_alive():  # a program that ends has no use for it
                try:
                    work()
                except BaseException:  # told as that of a thread that ends by it, but the others go on
                    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


def _next() -> Callable[[], None] | None:
    """What is to be done next; the thread ends if there is nothing."""
    global _worker
    with _changing:
        if _waiting:
            return _waiting.popleft()
        _worker = None
        return None
