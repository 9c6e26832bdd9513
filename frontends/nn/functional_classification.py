"""Losses against classes: negative log-likelihood and cross entropy."""

from __future__ import annotations

from functools import partial
from typing import Any

from adjit.composite import composite
from adjit.dispatch import apply
from adjit.dtypes import title_of
from adjit.errors import explained
from adjit.heard_numbers import as_float
from adjit.ir.errors import DimError
from adjit.ir.ops.indexing import gather
from adjit.ir.ops.scalar import where
from adjit.ir.ops.source import iota
from adjit.nn.functional_loss import check_reduction
from adjit.nn.functional_loss import reduce as reduced
from adjit.state import STATE
from adjit.tensor import Tensor


def _choose(condition: Tensor, one: Any, other: Any) -> Tensor:
    found: Tensor = apply(where, (condition, one, other), name="Where")
    return found


def _rows(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Scores as [samples, classes] and classes as [samples]: axis 1 holds the classes, further axes more samples."""
    if input.ndim == 1:
        return input.unsqueeze(0), target.reshape(1)
    if input.ndim > 2:
        input = input.movedim(1, -1).reshape(-1, input.shape[1])
    return input, target.reshape(-1)


def nll(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str) -> Tensor:
    """-weight[target]*input[target] by sample, 0 where target is `ignore_index`; the mean is weighted."""
    scores, classes = _rows(input, target)
    kept = classes != ignore_index
    index = _choose(kept, classes, 0)
    row = apply(iota, (), {"shape": index.shape, "axis": 0, "dtype": index._dtype})
    picked = apply(gather, (scores, row, index), {"axes": (0, 1)})
    factor = kept.to(input.dtype)
    if weight is not None:
        factor = factor * apply(gather, (weight, index), {"axes": (0,)})
    losses = _choose(kept, -picked * factor, 0)
    found: Tensor = losses.reshape(target.shape) if reduction == "none" else losses.sum()
    return found / factor.sum() if reduction == "mean" else found


_NLL = {False: composite("NllLoss")(nll), True: composite("NllLoss2D")(nll)}


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-weight[target]*input[target], for log-probabilities `input`.

    Shapes: input [N, C, *] or [C], target i64[N, *] or [].  Errors: IndexError for a class outside 0..C-1.
    """
    reduction = check_reduction(reduction, size_average, reduce)
    _check_classes(input, target, weight)
    _explain_faults(input, target, ignore_index)
    try:
        found: Tensor = _NLL[input.ndim > 2](input, target, weight, ignore_index, reduction)
    except DimError as error:
        raise _out_of_bounds(input, target, ignore_index) or error from error
    return found


def _check_classes(input: Tensor, target: Tensor, weight: Tensor | None) -> None:
    if target._dtype.name not in ("i64", "u8"):
        scalar = {"float32": "Float", "float64": "Double", "int32": "Int", "int16": "Short", "int8": "Char"}
        name = target._dtype.long_name
        raise explained(
            RuntimeError,
            f"expected target dtype to be Long or Byte, but got {scalar.get(name, name.capitalize())}",
            hint="classes are integers: {target}.long(); for probabilities give them the input's shape",
        )
    if input.ndim == 0:
        raise RuntimeError("input tensor should be 1D or 2D")
    if input.ndim == 1:
        if target.ndim != 0:
            raise RuntimeError(f"size mismatch (got input: {list(input.shape)}, target: {list(target.shape)})")
    elif target.ndim != input.ndim - 1:
        raise explained(
            RuntimeError,
            "0D or 1D target tensor expected, multi-target not supported"
            if input.ndim == 2 and target.ndim > 1
            else f"Expected target size {[input.shape[0], *input.shape[2:]]}, got {list(target.shape)}",
            hint="one class a row, of shape [n]: {target}.squeeze(1)",
        )
    elif input.shape[0] != target.shape[0]:
        raise ValueError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({target.shape[0]})."
        )
    elif any(a != b for a, b in zip(input.shape[2:], target.shape[1:], strict=True)):
        raise RuntimeError(f"Expected target size {[input.shape[0], *input.shape[2:]]}, got {list(target.shape)}")
    classes = input.shape[0 if input.ndim == 1 else 1]
    if weight is not None and tuple(weight.shape) != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of "
            f"shape: {list(weight.shape)}"
        )
    if weight is not None and weight._dtype is not input._dtype:
        raise RuntimeError(
            f"expected scalar type {title_of(input._dtype)} but found {title_of(weight._dtype)}"
        )


def _out_of_bounds(input: Tensor, target: Tensor, ignore_index: int) -> Exception | None:
    classes = input.shape[0 if input.ndim == 1 else 1]
    wrong = [c for c in target.reshape(-1).tolist() if c != ignore_index and not 0 <= c < classes]
    return explained(
        IndexError,
        f"Target {wrong[0]} is out of bounds.",
        hint="classes are counted from 0: the largest must be below the size of axis 1 of the input",
    ) if wrong else None


