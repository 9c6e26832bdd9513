"""The parts of a program's text, told apart: keywords, values, operations, types, comments; in colours as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from adjit.ir.theme import themed
from adjit.ir.types import DTYPES

_PARTS = re.compile(
    rf"""(?P<comment>[ ]{{2}}\#[ ].*$)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<value>%[\w.]+)
    |(?P<callee>@[\w.]+)
    |(?P<type>\b(?:{"|".join(DTYPES)})(?:\[[^\]]*\])?(?![\w.]))
    |(?P<keyword>\b(?:func|return|region|where(?=[ ]\w+[ ][=!<>])|writes|approximate(?=[ ]\{{))\b)
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


def highlighted(text: str) -> str:
    """The text as HTML: each piece in a span of class `adjit-KIND`, everything escaped."""
    return "".join(
        f'<span class="adjit-{kind}">{escape(piece)}</span>' if kind else escape(piece) for kind, piece in pieces(text)
    )


STYLE = (
    themed(
        "adjit-program",
        "--p-keyword:#8250df;--p-value:#0550ae;--p-type:#116329;--p-number:#953800;--p-soft:#6a737d",
        "--p-keyword:#d2a8ff;--p-value:#79c0ff;--p-type:#7ee787;--p-number:#ffa657;--p-soft:#8b949e",
    )
    + """
.adjit-program pre{line-height:1.45;overflow:auto;max-height:36em;margin:.2em 0;background:none;color:inherit}
.adjit-program .adjit-keyword,.adjit-program .adjit-callee{color:var(--p-keyword)}
.adjit-program .adjit-value{color:var(--p-value)}
.adjit-program .adjit-op{font-weight:600}
.adjit-program .adjit-type{color:var(--p-type)}
.adjit-program .adjit-number,.adjit-program .adjit-string{color:var(--p-number)}
.adjit-program .adjit-comment{color:var(--p-soft)}
"""
).replace("\n", "")
