"""PyTorch's second address of the layers: `nn.modules`, and the modules below it that programs name.

>>> from adjit.nn.modules.conv import Conv2d, _ConvNd
>>> issubclass(Conv2d, _ConvNd)
True
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from adjit import nn
from adjit.nn.module import Module

_HOOKS = "global_hooks: " + " ".join(
    f"register_module_{what}_hook"
    for what in [
        "backward", "buffer_registration", "forward", "forward_pre", "full_backward", "full_backward_pre",
        "module_registration", "parameter_registration",
    ]
)  # fmt: skip
# PyTorch's modules and where their contents are here: all layers of a module of `adjit.nn`, or those that are named,
# with PyTorch's name before `=` where ours is another one.
_HOMES = {
    "activation": ["activation", "attention_layers"],
    "adaptive": ["adaptive_softmax"],
    "batchnorm": [
        "normalization: BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm _BatchNorm _NormBase=_Norm",
        "lazy: LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d",
    ],
    "container": ["containers"],
    "conv": [
        "conv: _ConvNd=_Convolution",
        "conv",
        "lazy: LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d",
    ],
    "distance": ["shape: CosineSimilarity PairwiseDistance"],
    "dropout": ["dropout"],
    "flatten": ["shape: Flatten Unflatten"],
    "fold": ["shape: Fold Unfold"],
    "instancenorm": [
        "normalization: InstanceNorm1d InstanceNorm2d InstanceNorm3d _InstanceNorm",
        "lazy: LazyInstanceNorm1d LazyInstanceNorm2d LazyInstanceNorm3d",
    ],
    "lazy": ["lazy: LazyModuleMixin"],
    "linear": ["linear", "lazy: LazyLinear"],
    "loss": ["loss: _Loss=Loss _WeightedLoss=WeightedLoss", "loss", "margin_loss"],
    "module": ["module: Module", _HOOKS],
    "normalization": ["normalization: CrossMapLRN2d GroupNorm LayerNorm LocalResponseNorm RMSNorm"],
    "padding": ["padding"],
    "pixelshuffle": ["shape: PixelShuffle PixelUnshuffle"],
    "pooling": ["pooling", "unpooling"],
    "rnn": ["recurrent", "recurrent_cells"],
    "sparse": ["embedding"],
    "transformer": ["transformer"],
    "upsampling": ["upsampling"],
}


def _contents(home: str) -> dict[str, Any]:
    """What one entry of the table stands for, by PyTorch's names."""
    module, _, listed = home.partition(":")
    found = vars(import_module(f"adjit.nn.{module}"))
    if not listed:
        own = found["__name__"]
        return {name: found[name] for name in nn.__all__ if getattr(found.get(name), "__module__", "") == own}
    pairs = [name.partition("=") for name in listed.split()]
    return {name: found[ours or name] for name, _, ours in pairs}


for _name, _homes in _HOMES.items():
    _module = sys.modules[f"{__name__}.{_name}"] = ModuleType(f"{__name__}.{_name}", "Layers at PyTorch's address.")
    for _home in _homes:
        vars(_module).update(_contents(_home))
    globals()[_name] = _module

__all__ = ["Module", *_HOMES, "utils"]


def __getattr__(name: str) -> Any:
    if name == "utils":
        return import_module(f"{__name__}.utils")
    if name in nn.__all__:
        return getattr(nn, name)
    raise AttributeError(f"module 'adjit.nn.modules' has no attribute {name!r}")
