"""PyTorch's `torch.distributed`, for programs that ask whether it is there, as PyTorch has it where it was left out."""

from __future__ import annotations

__all__ = ["is_available", "is_initialized"]


def is_available() -> bool:
    """False: one process computes."""
    return False


def is_initialized() -> bool:
    """False: there is no group of processes."""
    return False
