"""The chain rule of scalar ops: cotangents and tangents from partial derivatives, with as few nodes as they allow.

Where a partial can be infinite or NaN at a finite point, the product with it is `safe_mul` or `safe_div`: a cotangent
of 0 stays 0.  So a branch that `where` did not select cannot leak NaN into a gradient, where PyTorch gives NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from adjit.ir.halfs import storage_dtype
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.term import Apply, Evaluation, Number, Symbol, Term, is_number, subterms
from adjit.ir.types import F32, HALVES

# Ops whose tangents come from no partials: linear ones and the product.
STRUCTURAL = frozenset(("add", "cast", "complex", "conj", "imag", "mul", "neg", "real", "sub", "where"))
_POLYNOMIAL = ("add", "sub", "mul", "neg")


def _partials(op: Primitive, of_complex: bool = False) -> Sequence[Term]:
    """The op's partial derivatives; the table is not read before a gradient is asked for."""
    from adjit.ir.partials import complex_partials, partial_terms

    return complex_partials(op) if of_complex else partial_terms(op)


def partial_factors(op: Primitive, out: Any, *operands: Any, **attributes: Any) -> tuple[Any, ...]:
    """d out/d operand for each operand: an array, an expression or a number; None where it is 0."""
    evaluation = Evaluation(_values(op, out, operands, attributes))
    terms = [evaluation.folded(term) for term in _partials(op)]
    return tuple(None if term == Number(0) else evaluation(term) for term in terms)


def scalar_vjp(op: Primitive, g: Any, out: Any, *operands: Any, **attributes: Any) -> tuple[Any, ...]:
    """The cotangent of each operand of a scalar op, given that of its result; None where nothing flows.

    Nothing flows into literals and operands that are not floating.  A rank-0 operand of a larger result gets the sum.
    """
    if op.constant_result:
        return (None,) * len(operands)
    if op.transpose_rule is not None:
        rule = partial(op.transpose_rule, **attributes)
        found = conjugated(rule, g, *operands) if op.multilinear else rule(g, *operands)
        return found if isinstance(found, tuple) else (found,)
    chain = _Chain(op, out, operands, attributes)
    return tuple(
        fitted(lambda i=i: conjugated(lambda h: chain.product(i, h), g), x)
        for i, x in enumerate(operands)
    )


def conjugated(rule: Callable[..., Any], g: Any, *operands: Any) -> Any:
    """conj(rule(conj(g), *operands)) for complex g: of a rule that multiplies by a holomorphic op's derivative.

    The adjoint multiplies by its conjugate.
    """
    if not isinstance(g, tuple) and not _is_complex(g):
        return rule(g, *operands)
    from adjit.ir.ops.complex import conjugate

    given = tuple(map(_optional(conjugate), g)) if isinstance(g, tuple) else conjugate(g)
    found = rule(given, *operands)
    return tuple(map(_optional(conjugate), found)) if isinstance(found, tuple) else _optional(conjugate)(found)


