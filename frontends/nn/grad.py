"""PyTorch's `torch.nn.grad`: gradients of convolutions, given that of the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.autograd import grad
from adjit.autograd.modes import enable_grad
from adjit.creation import zeros
from adjit.nn import functional
from adjit.state import STATE
from adjit.tensor import Tensor

__all__ = ["conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input", "conv3d_weight"]


def _along(convolve: Callable[[Tensor], Tensor], size: Sequence[int], grad_output: Tensor, *others: Tensor) -> Tensor:
    """The gradient of an operand of this size; it can be differentiated where the others require grad."""
    further = STATE.recording and any(other.requires_grad for other in (grad_output, *others))
    with enable_grad():
        operand = zeros(tuple(size), dtype=grad_output.dtype, requires_grad=True)
        (found,) = grad([convolve(operand)], [operand], [grad_output], create_graph=further)
    assert found is not None
    return found if further else found.detach()


def _of(rank: int) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    convolution: Any = getattr(functional, f"conv{rank}d")

    def of_input(
        input_size: Sequence[int], weight: Tensor, grad_output: Tensor, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        """The gradient of the input of a convolution."""
        options = (None, stride, padding, dilation, groups)
        return _along(lambda input: convolution(input, weight, *options), input_size, grad_output, weight)

    def of_weight(
        input: Tensor, weight_size: Sequence[int], grad_output: Tensor, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        """The gradient of the weight of a convolution."""
        options = (None, stride, padding, dilation, groups)
        return _along(lambda weight: convolution(input, weight, *options), weight_size, grad_output, input)

    for function, name in ((of_input, "input"), (of_weight, "weight")):
        function.__name__ = function.__qualname__ = f"conv{rank}d_{name}"
    return of_input, of_weight


conv1d_input, conv1d_weight = _of(1)
conv2d_input, conv2d_weight = _of(2)
conv3d_input, conv3d_weight = _of(3)
