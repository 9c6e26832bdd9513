"""Normalisation: by batch, layer, group, instance, root mean square, or vector norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from adjit.autograd.modes import no_grad
from adjit.composite import composite
from adjit.creation import tensor
from adjit.dims import numpy_names, wrap_dim
from adjit.dtypes import title_of
from adjit.errors import explained
from adjit.heard_numbers import as_float
from adjit.ir.types import F32
from adjit.nn.half_precision import in_single
from adjit.shaping import broadcast_tensors
from adjit.tensor import Tensor

_ONE_VALUE = "Expected more than 1 value per channel when training, got input size "


def _by_channel(tensor: Tensor, ndim: int) -> Tensor:
    """A vector over the channels (axis 1), ready to broadcast."""
    found: Tensor = tensor.reshape(-1, *(1,) * (ndim - 2))
    return found


def _affine(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        input = input * weight
    return input if bias is None else input + bias


@composite("NativeBatchNorm")
@in_single
def batch_norm_training(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean)/sqrt(var + eps)*weight + bias, with the moments over all axes but the channels'; and the moments."""
    axes = (0, *range(2, input.ndim))
    mean = input.mean(axes, keepdim=True)
    centred = input - mean
    variance = (centred * centred).mean(axes, keepdim=True)
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * _by_channel(weight, input.ndim)
    result = centred * scale
    if bias is not None:
        result = result + _by_channel(bias, input.ndim)
    channels = input.shape[1]
    return result, mean.reshape(channels), variance.reshape(channels)


