"""Embeddings."""

from __future__ import annotations

from adjit.nn.embedding import (
    Embedding,
    EmbeddingBag,
)

__all__ = [
    "Embedding", "EmbeddingBag",
]  # fmt: skip