def _explain_faults(input: Tensor, target: Tensor, ignore_index: int) -> None:
    """A compiled program only notes that an index was wrong: which one is looked up afterwards."""
    if STATE.tracer is not None:
        STATE.tracer.on_fault((input, target), partial(_out_of_bounds, ignore_index=ignore_index))


@composite("CrossEntropy")
def soft_cross_entropy(
    logs: Tensor, target: Tensor, weight: Tensor | None, label_smoothing: float, reduction: str
) -> Tensor:
    """-sum over classes of target*weight*logs, for targets that are probabilities; the mean is over samples."""
    axis = 0 if logs.ndim == 1 else 1
    classes = logs.shape[axis]
    if label_smoothing > 0:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    terms = logs * target
    if weight is not None:
        terms = terms * weight.reshape(-1, *(1,) * (logs.ndim - axis - 1))
    losses = -terms.sum(axis)
    if reduction == "mean":
        count = 1
        for extent in losses.shape:
            count = count * extent
        found: Tensor = losses.sum() / count
        return found
    return reduced(losses, reduction)


@composite("Add")
def smoothed_cross_entropy(
    logs: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, label_smoothing: float, reduction: str
) -> Tensor:
    """(1 - s)*nll + s/classes*(-sum over classes of weight*logs)."""
    plain = nll(logs, target, weight, ignore_index, reduction)
    scores, classes = _rows(logs, target)
    kept = classes != ignore_index
    spread = -(scores if weight is None else scores * weight).sum(1)
    losses = _choose(kept, spread, 0)
    if reduction == "none":
        uniform = losses.reshape(target.shape)
    elif reduction == "sum":
        uniform = losses.sum()
    else:
        factor = kept.to(logs.dtype)
        if weight is not None:
            factor = factor * apply(gather, (weight, _choose(kept, classes, 0)), {"axes": (0,)})
        uniform = losses.sum() / factor.sum()
    found: Tensor = plain * (1 - label_smoothing) + uniform * (label_smoothing / scores.shape[1])
    return found


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Mean over samples of logsumexp(input[i]) - input[i, target[i]].

    Shapes: input [N, C, *] or [C]; target i64[N, *] of classes, or probabilities of input's shape.
    Units: nats.  Errors: IndexError for a class outside 0..C-1.
    """
    from adjit.nn.functional import log_softmax

    reduction = check_reduction(reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")
    if input.ndim == 0:
        raise RuntimeError("input tensor should be 1D or 2D")
    if not target._dtype.is_float and tuple(target.shape) == tuple(input.shape):
        raise RuntimeError(
            f"Expected floating point type for target with class probabilities, got {title_of(target._dtype)}"
        )
    logs: Tensor = log_softmax(input, 0 if input.ndim == 1 else 1)
    if target._dtype.is_float and tuple(target.shape) == tuple(input.shape):
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        found: Tensor = soft_cross_entropy(logs, target, weight, as_float(label_smoothing), reduction)
        return found
    if label_smoothing == 0:
        return nll_loss(logs, target, weight, None, ignore_index, None, reduction)
    _check_classes(input, target, weight)
    _explain_faults(input, target, ignore_index)
    try:
        smoothing = as_float(label_smoothing)
        smoothed: Tensor = smoothed_cross_entropy(logs, target, weight, ignore_index, smoothing, reduction)
    except DimError as error:
        raise _out_of_bounds(input, target, ignore_index) or error from error
    return smoothed


def linear_cross_entropy(
    input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None,
    weight: Tensor | None = None, reduction: str = "mean", ignore_index: int | None = None,
    label_smoothing: float = 0.0, options: Any = None,
) -> Tensor:  # fmt: skip
    """cross_entropy(linear(input, linear_weight, linear_bias), target).

    Shapes: input [N, features] or [features], linear_weight [C, *, features], linear_bias [C, *].  `options` are
    accepted as PyTorch has them: there is one way to compute.
    """
    from adjit.nn.functional_linear import linear

    if input.ndim not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.ndim}")
    if linear_weight.ndim < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {linear_weight.ndim}")
    features = input.shape[-1]
    if features != linear_weight.shape[-1]:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), got "
            f"{features} and {linear_weight.shape[-1]}, respectively"
        )
    classes, *inner = linear_weight.shape[:-1]
    if linear_bias is not None and tuple(linear_bias.shape) != (classes, *inner):
        raise RuntimeError(f"expected linear_bias shape {(classes, *inner)}, got {tuple(linear_bias.shape)}")
    if inner and input.ndim == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires batched input, "
            f"(N, {features}), got unbatched input with shape {tuple(input.shape)}"
        )
    shape = (*input.shape[:-1], classes, *inner)
    if tuple(target.shape) == shape and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = linear(input, linear_weight.reshape(-1, features), bias).reshape(shape)
    return cross_entropy(
        logits, target, weight, None, -100 if ignore_index is None else ignore_index, None, reduction, label_smoothing
    )
