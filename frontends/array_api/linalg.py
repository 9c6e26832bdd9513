"""The standard's linear algebra: the extension `linalg`, and the four functions that the namespace itself has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import adjit
from adjit import linalg
from adjit.array_api.operands import promoted
from adjit.array_api.reductions import sum as sum_
from adjit.dims import shape_of
from adjit.dtypes import dtype
from adjit.tensor import Tensor


class QR(NamedTuple):
    """Orthonormal columns and an upper triangle."""

    Q: Tensor
    R: Tensor


class SlogDet(NamedTuple):
    """The determinant's sign and the logarithm of its size."""

    sign: Tensor
    logabsdet: Tensor


def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The product of (batches of) matrices."""
    return adjit.matmul(*promoted(x1, x2))  # type: ignore[no-any-return]


def matrix_transpose(x: Tensor, /) -> Tensor:
    """The last two dims exchanged."""
    return x.mT  # type: ignore[no-any-return]


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: Any = 2) -> Tensor:
    """The product summed over pairs of dims."""
    return adjit.tensordot(*promoted(x1, x2), dims=axes)  # type: ignore[no-any-return]


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """sum(x1 * x2) along `axis` of the broadcast tensors."""
    a, b = promoted(x1, x2)
    if shape_of(a)[axis] != shape_of(b)[axis]:
        raise ValueError(f"vecdot: the sizes {shape_of(a)[axis]} and {shape_of(b)[axis]} along axis {axis} differ")
    return adjit.sum(adjit.conj(a) * b, axis, dtype=a.dtype)  # type: ignore[no-any-return]


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """L with L @ L.mT = x, or with `upper` its transpose."""
    return linalg.cholesky(x, upper=upper)  # type: ignore[no-any-return]


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The cross product of vectors of size 3 along `axis`."""
    return linalg.cross(*adjit.broadcast_tensors(*promoted(x1, x2)), dim=axis)  # type: ignore[no-any-return]


def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """The diagonals of matrices."""
    return adjit.diagonal(x, offset, -2, -1)  # type: ignore[no-any-return]


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """The norms of matrices."""
    return linalg.matrix_norm(x, ord, keepdim=keepdims)  # type: ignore[no-any-return]


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """x @ x @ ... n times, of the inverse for n < 0."""
    return linalg.matrix_power(x, n)  # type: ignore[no-any-return]


def matrix_rank(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """How many singular values exceed `rtol` times the greatest."""
    return linalg.matrix_rank(x, rtol=rtol)  # type: ignore[no-any-return]


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """out[i, j] = x1[i] * x2[j]."""
    return adjit.outer(*promoted(x1, x2))  # type: ignore[no-any-return]


def pinv(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """The pseudo-inverse, singular values below `rtol` times the greatest taken for 0."""
    return linalg.pinv(x, rtol=rtol)  # type: ignore[no-any-return]


def qr(x: Tensor, /, *, mode: str = "reduced") -> QR:
    """Q with orthonormal columns and an upper triangular R, Q @ R = x."""
    return QR(*linalg.qr(x, mode))


def slogdet(x: Tensor, /) -> SlogDet:
    """The determinant's sign and the logarithm of its size."""
    return SlogDet(*linalg.slogdet(x))


def solve(x1: Tensor, x2: Tensor, /) -> Tensor:
    """x with x1 @ x = x2; x2 is a vector only where it has one dim."""
    a, b = promoted(x1, x2)
    if b.ndim == 1:
        return linalg.solve(a, b.unsqueeze(-1)).squeeze(-1)  # type: ignore[no-any-return]
    lead = adjit.broadcast_shapes(shape_of(a)[:-2], shape_of(b)[:-2])
    a = adjit.broadcast_to(a, (*lead, *shape_of(a)[-2:]))
    return linalg.solve(a, adjit.broadcast_to(b, (*lead, *shape_of(b)[-2:])))  # type: ignore[no-any-return]


def svd(x: Tensor, /, *, full_matrices: bool = True) -> Any:
    """U, S, Vh with U @ diag(S) @ Vh = x."""
    return linalg.svd(x, full_matrices)


def trace(x: Tensor, /, *, offset: int = 0, dtype: dtype | None = None) -> Tensor:
    """The sums of diagonals, integers in 64 bits."""
    return sum_(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def vector_norm(x: Tensor, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Tensor:
    """The norms of vectors along `axis`; of all elements for None."""
    if isinstance(axis, tuple) and not axis:
        return x.abs() if ord != 0 else (x != 0).to(x.dtype)  # type: ignore[no-any-return]
    return linalg.vector_norm(x, ord, axis, keepdims)  # type: ignore[no-any-return]


def _of_one(name: str) -> Callable[..., Any]:
    of = getattr(linalg, name)

    def standard(x: Tensor, /) -> Any:
        return of(x)

    standard.__name__ = standard.__qualname__ = name
    standard.__doc__ = of.__doc__
    return standard


det, inv = _of_one("det"), _of_one("inv")
eigh, eigvalsh, svdvals = _of_one("eigh"), _of_one("eigvalsh"), _of_one("svdvals")
__all__ = [
    "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power",
    "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot",
    "trace", "vecdot", "vector_norm",
]  # fmt: skip
