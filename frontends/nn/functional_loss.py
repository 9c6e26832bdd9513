"""Losses between predictions and targets of the same shape, and between pairs."""

from __future__ import annotations

import math
from typing import Any

from adjit.capture.numbers import as_plain
from adjit.composite import composite
from adjit.creation import full as filled
from adjit.dispatch import apply
from adjit.dtypes import require_order
from adjit.elementwise import unsupported
from adjit.errors import explained
from adjit.heard_numbers import as_float
from adjit.ir.ops import named
from adjit.ir.ops.scalar import where
from adjit.ir.types import BF16, F16
from adjit.promotion import cast_to, promote_types_ir, result_dtype, single
from adjit.state import numbers_are_known
from adjit.tensor import Tensor
from adjit.warning import warn


def reduce(losses: Tensor, reduction: str) -> Tensor:
    """The mean, the sum, or the losses themselves."""
    found: Tensor = losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses
    return found


def check_reduction(reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> str:
    """The name of a reduction; the two old flags are understood with a warning.  Errors: ValueError."""
    if size_average is not None or reduce is not None:
        average, reducing = size_average is not False, reduce is not False
        reduction = "mean" if average and reducing else "sum" if reducing else "none"
        warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            UserWarning,
            stacklevel=3,
        )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def _warn_of_sizes(input: Tensor, target: Tensor) -> None:
    if target.size() != input.size():
        warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            UserWarning,
            stacklevel=3,
        )


def _choose(condition: Tensor, one: Any, other: Any) -> Tensor:
    found: Tensor = apply(where, (condition, one, other), name="Where")
    return found


