"""The generated documentation: every tensor-level op is in it, with its facts."""

from __future__ import annotations

import pytest

from adjit.ir.docs import FAMILIES, document, signature, vocabulary
from adjit.ir.ops import contraction, control, indexing, named, reduction, scalar, source, structure
from adjit.ir.primitive import PRIMITIVES, Primitive, primitive_named

MODULES = (contraction, control, indexing, named, reduction, scalar, source, structure)
OPS = [op for op in PRIMITIVES.values() if op.family in dict(FAMILIES)]


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_op_is_documented(op: Primitive) -> None:
    text = document(op)
    assert f"### `{op.name}(" in text
    assert op.summary.split("\n")[0] in text
    assert text in vocabulary()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dot", "dot(x, y; contract, batch)"),
        ("iota", "iota(shape, axis, dtype)"),
        ("cond", "cond(predicate, *operands)"),
        ("while", "while(*operands; invariants, [most])"),
    ],
)
def test_signatures(name: str, expected: str) -> None:
    assert signature(primitive_named(name)) == expected


def test_a_derivative_is_shown() -> None:
    assert "- Derivative: `out*(1 - out)` in x." in document(primitive_named("sigmoid"))
    assert "- Derivative: linear in each operand." in document(primitive_named("mul"))
    assert "- Derivative: linear." in document(primitive_named("reshape"))
