"""SymPy's matrix expressions as operations on whole matrices, and elements of arrays."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.symbolic.translate import Translator


def matrix_value(expression: Any, translate: Translator) -> Any:
    """A matrix expression, a trace or a determinant; NotImplemented for what has no operation on whole matrices."""
    from adjit import linalg
    from adjit.diagonals import diagonal
    from adjit.products import matmul
    from adjit.shaping import transpose

    def part(index: int) -> Any:
        return translate(expression.args[index])

    match type(expression).__name__:
        case "MatMul":
            scalars = [x for x in expression.args if not getattr(x, "is_Matrix", False)]
            product = reduce(matmul, [translate(x) for x in expression.args if getattr(x, "is_Matrix", False)])
            return reduce(lambda whole, x: whole * _over(translate(x)), scalars, product)
        case "MatAdd":
            return reduce(lambda a, b: a + b, [translate(x) for x in expression.args])
        case "HadamardProduct":
            return reduce(lambda a, b: a * b, [translate(x) for x in expression.args])
        case "HadamardPower":
            return part(0) ** _over(part(1))
        case "Transpose":
            return transpose(part(0), -2, -1)
        case "Adjoint":
            return transpose(part(0), -2, -1).conj()
        case "Inverse":
            return linalg.inv(part(0))
        case "MatPow" if expression.exp.is_Integer:
            return linalg.matrix_power(part(0), int(expression.exp))
        case "Determinant":
            return linalg.det(part(0))
        case "Trace":
            return diagonal(part(0), dim1=-2, dim2=-1).sum(-1)
        case "Identity" | "ZeroMatrix" | "OneMatrix":
            return constant_matrix(expression)
        case "MatrixElement":
            return element(translate(expression.parent), expression.indices, translate, trailing=True)
    return NotImplemented


def constant_matrix(expression: Any) -> Tensor:
    """An identity, or a matrix of zeros or ones, of float64."""
    from adjit.creation import eye, ones, zeros
    from adjit.dtypes import float64

    rows, columns = (int(size) for size in expression.shape)
    match type(expression).__name__:
        case "Identity":
            return eye(rows, dtype=float64)  # type: ignore[no-any-return, unused-ignore]
        case "ZeroMatrix":
            return zeros(rows, columns, dtype=float64)  # type: ignore[no-any-return, unused-ignore]
    return ones(rows, columns, dtype=float64)  # type: ignore[no-any-return, unused-ignore]


def element(array: Tensor, indices: Any, translate: Translator, trailing: bool) -> Tensor:
    """array[i, j, ...], or array[..., i, j, ...] if `trailing`: indices are numbers, or tensors of a sum's terms."""
    places = [_as_index(translate(index)) for index in indices]
    found = array[(..., *places)] if trailing else array[tuple(places)]
    if any(isinstance(place, Tensor) for place in places):
        return found
    for _ in range(translate.depth):
        found = found.unsqueeze(-1)
    return found


def _as_index(value: Any) -> Any:
    return value.long() if isinstance(value, Tensor) else int(value)


def _over(value: Any) -> Any:
    """A scalar as it multiplies matrices."""
    return value[..., None, None] if isinstance(value, Tensor) and value.dim() else value
