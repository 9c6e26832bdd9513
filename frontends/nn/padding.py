"""Padding layers."""

from __future__ import annotations

from typing import Any, ClassVar

from adjit.nn import functional
from adjit.nn.module import Module
from adjit.tensor import Tensor


class _Pad(Module):
    """What padding layers share: how far, and in which mode."""

    rank: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = (padding,) * (2 * self.rank) if isinstance(padding, int) else tuple(padding)

    def forward(self, input: Tensor) -> Tensor:
        """The padded input."""
        return functional.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        """The widths."""
        return f"{self.padding}"


class _ConstantPad(_Pad):
    """What padding with a constant shares."""

    mode = "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """The padded input."""
        return functional.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """The widths and the value."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """A constant around the last axis."""

    rank = 1


class ConstantPad2d(_ConstantPad):
    """A constant around the last two axes."""

    rank = 2


class ConstantPad3d(_ConstantPad):
    """A constant around the last three axes."""

    rank = 3


class _ZeroPad(_ConstantPad):
    """What padding with zeros shares."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The widths."""
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad):
    """Zeros around the last axis."""

    rank = 1


class ZeroPad2d(_ZeroPad):
    """Zeros around the last two axes."""

    rank = 2


class ZeroPad3d(_ZeroPad):
    """Zeros around the last three axes."""

    rank = 3


class ReflectionPad1d(_Pad):
    """The last axis mirrored at its ends."""

    rank, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """The last two axes mirrored at their ends."""

    rank, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """The last three axes mirrored at their ends."""

    rank, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The ends of the last axis repeated."""

    rank, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The ends of the last two axes repeated."""

    rank, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """The ends of the last three axes repeated."""

    rank, mode = 3, "replicate"


class _CircularPad(_Pad):
    """What periodic padding shares: the ranks of its inputs are checked first."""

    mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        """The padded input."""
        low, high = self.rank + 1, self.rank + 2
        if input.ndim not in (low, high):
            raise ValueError(f"expected {low}D or {high}D input (got {input.ndim}D input)")
        return super().forward(input)


class CircularPad1d(_CircularPad):
    """The last axis repeated periodically."""

    rank = 1


class CircularPad2d(_CircularPad):
    """The last two axes repeated periodically."""

    rank = 2


class CircularPad3d(_CircularPad):
    """The last three axes repeated periodically."""

    rank = 3
