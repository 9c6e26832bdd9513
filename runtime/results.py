"""Memory for large results: what callers have dropped is used again, since fresh pages cost more than computing them.

The operating system gives pages one by one, filled with zeros, and takes those of a large array back when it is freed.
A large result is a view of a block that stays here.  As long as the result, or anything made of it, is alive it refers
to the block; a block that nothing else refers to is free.
"""

from __future__ import annotations

import os
import sys
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adjit.ir.errors import asks_memory
from adjit.runtime.fork_locks import ForkLock

Array: TypeAlias = NDArray[Any]

# Smaller arrays come from the C library's heap, which keeps its pages.
LEAST = 1 << 20
# Blocks serve arrays of at least this part of their size.
_FULL = 0.75
# A block that was not needed while as many others were is given back.
_PATIENCE = 64
_LINE = 64


def is_large(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether an array stands in a block."""
    return prod(shape) * dtype.itemsize >= LEAST


@asks_memory
def _apart(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return np.empty(shape, dtype)


class _Block:
    """Memory with room for `size` bytes from the cache line at `start`; `used` is the request that it served last."""

    __slots__ = ("memory", "size", "start", "used")

    def __init__(self, size: int) -> None:
        self.memory = np.empty(size + _LINE, np.uint8)
        self.size, self.start, self.used = size, -self.memory.ctypes.data % _LINE, 0


class ResultPool:
    """Blocks of memory for results; `limit` is the most bytes that free blocks hold."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._blocks: list[_Block] = []
        self._requests = 0
        self._lock = ForkLock()

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array of any content."""
        count = prod(shape) * dtype.itemsize
        if count < LEAST:
            return np.empty(shape, dtype)
        if count > self.limit:
            return _apart(shape, dtype)
        with self._lock:
            block, start = self._take(count)
        return np.ndarray(shape, dtype, block, start)

    @asks_memory
    def _take(self, count: int) -> tuple[NDArray[np.uint8], int]:
        """The memory and start of a block for `count` bytes, the smallest free one that is not too large."""
        self._requests += 1
        best: _Block | None = None
        idle, gone = 0, False
        for entry in self._blocks:
            if sys.getrefcount(entry.memory) > 2:  # the entry's reference, and the argument of the call
                continue
            size = entry.size
            if self._requests - entry.used > _PATIENCE or idle + size > self.limit:
                entry.size, gone = 0, True
                continue
            idle += size
            if _FULL * size <= count <= size and (best is None or size < best.size):
                best = entry
        if gone:
            self._blocks = [entry for entry in self._blocks if entry.size]
        if best is None:
            best = _Block(count)
            self._blocks.append(best)
        best.used = self._requests
        return best.memory, best.start

    def clear(self) -> None:
        """Give back all free blocks."""
        with self._lock:
            self._blocks = [entry for entry in self._blocks if sys.getrefcount(entry.memory) > 2]


def _default_limit() -> int:
    """A sixteenth of the machine's memory, at most 1 GiB."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a system that does not tell
        memory = 1 << 32
    return min(1 << 30, memory // 16)


RESULTS = ResultPool(_default_limit())
