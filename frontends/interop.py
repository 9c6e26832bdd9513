"""Memory exchanged with other array libraries: DLPack and buffers, without copies where both sides allow."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.conversion import concrete
from adjit.creation import check_device, finished, from_numpy
from adjit.dtypes import default_float, dtype_argument
from adjit.ir.types import BF16
from adjit.tensor import Tensor

_CPU = (1, 0)  # DLPack's kDLCPU and the device's number
_READ_ONLY = (
    "The given buffer is not writable, and adjit does not support non-writable tensors: the tensor has a copy of it. "
    "Make the buffer writable before converting it to a tensor to share its memory."
)


class _Producer:
    """A DLPack capsule as an object that NumPy asks for one."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CPU


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of another library's array, or of a DLPack capsule.

    Read-only memory is copied.  Errors: RuntimeError for what is neither, BufferError for memory of another device.
    """
    check_device(device)
    if isinstance(ext_tensor, Tensor):
        ext_tensor.__dlpack__()  # raises what an export would
        return ext_tensor.detach().clone() if copy else ext_tensor.detach()
    capsule = type(ext_tensor).__name__ == "PyCapsule"
    if not capsule and not hasattr(ext_tensor, "__dlpack__"):
        raise RuntimeError(
            "from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only once, so you "
            "might have already constructed a tensor from it once."
        )
    given = _Producer(ext_tensor) if capsule else ext_tensor
    try:
        array = np.from_dlpack(given)
    except ValueError as error:
        raise RuntimeError(f"from_dlpack: {error}") from error
    if copy or (copy is None and not (array.flags.writeable or capsule)):
        return from_numpy(array.copy())
    if copy is False and not (array.flags.writeable or capsule):
        raise BufferError("from_dlpack: read-only memory cannot be shared; copy=None copies it")
    if not array.flags.writeable:
        # NumPy takes a capsule of the first protocol for read-only, because it cannot say that it is not.
        array = _writable(array)
    return from_numpy(array)


def _writable(array: np.ndarray) -> np.ndarray:
    """A writable view of an array's memory, which it keeps alive."""
    interface = dict(array.__array_interface__, data=(array.__array_interface__["data"][0], False))
    holder = type("Memory", (), {"__array_interface__": interface, "owner": array})()
    return np.asarray(holder)


def to_dlpack(input: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
              copy: bool | None = None) -> Any:  # fmt: skip
    """A DLPack capsule on the tensor's memory.

    Errors: BufferError for a tensor that requires grad, and for bfloat16, which NumPy does not export.
    """
    if input.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if input._dtype is BF16:
        raise BufferError("Can't export bfloat16 tensors, use tensor.float()")
    if dl_device is not None and tuple(int(part) for part in dl_device) != _CPU:
        raise BufferError(f"the tensor is in CPU memory, not on device {dl_device}")
    array = concrete(input, "__dlpack__()")
    array = array.copy() if copy else array
    return array.__dlpack__() if max_version is None else array.__dlpack__(max_version=max_version)


def dlpack_device(input: Tensor) -> tuple[int, int]:
    """The CPU, as DLPack names it."""
    return _CPU


def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A vector on the memory of an object with Python's buffer protocol; a read-only one is copied, with a warning.

    Errors: ValueError for sizes that do not fit the buffer.
    """
    target = dtype_argument(dtype, "frombuffer") or default_float()
    raw = np.frombuffer(buffer, np.uint8) if memoryview(buffer).nbytes else np.empty(0, np.uint8)
    size, total = target.itemsize, raw.nbytes
    if total == 0 or count == 0:
        raise ValueError(f"both buffer length ({total}) and count ({count}) must not be 0")
    if not 0 <= offset < total:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({total} bytes) minus 1"
        )
    if count < 0 and (total - offset) % size:
        raise ValueError(
            f"buffer length ({total - offset} bytes) after offset ({offset} bytes) must be a multiple of element size "
            f"({size})"
        )
    if count > 0 and count * size > total - offset:
        raise ValueError(
            f"requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must not be greater than "
            f"actual buffer length ({total} bytes)"
        )
    if not raw.flags.writeable:
        warnings.warn(_READ_ONLY, UserWarning, stacklevel=2)
        raw = raw.copy()
    count = (total - offset) // size if count < 0 else count
    return finished(Tensor._wrap(raw[offset : offset + count * size].view(target.storage), target), requires_grad)


def typename(obj: Any) -> str:
    """The name of an object's type: `torch.FloatTensor` for a tensor, else its qualified name."""
    if isinstance(obj, Tensor):
        found: str = obj.type()
        return found
    kind = obj if isinstance(obj, type) else type(obj)
    own = getattr(obj, "__qualname__", kind.__qualname__)
    module = getattr(obj, "__module__", kind.__module__) or ""
    return own if module in ("", "builtins") else f"{module}.{own}"


def array_namespace(input: Tensor, /, *, api_version: str | None = None) -> Any:
    """The array API standard's functions.  ValueError for a version that they do not have."""
    from adjit import array_api

    known = array_api.__array_api_version__
    if api_version is not None and not "2021.12" <= api_version <= known:
        raise ValueError(f"the array API's version {api_version!r} is unknown; adjit has {known} and those before")
    return array_api


def to_device(input: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """The tensor on a device.  ValueError for a stream: there is none in CPU memory."""
    if stream is not None:
        raise ValueError("there are no streams in CPU memory")
    return input.to(device)  # type: ignore[no-any-return]


METHODS: dict[str, Callable[..., Any]] = {
    "__array_namespace__": array_namespace,
    "__dlpack__": to_dlpack,
    "__dlpack_device__": dlpack_device,
    "to_device": to_device,
}
__all__ = ["from_dlpack", "frombuffer", "typename"]
