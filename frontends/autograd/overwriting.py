"""Which line wrote to a tensor's memory: what the error for an overwritten value that backward needs tells."""

from __future__ import annotations

from collections import deque
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from adjit.ir.graph import Location
from adjit.memory import Memory
from adjit.state import user_location

# By memory, its last writes outside native code: the version that each made, and its line.
_WRITES: WeakKeyDictionary[Memory, deque[tuple[int, Location]]] = WeakKeyDictionary()
_KEPT = 4
# Their steps write natively; each knows the line of its last one.
OPTIMIZERS: WeakSet[Any] = WeakSet()


def note_write(memory: Memory) -> None:
    """Remember the running line as that of the memory's last write."""
    writes = _WRITES.get(memory)
    if writes is None:
        writes = _WRITES[memory] = deque(maxlen=_KEPT)
    writes.append((memory.version, user_location()))


def line_of_write(memory: Memory, version: int) -> Location | None:
    """The line of the first known write after `version`; None where native code alone wrote."""
    for made, location in _WRITES.get(memory, ()):
        if made > version:
            return location
    for optimizer in OPTIMIZERS:
        for group in optimizer.param_groups:
            if any(param._memory is memory for param in group["params"]):
                return optimizer._stepped_at  # type: ignore[no-any-return]
    return None
