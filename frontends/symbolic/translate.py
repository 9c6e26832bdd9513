"""SymPy expressions as applications of ops, part by part, without recursion into their depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from adjit.ir.primitive import primitive_named
from adjit.symbolic.rewriting import SymbolicError, prepared

if TYPE_CHECKING:
    from adjit.symbolic.special import Special

# SymPy's functions that are an op of the same arguments.
OPS = {
    "Abs": "abs", "sign": "sign", "floor": "floor", "ceiling": "ceil", "exp": "exp", "log": "log",
    "sin": "sin", "cos": "cos", "tan": "tan", "asin": "asin", "acos": "acos", "atan": "atan", "atan2": "atan2",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "asinh": "asinh", "acosh": "acosh", "atanh": "atanh",
    "erf": "erf", "erfc": "erfc", "erfinv": "erfinv", "loggamma": "lgamma", "digamma": "digamma", "Mod": "mod",
    "log2": "log2", "log10": "log10", "log1p": "log1p", "exp2": "exp2", "expm1": "expm1", "hypot": "hypot",
    "Cbrt": "cbrt", "trunc": "trunc", "re": "real", "im": "imag", "conjugate": "conj",
}  # fmt: skip
# Bessel functions of the orders 0 and 1.
_BESSEL = {"besselj": ("bessel_j0", "bessel_j1"), "bessely": ("bessel_y0", "bessel_y1"), "besseli": ("i0", "i1"),
           "besselk": ("k0", "k1")}  # fmt: skip
_RELATIONS = {"StrictLessThan": "lt", "LessThan": "le", "StrictGreaterThan": "gt", "GreaterThan": "ge",
              "Equality": "eq", "Unequality": "ne"}  # fmt: skip
_JOINED = {"And": "and", "Or": "or", "Xor": "xor", "Max": "maximum", "Min": "minimum"}
# The functions above that are defined on complex numbers here.
_OF_COMPLEX = frozenset(
    ("Abs", "sign", "exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh",
     "atanh", "log2", "log10", "log1p", "exp2", "expm1", "re", "im", "conjugate")
)
Op = Callable[..., Any]
# SymPy's functions that are a few ops.
_CLOSED: dict[str, Callable[[Op, Any], Any]] = {
    "sec": lambda op, x: op("div", 1, op("cos", x)), "csc": lambda op, x: op("div", 1, op("sin", x)),
    "cot": lambda op, x: op("div", 1, op("tan", x)), "sech": lambda op, x: op("div", 1, op("cosh", x)),
    "csch": lambda op, x: op("div", 1, op("sinh", x)), "coth": lambda op, x: op("div", 1, op("tanh", x)),
    "acot": lambda op, x: op("atan", op("div", 1, x)), "asec": lambda op, x: op("acos", op("div", 1, x)),
    "acsc": lambda op, x: op("asin", op("div", 1, x)), "acoth": lambda op, x: op("atanh", op("div", 1, x)),
    "asech": lambda op, x: op("acosh", op("div", 1, x)), "acsch": lambda op, x: op("asinh", op("div", 1, x)),
    "sinc": lambda op, x: op("sinc", op("div", x, math.pi)),  # SymPy's sinc is sin(x)/x
    "gamma": lambda op, x: op("mul", _gamma_sign(op, x), op("exp", op("lgamma", x))),
    "frac": lambda op, x: op("sub", x, op("floor", x)),  # the op of this name rounds towards 0
    "DiracDelta": lambda op, x: op("where", op("eq", x, 0), math.inf, 0.0),
    "arg": lambda op, x: op("angle", x), "gammasign": lambda op, x: _gamma_sign(op, x),
}  # fmt: skip


def _gamma_sign(op: Op, x: Any) -> Any:
    """1, and between negative integers the sign that alternates."""
    odd = op("eq", op("mod", op("floor", x), 2), 1)
    return op("where", op("and", op("lt", x, 0), odd), -1.0, 1.0)


class Translator:
    """Expressions as applications of ops: `values` gives what each symbol is, `op(name, *operands)` applies an op.

    `special` computes what is no op of its parts.  Equal parts are computed once.
    """

    def __init__(
        self, values: Mapping[Any, Any], op: Op, special: Special | None = None, depth: int = 0, order: int = 0
    ) -> None:
        self.values = values
        self.known: dict[Any, Any] = dict(values)
        self.op = op
        self.special = special
        self.depth = depth  # axes that sums around have added to the values
        self.order = order  # of the derivative of a host's function that this is

    def __call__(self, expression: Any) -> Any:
        """The value of an expression.  SymbolicError where no op computes a part of it."""
        expression = prepared(expression)
        pending = [expression]
        while pending:  # without recursion: expressions may be deep
            top = pending[-1]
            if top in self.known:
                pending.pop()
                continue
            parts = [part for part in self._parts(top) if part not in self.known]
            if parts:
                pending.extend(parts)
                continue
            self.known[top] = self._made(top)
            pending.pop()
        return self.known[expression]

    def within(self, values: Mapping[Any, Any]) -> Translator:
        """A translator that knows more values: of a loop's body."""
        return Translator({**self.values, **values}, self.op, self.special, self.depth, self.order)

    def deeper(self, values: Mapping[Any, Any]) -> Translator:
        """A translator along one more axis, which `values` have already."""
        import sympy

        arrays = (sympy.MatrixSymbol, sympy.IndexedBase)
        moved = {
            name: x if isinstance(name, arrays) or not hasattr(x, "unsqueeze") else x.unsqueeze(-1)
            for name, x in self.values.items()
        }
        return Translator({**moved, **values}, self.op, self.special, self.depth + 1, self.order)

    def derivative(self, values: Mapping[Any, Any]) -> Translator:
        """A translator of the derivative of a function whose arguments are `values`."""
        return Translator(values, self.op, self.special, 0, self.order + 1)

    def _parts(self, expression: Any) -> tuple[Any, ...]:
        """What an expression is made of."""
        import sympy

        name = type(expression).__name__
        if name == "Piecewise":
            return tuple(part for pair in expression.args for part in pair)
        if name == "Mul":  # what a negative power divides by stands for itself
            return tuple(x.base if x.is_Pow and x.exp.is_Rational and x.exp < 0 else x for x in expression.args)
        if _is_constant(expression) or (self.special is not None and is_whole(expression)):
            return ()
        if name in ("polygamma", "zeta", *_BESSEL) and known_order(expression):
            return (expression.args[0 if name == "zeta" and len(expression.args) == 1 else 1],)
        if name == "Heaviside":
            return (expression.args[0], sympy.sympify(_at_zero(expression)))
        if not expression.args and not expression.is_Boolean:
            raise SymbolicError(f"{expression} is not among the arguments")
        return tuple(expression.args)

    def _made(self, expression: Any) -> Any:
        op, name = self.op, type(expression).__name__
        if name in ("BooleanTrue", "BooleanFalse"):
            return bool(expression)
        if _is_constant(expression):
            return _number(expression)
        if self.special is not None and is_whole(expression):
            return self.special(expression, self)
        if self.special is not None and name in self.special.functions:
            return self.special(expression, self)
        values = [self.known[part] for part in self._parts(expression)]
        if name == "Add":
            return reduce(lambda a, b: op("add", a, b), values)
        if name == "Mul":
            return self._product(expression)
        if name == "Pow":
            return self._power(values[0], expression.exp, values[1])
        if name in _RELATIONS:
            return op(_RELATIONS[name], *values)
        if name in _JOINED:
            return reduce(lambda a, b: op(_JOINED[name], a, b), values)
        if name in ("Not", "ITE"):
            return op("not" if name == "Not" else "where", *values)
        if name == "Piecewise":
            return self._piecewise(expression)
        if name == "Heaviside":
            return op("heaviside", *values)
        if self.special is not None and self._is_beyond_reals(name, values):
            return self.special(expression, self)
        if name in _CLOSED:
            return _CLOSED[name](op, values[0])
        if name in _BESSEL and known_order(expression):
            return op(_BESSEL[name][int(expression.args[0])], values[0])
        if name in ("polygamma", "zeta") and known_order(expression):
            return self._series(expression, values[-1])
        own = OPS.get(name, name)
        if own in ("real", "imag", "conj") or _is_scalar_op(own, len(values)):
            return op(own, *values)
        if self.special is not None:
            return self.special(expression, self)
        raise SymbolicError(f"SymPy's {name} is not an op, in {expression}; from_sympy computes it")

    @staticmethod
    def _is_beyond_reals(name: str, values: Sequence[Any]) -> bool:
        """Whether a function is asked of complex numbers, and its op takes real ones alone."""
        if not any(isinstance(x, complex) or (hasattr(x, "is_complex") and x.is_complex()) for x in values):
            return False
        if name in _CLOSED:
            return name in ("gamma", "frac")
        return name not in _OF_COMPLEX

    def _series(self, expression: Any, x: Any) -> Any:
        """zeta(s, q), and polygamma(n, x) = (-1)**(n + 1) * n! * zeta(n + 1, x), at a known order."""
        order = expression.args[0]
        if type(expression).__name__ == "zeta":
            return self.op("zeta", float(order), x)
        n = int(order)
        if n < 2:
            return self.op("trigamma" if n else "digamma", x)
        return self.op("mul", (-1.0) ** (n + 1) * math.factorial(n), self.op("zeta", float(n + 1), x))

    def _piecewise(self, expression: Any) -> Any:
        result: Any = math.nan
        for value, condition in reversed(expression.args):
            chosen = self.known[condition]
            if isinstance(chosen, bool):
                result = self.known[value] if chosen else result
            else:
                result = self.op("where", chosen, self.known[value], result)
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


