"""Rounding to the numbers that few bits hold, for training with it: the gradient goes through unchanged."""

from __future__ import annotations

from typing import Any

from adjit.autograd.function import Function
from adjit.creation import full
from adjit.ir.types import F16, F32, I32
from adjit.tensor import Tensor

__all__ = ["fake_quantize_per_channel_affine", "fake_quantize_per_tensor_affine"]


class _FakeQuantize(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor, low: int, high: int) -> Tensor:
        scaled, whole = x.float() * scale.reciprocal(), not zero.is_floating_point()
        level = scaled.round() + zero if whole else (scaled + zero).round()
        ctx.save_for_backward((level >= low) & (level <= high))
        found: Tensor = ((level.nan_to_num(float(low)).clamp(low, high) - zero) * scale).to(x.dtype)
        return found

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        (inside,) = ctx.saved_tensors
        return g.masked_fill(~inside, 0.0), None, None, None, None


def fake_quantize_per_tensor_affine(
    input: Tensor, scale: float | Tensor, zero_point: int | Tensor, quant_min: int, quant_max: int
) -> Tensor:
    """(clamp(round(input/scale) + zero_point, quant_min, quant_max) - zero_point)*scale; its derivative is 1 inside.

    Errors: RuntimeError where quant_min > quant_max, or the zero point is not between them.
    """
    _check_range(quant_min, quant_max)
    if not isinstance(zero_point, Tensor) and not quant_min <= zero_point <= quant_max:
        raise RuntimeError("`zero_point` must be between `quant_min` and `quant_max`.")
    factor, zero = (
        value.detach().to(dtype).reshape(()) if isinstance(value, Tensor) else full((), value, dtype=dtype)
        for value, dtype in ((scale, F32), (zero_point, I32))
    )
    found: Tensor = _FakeQuantize.apply(input, factor, zero, quant_min, quant_max)
    return found


def fake_quantize_per_channel_affine(
    input: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    """`fake_quantize_per_tensor_affine` with a scale and a zero point for each place of an axis.

    Zero points of a floating dtype are added before rounding.

    Shapes: scale and zero_point [input.size(axis)].
    """
    if zero_point._dtype not in (I32, F32, F16):
        kind = zero_point.type().removeprefix("torch.").removesuffix("Tensor")
        raise RuntimeError(f"Zero-point must be Int32, Float or Half, found {kind}")
    if scale.ndim != 1 or zero_point.ndim != 1:
        raise RuntimeError("scale should be a 1-D tensor" if scale.ndim != 1 else "zero point should be a 1-D tensor")
    if scale.shape != zero_point.shape:
        raise RuntimeError("scale and zero-point need to have the same dimensions")
    if scale.shape[0] != input.size(axis):
        raise RuntimeError("dimensions of scale and zero-point are not consistent with input tensor")
    _check_range(quant_min, quant_max)
    if axis < 0:
        raise RuntimeError("`axis` must be between 0 and number of dimensions of input")
    shape = [1] * input.ndim
    shape[axis] = -1
    factor, zero = scale.detach().float().reshape(shape), zero_point.detach().reshape(shape)
    found: Tensor = _FakeQuantize.apply(input, factor, zero, quant_min, quant_max)
    return found


def _check_range(low: int, high: int) -> None:
    if low > high:
        raise RuntimeError("`quant_min` should be less than or equal to `quant_max`.")


METHODS: dict[str, Any] = {}
