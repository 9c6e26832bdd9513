"""`from_sympy`: an expression as a native function of tensors, arrays and numbers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit.dispatch import literal
from adjit.dtypes import public
from adjit.ir.primitive import primitive_named
from adjit.ir.types import F64, DType, TensorType
from adjit.symbolic.translate import SymbolicError, Translator
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.native.numbers import NumberTable


class SymbolicFunction:
    """A function made of SymPy expressions, compiled for the shapes it meets.

    On tensors it gives tensors and can be differentiated, vectorised and compiled into other programs; on arrays it
    gives NumPy's arrays of float64, element by element; on numbers floats, and arrays where the expression is a matrix.
    """

    __slots__ = ("__dict__", "__weakref__", "_table")

    _table: Any  # read by native code

    def __init__(self, expression: Any, args: Any, cse: bool = True) -> None:
        from adjit.jit import compile

        self.expression = expression
        self.args = args
        self._places = _Arguments(args)
        self._outputs = _Outputs(expression)
        self.compiled = compile(self.function)
        served = self._places.flat and self._places.paths and self._outputs.size
        self._numbers = _Numbers(self._places, self._outputs) if served else None

    def __repr__(self) -> str:
        return f"SymbolicFunction({self.expression}, {self.args})"

    def function(self, *args: Any) -> Any:
        """The function on tensors, not compiled: one op after the other."""
        values = self._places.values(args)
        like = next((x for x in values.values() if isinstance(x, Tensor)), None)
        dtype = F64 if like is None else like._dtype
        return self._outputs.values(Translator(values, _apply), dtype)

    def __call__(self, *args: Any) -> Any:
        if self._numbers is not None and _are_numbers(args):
            found = self._numbers(args)
            if self._numbers.native is not None:
                self._table = self._numbers.native.words
            return found
        leaves = _leaves(args)
        if any(isinstance(leaf, Tensor) for leaf in leaves):
            return self.compiled(*args)
        found = self.compiled(*_mapped(_as_tensor, args))
        return _mapped(_as_numpy, found)

    def graph(self, *args: Any) -> Any:
        """The program for arguments of these shapes."""
        return self.compiled.graph(*_mapped(_as_tensor, args))


def from_sympy(expression: Any, args: Any, *, cse: bool = True) -> SymbolicFunction:
    """A native function of `args` that computes a SymPy expression, a matrix of them, or a tree of both.

    `args` are symbols (also functions of time and their derivatives, matrices of symbols, nested lists) in the order
    of the call.  Equal parts are computed once (`cse` is accepted as `lambdify` has it).
    Shapes: elementwise over the arguments' common shape S; a matrix [r, c] gives [*S, r, c].
    Errors: SymbolicError, a NotImplementedError, for what no op computes, complex numbers among it.

    >>> import sympy, adjit
    >>> x, y = sympy.symbols("x y")
    >>> f = adjit.from_sympy(sympy.sin(x) * y**2, [x, y])
    >>> float(f(0.0, 3.0)), float(f(sympy.pi / 2, 3.0))
    (0.0, 9.0)
    """
    return SymbolicFunction(expression, args, cse)


def lambdify(
    args: Any, expr: Any, modules: Any = None, printer: Any = None, use_imps: bool = True, dummify: bool = False,
    cse: bool = False, docstring_limit: int = 1000,
) -> SymbolicFunction:  # fmt: skip
    """`from_sympy` with the arguments of `sympy.lambdify`; `modules` and what concerns printing have no effect."""
    return SymbolicFunction(expr, args, cse)


# -- arguments --------------------------------------------------------------------------------------------------------
class _Arguments:
    """The symbols of a call, each with the way to its value."""

    def __init__(self, args: Any) -> None:
        self.paths: dict[Any, tuple[int, ...]] = {}
        self.single = not isinstance(args, (list, tuple))
        self.flat = self.single or not any(_is_nested(item) for item in args)
        self._enter([args] if self.single else args, ())

    def _enter(self, item: Any, path: tuple[int, ...]) -> None:
        import sympy

        if isinstance(item, (list, tuple, sympy.Tuple)):
            for place, part in enumerate(item):
                self._enter(part, (*path, place))
        elif isinstance(item, (sympy.MatrixBase, sympy.MatrixSymbol)):
            rows, columns = (int(size) for size in item.shape)
            for row in range(rows):
                for column in range(columns):
                    # A place in an array of the matrix's shape, or of its length where it is a vector.
                    self._enter(item[row, column], (*path, -1, row, column))
        else:
            self.paths[sympy.sympify(item)] = path

    def values(self, args: Sequence[Any]) -> dict[Any, Any]:
        """The value of each symbol."""
        found: dict[Any, Any] = {}
        for symbol, path in self.paths.items():
            value: Any = args
            steps = iter(path)
            for step in steps:
                if step >= 0:
                    value = value[step]
                    continue
                row, column = next(steps), next(steps)
                value = value[..., row, column] if _ndim(value) > 1 else value[..., max(row, column)]
            found[symbol] = value
        return found


def _are_numbers(args: Sequence[Any]) -> bool:
    """Whether all arguments are plain numbers; the types are looked at first, since most calls have one or two."""
    types = {*map(type, args)}
    return types <= _PLAIN or all(issubclass(kind, (float, int, np.floating, np.integer)) for kind in types)


_PLAIN = {float, int}


def _is_nested(item: Any) -> bool:
    import sympy

    return isinstance(item, (list, tuple, sympy.Tuple, sympy.MatrixBase, sympy.MatrixSymbol))


def _ndim(value: Any) -> int:
    return int(value.dim()) if isinstance(value, Tensor) else int(np.ndim(value))


# -- results ----------------------------------------------------------------------------------------------------------
class _Outputs:
    """A tree of expressions, and how their values go together."""

    def __init__(self, expression: Any) -> None:
        import sympy

        self.parts: list[_Outputs] = []
        self.elements: list[Any] = []
        self.shape: tuple[int, ...] | None = None
        self.kind: Any = None
        if isinstance(expression, (list, tuple, sympy.Tuple)):
            self.kind = tuple if isinstance(expression, (tuple, sympy.Tuple)) else list
            self.parts = [_Outputs(part) for part in expression]
        elif isinstance(expression, (sympy.MatrixBase, sympy.MatrixExpr, sympy.NDimArray)):
            array = expression.as_explicit() if isinstance(expression, sympy.MatrixExpr) else expression
            self.shape = tuple(int(size) for size in array.shape)
            flat = list(array) if isinstance(array, sympy.MatrixBase) else sympy.flatten(array.tolist())
            self.elements = [_prepared(part) for part in flat]
        else:
            self.elements = [_prepared(sympy.sympify(expression))]

    @property
    def size(self) -> int:
        """How many elements all results have."""
        return len(self.elements) + sum(part.size for part in self.parts)

    def values(self, translate: Translator, dtype: DType) -> Any:
        """The results."""
        if self.kind is not None:
            return self.kind(part.values(translate, dtype) for part in self.parts)
        tensors = self.scalars(translate, dtype)
        return tensors[0] if self.shape is None else _stacked(tensors, self.shape, dtype)

    def scalars(self, translate: Translator, dtype: DType) -> list[Tensor]:
        """The elements of all results, in order."""
        found = [x for part in self.parts for x in part.scalars(translate, dtype)]
        return found + [_tensor(translate(element), dtype) for element in self.elements]

    def result(self) -> Any:
        """What a call on numbers gives: None for a float, the type of an array, a tuple or list of those."""
        if self.kind is not None:
            return self.kind(part.result() for part in self.parts)
        return None if self.shape is None else TensorType(F64, self.shape)

    def spread(self, numbers: list[Any]) -> Any:
        """The results from their elements, which are taken off the end of a list in reverse order."""
        if self.kind is not None:
            if all(part.kind is None and part.shape is None for part in self.parts) and len(numbers) == len(self.parts):
                return self.kind(reversed(numbers))
            return self.kind(part.spread(numbers) for part in self.parts)
        if self.shape is None:
            return numbers.pop()
        count = len(self.elements)
        own, numbers[len(numbers) - count :] = numbers[len(numbers) - count :], []
        return np.array(own[::-1]).reshape(self.shape)


# Calls after which a native table is worth its while.
_SEVERAL = 2


class _Numbers:
    """A symbolic function of numbers: one program from an array of them to an array of all elements of the results.

    After a few calls `native` is the table by which the native entry serves the others.
    """

    def __init__(self, places: _Arguments, outputs: _Outputs) -> None:
        from adjit.jit import compile
        from adjit.joining import stack

        def function(numbers: Tensor) -> Tensor:
            translate = Translator(places.values(numbers.unbind(0)), _apply)
            return stack(outputs.scalars(translate, F64))

        self.count = count = len(places.paths)
        self._outputs = outputs
        self._pack = struct.Struct(f"={count}d").pack_into
        self._compiled = compile(function)
        self._calls = 0
        self.native: NumberTable | None = None

    def __call__(self, numbers: Sequence[Any]) -> Any:
        """Errors: TypeError unless there are as many numbers as symbols."""
        if len(numbers) != self.count:
            raise TypeError(f"a function of {self.count} symbols was given {len(numbers)} numbers")
        given = np.empty(self.count)
        self._pack(given.data, 0, *numbers)
        found = self._compiled(given)
        self._calls += 1
        if self._calls >= _SEVERAL and self.native is None:
            self._settle()
        return self._outputs.spread(found._array[::-1].tolist())

    def _settle(self) -> None:
        from adjit.native.install import is_settled

        if is_settled():
            from adjit.native.numbers import NumberTable

            executable = self._compiled.executable(np.empty(self.count))
            self.native = NumberTable(executable, self.count, self._outputs.result())


def _tensor(value: Any, dtype: DType) -> Tensor:
    """A value as a tensor; one that depends on no argument is a number."""
    return value if isinstance(value, Tensor) else literal(float(value), dtype)


def _stacked(tensors: list[Tensor], shape: tuple[int, ...], dtype: DType) -> Tensor:
    """Elements of one shape or rank 0 as an array whose last axes are `shape`."""
    from adjit.joining import stack
    from adjit.shaping import broadcast_tensors

    if not tensors:
        from adjit.creation import zeros

        return zeros(*shape, dtype=public(dtype))
    if any(x.dim() for x in tensors):
        tensors = list(broadcast_tensors(*tensors))
    whole = stack(tensors, -1)
    result: Tensor = whole.reshape(*whole.shape[:-1], *shape)
    return result


def _apply(name: str, *operands: Any) -> Any:
    """An op on tensors and numbers."""
    from adjit.elementwise import emit, where

    if not any(isinstance(x, Tensor) for x in operands):
        numbers = [x if isinstance(x, bool) else np.float64(x) for x in operands]
        return primitive_named(name)(*numbers).item()
    if name == "where":
        return where(*operands)
    primitive_named(name)  # special functions are loaded at first use
    return emit(name, "", *operands)


def _prepared(expression: Any) -> Any:
    """The expression with sums, products and derivatives carried out."""
    import sympy

    if expression.has(sympy.Sum, sympy.Product, sympy.Integral):
        expression = expression.doit()
    if expression.has(sympy.I):
        raise SymbolicError(f"complex numbers do not exist here: {expression}")
    return expression


# -- values -----------------------------------------------------------------------------------------------------------
def _mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, (list, tuple)):
        return type(tree)(_mapped(function, part) for part in tree)
    return function(tree)


def _leaves(tree: Any) -> list[Any]:
    return [x for part in tree for x in _leaves(part)] if isinstance(tree, (list, tuple)) else [tree]


def _as_tensor(value: Any) -> Any:
    from adjit.creation import from_numpy

    return value if isinstance(value, Tensor) else from_numpy(np.array(value, np.float64))


def _as_numpy(tensor: Tensor) -> Any:
    array = tensor.detach().numpy()
    return array if array.ndim else array[()]
