"""Partial derivatives of scalar ops, by SymPy, and the table of them that is read instead.

`partials.txt` holds every partial of every scalar op of adjit, so neither import nor a gradient waits for SymPy, and no
release of it can change a gradient unseen.  An op that is not in the table is derived at first need.

    python -m adjit.ir.derive            compare the table with what is derived
    python -m adjit.ir.derive --update   write the table

How an op is derived:

1. An op inside another stays a name, with its own derivative; its body is never expanded.
2. `out` is used where that brings no new denominator or logarithm.
3. `where(c, a, b)` differentiates to `where(c, a', b')`.
4. Derivatives at ties and kinks, and forms that keep their digits in a tail, are stated beside the op (`pinned`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from adjit.ir.errors import DifferentiationError
from adjit.ir.ops.chain import STRUCTURAL
from adjit.ir.partials import PLACE
from adjit.ir.primitive import LATE, PRIMITIVES, USERS, Primitive, primitive_named
from adjit.ir.term import Apply, Number, Symbol, Term, make, parse_term, record

HEADING = (
    "# Partial derivatives of the scalar ops: op, operand, and the derivative over the operands and `out`.\n"
    "# Written by `python -m adjit.ir.derive --update`.  A `!` says that the form stands beside the op's definition.\n"
)


# -- the table ---------------------------------------------------------------------------------------------------------
def write_table() -> str:
    """The text of the table, derived afresh."""
    rows = []
    for op in differentiable():
        for operand, term in zip(op.operands, derived_terms(op), strict=True):
            rows.append((op.name, operand, f"{'!' if operand in op.pinned else ' '} {term}"))
    width = max(len(name) for name, _, _ in rows)
    return HEADING + "".join(f"{name:<{width}} {operand}:{formula}\n" for name, operand, formula in sorted(rows))


def differentiable() -> list[Primitive]:
    """The scalar ops of this package that have partials, by name; users' own are derived at first need."""
    for module in LATE:
        import_module(module)
    named = [op for name, op in sorted(PRIMITIVES.items()) if op.family == "scalar" and name not in USERS]
    return [op for op in named if not op.constant_result and op.name not in STRUCTURAL]


@cache
def derived_terms(op: Primitive) -> tuple[Term, ...]:
    """The partials of an op, each stated beside it or derived; the table is not read."""
    return tuple(
        parse_term(op.pinned[operand]) if operand in op.pinned else sympy_partial(op, operand)
        for operand in op.operands
    )


# -- SymPy -------------------------------------------------------------------------------------------------------------
@cache
def sympy_partial(op: Primitive, operand: str) -> Term:
    """d out/d operand as SymPy finds it, by the rules above, whatever is pinned."""
    import sympy

    symbols = {name: sympy.Symbol(name) for name in (*op.operands, *op.attributes, "out")}
    value = meaning(op, symbols)
    derivative = sympy.diff(value, symbols[operand])
    candidates = [derivative, *_with_output(derivative, value, symbols["out"])]
    candidates += [factored for candidate in candidates for factored in _factored(candidate)]
    known = _singular_parts(derivative)
    known |= {1 / power for power in derivative.atoms(sympy.Pow) if _is_negative(power.exp)}
    allowed = [c for c in candidates if {part.subs(symbols["out"], value) for part in _singular_parts(c)} <= known]
    return from_sympy(min(allowed, key=_cost))


def meaning(op: Primitive, symbols: Mapping[str, Any]) -> Any:
    """An op as a SymPy expression: a primitive's own function, or a named op's body with names kept opaque."""
    import sympy

    if op.symbolic is not None:
        return op.symbolic(sympy, *(symbols[name] for name in op.operands))
    if op.body is None:
        raise DifferentiationError(f"{op.name} states neither a body nor a derivative")
    return to_sympy(record(op.body, op.operands, op.attributes), symbols)


