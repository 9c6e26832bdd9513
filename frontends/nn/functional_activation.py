"""Activation functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.dims import wrap_dim
from adjit.dispatch import apply
from adjit.dtypes import float32, get_default_dtype, title_of
from adjit.elementwise import abs, add, div, unsupported
from adjit.errors import not_a_tensor
from adjit.heard_numbers import as_float
from adjit.ir.builder import literal_dtype
from adjit.ir.ops import named
from adjit.ir.ops.scalar import tanh as _tanh
from adjit.ir.ops.structure import reshape
from adjit.ir.primitive import Primitive
from adjit.ir.types import BOOL, DType
from adjit.promotion import cast_to, refuse_bool, single
from adjit.python_data import GREATEST, check_numbers, check_wide_numbers
from adjit.random import rand
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.views import check_writable, write

# The kernels that PyTorch names where a function does not take a dtype.
_KERNELS = {
    "celu": "elu_cpu", "elu": "elu_cpu", "gelu": "GeluKernelImpl", "gelu_tanh": "GeluKernelImpl",
    "hardshrink": "hardshrink_cpu", "hardsigmoid": "hardsigmoid_cpu", "hardswish": "hardswish_cpu",
    "leaky_relu": "leaky_relu_cpu", "logsigmoid": "log_sigmoid_cpu", "mish": "mish_cpu", "selu": "elu_cpu",
    "silu": "silu_cpu", "softplus": "softplus_cpu", "softshrink": "softshrink_check",
}  # fmt: skip


def _require_kernel(op: str, dtype: DType) -> None:
    """NotImplementedError, in PyTorch's words, for a dtype that an activation is not defined for."""
    if dtype.is_float or (dtype.is_complex and op == "silu"):
        return
    if dtype.is_complex and op in ("relu", "relu6"):
        raise NotImplementedError("clamp is not supported for complex types")
    if op in _KERNELS:
        raise NotImplementedError(f"\"{_KERNELS[op]}\" not implemented for '{title_of(dtype)}'")


def elementwise(op: Primitive, input: Tensor, name: str, inplace: bool = False, *numbers: Any) -> Tensor:
    """`op` of every element and numbers; `inplace` writes the result into `input`."""
    if not isinstance(input, Tensor):
        raise not_a_tensor(op.name, "input", 0, input)
    _require_kernel(op.name, input._dtype)
    if inplace:
        check_writable(input)
    if numbers:
        dtype = literal_dtype(op, [input._dtype])
        assert dtype is not None
        check_numbers(dtype, *numbers)
        numbers = tuple(cast_to(x, dtype) if isinstance(x, Tensor) else x for x in numbers)
    result: Tensor = apply(op, (_before(input) if inplace else input, *numbers), name=name)
    return write(input, result) if inplace else result


def _before(input: Tensor) -> Tensor:
    """What is to be overwritten, as a value of its own where the derivative may need it."""
    if not (STATE.recording and input.requires_grad):
        return input
    kept: Tensor = apply(reshape, (input,), {"shape": input._tensor_type.dims})
    return kept


