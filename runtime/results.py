"""Memory for large results: what callers have dropped is used again, since fresh pages cost more than computing them.

The operating system gives pages one by one, filled with zeros, and takes those of a large array back when it is freed.
A large result is a view of a block that stays here.  As long as the result, or anything made of it, is alive it refers
to the block; a block that nothing else refers to is free.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

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
    count = dtype.itemsize
    for extent in shape:
        count *= extent
    return count >= LEAST


class ResultPool:
    """Blocks of memory for results; `limit` is the most bytes that free blocks hold."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._blocks: list[tuple[NDArray[np.uint8], int]] = []  # with the count of requests at its last use
        self._requests = 0
        self._lock = threading.Lock()

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array of any content."""
        count = dtype.itemsize
        for extent in shape:
            count *= extent
        if count < LEAST or count > self.limit:
            return np.empty(shape, dtype)
        with self._lock:
            block = self._take(count)
        start = -block.ctypes.data % _LINE
        found: Array = block[start : start + count].view(dtype).reshape(shape)
        return found

    def _take(self, count: int) -> NDArray[np.uint8]:
        """A block with room for `count` bytes, the smallest free one that is not too large."""
        self._requests += 1
        best, idle = -1, 0
        for number, (block, used) in enumerate(self._blocks):
            # The list's entry, the variable here, and the argument of the call.
            if sys.getrefcount(block) > 3:
                continue
            if self._requests - used > _PATIENCE or idle + block.nbytes > self.limit:
                self._blocks[number] = (_NOTHING, 0)
                continue
            idle += block.nbytes
            fits = _FULL * (block.nbytes - _LINE) <= count <= block.nbytes - _LINE
            if fits and (best < 0 or block.nbytes < self._blocks[best][0].nbytes):
                best = number
        if best < 0:
            block = np.empty(count + _LINE, np.uint8)
            self._blocks.append((block, self._requests))
        else:
            block = self._blocks[best][0]
            self._blocks[best] = (block, self._requests)
        self._blocks = [entry for entry in self._blocks if entry[0] is not _NOTHING]
        return block

    def clear(self) -> None:
        """Give back all free blocks."""
        with self._lock:
            self._blocks = [entry for entry in self._blocks if sys.getrefcount(entry[0]) > 2]

    @property
    def bytes_held(self) -> int:
        """The bytes of all blocks, free or not."""
        return sum(block.nbytes for block, _ in self._blocks)


_NOTHING = np.empty(0, np.uint8)


def _default_limit() -> int:
    """A sixteenth of the machine's memory, at most 1 GiB."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a system that does not tell
        memory = 1 << 32
    return min(1 << 30, memory // 16)


RESULTS = ResultPool(_default_limit())
