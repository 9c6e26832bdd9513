"""PyTorch's `torch.ops`: the operators that `adjit.library` made, `ops.namespace.name`."""

from __future__ import annotations

from typing import Any

from adjit.library import CustomOpDef, get_op


class Namespace:
    """The operators of one namespace."""

    def __init__(self, name: str) -> None:
        self._namespace = name

    def __getattr__(self, name: str) -> CustomOpDef:
        try:
            return get_op(f"{self._namespace}::{name}")
        except RuntimeError:
            text = f"'_OpNamespace' '{self._namespace}' object has no attribute '{name}'"
            raise AttributeError(text) from None


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module 'adjit.ops' has no attribute {name!r}")
    return Namespace(name)
