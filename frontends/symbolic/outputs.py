"""The results of a symbolic function: a tree of expressions, and how their values go together."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np

from adjit.dispatch import literal
from adjit.dtypes import public
from adjit.ir.types import BOOL, C128, F64, DType, TensorType
from adjit.symbolic.rewriting import prepared
from adjit.symbolic.translate import Translator
from adjit.tensor import Tensor


class Outputs:
    """A tree of expressions: `parts` of a list, tuple or dict, else `elements` in an array of `shape`.

    `known` are the expressions that are arguments.
    """

    def __init__(self, expression: Any, known: Container[Any] = ()) -> None:
        import sympy

        self.parts: list[Outputs] = []
        self.elements: list[Any] = []
        self.shape: tuple[int, ...] | None = None
        self.kind: Any = None
        if isinstance(expression, dict):
            keys = list(expression)
            self.kind = lambda parts: dict(zip(keys, parts, strict=True))
            self.parts = [Outputs(part, known) for part in expression.values()]
        elif isinstance(expression, (list, tuple, sympy.Tuple)):
            self.kind = _joined(expression)
            self.parts = [Outputs(part, known) for part in expression]
        elif isinstance(expression, (sympy.MatrixBase, sympy.NDimArray)):
            self.shape = tuple(int(size) for size in expression.shape)
            flat = list(expression) if isinstance(expression, sympy.MatrixBase) else sympy.flatten(expression.tolist())
            self.elements = [prepared(part) for part in flat]
        else:
            value = sympy.sympify(expression)
            self.elements = [value if value in known else prepared(value)]

    @property
    def size(self) -> int:
        """How many elements all results have."""
        return len(self.elements) + sum(part.size for part in self.parts)

    @property
    def plain(self) -> bool:
        """Whether the results are real numbers in arrays, lists and tuples, and their program takes the numbers alone.

        Sums and integrals bring their terms' numbers.
        """
        import sympy

        if self.kind is not None:
            return self.kind in (list, tuple) and all(part.plain for part in self.parts)
        whole = (sympy.I, sympy.MatrixExpr, sympy.Sum, sympy.Product, sympy.Integral)
        return not any(element.has(*whole) or getattr(element, "is_Boolean", False) for element in self.elements)

    def values(self, translate: Translator, dtype: DType) -> Any:
        """The results; those that are constants are numbers of `dtype`, bool or complex128."""
        if self.kind is not None:
            return self.kind([part.values(translate, dtype) for part in self.parts])
        tensors = self.scalars(translate, dtype)
        return tensors[0] if self.shape is None else _stacked(tensors, self.shape, dtype)

    def scalars(self, translate: Translator, dtype: DType) -> list[Tensor]:
        """The elements of all results, in order."""
        found = [x for part in self.parts for x in part.scalars(translate, dtype)]
        return found + [_as_tensor(translate(element), dtype) for element in self.elements]

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


def _joined(expression: Any) -> Any:
    """What makes a sequence of this kind from its parts."""
    if hasattr(expression, "_fields"):  # a named tuple
        return lambda parts: type(expression)(*parts)
    return list if isinstance(expression, list) else tuple


def _as_tensor(value: Any, dtype: DType) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, bool):
        return literal(value, BOOL)
    return literal(value, C128) if isinstance(value, complex) else literal(float(value), dtype)


def _stacked(tensors: list[Tensor], shape: tuple[int, ...], dtype: DType) -> Tensor:
    """Elements of one shape or rank 0 as an array whose last axes are `shape`."""
    from adjit.creation import zeros
    from adjit.joining import stack
    from adjit.promotion import cast_to, result_dtype
    from adjit.shaping import broadcast_tensors

    if not tensors:
        return zeros(*shape, dtype=public(dtype))  # type: ignore[no-any-return, unused-ignore]
    common = result_dtype(tensors)
    tensors = [cast_to(x, common) for x in tensors]
    if any(x.dim() for x in tensors):
        tensors = list(broadcast_tensors(*tensors))
    whole = stack(tensors, -1)
    result: Tensor = whole.reshape(*whole.shape[:-1], *shape)
    return result
