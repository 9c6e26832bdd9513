"""Linear layers."""

from __future__ import annotations

from adjit.nn.linear import Bilinear, Identity, Linear, NonDynamicallyQuantizableLinear

__all__ = ["Bilinear", "Identity", "Linear", "NonDynamicallyQuantizableLinear"]