def _cost(expression: Any) -> tuple[int, str]:
    """How much an expression computes: operations, and ten for each distinct function."""
    import sympy

    calls = {call for call in expression.atoms(sympy.Function) if type(call).__name__ not in ("lt", "le", "eq")}
    calls |= {power for power in expression.atoms(sympy.Pow) if not power.exp.is_integer}
    return int(sympy.count_ops(expression)) + 10 * len(calls), str(expression)


def _with_output(derivative: Any, value: Any, out: Any) -> Iterable[Any]:
    """The derivative with the op's value replaced by `out`: as it stands, and by solving for a function inside it."""
    import sympy

    yield derivative.subs(value, out)
    for call in sorted(value.atoms(sympy.Function) & derivative.atoms(sympy.Function), key=str):
        unknown = sympy.Dummy()
        numerator, _ = sympy.fraction(sympy.together(value.subs(call, unknown) - out))
        if numerator.has(call) or not numerator.is_polynomial(unknown) or sympy.degree(numerator, unknown) != 1:
            continue
        slope, constant = sympy.Poly(numerator, unknown).all_coeffs()
        yield from _factored(sympy.cancel(derivative.subs(call, unknown).subs(unknown, -constant / slope)))


def _factored(expression: Any) -> Iterable[Any]:
    """The expression as a product, if it is one; SymPy multiplies out what is not, and then terms cancel in a tail."""
    import sympy

    product = sympy.factor(expression)
    if not product.is_Add:
        yield product


def _singular_parts(expression: Any) -> set[Any]:
    """The denominators and the arguments of logarithms in an expression."""
    import sympy

    parts = {power.base for power in expression.atoms(sympy.Pow) if _is_negative(power.exp)}
    parts |= {call.args[0] for call in expression.atoms(sympy.Function) if type(call).__name__ in ("log", "log1p")}
    return {part for part in parts if not part.is_number}


@cache
def _opaque(op: Primitive) -> Any:
    """The SymPy function that an op is inside other ops' bodies: a name, with a derivative."""
    import sympy

    def fdiff(self: Any, argindex: int = 1) -> Any:
        values = dict(zip((*op.operands, *op.attributes), self.args, strict=True))
        return to_sympy(derived_terms(op)[argindex - 1], values | {"out": self})

    members: dict[str, Any] = {"nargs": len(op.operands) + len(op.attributes), "fdiff": fdiff}
    if op.name == "where":
        members["_eval_derivative"] = _where_derivative
    elif op.constant_result:
        members["_eval_derivative"] = lambda self, symbol: sympy.S.Zero
    return type(sympy.Function)(op.name, (sympy.Function,), members)


def _where_derivative(self: Any, symbol: Any) -> Any:
    condition, then, other = self.args
    then, other = then.diff(symbol), other.diff(symbol)
    return then if then == other else self.func(condition, then, other)


def to_sympy(term: Term, values: Mapping[str, Any]) -> Any:
    """A term as a SymPy expression: arithmetic as SymPy's own, every other op as a name."""
    import sympy

    match term:
        case Number(value):
            # A decimal literal is the rational number it spells, so products of literals round once.
            finite = isinstance(value, float) and value - value == 0
            return sympy.Rational(repr(value)) if finite else sympy.sympify(value)
        case Symbol(name):
            return values[name]
    assert isinstance(term, Apply)
    arguments = [to_sympy(operand, values) for operand in term.operands]
    match term.name, arguments:
        case "add", (a, b):
            return a + b
        case "sub", (a, b):
            return a - b
        case "mul", (a, b):
            return a * b
        case "div", (a, b):
            return a / b
        case "neg", (a,):
            return -a
    op = primitive_named(term.name)
    given = dict(term.attributes)
    return _opaque(op)(*arguments, *(to_sympy(given[name], values) for name in op.attributes))


