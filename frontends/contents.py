"""What arrays, and lists and dicts of many plain values, hold: compared at each call of programs that may read them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from ctypes import string_at
from typing import Any

import numpy as np

from adjit.places import same

# What is longer is no setting of a program, and comparing it would take longer than most programs do.
MOST_BYTES = 1 << 20
MOST_ITEMS = 1 << 16
_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None)})


def is_compared(item: Any) -> bool:
    """Whether an array is short enough, or a list or dict, to be compared, and holds only plain values."""
    if isinstance(item, (list, dict, deque)):
        return len(item) < MOST_ITEMS and _PLAIN.issuperset(map(type, _parts(item)))
    return (item.nbytes if isinstance(item, np.ndarray) else memoryview(item).nbytes) < MOST_BYTES


class Contents:
    """What one of them held when this was made."""

    __slots__ = ("bits", "item", "parts")

    def __init__(self, item: Any) -> None:
        self.item = item
        self.parts: Sequence[Any] = () if _is_array(item) else _parts(item)
        self.bits = _bits(item) if _is_array(item) else _addresses(self.parts)

    def holds(self) -> bool:
        """Whether it holds the same: numbers with the same bits, or objects that are the same or equal and alike."""
        if _is_array(self.item):
            return bool(_bits(self.item) == self.bits)
        parts = _parts(self.item)
        if len(parts) != len(self.parts):
            return False
        if _addresses(parts) == self.bits:
            return True
        if not all(map(same, parts, self.parts)):
            return False
        self.parts, self.bits = parts, _addresses(parts)
        return True


def _is_array(item: Any) -> bool:
    return not isinstance(item, (list, dict, deque))


def _bits(array: Any) -> Any:
    """The shape, type and bytes of an array."""
    if isinstance(array, np.ndarray):  # `bytes` of one without axes is that many zeros
        return array.shape, array.dtype, array.tobytes()
    return bytes(array)


def _parts(item: Any) -> tuple[Any, ...]:
    """The items of a list, the keys and values of a dict."""
    return (*item, *item.values()) if isinstance(item, dict) else tuple(item)


def _addresses(parts: Any) -> bytes:
    """Where the objects of a tuple lie: the words in it, read at once."""
    return string_at(id(parts) + tuple.__basicsize__, tuple.__itemsize__ * len(parts))
