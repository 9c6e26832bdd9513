"""Connectionist temporal classification: the loss of label sequences whose alignment is not known.

Source: Graves, Fernandez, Gomez and Schmidhuber, 2006.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjit.composite import composite
from adjit.creation import tensor
from adjit.dispatch import apply
from adjit.ir.ops.indexing import gather
from adjit.ir.ops.scalar import where
from adjit.ir.ops.source import iota
from adjit.ir.types import I64
from adjit.loops import scan
from adjit.nn.functional_loss import check_reduction
from adjit.nn.functional_padding import constant_pad
from adjit.state import STATE
from adjit.tensor import Tensor


def _choose(condition: Tensor, one: Any, other: Any) -> Tensor:
    found: Tensor = apply(where, (condition, one, other))
    return found


def _log_sum(terms: Sequence[Tensor]) -> Tensor:
    """log(sum of exp(terms)), -inf where all terms are, without a gradient there."""
    greatest = terms[0]
    for term in terms[1:]:
        greatest = greatest.maximum(term)
    greatest = greatest.detach()
    possible = greatest > -math.inf
    shift = _choose(possible, greatest, 0)
    total: Any = 0
    for term in terms:
        total = total + (term - shift).exp()
    return _choose(possible, _choose(possible, total, 1).log() + shift, -math.inf)


@composite("CtcLoss", "ctc_loss")
def alignment_losses(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> Tensor:
    """-log of the probability of each label sequence, summed over its alignments by one scan over the steps.

    Shapes: log_probs [T, N, C], targets i64[N, S] -> [N].
    """
    steps, count, _ = log_probs.shape
    length = 2 * targets.shape[1] + 1
    place = apply(iota, (), {"shape": (count, length), "axis": 1, "dtype": I64})
    sample = apply(iota, (), {"shape": (count, length), "axis": 0, "dtype": I64})
    odd = place % 2 == 1
    label = apply(gather, (targets, sample, (place - 1).clamp(min=0) // 2), {"axes": (0, 1)})
    extended = _choose(odd, label, blank)  # a blank before, between and after the labels
    emitted = apply(gather, (log_probs, sample, extended), {"axes": (1, 2)}).permute(2, 0, 1)
    differs = extended != constant_pad(extended, ((2, -2),), blank)
    skips = odd & differs & (place >= 2)
    number = apply(iota, (), {"shape": (steps, count), "axis": 0, "dtype": I64})
    running = number < input_lengths
    start = _choose(place == 0, place.to(log_probs.dtype) * 0, -math.inf)

    def step(
        fixed: Sequence[Tensor], carry: Sequence[Tensor], rows: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        (alpha,) = carry
        one = constant_pad(alpha, ((1, -1),), -math.inf)
        two = _choose(fixed[0], constant_pad(alpha, ((2, -2),), -math.inf), -math.inf)
        new = _log_sum([alpha, one, two]) + rows[0]
        return [_choose(rows[1].unsqueeze(1).expand(new.shape), new, alpha)], []

    (alpha,), _ = scan(step, [skips], [start], [emitted, running])
    row = apply(iota, (), {"shape": (count,), "axis": 0, "dtype": I64})
    last = apply(gather, (alpha, row, 2 * target_lengths), {"axes": (0, 1)})
    before = apply(gather, (alpha, row, (2 * target_lengths - 1).clamp(min=0)), {"axes": (0, 1)})
    losses: Tensor = -_log_sum([last, _choose(target_lengths > 0, before, -math.inf)])
    # As in PyTorch the gradient is taken as if log_probs were log_softmax's: exp(log_probs) is added to it, which
    # log_softmax takes away again.
    mass = _choose(running.unsqueeze(2).expand(log_probs.shape), log_probs.exp(), 0).sum((0, 2))
    found: Tensor = losses + (mass - mass.detach())
    return found


@composite("CtcLoss", "padded_targets")
def padded_targets(targets: Tensor, target_lengths: Tensor, length: int) -> Tensor:
    """Targets that stand one after another, as [N, length]; past its own length a row holds any label."""
    place = apply(iota, (), {"shape": (target_lengths.shape[0], length), "axis": 1, "dtype": I64})
    start = (target_lengths.cumsum(0) - target_lengths).unsqueeze(1)
    index = (start + place).clamp(max=targets.shape[0] - 1)
    found: Tensor = apply(gather, (targets, index), {"axes": (0,)})
    return found


def _lengths(lengths: Any, name: str, count: int) -> Tensor:
    found = lengths if isinstance(lengths, Tensor) else tensor(lengths)
    if found._dtype.is_float:
        raise RuntimeError(f"{name} must be integral")
    if found.numel() != count:
        raise RuntimeError(f"{name} must be of size batch_size")
    result: Tensor = found.reshape(count).long()
    return result


_WHERE = "(while checking arguments for ctc_loss_allocate_outputs)"


def _check_values(lengths: Tensor, name: str, most: int | None) -> None:
    """The lengths are possible; in a trace, where they are not known, nothing is said."""
    if STATE.tracer is not None and lengths._array is None:
        return
    for length in lengths.tolist():
        if length < 0:
            raise RuntimeError(f"Expected {name} to have value at least 0, but got value {length} {_WHERE}")
        if most is not None and length > most:
            raise RuntimeError(f"Expected {name} to have value at most {most}, but got value {length} {_WHERE}")


def _greatest(lengths: Tensor, bound: int) -> int:
    """The greatest length; in a trace, where it is not known, the bound."""
    if STATE.tracer is not None and lengths._array is None:
        return bound
    return max(lengths.tolist(), default=0)


def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
    reduction: str = "mean", zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """-log of the probability of the targets, whatever their alignment with the steps; "mean" divides by the length.

    Shapes: log_probs [T, N, C] or [T, C], targets integer[N, S] or one after another, lengths integer[N] or a tuple.
    Units: nats.
    """
    reduction = check_reduction(reduction)
    if log_probs.ndim not in (2, 3):
        raise RuntimeError(f"log_probs must have 2 or 3 dimensions, not {log_probs.ndim}")
    batched = log_probs.ndim == 3
    if not batched:
        log_probs = log_probs.unsqueeze(1)
        targets = targets.unsqueeze(0) if targets.ndim == 1 else targets
    count = log_probs.shape[1]
    inputs = _lengths(input_lengths, "input_lengths", count)
    labels = _lengths(target_lengths, "target_lengths", count)
    if not 0 <= blank < log_probs.shape[2]:
        raise RuntimeError("blank must be in label range")
    _check_values(labels, "target_lengths", None)
    _check_values(inputs, "input_lengths", log_probs.shape[0])
    targets = targets.long()
    if targets.ndim == 1:
        total = sum(labels.tolist()) if labels._array is not None else targets.shape[0]
        if total != targets.shape[0]:
            raise RuntimeError(
                f"Expected tensor to have size {total} at dimension 0, but got size {targets.shape[0]} for argument #2 "
                f"'targets' {_WHERE}"
            )
        longest = max(_greatest(labels, targets.shape[0]), 1)
        if targets.shape[0] == 0:
            targets = targets.new_zeros(count, longest)
        else:
            targets = padded_targets(targets, labels, longest)
    else:
        longest = _greatest(labels, 0)
        if targets.shape[1] < longest:
            raise RuntimeError(
                f"Expected tensor to have size at least {longest} at dimension 1, but got size {targets.shape[1]} for "
                f"argument #2 'targets' {_WHERE}"
            )
        if targets.shape[1] == 0:
            targets = targets.new_zeros(count, 1)
    losses: Tensor = alignment_losses(log_probs, targets, inputs, labels, blank)
    if zero_infinity:
        losses = _choose(losses == math.inf, 0, losses)
    if reduction == "mean":
        found: Tensor = (losses / labels.clamp(min=1).to(losses.dtype)).mean()
        return found
    if reduction == "sum":
        return losses.sum()  # type: ignore[no-any-return]
    return losses if batched else losses.squeeze(0)
