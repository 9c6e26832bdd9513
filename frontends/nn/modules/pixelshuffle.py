"""Pixels to channels and back."""

from __future__ import annotations

from adjit.nn.shape import (
    PixelShuffle,
    PixelUnshuffle,
)

__all__ = [
    "PixelShuffle", "PixelUnshuffle",
]  # fmt: skip
