"""The shape of a tensor, printed as `torch.Size([2, 3])`."""

from __future__ import annotations

from typing import Any

from adjit.capture.prints import is_users_text


class Size(tuple[int, ...]):
    """A tuple of sizes.  In a trace an entry may be a symbolic size that behaves like an int."""

    __slots__ = ()

    def numel(self) -> int:
        """The product of the sizes."""
        total = 1
        for extent in self:
            total = total * extent
        return total

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    def __str__(self) -> str:
        return repr(Size(map(int, self)) if is_users_text() else self)

    def __format__(self, spec: str) -> str:
        return format(repr(Size(map(int, self)) if is_users_text() else self), spec)

    def __getitem__(self, index: Any) -> Any:
        found = tuple.__getitem__(self, index)
        return Size(found) if isinstance(index, slice) else found

    def __add__(self, other: tuple[int, ...]) -> Size:  # type: ignore[override]
        return Size(tuple.__add__(self, tuple(other)))

    def __radd__(self, other: tuple[int, ...]) -> Size:
        return Size(tuple.__add__(tuple(other), self))

    def __mul__(self, count: Any) -> Size:
        return Size(tuple.__mul__(self, count))

    __rmul__ = __mul__

    def __reduce__(self) -> tuple[type[Size], tuple[tuple[int, ...]]]:
        return Size, (tuple(self),)
