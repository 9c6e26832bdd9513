"""The parts of a program's text: keywords, values, operations, types, numbers, comments."""

from __future__ import annotations

import re
from collections.abc import Iterator

from adjit.ir.types import DTYPES

_PARTS = re.compile(
    rf"""(?P<comment>[ ]{{2}}\#[ ].*$)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<value>%[\w.]+)
    |(?P<callee>@[\w.]+)
    |(?P<type>\b(?:{"|".join(DTYPES)})(?:\[[^\]]*\])?(?![\w.]))
    |(?P<keyword>\b(?:func|return|region|where(?=[ ]\w+[ ][=!<>])|writes)\b)
    |(?P<op>(?:(?<==[ ])|(?<=^)|(?<=[ ]{{2}}))[a-z_]\w*(?=[ ](?:[%{{\d-]|[a-z]|$)))
    |(?P<number>(?<![\w%.])-?\d+(?:\.\d*)?(?:e[-+]?\d+)?)""",
    re.VERBOSE | re.MULTILINE,
)


def pieces(text: str) -> Iterator[tuple[str, str]]:
    """The text cut into pieces, each with what it is: comment, string, value, callee, type, keyword, op, number or "".

    >>> [piece for kind, piece in pieces("%0 = mul %x, 2.0 : f32[n]") if kind]
    ['%0', 'mul', '%x', '2.0', 'f32[n]']
    """
    at = 0
    for match in _PARTS.finditer(text):
        if match.start() > at:
            yield "", text[at : match.start()]
        yield match.lastgroup or "", match.group()
        at = match.end()
    if at < len(text):
        yield "", text[at:]
