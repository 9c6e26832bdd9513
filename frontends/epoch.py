"""One counter of changes to Python state that compiled programs depend on.

Hooks, module attributes and parameter lists bump it.  A compiled function compares one number per call, and looks
closer only when it moved.
"""

from __future__ import annotations

from array import array


class _Epoch:
    __slots__ = ("cell",)

    def __init__(self) -> None:
        self.cell = array("q", [0])  # read by native code where it stands

    @property
    def count(self) -> int:
        """How many changes there were."""
        return self.cell[0]

    def advance(self) -> None:
        """Say that something a trace may have read has changed."""
        self.cell[0] += 1


EPOCH = _Epoch()
