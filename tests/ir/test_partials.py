"""Partial derivatives: the golden table, and the forms in it against mpmath and differences."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from mpmath import mp

import adjit.ir.ops.named
import adjit.ir.ops.reduction
import adjit.ir.ops.source
import adjit.ir.ops.structure  # noqa: F401
from adjit.ir.derive import (
    STRUCTURAL,
    derived_terms,
    differentiable,
    meaning,
    sympy_partial,
    write_table,
)  # fmt: skip
from adjit.ir.ops.chain import partial_factors, scalar_vjp
from adjit.ir.ops.named import scalar
from adjit.ir.partials import partial_terms, partial_text, table
from adjit.ir.primitive import PRIMITIVES, Primitive, primitive_named
from adjit.ir.term import Apply, Number, Symbol, Term, evaluate, parse_term, substitute, subterms
from tests.ir.oracles import ORACLES, slope
from tests.special import SPECIAL

OPS = [op for op in differentiable() if op.name not in SPECIAL]
CONSTANT = [
    op for op in PRIMITIVES.values() if op.family == "scalar" and op.constant_result and op.name not in SPECIAL
]
EDGES = [s * m for m in (1e10, 1000.0, 90.0, 30.0, 5.5, 1.0, 0.75, 0.3, 1e-3, 1e-8) for s in (-1.0, 1.0)] + [0.0]
INF = float("inf")


def named(name: str, *values: Any) -> dict[str, Any]:
    return dict(zip(primitive_named(name).operands, values, strict=True))


# -- the table ---------------------------------------------------------------------------------------------------------
def test_the_table_is_what_is_derived() -> None:
    """After a wanted change: python -m adjit.ir.derive --update, and read the difference."""
    from adjit.ir.partials import read_table

    fresh = read_table(write_table())
    known = {row: formula for row, formula in table().items()}
    assert known == fresh


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_formulas_are_read_back_as_they_are_written(op: Primitive) -> None:
    for term in partial_terms(op):
        assert parse_term(str(term)) == term
        names = {part.name for part in subterms(term) if isinstance(part, Symbol)}
        assert names <= {*op.operands, *op.attributes, "out"}


@pytest.mark.parametrize(
    "text",
    ["x.real", "x[0]", "lambda: x", "'x'", "f(*x)", "f(**x)", "__import__('os')", "x if y else z", "[x]", "x < y < z",
     "x and y", "f(x)(y)", "x := 1", "x // y", "", "x +"],
)  # fmt: skip
def test_nothing_but_formulas_is_read(text: str) -> None:
    with pytest.raises(ValueError, match="formula"):
        parse_term(text)


def test_zeros_of_both_signs_are_two_literals() -> None:
    x = Symbol("x")
    term = parse_term("where(x < 0, x*0.0, x*(-0.0))")
    assert parse_term(str(term)) == term and Number(0.0) != Number(-0.0) and Number(0) == Number(0.0)
    found = evaluate(substitute(term, {"x": x * x * x}), {"x": np.array([-1.0, 2.0])})
    assert np.signbit(found).tolist() == [True, True]


def test_texts_of_partials() -> None:
    assert partial_text(primitive_named("sigmoid"), 0) == "out*(1 - out)"
    assert partial_text(primitive_named("tanh"), 0) == "1 - out**2"
    assert partial_text(primitive_named("sqrt"), 0) == "0.5/out"
    assert partial_text(primitive_named("silu"), 0) == "out*(1 - sigmoid(x)) + sigmoid(x)"
    assert partial_text(primitive_named("elu"), 0) == "where(0 < x, 1, alpha*exp(x))"
    assert partial_text(primitive_named("floor"), 0) == ""
    assert partial_text(primitive_named("add"), 0) == ""


def test_gradients_do_not_load_sympy() -> None:
    program = (
        "import sys, numpy as np, adjit.ir.ops.named as n\n"
        "assert n.silu.partials_rule(n.silu(np.ones(1)), np.ones(1)) and 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# -- the forms ---------------------------------------------------------------------------------------------------------
def grid(op: Primitive) -> list[tuple[float, ...]]:
    points = EDGES if len(op.operands) == 1 else [-30.0, -1.0, -0.3, 0.0, 0.3, 1.0, 2.5, 1000.0]
    found = list(itertools.product(points, repeat=len(op.operands)))
    # Bounds that cross or meet have conventions of their own, below.
    return [point for point in found if point[1] < point[2]] if op.name == "clamp" else found


# A difference of rounded terms: the error is of the size of an ulp of the greatest term.  As in PyTorch.
SLACK: dict[str, Callable[..., float]] = {
    "tanh": lambda x: 1.0,
    "sigmoid": lambda x: float(x > 0),
    "silu": lambda x: 1.0,
    "mish": lambda x: 1.0,
    "celu": lambda x, alpha: abs(x / alpha) if alpha else 0.0,
    "gelu": lambda x: 1.0,
    "gelu_tanh": lambda x: max(1.0, min(x * x, 100.0)),
    "sinc": lambda x: 4.0,
    "lerp": lambda a, b, w: max(abs(a), abs(b)),
}


@pytest.mark.parametrize("op", [op for op in OPS if op.name in ORACLES], ids=lambda op: op.name)
def test_partials_hold_at_the_edges(op: Primitive) -> None:
    """Against differences in many digits, at ±1e10 ... ±1e-8 and 0; relative error 1e-13."""
    compared = 0
    for point in grid(op):
        arrays = [np.float64(p) for p in point]
        out = op(*arrays)
        if not np.isfinite(out):
            continue
        factors = partial_factors(op, out, *arrays)
        for index, factor in enumerate(factors):
            exact = slope(op.name, index, point)
            if mp.isnan(exact) or abs(exact) > 1e100:
                continue
            expected, found = float(exact), float(0.0 if factor is None else factor)
            terms = SLACK[op.name](*point) if op.name in SLACK else 0.0
            assert abs(found - expected) <= 1e-13 * max(abs(expected), terms) + 1e-60, (point, index, found, expected)
            compared += 1
    assert compared >= 4


# -- ops without a derivative ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("op", CONSTANT, ids=lambda op: op.name)
def test_ops_said_to_be_constant_are(op: Primitive) -> None:
    """What has a body and gives floats derives to 0; the rest cannot carry a derivative."""
    if op.body is not None and op.name not in ("ne", "gt", "ge", "isnan", "isinf", "isfinite"):
        assert [sympy_partial(op, operand) for operand in op.operands] == [Number(0)] * len(op.operands)
    assert scalar_vjp(op, np.ones(3), None, *(np.ones(3) for _ in op.operands)) == (None,) * len(op.operands)
    assert [op.name for op in OPS if all(term == Number(0) for term in partial_terms(op))] == []


def branches(term: Term) -> Iterator[Term]:
    """The parts of a term that a cotangent can reach: all but conditions."""
    if isinstance(term, Apply):
        for operand in term.operands[term.name == "where" :]:
            yield from branches(operand)
    yield term


def blows_up(op: Primitive) -> bool:
    """Whether a partial, or a branch of one, is infinite or NaN at a finite point."""
    points = [-1e100, -1e5, -2.0, -1.0, 0.0, 1.0, 2.0, 1e5, 1e100]
    if op.name == "safe_mul":
        points = [INF]  # its factor is a partial, so infinity is in its domain
    for point in itertools.product(points, repeat=len(op.operands)):
        arrays = [np.float64(p) for p in point]
        values = named(op.name, *arrays) | {"out": op(*arrays)}
        parts = {part for term in partial_terms(op) for part in branches(term)}
        if not all(np.isfinite(evaluate(part, values)) for part in parts):
            return True
    return False


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_singular_ops_are_those_with_partials_that_blow_up(op: Primitive) -> None:
    assert op.singular == blows_up(op)


# -- ops of the user ---------------------------------------------------------------------------------------------------
@contextmanager
def defined(body: Callable[..., Any], **facts: Any) -> Iterator[Primitive]:
    """A scalar op that is gone from the registry afterwards."""
    op = scalar(**facts)(body) if facts else scalar(body)
    try:
        yield op
    finally:
        del PRIMITIVES[op.name]


def test_an_op_that_is_not_in_the_table_is_derived() -> None:
    def bump(x: Any, *, width: Any) -> Any:
        """exp(-(x/width)**2)."""
        return primitive_named("exp")(-((x / width) ** 2))

    with defined(bump) as op:
        assert (op.name, "x") not in table()
        assert op.attributes == ("width",)
        x = np.array([0.3, -2.0])
        (factor,) = partial_factors(op, op(x, width=2.0), x, width=2.0)
        np.testing.assert_allclose(factor, -x / 2 * np.exp(-((x / 2) ** 2)), 1e-14)
        assert partial_text(op, 0) == "-2*out*x/width**2"


def test_a_pinned_operand_must_exist() -> None:
    def twice(x: Any) -> Any:
        """2*x."""
        return 2 * x

    with pytest.raises(TypeError, match="twice has no operand y"):
        scalar(y="1")(twice)
    assert "twice" not in PRIMITIVES


def test_names_stay_opaque() -> None:
    """An op inside another appears in the derivative by name, with what is stated for it."""
    import sympy

    mish = primitive_named("mish")
    assert "softplus(x)" in str(derived_terms(mish)[0])
    symbols = {"x": sympy.Symbol("x")}
    assert {type(call).__name__ for call in meaning(mish, symbols).atoms(sympy.Function)} == {"tanh", "softplus"}
    assert STRUCTURAL.isdisjoint(op.name for op in OPS)
    assert float(evaluate(parse_term("where(x < 0, 1, 2)"), {"x": np.array(1.0)})) == 2.0
