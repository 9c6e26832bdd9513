"""Losses, with their bases."""

from __future__ import annotations

from adjit.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from adjit.nn.loss import (
    Loss as _Loss,
)
from adjit.nn.loss import (
    WeightedLoss as _WeightedLoss,
)

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "KLDivLoss", "L1Loss", "MSELoss", "NLLLoss", "SmoothL1Loss",
    "_Loss", "_WeightedLoss",
]  # fmt: skip
