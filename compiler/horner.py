"""Polynomials written as few operations: what terms share is factored out, as Horner's scheme does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction

from adjit.compiler.polynomial import Monomial, Polynomial, common, divided
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Value
from adjit.ir.primitive import primitive_named
from adjit.ir.types import DType, TensorType

# Powers by multiplication lose half an ulp for each unit of the exponent: higher ones are left to `pow`.
HIGHEST = 64
HALF = Fraction(1, 2)


class Writer:
    """Emits polynomials of one dtype; `base` gives the value that a base stands for.

    Every sum, product and power is emitted once.
    """

    def __init__(self, builder: Builder, dtype: DType, base: Callable[[int], Value]) -> None:
        self.builder = builder
        self.dtype = dtype
        self._base = base
        self._sums: dict[object, tuple[bool, Expr]] = {}
        self._powers: dict[tuple[int, Fraction], Expr] = {}
        self._ops: dict[object, Expr] = {}
        self._inverses: dict[int, Fraction] = {}

    def know(self, base: int, exponent: Fraction, value: Value) -> None:
        """Let `value` serve wherever base**exponent is needed."""
        self._powers.setdefault((base, exponent), self.builder.expr(value))

    def write(self, polynomial: Polynomial, type: TensorType) -> Value:
        """The polynomial as a value of `type`."""
        self._choose_inverses(polynomial)
        is_negative, found = self._signed(dict(polynomial))
        if is_negative:
            found = self._op("neg", found)
        return found.value if found.value.dims == type.dims else self._spread(found, type)

    def _spread(self, x: Expr, type: TensorType) -> Value:
        result = primitive_named("expand")(x, shape=type.dims)
        assert isinstance(result, Expr)
        return result.value

    # -- sums ---------------------------------------------------------------------------------------------------------
    def _signed(self, terms: dict[Monomial, Fraction]) -> tuple[bool, Expr]:
        """(whether to negate, expression): sums that differ in sign are one."""
        ordered = sorted(terms.items())
        if not ordered:
            return False, self._number(Fraction(0))
        is_negative = ordered[0][1] < 0
        if is_negative:
            ordered = [(monomial, -coefficient) for monomial, coefficient in ordered]
        key = tuple(ordered)
        if key not in self._sums:
            self._sums[key] = self._factored(dict(ordered))
        turned, found = self._sums[key]
        return turned != is_negative, found

    def _factored(self, terms: dict[Monomial, Fraction]) -> tuple[bool, Expr]:
        if len(terms) == 1:
            ((monomial, coefficient),) = terms.items()
            return False, self._times(None if coefficient == 1 else self._number(coefficient), monomial)
        shared = common(terms)
        if shared:
            is_negative, inner = self._signed({divided(m, shared): c for m, c in terms.items()})
            return is_negative, self._times(inner, shared)
        return self._added([self._group(group) for group in _groups(terms)])

    def _group(self, terms: dict[Monomial, Fraction]) -> tuple[bool, Expr]:
        sizes = {abs(coefficient) for coefficient in terms.values()}
        if len(terms) == 1 or len(sizes) > 1 or sizes == {1} or common(terms):
            return self._signed(terms)
        (size,) = sizes
        is_negative, inner = self._signed({m: c / size for m, c in terms.items()})
        return is_negative, self._op("mul", inner, self._number(size))

    def _added(self, parts: list[tuple[bool, Expr]]) -> tuple[bool, Expr]:
        parts.sort(key=lambda part: part[0])  # one that is not subtracted first
        is_negative, total = parts[0]
        for turned, part in parts[1:]:
            total = self._op("sub" if turned != is_negative else "add", total, part)
        return is_negative, total

    # -- products -----------------------------------------------------------------------------------------------------
    def _times(self, factor: Expr | None, monomial: Monomial) -> Expr:
        """factor*monomial, with one division."""
        above = [self._power(base, e) for base, e in monomial if e > 0 or base in self._inverses]
        below = [self._power(base, -e) for base, e in monomial if e < 0 and base not in self._inverses]
        numerator = self._product([*above, *([] if factor is None else [factor])])
        return self._op("div", numerator, self._product(below)) if below else numerator

    def _product(self, factors: Sequence[Expr]) -> Expr:
        if not factors:
            return self._number(Fraction(1))
        total, *rest = sorted(factors, key=lambda x: x.ndim)
        for factor in rest:
            total = self._op("mul", total, factor)
        return total

    def _choose_inverses(self, polynomial: Polynomial) -> None:
        """Invert a base once, where several of its negative powers are needed."""
        shared = dict(common(polynomial)) if polynomial else {}
        for monomial in polynomial:
            for base, exponent in monomial:
                if exponent < 0 and exponent != shared.get(base) and exponent.denominator <= 2:
                    unit = self._inverses.get(base, Fraction(1))
                    self._inverses[base] = unit if exponent.denominator == 1 else HALF

    def _power(self, base: int, exponent: Fraction) -> Expr:
        key = (base, exponent)
        if key not in self._powers:
            self._powers[key] = self._raised(base, exponent)
        return self._powers[key]

    def _raised(self, base: int, exponent: Fraction) -> Expr:
        if exponent == 1:
            return self.builder.expr(self._base(base))
        if exponent == HALF:
            return self._op("sqrt", self._power(base, Fraction(1)))
        unit = Fraction(1) if exponent > 0 else -self._inverses.get(base, Fraction(0))
        count = exponent / unit if unit else HALF
        if abs(exponent) > HIGHEST or count.denominator > 2 or (count.denominator == 2 and unit != 1):
            return self._op("pow", self._power(base, Fraction(1)), self._number(exponent))
        if count.denominator == 2:
            return self._op("mul", self._power(base, exponent - HALF), self._power(base, HALF))
        if count == 1:
            return self._op("div", self._number(Fraction(1)), self._power(base, -unit))
        return self._op("mul", *(self._power(base, unit * part) for part in self._halves(base, unit, int(count))))

    def _halves(self, base: int, unit: Fraction, count: int) -> tuple[int, int]:
        """Two counts with this sum, of powers that are there already if possible."""
        for part in range(count // 2, 0, -1):
            if (base, unit * part) in self._powers and (base, unit * (count - part)) in self._powers:
                return part, count - part
        return (1, count - 1) if count % 2 else (count // 2, count // 2)

    # -- nodes --------------------------------------------------------------------------------------------------------
    def _number(self, value: Fraction) -> Expr:
        return self.builder.expr(self.builder.constant(float(value), self.dtype))

    def _op(self, name: str, *operands: Expr) -> Expr:
        key = (name, *(x.value for x in operands))
        if key not in self._ops:
            result = primitive_named(name)(*operands)
            assert isinstance(result, Expr)
            self._ops[key] = result
        return self._ops[key]


def _groups(terms: dict[Monomial, Fraction]) -> list[dict[Monomial, Fraction]]:
    """Two groups, the first of terms that share the power most frequent here; or groups of like coefficients."""
    counts = Counter((base, exponent > 0) for monomial in terms for base, exponent in monomial)
    (base, sign), count = max(counts.items(), key=lambda item: (item[1], item[0]))
    if count > 1:
        sharing = {m for m in terms if any(b == base and (e > 0) == sign for b, e in m)}
        return [{m: c for m, c in terms.items() if (m in sharing) == flag} for flag in (True, False)]
    numbers = Counter(abs(c) for m, c in terms.items() if m and abs(c) != 1)
    found: dict[object, dict[Monomial, Fraction]] = {}
    for m, c in terms.items():
        found.setdefault(abs(c) if m and numbers[abs(c)] > 1 else m, {})[m] = c
    return list(found.values())
