"""Bags of embeddings: sums, means or maxima over rows of a table."""

from __future__ import annotations

import math
from typing import Any

from adjit.composite import composite
from adjit.creation import zeros
from adjit.dispatch import apply
from adjit.ir.errors import DimError
from adjit.ir.ops.indexing import gather, scatter_add, scatter_max
from adjit.ir.ops.scalar import where
from adjit.nn.functional_selection import renormalise, scaled_by_frequency
from adjit.nn.half_precision import in_single
from adjit.state import numbers_are_known
from adjit.tensor import Tensor


def embedding_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
    per_sample_weights: Tensor | None = None, include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """The sum, mean or maximum of the rows of `weight` that each bag names.

    Shapes: input integer[bags, length], or integer[entries] with offsets integer[bags] where each bag starts; weight
    [rows, features] -> [bags, features].  Entries equal to `padding_idx` do not count.
    """
    if per_sample_weights is not None and tuple(per_sample_weights.shape) != tuple(input.shape):
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then it must have the "
            f"same shape as the input ({input.shape})"
        )
    if weight.ndim != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.ndim}")
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                f"sequences. However, found offsets of type {type(offsets)}"
            )
    elif input.ndim == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if offsets.ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor")
        _check_offsets(offsets, input, include_last_offset)
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    _check_mode(mode, scale_grad_by_freq, sparse, per_sample_weights)
    if padding_idx is not None:
        padding_idx = _row(padding_idx, weight.shape[0])
    if max_norm is not None:
        renormalise(weight, input, max_norm, norm_type)
    if scale_grad_by_freq:
        weight = scaled_by_frequency(weight, input)
    padding = -1 if padding_idx is None else padding_idx
    try:
        if offsets is None:
            found: Tensor = bags_of_rows(weight, input, per_sample_weights, mode, padding)
        else:
            starts = offsets[:-1] if include_last_offset else offsets
            found = bags_of_runs(weight, input, starts, per_sample_weights, mode, padding)
    except DimError as error:
        raise RuntimeError(
            f"index {error.args[0].split('index ')[1].split(' ')[0]} is out of bounds: the table has "
            f"{weight.shape[0]} rows"
        ) from error
    return found


def _check_mode(mode: str, scale_grad_by_freq: bool, sparse: bool, per_sample_weights: Tensor | None) -> None:
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
            f"(got mode='{mode}'). Please open a feature request on GitHub."
        )
    if sparse:
        raise NotImplementedError("sparse gradients are not available")


def _row(padding_idx: int, rows: int) -> int:
    if not -rows <= padding_idx < rows:
        raise RuntimeError(f"padding_idx must be within the number of embeddings, -{rows} through {rows - 1}, but got "
                           f"{padding_idx}")  # fmt: skip
    return padding_idx + rows if padding_idx < 0 else padding_idx


def _check_offsets(offsets: Tensor, input: Tensor, include_last_offset: bool) -> None:
    if include_last_offset and offsets.shape[0] < 1:
        raise RuntimeError("include_last_offset: number of offset should be at least 1")
    if not numbers_are_known() or offsets.shape[0] == 0:
        return
    first, last = int(offsets[0]), int(offsets[-1])
    if first != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
            f"However, got {first}"
        )
    if last > input.shape[0]:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length({input.shape[0]}) but got offsets[-1] of {last}"
        )


def _counted(input: Tensor, rows: Tensor, padding: int, other: float) -> Tensor:
    """The rows of the entries that count, `other` for padding; no entry is padding where that is negative."""
    if padding < 0:
        return rows
    return apply(where, ((input != padding).unsqueeze(-1).expand(rows.shape), rows, other))  # type: ignore[no-any-return]


@composite("EmbeddingBag", "embedding_bag")
@in_single
def bags_of_rows(weight: Tensor, input: Tensor, factors: Tensor | None, mode: str, padding: int) -> Tensor:
    """Each row of `input` a bag."""
    rows = apply(gather, (weight, input), {"axes": (0,)})
    size = input.shape[1]
    count: Any = size if padding < 0 else (input != padding).to(weight.dtype).sum(1, keepdim=True)
    if mode == "max" and size > 0:
        greatest: Tensor = _counted(input, rows, padding, -math.inf).amax(1)
        found: Tensor = apply(where, ((count > 0).expand(greatest.shape), greatest, 0)) if padding >= 0 else greatest
        return found
    rows = rows if factors is None else rows * factors.unsqueeze(-1)
    total: Tensor = _counted(input, rows, padding, 0).sum(1)
    if mode == "mean":
        total = total / (max(size, 1) if padding < 0 else count.clamp(min=1))
    return total


@composite("EmbeddingBag", "embedding_bag")
@in_single
def bags_of_runs(
    weight: Tensor, input: Tensor, starts: Tensor, factors: Tensor | None, mode: str, padding: int
) -> Tensor:
    """Each run of entries between two starts a bag."""
    entries, bags = input.shape[0], starts.shape[0]
    rows = apply(gather, (weight, input), {"axes": (0,)})
    nothing = zeros(bags, weight.shape[1], dtype=weight.dtype)
    if entries == 0 or bags == 0:
        empty: Tensor = nothing + rows.sum() * 0
        return empty
    marks = zeros(entries + 1, dtype=input.dtype)
    marks = apply(scatter_add, (marks, (starts * 0 + 1).to(input.dtype), starts), {"axes": (0,)})
    bag = marks.cumsum(0).narrow(0, 0, entries) - 1
    if mode != "max":
        weighted = rows if factors is None else rows * factors.unsqueeze(-1)
        total: Tensor = apply(scatter_add, (nothing, _counted(input, weighted, padding, 0), bag), {"axes": (0,)})
        if mode == "sum":
            return total
    kept = (input != padding).to(weight.dtype)
    count = apply(scatter_add, (zeros(bags, dtype=weight.dtype), kept, bag), {"axes": (0,)}).unsqueeze(1)
    if mode == "mean":
        mean: Tensor = total / count.clamp(min=1)
        return mean
    lowest = _counted(input, rows, padding, -math.inf)
    greatest = apply(scatter_max, (nothing - math.inf, lowest, bag), {"axes": (0,)})
    found: Tensor = apply(where, ((count > 0).expand(greatest.shape), greatest, 0))
    return found
