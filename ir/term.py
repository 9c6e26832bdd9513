"""Terms: what a scalar op's body, or its partial derivative, says in scalar ops over named operands.

A term is recorded by running an ordinary function on symbols, printed as Python arithmetic, read back without running
anything, and evaluated on NumPy arrays or on IR expressions.

>>> x = Symbol("x")
>>> str((1 - x) / (1 + x * x))
'(1 - x)/(1 + x**2)'
>>> parse_term("where(x < 0, 0, -x)") == Apply("where", (lift(x < 0), Number(0), -x))
True
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias, TypeGuard

import numpy as np

from adjit.ir.frozen import frozen
from adjit.ir.halfs import cast_array, storage_dtype
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.types import F64

Literal: TypeAlias = "int | float | bool"


class _Recorder:
    """Stands where an IR builder would, and makes terms."""

    def apply(self, op: Primitive, operands: Sequence[object], attributes: Mapping[str, object]) -> Term:
        return make(op.name, [lift(x) for x in operands], tuple((n, lift(v)) for n, v in attributes.items()))


class Term:
    """A number, a symbol, or an op applied to terms; arithmetic on it makes terms."""

    __slots__ = ("_hash",)
    emitter: ClassVar[_Recorder] = _Recorder()
    _hash: int  # of an `Apply` that was asked for it

    def __add__(self, other: object) -> Term:
        return make("add", (self, lift(other)))

    def __radd__(self, other: object) -> Term:
        return make("add", (lift(other), self))

    def __sub__(self, other: object) -> Term:
        return make("sub", (self, lift(other)))

    def __rsub__(self, other: object) -> Term:
        return make("sub", (lift(other), self))

    def __mul__(self, other: object) -> Term:
        return make("mul", (self, lift(other)))

    def __rmul__(self, other: object) -> Term:
        return make("mul", (lift(other), self))

    def __truediv__(self, other: object) -> Term:
        return make("div", (self, lift(other)))

    def __rtruediv__(self, other: object) -> Term:
        return make("div", (lift(other), self))

    def __pow__(self, other: object) -> Term:
        return make("pow", (self, lift(other)))

    def __neg__(self) -> Term:
        return make("neg", (self,))

    def __lt__(self, other: object) -> Term:
        return make("lt", (self, lift(other)))

    def __le__(self, other: object) -> Term:
        return make("le", (self, lift(other)))

    def __gt__(self, other: object) -> Term:
        return make("lt", (lift(other), self))

    def __ge__(self, other: object) -> Term:
        return make("le", (lift(other), self))

    def __and__(self, other: object) -> Term:
        return make("and", (self, lift(other)))

    def __or__(self, other: object) -> Term:
        return make("or", (self, lift(other)))

    def __invert__(self) -> Term:
        return make("not", (self,))

    def __bool__(self) -> bool:
        raise TypeError("a scalar op's body cannot branch on its operands in Python: use where(condition, a, b)")

    def __str__(self) -> str:
        return _text(self)[0]


@frozen
class Number(Term):
    """A literal; 0.0 and -0.0 are two, since terms that differ in them have other values."""

    value: Literal

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and self.value == other.value and _is_minus(self) == _is_minus(other)

    def __hash__(self) -> int:
        return hash(self.value)


@frozen
class Symbol(Term):
    """An operand, an attribute, or `out`."""

    name: str


@frozen
class Apply(Term):
    """The op called `name` on `operands`."""

    name: str
    operands: tuple[Term, ...]
    attributes: tuple[tuple[str, Term], ...] = ()

    def __hash__(self) -> int:
        """Kept, since that of the operands is a part of it: what a term shares would be hashed over and over."""
        try:
            return self._hash
        except AttributeError:
            object.__setattr__(self, "_hash", hash((self.name, self.operands, self.attributes)))
            return self._hash


def _is_minus(number: Number) -> bool:
    """Whether it is -0.0."""
    return number.value == 0 and math.copysign(1.0, number.value) < 0.0


def is_number(value: object) -> TypeGuard[Literal]:
    """Whether a value is a Python number.  NumPy's float64 is a subclass of float, but has a dtype: it is an array."""
    return isinstance(value, (bool, int, float)) and not isinstance(value, np.generic)


def lift(value: object) -> Term:
    """A term as it is; a Python number as a `Number`."""
    if isinstance(value, Term):
        return value
    if is_number(value):
        return Number(value)
    raise TypeError(f"a scalar op's body met a {type(value).__name__}")


