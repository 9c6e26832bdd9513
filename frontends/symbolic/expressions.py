"""`to_sympy`: a traced function as SymPy expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import numpy as np

from adjit.ir.graph import Graph, Node, Value
from adjit.ir.primitive import Primitive
from adjit.ir.rewrite import inline_calls
from adjit.ir.term import Apply, Number, Symbol, Term, record
from adjit.ir.types import F64, TensorType
from adjit.symbolic.rewriting import SymbolicError

_PASSED = ("cast", "detach", "reshape", "permute", "expand", "slice", "concat", "gather")


def to_sympy(function: Callable[..., Any], *args: Any) -> Any:
    """The expression that a function computes, over a symbol for each parameter, or over `args`.

    `args` are symbols or arrays of symbols (matrices, nested lists), one for each parameter.  The result has the
    function's structure: an expression for a number, a Matrix for an array of rank 1 or 2.
    Errors: SymbolicError for loops, random numbers, and what else is no expression.

    >>> import adjit
    >>> adjit.to_sympy(lambda x: adjit.sin(x) * x + 1)
    x*sin(x) + 1
    """
    import sympy

    from adjit.inner_trace import trace_inner

    given = [sympy.sympify(arg) for arg in args] if args else [sympy.Symbol(n) for n in signature(function).parameters]
    arrays = [_array(value) for value in given]
    types = [TensorType(F64, array.shape) for array in arrays]
    traced = trace_inner("function", function, types)
    if traced.captured:
        operands = [np.array(tensor.tolist(), object) for tensor in traced.captured]
        arrays += [_exact(array) for array in operands]
    results = _evaluate(inline_calls(traced.graph), arrays)
    return traced.restore([_expression(result) for result in results[: traced.count]])


def _array(value: Any) -> Any:
    import sympy

    if isinstance(value, (sympy.MatrixBase, sympy.MatrixSymbol, sympy.NDimArray)):
        explicit = value.as_explicit() if isinstance(value, sympy.MatrixSymbol) else value
        return np.array(explicit.tolist(), object)
    if isinstance(value, (list, tuple, sympy.Tuple)):
        return np.array([list(row) if isinstance(row, (list, tuple, sympy.Tuple)) else row for row in value], object)
    return _scalar(value)


def _scalar(value: Any) -> Any:
    array = np.empty((), object)
    array[()] = value
    return array


def _exact(array: Any) -> Any:
    return np.vectorize(_literal, otypes=[object])(array)


def _literal(value: Any) -> Any:
    """A number of the program: the integer or short decimal that it spells, else the float."""
    import sympy

    if isinstance(value, bool):
        return sympy.true if value else sympy.false
    if float(value) == int(value) if np.isfinite(value) else False:
        return sympy.Integer(int(value))
    return sympy.Float(float(value))


def _expression(array: Any) -> Any:
    import sympy

    if not array.ndim:
        return array[()]
    return sympy.Matrix(array.tolist()) if array.ndim <= 2 else sympy.Array(array.tolist())


def _evaluate(graph: Graph, arrays: Sequence[Any]) -> list[Any]:
    """The graph's outputs as arrays of expressions."""
    known: dict[Value, Any] = dict(zip(graph.inputs, arrays, strict=True))
    for node in graph.nodes:
        results = _node(node, [known[value] for value in node.inputs])
        known.update(zip(node.outputs, results, strict=True))
    return [known[value] for value in graph.outputs]


