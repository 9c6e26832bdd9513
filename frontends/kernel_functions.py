"""Functions of layers under the names and in the order of arguments of PyTorch's kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit import reductions
from adjit.nn import functional
from adjit.nn.functional_grid import grid_sample
from adjit.tensor import Tensor

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


def constant_pad_nd(input: Tensor, pad: Sequence[int], value: float = 0) -> Tensor:
    """`value` around the last axes: `pad` has (low, high) for the last one, then for the one before, and so on."""
    if isinstance(value, complex):
        return functional.pad(input - value, pad) + value
    return functional.pad(input, pad, value=value)


def layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5, cudnn_enable: bool = True,
) -> Tensor:  # fmt: skip
    """Normalise over the last axes, whose sizes are `normalized_shape`."""
    return functional.layer_norm(input, normalized_shape, weight, bias, eps)


def batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    training: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """Normalise each channel by the moments of the batch when training, else by the running ones."""
    return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def instance_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    use_input_stats: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """Normalise each channel of each sample."""
    return functional.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Tensor:
    """weight[indices]; a padding_idx of -1 means none."""
    padding = None if padding_idx == -1 else padding_idx
    return functional.embedding(
        indices, weight, padding_idx=padding, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse
    )


def native_layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`layer_norm`, and the means and reciprocal deviations that it divides by."""
    found = layer_norm(input, normalized_shape, weight, bias, eps)
    last = tuple(range(input.ndim - len(normalized_shape), input.ndim))
    mean = input.mean(last, keepdim=True)
    return found, mean, (input.var(last, correction=0, keepdim=True) + eps).rsqrt()


def native_group_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int, group: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`group_norm` of N samples of C channels, and the means and reciprocal deviations [N, group]."""
    found = functional.group_norm(input, group, weight, bias, eps)
    grouped = input.reshape(N, group, -1)
    return found, grouped.mean(2), (grouped.var(2, correction=0) + eps).rsqrt()


def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sample` with modes by number: bilinear, nearest, bicubic; zeros, border, reflection."""
    return grid_sample(input, grid, _MODES[interpolation_mode], _PADDINGS[padding_mode], align_corners)


grid_sampler_2d = grid_sampler_3d = grid_sampler


def nuclear_norm(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The sum of the singular values."""
    return reductions.norm(input, "nuc", dim, keepdim)


def frobenius_norm(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The square root of the sum of squares."""
    return reductions.norm(input, "fro", None if dim == () else dim, keepdim)


METHODS: dict[str, Callable[..., Any]] = {}
__all__ = [
    "batch_norm", "constant_pad_nd", "embedding", "frobenius_norm", "grid_sampler", "grid_sampler_2d",
    "grid_sampler_3d", "instance_norm", "layer_norm", "native_group_norm", "native_layer_norm", "nuclear_norm",
]  # fmt: skip
