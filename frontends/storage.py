"""The memory of tensors as PyTorch shows it: `untyped_storage()` in bytes, `storage()` in elements."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from adjit.device import CPU, device
from adjit.dtypes import public
from adjit.memory import Memory
from adjit.runtime.layout import address_of
from adjit.tensor import Tensor


class UntypedStorage:
    """The bytes of a piece of memory, which tensors may share."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def _flat(self) -> np.ndarray:
        from adjit.strided_views import memory_flat

        found = memory_flat(Tensor._wrap(self._memory.array, self._memory.dtype, memory=self._memory))
        return found.view(np.uint8)

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return address_of(self._flat())

    def nbytes(self) -> int:
        """How many bytes there are."""
        return int(self._flat().nbytes)

    def size(self) -> int:
        """How many elements there are."""
        return int(self._flat().size)

    __len__ = size

    def element_size(self) -> int:
        """Bytes per element."""
        return int(self._flat().itemsize)

    def tolist(self) -> list[Any]:
        """The elements."""
        return self._flat().tolist()  # type: ignore[no-any-return]

    def __getitem__(self, index: Any) -> Any:
        found = self._flat()[index]
        return found.tolist()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._flat()[index] = value
        self._memory.version += 1

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def fill_(self, value: Any) -> Any:
        """Set every element."""
        self[:] = value
        return self

    def copy_(self, source: Any, non_blocking: bool | None = None) -> Any:
        """Take the elements of another storage."""
        self[:] = source._flat()
        return self

    def is_shared(self) -> bool:
        """Whether other processes see it; never."""
        return False

    def is_pinned(self) -> bool:
        """Whether it is pinned for an accelerator; never."""
        return False

    def resizable(self) -> bool:
        """Whether it may grow; tensors grow by `resize_`."""
        return False

    @property
    def device(self) -> device:
        """The CPU."""
        return CPU

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False

    @property
    def _cdata(self) -> int:
        return id(self._memory)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and other._memory is self._memory

    def __hash__(self) -> int:
        return id(self._memory)

    def _text(self, kind: str) -> str:
        lines = "".join(f" {value}\n" for value in self.tolist())
        return f"{lines}[torch.storage.{kind}device=cpu) of size {self.size()}]"

    def __repr__(self) -> str:
        return self._text("UntypedStorage(")


class TypedStorage(UntypedStorage):
    """The elements of a piece of memory."""

    def _flat(self) -> np.ndarray:
        return super()._flat().view(self._memory.dtype.storage)

    @property
    def dtype(self) -> Any:
        """The dtype of the elements."""
        return public(self._memory.dtype)

    def untyped(self) -> UntypedStorage:
        """The same memory in bytes."""
        return UntypedStorage(self._memory)

    def __repr__(self) -> str:
        return self._text(f"TypedStorage(dtype={self.dtype}, ")


_DEPRECATED = (
    "TypedStorage is deprecated. It will be removed in the future and UntypedStorage will be the only storage class. "
    "This should only matter to you if you are using storages directly.  To access UntypedStorage directly, use "
    "tensor.untyped_storage() instead of tensor.storage()"
)


def untyped_storage(input: Tensor) -> UntypedStorage:
    """The memory that the tensor lies in, in bytes."""
    from adjit.conversion import concrete

    concrete(input, "untyped_storage()")
    return UntypedStorage(input._memory)


def storage(input: Tensor) -> TypedStorage:
    """The memory that the tensor lies in, in elements."""
    warnings.warn(_DEPRECATED, UserWarning, stacklevel=2)
    return TypedStorage(untyped_storage(input)._memory)


def is_storage(obj: Any) -> bool:
    """Whether an object is a storage."""
    return isinstance(obj, UntypedStorage)


def is_set_to(input: Tensor, tensor: Tensor) -> bool:
    """Whether two tensors are the same part of the same memory."""
    from adjit.conversion import storage_offset
    from adjit.dims import shape_of
    from adjit.views import strides

    if input._memory is not tensor._memory or tuple(shape_of(input)) != tuple(shape_of(tensor)):
        return False
    return storage_offset(input) == storage_offset(tensor) and strides(input) == strides(tensor)


METHODS: dict[str, Callable[..., Any]] = {
    "is_set_to": is_set_to,
    "storage": storage,
    "untyped_storage": untyped_storage,
}
__all__ = ["TypedStorage", "UntypedStorage", "is_storage"]
