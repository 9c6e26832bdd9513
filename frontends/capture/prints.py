"""`print` while a function is compiled: an operation of its program, not something that happens once."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adjit.runtime.fork_locks import ForkLock
from adjit.state import STATE, is_user_frame

_lock = ForkLock()
_depth = 0
_print = builtins.print


def compiling() -> bool:
    """Whether a compiled function is being traced here: its text may depend on numbers that are not known yet."""
    return _depth > 0 and STATE.tracer is not None


def is_users_text() -> bool:
    """Whether the caller's caller is code of the user that is being compiled: it makes a text for what it prints."""
    return compiling() and is_user_frame(sys._getframe(2))


@contextmanager
def printing_when_run() -> Iterator[None]:
    """While it lasts, `print` in the code that is being traced prints at every call of the program."""
    global _depth, _print

    def traced_print(*values: Any, **options: Any) -> None:
        if STATE.tracer is None or not is_user_frame(sys._getframe(1)):
            _print(*values, **options)
            return
        from adjit.capture.text import print_

        print_(_print, values, options)

    with _lock:
        if not _depth:
            _print, builtins.print = builtins.print, traced_print
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth:
                builtins.print = _print
