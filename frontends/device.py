"""Devices: there is one, the CPU.  What asks for others is answered as PyTorch built without them answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from adjit.errors import explained

if TYPE_CHECKING:
    from adjit.tensor import Tensor

# The names that PyTorch's device strings may start with.
_KNOWN = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy",
    "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone",
)  # fmt: skip
_NO_CUDA = "Torch not compiled with CUDA enabled"
_DEVICES = 'the one device is "cpu": device = "cuda" if torch.cuda.is_available() else "cpu"'
_NO_ACCELERATOR = "Cannot access accelerator device when none is available."


class device:
    """Where a tensor stands: `cpu`.  Other names are accepted, and refused when used.

    Errors: RuntimeError for a string that names no device.
    """

    __slots__ = ("index", "type")

    index: int | None
    type: str

    def __new__(cls, type: Any = "cpu", index: int | None = None) -> device:
        if isinstance(type, device):
            return type
        if isinstance(type, int):
            raise RuntimeError(_NO_ACCELERATOR)
        if not isinstance(type, str):
            raise TypeError(
                f"device() received an invalid combination of arguments - got ({type.__class__.__name__}), but "
                "expected one of:\n * (torch.device device)\n * (str type, int index = -1)"
            )
        if index is not None:
            if isinstance(index, bool) or not hasattr(index, "__index__"):
                kind = index.__class__.__name__
                raise TypeError(f"device(): argument 'index' (position 2) must be int, not {kind}")
            index = index.__index__()
        made = _made.get((type, index))
        return _made.setdefault((type, index), _parsed(type, index)) if made is None else made

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"attribute {name!r} of 'torch.device' objects is not writable")

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    def __reduce__(self) -> tuple[Any, ...]:
        return device, (self.type, self.index)

    def require(self) -> None:
        """The error of a device that is not there."""
        if self.type == "cuda":
            raise explained(AssertionError, _NO_CUDA, hint=_DEVICES)
        if self.type != "cpu":
            raise RuntimeError(f"no {self.type} device serves here; adjit.device('cpu') does")

    def __enter__(self) -> device:
        self.require()
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (other.type, other.index) == (self.type, self.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{index})"


# One object for each way to write a device: native calls know it by its identity.
_made: dict[tuple[str, int | None], device] = {}


def _parsed(text: str, index: int | None) -> device:
    """The device of a name, with its index in the name or beside it."""
    name, colon, number = text.partition(":")
    if colon and index is not None:
        raise RuntimeError(f"type (string) must not include an index because index was passed explicitly: {text}")
    if index is not None and index < 0:
        raise RuntimeError("Device index must not be negative")
    if name not in _KNOWN:
        raise RuntimeError(f"Expected one of {', '.join(_KNOWN)} device type at start of device string: {name}")
    if colon and not re.fullmatch("0|[1-9][0-9]*", number):
        raise RuntimeError(f"Invalid device string: '{text}'")
    made = object.__new__(device)
    object.__setattr__(made, "type", name)
    object.__setattr__(made, "index", int(number) if colon else index)
    return made


CPU = device("cpu")


def get_default_device() -> device:
    """The CPU."""
    return CPU


def set_default_device(device: Any) -> None:
    """Accept the CPU.  The error of a device that is not there, for others."""
    _as_device(device).require()


_as_device = device


# -- accelerators ---------------------------------------------------------------------------------------------------
class _Accelerator:
    """A kind of device of which there is none: questions have answers, work is refused, settings change nothing."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def is_available(self) -> bool:
        """False."""
        return False

    def is_initialized(self) -> bool:
        """False."""
        return False

    def is_bf16_supported(self) -> bool:
        """False."""
        return False

    def device_count(self) -> int:
        """0."""
        return 0

    def empty_cache(self) -> None:
        """Nothing to free."""

    def manual_seed(self, seed: int) -> None:
        """Nothing to seed; PyTorch keeps the seed for a device that never comes."""

    manual_seed_all = manual_seed

    def memory_allocated(self, device: Any = None) -> int:
        """0 bytes."""
        return 0

    max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated

    @property
    def amp(self) -> Any:
        """`adjit.amp`, for CUDA under the names that older scripts use."""
        return import_module("adjit.cuda.amp" if self._name == "cuda" else "adjit.amp")

    def current_accelerator(self, check_available: bool = False) -> None:
        """None."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in _WORK:
            raise AttributeError(f"module 'adjit.{self._name}' has no attribute '{name}'")
        error: Exception = AssertionError(_NO_CUDA) if self._name == "cuda" else RuntimeError(_NO_ACCELERATOR)

        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise error

        return refuse

    def __repr__(self) -> str:
        return f"<no {self._name} device>"


_WORK = frozenset((
    "Event", "Stream", "current_device", "current_stream", "device", "get_device_capability", "get_device_name",
    "get_device_properties", "mem_get_info", "memory_summary",
    "set_device", "stream", "synchronize",
))  # fmt: skip

cuda, mps, xpu, accelerator = (_Accelerator(name) for name in ("cuda", "mps", "xpu", "accelerator"))


# -- layouts and memory formats -------------------------------------------------------------------------------------
class layout:
    """How a tensor lies in memory: strided."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"torch.{self._name}"

    def __reduce__(self) -> str:
        return self._name


class memory_format(layout):
    """An order of axes in memory.

    `clone`, `contiguous` and `to` give it to a copy, and `is_contiguous` tells it; what is computed from such a tensor
    lies in row-major order again, so that a format changes no number and no speed of later operations.
    """

    __slots__ = ()


strided = layout("strided")
contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
legacy_contiguous_format = contiguous_format


def pin_memory(input: Tensor, device: Any = None) -> Tensor:
    """There is no accelerator to pin memory for."""
    raise RuntimeError(_NO_ACCELERATOR)


def get_device(input: Tensor) -> int:
    """-1: the CPU."""
    return -1


METHODS: dict[str, Callable[..., Any]] = {"get_device": get_device, "pin_memory": pin_memory}
__all__ = [
    "accelerator", "channels_last", "channels_last_3d", "contiguous_format", "device",
    "get_default_device", "get_device", "layout", "legacy_contiguous_format", "memory_format", "mps", "preserve_format",
    "set_default_device", "strided", "xpu",
]  # fmt: skip
