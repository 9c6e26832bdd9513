"""`adjit.version`: what was built, as scripts ask for it."""

from __future__ import annotations

from adjit import __version__

__all__ = ["__version__", "cuda", "debug", "hip"]

debug = False
cuda: str | None = None
hip: str | None = None
