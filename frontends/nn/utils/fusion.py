"""A convolution or linear layer and the batch normalisation after it as one layer, for evaluation."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from adjit.creation import ones_like, zeros_like
from adjit.nn.parameter import Parameter
from adjit.tensor import Tensor

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def _fused(
    weight: Tensor, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float, bn_weight: Tensor | None,
    bn_bias: Tensor | None, shape: tuple[int, ...],
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """weight*scale and (bias - mean)*scale + bn_bias, with scale = bn_weight/sqrt(variance + eps)."""
    before = zeros_like(mean) if bias is None else bias
    factor = ones_like(mean) if bn_weight is None else bn_weight
    shift = zeros_like(mean) if bn_bias is None else bn_bias
    scale = factor * (variance + eps).rsqrt()
    made_weight = (weight * scale.reshape(shape)).to(weight.dtype)
    made_bias = ((before - mean) * scale + shift).to(before.dtype)
    return (
        Parameter(made_weight.detach(), weight.requires_grad),
        Parameter(made_bias.detach(), weight.requires_grad if bias is None else bias.requires_grad),
    )


def fuse_conv_bn_weights(
    conv_w: Tensor, conv_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor | None,
    bn_b: Tensor | None, transpose: bool = False,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias of a convolution that includes the batch normalisation after it."""
    shape = (1, -1) if transpose else (-1, 1)
    return _fused(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, (*shape, *(1,) * (conv_w.ndim - 2)))


def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias of a linear layer that includes the batch normalisation after it."""
    return _fused(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, (-1, 1))


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of `conv` that computes bn(conv(x)) in evaluation."""
    if conv.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    made = deepcopy(conv)
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")
    made.weight, made.bias = fuse_conv_bn_weights(
        made.weight, made.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return made


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A copy of `linear` that computes bn(linear(x)) in evaluation."""
    if linear.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    made = deepcopy(linear)
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError("To fuse, linear.out_features == bn.num_features or bn.num_features == 1")
    made.weight, made.bias = fuse_linear_bn_weights(
        made.weight, made.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return made
