"""Linear algebra under PyTorch's names: `torch.linalg`."""

from __future__ import annotations

from typing import Any

from adjit.composite import composite
from adjit.dims import shape_of, wrap_dim
from adjit.dtypes import to_ir
from adjit.elementwise import abs as absolute
from adjit.products import chain_matmul as multi_dot
from adjit.products import cross, matmul, matrix_power
from adjit.promotion import cast_to
from adjit.reductions import norm as _norm
from adjit.reductions import reduced
from adjit.tensor import Tensor

__all__ = ["cross", "diagonal", "matmul", "matrix_norm", "matrix_power", "multi_dot", "norm", "vecdot", "vector_norm"]


def vector_norm(x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """(sum(|x| ** ord)) ** (1 / ord) over axes, or all elements."""
    return _norm(x, float(ord), dim, keepdim, dtype)


@composite("LinalgMatrixNorm")
def _sums(a: Tensor, along: int, other: int, greatest: bool, keepdim: bool) -> Tensor:
    totals = reduced("reduce_sum", absolute(a), along, True, "")
    found = reduced("reduce_max" if greatest else "reduce_min", totals, other, True, "")
    return found if keepdim else found.squeeze((along, other))


def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: tuple[int, int] = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of matrices: "fro", or the greatest (1, inf) or least (-1, -inf) sum of a column or row."""
    if dtype is not None:
        A = cast_to(A, to_ir(dtype))
    rows, columns = (wrap_dim(d, len(shape_of(A))) for d in dim)
    if ord == "fro":
        return vector_norm(A, 2, (rows, columns), keepdim)
    if ord in (1, -1):
        return _sums(A, rows, columns, ord > 0, keepdim)  # type: ignore[no-any-return]
    if ord in (float("inf"), float("-inf")):
        return _sums(A, columns, rows, ord > 0, keepdim)  # type: ignore[no-any-return]
    raise NotImplementedError(f"matrix_norm: order {ord!r} needs singular values; 'fro', 1, -1, inf and -inf do not")


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """A vector norm of all elements or one axis; a matrix norm over two axes when `ord` is given."""
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    pair = tuple(dim) if isinstance(dim, (tuple, list)) else None
    if isinstance(ord, str) or (pair is not None and len(pair) == 2) or (dim is None and len(shape_of(A)) == 2):
        axes = (-2, -1) if pair is None else (pair[0], pair[1])
        return matrix_norm(A, ord, axes, keepdim, dtype=dtype)
    return vector_norm(A, ord, dim, keepdim, dtype=dtype)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Sums of products along an axis."""
    return (x * y).sum(dim)  # type: ignore[no-any-return]


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices."""
    from adjit.diagonals import diagonal as view

    return view(A, offset, dim1, dim2)
