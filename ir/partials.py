"""The partial derivatives of scalar ops, from the table of what SymPy derived once (`derive`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from adjit.ir.ops.chain import STRUCTURAL
from adjit.ir.primitive import Primitive
from adjit.ir.term import Number, Term, parse_term

TABLE = "partials.txt"
# `importlib.resources` would take longer to import than all of a warm first call may.
PLACE = Path(__file__).parent / "ops" / TABLE


@cache
def table() -> Mapping[tuple[str, str], str]:
    """The printed partials, by op and operand."""
    return read_table(PLACE.read_text(encoding="utf-8"))


def read_table(text: str) -> dict[tuple[str, str], str]:
    """The formulas in the text of a table, by op and operand."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            key, formula = line.split(":", 1)
            op, operand = key.split()
            found[op, operand] = formula.removeprefix("!").strip()
    return found


@cache
def partial_terms(op: Primitive) -> tuple[Term, ...]:
    """d out/d operand, for each operand, over the names of the operands and attributes and `out`."""
    known = table()
    if all((op.name, operand) in known for operand in op.operands):
        return tuple(parse_term(known[op.name, operand]) for operand in op.operands)
    from adjit.ir.derive import derived_terms  # by SymPy

    return derived_terms(op)


@cache
def complex_partials(op: Primitive) -> tuple[Term, ...]:
    """The partials of an op on complex numbers: those on real ones, but where these compare sizes."""
    from adjit.ir.ops.complex_parts import PARTIALS

    texts = PARTIALS.get(op.name)
    return partial_terms(op) if texts is None else tuple(map(parse_term, texts))


def partial_text(op: Primitive, operand: int) -> str:
    """The partial with respect to one operand as a formula, such as `out*(1 - out)`; empty where it is 0."""
    if op.constant_result or op.name in STRUCTURAL:
        return ""
    term = partial_terms(op)[operand]
    return "" if term == Number(0) else str(term)
