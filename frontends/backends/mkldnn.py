"""`adjit.backends.mkldnn`: a library that PyTorch may be built with; adjit has no use for it."""

from __future__ import annotations


def is_available() -> bool:
    """False."""
    return False
