"""What aliasing tensors share."""

from __future__ import annotations

from array import array
from itertools import count
from typing import Any

import numpy as np

from adjit.ir.types import DType
from adjit.runtime.fork_locks import ForkLock
from adjit.state import STATE

_serial = count()
_period = [next(_serial)]
_BEGINNING = ForkLock()
# The address of the number of the latest trace, which memories made by native code have.
PERIOD = array("Q", [id(_period[0])])


def begin_period() -> int:
    """A number greater than that of any memory; memories made from here on have at least this one."""
    with _BEGINNING:
        found = next(_serial)
        _period.append(found)
        PERIOD[0] = id(found)
        del _period[0]  # native code no longer looks at it
    return found


_UPDATED = (
    "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a normal "
    "tensor before doing inplace update.See https://github.com/pytorch/rfcs/pull/17 for more details."
)
_SAVED = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in "
    "computation tracked by autograd. To work around this, you can make a clone to get a normal tensor and use it in "
    "autograd, or use `torch.no_grad()` instead of `torch.inference_mode()`."
)


class _Untracked(int):
    """The version of memory that was made in inference mode: writes are not counted there, and forbidden elsewhere."""

    __slots__ = ()

    def __add__(self, other: int) -> _Untracked:
        ask_write()
        return self


UNTRACKED = _Untracked(0)
# The address of the version that memories made by native code have, which it sets to that of the running thread's mode.
FIRST_VERSION = array("Q", [id(0)])


def ask_write() -> None:
    """RuntimeError for a write to memory made in inference mode, but for one in that mode."""
    if not STATE.inference:
        raise RuntimeError(_UPDATED)


def ask_keep() -> None:
    """RuntimeError: memory made in inference mode is kept for no backward pass but those of torch.func."""
    if not STATE.keeps_any:
        raise RuntimeError(_SAVED)


class Memory:
    """One piece of memory: its whole array, and how many times it was written in place.

    Every tensor that aliases the memory (views, `detach`, `data`) holds this object, so a write through one is seen by
    the version that another saved.  In a trace there is no array; the tracer keeps the current symbolic value.  Memory
    made in inference mode has no version.
    """

    __slots__ = ("__weakref__", "array", "dtype", "serial", "version")

    def __init__(self, array: np.ndarray | None, dtype: DType) -> None:
        self.array = array
        self.dtype = dtype
        self.version: int = UNTRACKED if STATE.inference else 0
        self.serial = next(_serial)

    @property
    def is_inference(self) -> bool:
        """Whether it was made in inference mode."""
        return self.version is UNTRACKED

    def __reduce__(self) -> Any:
        from adjit.copying import reduce_memory

        return reduce_memory(self)
