"""Blocks in which the native entry must not ask Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adjit.compiler.entry import known
from adjit.native.entry import native_entry


def refuse(*_: Any, **__: Any) -> Any:
    """What stands in the place of Python's ways."""
    raise AssertionError("Python was asked")


@contextmanager
def _refusing(*places: int) -> Iterator[None]:
    entry = native_entry()
    assert entry is not None
    before = entry.known[list(places)]
    entry.known[list(places)] = id(refuse)
    try:
        yield
    finally:
        entry.known[list(places)] = before


def calls_without_python() -> Any:
    """Inside, a call of a compiled function that is not served natively fails."""
    return _refusing(known.C_CALL)


def passes_without_python() -> Any:
    """Inside, a backward pass, or one of `autograd.grad`, that no plan serves fails."""
    return _refusing(known.B_SLOW, known.G_SLOW)
