"""Sizes: integers, or integer polynomials in named sizes such as `2*n + 1` and `(n + 3) // 2`.

The same class serves as index arithmetic in loops, where the names are loop variables.  SymPy is not used here: an
operation takes it 5 to 750 µs, and it keeps no ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

# An atom is a size's name, or a floor division or remainder of two sizes that has no polynomial form.
Atom: TypeAlias = "str | tuple[str, Dim, Dim]"
Monomial: TypeAlias = "tuple[Atom, ...]"


def _atom_key(atom: Atom) -> str:
    return atom if isinstance(atom, str) else _atom_text(atom)


def _atom_text(atom: Atom) -> str:
    if isinstance(atom, str):
        return atom
    operator, left, right = atom
    return f"({left}) {operator} {_factor_text(right)}"


def _factor_text(size: Dim) -> str:
    text = str(size)
    return text if text.isidentifier() or text.isdecimal() else f"({text})"


def _term_key(term: tuple[Monomial, int]) -> tuple[int, list[str]]:
    monomial = term[0]
    return -len(monomial), [_atom_key(atom) for atom in monomial]


class Dim:
    """An integer polynomial in named sizes; operations return `int` when the result is a constant.

    `single` is the name that it is, or an empty text.
    """

    __slots__ = ("_hash", "_names", "_text", "single", "terms")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        items = list(terms.items())
        if len(items) > 1:
            items.sort(key=_term_key)
        self.terms: tuple[tuple[Monomial, int], ...] = tuple(items)
        self._hash = hash(self.terms)
        first = self.terms[0][0] if len(self.terms) == 1 and self.terms[0][1] == 1 else ()
        self.single: str = first[0] if len(first) == 1 and isinstance(first[0], str) else ""
        self._text: str | None = None
        self._names: frozenset[str] | None = None

    @staticmethod
    def named(name: str) -> Dim:
        """The size called `name`."""
        return Dim({(name,): 1})

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.terms == other.terms

    def __repr__(self) -> str:
        return f"Dim({self})"

    def __str__(self) -> str:
        if self._text is None:
            self._text = self._written()
        return self._text

    def _written(self) -> str:
        parts: list[str] = []
        for monomial, coefficient in self.terms:
            factors = [_atom_text(atom) if isinstance(atom, str) else f"({_atom_text(atom)})" for atom in monomial]
            if abs(coefficient) != 1 or not factors:
                factors.insert(0, str(abs(coefficient)))
            sign = "-" if coefficient < 0 else "+"
            parts.append(f"{sign} {'*'.join(factors)}")
        text = " ".join(parts)
        return text[2:] if text.startswith("+ ") else "-" + text[2:]

    # -- arithmetic -------------------------------------------------------------------------------------------------
    def __add__(self, other: Size) -> Size:
        return _combine(self, other, 1)

    __radd__ = __add__

    def __sub__(self, other: Size) -> Size:
        return _combine(self, other, -1)

    def __rsub__(self, other: int) -> Size:
        return _combine(self * -1, other, 1)

    def __neg__(self) -> Size:
        return self * -1

    def __mul__(self, other: Size) -> Size:
        if isinstance(other, int):
            return _make({monomial: c * other for monomial, c in self.terms})
        terms: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                monomial = tuple(sorted(left + right, key=_atom_key))
                terms[monomial] = terms.get(monomial, 0) + a * b
        return _make(terms)

    __rmul__ = __mul__

    def __floordiv__(self, other: Size) -> Size:
        return _divide(self, other)[0]

    def __rfloordiv__(self, other: int) -> Size:
        return _divide(other, self)[0]

    def __mod__(self, other: Size) -> Size:
        return _divide(self, other)[1]

    def __rmod__(self, other: int) -> Size:
        return _divide(other, self)[1]

    # -- reading ----------------------------------------------------------------------------------------------------
    @property
    def atoms(self) -> frozenset[Atom]:
        """The names, divisions and remainders that this is a polynomial of."""
        return frozenset(atom for monomial, _ in self.terms for atom in monomial)

    @property
    def names(self) -> frozenset[str]:
        """The named sizes this polynomial depends on."""
        if self._names is None:
            self._names = self._found_names()
        return self._names

    def _found_names(self) -> frozenset[str]:
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    found.add(atom)
                else:
                    found |= size_names(atom[1]) | size_names(atom[2])
        return frozenset(found)

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """The value with every name replaced by `sizes[name]`; KeyError for a name that is missing."""
        total = 0
        for monomial, coefficient in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    coefficient *= sizes[atom]
                else:
                    left, right = evaluate(atom[1], sizes), evaluate(atom[2], sizes)
                    coefficient *= left // right if atom[0] == "//" else left % right
            total += coefficient
        return total

    def substitute(self, replace: Mapping[str, Size]) -> Size:
        """The polynomial with names replaced by other sizes."""
        if self.single:
            return replace.get(self.single, self)
        if self.names and self.names.isdisjoint(replace):
            return self
        total: Size = 0
        for monomial, coefficient in self.terms:
            product: Size = coefficient
            for atom in monomial:
                if isinstance(atom, str):
                    factor = replace.get(atom)
                    product = product * (Dim.named(atom) if factor is None else factor)
                else:
                    left, right = substitute(atom[1], replace), substitute(atom[2], replace)
                    product = product * (left // right if atom[0] == "//" else left % right)
            total = total + product
        return total

    def coefficient(self, name: str) -> Size | None:
        """`c` where this is `c*name + rest` with `name` in neither; None where it is not of that form."""
        inside: dict[Monomial, int] = {}
        for monomial, factor in self.terms:
            deeper = any(not isinstance(a, str) and name in size_names(a[1]) | size_names(a[2]) for a in monomial)
            if deeper or monomial.count(name) > 1:
                return None
            if name in monomial:
                rest = list(monomial)
                rest.remove(name)
                inside[tuple(rest)] = factor
        return _make(inside)


Size: TypeAlias = "int | Dim"


def _terms(size: Size) -> Iterable[tuple[Monomial, int]]:
    return size.terms if isinstance(size, Dim) else (((), size),)


def _make(terms: Mapping[Monomial, int]) -> Size:
    kept = {monomial: c for monomial, c in terms.items() if c}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return Dim(kept)


def _combine(left: Size, right: Size, sign: int) -> Size:
    if right == 0 and size_names(left):
        return left
    terms = dict(_terms(left))
    for monomial, c in _terms(right):
        terms[monomial] = terms.get(monomial, 0) + sign * c
    return _make(terms)


def _divide(left: Size, right: Size) -> tuple[Size, Size]:
    """Floor division and remainder; exact parts are taken out, the rest becomes an atom."""
    if isinstance(left, int) and isinstance(right, int):
        return left // right, left % right
    if left == right:
        return 1, 0
    if isinstance(right, int):
        if right == 1:
            return left, 0
        whole = {m: c // right for m, c in _terms(left) if c % right == 0}
        rest = {m: c for m, c in _terms(left) if c % right}
        if rest.get((), 0) and not 0 <= rest[()] < right:
            whole[()] = whole.get((), 0) + rest[()] // right
            rest[()] %= right
        remainder = _make(rest)
        if isinstance(remainder, int):
            return _make(whole) + remainder // right, remainder % right
        quotient = Dim({(("//", remainder, _lift(right)),): 1})
        return _make(whole) + quotient, Dim({(("%", remainder, _lift(right)),): 1})
    exact = _exact(left, right)
    if exact is not None:
        return exact, 0
    pair = (_lift(left), _lift(right))
    return Dim({(("//", *pair),): 1}), Dim({(("%", *pair),): 1})


def _exact(left: Size, right: Dim) -> Size | None:
    """`left / right` where it is a polynomial, by division on leading terms; else None."""
    lead_monomial, lead = right.terms[0]
    quotient: Size = 0
    rest = left
    for _ in range(len(tuple(_terms(left))) + 4):
        if rest == 0:
            return quotient
        monomial, c = next(iter(_terms(rest)))
        remaining = list(monomial)
        for atom in lead_monomial:
            if atom not in remaining:
                return None
            remaining.remove(atom)
        if c % lead:
            return None
        term = _make({tuple(remaining): c // lead})
        quotient, rest = quotient + term, rest - term * right
    return None


def _lift(size: Size) -> Dim:
    return size if isinstance(size, Dim) else Dim({(): size})


def evaluate(size: Size, sizes: Mapping[str, int]) -> int:
    """The integer value of a size."""
    return size.evaluate(sizes) if isinstance(size, Dim) else size


def substitute(size: Size, replace: Mapping[str, Size]) -> Size:
    """A size with names replaced by other sizes."""
    return size.substitute(replace) if isinstance(size, Dim) else size


def never_negative(size: Size) -> bool:
    """Whether the signs in a size show that it is at least 0, whatever its names stand for."""
    if isinstance(size, int):
        return size >= 0
    return all(
        coefficient >= 0 and all(isinstance(atom, str) or _is_natural(atom) for atom in monomial)
        for monomial, coefficient in size.terms
    )


def _is_natural(division: tuple[str, Dim, Dim]) -> bool:
    operator, left, right = division
    return never_negative(right) and (operator == "%" or never_negative(left))


def size_names(size: Size) -> frozenset[str]:
    """The names a size depends on."""
    return size.names if isinstance(size, Dim) else frozenset()


def product(sizes: Iterable[Size]) -> Size:
    """The product of sizes; 1 for none.

    >>> str(product([Dim.named("n"), 3, 2]))
    '6*n'
    """
    found: Size = 1
    for size in sizes:
        found = found * size
    return found


def format_shape(dims: Iterable[Size]) -> str:
    """`[n, 3]`, as types and attributes print it."""
    return "[" + ", ".join(map(str, dims)) + "]"


def strides_of(dims: tuple[Size, ...]) -> tuple[Size, ...]:
    """Row-major strides in elements."""
    strides: list[Size] = []
    step: Size = 1
    for dim in reversed(dims):
        strides.append(step)
        step = step * dim
    return tuple(reversed(strides))


def plain_size(size: Size) -> Any:
    """A size as what JSON can hold, which `size_of_plain` reads: a number, or terms of a factor and its atoms.

    >>> plain_size(2 * Dim.named("n") + 1)
    [[2, 'n'], [1]]
    """
    if isinstance(size, int):
        return size
    return [[factor, *map(_plain_atom, monomial)] for monomial, factor in size.terms]


def _plain_atom(atom: Atom) -> Any:
    return atom if isinstance(atom, str) else [atom[0], plain_size(atom[1]), plain_size(atom[2])]


def size_of_plain(plain: Any) -> Size:
    """The size that `plain_size` wrote."""
    if isinstance(plain, int):
        return plain
    return Dim({tuple(map(_atom_of_plain, atoms)): factor for factor, *atoms in plain})


def _atom_of_plain(plain: Any) -> Atom:
    if isinstance(plain, str):
        return plain
    operator, left, right = plain
    return operator, _lift(size_of_plain(left)), _lift(size_of_plain(right))


def map_sizes(value: object, change: Callable[[Size], Size]) -> object:
    """`value` with `change` applied to every size in it, through nested tuples."""
    if isinstance(value, tuple):
        return tuple(map_sizes(item, change) for item in value)
    if isinstance(value, Dim):
        return change(value)
    return value