@composite("NativeBatchNorm")
@in_single
def batch_norm_evaluation(
    input: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """(x - mean)/sqrt(variance + eps)*weight + bias, with given moments by channel."""
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    return input * _by_channel(scale, input.ndim) + _by_channel(shift, input.ndim)


def _check_channels(input: Tensor, **vectors: Tensor | None) -> None:
    """Each vector has one element for each channel."""
    channels = input.shape[1] if input.ndim > 1 else 0
    for name, vector in vectors.items():
        if vector is not None and vector.numel() != channels:
            raise RuntimeError(f"{name} should contain {channels} elements not {vector.numel()}")


def _check_mixed(input: Tensor, *vectors: Tensor | None) -> None:
    """Each vector has the input's dtype, or all are float32 beside an input of half precision."""
    dtypes = [vector._dtype for vector in vectors if vector is not None]
    if not dtypes or all(dtype is input._dtype for dtype in dtypes):
        return
    if dtypes[0] is input._dtype:
        other = next(dtype for dtype in dtypes if dtype is not input._dtype)
        raise RuntimeError(f"expected scalar type {title_of(input._dtype)} but found {title_of(other)}")
    if any(dtype is not F32 for dtype in dtypes):
        raise RuntimeError("mixed dtype (CPU): expect parameter to have scalar type of Float")
    if input._dtype.bits != 16:
        raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel (axis 1), by the batch's moments when `training`, else by the running ones.

    When training, the running moments become (1 - momentum)*running + momentum*batch's, in place; the running variance
    takes the unbiased one.
    """
    _check_channels(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    running = (running_mean, running_var)
    if training and (running_mean is None) is not (running_var is None):
        raise ValueError("running_mean and running_var must either both be None or neither be None")
    # With a weight, PyTorch's training looks at the bias last.
    _check_mixed(input, weight, *((*running, bias) if training and weight is not None else (bias, *running)))
    if input.ndim < 2:
        nothing: Tensor = input.clone()  # only no elements at all pass the check
        return nothing
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
        found: Tensor = batch_norm_evaluation(input, running_mean, running_var, weight, bias, eps)
        return found
    count = math.prod(input.shape) // input.shape[1]
    if count == 1:
        hint = "call model.eval() to use the running statistics, or train with batches of 2 and more "
        raise explained(ValueError, _ONE_VALUE + str(input.shape), hint=f"{hint}(DataLoader(..., drop_last=True))")
    if eps <= 0.0:
        raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    if count == 0:  # no moments: nothing comes out, and nothing is added to gradients
        of_none = input.new_zeros(input.shape[1])
        empty: Tensor = batch_norm_evaluation(input, of_none, of_none, weight, bias, eps)
        return empty
    result, mean, variance = batch_norm_training(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        _follow(running_mean, running_var, mean, variance, count, momentum)
    normalised: Tensor = result
    return normalised


def _follow(
    running_mean: Tensor, running_var: Tensor, mean: Tensor, variance: Tensor, count: Any, momentum: float
) -> None:
    """Move running moments by `momentum` towards those of a batch, the variance as of a sample of `count` values."""
    with no_grad():
        running_mean.mul_(1 - momentum).add_(mean.detach() * momentum)
        running_var.mul_(1 - momentum).add_(variance.detach() * count / (count - 1) * momentum)


@composite("NativeBatchNorm")
@in_single
def instance_norm_of(input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, ...]:
    """Each channel of each sample normalised by its own moments; and the moments, averaged over the samples."""
    axes = tuple(range(2, input.ndim))
    mean = input.mean(axes, keepdim=True)
    centred = input - mean
    variance = (centred * centred).mean(axes, keepdim=True)
    result = centred * (variance + eps).rsqrt()
    result = _affine(
        result,
        None if weight is None else _by_channel(weight, input.ndim),
        None if bias is None else _by_channel(bias, input.ndim),
    )
    channels = input.shape[1]
    return result, mean.mean(0).reshape(channels), variance.mean(0).reshape(channels)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each sample."""
    _check_mixed(input, weight, bias)
    if not use_input_stats:
        assert running_mean is not None and running_var is not None
        found: Tensor = batch_norm_evaluation(input, running_mean, running_var, weight, bias, eps)
        return found
    count = math.prod(input.shape[2:])
    if count == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
    result, mean, variance = instance_norm_of(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        _follow(running_mean, running_var, mean, variance, count, momentum)
    normalised: Tensor = result
    return normalised


@composite("NativeLayerNorm")
@in_single
def layer_norm_of(input: Tensor, weight: Tensor | None, bias: Tensor | None, axes: int, eps: float) -> Tensor:
    """(x - mean)/sqrt(var + eps)*weight + bias, with the moments over the last `axes` axes."""
    last = tuple(range(input.ndim - axes, input.ndim))
    mean = input.mean(last, keepdim=True)
    centred = input - mean
    variance = (centred * centred).mean(last, keepdim=True)
    return _affine(centred * (variance + eps).rsqrt(), weight, bias)


def _check_normalized(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None = None
) -> None:
    shape = list(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            "normalized_shape = []"
        )
    for name, given in (("weight", weight), ("bias", bias)):
        if given is not None and list(given.shape) != shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{list(given.shape)} and normalized_shape = {shape}"
            )
    if list(input.shape[-len(shape) :]) != shape:
        star = ", ".join(map(str, shape))
        raise RuntimeError(
            f"Given normalized_shape={shape}, expected input with shape [*, {star}], but got input of size"
            f"{list(input.shape)}"
        )


def layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalise over the last axes, whose sizes are `normalized_shape`."""
    _check_normalized(input, normalized_shape, weight, bias)
    if not input._dtype.is_float:
        raise NotImplementedError(f"\"LayerNormKernelImpl\" not implemented for '{title_of(input._dtype)}'")
    _check_mixed(input, weight, bias)
    found: Tensor = layer_norm_of(input, weight, bias, len(normalized_shape), eps)
    return found


@composite("FusedRmsNorm")
@in_single
def rms_norm_of(input: Tensor, weight: Tensor | None, axes: int, eps: float) -> Tensor:
    """x/sqrt(mean(x*x) + eps)*weight over the last `axes` axes."""
    last = tuple(range(input.ndim - axes, input.ndim))
    return _affine(input * ((input * input).mean(last, keepdim=True) + eps).rsqrt(), weight, None)


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divide by the root of the mean square over the last axes; `eps` None means the dtype's machine epsilon."""
    _check_normalized(input, normalized_shape, weight)
    if eps is None:
        eps = 2.0 ** -{"f16": 10, "bf16": 7, "f32": 23, "f64": 52}[input._dtype.part.name]
    found: Tensor = rms_norm_of(input, weight, len(normalized_shape), eps)
    return found


@composite("NativeGroupNorm")
@in_single
def group_norm_of(input: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Each group of channels of each sample normalised by its own moments, then weight and bias by channel."""
    grouped = input.reshape(input.shape[0], groups, math.prod(input.shape[1:]) // groups)
    mean = grouped.mean(2, keepdim=True)
    centred = grouped - mean
    variance = (centred * centred).mean(2, keepdim=True)
    result = (centred * (variance + eps).rsqrt()).reshape(input.shape)
    return _affine(
        result,
        None if weight is None else _by_channel(weight, input.ndim),
        None if bias is None else _by_channel(bias, input.ndim),
    )


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise over groups of channels (axis 1)."""
    if input.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
    if input.shape[1] % num_groups != 0:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    samples, channels, *others = input.shape
    if samples * (channels // num_groups) * math.prod(others) == 1:
        sizes = [samples * (channels // num_groups), num_groups, *others]
        raise explained(ValueError, f"{_ONE_VALUE}{sizes}", hint="a group of one value has no variance")
    _check_mixed(input, weight, bias)
    found: Tensor = group_norm_of(input, num_groups, weight, bias, eps)
    return found


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """input/(k + alpha*mean of squares over `size` neighbouring channels)**beta."""
    if input.ndim < 3:
        gap = " " * 26  # as PyTorch writes it
        raise ValueError(f"Expected 3D or higher dimensionality{gap}input (got {input.ndim} dimensions)")
    found: Tensor = response_norm(input, size, alpha, beta, k)
    return found


@composite("Div")
def response_norm(input: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """input/(k + alpha*mean of squares over `size` neighbouring channels)**beta."""
    from adjit.nn.functional_pooling import avg_pool

    squares = (input * input).movedim(1, -1)
    around = ((size // 2, (size - 1) // 2),)
    mean = avg_pool(squares, (size,), (1,), around, (size // 2,), True, size).movedim(-1, 1)
    found: Tensor = input / (mean * alpha + k).pow(beta)
    return found


@composite("Div")
def unit_vectors(input: Tensor, p: float, dim: Any, eps: float) -> Tensor:
    """input/max(norm, eps) along `dim`."""
    found: Tensor = input / input.norm(p, dim, keepdim=True).clamp(min=eps)
    return found


def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """input/max(p-norm along `dim`, eps)."""
    found: Tensor = unit_vectors(input, as_float(p), dim, eps)
    return found if out is None else out.copy_(found)


@composite("Sum")
def cosine_of(x1: Tensor, x2: Tensor, dim: int, eps: float) -> Tensor:
    """Sum of x1*x2 over the product of the norms, neither below eps."""
    first = (x1 * x1).sum(dim, keepdim=True).sqrt().clamp(min=eps)
    second = (x2 * x2).sum(dim, keepdim=True).sqrt().clamp(min=eps)
    found: Tensor = (x1 * (1 / first) * (x2 * (1 / second))).sum(dim)  # rows have many elements, norms are few
    return found


@numpy_names
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between x1 and x2 along `dim`."""
    x1, x2 = broadcast_tensors(x1, x2)
    found: Tensor = cosine_of(x1, x2, wrap_dim(dim, x1.ndim), as_float(eps))
    return found


@composite("Norm")
def distance_of(x1: Tensor, x2: Tensor, p: float, eps: float, keepdim: bool) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last axis."""
    found: Tensor = (x1 - x2 + eps).norm(p, -1, keepdim=keepdim)
    return found


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last axis."""
    found: Tensor = distance_of(x1, x2, as_float(p), eps, keepdim)
    return found


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm of input[i] - input[j] for each pair i < j, in row-major order.

    Shapes: input [n, features] -> [n*(n - 1)/2].
    """
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if not input._dtype.is_float:
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    rows = input.shape[0]
    pairs = tensor(np.stack(np.triu_indices(int(rows), 1)))
    found: Tensor = pair_distances(input, pairs[0], pairs[1], as_float(p))
    return found


@composite("Pdist")
def pair_distances(input: Tensor, first: Tensor, second: Tensor, p: float) -> Tensor:
    """The p-norm of input[i] - input[j] for each pair i, j."""
    rows = input.index_select(0, first) - input.index_select(0, second)
    found: Tensor = rows.norm(p, -1)
    return found


# -- weights -----------------------------------------------------------------------------------------------------------
def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    """The norms of the slices along `dim`, whose other axes have size 1; of the whole tensor for -1."""
    if dim == -1:
        whole: Tensor = v.norm(pow)
        return whole
    axes = tuple(axis for axis in range(v.ndim) if axis != wrap_dim(dim, v.ndim))
    found: Tensor = v.norm(pow, axes, keepdim=True) if axes else v.abs()
    return found


def normalised_weight(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """g*v/|v|, with the norms of the slices along `dim`."""
    found: Tensor = scaled_direction(v, g, dim)
    return found


@composite("WeightNormInterface")
def scaled_direction(v: Tensor, g: Tensor, dim: int) -> Tensor:
    """g*v/|v|."""
    return v * (g / norm_except_dim(v, 2, dim))
