"""The certifier of derivative rules: an op's vjp and jvp against SymPy's derivative of what the op means.

At kinks, where SymPy has no derivative to compare with, they are held to the table of conventions.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import sympy as sp
from mpmath import mp

from adjit.ir.ops.chain import partial_factors, scalar_jvp, scalar_vjp
from adjit.ir.primitive import Primitive, primitive_named
from tests.ir.conventions import CONVENTIONS
from tests.ir.meanings import ATTRIBUTES, DOMAINS, EXEMPT, KINKS, MEANINGS

POINTS, DIGITS = 200, 20
# What SymPy's printer for mpmath leaves out, and what is worth keeping: ops of one family ask for the same values.
FUNCTIONS: dict[str, Any] = {
    "DiracDelta": lambda x: mp.mpf(0), "airyaiprime": lambda x: mp.airyai(x, derivative=1),
    "besselk": cache(mp.besselk), "bessely": cache(mp.bessely),
}  # fmt: skip
# Relative to the derivative and to 1: float64 with the cancellation that the tables of errors state.
TOLERANCE = 1e-11


@cache
def points(name: str) -> tuple[np.ndarray, ...]:
    """200 points of the op's domain, the first ones close to its kinks on both sides."""
    op = primitive_named(name)
    random = np.random.default_rng(17)
    domains = DOMAINS.get(name, ((-4.0, 4.0),) * len(op.operands))
    drawn = [random.uniform(low, high, POINTS) for low, high in domains]
    near = [kink + side * size for kink in KINKS.get(name, ()) for side in (-1, 1) for size in (1e-3, 1e-6)]
    drawn[0][: len(near)] = near
    return tuple(drawn)


@cache
def derivatives(name: str, of_complex: bool = False) -> tuple[np.ndarray, ...]:
    """The partial derivatives at the points by SymPy: differentiated symbolically, evaluated in 30 digits."""
    op, attributes = primitive_named(name), ATTRIBUTES.get(name, {})
    symbols = [sp.Symbol(operand, real=None if of_complex else True) for operand in op.operands]
    given = {key: sp.nsimplify(value) for key, value in attributes.items()}
    expression = MEANINGS[name](*symbols, **given)
    # What is constant between jumps is a symbol while the rest is differentiated.
    jumps = {jump: sp.Dummy() for jump in expression.atoms(sp.floor, sp.sign)}
    frozen = expression.xreplace(jumps)
    back = {dummy: jump for jump, dummy in jumps.items()}
    operands = complex_points(name) if of_complex else points(name)
    found = []
    for symbol in symbols:
        if (name, symbol.name) in EXEMPT:
            found.append(np.full(len(operands[0]), np.nan))
            continue
        slope = sp.lambdify(symbols, sp.diff(frozen, symbol).xreplace(back), [FUNCTIONS, "mpmath"], cse=True)
        with mp.workdps(DIGITS):
            exact = [slope(*map(mp.mpmathify, row)) for row in zip(*(x.tolist() for x in operands), strict=True)]
        found.append(np.array([complex(x) if of_complex else float(mp.re(x)) for x in exact]))
    return tuple(found)


@cache
def complex_points(name: str) -> tuple[np.ndarray, ...]:
    """Points of the plane off the axes, where no branch of a function is cut."""
    op = primitive_named(name)
    random = np.random.default_rng(len(name))
    parts = random.uniform(0.1, 1.5, (len(op.operands), 2, 60)) * random.choice([-1, 1], (len(op.operands), 2, 60))
    return tuple(re + 1j * im for re, im in parts)


@cache
def results(name: str, of_complex: bool = False) -> tuple[list[np.ndarray], np.ndarray]:
    """The operands at the points, and what the op makes of them."""
    operands = list(complex_points(name) if of_complex else points(name))
    if name == "where":
        operands[0] = operands[0].real > 0
    with np.errstate(all="ignore"):
        return operands, primitive_named(name)(*operands, **ATTRIBUTES.get(name, {}))


def failures(name: str, of_complex: bool = False) -> list[str]:
    """The rules of an op that disagree with SymPy: its vjp or jvp for an operand; none if all is well."""
    op, attributes = primitive_named(name), ATTRIBUTES.get(name, {})
    operands, out = results(name, of_complex)
    random = np.random.default_rng(1)
    g = random.normal(size=out.shape) + (1j * random.normal(size=out.shape) if of_complex else 0)
    found = []
    with np.errstate(all="ignore"):
        cotangents = scalar_vjp(op, g, out, *operands, **attributes)
        for place, (operand, slope) in enumerate(zip(op.operands, derivatives(name, of_complex), strict=True)):
            if operands[place].dtype == bool or (name, operand) in EXEMPT:
                continue
            tangents = [g if index == place else None for index in range(len(operands))]
            pushed = scalar_jvp(op, tangents, out, *operands, **attributes)
            for rule, result, wanted in (("vjp", cotangents[place], g * np.conj(slope)), ("jvp", pushed, g * slope)):
                if not close(0 if result is None else result, wanted):
                    found.append(f"{rule} of {operand}")
    return found if of_complex else [*found, *broken_conventions(op)]


def broken_conventions(op: Primitive) -> list[str]:
    """The conventions about an op that its partials break."""
    found = []
    for _, point, expected in (row for row in CONVENTIONS if row[0] == op.name):
        operands, attributes = [np.float64(p) for p in point], ATTRIBUTES.get(op.name, {})
        factors = partial_factors(op, op(*operands, **attributes), *operands, **attributes)
        pairs = zip(op.operands, factors, expected, strict=True)
        found += [f"{operand} at {point}" for operand, factor, value in pairs if not agree(factor, value)]
    return found


def agree(factor: Any, value: float | None) -> bool:
    """Whether a partial at a kink is as agreed; None says that the operand takes no cotangent."""
    if factor is None or value is None:
        return factor is value
    return bool(np.isclose(float(factor), value, rtol=1e-9, atol=0))


def close(found: Any, wanted: np.ndarray) -> bool:
    return bool(np.all(np.abs(found - wanted) <= TOLERANCE * (1 + np.abs(wanted))))


def certify(names: Iterable[str]) -> dict[str, list[str]]:
    """The ops whose rules are wrong, each with the rules that are."""
    found = {name: failures(name) for name in names}
    return {name: wrong for name, wrong in found.items() if wrong}
