"""The library of linear algebra that NumPy itself runs on: where it is, and what tells it from others."""

from __future__ import annotations

import os


def path() -> str:
    """The file of NumPy's compiled module for linear algebra; empty for a NumPy without one."""
    try:
        from numpy.linalg import _umath_linalg

        return str(_umath_linalg.__file__)
    except (ImportError, AttributeError):
        return ""


def identity() -> str:
    """What tells one build of NumPy from another of the same version: the module's path, size and time."""
    try:
        facts = os.stat(path())
    except OSError:
        return ""
    return f"{path()}:{facts.st_size}:{facts.st_mtime_ns}"