def record(function: Callable[..., object], operands: Sequence[str], attributes: Sequence[str] = ()) -> Term:
    """The term that `function` computes from symbols of these names; attributes are passed by name."""
    return lift(function(*map(Symbol, operands), **{name: Symbol(name) for name in attributes}))


def make(name: str, operands: Sequence[Term], attributes: tuple[tuple[str, Term], ...] = ()) -> Term:
    """`Apply`, or something simpler of the same value: an op on numbers, x*1, x**2, where(true, x, y) are folded."""
    match name, operands:
        case _, _ if operands and all(isinstance(x, Number) for x in (*operands, *(v for _, v in attributes))):
            return Number(_fold(name, [x.value for x in operands if isinstance(x, Number)], attributes))
        case "mul", (Number(1), x) | (x, Number(1)):
            return x
        case "div" | "pow", (x, Number(1)):
            return x
        case "pow", (_, Number(0)):
            return Number(1)
        case "pow", (x, Number(2 | 3 as exponent)):
            square = Apply("mul", (x, x))
            return square if exponent == 2 else Apply("mul", (square, x))
        case "where", (Number(condition), x, y):
            return x if condition else y
        case "where", (_, x, y) if x == y:
            return x
        case "and", (Number(condition), x) | (x, Number(condition)):
            return x if condition else Number(False)
        case "or", (Number(condition), x) | (x, Number(condition)):
            return Number(True) if condition else x
    return Apply(name, tuple(operands), attributes)


def _fold(name: str, values: Sequence[Literal], attributes: tuple[tuple[str, Term], ...]) -> Literal:
    """The op on numbers, as float64: `1/2` is a half."""
    op = primitive_named(name)
    arrays = [np.asarray(value) if isinstance(value, bool) else np.float64(value) for value in values]
    result = op.reference(*arrays, **{k: v.value for k, v in attributes if isinstance(v, Number)}).item()
    assert isinstance(result, (bool, float))
    whole = all(isinstance(value, int) for value in values) and math.isfinite(result) and result == int(result)
    return int(result) if whole and not isinstance(result, bool) else result


# -- reading -----------------------------------------------------------------------------------------------------------


def subterms(term: Term) -> Iterator[Term]:
    """The term and everything in it, operands first."""
    if isinstance(term, Apply):
        for operand in (*term.operands, *(value for _, value in term.attributes)):
            yield from subterms(operand)
    yield term


def functions_in(term: Term) -> set[str]:
    """The names of the ops that a term applies."""
    return {part.name for part in subterms(term) if isinstance(part, Apply)}


def substitute(term: Term, replace: Mapping[str, Term]) -> Term:
    """The term with symbols replaced, folded again."""
    known: dict[Term, Term] = {}

    def changed(part: Term) -> Term:
        match part:
            case Symbol(name):
                return replace.get(name, part)
            case Apply(name, operands, attributes):
                if part not in known:
                    others = tuple((key, changed(value)) for key, value in attributes)
                    known[part] = make(name, [changed(operand) for operand in operands], others)
                return known[part]
        return part

    return changed(term)


class Evaluation:
    """Evaluates terms over the same operands; what they share is computed once.

    `values` gives arrays, IR expressions, or Python numbers; `like` is the one whose dtype literals take.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.numbers = {k: Number(v) for k, v in values.items() if is_number(v)}
        self.values = {k: v for k, v in values.items() if k not in self.numbers}
        self.like = next(iter(self.values.values()), None)
        self._known: dict[Term, Any] = {}

    def folded(self, term: Term) -> Term:
        """The term with the operands that are Python numbers put in."""
        return substitute(term, self.numbers) if self.numbers else term

    def __call__(self, term: Term) -> Any:
        """The value of a folded term: an array, an expression, or a Python number."""
        match term:
            case Number(value):
                return value
            case Symbol(name):
                return self.values[name]
        if term not in self._known:
            assert isinstance(term, Apply)
            operands = [self(operand) for operand in term.operands]
            if term.name == "where" and all(isinstance(x, Number) for x in term.operands[1:]):
                operands[1] = self.literal(operands[1])
            self._known[term] = primitive_named(term.name)(*operands, **{k: self(v) for k, v in term.attributes})
        return self._known[term]

    def literal(self, value: Literal) -> Any:
        """`value` as a 0-d array or expression of the operands' dtype."""
        if isinstance(self.like, Term):
            return Number(value)
        emitter = getattr(self.like, "emitter", None)
        if emitter is not None:
            return emitter.expr(emitter.constant(value, self.like.dtype))  # type: ignore[union-attr]
        assert self.like is not None, "no operand gives a literal its dtype"
        return cast_array(np.asarray(float(value)), F64, storage_dtype(np.asarray(self.like)))