def known_order(expression: Any) -> bool:
    """Whether an op computes a function of two arguments at the order that is written in the expression."""
    order = expression.args[0]
    if type(expression).__name__ == "zeta":
        return len(expression.args) == 2 and bool(order.is_number and order.is_real)
    if type(expression).__name__ == "polygamma":
        return bool(order.is_Integer and 0 <= order <= 100)
    return order in (0, 1)


def is_whole(expression: Any) -> bool:
    """Whether an expression binds symbols or is made of matrices, so that it is no function of its parts' values."""
    import sympy
    from sympy.matrices.expressions.matexpr import MatrixElement

    bound = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Indexed, sympy.Derivative, sympy.hyper, sympy.meijerg)
    matrices = (sympy.MatrixExpr, sympy.MatrixBase, sympy.Trace, sympy.Determinant, MatrixElement)
    return isinstance(expression, (*bound, *matrices))


def _at_zero(expression: Any) -> Any:
    """Heaviside's value at 0: what is written, or SymPy's 1/2."""
    import sympy

    return expression.args[1] if len(expression.args) > 1 else sympy.Rational(1, 2)


def _is_scalar_op(name: str, count: int) -> bool:
    try:
        op = primitive_named(name)
    except KeyError:
        return False
    # The op zeta has no derivative with respect to its order.
    return op.family == "scalar" and len(op.operands) == count and not op.attributes and name != "zeta"


def _is_constant(expression: Any) -> bool:
    """Whether an expression is a number, which SymPy can say."""
    return bool(getattr(expression, "is_number", False)) and not expression.free_symbols


def _number(expression: Any) -> int | float | complex:
    """A constant, exact where it is an integer, else the nearest float64 or complex128.

    Errors: SymbolicError for what has no value, such as zoo.
    """
    if expression.is_Integer:
        return int(expression)
    if expression.is_Float:
        return float(expression)
    try:
        value = complex(expression.evalf(20))
    except TypeError:
        value = None
    if value is None or (value != value and str(expression) != "nan"):
        raise SymbolicError(f"{expression} has no numerical value")
    return value if value.imag and value == value else value.real
