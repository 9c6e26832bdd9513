"""Pooling layers."""

from __future__ import annotations

from typing import Any

from adjit.nn import functional
from adjit.nn.module import Module
from adjit.tensor import Tensor


class _MaxPool(Module):
    """What the layers of maxima share."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def _arguments(self) -> tuple[Any, ...]:
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices

    def extra_repr(self) -> str:
        """The window."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The greatest element of each window over the last axis."""

    def forward(self, input: Tensor) -> Any:
        """The greatest elements, and where asked their places."""
        return functional.max_pool1d(input, *self._arguments())


class MaxPool2d(_MaxPool):
    """The greatest element of each window over the last two axes."""

    def forward(self, input: Tensor) -> Any:
        """The greatest elements, and where asked their places."""
        return functional.max_pool2d(input, *self._arguments())


class MaxPool3d(_MaxPool):
    """The greatest element of each window over the last three axes."""

    def forward(self, input: Tensor) -> Any:
        """The greatest elements, and where asked their places."""
        return functional.max_pool3d(input, *self._arguments())


class AvgPool1d(Module):
    """The mean of each window over the last axis."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = _single(kernel_size)
        self.stride = _single(kernel_size if stride is None else stride)
        self.padding = _single(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return functional.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )

    def extra_repr(self) -> str:
        """The window."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


def _single(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


class _AvgPool(Module):
    """What the layers of means over several axes share."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def _arguments(self) -> tuple[Any, ...]:
        return (
            self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The window."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """The mean of each window over the last two axes."""

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return functional.avg_pool2d(input, *self._arguments())


class AvgPool3d(_AvgPool):
    """The mean of each window over the last three axes."""

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return functional.avg_pool3d(input, *self._arguments())


class _Adaptive(Module):
    """What adaptive pooling layers share: the size of the result."""

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def extra_repr(self) -> str:
        """The size of the result."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_Adaptive):
    """The mean over as many bins as `output_size` says, along the last axis."""

    def __init__(self, output_size: Any) -> None:
        super().__init__(output_size)

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return functional.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_Adaptive):
    """The mean over as many bins as `output_size` says, along the last two axes."""

    def __init__(self, output_size: Any) -> None:
        super().__init__(output_size)

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return functional.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_Adaptive):
    """The mean over as many bins as `output_size` says, along the last three axes."""

    def __init__(self, output_size: Any) -> None:
        super().__init__(output_size)

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return functional.adaptive_avg_pool3d(input, self.output_size)


class AdaptiveMaxPool1d(_Adaptive):
    """The greatest element of as many bins as `output_size` says, along the last axis."""

    def forward(self, input: Tensor) -> Any:
        """The greatest elements, and where asked their places."""
        return functional.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_Adaptive):
    """The greatest element of as many bins as `output_size` says, along the last two axes."""

    def forward(self, input: Tensor) -> Any:
        """The greatest elements, and where asked their places."""
        return functional.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_Adaptive):
    """The greatest element of as many bins as `output_size` says, along the last three axes."""

    def forward(self, input: Tensor) -> Any:
        """The greatest elements, and where asked their places."""
        return functional.adaptive_max_pool3d(input, self.output_size, self.return_indices)


class _LPPool(Module):
    """What power-mean layers share."""

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        """The window."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """(sum of x**norm_type over each window)**(1/norm_type), over the last axis."""

    def forward(self, input: Tensor) -> Tensor:
        """The norms."""
        return functional.lp_pool1d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool2d(_LPPool):
    """(sum of x**norm_type over each window)**(1/norm_type), over the last two axes."""

    def forward(self, input: Tensor) -> Tensor:
        """The norms."""
        return functional.lp_pool2d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool3d(_LPPool):
    """(sum of x**norm_type over each window)**(1/norm_type), over the last three axes."""

    def forward(self, input: Tensor) -> Tensor:
        """The norms."""
        return functional.lp_pool3d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)
