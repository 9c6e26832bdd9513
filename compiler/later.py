"""Compilation beside the program, which goes on as it did until it is done.

A thread does one thing after the other and ends by itself, and Python's end waits for what it does: LLVM must not run
while the process is taken apart.  A fork waits for that, too: a child would inherit locks, such as those of imports,
held by a thread that it does not have.  What has not begun is forgotten in the child.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable

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


def _renew() -> None:
    """Begin with nothing in a forked child, which has not the thread: who wants what waited there asks once more."""
    global _changing, _worker
    _changing, _worker = threading.RLock(), None
    _waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def compile_later(work: Callable[[], None]) -> None:
    """Do `work` in a thread, one after the other, or at once with ADJIT_BACKGROUND=0.

    It is done at once, too, where users' passes would run in a thread that their authors know nothing of, and where
    the system has no thread to give.
    """
    if os.environ.get("ADJIT_BACKGROUND", "1") == "0" or any_registered():
        work()
        return
    with _changing:
        _waiting.append(work)
        if _worker is not None or _is_started():
            return
        _waiting.pop()
    work()


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


def settle() -> None:
    """Wait until nothing is compiled beside the program."""
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
