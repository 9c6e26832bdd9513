"""Unpooling, and pooling at random places, as layers."""

from __future__ import annotations

from typing import Any, ClassVar

from adjit.nn import functional
from adjit.nn.functional_linear import spread
from adjit.nn.module import Module
from adjit.tensor import Tensor


class _MaxUnpool(Module):
    """What the inverses of max pooling share: the window."""

    rank: ClassVar[int]

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = spread(kernel_size, self.rank)
        self.stride = spread(kernel_size if stride is None else stride, self.rank)
        self.padding = spread(padding, self.rank)

    def extra_repr(self) -> str:
        """The window."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """What `MaxPool1d` with these indices was given, 0 where nothing is known."""

    rank = 1

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        """The elements at their places among zeros."""
        return functional.max_unpool1d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool2d(_MaxUnpool):
    """What `MaxPool2d` with these indices was given, 0 where nothing is known."""

    rank = 2

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        """The elements at their places among zeros."""
        return functional.max_unpool2d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool3d(_MaxUnpool):
    """What `MaxPool3d` with these indices was given, 0 where nothing is known."""

    rank = 3

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        """The elements at their places among zeros."""
        return functional.max_unpool3d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class _FractionalMaxPool(Module):
    """What max pooling at random places shares: the window, and the size or ratio of the result."""

    rank: ClassVar[int]
    _random_samples: Tensor | None

    def __init__(
        self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = spread(kernel_size, self.rank)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else spread(output_size, self.rank)
        self.output_ratio = None if output_ratio is None else spread(output_ratio, self.rank)
        if output_size is None and output_ratio is None:
            raise ValueError(
                f"{type(self).__name__} requires specifying either an output size, or a pooling ratio"
            )
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def _arguments(self) -> tuple[Any, ...]:
        return self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples


class FractionalMaxPool2d(_FractionalMaxPool):
    """The greatest elements of windows at random places over the last two axes.

    Source: Graham, 2014.
    """

    rank = 2

    def forward(self, input: Tensor) -> Any:
        """The greatest elements, and where asked their places."""
        return functional.fractional_max_pool2d(input, *self._arguments())


class FractionalMaxPool3d(_FractionalMaxPool):
    """The greatest elements of windows at random places over the last three axes."""

    rank = 3

    def forward(self, input: Tensor) -> Any:
        """The greatest elements, and where asked their places."""
        return functional.fractional_max_pool3d(input, *self._arguments())
