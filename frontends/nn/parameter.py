"""`Parameter` and `Buffer`: tensors that a module finds by assignment."""

from __future__ import annotations

from typing import Any, cast

from adjit.creation import empty
from adjit.dtypes import public as dtype_object
from adjit.tensor import Tensor, disabled_torch_function


def _share(cls: type[Tensor], data: Tensor) -> Tensor:
    """A tensor of class `cls` on the memory of `data`, without history."""
    tensor = Tensor._wrap(data._array, data._dtype, memory=data._memory, type=data._type, cls=cls)
    tensor._chain = data._chain
    return tensor


class Parameter(Tensor):
    """A tensor that a module registers as its parameter when it is assigned as an attribute.

    Errors: RuntimeError for integer data with `requires_grad=True`.
    """

    __torch_function__ = disabled_torch_function

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter data must be a Tensor, not {type(data).__name__}")
        if requires_grad and not data._dtype.is_continuous:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
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

    __torch_function__ = disabled_torch_function
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


# -- without a shape ---------------------------------------------------------------------------------------------------
class UninitializedTensorMixin:
    """A tensor whose shape is not known before `materialize`; then it is one of class `cls_to_become`."""

    __slots__ = ()
    cls_to_become: type[Tensor]

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Take memory for `shape`."""
        held = cast(Tensor, self)
        made = empty(shape, device=device, dtype=dtype_object(held._dtype) if dtype is None else dtype)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        held.data = made

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call `forward` "
            "to initialize the parameters before accessing their attributes."
        )

    def share_memory_(self) -> None:
        """Refused: there is no memory."""
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters "
            "before calling `module.share_memory()`."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter whose shape is not known yet."""

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> UninitializedParameter:
        made = _share(cls, empty(0, device=device, dtype=dtype))
        assert isinstance(made, UninitializedParameter)
        made.requires_grad = requires_grad
        return made

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        """See the class."""

    def __deepcopy__(self, memo: dict[int, Any]) -> UninitializedParameter:
        found = memo.get(id(self))
        if found is None:
            found = memo[id(self)] = type(self)(self.requires_grad, None, dtype_object(self._dtype))
        assert isinstance(found, UninitializedParameter)
        return found

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return type(self), (self.requires_grad, None, dtype_object(self._dtype))


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer whose shape is not known yet."""

    __torch_function__ = disabled_torch_function
    cls_to_become = Tensor
    persistent: bool

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> UninitializedBuffer:
        made = _share(cls, empty(0, device=device, dtype=dtype))
        assert isinstance(made, UninitializedBuffer)
        made.requires_grad = requires_grad
        made.persistent = persistent
        return made

    def __init__(
        self, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> None:
        """See the class."""


def is_lazy(param: Any) -> bool:
    """Whether a parameter or buffer has no shape yet."""
    return isinstance(param, UninitializedTensorMixin)
