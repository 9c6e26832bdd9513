"""Locks that a forked child finds free: the threads which held them are not in the child."""

from __future__ import annotations

import os
from threading import RLock, get_ident
from weakref import WeakSet


class ForkLock:
    """A lock that its thread may take again; a forked child has it only where the thread that forked had it."""

    __slots__ = ("__weakref__", "_depth", "_lock", "_owner")

    def __init__(self) -> None:
        self._lock, self._owner, self._depth = RLock(), 0, 0
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()
        self._owner = get_ident()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = 0
        self._lock.release()

    @property
    def depth(self) -> int:
        """How often its thread holds it."""
        return self._depth

    def renew(self) -> None:
        """Free the lock in a forked child that does not have the thread which holds it."""
        if self._owner != get_ident():
            self._lock, self._owner, self._depth = RLock(), 0, 0


_locks: WeakSet[ForkLock] = WeakSet()


def _renew_all() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
