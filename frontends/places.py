"""Where Python keeps what a compiled function reads and changes: names, attributes, items, closures."""

from __future__ import annotations

from collections import deque
from types import CellType
from typing import Any, Final

SIMPLE = (bool, int, float, complex, str, bytes, type(None), tuple)


class _Absent:
    __slots__ = ()

    def __repr__(self) -> str:
        return "<nothing>"


ABSENT: Final = _Absent()


class Place:
    """A place that holds one object: a key of a dict, an index of a list, a cell, or an attribute that is in none."""

    __slots__ = ("container", "key")

    def __init__(self, container: Any, key: Any = None) -> None:
        self.container = container
        self.key = key

    @property
    def identity(self) -> tuple[int, Any]:
        """What two places have in common that are the same."""
        return id(self.container), self.key

    def read(self) -> Any:
        """What stands there now; ABSENT where nothing does."""
        container, key = self.container, self.key
        if isinstance(container, dict):
            return container.get(key, ABSENT)
        if isinstance(container, (list, deque)):
            return container[key] if key < len(container) else ABSENT
        if isinstance(container, CellType):
            try:
                return container.cell_contents
            except ValueError:
                return ABSENT
        if isinstance(container, type):
            return container.__dict__.get(key, ABSENT)
        return getattr(container, key, ABSENT)

    def write(self, value: Any) -> None:
        """Put an object there, or ABSENT to take away what is there."""
        container, key = self.container, self.key
        if isinstance(container, dict):
            if value is ABSENT:
                container.pop(key, None)
            else:
                container[key] = value
        elif isinstance(container, (list, deque)):
            container[key] = value
        elif isinstance(container, CellType):
            if value is ABSENT:
                del container.cell_contents
            else:
                container.cell_contents = value
        else:
            owner: Any = type if isinstance(container, type) else object
            if value is not ABSENT:
                owner.__setattr__(container, key, value)
            elif self.read() is not ABSENT:
                owner.__delattr__(container, key)

    def __str__(self) -> str:
        return str(self.key) if isinstance(self.key, str) else "a closure" if self.key is None else f"[{self.key!r}]"


def same(found: Any, before: Any) -> bool:
    """Whether a place holds what it held: the same object, or an equal plain value."""
    if found is before:
        return True
    if type(found) is not type(before) or not isinstance(before, SIMPLE):
        return False
    if isinstance(before, tuple):
        return len(found) == len(before) and all(map(same, found, before))
    if found == 0 and isinstance(before, (float, complex)):  # the signs of zeros differ
        return repr(found) == repr(before)
    return bool(found == before)
