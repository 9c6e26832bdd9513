"""SymPy expressions as applications of the scalar ops."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

from adjit.ir.errors import AdjitError
from adjit.ir.primitive import primitive_named

# SymPy's functions that are an op of the same arguments.
OPS = {
    "Abs": "abs", "sign": "sign", "floor": "floor", "ceiling": "ceil", "frac": "frac", "exp": "exp", "log": "log",
    "sin": "sin", "cos": "cos", "tan": "tan", "asin": "asin", "acos": "acos", "atan": "atan", "atan2": "atan2",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "asinh": "asinh", "acosh": "acosh", "atanh": "atanh",
    "erf": "erf", "erfc": "erfc", "erfinv": "erfinv", "loggamma": "lgamma", "digamma": "digamma", "Mod": "mod",
    "log2": "log2", "log10": "log10", "log1p": "log1p", "exp2": "exp2", "expm1": "expm1", "hypot": "hypot",
    "Cbrt": "cbrt", "trunc": "trunc",
}  # fmt: skip
_RELATIONS = {"StrictLessThan": "lt", "LessThan": "le", "StrictGreaterThan": "gt", "GreaterThan": "ge",
              "Equality": "eq", "Unequality": "ne"}  # fmt: skip
Op = Callable[..., Any]
# SymPy's functions that are a few ops.
_CLOSED: dict[str, Callable[[Op, Any], Any]] = {
    "sec": lambda op, x: op("div", 1, op("cos", x)), "csc": lambda op, x: op("div", 1, op("sin", x)),
    "cot": lambda op, x: op("div", 1, op("tan", x)), "sech": lambda op, x: op("div", 1, op("cosh", x)),
    "csch": lambda op, x: op("div", 1, op("sinh", x)), "coth": lambda op, x: op("div", 1, op("tanh", x)),
    "acot": lambda op, x: op("atan", op("div", 1, x)), "asec": lambda op, x: op("acos", op("div", 1, x)),
    "acsc": lambda op, x: op("asin", op("div", 1, x)),
    "sinc": lambda op, x: op("sinc", op("div", x, math.pi)),  # SymPy's sinc is sin(x)/x
    "Heaviside": lambda op, x: op("where", op("lt", x, 0), 0, op("where", op("eq", x, 0), 0.5, 1)),
    "gamma": lambda op, x: op("mul", _gamma_sign(op, x), op("exp", op("lgamma", x))),
}  # fmt: skip


class SymbolicError(AdjitError, NotImplementedError):
    """An expression has something that no op computes."""


def _gamma_sign(op: Op, x: Any) -> Any:
    """1, and between negative integers the sign that alternates."""
    odd = op("eq", op("mod", op("floor", x), 2), 1)
    return op("where", op("and", op("lt", x, 0), odd), -1.0, 1.0)


class Translator:
    """Expressions as applications of ops: `values` gives what each symbol is, `op(name, *operands)` applies an op.

    Equal parts are computed once.
    """

    def __init__(self, values: Mapping[Any, Any], op: Op) -> None:
        self.known: dict[Any, Any] = dict(values)
        self.op = op

    def __call__(self, expression: Any) -> Any:
        """The value of an expression.  SymbolicError where no op computes a part of it."""
        pending = [expression]
        while pending:  # without recursion: expressions may be deep
            top = pending[-1]
            if top in self.known:
                pending.pop()
                continue
            parts = [part for part in _parts(top) if part not in self.known]
            if parts:
                pending.extend(parts)
                continue
            self.known[top] = self._made(top)
            pending.pop()
        return self.known[expression]

    def _made(self, expression: Any) -> Any:
        op, name = self.op, type(expression).__name__
        if getattr(expression, "is_number", False) and not expression.free_symbols:
            return _number(expression)
        if name in ("BooleanTrue", "BooleanFalse"):
            return bool(expression)
        values = [self.known[part] for part in _parts(expression)]
        if name == "Add":
            return reduce(lambda a, b: op("add", a, b), values)
        if name == "Mul":
            return self._product(expression)
        if name == "Pow":
            return self._power(values[0], expression.exp, values[1])
        if name in _RELATIONS:
            return op(_RELATIONS[name], *values)
        if name in ("And", "Or", "Xor", "Max", "Min"):
            joined = {"Max": "maximum", "Min": "minimum"}.get(name, name.lower())
            return reduce(lambda a, b: op(joined, a, b), values)
        if name in ("Not", "ITE"):
            return op("not" if name == "Not" else "where", *values)
        if name == "Piecewise":
            return self._piecewise(expression)
        if name in _CLOSED:
            return _CLOSED[name](op, values[0])
        own = OPS.get(name, name)
        try:
            known = primitive_named(own)
        except KeyError:
            known = None
        if known is not None and known.family == "scalar":
            return op(own, *values)
        raise SymbolicError(f"SymPy's {name} is not an op, in {expression}")

    def _piecewise(self, expression: Any) -> Any:
        result: Any = math.nan
        for value, condition in reversed(expression.args):
            chosen = self.known[condition]
            result = self.known[value] if chosen is True else self.op("where", chosen, self.known[value], result)
        return result

    def _product(self, expression: Any) -> Any:
        """A product, with negative powers as one quotient."""
        op = self.op
        above: list[Any] = []
        below: list[Any] = []
        negative = False
        for factor in expression.args:
            if factor == -1:
                negative = not negative
            elif factor.is_Rational and not factor.is_Integer:
                if factor.p != 1:
                    above.append(int(factor.p))
                below.append(int(factor.q))
            elif factor.is_Pow and factor.exp.is_Rational and factor.exp < 0:
                below.append(self._power(self.known[factor.base], -factor.exp, 0))
            else:
                above.append(self.known[factor])
        result = reduce(lambda a, b: op("mul", a, b), above) if above else 1
        if below:
            result = op("div", result, reduce(lambda a, b: op("mul", a, b), below))
        return op("neg", result) if negative else result

    def _power(self, base: Any, exponent: Any, value: Any) -> Any:
        op = self.op
        if exponent.is_Rational and exponent < 0:
            return op("div", 1, self._power(base, -exponent, value))
        if exponent.is_Integer:
            number = int(exponent)
            return base if number == 1 else op("square", base) if number == 2 else op("pow", base, number)
        if exponent.is_Rational and exponent.q == 2:
            whole = int((exponent.p - 1) // 2)
            root = op("sqrt", base)
            return root if not whole else op("mul", root, op("pow", base, whole) if whole > 1 else base)
        return op("pow", base, value)


def _parts(expression: Any) -> tuple[Any, ...]:
    """What an expression is made of."""
    if type(expression).__name__ == "Piecewise":
        return tuple(part for pair in expression.args for part in pair)
    if type(expression).__name__ == "Mul":  # what a negative power divides by stands for itself
        return tuple(x.base if x.is_Pow and x.exp.is_Rational and x.exp < 0 else x for x in expression.args)
    if getattr(expression, "is_number", False) and not expression.free_symbols:
        return ()
    if not expression.args and not expression.is_Boolean:
        raise SymbolicError(f"{expression} is not among the arguments")
    return tuple(expression.args)


def _number(expression: Any) -> int | float:
    """A constant, exact where it is an integer, else the nearest float64."""
    if expression.is_Integer:
        return int(expression)
    value = complex(expression.evalf(20))
    if value.imag:
        raise SymbolicError(f"complex numbers do not exist here: {expression}")
    return value.real