def evaluate(term: Term, values: Mapping[str, Any]) -> Any:
    """The value of a term, given that of its symbols."""
    evaluation = Evaluation(values)
    return evaluation(evaluation.folded(term))


# -- text --------------------------------------------------------------------------------------------------------------
_INFIX = {
    "lt": (1, " < "), "le": (1, " <= "), "eq": (1, " == "), "or": (2, " | "), "xor": (3, " ^ "), "and": (4, " & "),
    "add": (5, " + "), "sub": (5, " - "), "mul": (6, "*"), "div": (6, "/"),
}  # fmt: skip
_UNARY, _POWER, _ATOM = 7, 8, 9


def _text(term: Term) -> tuple[str, int]:
    """The text and how tightly it binds."""
    match term:
        case Number(bool() as value):
            return str(value), _ATOM
        case Number(value):
            whole = math.isfinite(value) and value == int(value) and abs(value) < 1e16 and not _is_minus(term)
            text = str(int(value)) if whole else repr(value)
            return text, _UNARY if text.startswith("-") else _ATOM
        case Symbol(name):
            return name, _ATOM
        case Apply("mul", (Apply("mul", (a, b)), c)) if a == b == c:
            return f"{_bound(a, _ATOM)}**3", _POWER
        case Apply("mul", (a, b)) if a == b:
            return f"{_bound(a, _ATOM)}**2", _POWER
        case Apply("pow", (a, b)):
            return f"{_bound(a, _ATOM)}**{_bound(b, _UNARY)}", _POWER
        case Apply("neg", (a,)):
            return f"-{_bound(a, _UNARY)}", _UNARY
        case Apply("not", (a,)):
            return f"~{_bound(a, _UNARY)}", _UNARY
        case Apply(name, (a, b)) if name in _INFIX:
            level, sign = _INFIX[name]
            # Left associative, so an equal level on the right needs its brackets; comparisons do not chain.
            return f"{_bound(a, level + (level == 1))}{sign}{_bound(b, level + 1)}", level
        case Apply(name, operands, attributes):
            arguments = [_text(x)[0] for x in operands] + [f"{key}={_text(value)[0]}" for key, value in attributes]
            return f"{name}({', '.join(arguments)})", _ATOM
    raise TypeError(f"not a term: {term!r}")


def _bound(term: Term, level: int) -> str:
    text, own = _text(term)
    return text if own >= level else f"({text})"


_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.BitAnd: "and", ast.BitOr: "or",
    ast.BitXor: "xor",
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], tuple[str, bool]] = {
    ast.Lt: ("lt", False), ast.LtE: ("le", False), ast.Gt: ("lt", True), ast.GtE: ("le", True), ast.Eq: ("eq", False),
}  # fmt: skip


def parse_term(text: str) -> Term:
    """Read a term; ValueError for anything that is not arithmetic, a comparison, a call of a name, or a number."""
    try:
        return _read(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"not a formula: {text!r}") from error


def _read(node: ast.expr) -> Term:
    match node:
        case ast.Constant(bool() | int() | float() as value):
            return Number(value)
        case ast.Name("inf" | "nan" as name):
            return Number(float(name))
        case ast.Name(name):
            return Symbol(name)
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
            return Number(-value)
        case ast.UnaryOp(ast.USub(), operand):
            return make("neg", (_read(operand),))
        case ast.UnaryOp(ast.Invert(), operand):
            return make("not", (_read(operand),))
        case ast.BinOp(left, ast.Pow(), right):
            return make("pow", (_read(left), _read(right)))
        case ast.BinOp(left, operator, right) if type(operator) in _BINARY:
            return make(_BINARY[type(operator)], (_read(left), _read(right)))
        case ast.Compare(left, [operator], [right]) if type(operator) in _COMPARE:
            name, swap = _COMPARE[type(operator)]
            pair = (_read(left), _read(right))
            return make(name, pair[::-1] if swap else pair)
        case ast.Call(ast.Name(name), arguments, keywords) if all(word.arg for word in keywords):
            words = tuple((str(word.arg), _read(word.value)) for word in keywords)
            return make(name, tuple(_read(argument) for argument in arguments), words)
    raise ValueError(f"not part of a formula: {ast.unparse(node)!r}")
