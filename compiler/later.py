"""Compilation beside the program, which goes on as it did until it is done.

The threads end by themselves, and Python's end waits for them: LLVM must not run while the process is taken apart.  A
fork waits, too: a child would inherit locks, such as those of imports, held by a thread that it does not have.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from adjit.compiler.llvm.users import Users
from adjit.compiler.passes import any_registered
from adjit.runtime.collection import never_pause

# Entered by threads that have work, of which one does it.  Forks wait for these `Users` before they wait for LLVM's,
# which were made before.
_workers = Users()
_working = threading.Lock()


def compile_later(work: Callable[[], None]) -> None:
    """Do `work` in a thread of its own, one at a time, or at once with ADJIT_BACKGROUND=0.

    It is done at once, too, where users' passes would run in a thread that their authors know nothing of, and where
    the system has no thread to give.
    """
    if os.environ.get("ADJIT_BACKGROUND", "1") == "0" or any_registered():
        work()
        return
    try:
        threading.Thread(target=_work, args=(work,), name="adjit compiles later").start()
    except RuntimeError:
        work()


def settle() -> None:
    """Wait until nothing is compiled beside the program."""
    for thread in threading.enumerate():
        if thread.name.startswith("adjit compiles") and thread is not threading.current_thread():
            thread.join()


def _work(work: Callable[[], None]) -> None:
    never_pause()
    with _workers, _working:
        if threading.main_thread().is_alive():  # a program that ends has no use for it
            work()
