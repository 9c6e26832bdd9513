"""Pauses of Python's cyclic collector."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Of the objects that the first pauses of a process make, so many count as old from the start: most are the compiler,
# just imported, which stays.  To walk over them takes a tenth of a first call.  What is garbage among them waits until
# the collector looks at all that there is.
_MOST = 60_000
_left = _MOST
_own = threading.local()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Run without the cyclic collector, which would walk a growing program again and again and find nothing to free.

    Tracing and compiling make many objects that all stay; the collector takes a fifth of their time.
    """
    if getattr(_own, "never", False):
        yield
        return
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            _count_as_old()
            gc.enable()


def never_pause() -> None:
    """Make no pauses in this thread: the collector is that of all threads, and another one goes on with its work."""
    _own.never = True


def _count_as_old() -> None:
    """Make the new objects old ones, without a look at them, while few were made so."""
    global _left
    new = gc.get_count()[0]
    if new <= _left and not gc.get_freeze_count():  # what a user froze stays so
        _left -= new
        gc.freeze()
        gc.unfreeze()
    else:
        _left = 0
