"""Dropout layers."""

from __future__ import annotations

from adjit.nn import functional
from adjit.nn.module import Module
from adjit.tensor import Tensor


class _Dropout(Module):
    """What dropout layers share: the probability of dropping."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if p < 0 or p > 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training each element is 0 with probability p, else scaled by 1/(1 - p)."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with elements dropped."""
        return functional.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """Whole channels of [N, C, L] dropped in training."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with channels dropped."""
        return functional.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """Whole channels of [N, C, H, W] dropped in training."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with channels dropped."""
        return functional.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_Dropout):
    """Whole channels of [N, C, D, H, W] dropped in training."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with channels dropped."""
        return functional.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_Dropout):
    """Dropped elements take selu's saturation, and mean and variance stay."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with elements dropped."""
        return functional.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_Dropout):
    """Whole channels take selu's saturation in training, and mean and variance stay."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with channels dropped."""
        return functional.feature_alpha_dropout(input, self.p, self.training)
