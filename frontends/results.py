"""Tuples of results with names, printed as PyTorch prints them."""

from __future__ import annotations

from collections import namedtuple
from typing import Any


class NamedResult:
    """`torch.return_types.max(values=..., indices=...)`."""

    __slots__ = ()
    _fields: tuple[str, ...]

    def __repr__(self) -> str:
        parts = ",\n".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"torch.return_types.{type(self).__name__}(\n{parts})"


def named_result(name: str, *fields: str) -> Any:
    """The class of the results of the function `name`."""
    make: Any = namedtuple
    return type(name, (NamedResult, make(name, fields)), {"__slots__": (), "__doc__": f"What `{name}` returns."})
