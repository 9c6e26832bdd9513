"""LLVM's users: any number of threads at once, each on modules and machines of its own, but none while one forks.

A child forked meanwhile would inherit LLVM's state, and Python's locks, half changed by a thread that it does not have.
"""

from __future__ import annotations

import os
import threading


class Users:
    """Entered by threads, as often as they like; forks wait until all have left, and who comes then waits for them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: set[int] = set()  # threads: one that an interrupt kept from leaving does not stop its own forks
        self._is_closed = False
        self._own = threading.local()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._close, after_in_parent=self._open, after_in_child=self._renew)

    def __enter__(self) -> None:
        self.enter(wait=True)

    def __exit__(self, *_: object) -> None:
        self.leave()

    @property
    def depth(self) -> int:
        """How often this thread has entered and not left."""
        return int(getattr(self._own, "depth", 0))

    def enter(self, *, wait: bool) -> bool:
        """Enter; False, without `wait`, where one would have to wait for a fork."""
        if self.depth:
            self._own.depth += 1
            return True
        own = threading.get_ident()
        with self._changed:
            if self._is_closed and not wait:
                return False
            self._changed.wait_for(lambda: not self._is_closed)
            self._own.depth = 1  # first: a finalizer that enters and leaves meanwhile does not take the thread out
            self._inside.add(own)
        return True

    def leave(self) -> None:
        """Leave once."""
        self._own.depth -= 1
        if not self.depth:
            with self._changed:
                self._inside.discard(threading.get_ident())
                self._changed.notify_all()

    def _close(self) -> None:
        own = {threading.get_ident()}
        with self._changed:
            self._changed.wait_for(lambda: not self._is_closed)
            self._is_closed = True
            self._changed.wait_for(lambda: self._inside <= own)

    def _open(self) -> None:
        with self._changed:
            self._is_closed = False
            self._changed.notify_all()

    def _renew(self) -> None:
        self._changed = threading.Condition()
        self._inside &= {threading.get_ident()}
        self._is_closed = False


in_use = Users()
