"""One counter of changes to Python state that compiled programs depend on.

Hooks, module attributes and parameter lists bump it.  A compiled function compares one number per call, and looks
closer only when it moved.
"""

from __future__ import annotations


class _Epoch:
    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def advance(self) -> None:
        """Say that something a trace may have read has changed."""
        self.count += 1


EPOCH = _Epoch()
