"""Losses with a margin: against classes and labels, and between samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.dispatch import apply
from adjit.dtypes import title_of
from adjit.heard_numbers import as_float
from adjit.ir.errors import DimError
from adjit.ir.ops import named
from adjit.ir.ops.indexing import gather
from adjit.ir.ops.scalar import where
from adjit.ir.ops.source import iota
from adjit.ir.types import I64
from adjit.nn.functional_loss import check_reduction
from adjit.nn.functional_loss import reduce as reduced
from adjit.nn.functional_normalization import cosine_similarity, pairwise_distance
from adjit.shaping import broadcast_tensors
from adjit.tensor import Tensor


def _choose(condition: Tensor, one: Any, other: Any) -> Tensor:
    found: Tensor = apply(where, (condition, one, other), name="Where")
    return found


@composite("MultiMarginLoss")
def class_margins(
    input: Tensor, target: Tensor, p: int, margin: float, weight: Tensor | None, reduction: str
) -> Tensor:
    """Mean over the other classes j of max(0, margin - input[target] + input[j])**p, by sample."""
    scores, classes = input.reshape(-1, input.shape[-1]), target.reshape(-1)
    count = scores.shape[1]
    row = apply(iota, (), {"shape": classes.shape, "axis": 0, "dtype": I64})
    own = apply(gather, (scores, row, classes), {"axes": (0, 1)})
    terms = (margin - own.unsqueeze(1) + scores).clamp(min=0)
    if p == 2:
        terms = terms * terms
    if weight is not None:
        terms = terms * apply(gather, (weight, classes), {"axes": (0,)}).unsqueeze(1)
    column = apply(iota, (), {"shape": scores.shape, "axis": 1, "dtype": I64})
    losses = _choose(column == classes.unsqueeze(1), 0, terms).sum(1) / count
    return reduced(losses.reshape(target.shape), reduction)


def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Mean over the other classes of max(0, margin - score of the target + score)**p."""
    reduction = check_reduction(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if input.ndim > 2 or any(extent == 0 for extent in input.shape[input.ndim - 1 :]):
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}"
        )
    samples = input.shape[0] if input.ndim == 2 else 1
    if target.ndim > 1 or target.numel() != samples:
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input samples (batch "
            f"size). Expected target size [{samples}], but got {list(target.shape)}. Input has shape "
            f"{list(input.shape)}."
        )
    if weight is not None and weight.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    classes = input.shape[-1] if input.ndim else 1
    if weight is not None and weight.shape[0] != classes:
        raise RuntimeError(f"inconsistent weight size, expected {classes} but got {list(weight.shape)}")
    if target._dtype is not I64:
        raise RuntimeError(f"expected scalar type Long but found {title_of(target._dtype)}")
    if input.ndim == 0:
        input = input.reshape(1)
    found: Tensor = class_margins(input, target, p, as_float(margin), weight, reduction)
    return found


@composite("Mean")
def label_margins(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """Mean over classes of the logistic loss of each label."""
    losses = target * apply(named.softplus, (-input,)) + (1 - target) * apply(named.softplus, (input,))
    if weight is not None:
        losses = losses * weight
    return reduced(losses.mean(-1), reduction)


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Mean over classes of the logistic loss of each label."""
    reduction = check_reduction(reduction, size_average, reduce)
    found: Tensor = label_margins(input, target, weight, reduction)
    return found


@composite("Mean")
def hinges(input: Tensor, target: Tensor, margin: float, reduction: str) -> Tensor:
    """input where target is 1, max(0, margin - input) where it is -1."""
    near = _choose(target != 1, (margin - input).clamp(min=0), 0)
    far = _choose(target != -1, input, 0)
    return reduced(near + far, reduction)


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """input where target is 1, max(0, margin - input) where it is -1."""
    reduction = check_reduction(reduction, size_average, reduce)
    if input.shape != target.shape:
        input, target = broadcast_tensors(input, target)
    found: Tensor = hinges(input, target, as_float(margin), reduction)
    return found


@composite("Mean")
def ranking(input1: Tensor, input2: Tensor, target: Tensor, margin: float, reduction: str) -> Tensor:
    """max(0, -target*(input1 - input2) + margin), reduced."""
    return reduced((-target * (input1 - input2) + margin).clamp(min=0), reduction)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, -target*(input1 - input2) + margin): input1 should rank above input2 where target is 1."""
    reduction = check_reduction(reduction, size_average, reduce)
    if input1.ndim != input2.ndim or input1.ndim != target.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    found: Tensor = ranking(input1, input2, target, as_float(margin), reduction)
    return found


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """1 - cosine where target is 1, max(0, cosine - margin) where it is -1."""
    reduction = check_reduction(reduction, size_average, reduce)
    if target.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if not input1.ndim == input2.ndim == target.ndim + 1:
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found inputs with sizes "
            f"{list(input1.shape)} and {list(input2.shape)}."
        )
    cosine = cosine_similarity(input1, input2, -1, 1e-12)
    return reduced(_choose(target == 1, 1 - cosine, (cosine - margin).clamp(min=0)), reduction)


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, |anchor - positive| - |anchor - negative| + margin); `swap` takes the nearer of the two negatives."""
    reduction = check_reduction(reduction, size_average, reduce)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.ndim}D, positive {positive.ndim}D, and negative {negative.ndim}D inputs"
        )
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = far.minimum(pairwise_distance(positive, negative, p, eps))
    return reduced((margin + near - far).clamp(min=0), reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, distance(anchor, positive) - distance(anchor, negative) + margin)."""
    reduction = check_reduction(reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.ndim}D, positive {positive.ndim}D, and negative {negative.ndim}D inputs"
        )
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((margin + near - far).clamp(min=0), reduction)


@composite("MultilabelMarginLoss")
def label_hinges(input: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Mean over classes of the sum over labels y and other classes i of max(0, 1 - input[y] + input[i])."""
    classes = input.shape[1]
    listed = (target < 0).long().cumsum(1) == 0  # labels end at the first negative one
    index = _choose(listed, target, 0)
    row = apply(iota, (), {"shape": target.shape, "axis": 0, "dtype": I64})
    own = apply(gather, (input, row, index), {"axes": (0, 1)})
    column = apply(iota, (), {"shape": (1, 1, classes), "axis": 2, "dtype": I64})
    named = (listed.unsqueeze(2) & (index.unsqueeze(2) == column)).any(1)
    terms = (1 - own.unsqueeze(2) + input.unsqueeze(1)).clamp(min=0)
    counted = listed.unsqueeze(2) & ~named.unsqueeze(1)
    return reduced(_choose(counted.expand(terms.shape), terms, 0).sum((1, 2)) / classes, reduction)


def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Mean over classes of the hinge losses between each label and each class that is no label.

    Shapes: input [N, C] or [C], target i64 of the same shape: labels, ended by -1.
    """
    reduction = check_reduction(reduction, size_average, reduce)
    if input.ndim > 2 or any(extent == 0 for extent in input.shape[input.ndim - 1 :]):
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}"
        )
    if tuple(target.shape) != tuple(input.shape):
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}")
    if target._dtype is not I64:
        raise RuntimeError(f"expected scalar type Long but found {title_of(target._dtype)}")
    batched = input.ndim == 2
    try:
        rows = (input, target) if batched else (input.reshape(1, -1), target.reshape(1, -1))
        found: Tensor = label_hinges(*rows, reduction)
    except DimError as error:
        raise RuntimeError("argument #2 'target' is out of range") from error
    return found.squeeze(0) if not batched and reduction == "none" else found
