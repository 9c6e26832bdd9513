"""The few names of PyTorch's `torch._C` that programs with tensor classes of their own ask for."""

from __future__ import annotations

from adjit.overrides import DisableTorchFunction, DisableTorchFunctionSubclass
from adjit.tensor import Tensor as TensorBase
from adjit.tensor import disabled_torch_function as _disabled_torch_function_impl

__all__ = ["DisableTorchFunction", "DisableTorchFunctionSubclass", "TensorBase", "_disabled_torch_function_impl"]
