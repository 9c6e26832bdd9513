"""Better code for a program that runs: made once, beside the program or by a thread that waits for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeAlias
from weakref import WeakMethod

# Makes better code for the same layout: what keeps it loaded, and the address of its main function.
Better: TypeAlias = "Callable[[], tuple[object, int]]"
# Does work beside the program, or at once.
Later: TypeAlias = "Callable[[Callable[[], None]], None]"
# Told of better code.
Take: TypeAlias = "Callable[[object, int], None]"

# Held while better code is made, so that threads that want it make it once.
_improving = threading.RLock()


def _renew_lock() -> None:
    """Give a forked child a lock of its own: the thread that held the old one is not in the child."""
    global _improving
    _improving = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class Improvement:
    """Code by `better` that is still to be made, by way of `later` (None: at once) or by who waits for it."""

    __slots__ = ("_better", "_failed", "_later", "_making")

    def __init__(self, better: Better, later: Later | None) -> None:
        self._better: Better | None = better
        self._later = later
        self._making = 0  # the process that makes it beside the program: a forked child has not its thread
        self._failed: Exception | None = None

    @property
    def is_begun(self) -> bool:
        """Whether it is made beside the program, or waits for its turn."""
        return self._making == os.getpid()

    def finish(self, take: Take) -> None:
        """Make it, unless another thread did meanwhile."""
        with _improving:
            if self._better is not None:
                take(*self._better())
                self._better = None

    def begin(self, take: Take) -> None:
        """Have it made, unless that is begun.  `take` is a method of the program; if that goes, the work is dropped.

        Errors: what went wrong when it was begun before; the next call begins again.
        """
        if self.is_begun:
            return
        self._raise_failure()
        if self._later is None:
            self.finish(take)
            return
        self._making = os.getpid()
        try:
            self._later(partial(self._finish_beside, WeakMethod(take)))
        except BaseException:  # an interrupt: the next call begins again
            self._making = 0
            raise
        self._raise_failure()  # it may have been made at once

    def _finish_beside(self, take: WeakMethod[Take]) -> None:
        try:
            if (method := take()) is not None:
                self.finish(method)
        except Exception as error:  # the next call raises it
            self._failed = error
        finally:
            self._making = 0

    def _raise_failure(self) -> None:
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed
