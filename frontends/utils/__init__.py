"""Helpers around tensors and training: data, hook handles, checkpoints of activations, DLPack, trees, timers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["_pytree", "benchmark", "checkpoint", "data", "dlpack", "hooks"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"adjit.utils.{name}")
    raise AttributeError(f"module 'adjit.utils' has no attribute {name!r}")
