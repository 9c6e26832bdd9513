"""`from_sympy`: an expression as a native function of tensors, arrays and numbers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit.ir.types import F64
from adjit.symbolic.arguments import Arguments
from adjit.symbolic.operations import apply_op
from adjit.symbolic.outputs import Outputs
from adjit.symbolic.special import Special
from adjit.symbolic.translate import Translator
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.native.numbers import NumberTable


class SymbolicFunction:
    """A function made of SymPy expressions, compiled for the shapes it meets.

    On tensors it gives tensors and can be differentiated, vectorised and compiled into other programs; on arrays it
    gives NumPy's arrays, element by element, of the dtype that NumPy's promotion gives; on plain numbers floats, and
    arrays where the expression is a matrix.
    """

    __slots__ = ("__dict__", "__weakref__", "_table")

    _table: Any  # read by native code

    def __init__(self, expression: Any, args: Any, functions: Mapping[str, Callable[..., Any]] | None = None) -> None:
        from adjit.jit import compile

        self.expression = expression
        self.args = args
        self._places = Arguments(args, expression)
        self._outputs = Outputs(expression, self._places.paths)
        self._special = Special(functions or {})
        self.compiled = compile(self.function)
        served = self._places.flat and self._places.paths and self._outputs.size and self._outputs.plain
        self._numbers = _Numbers(self._places, self._outputs, self._special) if served else None

    def __repr__(self) -> str:
        return f"SymbolicFunction({self.expression}, {self.args})"

    def function(self, *args: Any) -> Any:
        """The function on tensors, not compiled: one op after the other."""
        values = self._places.values(args)
        floating = [x._dtype for x in values.values() if isinstance(x, Tensor) and x._dtype.is_float]
        return self._outputs.values(Translator(values, apply_op, self._special), floating[0] if floating else F64)

    def __call__(self, *args: Any, **named: Any) -> Any:
        if named:
            args = self._places.bound(args, named)
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


def from_sympy(
    expression: Any, args: Any, *, cse: bool = True, modules: Any = None, printer: Any = None, use_imps: bool = True,
    dummify: bool = False, docstring_limit: int = 1000,
) -> SymbolicFunction:  # fmt: skip
    """A native function of `args` that computes a SymPy expression, a matrix of them, or a tree of both.

    `args` are symbols (also functions of time and their derivatives, matrices of symbols, MatrixSymbol, IndexedBase,
    nested lists) in the order of the call.  Equal parts are computed once.  Functions that are no op, such as Bessel
    functions of higher order, are computed by SciPy or mpmath in the middle of the program.  Dicts in `modules` give
    functions of arrays by name; the other arguments of `sympy.lambdify` have no effect.
    Shapes: elementwise over the arguments' common shape S; a matrix [r, c] gives [*S, r, c].
    Errors: SymbolicError, a NotImplementedError, for what nothing computes.

    >>> import sympy, adjit
    >>> x, y = sympy.symbols("x y")
    >>> f = adjit.from_sympy(sympy.sin(x) * y**2, [x, y])
    >>> float(f(0.0, 3.0)), float(f(sympy.pi / 2, 3.0))
    (0.0, 9.0)
    """
    given = modules if isinstance(modules, (list, tuple)) else [modules]
    functions = {name: f for module in reversed(given) if isinstance(module, Mapping) for name, f in module.items()}
    return SymbolicFunction(expression, args, functions)


def lambdify(
    args: Any, expr: Any, modules: Any = None, printer: Any = None, use_imps: bool = True, dummify: bool = False,
    cse: bool = False, docstring_limit: int = 1000,
) -> SymbolicFunction:  # fmt: skip
    """`from_sympy` with the order of arguments of `sympy.lambdify`."""
    return from_sympy(expr, args, modules=modules)


# -- plain numbers ----------------------------------------------------------------------------------------------------
def _are_numbers(args: Sequence[Any]) -> bool:
    """Whether all arguments are plain numbers; the types are looked at first, since most calls have one or two."""
    types = {*map(type, args)}
    return types <= _PLAIN or all(issubclass(kind, (float, int, np.floating, np.integer)) for kind in types)


_PLAIN = {float, int}


# Calls after which a native table is worth its while.
_SEVERAL = 2


class _Numbers:
    """A symbolic function of numbers: one program from an array of them to an array of all elements of the results.

    After a few calls `native` is the table by which the native entry serves the others.
    """

    def __init__(self, places: Arguments, outputs: Outputs, special: Special) -> None:
        from adjit.jit import compile
        from adjit.joining import stack

        def function(numbers: Tensor) -> Tensor:
            translate = Translator(places.values(numbers.unbind(0)), apply_op, special)
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
        from adjit.native.near import is_at_hand

        if is_at_hand():
            from adjit.native.numbers import NumberTable

            executable = self._compiled.executable(np.empty(self.count))
            self.native = NumberTable(executable, self.count, self._outputs.result())


# -- values -----------------------------------------------------------------------------------------------------------
def _mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, (list, tuple)):
        return type(tree)(_mapped(function, part) for part in tree)
    if isinstance(tree, dict):
        return {key: _mapped(function, part) for key, part in tree.items()}
    return function(tree)


def _leaves(tree: Any) -> list[Any]:
    return [x for part in tree for x in _leaves(part)] if isinstance(tree, (list, tuple)) else [tree]


def _as_tensor(value: Any) -> Any:
    from adjit.creation import from_numpy

    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 8 + 8 * (array.dtype.kind == "c"):
        exact = np.asarray(value, np.complex128)  # SymPy's numbers, extended precision
        array = exact if np.any(exact.imag) else exact.real
    return from_numpy(np.array(array))


def _as_numpy(tensor: Tensor) -> Any:
    array = tensor.detach().resolve_conj().numpy()
    return array if array.ndim else array[()]
