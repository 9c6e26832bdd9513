"""The rules of scalar ops are certified: all of them equal SymPy's derivatives, and a planted wrong one is found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest

from adjit.ir import partials
from adjit.ir.derive import differentiable
from adjit.ir.ops.chain import STRUCTURAL, scalar_jvp, scalar_vjp
from adjit.ir.ops.complex_parts import takes_complex
from adjit.ir.partials import partial_terms
from adjit.ir.primitive import PRIMITIVES, Primitive, primitive_named
from adjit.ir.term import Apply, Number, Term, evaluate, parse_term
from tests.ir.certifier import certify, failures
from tests.ir.meanings import EXEMPT, MEANINGS

differentiable()  # loads the ops that are loaded late
SCALARS = [op for op in PRIMITIVES.values() if op.family == "scalar"]
RULED = [op.name for op in SCALARS if not op.constant_result and op.name in MEANINGS]
# Ops that are linear in the parts of complex numbers: the tangent of a part is the part of the tangent.
OF_PARTS = {"real": np.real, "imag": np.imag, "conj": np.conj}
# A cast passes numbers on, and parts of igamma state no derivative.
OTHERS = {"cast", "complex", *OF_PARTS, *(name for name, _ in EXEMPT)}


@pytest.mark.parametrize("name", RULED)
def test_rules_are_the_derivatives_that_sympy_finds(name: str) -> None:
    assert failures(name) == []


ANALYTIC = [name for name in RULED if takes_complex(primitive_named(name)) and name != "where"]


@pytest.mark.parametrize("name", ANALYTIC)
def test_rules_of_complex_functions_are_the_derivatives_that_sympy_finds(name: str) -> None:
    assert failures(name, of_complex=True) == []


def test_nothing_is_left_out() -> None:
    """Every scalar op that passes on a derivative is certified; what is exempt has none to certify."""
    assert {op.name for op in SCALARS if not op.constant_result} == {*RULED, *OTHERS}
    assert {*MEANINGS} <= {*RULED}
    for name, operand in EXEMPT:
        op = primitive_named(name)
        given = dict.fromkeys((*op.operands, "out"), np.float64(0.7))
        with np.errstate(all="ignore"):
            assert np.isnan(evaluate(partial_terms(op)[op.operands.index(operand)], given)), (name, operand)


@pytest.mark.parametrize("name", sorted(OF_PARTS))
def test_parts_of_complex_numbers(name: str) -> None:
    op = primitive_named(name)
    random = np.random.default_rng(0)
    x, t, g = random.normal(size=(3, 9)) + 1j * random.normal(size=(3, 9))
    out = op(x)
    g = g if np.iscomplexobj(out) else g.real
    np.testing.assert_array_equal(scalar_jvp(op, [t], out, x), OF_PARTS[name](t))
    (cotangent,) = scalar_vjp(op, g, out, x)
    np.testing.assert_allclose(np.real(np.conj(g) * op(t)), np.real(np.conj(cotangent) * t), rtol=1e-14)


# -- planted rules -----------------------------------------------------------------------------------------------------
def variants(term: Term, condition: bool = False) -> Iterator[Term]:
    """The term with one thing changed in it: a number, a sum, a product or a comparison; each in turn."""
    if isinstance(term, Number) and not condition and not isinstance(term.value, bool):
        yield Number(term.value * 1.001 + 0.0001)
    if not isinstance(term, Apply):
        return
    other = {"add": "sub", "sub": "add", "mul": "div", "lt": "le", "le": "lt"}.get(term.name)
    if other is not None and condition == (term.name in ("lt", "le")):
        yield Apply(other, term.operands)
    for place, operand in enumerate(term.operands):
        for changed in variants(operand, condition or (term.name == "where" and place == 0)):
            yield Apply(term.name, (*term.operands[:place], changed, *term.operands[place + 1 :]), term.attributes)


@contextmanager
def planted(name: str, operand: str, term: Term) -> Iterator[None]:
    """A table of partials with another formula in one place."""
    op, original = primitive_named(name), partials.partial_terms
    place = op.operands.index(operand)

    def changed(asked: Primitive) -> tuple[Term, ...]:
        terms = original(asked)
        return (*terms[:place], term, *terms[place + 1 :]) if asked is op else terms

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partials, "partial_terms", changed)
        yield


# Changes after which a formula says the same: at the bound both branches agree, or nothing is near it.
SAME = {
    "celu": "1 and exp(0)", "elu": "0 and expm1(0)", "leaky_relu": "0 and x", "copysign": "1/y is never 0",
    "spherical_bessel_j0": "both branches hold at 0.5, and the last terms of the series are below the tolerance",
    "i1": "what 0 is replaced by is not used", "i1e": "as i1", "sinc": "as spherical_bessel_j0",
}  # fmt: skip
TABLED = [name for name in RULED if name not in STRUCTURAL and primitive_named(name).transpose_rule is None]


def rows(name: str) -> list[tuple[str, Term]]:
    op = primitive_named(name)
    return [row for row in zip(op.operands, partial_terms(op), strict=True) if (name, row[0]) not in EXEMPT]


@pytest.mark.parametrize("name", TABLED)
def test_a_wrong_formula_is_found_wherever_it_is_planted(name: str) -> None:
    """Every row of the table: the other sign, 0.1 % off, and each number, sum, product, comparison changed."""
    missed = []
    for operand, term in rows(name):
        for wrong in (-term, 1.001 * term, *variants(term)):
            if term == Number(0):
                wrong = Number(0.001)
            with planted(name, operand, wrong):
                missed += [] if failures(name) else [str(wrong)]
    assert bool(missed) == (name in SAME), missed


WRONG = {
    ("sigmoid", "x"): "out*(1 + out)", ("atan2", "x"): "y/hypot(x, y)", ("softplus", "x"): "sigmoid(-x)",
    ("relu", "x"): "where(x < 0, 0, 1)", ("erf", "x"): "1.12838*exp(-x**2)", ("lerp", "weight"): "start - end",
    ("maximum", "y"): "where(y < x, 0, 1)", ("bessel_j1", "x"): "bessel_j0(x) - out", ("pow", "x"): "y*x**y",
}  # fmt: skip


def test_the_certifier_names_the_ops_whose_rules_are_wrong() -> None:
    with ExitStack() as plants:
        for (name, operand), wrong in WRONG.items():
            plants.enter_context(planted(name, operand, parse_term(wrong)))
        found = certify(RULED)
    assert {(name, operand) for name in found for operand in wrong_operands(found[name])} == {*WRONG}
    assert certify(name for name, _ in WRONG) == {}


def wrong_operands(rules: list[str]) -> set[str]:
    """The operands in a report: `vjp of x`, `jvp of x`, `x at (0.0,)`."""
    return {rule.split(" at ")[0].removeprefix("vjp of ").removeprefix("jvp of ") for rule in rules}


@pytest.mark.parametrize(("name", "wrong"), [
    ("sub", lambda g: (g, g)), ("neg", lambda g: g), ("add", lambda g: (g, 2 * g)),
    ("mul", lambda g, x, y: (g * x, g * y)), ("where", lambda g, c, x, y: (None, g, g)),
])  # fmt: skip
def test_a_wrong_transpose_is_found(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the ops whose rules are no formulas."""
    op = primitive_named(name)
    count = wrong.__code__.co_argcount
    monkeypatch.setattr(op, "transpose_rule", lambda *given: wrong(*given[:count]))
    assert failures(name)
