"""Errors as users see them: PyTorch's first line, then the line of the program, the operands, and a way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from adjit.state import user_location

if TYPE_CHECKING:
    from adjit.tensor import Tensor

E = TypeVar("E", bound=Exception)


def explained(kind: type[E], first: str, op: str, operands: dict[str, Tensor] | None = None, hint: str = "") -> E:
    """The exception `kind` whose text starts with PyTorch's line, to be raised by the caller."""
    location = user_location()
    lines = [first]
    if location.line:
        lines.append(f"  in {op}, {location.file}:{location.line}    {location.expression}")
    for name, tensor in (operands or {}).items():
        lines.append(f"    {name} : {tensor._tensor_type}")
    if hint:
        lines.append(f"  hint: {hint}")
    return kind("\n".join(lines))