def _into(result: Tensor, input: Tensor, inplace: bool) -> Tensor:
    if not inplace:
        return result
    check_writable(input)
    return write(input, result)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0); the derivative at 0 is 0."""
    if isinstance(input, Tensor) and input._dtype is BOOL:
        raise RuntimeError("Boolean inputs not supported for relu")
    return elementwise(named.relu, input, "Relu", inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(input, 0), 6)."""
    return hardtanh(input, 0, 6, inplace) if not input._dtype.is_float else elementwise(
        named.relu6, input, "Hardtanh", inplace
    )


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """min(max(input, min_val), max_val)."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    if input._dtype is BOOL:
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if input._dtype.kind == "uint" and min_val < 0:
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    if not input._dtype.is_float:
        check_numbers(input._dtype, min_val, max_val)
        return _into(input.clamp(int(min_val), int(max_val)), input, inplace)
    bounds = as_float(min_val), as_float(max_val)
    if not all(bound <= math.inf for bound in bounds):
        return _into(elementwise(named.hardtanh, input, "Hardtanh", False, *bounds) + math.nan, input, inplace)
    return elementwise(named.hardtanh, input, "Hardtanh", inplace, *bounds)


def sigmoid(input: Tensor) -> Tensor:
    """1/(1 + exp(-input))."""
    return elementwise(named.sigmoid, _floating(input), "Sigmoid")


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return elementwise(_tanh, _floating(input), "Tanh")


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(input + 3)/6."""
    return elementwise(named.hardsigmoid, input, "Hardsigmoid", inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """input*relu6(input + 3)/6."""
    return elementwise(named.hardswish, input, "Hardswish", inplace)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """input*sigmoid(input)."""
    return elementwise(named.silu, input, "Silu", inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """input*tanh(softplus(input))."""
    return elementwise(named.mish, input, "Mish", inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input above 0, alpha*(exp(input) - 1) below."""
    return elementwise(named.elu, input, "Elu", inplace, as_float(alpha))


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Scaled elu, whose activations keep mean 0 and variance 1."""
    return elementwise(named.selu, input, "Elu", inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input above 0, alpha*(exp(input/alpha) - 1) below."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return elementwise(named.celu, input, "Celu", inplace, as_float(alpha))


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """input above 0, negative_slope*input below."""
    return elementwise(named.leaky_relu, input, "LeakyRelu", inplace, as_float(negative_slope))


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """input above `threshold`, `value` at and below it."""
    if not input._dtype.is_float:
        check_numbers(input._dtype, threshold, value)
        return _into(_where(input > threshold, input, int(value)), input, inplace)
    check_numbers(input._dtype, value)
    return elementwise(named.threshold, input, "Threshold", inplace, as_float(threshold), as_float(value))


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(input))."""
    return elementwise(named.logsigmoid, input, "LogSigmoid")


def _floating(input: Tensor) -> Tensor:
    """The input, integers in the default dtype."""
    return input if input._dtype.is_continuous else input.to(get_default_dtype())


def softsign(input: Tensor) -> Tensor:
    """input/(1 + |input|)."""
    if input._dtype is BOOL:
        raise unsupported("abs", BOOL)
    if input._dtype.is_complex:
        return div(input, add(abs(input), 1))
    return elementwise(named.softsign, _floating(input), "Div")


def tanhshrink(input: Tensor) -> Tensor:
    """input - tanh(input)."""
    refuse_bool((input,))
    return elementwise(named.tanhshrink, _floating(input), "Sub")


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """input less `lambd` in size; 0 up to that size."""
    most = GREATEST.get(input._dtype, math.inf)
    if not 0 <= lambd <= most:
        name = {"f16": "Half", "bf16": "BFloat16", "f64": "Double"}.get(input._dtype.name, "Float")
        raise RuntimeError(
            f"lambda must be in range [0, {most:g}] for input dtype {name}, but found {lambd:g}"
        )
    return elementwise(named.softshrink, input, "Softshrink", False, as_float(lambd))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """input where |input| > `lambd`, else 0."""
    return elementwise(named.hardshrink, input, "Hardshrink", False, as_float(lambd))


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """input times the normal distribution function, or its approximation by "tanh"."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return elementwise(named.gelu if approximate == "none" else named.gelu_tanh, input, "Gelu")


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta*input))/beta; input itself where beta*input > threshold."""
    _require_kernel("softplus", input._dtype)
    check_wide_numbers(input._dtype, beta, threshold)
    found: Tensor = scaled_softplus(input, as_float(beta), as_float(threshold))
    return found


@composite("Softplus")
def scaled_softplus(input: Tensor, beta: float, threshold: float) -> Tensor:
    """log(1 + exp(beta*input))/beta below the threshold."""
    (wide,) = single(input)
    scaled = wide * beta
    curved = apply(named.softplus, (scaled,)) / beta
    return cast_to(_where(scaled > threshold, wide, curved), input._dtype)


def _where(condition: Tensor, one: Tensor, other: Any) -> Tensor:
    from adjit.ir.ops.scalar import where

    found: Tensor = apply(where, (condition, one, other), name="Where")
    return found


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """first*sigmoid(second), for the two halves of `input` along `dim`."""
    if input.ndim == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    axis = wrap_dim(dim, input.ndim)
    if input.shape[axis] % 2 != 0:
        raise RuntimeError(f"Halving dimension must be even, but dimension {axis} is size {input.shape[axis]}")
    found: Tensor = gated(input, axis)
    return found


@composite("Glu")
def gated(input: Tensor, dim: int) -> Tensor:
    """first*sigmoid(second) of the halves along `dim`."""
    half = input.shape[dim] // 2
    found: Tensor = input.narrow(dim, 0, half) * sigmoid(input.narrow(dim, half, half))
    return found


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """input above 0, weight*input below; `weight` has one element or one for each channel (axis 1)."""
    if weight.ndim not in (0, 1):
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}")
    if weight.numel() != 1:
        channels = input.shape[1] if input.ndim > 1 else 1
        if input.ndim == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        if channels != weight.numel():
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{weight.numel()} and channel size = {channels}."
            )
    found: Tensor = parametric_relu(input, weight)
    return found


@composite("PreluKernel")
def parametric_relu(input: Tensor, weight: Tensor) -> Tensor:
    """input above 0, weight*input below."""
    if weight.ndim == 1 and input.ndim != 1:
        weight = weight.reshape(() if input.ndim == 0 else (-1, *(1,) * (input.ndim - 2)))
    return _where(input > 0, input, weight * input)


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """input at and above 0; below, input times a slope drawn from lower..upper, or their mean when not training."""
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    slope = rand(input.shape, dtype=input.dtype) * (upper - lower) + lower
    if inplace:
        check_writable(input)
        return write(input, random_relu(_before(input), slope))
    result: Tensor = random_relu(input, slope)
    return result


@composite("RreluWithNoise")
def random_relu(input: Tensor, slope: Tensor) -> Tensor:
    """input at and above 0, slope*input below."""
    return _where(input >= 0, input, input * slope)


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(-input) divided by its sum along `dim`."""
    from adjit.nn.functional import softmax

    found: Tensor = softmax(-input, dim=implicit_dim("softmin", input, dim), dtype=dtype)
    return found


def implicit_dim(name: str, input: Tensor, dim: int | None) -> int:
    """`dim`, or with a warning the one that old programs expect."""
    if dim is not None:
        return dim
    from adjit.warning import warn

    warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        UserWarning,
        stacklevel=3,
    )
    return 0 if input.ndim in (0, 1, 3) else 1


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Softmax of (logits + noise)/tau, the noise from the Gumbel distribution; `hard`: one-hot in the forward value."""
    from adjit.nn.functional import one_hot, softmax

    tiny = 1e-45 if logits.dtype is float32 else 1e-300
    noise = -(-(rand(logits.shape, dtype=logits.dtype) + tiny).log()).log()
    soft: Tensor = softmax((logits + noise) / tau, dim=dim)
    if not hard:
        return soft
    chosen = one_hot(soft.argmax(dim), logits.shape[dim]).movedim(-1, dim).to(logits.dtype)
    straight: Tensor = chosen - soft.detach() + soft
    return straight


def _in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def wrapped(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return function(input, *args, inplace=True, **kwargs)

    wrapped.__name__ = f"{function.__name__}_"
    wrapped.__doc__ = f"`{function.__name__}` in place."
    return wrapped


relu_ = _in_place(relu)
elu_ = _in_place(elu)
selu_ = _in_place(selu)
celu_ = _in_place(celu)
leaky_relu_ = _in_place(leaky_relu)
hardtanh_ = _in_place(hardtanh)
threshold_ = _in_place(threshold)
rrelu_ = _in_place(rrelu)