def from_sympy(expression: Any) -> Term:
    """A SymPy expression as a term."""
    import sympy

    if expression in (sympy.true, sympy.false):
        return Number(bool(expression))
    if _is_constant(expression):
        return _number(expression)
    if expression.is_Symbol:
        return Symbol(expression.name)
    if expression.is_Add:
        return _sum(expression.as_ordered_terms())
    if expression.is_Mul or (expression.is_Pow and _is_negative(expression.exp)):
        return _product(expression)
    if expression.is_Pow:
        return _power(expression.base, expression.exp)
    if not expression.is_Function:
        raise DifferentiationError(f"SymPy's {expression} is not made of scalar ops")
    op = primitive_named(type(expression).__name__)
    arguments = [from_sympy(argument) for argument in expression.args]
    count = len(op.operands)
    return make(op.name, arguments[:count], tuple(zip(op.attributes, arguments[count:], strict=True)))


def _is_constant(expression: Any) -> bool:
    """Whether SymPy can say the number; it cannot for an opaque name, even at a number."""
    import sympy

    return bool(expression.is_number) and not expression.atoms(sympy.Function)


def _number(expression: Any) -> Number:
    if expression.is_Integer:
        return Number(int(expression))
    return Number(float(expression) if expression.is_Rational else float(expression.evalf(25)))


def _is_negative(expression: Any) -> bool:
    """Whether an expression is a negative number, or such a number times something."""
    return bool(expression.as_coeff_Mul()[0].is_negative)


def _sum(terms: Sequence[Any]) -> Term:
    """The sum, led by a term without a minus sign if there is one."""
    ordered = sorted(terms, key=_is_negative)
    total = from_sympy(ordered[0])
    for term in ordered[1:]:
        minus = _is_negative(term)
        total = make("sub" if minus else "add", (total, from_sympy(-term if minus else term)))
    return total


def _power(base: Any, exponent: Any) -> Term:
    if 2 * exponent == 1:
        return make("sqrt", (from_sympy(base),))
    return make("pow", (from_sympy(base), from_sympy(exponent)))


def _product(expression: Any) -> Term:
    """A product as numerator / denominator, with a minus sign moved into a difference where that saves one."""
    import sympy

    coefficient = sympy.S.One
    above, below = [], []
    for factor in sympy.Mul.make_args(expression):
        if _is_constant(factor):
            coefficient *= factor
        elif factor.is_Pow and _is_negative(factor.exp):
            below.append(_power(factor.base, -factor.exp))
        else:
            above.append(factor)
    for i, factor in enumerate(above):
        if _is_negative(coefficient) and factor.is_Add and 2 * sum(map(_is_negative, factor.args)) >= len(factor.args):
            coefficient, above[i] = -coefficient, -factor
    small = coefficient.is_Rational and coefficient.q > 2 and coefficient.q <= 12
    divisor = int(coefficient.q) if small else 1
    scale = _number(coefficient * divisor)
    # An opaque name at numbers has become a number by now.
    terms = sorted((from_sympy(factor) for factor in above), key=lambda term: not isinstance(term, Number))
    if scale == Number(-1) and terms:
        terms[0] = make("neg", (terms[0],))
    elif scale != Number(1) or not terms:
        terms.insert(0, scale)
    if divisor != 1:
        below.insert(0, Number(divisor))
    numerator, denominator = _multiplied(terms), _multiplied(below)
    return numerator if not below else make("div", (numerator, denominator))


def _multiplied(factors: Sequence[Term]) -> Term:
    product: Term = Number(1)
    for factor in factors:
        product = make("mul", (product, factor))
    return product


def main(arguments: Sequence[str]) -> int:
    """Compare the table with what is derived, or write it."""
    import adjit.ir.ops.named  # noqa: F401

    text = write_table()
    if "--update" in arguments:
        PLACE.write_text(text, encoding="utf-8")
        return 0
    same = PLACE.read_text(encoding="utf-8") == text
    print("the table is what is derived" if same else "the table differs from what is derived: see --update")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
