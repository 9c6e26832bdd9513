"""Flattening."""

from __future__ import annotations

from adjit.nn.shape import (
    Flatten,
    Unflatten,
)

__all__ = [
    "Flatten", "Unflatten",
]  # fmt: skip
