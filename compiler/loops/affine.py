"""Facts about index expressions from the ranges of their variables: what a quotient is, what is in bounds.

A `Dim` divides without knowing ranges: `(3*i + j) // 3` stays a quotient until someone knows that 0 <= j < 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adjit.ir.shape import Atom, Dim, Monomial, Size, size_names, substitute


class Bounds:
    """What is known of names: `extents[v]` says 0 <= v < extents[v], `least[n]` says n >= least[n]; all are >= 0.

    A variable's extent is a size >= 1: expressions are only looked at where every loop around them runs.
    """

    __slots__ = ("extents", "least")

    def __init__(self, least: Mapping[str, int] | None = None) -> None:
        self.extents: dict[str, Size] = {}
        self.least: dict[str, int] = dict(least or {})

    def copy(self) -> Bounds:
        """The same facts, to be added to."""
        bounds = Bounds(self.least)
        bounds.extents.update(self.extents)
        return bounds

    def declare(self, name: str, extent: Size) -> None:
        """Add a variable.  The sizes that its extent is a product of are then at least 1."""
        self.extents[name] = extent
        if isinstance(extent, Dim) and len(extent.terms) == 1:
            for atom in extent.terms[0][0]:
                if isinstance(atom, str):
                    self.least[atom] = max(1, self.least.get(atom, 0))

    def is_inside(self, expression: Size, extent: Size) -> bool:
        """Whether 0 <= expression < extent is certain."""
        return self.is_natural(expression) and self.is_natural(extent - 1 - expression)

    def is_outside(self, expression: Size, extent: Size) -> bool:
        """Whether 0 <= expression < extent is impossible."""
        return self.is_natural(-1 - expression) or self.is_natural(expression - extent)

    def is_natural(self, expression: Size) -> bool:
        """Whether expression >= 0 is certain."""
        if isinstance(expression, int):
            return expression >= 0
        flat, atoms = _with_names_for_atoms(expression)
        extents = dict(self.extents)
        for name, atom in atoms.items():
            extent = self._atom_extent(atom)
            if extent is None:
                return False
            extents[name] = extent
        return self._least_is_natural(flat, extents, 4)

    def _atom_extent(self, atom: Atom) -> Size | None:
        """An extent for a quotient or remainder with operands in range; -1 where there is no upper bound."""
        assert not isinstance(atom, str)
        kind, left, right = atom
        divisor = _number(right)
        if not self.is_natural(_plain(right) - 1):
            return None
        if kind == "%":
            return _plain(right)
        if not self.is_natural(_plain(left)):
            return None
        greatest = self._greatest(left)
        return -1 if greatest is None or divisor is None else greatest // divisor + 1

    def _greatest(self, expression: Dim) -> int | None:
        """An upper bound that is a number, where the terms are monotone and the extents are numbers."""
        total = 0
        for monomial, coefficient in expression.terms:
            for atom in monomial:
                extent = self.extents.get(atom) if isinstance(atom, str) else self._atom_extent(atom)
                if not isinstance(extent, int) or extent < 0:
                    return None
                coefficient *= extent - 1 if coefficient > 0 else 0
            total += coefficient
        return total

    def _least_is_natural(self, expression: Size, extents: Mapping[str, Size], tries: int) -> bool:
        """Put each variable to the end of its range that makes the expression least, then look at the signs."""
        while isinstance(expression, Dim):
            name = next((n for n in expression.names if n in extents), None)
            if name is None:
                break
            with_name = [c for monomial, c in expression.terms if name in monomial]
            extent = extents[name]
            if all(c >= 0 for c in with_name):
                expression = substitute(expression, {name: 0})
            elif extent == -1:
                return False
            elif all(c <= 0 for c in with_name):
                expression = substitute(expression, {name: extent - 1})
            else:
                # Linear in the variable, so the least value is at one end or the other.
                if tries == 0 or expression.coefficient(name) is None:
                    return False
                low, high = substitute(expression, {name: 0}), substitute(expression, {name: extent - 1})
                return all(self._least_is_natural(e, extents, tries - 1) for e in (low, high))
        if isinstance(expression, Dim):
            shift = {n: Dim.named(n) + least for n in expression.names if (least := self.least.get(n, 0))}
            expression = substitute(expression, shift)
        if isinstance(expression, int):
            return expression >= 0
        return all(c >= 0 and all(isinstance(atom, str) for atom in monomial) for monomial, c in expression.terms)

    def simplify(self, expression: Size) -> Size:
        """The same expression with quotients and remainders resolved where ranges decide them."""
        if isinstance(expression, int) or is_polynomial(expression):
            return expression
        total: Size = 0
        for monomial, coefficient in expression.terms:
            term: Size = coefficient
            for atom in monomial:
                term = term * (Dim.named(atom) if isinstance(atom, str) else self._divided(atom))
            total = total + term
        return rejoin(total)

    def _divided(self, atom: tuple[str, Dim, Dim]) -> Size:
        kind, left, right = atom[0], self.simplify(_plain(atom[1])), self.simplify(_plain(atom[2]))
        if isinstance(left, Dim) and kind == "//" and len(left.terms) == 1:
            ((inner, coefficient),) = left.terms
            # (e // a) // b is e // (a*b) for positive a and b.
            if coefficient == 1 and len(inner) == 1 and not isinstance(inner[0], str) and inner[0][0] == "//":
                _, left, divisor = inner[0]
                right = _plain(divisor) * right
        whole, rest = self._split(left, right)
        if self.is_inside(rest, right):
            return whole if kind == "//" else rest
        if isinstance(right, int) and (parts := self._digits(rest, right)) is not None:
            # (g*a + b) // (g*n) is a // n, and the remainder g*(a % n) + b, where 0 <= b < g.
            step, high, low = parts
            if kind == "//":
                return whole + self.simplify(high // (right // step))
            return step * self.simplify(high % (right // step)) + low
        return whole + rest // right if kind == "//" else rest % right

    def _digits(self, size: Size, right: int) -> tuple[int, Size, Size] | None:
        """`g`, `a`, `b` with size = g*a + b, 0 <= b < g, and g a divisor of `right` other than 1 and itself."""
        if not isinstance(size, Dim):
            return None
        steps = {abs(c) for _, c in size.terms if 1 < abs(c) < right and right % abs(c) == 0}
        for step in sorted(steps, reverse=True):
            high = Dim({m: c // step for m, c in size.terms if c % step == 0}) + 0
            low = size - step * high
            if self.is_inside(low, step):
                return step, high, low
        return None

    def _split(self, left: Size, right: Size) -> tuple[Size, Size]:
        """`whole`, `rest` with left = whole*right + rest, taking out every variable whose coefficient is a multiple."""
        whole: Size = 0
        for name in sorted(size_names(left) & self.extents.keys()):
            coefficient = left.coefficient(name) if isinstance(left, Dim) else None
            quotient = None if coefficient is None else _exact(coefficient, right)
            if coefficient is not None and quotient is not None:
                whole = whole + quotient * Dim.named(name)
                left = left - coefficient * Dim.named(name)
        return whole, left


def is_polynomial(expression: Size) -> bool:
    """Whether there is no quotient or remainder in it."""
    return isinstance(expression, int) or all(isinstance(a, str) for m, _ in expression.terms for a in m)


def collapsed(outer: Dim, inner: Dim, extent: Size, expressions: Sequence[Size]) -> bool:
    """Whether `outer` and `inner`, of `extent`, occur in `expressions` only as outer*extent + inner."""
    first, second = str(outer), str(inner)
    whole = outer * extent + inner
    for expression in expressions:
        if isinstance(expression, int) or not {first, second} & expression.names:
            continue
        a, b = expression.coefficient(first), expression.coefficient(second)
        if a is not None and b is not None and a != b * extent:
            return False
        if substitute(substitute(expression, {first: 0}), {second: whole}) != expression:
            return False
    return True


def _exact(left: Size, right: Size) -> Size | None:
    quotient, rest = left // right, left % right
    return quotient if rest == 0 else None


def _number(size: Dim) -> int | None:
    plain = _plain(size)
    return plain if isinstance(plain, int) else None


def _plain(size: Dim) -> Size:
    """The operand of a quotient, which is held as a `Dim` even where it is a number."""
    return size + 0


def _with_names_for_atoms(expression: Dim) -> tuple[Size, dict[str, Atom]]:
    """The polynomial with each quotient and remainder replaced by a name, and what the names stand for."""
    names: dict[Atom, str] = {}
    terms: dict[Monomial, int] = {}
    total: Size = 0
    for monomial, coefficient in expression.terms:
        if all(isinstance(atom, str) for atom in monomial):
            terms[monomial] = coefficient
            continue
        term: Size = coefficient
        for atom in monomial:
            name = atom if isinstance(atom, str) else names.setdefault(atom, f"@{len(names)}")
            term = term * Dim.named(name)
        total = total + term
    if not names:
        return expression, {}
    return total + (Dim(terms) + 0 if terms else 0), {name: atom for atom, name in names.items()}


def rejoin(expression: Size) -> Size:
    """`c*d*(e // d) + c*(e % d)` is `c*e`, for as many digits as there are."""
    if isinstance(expression, int) or is_polynomial(expression):
        return expression
    flat, atoms = _with_names_for_atoms(expression)
    names = {atom: name for name, atom in atoms.items()}
    for name, atom in atoms.items():
        if isinstance(atom, str) or atom[0] != "%" or isinstance(flat, int):
            continue
        _, left, right = atom
        partner = names.get(_quotient_atom(left, right) or "")
        if partner is None:
            continue
        small, large = flat.coefficient(name), flat.coefficient(partner)
        if small is None or large is None or small == 0 or large != small * _plain(right):
            continue
        flat = flat - small * Dim.named(name) - large * Dim.named(partner) + small * _plain(left)
    back: dict[str, Size] = {name: Dim({(atom,): 1}) for name, atom in atoms.items()}
    joined = substitute(flat, back)
    return joined if joined == expression else rejoin(joined)


def _quotient_atom(left: Dim, right: Dim) -> Atom | None:
    """The quotient left // right as it is written: e // a // b is e // (a*b)."""
    if len(left.terms) == 1:
        ((inner, coefficient),) = left.terms
        if coefficient == 1 and len(inner) == 1 and not isinstance(inner[0], str) and inner[0][0] == "//":
            quotient = _plain(inner[0][1]) // (_plain(inner[0][2]) * _plain(right))
            return next(iter(quotient.atoms)) if isinstance(quotient, Dim) else None
    return ("//", left, right)
