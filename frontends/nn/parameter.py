"""`Parameter` and `Buffer`: tensors that a module finds by assignment."""

from __future__ import annotations

from typing import Any

from adjit.creation import empty
from adjit.tensor import Tensor


def _share(cls: type[Tensor], data: Tensor) -> Tensor:
    """A tensor of class `cls` on the memory of `data`, without history."""
    tensor = Tensor._wrap(data._array, data._dtype, memory=data._memory, type=data._type, cls=cls)
    tensor._chain = data._chain
    return tensor


class Parameter(Tensor):
    """A tensor that a module registers as its parameter when it is assigned as an attribute.

    Errors: RuntimeError for integer data with `requires_grad=True`.
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter data must be a Tensor, not {type(data).__name__}")
        made = _share(cls, data)
        assert isinstance(made, Parameter)
        made.requires_grad = requires_grad
        return made

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        """See the class."""

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        found = memo.get(id(self))
        if found is None:
            found = memo[id(self)] = type(self)(self.data.clone(), self.requires_grad)
        assert isinstance(found, Parameter)
        return found

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.data, self.requires_grad)


class Buffer(Tensor):
    """A tensor that a module registers as its buffer when it is assigned; a non-persistent one stays out of
    `state_dict`."""

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        if data is None:
            data = empty(0)
        made = _share(cls, data)
        assert isinstance(made, Buffer)
        made.persistent = persistent
        return made

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        """See the class."""


def _rebuild(cls: type[Parameter], data: Tensor, requires_grad: bool) -> Parameter:
    return cls(data, requires_grad)
