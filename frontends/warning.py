"""Warnings of operations, whichever way they are called."""

from __future__ import annotations

import sys
import warnings

from adjit.state import STATE

# What stands between a function and who calls it: native entries, followers, in-place forms, what takes `out`.
_BETWEEN = ("adjit.native.", "adjit.following.", "adjit.inplace", "adjit.out")


def warn(message: str, category: type[Warning] = UserWarning, stacklevel: int = 1) -> None:
    """As `warnings.warn`: frames between an operation and its caller do not count, and no trace takes the call for one
    that does nothing but what its result tells."""
    note = getattr(STATE.tracer, "warned", None)
    if note is not None:
        note()
    frame, level = sys._getframe(1), 2
    while stacklevel > 1 and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
        stacklevel -= not frame.f_globals.get("__name__", "").startswith(_BETWEEN)
    warnings.warn(message, category, stacklevel=level)
