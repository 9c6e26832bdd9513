"""`Variable`, the name of tensors with gradients in old scripts."""

from __future__ import annotations

from typing import Any

from adjit.tensor import Tensor


class _VariableType(type):
    """Every tensor is a `Variable`, and a call gives a tensor."""

    def __call__(cls, data: Any = None, requires_grad: bool = False, volatile: Any = None) -> Tensor:
        """A tensor on the memory of `data`.  TypeError for what is not a tensor."""
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        found = data.detach()
        return found.requires_grad_() if requires_grad else found

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=_VariableType):
    """`Variable(tensor, requires_grad)` gives a tensor."""
