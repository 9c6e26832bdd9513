"""Making modules without drawing initial values, and memory formats of their weights."""

from __future__ import annotations

from inspect import signature
from typing import Any

from adjit.nn.module import Module
from adjit.random import get_rng_state, set_rng_state

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format", "skip_init"]


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """module_cls(*args, **kwargs), whose parameters are to be set later: the random state stays as it is."""
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    state = get_rng_state()
    try:
        return module_cls(*args, **kwargs)
    finally:
        set_rng_state(state)


def convert_conv2d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """The module: weights have one memory format."""
    return module


def convert_conv3d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """The module: weights have one memory format."""
    return module
