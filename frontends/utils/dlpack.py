"""`adjit.utils.dlpack`: tensors as DLPack capsules, and back."""

from __future__ import annotations

from typing import Any

from adjit.interop import from_dlpack
from adjit.tensor import Tensor

__all__ = ["from_dlpack", "to_dlpack"]


def to_dlpack(tensor: Tensor) -> Any:
    """A capsule on the tensor's memory, which one consumer may take."""
    return tensor.__dlpack__()
