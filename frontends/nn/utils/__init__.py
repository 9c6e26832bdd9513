"""Helpers for training: clipping gradients, parameters as one vector, normalised weights, fused layers.

`parametrize`, `parametrizations`, `prune`, `rnn`, `stateless` and the functions over whole modules are loaded at first
use: they need the layers, which are made with this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from adjit.nn.utils.clip import (
    clip_grad_norm,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from adjit.nn.utils.vector import parameters_to_vector, vector_to_parameters

__all__ = [
    "clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_",
    "convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format", "fuse_conv_bn_eval",
    "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights", "get_total_norm", "parameters_to_vector",
    "parametrizations", "parametrize", "prune", "remove_spectral_norm", "remove_weight_norm", "rnn", "skip_init",
    "spectral_norm", "stateless", "vector_to_parameters", "weight_norm",
]  # fmt: skip

_MODULES = ("fusion", "parametrizations", "parametrize", "prune", "rnn", "stateless")
_HOMES = {
    "convert_conv2d_weight_memory_format": "construction", "convert_conv3d_weight_memory_format": "construction",
    "skip_init": "construction", "fuse_conv_bn_eval": "fusion", "fuse_conv_bn_weights": "fusion",
    "fuse_linear_bn_eval": "fusion", "fuse_linear_bn_weights": "fusion", "spectral_norm": "spectral_norm_hook",
    "remove_spectral_norm": "spectral_norm_hook", "weight_norm": "weight_norm_hook",
    "remove_weight_norm": "weight_norm_hook",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"adjit.nn.utils.{name}")
    if name in _HOMES:
        found = globals()[name] = getattr(import_module(f"adjit.nn.utils.{_HOMES[name]}"), name)
        return found
    raise AttributeError(f"module 'adjit.nn.utils' has no attribute {name!r}")
