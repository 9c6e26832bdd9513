"""`to_sympy`: a traced function as SymPy expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from inspect import Parameter, signature
from typing import Any

import numpy as np

from adjit.ir.errors import TraceError
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.types import BOOL, F32, F64, DType, TensorType
from adjit.symbolic.functions import SymbolicFunction
from adjit.symbolic.meanings import choice, exact, meaning
from adjit.symbolic.rewriting import SymbolicError

_MOVES = frozenset(("reshape", "permute", "expand", "slice", "concat", "window", "as_strided"))
_LONGEST = 1000  # steps of a loop that are written out


def to_sympy(function: Callable[..., Any], *args: Any) -> Any:
    """The expression that a function computes, over a symbol for each parameter, or over `args`.

    `args` are symbols or arrays of symbols (matrices, nested lists), one for each parameter, and stand for real
    numbers.  The result has the function's structure: an expression for a number, a Matrix for an array of rank 1 or 2.
    Branches on tensors become Piecewise, loops of known length are written out, determinants, inverses and solutions
    are SymPy's.
    Errors: SymbolicError for random numbers, sorting, loops whose length depends on a symbol, and what else is no
    expression.

    >>> import adjit
    >>> adjit.to_sympy(lambda x: adjit.sin(x) * x + 1)
    x*sin(x) + 1
    """
    import sympy

    if isinstance(function, SymbolicFunction):
        if not args:
            return function.expression
        function = function.function
    names = [p.name for p in signature(function).parameters.values() if p.kind != Parameter.VAR_POSITIONAL]
    given = [sympy.sympify(arg) for arg in args] if args else list(map(sympy.Symbol, names))
    arrays = [_array(value) for value in given]
    try:
        traced = _traced(function, arrays, F64)
    except (TraceError, NotImplementedError):
        raise
    except RuntimeError:
        traced = _traced(function, arrays, F32)  # it has float32 of its own, as modules do
    if traced.captured:
        arrays += [_exactly(np.asarray(tensor.detach().numpy())) for tensor in traced.captured]
    results = _run(traced.graph, arrays)
    return traced.restore([_expression(result) for result in results[: traced.count]])


def _traced(function: Callable[..., Any], arrays: Sequence[Any], dtype: DType) -> Any:
    from adjit.capture import capturing
    from adjit.inner_trace import trace_inner

    types = [TensorType(dtype, array.shape) for array in arrays]
    return capturing(lambda: trace_inner("function", function, types), None)[0]


# -- arrays of expressions --------------------------------------------------------------------------------------------
def _array(value: Any) -> Any:
    import sympy

    if isinstance(value, (sympy.MatrixBase, sympy.MatrixSymbol, sympy.NDimArray)):
        explicit = value.as_explicit() if isinstance(value, sympy.MatrixSymbol) else value
        return np.array(explicit.tolist(), object)
    if isinstance(value, (list, tuple, sympy.Tuple)):
        return np.array([list(row) if isinstance(row, (list, tuple, sympy.Tuple)) else row for row in value], object)
    return _boxed(value)


def _boxed(value: Any) -> Any:
    """A value as an array; one element as an array of rank 0."""
    if isinstance(value, np.ndarray):
        return value
    array = np.empty((), object)
    array[()] = value
    return array


def _exactly(array: np.ndarray) -> Any:
    found = np.empty(array.shape, object)
    for index in np.ndindex(*array.shape):
        found[index] = exact(array[index])
    return found


def _expression(array: Any) -> Any:
    import sympy

    if not array.ndim:
        return array[()]
    return sympy.Matrix(array.tolist()) if array.ndim <= 2 else sympy.Array(array.tolist())


def _elementwise(function: Callable[..., Any], operands: Sequence[Any]) -> Any:
    """function on the elements of arrays, those of rank 0 with every element of the others."""
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    spread = [np.broadcast_to(x, shape) for x in operands]
    found = np.empty(shape, object)
    for index in np.ndindex(*shape):
        found[index] = function(*(x[index] for x in spread))
    return found


def _along(function: Callable[[Any, Any], Any], array: Any, axes: Sequence[int]) -> Any:
    """A reduction over axes by a function of two expressions."""
    kept = [axis for axis in range(array.ndim) if axis not in axes]
    rows = array.transpose([*kept, *axes]).reshape(*(array.shape[axis] for axis in kept), -1)
    found = np.empty(rows.shape[:-1], object)
    for index in np.ndindex(*found.shape):
        found[index] = reduce(function, rows[index])
    return found


# -- nodes ------------------------------------------------------------------------------------------------------------
def _run(region: Graph | Region, arrays: Sequence[Any]) -> list[Any]:
    """The outputs of a program as arrays of expressions."""
    known: dict[Value, Any] = dict(zip(region.inputs, arrays, strict=True))
    for node in region.nodes:
        results = _node(node, [known[value] for value in node.inputs])
        known.update(zip(node.outputs, results, strict=True))
    return [known[value] for value in region.outputs]


_REDUCED: dict[str, str] = {"reduce_sum": "Add", "reduce_prod": "Mul", "reduce_max": "Max", "reduce_min": "Min",
                            "reduce_any": "Or", "reduce_all": "And", "cumulate_sum": "Add", "cumulate_prod": "Mul",
                            "cumulate_max": "Max", "cumulate_min": "Min"}  # fmt: skip


def _node(node: Node, operands: list[Any]) -> list[Any]:
    import sympy

    op, name = node.op, node.op.name
    attributes: dict[str, Any] = dict(node.attributes)
    if name == "const":
        return [_boxed(exact(attributes["value"]))]
    if name == "iota":
        return [_exactly(np.asarray(op.reference(**attributes)))]
    if name == "detach":
        return [operands[0]]
    if name == "cast":
        return [operands[0] if attributes["dtype"] is BOOL else _elementwise(_as_number, [operands[0]])]
    if name in _MOVES or name == "recur":
        return [np.asarray(op.reference(*operands, **attributes), object)]
    if name == "pad":
        value = exact(attributes.pop("value"))
        found = np.asarray(op.reference(operands[0], value=0, **attributes), object)
        return [np.vectorize(lambda x: value if isinstance(x, int) else x, otypes=[object])(found)]
    if name in ("gather", "scatter_set", "scatter_add"):
        count = 1 if name == "gather" else 2
        indices = [_integers(x, node) for x in operands[count:]]
        return [np.asarray(op.reference(*operands[:count], *indices, **attributes), object)]
    if name in _REDUCED:
        join = getattr(sympy, _REDUCED[name])
        if name.startswith("reduce"):
            return [_along(join, operands[0], attributes["axes"])]
        return [_running(join, operands[0], attributes["axis"], attributes["reverse"])]
    if name == "dot" and not any(attributes["batch"]):
        product: Any = np.tensordot  # its stub knows no arrays of expressions
        return [_boxed(product(*operands, axes=attributes["contract"]))]
    if op.family == "scalar":
        return [_elementwise(lambda *values: meaning(op, values, attributes), operands)]
    found_by = _PROGRAMS.get(name)
    if found_by is None:
        raise SymbolicError(f"{name} is no expression ({node.location})")
    return found_by(node, operands)


def _as_number(value: Any) -> Any:
    """A truth value as 1 or 0."""
    import sympy

    is_truth = isinstance(value, (sympy.logic.boolalg.Boolean, sympy.Rel))
    return choice(value, sympy.S.One, sympy.S.Zero) if is_truth and not value.is_Symbol else value


def _integers(array: Any, node: Node) -> Any:
    try:
        return np.vectorize(int, otypes=[np.int64])(array)
    except TypeError:
        raise SymbolicError(f"an index of {node.op.name} depends on a symbol ({node.location})") from None


def _running(join: Callable[..., Any], array: Any, axis: int, reverse: bool) -> Any:
    rows = np.moveaxis(array, axis, 0)
    rows = rows[::-1] if reverse else rows
    found = [_boxed(rows[0])]
    for row in rows[1:]:
        found.append(_elementwise(join, [found[-1], _boxed(row)]))
    return np.moveaxis(np.stack(found[::-1] if reverse else found), 0, axis)


# -- programs ---------------------------------------------------------------------------------------------------------
def _call(node: Node, operands: list[Any]) -> list[Any]:
    callee = node.attributes["callee"]
    assert isinstance(callee, Graph)
    if callee.name == "det" and operands[0].ndim == 2:
        import sympy

        return [_boxed(sympy.Matrix(operands[0]).det())]
    return _run(callee, operands)


def _cond(node: Node, operands: list[Any]) -> list[Any]:
    import sympy

    predicate, *given = operands
    if predicate[()] in (sympy.true, sympy.false):
        return _run(node.regions[0 if predicate[()] == sympy.true else 1], given)
    branches = [_run(region, given) for region in node.regions]
    return [
        _elementwise(lambda a, b: choice(predicate[()], a, b), [then, other])
        for then, other in zip(*branches, strict=True)
    ]


def _while(node: Node, operands: list[Any]) -> list[Any]:
    import sympy

    count = node.attributes["invariants"]
    assert isinstance(count, int)
    fixed, carries = operands[:count], operands[count:]
    for _ in range(_LONGEST):
        (going,) = _run(node.regions[0], [*fixed, *carries])
        if going[()] == sympy.false:
            return carries
        if going[()] != sympy.true:
            raise SymbolicError(f"how often a loop runs depends on a symbol: {going[()]} ({node.location})")
        carries = _run(node.regions[1], [*fixed, *carries])
    raise SymbolicError(f"a loop takes more than {_LONGEST} steps ({node.location})")


def _scan(node: Node, operands: list[Any]) -> list[Any]:
    attributes: dict[str, Any] = dict(node.attributes)
    first, count, length = attributes["invariants"], attributes["carries"], attributes["length"]
    if not isinstance(length, int) or length > _LONGEST:
        raise SymbolicError(f"a scan takes {length} steps, more than {_LONGEST} ({node.location})")
    fixed, carries, rows = operands[:first], operands[first : first + count], operands[first + count :]
    stacked: list[list[Any]] = [[None] * length for _ in node.outputs[count:]]
    for place in range(length)[:: -1 if attributes["reverse"] else 1]:
        found = _run(node.regions[0], [*fixed, *carries, *(_boxed(row[place]) for row in rows)])
        carries = found[:count]
        for column, value in zip(stacked, found[count:], strict=True):
            column[place] = value
    return [*carries, *(np.stack(column) for column in stacked)]


def _host_call(node: Node, operands: list[Any]) -> list[Any]:
    """A function of the host that stands for one of SymPy's; a check has no results."""
    if not node.outputs:
        return []
    from adjit.runtime.host import host_function

    found = getattr(host_function(str(node.attributes["function"])), "symbolic", None)
    if found is None:
        raise SymbolicError(f"a function of the host is no expression ({node.location})")
    generic, names = found
    return [_elementwise(lambda *values: generic.xreplace(dict(zip(names, values, strict=True))), operands)]


def _lu_solve(node: Node, operands: list[Any]) -> list[Any]:
    import sympy

    matrix, right = sympy.Matrix(operands[0]), sympy.Matrix(operands[3])
    if operands[0].ndim != 2:
        raise SymbolicError(f"a batch of linear systems is no expression ({node.location})")
    matrix = matrix.T if node.attributes["transpose"] else matrix
    return [np.array(matrix.LUsolve(right).tolist(), object).reshape(operands[3].shape)]


_PROGRAMS: dict[str, Callable[[Node, list[Any]], list[Any]]] = {
    "call": _call, "cond": _cond, "while": _while, "scan": _scan, "host_call": _host_call, "lu_solve": _lu_solve,
    # The factors are not asked for: what uses them has the matrix itself.
    "lu": lambda node, operands: [_boxed(None) for _ in node.outputs],
}  # fmt: skip
