"""Adaptive softmax: frequent classes in a head, rare ones in clusters of smaller layers.

Source: Grave, Joulin, Cisse, Grangier and Jegou, 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from adjit.dispatch import apply
from adjit.ir.ops.scalar import where
from adjit.joining import cat
from adjit.nn import functional
from adjit.nn.containers import ModuleList, Sequential
from adjit.nn.linear import Linear
from adjit.nn.module import Module
from adjit.state import STATE
from adjit.tensor import Tensor


class _ASMoutput(NamedTuple):
    output: Tensor
    loss: Tensor


_ASMoutput.__name__ = _ASMoutput.__qualname__ = "ASMoutput"


class AdaptiveLogSoftmaxWithLoss(Module):
    """The log-probability of each target, and the mean loss; classes are sorted by falling frequency."""

    def __init__(
        self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0,
        head_bias: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        bounds = list(cutoffs)
        if not bounds:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        rising = all(one < two for one, two in pairwise(bounds))
        if not rising or min(bounds) <= 0 or max(bounds) > n_classes - 1 or any(int(c) != c for c in bounds):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each "
                "value is between 1 and n_classes-1"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*bounds, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        own = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, head_bias, **own)
        self.tail = ModuleList()
        for number, (low, high) in enumerate(pairwise(self.cutoffs), 1):
            width = int(in_features // div_value**number)
            self.tail.append(
                Sequential(Linear(in_features, width, False, **own), Linear(width, high - low, False, **own))
            )

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        self.head.reset_parameters()
        for projection in self.tail:
            for layer in projection:
                layer.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        """The log-probability of each target, and minus their mean.

        Shapes: input [N, in_features], target i64[N], or both without N.
        """
        self._check(input_, target_)
        batched = target_.ndim > 0
        input = input_ if batched else input_.unsqueeze(0)
        target = target_ if batched else target_.unsqueeze(0)
        head = functional.log_softmax(self.head(input), 1)
        place = target.clamp(0, self.shortlist_size - 1)
        local: Any = 0.0
        for number, (low, high) in enumerate(pairwise(self.cutoffs)):
            inside = (target >= low) & (target < high)
            logs = functional.log_softmax(self.tail[number](input), 1)
            found = logs.gather(1, (target - low).clamp(0, high - low - 1).unsqueeze(1)).squeeze(1)
            local = local + apply(where, (inside, found, 0))
            place = apply(where, (inside, self.shortlist_size + number, place))
        output = head.gather(1, place.unsqueeze(1)).squeeze(1) + local
        loss = (-output).mean()
        return _ASMoutput(output if batched else output.squeeze(0), loss)

    def _check(self, input: Tensor, target: Tensor) -> None:
        if target.ndim == 1:
            if input.shape[0] != target.shape[0]:
                raise RuntimeError("Input and target should have the same size in the batch dimension.")
            if input.ndim != 2:
                raise RuntimeError(
                    f"1D target tensor expects 2D input tensors, but found inputs with size {input.size()}"
                )
        elif target.ndim == 0:
            if input.ndim != 1:
                raise RuntimeError(
                    f"0D target tensor expects 1D input tensors, but found inputs with size {input.size()}"
                )
        else:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if STATE.tracer is None and target.numel():
            low, high = int(target.min()), int(target.max())
            if low < 0 or high >= self.n_classes:
                raise RuntimeError(
                    f"Target values should be in [0, {self.n_classes - 1}], but values in range [{low}, {high}] were "
                    "found. "
                )

    def log_prob(self, input: Tensor) -> Tensor:
        """The log-probabilities of all classes: [N, n_classes]."""
        return self._all(input, self.head(input))

    def _all(self, input: Tensor, head_output: Tensor) -> Tensor:
        head = functional.log_softmax(head_output, 1)
        parts = [head.narrow(1, 0, self.shortlist_size)]
        for number in range(self.n_clusters):
            logs = functional.log_softmax(self.tail[number](input), 1)
            parts.append(logs + head.narrow(1, self.shortlist_size + number, 1))
        return cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each row, as the head sees it."""
        head_output = self.head(input)
        chosen = head_output.argmax(1)
        found: Tensor = apply(
            where, (chosen >= self.shortlist_size, self._all(input, head_output).argmax(1), chosen)
        )
        return found
