"""What became of each value in a pass: kept only while somebody asks, by `recorded`.

A pass that makes a new graph tells `note` which values of the old one stand for which of the new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from adjit.ir.graph import Value

_RUNNING: ContextVar[Journal | None] = ContextVar("adjit_journal", default=None)


class Journal:
    """The successors of values, over all rewrites of one pass."""

    def __init__(self) -> None:
        self._next: dict[Value, dict[Value, None]] = {}

    def enter(self, mapping: Mapping[Value, Value]) -> None:
        """Add successors: a value may have several, as when it is computed in more than one kernel."""
        for old, new in mapping.items():
            if old is not new:
                self._next.setdefault(old, {})[new] = None

    def became(self, value: Value) -> list[Value]:
        """What stands for `value` after the pass: itself, if the pass said nothing of it."""
        found: dict[Value, None] = {}
        seen: set[Value] = set()
        stack = [value]
        while stack:
            each = stack.pop()
            if each in seen:
                continue
            seen.add(each)
            successors = self._next.get(each)
            if successors is None:
                found[each] = None
            else:
                stack.extend(reversed(successors))
        return list(found)


@contextmanager
def recorded() -> Iterator[Journal]:
    """A journal of the passes that run inside, in this thread."""
    journal = Journal()
    token = _RUNNING.set(journal)
    try:
        yield journal
    finally:
        _RUNNING.reset(token)


def is_recorded() -> bool:
    """Whether somebody asks: what costs much to tell need not be told else."""
    return _RUNNING.get() is not None


def note(mapping: Mapping[Value, Value]) -> None:
    """Say which values of a new graph stand for those of the old one."""
    journal = _RUNNING.get()
    if journal is not None:
        journal.enter(mapping)
