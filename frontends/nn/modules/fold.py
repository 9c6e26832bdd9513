"""Sliding windows."""

from __future__ import annotations

from adjit.nn.shape import (
    Fold,
    Unfold,
)

__all__ = [
    "Fold", "Unfold",
]  # fmt: skip
