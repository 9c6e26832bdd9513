"""PyTorch's second address of the layers: `nn.modules`, and the modules below it that programs name."""

from __future__ import annotations

from typing import Any

from adjit.nn.modules import (
    activation,
    batchnorm,
    container,
    conv,
    distance,
    dropout,
    flatten,
    fold,
    instancenorm,
    lazy,
    linear,
    loss,
    module,
    normalization,
    padding,
    pixelshuffle,
    pooling,
    rnn,
    sparse,
    transformer,
    upsampling,
    utils,
)
from adjit.nn.modules.module import Module

__all__ = [
    "Module", "activation", "batchnorm", "container", "conv", "distance", "dropout", "flatten", "fold",
    "instancenorm", "lazy", "linear", "loss", "module", "normalization", "padding", "pixelshuffle", "pooling",
    "rnn", "sparse", "transformer", "upsampling", "utils",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    from adjit import nn

    if name in nn.__all__:
        return getattr(nn, name)
    raise AttributeError(f"module 'adjit.nn.modules' has no attribute {name!r}")