def _of_one_dtype(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the dtype that holds both: masks are zeros and ones, and a tensor of rank 0 counts as others do."""
    dtype = promote_types_ir(input._dtype, target._dtype)
    return cast_to(input, dtype), cast_to(target, dtype)


@composite("MseLoss")
def squared_error(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """(input - target)**2, reduced."""
    input, target = _of_one_dtype(input, target)
    require_order(input._dtype, "mse_cpu")
    difference = input - target
    losses = difference * difference
    if weight is None:
        return reduce(losses, reduction)
    losses = losses * weight
    if reduction == "mean":
        found: Tensor = losses.sum() / weight.expand(losses.shape).sum()
        return found
    return reduce(losses, reduction)


def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(input - target)**2, reduced by mean, sum or not at all."""
    reduction = check_reduction(reduction, size_average, reduce)
    _warn_of_sizes(input, target)
    if not (input._dtype.is_continuous or target._dtype.is_continuous):
        raise unsupported("mse", input._dtype)
    found: Tensor = squared_error(input, target, weight, reduction)
    return found


def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """|input - target|, reduced by mean, sum or not at all."""
    reduction = check_reduction(reduction, size_average, reduce)
    _warn_of_sizes(input, target)
    losses: Tensor = (input - target).abs()
    if weight is not None:
        losses = losses * weight
        return losses.sum() / weight.expand(losses.shape).sum() if reduction == "mean" else _reduced(losses, reduction)
    return _reduced(losses, reduction)


_reduced = reduce


@composite("SmoothL1Loss")
def smooth_error(input: Tensor, target: Tensor, beta: float, reduction: str) -> Tensor:
    """0.5*d*d/beta where |d| < beta, else |d| - beta/2, with d = input - target."""
    input, target = _of_one_dtype(input, target)
    dtype = input._dtype
    one, other = single(input, target) if dtype is BF16 else (input, target)  # PyTorch rounds each step for float16
    difference = one - other
    size, bound = difference.abs(), as_plain(beta, difference._dtype)
    # The square is not of |d|, which has no second derivative at 0.
    losses = _choose(size < bound, difference * 0.5 * difference / bound, size - bound * 0.5)
    return reduce(cast_to(losses, dtype), reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", beta: float = 1.0,
) -> Tensor:  # fmt: skip
    """Quadratic where |input - target| < beta, linear beyond, of slope 1."""
    reduction = check_reduction(reduction, size_average, reduce)
    _warn_of_sizes(input, target)
    if not beta >= 0:  # nor is NaN
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if not input._dtype.is_float:
        raise unsupported("smooth_l1", input._dtype)
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    found: Tensor = smooth_error(input, target, as_float(beta), reduction)
    return found


@composite("HuberLoss")
def huber_error(input: Tensor, target: Tensor, delta: float, reduction: str) -> Tensor:
    """0.5*d*d where |d| <= delta, else delta*(|d| - delta/2): s*(d - s/2), s being d = input - target within delta."""
    dtype = input._dtype  # that of the result, whatever the target's
    input, target = _of_one_dtype(input, target)
    both = (input, target)
    one, other = single(*both) if input._dtype is F16 else both  # PyTorch rounds each step for bfloat16
    difference = one - other
    bound = as_plain(delta, difference._dtype)
    slope = difference.clamp(-bound, bound)
    return reduce(cast_to(slope * (difference - slope * 0.5), dtype), reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """Quadratic where |input - target| <= delta, linear beyond, of slope delta."""
    check_reduction(reduction)
    _warn_of_sizes(input, target)
    if not delta > 0:  # nor is NaN
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    if not input._dtype.is_float:
        raise unsupported("huber", input._dtype)
    if weight is None:
        found: Tensor = huber_error(input, target, as_float(delta), reduction)
        return found
    if weight.shape != input.shape:
        raise ValueError("Weights and input must have the same size.")
    losses: Tensor = huber_error(input, target, as_float(delta), "none") * weight
    return _reduced(losses, reduction)


@composite("BinaryCrossEntropy")
def bernoulli_loss(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """-(target*log(input) + (1 - target)*log(1 - input)), the logarithms not below -100.

    The bounds act on the values only: in the derivatives the denominators have bounds of their own, PyTorch's.
    """
    from adjit.linalg.ruled import apply_with_rule

    dtype = result_dtype((input, target, 1.0))
    input, target = cast_to(input, dtype), cast_to(target, dtype)
    losses = apply_with_rule("BinaryCrossEntropy", _bernoulli, _bernoulli_rule, (0, 1), input, target)
    return reduce(losses if weight is None else losses * weight, reduction)


_LEAST = 1e-12  # a variance input*(1 - input) in a denominator is not below it


def _bernoulli(input: Tensor, target: Tensor) -> tuple[Tensor]:
    log_one, log_zero = input.log().clamp(min=-100), (1 - input).log().clamp(min=-100)
    return ((target - 1) * log_zero - target * log_one,)


def _bernoulli_rule(g: Tensor, input: Tensor, target: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
    from adjit.linalg.ruled import apply_with_rule

    slope = apply_with_rule("BinaryCrossEntropyBackward", _slope, _slope_rule, (0, 1), input, target)
    return g * slope, g * ((1 - input).log() - input.log())


def _slope(input: Tensor, target: Tensor) -> tuple[Tensor]:
    """The derivative of the losses by `input`."""
    return ((input - target) / ((1 - input) * input).clamp(min=_LEAST),)


def _slope_rule(g: Tensor, input: Tensor, target: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    least = ((input + _LEAST) * (1 - input + _LEAST)).square()
    to_input = g * (input * input - 2 * input * target + target) / least
    return to_input, -g / ((1 - input) * input).clamp(min=_LEAST)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-(target*log(input) + (1 - target)*log(1 - input)) of probabilities, the logarithms not below -100.

    Errors: ValueError for different shapes; RuntimeError for an input outside 0..1, where its numbers are at hand.
    """
    reduction = check_reduction(reduction, size_average, reduce)
    if target.shape != input.shape:
        raise explained(
            ValueError,
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. "
            "Please ensure they have the same size.",
            hint="give both one shape, as in {target}.view_as({input})",
        )
    if numbers_are_known() and input.numel() and not bool(((input >= 0) & (input <= 1)).all()):
        raise explained(
            RuntimeError,
            "all elements of input should be between 0 and 1",
            hint="the first operand holds probabilities: torch.sigmoid of it, or binary_cross_entropy_with_logits",
        )
    found: Tensor = bernoulli_loss(input, target, weight, reduction)
    return found


@composite("BinaryCrossEntropyWithLogits")
def logistic_loss(
    input: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, reduction: str
) -> Tensor:
    """(1 - target)*input + factor*softplus(-input), with factor 1 + (pos_weight - 1)*target."""
    negative = apply(named.softplus, (-input,))
    if pos_weight is not None:
        negative = negative * ((pos_weight - 1) * target + 1)
    losses = (1 - target) * input + negative
    return reduce(losses if weight is None else losses * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """-(target*log(p) + (1 - target)*log(1 - p)) with p = sigmoid(input), computed without overflow."""
    reduction = check_reduction(reduction, size_average, reduce)
    if target.shape != input.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    found: Tensor = logistic_loss(input, target, weight, pos_weight, reduction)
    return found


def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """log(1 + exp(-target*input)), reduced."""
    reduction = check_reduction(reduction, size_average, reduce)
    found: Tensor = margin_of_sign(input, target, reduction)
    return found


@composite("SoftMarginLoss")
def margin_of_sign(input: Tensor, target: Tensor, reduction: str) -> Tensor:
    """log(1 + exp(-target*input)), reduced."""
    return reduce(apply(named.softplus, (input * -target,)), reduction)


@composite("KlDiv")
def divergence(input: Tensor, target: Tensor, reduction: str, log_target: bool) -> Tensor:
    """target*(log(target) - input), reduced; 0 where target is 0."""
    logs = target.exp() * target if log_target else apply(named.xlogy, (target, target))
    losses = logs - (target.exp() if log_target else target) * input
    if reduction == "batchmean" and input.ndim > 0:
        found: Tensor = losses.sum() / input.shape[0]
        return found
    return reduce(losses, "mean" if reduction == "batchmean" else reduction)


def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", log_target: bool = False,
) -> Tensor:  # fmt: skip
    """target*(log(target) - input) for log-probabilities `input`; "batchmean" is the divergence's definition."""
    if reduction != "batchmean":
        reduction = check_reduction(reduction, size_average, reduce)
    if reduction == "mean":
        warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' divides "
            "only by the batch size, and aligns with the KL div math definition.'mean' will be changed to behave the "
            "same as 'batchmean' in the next major release.",
            UserWarning,
            stacklevel=2,
        )
    found: Tensor = divergence(input, target, reduction, log_target)
    return found


@composite("PoissonNllLoss")
def poisson_loss(
    input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: str
) -> Tensor:
    """exp(input) - target*input, or input - target*log(input + eps); `full` adds Stirling's term where target > 1."""
    losses = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        inner = _choose(target > 1, target, 1)  # keeps the logarithm's derivative finite where it is not used
        stirling = inner * inner.log() - inner + 0.5 * (2 * math.pi * inner).log()
        losses = losses + _choose(target > 1, stirling, 0)
    return reduce(losses, reduction)


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: bool | None = None,
    eps: float = 1e-8, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The negative log-likelihood of counts under a Poisson distribution."""
    reduction = check_reduction(reduction, size_average, reduce)
    found: Tensor = poisson_loss(input, target, log_input, full, eps, reduction)
    return found


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """0.5*(log(var) + (input - target)**2/var), with var not below eps; `full` adds 0.5*log(2*pi)."""
    if isinstance(var, (int, float)):
        var = filled(input.shape, float(var), dtype=input.dtype)
    if numbers_are_known() and bool((var < 0).any()):
        raise ValueError("var has negative entry/entries")
    if var.shape != input.shape:
        # One variance for all of an axis: the axis is left out at the end, or has size 1.
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif input.ndim != var.ndim or [b for a, b in zip(input.shape, var.shape, strict=True) if a != b] != [1]:
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    found: Tensor = normal_loss(input, target, var, full, eps, reduction)
    return found


@composite("GaussianNllLoss")
def normal_loss(input: Tensor, target: Tensor, var: Tensor, full: bool, eps: float, reduction: str) -> Tensor:
    """0.5*(log(var) + (input - target)**2/var), reduced; the bound on var has derivative 1."""
    var = var + (var.clamp(min=eps) - var).detach()
    difference = input - target
    losses = 0.5 * (var.log() + difference * difference / var)
    return reduce(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)
