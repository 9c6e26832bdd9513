"""What aliasing tensors share."""

from __future__ import annotations

from array import array
from itertools import count
from threading import Lock
from typing import Any

import numpy as np

from adjit.ir.types import DType

_serial = count()
_period = [next(_serial)]
_BEGINNING = Lock()
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


class Memory:
    """One piece of memory: its whole array, and how many times it was written in place.

    Every tensor that aliases the memory (views, `detach`, `data`) holds this object, so a write through one is seen by
    the version that another saved.  In a trace there is no array; the tracer keeps the current symbolic value.
    """

    __slots__ = ("__weakref__", "array", "dtype", "serial", "version")

    def __init__(self, array: np.ndarray | None, dtype: DType) -> None:
        self.array = array
        self.dtype = dtype
        self.version = 0
        self.serial = next(_serial)

    def __reduce__(self) -> Any:
        from adjit.copying import reduce_memory

        return reduce_memory(self)
