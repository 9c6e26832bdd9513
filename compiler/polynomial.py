"""Sums of products of powers with exact coefficients: the algebra of `collect`.

A monomial is a tuple of (base, exponent), by base, with no exponent 0; bases are numbers that stand for values, and
exponents are rational.  A polynomial maps monomials to rational coefficients, none of them 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TypeAlias

Monomial: TypeAlias = tuple[tuple[int, Fraction], ...]
Polynomial: TypeAlias = Mapping[Monomial, Fraction]

ONE: Monomial = ()
# Longer ones are rounded to 53 bits again: products of many measured numbers are not worth keeping exactly.
_DIGITS = 1024


def number(value: Fraction | float) -> Polynomial:
    """The constant polynomial of a finite number."""
    return {ONE: Fraction(value)} if value else {}


def variable(base: int) -> Polynomial:
    """The base itself."""
    return {((base, Fraction(1)),): Fraction(1)}


def sum_of(parts: Iterable[Polynomial]) -> Polynomial:
    """The sum, like terms collected."""
    total: dict[Monomial, Fraction] = {}
    for part in parts:
        for monomial, coefficient in part.items():
            total[monomial] = total.get(monomial, Fraction(0)) + coefficient
    return {monomial: _short(coefficient) for monomial, coefficient in total.items() if coefficient}


def product(p: Polynomial, q: Polynomial) -> Polynomial:
    """p*q, multiplied out."""
    return sum_of({times(m, n): a * b} for m, a in p.items() for n, b in q.items())


def scaled(p: Polynomial, factor: Fraction | int) -> Polynomial:
    """factor*p."""
    return {monomial: _short(coefficient * factor) for monomial, coefficient in p.items()} if factor else {}


def raised(p: Polynomial, exponent: Fraction) -> Polynomial | None:
    """p**exponent of one term, None of more: sqrt(x**2) is not x, so a root is taken of a base alone."""
    if len(p) != 1 or (exponent.denominator != 1 and not is_variable(p)):
        return None
    ((monomial, coefficient),) = p.items()
    found = tuple((base, own * exponent) for base, own in monomial) if exponent else ONE
    return {found: _short(coefficient ** int(exponent)) if coefficient != 1 else coefficient}


def is_variable(p: Polynomial) -> bool:
    """Whether this is a base itself."""
    if len(p) != 1:
        return False
    ((monomial, coefficient),) = p.items()
    return coefficient == 1 and len(monomial) == 1 and monomial[0][1] == 1


def times(m: Monomial, n: Monomial) -> Monomial:
    """m*n."""
    if not m or not n:
        return m or n
    exponents = dict(m)
    for base, exponent in n:
        exponents[base] = exponents.get(base, Fraction(0)) + exponent
    return tuple(sorted((base, exponent) for base, exponent in exponents.items() if exponent))


def divided(m: Monomial, n: Monomial) -> Monomial:
    """m/n."""
    return times(m, tuple((base, -exponent) for base, exponent in n))


def common(monomials: Iterable[Monomial]) -> Monomial:
    """The powers that all monomials contain: of each base that has one sign in all, the one nearest to 0."""
    first, *others = monomials
    found: dict[int, Fraction] = dict(first)
    for monomial in others:
        exponents = dict(monomial)
        for base, exponent in list(found.items()):
            own = exponents.get(base, Fraction(0))
            if own * exponent <= 0:
                del found[base]
            elif abs(own) < abs(exponent):
                found[base] = own
    return tuple(sorted(found.items()))


def _short(coefficient: Fraction) -> Fraction:
    if coefficient.numerator.bit_length() + coefficient.denominator.bit_length() <= _DIGITS:
        return coefficient
    return Fraction(float(coefficient))
