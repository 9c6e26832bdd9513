"""Arrays between pages that may not be touched: an access one element outside ends the process."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

_LIBC = ctypes.CDLL(None, use_errno=True)
_NONE = 0  # PROT_NONE
_LIBC.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


@contextmanager
def guarded(arrays: Sequence[np.ndarray[Any, Any]], at_end: bool) -> Iterator[list[np.ndarray[Any, Any]]]:
    """Copies of arrays that end (or begin) at the border of their memory."""
    held: list[tuple[mmap.mmap, int, int]] = []
    copies = []
    try:
        for array in arrays:
            page = mmap.PAGESIZE
            room = -(-max(1, array.nbytes) // page) * page
            memory = mmap.mmap(-1, room + 2 * page)
            start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            for border in (start, start + page + room):
                if _LIBC.mprotect(border, page, _NONE):
                    raise OSError(ctypes.get_errno(), "mprotect")
            offset = page + (room - array.nbytes if at_end else 0)
            copy: np.ndarray[Any, Any] = np.ndarray(array.shape, array.dtype, memory, offset)
            copy[...] = array
            copies.append(copy)
            held.append((memory, start, room))
        yield copies
    finally:
        for _, start, room in held:
            _LIBC.mprotect(start, room + 2 * mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE)
