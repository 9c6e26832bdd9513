"""The arguments of a symbolic function: where in a call the value of each symbol is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from adjit.tensor import Tensor


class Arguments:
    """The symbols of a call, each with the way to its value.

    A string is the symbol of this name in `expression`, whatever is assumed about it there.
    """

    def __init__(self, args: Any, expression: Any = None) -> None:
        self.paths: dict[Any, tuple[int, ...]] = {}
        self._named = {str(symbol): symbol for symbol in _free_symbols(expression)}
        single = isinstance(args, str) or not isinstance(args, (Iterable, _matrices()))
        given = [args] if single or isinstance(args, _matrices()) else list(args)
        self.flat = not any(_is_nested(item) for item in given)
        self.names = [str(item) for item in given]
        self._enter(given, ())

    def _enter(self, item: Any, path: tuple[int, ...]) -> None:
        import sympy

        if isinstance(item, str):
            item = self._named.get(item) or (sympy.Symbol(item) if item.isidentifier() else sympy.sympify(item))
        if isinstance(item, (list, tuple, set, frozenset, sympy.Tuple)):
            for place, part in enumerate(item):
                self._enter(part, (*path, place))
        elif isinstance(item, (sympy.MatrixBase, sympy.NDimArray)):
            for index in np.ndindex(*map(int, item.shape)):
                # A place in an array of the same shape, or of its length where it is a vector.
                self._enter(item[index], (*path, -len(index), *index))
        else:
            self.paths[sympy.sympify(item)] = path

    def bound(self, args: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """The call's arguments in order, some of them given by name.  TypeError as Python has it."""
        rest = dict(named)
        found = [*args, *(rest.pop(name) for name in self.names[len(args) :] if name in rest)]
        if rest:
            raise TypeError(f"got an unexpected keyword argument {next(iter(rest))!r}")
        if len(found) != len(self.names):
            raise TypeError(f"a function of ({', '.join(self.names)}) was given {len(found)} arguments")
        return tuple(found)

    def values(self, args: Sequence[Any]) -> dict[Any, Any]:
        """The value of each symbol.  TypeError for a call with more or fewer arguments than there are."""
        if len(args) != len(self.names):
            raise TypeError(f"a function of ({', '.join(self.names)}) was given {len(args)} arguments")
        return {symbol: _shaped(symbol, _at(args, path)) for symbol, path in self.paths.items()}


def _at(args: Any, path: tuple[int, ...]) -> Any:
    """The value at the end of a path; -n is followed by an index of n numbers."""
    value: Any = args
    steps = iter(path)
    for step in steps:
        if step >= 0:
            value = value[step]
            continue
        index = [next(steps) for _ in range(-step)]
        while isinstance(value, (list, tuple)) and index:  # rows as lists
            value = value[index.pop(0)]
        if index:
            rank = int(value.dim()) if isinstance(value, Tensor) else int(np.ndim(value))
            value = value[(..., *(index if rank >= len(index) else [max(index)]))]
    return value


def _shaped(symbol: Any, value: Any) -> Any:
    """A matrix given as a vector gets the axis of its one row or column."""
    import sympy

    if isinstance(symbol, sympy.MatrixSymbol) and isinstance(value, Tensor) and value.dim() == 1:
        return value.unsqueeze(-1 if symbol.shape[1] == 1 else 0)
    return value


def _matrices() -> tuple[type, ...]:
    import sympy

    return (sympy.MatrixBase, sympy.MatrixExpr, sympy.NDimArray, sympy.Basic)


def _is_nested(item: Any) -> bool:
    import sympy

    nested = (list, tuple, set, sympy.Tuple, sympy.MatrixBase, sympy.MatrixExpr, sympy.NDimArray, sympy.IndexedBase)
    return isinstance(item, nested)


def _free_symbols(expression: Any) -> set[Any]:
    if isinstance(expression, dict):
        expression = [*expression.values()]
    if isinstance(expression, (list, tuple)):
        return {symbol for part in expression for symbol in _free_symbols(part)}
    return getattr(expression, "free_symbols", set())  # type: ignore[no-any-return, unused-ignore]