def _node(node: Node, operands: list[Any]) -> list[Any]:
    op = node.op
    attributes: dict[str, Any] = dict(node.attributes)
    if op.name == "const":
        return [_scalar(_literal(attributes["value"]))]
    if op.name == "iota":
        return [_exact(op.reference(**{**attributes, "dtype": attributes["dtype"]}).astype(object))]
    if op.name in ("cast", "detach"):
        return [operands[0]]
    if op.name in _PASSED:
        indices = (
            [np.vectorize(int, otypes=[np.int64])(x) for x in operands[1:]] if op.name == "gather" else operands[1:]
        )
        return [np.asarray(op.reference(operands[0], *indices, **attributes), object)]
    if op.name == "reduce_sum":
        return [_boxed(np.sum(operands[0], axis=attributes["axes"]))]
    if op.name == "reduce_prod":
        return [_boxed(np.prod(operands[0], axis=attributes["axes"]))]
    if op.name == "dot" and not any(attributes["batch"]):
        product: Any = np.tensordot  # its stub knows no arrays of expressions
        return [_boxed(product(*operands, axes=attributes["contract"]))]
    if op.family == "scalar":
        function = np.vectorize(lambda *values: _meaning(op, values, attributes), otypes=[object])
        found = function(*operands)
        return [found if isinstance(found, np.ndarray) else _scalar(found)]
    raise SymbolicError(f"{op.name} is no expression ({node.location})")


def _boxed(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else _scalar(value)


def _meaning(op: Primitive, values: Sequence[Any], attributes: dict[str, Any]) -> Any:
    """A scalar op of expressions, its body written out."""
    import sympy

    special = {
        "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y, "div": lambda x, y: x / y,
        "neg": lambda x: -x, "pow": lambda x, y: x**y, "mod": sympy.Mod, "cast": lambda x: x,
        "safe_mul": lambda x, y: x * y, "safe_div": lambda x, y: x / y, "where": _where, "lt": sympy.Lt, "le": sympy.Le,
        "gt": sympy.Gt, "ge": sympy.Ge, "eq": sympy.Eq, "ne": sympy.Ne, "and": sympy.And, "or": sympy.Or,
        "not": sympy.Not, "xor": sympy.Xor, "square": lambda x: x**2, "reciprocal": lambda x: 1 / x,
        "rsqrt": lambda x: 1 / sympy.sqrt(x), "tan": sympy.tan, "sinh": sympy.sinh, "cosh": sympy.cosh,
        "asin": sympy.asin, "acos": sympy.acos, "atan": sympy.atan, "asinh": sympy.asinh, "acosh": sympy.acosh,
        "atanh": sympy.atanh, "sign": sympy.sign, "log2": lambda x: sympy.log(x, 2),
        "log10": lambda x: sympy.log(x, 10),
        "sigmoid": lambda x: 1 / (1 + sympy.exp(-x)), "magnitude": sympy.sqrt, "lgamma": sympy.loggamma,
        "digamma": sympy.digamma, "erfc": sympy.erfc, "maximum": sympy.Max, "minimum": sympy.Min, "abs": sympy.Abs,
        "softplus": lambda x: sympy.log(1 + sympy.exp(x)), "logsigmoid": lambda x: -sympy.log(1 + sympy.exp(-x)),
        "hypot": lambda x, y: sympy.sqrt(x**2 + y**2), "exp2": lambda x: 2**x, "relu": lambda x: sympy.Max(x, 0),
    }  # fmt: skip
    if op.name in special:
        return special[op.name](*values)
    if op.symbolic is not None:
        return op.symbolic(sympy, *values)
    if op.body is None:
        raise SymbolicError(f"{op.name} is no expression")
    known = dict(zip(op.operands, values, strict=True)) | {k: _literal(v) for k, v in attributes.items()}
    return _term(record(op.body, op.operands, op.attributes), known)


def _where(condition: Any, then: Any, other: Any) -> Any:
    import sympy

    return sympy.Piecewise((then, condition), (other, True))


def _term(term: Term, values: dict[str, Any]) -> Any:
    from adjit.ir.primitive import primitive_named

    match term:
        case Number(value):
            return _literal(value)
        case Symbol(name):
            return values[name]
        case Apply(name, operands, attributes):
            parts = [_term(operand, values) for operand in operands]
            return _meaning(primitive_named(name), parts, {k: _term(v, values) for k, v in attributes})
    raise SymbolicError(f"{term} is no expression")
