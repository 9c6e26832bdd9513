"""Moving a module's tensors to another dtype or device."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from adjit.autograd.modes import no_grad
from adjit.creation import empty_like
from adjit.dtypes import dtype as dtype_class
from adjit.epoch import EPOCH
from adjit.tensor import Tensor

Self = TypeVar("Self", bound="Conversion")


class Conversion:
    """The part of `Module` that converts parameters and buffers; every parameter stays the same object."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]

    def _apply(self: Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        EPOCH.advance()
        if recurse:
            for module in self._modules.values():
                if module is not None:
                    module._apply(fn)
        with no_grad():
            for parameter in self._parameters.values():
                if parameter is None:
                    continue
                gradient = parameter.grad
                if gradient is not None:
                    parameter.grad = None
                converted = fn(parameter)
                if converted is not parameter:
                    parameter.data = converted
                if gradient is not None:
                    parameter.grad = fn(gradient)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = fn(buffer)
        return self

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Convert floating and complex parameters and buffers to a dtype, and all to a device, in place.

        Errors: TypeError for a dtype that is neither.
        """
        target = kwargs.get("dtype")
        for arg in args:
            if isinstance(arg, dtype_class):
                target = arg
            elif isinstance(arg, Tensor):
                target = arg.dtype
        if target is not None and not (target.is_floating_point or target.is_complex):
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={target}"
            )
        if target is not None and target.is_complex:
            warnings.warn(
                "Complex modules are a new feature under active development whose design may change, and some modules "
                "might not work as expected when using complex tensors as parameters or buffers. Please file an issue "
                "at https://github.com/pytorch/pytorch/issues/new?template=bug-report.yml if a complex module does not "
                "work as expected.",
                stacklevel=2,
            )
        rest = [arg for arg in args if not isinstance(arg, (dtype_class, Tensor))]
        named = {key: value for key, value in kwargs.items() if key != "dtype"}
        flat = {key: value for key, value in named.items() if key != "memory_format"}

        def convert(tensor: Tensor) -> Tensor:
            if target is not None and (tensor.is_floating_point() or tensor.is_complex()):
                tensor = tensor.to(target)
            keywords = named if tensor.dim() in (4, 5) else flat  # formats are for images and volumes
            return tensor.to(*rest, **keywords) if rest or keywords else tensor

        return self._apply(convert)

    def to_empty(self: Self, *, device: Any, recurse: bool = True) -> Self:
        """Put parameters and buffers into new memory on a device, whose contents are left open."""
        return self._apply(lambda tensor: empty_like(tensor, device=device), recurse)

    def cpu(self: Self) -> Self:
        """Move to the CPU, where everything is."""
        return self._apply(lambda tensor: tensor.cpu())

    def cuda(self: Self, device: Any = None) -> Self:
        """Move to a GPU.  Errors: as `Tensor.cuda`."""
        return self._apply(lambda tensor: tensor.cuda(device))

    def xpu(self: Self, device: Any = None) -> Self:
        """Move to an XPU.  Errors: as `Module.to` for a device that is not there."""
        return self.to("xpu" if device is None else device)

    def ipu(self: Self, device: Any = None) -> Self:
        """Move to an IPU.  Errors: as `Module.to` for a device that is not there."""
        return self.to("ipu" if device is None else device)

    def mtia(self: Self, device: Any = None) -> Self:
        """Move to an MTIA device.  Errors: as `Module.to` for a device that is not there."""
        return self.to("mtia" if device is None else device)

    def type(self: Self, dst_type: Any) -> Self:
        """Convert all parameters and buffers to a dtype."""
        return self._apply(lambda tensor: tensor.type(dst_type))

    def _float_to(self: Self, name: str) -> Self:
        return self._apply(lambda tensor: getattr(tensor, name)() if tensor.is_floating_point() else tensor)

    def float(self: Self) -> Self:
        """Convert floating parameters and buffers to float32."""
        return self._float_to("float")

    def double(self: Self) -> Self:
        """Convert floating parameters and buffers to float64."""
        return self._float_to("double")

    def half(self: Self) -> Self:
        """Convert floating parameters and buffers to float16."""
        return self._float_to("half")

    def bfloat16(self: Self) -> Self:
        """Convert floating parameters and buffers to bfloat16."""
        return self._float_to("bfloat16")

    def share_memory(self: Self) -> Self:
        """This module: its memory is shared between threads already."""
        return self
