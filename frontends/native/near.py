"""Whether the native entry is at hand: what it takes is imported, and compiled, beside the program."""

from __future__ import annotations

import os

_loading = 0  # the process that imports it: a forked child has not its thread
_is_loaded = False


def is_at_hand() -> bool:
    """Whether `install` would not keep its caller waiting; if it would, a thread prepares for it."""
    global _loading
    if not _is_loaded and _loading != os.getpid():
        from adjit.compiler.later import compile_later

        _loading = os.getpid()
        compile_later(_load)
    if not _is_loaded:
        return False
    from adjit.native.install import is_settled

    return is_settled()


def _load() -> None:
    global _loading, _is_loaded
    try:
        import adjit.native.compiled  # noqa: F401 - what the next call of a compiled function would import
        from adjit.native.install import is_settled

        is_settled()
        _is_loaded = True
    finally:  # what an error or an interrupt ended begins again
        _loading = 0