def _optional(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: None if x is None else function(x)


def _is_complex(x: Any) -> bool:
    return bool(x.dtype.is_complex if hasattr(x, "emitter") else np.iscomplexobj(x))


def scalar_jvp(op: Primitive, tangents: Sequence[Any], out: Any, *operands: Any, **attributes: Any) -> Any:
    """The tangent of a scalar op's result, given those of its operands; None stands for 0."""
    flowing = [i for i, t in enumerate(tangents) if t is not None]
    if op.constant_result or not flowing:
        return None
    if op.name in STRUCTURAL:
        parts = _structural(op.name, tangents, operands, attributes)
    else:
        chain = _Chain(op, out, operands, attributes)
        parts = [chain.product(i, tangents[i]) for i in flowing]
    total = None
    for part in parts:
        if part is not None:
            total = part if total is None else primitive_named("add")(total, part)
    if total is not None and _ndim(total) < _ndim(out):
        total = primitive_named("expand")(total, shape=tuple(out.shape))
    return total


def fitted(cotangent: Any, operand: Any) -> Any:
    """`cotangent` as the operand's: summed if the operand is of rank 0, None if the operand takes none.

    A function is called for the cotangent only if there is an operand to take it.
    """
    if is_literal(operand) or not _is_continuous(operand):
        return None
    if callable(cotangent):
        cotangent = cotangent()
    if cotangent is None or _ndim(operand) > 0:
        return cotangent
    if _ndim(cotangent) > 0:
        cotangent = primitive_named("reduce_sum")(cotangent, axes=tuple(range(_ndim(cotangent))))
    if _dtype(operand) is F32 and _dtype(cotangent) in HALVES:  # a number beside 16 bits
        return primitive_named("cast")(cotangent, dtype=F32)
    return cotangent


def is_literal(operand: Any) -> bool:
    """Whether an operand is a number, or an expression that is a constant."""
    if is_number(operand):
        return True
    value = getattr(operand, "value", None)
    return value is not None and getattr(value, "constant", None) is not None


class _Chain:
    """Products of cotangents or tangents with the partials of one application of an op."""

    def __init__(self, op: Primitive, out: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        values = _values(op, out, operands, attributes)
        self.evaluation = Evaluation(values)
        self.terms = [self.evaluation.folded(term) for term in _partials(op, _is_complex(out))]
        # x**2 has no singular partial, though x**y has: with numbers put in, a polynomial is known to be finite.
        self.folded = any(name in self.evaluation.numbers for name in op.operands)
        self.singular = op.singular
        self.quotients: dict[tuple[int, Term], Any] = {}

    def product(self, index: int, g: Any) -> Any:
        """g times the partial with respect to one operand; None for 0."""
        term = self.terms[index]
        return self._times(g, term, self.singular and not (self.folded and _is_polynomial(term)))

    def _times(self, g: Any, term: Term, safe: bool) -> Any:
        if g is None:  # a factor before was 0
            return None
        match term:
            case Number(0):
                return None
            case Number(1):
                return g
            case Number(-1):
                return primitive_named("neg")(g)
            case Number(value):
                return primitive_named("mul")(g, value)
            case Apply("neg", (inner,)):
                product = self._times(g, inner, safe)
                return None if product is None else primitive_named("neg")(product)
            case Apply("where", (condition, then, other)) if _is_choice(term):
                branches = [self._times(g, branch, safe) for branch in (then, other)]
                filled = [0 if branch is None else branch for branch in branches]
                return primitive_named("where")(self.evaluation(condition), *filled)
            case Apply("mul", (a, b)) if safe:
                # One by one, so that a 0 meets no product of infinite factors in the next derivative either.
                return self._times(self._times(g, a, safe), b, safe)
            case Apply("div", (numerator, denominator)):
                return self._times(self._quotient(g, denominator, safe), numerator, safe)
        value = self.evaluation(term)
        return primitive_named("safe_mul" if safe and not is_literal(value) else "mul")(g, value)

    def _quotient(self, g: Any, denominator: Term, safe: bool) -> Any:
        key = (id(g), denominator)
        if key not in self.quotients:
            value = self.evaluation(denominator)
            self.quotients[key] = primitive_named("safe_div" if safe and not is_literal(value) else "div")(g, value)
        return self.quotients[key]


def _is_choice(term: Term) -> bool:
    """Whether a `where` has a numeric branch, so that choosing between products costs no second multiplication."""
    match term:
        case Apply("where", (_, then, other)):
            return any(isinstance(branch, Number) or _is_choice(branch) for branch in (then, other))
    return False


def _is_polynomial(term: Term) -> bool:
    parts = list(subterms(term))
    return not any((isinstance(t, Apply) and t.name not in _POLYNOMIAL) or t == Symbol("out") for t in parts)


def _values(op: Primitive, out: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> dict[str, Any]:
    """What each name in a partial stands for."""
    values = dict(zip(op.operands, operands, strict=True))
    if op.name == "pow":
        # A constant exponent simplifies the partial a great deal; a constant divisor must stay one, for its rounding.
        for name, operand in values.items():
            constant = getattr(getattr(operand, "value", None), "constant", None)
            values[name] = constant if is_number(constant) else operand
    return {"out": out, **values, **attributes}


def _structural(name: str, tangents: Sequence[Any], operands: Sequence[Any], attributes: dict[str, Any]) -> list[Any]:
    """The tangents that the ops with direct rules pass on, to be added."""
    op = primitive_named(name)
    match name, tangents:
        case "sub", (x, y):
            return [x, None if y is None else primitive_named("neg")(y)] if x is None or y is None else [op(x, y)]
        case "mul", (x, y):
            parts = [None if x is None else op(x, operands[1]), None if y is None else op(operands[0], y)]
            return parts
        case "where", (_, x, y):
            return [op(operands[0], 0 if x is None else x, 0 if y is None else y)]
        case "complex", (x, y):
            return [op(0 if x is None else x, 0 if y is None else y)]
        case "conj" | "imag" | "real", (x,):
            return [op(x)]
        case "neg" | "cast", (x,):
            return [op(x, **attributes)] if _is_continuous(op(operands[0], **attributes)) else []
    return list(tangents)


def _ndim(x: Any) -> int:
    return int(x.ndim) if hasattr(x, "ndim") else 0


def _is_continuous(x: Any) -> bool:
    return bool(_dtype(x).is_continuous)


def _dtype(x: Any) -> Any:
    return x.dtype if hasattr(x, "emitter") else storage_dtype(np.asarray(x))
