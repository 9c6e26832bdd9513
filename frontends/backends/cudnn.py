"""`adjit.backends.cudnn`: settings of a library that is not there; they are kept, and change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

enabled = True
benchmark = False
benchmark_limit: int | None = None
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """False."""
    return False


def version() -> None:
    """None."""


@contextmanager
def flags(
    enabled: bool = False,
    benchmark: bool = False,
    benchmark_limit: int = 10,
    deterministic: bool = False,
    allow_tf32: bool = True,
) -> Iterator[None]:
    """All the settings, within."""
    within = dict(locals())
    before = {name: globals()[name] for name in within}
    globals().update(within)
    try:
        yield
    finally:
        globals().update(before)
