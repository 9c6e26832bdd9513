"""Convolutions and their transposes."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from adjit.nn import functional, init
from adjit.nn.functional_linear import spread
from adjit.nn.linear import new_parameter
from adjit.nn.module import Module
from adjit.nn.parameter import Parameter
from adjit.tensor import Tensor


class _Convolution(Module):
    """What convolutions of all ranks share."""

    rank: ClassVar[int]
    transposed: bool = False
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
        output_padding: Any, groups: int, bias: bool, padding_mode: str, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string '{padding}', should be one of {{'same', 'valid'}}")
            if padding == "same" and any(step != 1 for step in spread(stride, self.rank)):
                raise ValueError("padding='same' is not supported for strided convolutions")
        modes = ("zeros", "reflect", "replicate", "circular")
        if padding_mode not in modes:
            raise ValueError(f"padding_mode must be one of {set(modes)}, but got padding_mode='{padding_mode}'")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = spread(kernel_size, self.rank)
        self.stride = spread(stride, self.rank)
        self.padding = padding if isinstance(padding, str) else spread(padding, self.rank)
        self.dilation = spread(dilation, self.rank)
        self.output_padding = spread(output_padding, self.rank)
        self.groups = groups
        self.padding_mode = padding_mode
        shape = (
            (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        )
        self.weight = new_parameter(*shape, *self.kernel_size, device=device, dtype=dtype)
        if bias:
            self.bias = new_parameter(out_channels, device=device, dtype=dtype)
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values, evenly from -1/sqrt(k)..1/sqrt(k) with k the inputs of one output."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan = self.weight.shape[1] * math.prod(self.kernel_size)
            if fan != 0:
                bound = 1 / math.sqrt(fan)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """The sizes, and what differs from the defaults."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.rank:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.rank:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * self.rank:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text

    def _padded(self, input: Tensor) -> tuple[Tensor, Any]:
        """The input padded in the layer's mode, and what padding is left for the convolution."""
        if self.padding_mode == "zeros":
            return input, self.padding
        sides: list[int] = []
        for axis in reversed(range(self.rank)):
            if self.padding == "same":
                total = self.dilation[axis] * (self.kernel_size[axis] - 1)
                sides += [total // 2, total - total // 2]
            else:
                side = 0 if isinstance(self.padding, str) else self.padding[axis]
                sides += [side, side]
        return functional.pad(input, sides, mode=self.padding_mode), 0


class Conv1d(_Convolution):
    """Cross-correlation over one axis; see `functional.conv1d`."""

    rank = 1

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, device,
            dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        """The cross-correlation with weight, plus bias."""
        input, padding = self._padded(input)
        return functional.conv1d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv2d(_Convolution):
    """Cross-correlation over two axes; see `functional.conv2d`."""

    rank = 2

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, device,
            dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        """The cross-correlation with weight, plus bias."""
        input, padding = self._padded(input)
        return functional.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv3d(_Convolution):
    """Cross-correlation over three axes; see `functional.conv3d`."""

    rank = 3

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, device,
            dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        """The cross-correlation with weight, plus bias."""
        input, padding = self._padded(input)
        return functional.conv3d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class _TransposedConvolution(_Convolution):
    """What transposed convolutions of all ranks share."""

    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def _extra(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """The output padding, or the one that leads to `output_size`."""
        if output_size is None:
            return self.output_padding
        assert not isinstance(self.padding, str)
        wanted = list(output_size)[-self.rank :]
        least = [
            (n - 1) * s - 2 * p + g * (k - 1) + 1
            for n, s, p, g, k in zip(
                input.shape[-self.rank :], self.stride, self.padding, self.dilation, self.kernel_size, strict=True
            )
        ]
        most = [low + step - 1 for low, step in zip(least, self.stride, strict=True)]
        for want, low, high in zip(wanted, least, most, strict=True):
            if not low <= want <= high:
                raise ValueError(
                    f"requested an output size of {wanted}, but valid sizes range from {least} to {most} (for an input "
                    f"of {list(input.shape[2:])})"
                )
        return tuple(want - low for want, low in zip(wanted, least, strict=True))


class ConvTranspose1d(_TransposedConvolution):
    """The transpose of `Conv1d`."""

    rank = 1

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """The transposed convolution, plus bias."""
        return functional.conv_transpose1d(
            input, self.weight, self.bias, self.stride, self.padding, self._extra(input, output_size), self.groups,
            self.dilation,
        )  # fmt: skip


class ConvTranspose2d(_TransposedConvolution):
    """The transpose of `Conv2d`."""

    rank = 2

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """The transposed convolution, plus bias."""
        return functional.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, self._extra(input, output_size), self.groups,
            self.dilation,
        )  # fmt: skip


class ConvTranspose3d(_TransposedConvolution):
    """The transpose of `Conv3d`."""

    rank = 3

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """The transposed convolution, plus bias."""
        return functional.conv_transpose3d(
            input, self.weight, self.bias, self.stride, self.padding, self._extra(input, output_size), self.groups,
            self.dilation,
        )  # fmt: skip
