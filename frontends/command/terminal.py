"""Colours on a terminal: programs' text with its parts told apart, and nothing but plain text elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from adjit.ir.highlight import pieces

# SGR codes that read well on light and on dark backgrounds.
_CODES = {
    "keyword": "35", "value": "36", "op": "1", "type": "32", "number": "33", "callee": "34", "string": "33",
    "comment": "2", "error": "31;1", "good": "32", "bad": "31;1", "title": "1", "faint": "2",
}  # fmt: skip


def coloured(stream: TextIO) -> bool:
    """Whether text for a stream may hold colours: a terminal, unless NO_COLOR is set (FORCE_COLOR: always).

    Source: no-color.org, force-color.org.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, role: str, stream: TextIO | None = None) -> str:
    """The text in a role's colour, where the stream (standard output by default) shows colours."""
    return f"\x1b[{_CODES[role]}m{text}\x1b[0m" if text and coloured(stream or sys.stdout) else text


def paint_program(text: str) -> str:
    """A program's text with its values, operations, types and comments told apart."""
    if not coloured(sys.stdout):
        return text
    return "".join(f"\x1b[{_CODES[kind]}m{piece}\x1b[0m" if kind else piece for kind, piece in pieces(text))


def columns(rows: Sequence[tuple[str, ...]], indent: str = "  ") -> str:
    """Rows of text in columns; the last column is as long as it is."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return "\n".join(
        (indent + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])).rstrip()
        for row in rows
    )
