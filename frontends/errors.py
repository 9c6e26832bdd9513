"""Errors as users see them: PyTorch's first line, then the line of the program, the operands, and a way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from adjit.state import user_location

if TYPE_CHECKING:
    from adjit.ir.graph import Location
    from adjit.tensor import Tensor

E = TypeVar("E", bound=Exception)


def line_of(location: Location, what: str = "") -> list[str]:
    """The user's line, `  in what, train.py:12    y = x @ w`, and below it a caret line where the operation is known.

    Nothing for a location outside any file.
    """
    if not location.line:
        return []
    head = f"  in {what + ', ' if what else ''}{location.file}:{location.line}    "
    lines = [(head + location.expression).rstrip()]
    start, end = location.columns
    if start < end and (start, end) != (0, len(location.expression)):
        lines.append(" " * (len(head) + start) + "^" * (end - start))
    return lines


def explained(
    kind: type[E], first: str, op: str = "", operands: dict[str, Tensor] | None = None, hint: str = ""
) -> E:
    """The exception `kind` whose text starts with PyTorch's line, to be raised by the caller."""
    lines = [first, *line_of(user_location(), op)]
    for name, tensor in (operands or {}).items():
        lines.append(f"    {name} : {tensor._tensor_type}")
    if hint:
        lines.append(f"  hint: {hint}")
    return kind("\n".join(lines))
