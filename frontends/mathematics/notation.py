"""Pieces of formulas, each as text and as LaTeX, joined with the parentheses that are needed."""

# ruff: noqa: RUF001
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SUM, PRODUCT, ATOM = 0, 1, 2
_GREEK = {"sigmoid": ("σ", r"\sigma"), "δ": ("δ", r"\delta")}
_LATEX = frozenset(("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "max", "min"))
RELATIONS = {"lt": ("<", "<"), "le": ("≤", r"\le"), "gt": (">", ">"), "ge": ("≥", r"\ge"),
              "eq": ("=", "="), "ne": ("≠", r"\ne")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a formula; `level` says how tightly it holds together: SUM, PRODUCT or ATOM."""

    text: str
    latex: str
    level: int = ATOM

    def at(self, level: int) -> Piece:
        """The piece, in parentheses if it holds less tightly than `level`."""
        return self if self.level >= level else Piece(f"({self.text})", rf"\left({self.latex}\right)")


ONE, ZERO = Piece("1", "1"), Piece("0", "0")


def number(value: object) -> Piece:
    """A literal: an integer without its point."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return Piece(text.replace("-", "−"), text, SUM if text.startswith("-") else ATOM)


def named(name: str, indices: Sequence[Piece] = ()) -> Piece:
    """A name with its indices: `W_ij`; digits at its end count alike names, `W^{(1)}_{ij}`."""
    parts = re.fullmatch(r"(δ?)(.*?)_?(\d*)", name)
    assert parts is not None
    delta, stem, count = parts.groups()
    latex = r"\delta " * bool(delta) + (stem if len(stem) <= 1 else rf"\mathrm{{{stem}}}".replace("_", r"\_"))
    if count:
        latex += f"^{{({count})}}"
    if not indices:
        return Piece(name, latex.strip())
    texts = [index.text for index in indices]
    plain = all(len(text.rstrip("′")) == 1 for text in texts)
    subscript = "".join(texts) if plain else f"{{{','.join(texts)}}}"
    inside = ("" if plain else ",").join(index.latex for index in indices)
    return Piece(f"{name}_{subscript}", f"{latex.strip()}_{{{inside}}}")


def add(a: Piece, b: Piece) -> Piece:
    """a + b."""
    if ZERO in (a, b):
        return b if a == ZERO else a
    if b.text.startswith("−") and b.level <= PRODUCT:
        return Piece(f"{a.text} − {b.text[1:]}", f"{a.latex} {b.latex}", SUM)
    return Piece(f"{a.text} + {b.text}", f"{a.latex} + {b.latex}", SUM)


def subtract(a: Piece, b: Piece) -> Piece:
    """a − b."""
    b = b.at(PRODUCT)
    return negate(b) if a == ZERO else Piece(f"{a.text} − {b.text}", f"{a.latex} - {b.latex}", SUM)


def negate(a: Piece) -> Piece:
    """−a."""
    a = a.at(PRODUCT)
    return Piece(f"−{a.text}", f"-{a.latex}", SUM)


def multiply(a: Piece, b: Piece) -> Piece:
    """a b; a minus sign comes first."""
    if ONE in (a, b):
        return b if a == ONE else a
    for first, second in ((a, b), (b, a)):
        if first.text == "−1":
            return negate(second)
    a, b = a.at(PRODUCT), b.at(PRODUCT)
    if a.text.startswith("1 / "):
        return Piece(f"{b.text} {a.text[2:]}", f"{a.latex} {b.latex}", PRODUCT)
    if " / " in b.text and b.level == PRODUCT:
        b = Piece(f"({b.text})", b.latex)
    if " / " in a.text and a.level == PRODUCT:
        a = Piece(f"({a.text})", a.latex)
    if a.text.startswith(("Σ", "Π")):  # a sum reaches to the end of what follows it
        a = Piece(f"({a.text})", rf"\left({a.latex}\right)")
    if b.text[:1].isdigit() and not a.text[:1].isdigit():
        a, b = b, a
    return Piece(f"{a.text} {b.text}", rf"{a.latex} \, {b.latex}", PRODUCT)


def divide(a: Piece, b: Piece) -> Piece:
    """a / b."""
    if b == ONE:
        return a
    over = rf"\frac{{{a.latex}}}{{{b.latex}}}"
    if " " in b.text:
        b = Piece(f"({b.text})", b.latex)
    numerator = a.at(PRODUCT)
    if numerator.text.startswith(("Σ", "Π")):
        numerator = Piece(f"({numerator.text})", numerator.latex)
    return Piece(f"{numerator.text} / {b.text}", over, PRODUCT)


def power(a: Piece, exponent: Piece) -> Piece:
    """a^b."""
    digits = "⁰¹²³⁴⁵⁶⁷⁸⁹"
    whole = exponent.text.isdecimal()
    raised = "".join(digits[int(d)] for d in exponent.text) if whole else f"^{exponent.at(ATOM).text}"
    base = a if re.fullmatch(r"\w+", a.text) and "_" not in a.text else Piece(f"({a.text})", rf"\left({a.latex}\right)")
    return Piece(f"{base.text}{raised}", f"{base.latex}^{{{exponent.latex}}}")


def applied(name: str, arguments: Sequence[Piece]) -> Piece:
    """f(a, b)."""
    text, latex = _GREEK.get(name, (name, rf"\{name}" if name in _LATEX else rf"\operatorname{{{name}}}"))
    latex = latex.replace("_", r"\_")
    inside = ", ".join(argument.latex for argument in arguments)
    return Piece(f"{text}({', '.join(a.text for a in arguments)})", rf"{latex}\left({inside}\right)")


def over_indices(sign: str, latex: str, indices: Sequence[Piece], body: Piece) -> Piece:
    """A sum, product or extreme over indices: `Σ_i body`."""
    if not indices:
        return body
    body = body.at(PRODUCT)
    texts, inside = "".join(index.text for index in indices), "".join(index.latex for index in indices)
    return Piece(f"{sign}_{texts} {body.text}", rf"{latex}_{{{inside}}} {body.latex}", PRODUCT)


def relation(op: str, a: Piece, b: Piece) -> Piece:
    """[a < b]: 1 where it holds, else 0."""
    sign, latex = RELATIONS[op]
    return Piece(f"[{a.text} {sign} {b.text}]", rf"[{a.latex} {latex} {b.latex}]")
