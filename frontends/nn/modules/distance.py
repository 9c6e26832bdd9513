"""Distances."""

from __future__ import annotations

from adjit.nn.shape import (
    CosineSimilarity,
    PairwiseDistance,
)

__all__ = [
    "CosineSimilarity", "PairwiseDistance",
]  # fmt: skip
