"""A clock that stands still while code is made, and tells how long what is run takes by itself.

Whether code is worth making for something depends on that; what the first runs had made for themselves is no part, nor
is what other programs had the processor for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import thread_time

_own = threading.local()


def seconds_running() -> float:
    """Seconds that this thread had the processor for, but for those in which its clock was stopped."""
    return thread_time() - getattr(_own, "making", 0.0)


@contextmanager
def clock_stopped() -> Iterator[None]:
    """Stop this thread's clock."""
    start = seconds_running()
    try:
        yield
    finally:
        _own.making = thread_time() - start
