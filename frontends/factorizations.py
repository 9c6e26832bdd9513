"""Linear algebra in PyTorch's first names: `torch.cholesky`, `torch.svd`, `Tensor.inverse` and their kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.complex_parts import conj_physical
from adjit.creation import constant
from adjit.dims import shape_of
from adjit.dtypes import title_of
from adjit.errors import explained
from adjit.ir.types import I32
from adjit.linalg.checks import mH, require_kernel, require_matrices, require_regular, require_square, same_batch
from adjit.linalg.determinants import det, logdet, slogdet
from adjit.linalg.factors import cholesky_of, hosted, order_of, permutation, triangles
from adjit.linalg.factors import qr as _qr
from adjit.linalg.factors import svd as _svd
from adjit.linalg.functions import householder_product, matrix_exp, reflections
from adjit.linalg.functions import matrix_power as _matrix_power
from adjit.linalg.least_squares import pinv
from adjit.linalg.systems import by_triangle, inv
from adjit.linalg.systems import lu_solve as _lu_solve
from adjit.products import matmul
from adjit.results import named_result
from adjit.tensor import Tensor

QR = named_result("qr", "Q", "R")
SVD = named_result("svd", "U", "S", "V")
Geqrf = named_result("geqrf", "a", "tau")
TriangularSolve = named_result("triangular_solve", "solution", "cloned_coefficient")
LUUnpack = named_result("lu_unpack", "P", "L", "U")


def inverse(input: Tensor) -> Tensor:
    """The inverse of square matrices.  Errors: LinAlgError for a singular one."""
    return inv(input)


def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The pseudoinverse: singular values up to rcond * the greatest count as 0."""
    return pinv(input, rcond)


def matrix_power(input: Tensor, n: int) -> Tensor:
    """input @ input @ ..., n times; the unit matrix for 0, powers of the inverse below."""
    return _matrix_power(input, n)


# -- Cholesky -------------------------------------------------------------------------------------------------------
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """L with L @ L^H = input, or U with U^H @ U = input.  Errors: LinAlgError where not positive-definite."""
    require_square("cholesky", input)
    require_kernel("cholesky_cpu", input)
    factor, info = cholesky_of(input, upper)
    require_regular("cholesky", info, input)
    return factor


def cholesky_solve(input: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with A @ X = input, given A's Cholesky factor."""
    if len(shape_of(input)) < 2:
        raise RuntimeError(f"b should have at least 2 dimensions, but has {len(shape_of(input))} dimensions instead")
    if len(shape_of(L)) < 2:
        raise RuntimeError(f"u should have at least 2 dimensions, but has {len(shape_of(L))} dimensions instead")
    _require_fit("cholesky_solve", input, L)
    factor, right = same_batch(L, input)
    turned = conj_physical(factor)
    if upper:
        return by_triangle(factor, by_triangle(turned, right, lower=False, transpose=True), lower=False)
    return by_triangle(turned, by_triangle(factor, right, lower=True), lower=True, transpose=True)


def _require_fit(name: str, b: Tensor, a: Tensor) -> None:
    m, n = shape_of(a)[-2:]
    if m != n:
        raise RuntimeError(f"A must be batches of square matrices, but they are {m} by {n} matrices")
    if a._dtype is not b._dtype:
        raise RuntimeError(
            f"Expected b and A to have the same dtype, but found b of type {title_of(b._dtype)} and A of type "
            f"{title_of(a._dtype)} instead."
        )
    rows, columns = shape_of(b)[-2:]
    if rows != n:
        raise explained(
            RuntimeError,
            f"Incompatible matrix sizes for {name}: each A matrix is {m} by {n} but each b matrix is {rows} by "
            f"{columns}",
            name,
            {"b": b, "A": a},
        )


def cholesky_inverse(input: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, given A's Cholesky factor."""
    require_square("cholesky_inverse", input)
    require_kernel("cholesky_inverse_out_cpu", input)
    from adjit.linalg.checks import identity

    _require_diagonal(input)
    return cholesky_solve(identity(input, shape_of(input)[-1], tuple(shape_of(input))[:-2]), input, upper)


def _require_diagonal(factor: Tensor) -> None:
    """LinAlgError for a 0 on the diagonal."""
    line = factor.detach().diagonal(0, -2, -1)
    if shape_of(line)[-1] == 0:
        return
    zeros = (line == 0).long()
    first = zeros.argmax(-1) + 1
    info = (first * zeros.amax(-1)).int()
    require_regular("cholesky_inverse", info, factor)


# -- triangles and LU -----------------------------------------------------------------------------------------------
def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """X with A @ X = b, or A^T @ X = b, for triangular A; and A as it was broadcast."""
    for tensor, letter in ((b, "b"), (A, "A")):
        if len(shape_of(tensor)) < 2:
            raise RuntimeError(
                f"torch.triangular_solve: Expected {letter} to have at least 2 dimensions, but it has "
                f"{len(shape_of(tensor))} dimensions instead"
            )
    _require_fit("triangular_solve", b, A)
    matrix, right = same_batch(A, b)
    found = by_triangle(matrix, right, lower=not upper, transpose=transpose, unit=unitriangular)
    return TriangularSolve(found, matrix.clone())


def lu(A: Tensor, pivot: bool = True, get_infos: bool = False, out: Any = None) -> tuple[Tensor, ...]:
    """The LU factors in one matrix, the exchanges of rows, and with `get_infos` info."""
    from adjit.linalg.factors import lu_factor_ex

    found = lu_factor_ex(A, pivot=pivot)
    results = tuple(found) if get_infos else tuple(found)[:2]
    if out is not None:
        for target, result in zip(out, results, strict=True):
            target.copy_(result)
    return results if out is None else tuple(out)


def lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """X with A @ X = b, given A's factors."""
    return _lu_solve(LU_data, LU_pivots, b)


def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """P, L, U with A = P @ L @ U, given A's factors; empty tensors for what is not asked for."""
    if len(shape_of(LU_data)) < 2:
        raise RuntimeError("torch.lu_unpack: The input tensor must have at least 2 dimensions.")
    empty = constant((0,), 0, LU_data._dtype)
    place, lower, upper = empty, empty, empty
    if unpack_pivots:
        if LU_pivots._dtype is not I32:
            raise RuntimeError(
                "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.\n"
                "Note: this function is intended to be used with the output produced by torch.linalg.lu_factor"
            )
        place = permutation(order_of(LU_pivots, shape_of(LU_data)[-2]), LU_data)
    if unpack_data:
        lower, upper = triangles(LU_data)
    return LUUnpack(place, lower, upper)


# -- QR and singular values -----------------------------------------------------------------------------------------
def qr(input: Tensor, some: bool = True) -> Any:
    """Q with orthonormal columns and R upper triangular, Q @ R = input; a square Q where not `some`."""
    return QR(*_qr(input, "reduced" if some else "complete"))


def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """U, S, V with input = U @ diag(S) @ V^H; U and V square where not `some`, zeros where not `compute_uv`."""
    if len(shape_of(input)) < 2:
        raise RuntimeError(
            f"linalg.svd: input should have at least 2 dimensions, but has {len(shape_of(input))} dimensions instead"
        )
    u, s, vh = _svd(input, not some and compute_uv)
    if compute_uv:
        return SVD(u, s, mH(vh))
    *lead, m, n = shape_of(input)
    return SVD(constant((*lead, m, m), 0, input._dtype), s, constant((*lead, n, n), 0, input._dtype))


def geqrf(input: Tensor) -> Any:
    """The reflections of a QR factorization: R in the upper triangle, vectors below it, and their factors tau."""
    from adjit.ir.types import TensorType

    require_matrices("torch.geqrf", input, "input")
    require_kernel("geqrf_cpu", input)
    type = input._tensor_type
    *lead, m, n = type.dims
    count = m if m == n else min(m, n)  # type: ignore[type-var]
    types = (type, TensorType(type.dtype, (*lead, count)))
    return Geqrf(*hosted((input.detach(),), {"function": "linalg.geqrf", "types": types}))


def orgqr(input: Tensor, input2: Tensor) -> Tensor:
    """The first columns of the product of reflections: `linalg.householder_product`."""
    return householder_product(input, input2)


def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """Q @ other, Q^H @ other, other @ Q or other @ Q^H, for the Q of reflections."""
    for tensor, name in ((input, "input"), (other, "other")):
        if len(shape_of(tensor)) < 2:
            raise RuntimeError(f"torch.ormqr: {name} must have at least 2 dimensions.")
    rows = -2 if left else -1
    a, t, b = shape_of(input), shape_of(tau), shape_of(other)
    if b[rows] != a[-2]:
        raise RuntimeError(f"torch.ormqr: other.shape[{rows}] must be equal to input.shape[-2]")
    if t[-1] != min(b[rows], a[-1]):
        raise RuntimeError(f"torch.ormqr: tau.shape[-1] must be equal to min(other.shape[{rows}], input.shape[-1])")
    if len(a) - len(t) != 1:
        raise RuntimeError(
            "torch.ormqr: Expected tau to have one dimension less than input, but got tau.ndim equal to "
            f"{len(t)} and input.ndim is equal to {len(a)}"
        )
    if len(a) != len(b):
        raise RuntimeError(
            "torch.ormqr: Expected other to have the same number of dimensions as input, but got other.ndim equal to "
            f"{len(b)} and input.ndim is equal to {len(a)}"
        )
    for tensor, name in ((tau, "tau"), (other, "other")):
        if tuple(shape_of(tensor))[: len(a) - 2] != tuple(a)[:-2]:
            raise RuntimeError(
                f"torch.ormqr: Expected batch dimensions of {name} to be equal to input.shape[:-2], but got "
                f"{list(tuple(shape_of(tensor))[: len(a) - 2])}"
            )
        if tensor._dtype is not input._dtype:
            raise RuntimeError(
                f"torch.ormqr: Expected input and {name} to have the same dtype, but input has dtype "
                f"{title_of(input._dtype)} and {name} has dtype {title_of(tensor._dtype)}"
            )
    vectors, inner = reflections(input, tau)
    inner = mH(inner) if transpose else inner
    if left:
        return other - matmul(vectors, matmul(inner, matmul(mH(vectors), other)))
    return other - matmul(matmul(matmul(other, vectors), inner), mH(vectors))


# -- low rank -------------------------------------------------------------------------------------------------------
def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None) -> tuple[Tensor, ...]:
    """U, S, V of a matrix near A of rank q, by products with random matrices.

    Source: Halko, Martinsson and Tropp, 2009, algorithm 5.1.
    """
    q, niter = 6 if q is None else q, 2 if niter is None else niter
    if M is not None:
        A = A - M.expand(shape_of(A))
    m, n = shape_of(A)[-2:]
    wide = m < n
    if wide:
        A = mH(A)
    basis = _range(A, q, niter)
    u, s, vh = _svd(matmul(mH(basis), A), False)
    u, v = matmul(basis, u), mH(vh)
    return (v, s, u) if wide else (u, s, v)


def _range(A: Tensor, q: int, niter: int) -> Tensor:
    """An orthonormal basis near the range of A.  Algorithm 4.4 there."""
    from adjit.random import randn

    found = matmul(A, randn(shape_of(A)[-1], q, dtype=A.dtype))
    basis = _qr(found)[0]
    for _ in range(niter):
        basis = _qr(matmul(mH(A), basis))[0]
        basis = _qr(matmul(A, basis))[0]
    return basis  # type: ignore[no-any-return]


def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> tuple[Tensor, ...]:
    """U, S, V of the principal components of the rows of A: of A less its rows' mean where `center`."""
    m, n = shape_of(A)[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)


METHODS: dict[str, Callable[..., Any]] = {
    "cholesky": cholesky, "cholesky_inverse": cholesky_inverse, "cholesky_solve": cholesky_solve, "det": det,
    "geqrf": geqrf, "inverse": inverse, "logdet": logdet, "lu": lu, "lu_solve": lu_solve, "matrix_exp": matrix_exp,
    "matrix_power": matrix_power, "orgqr": orgqr, "ormqr": ormqr, "pinverse": pinverse, "qr": qr, "slogdet": slogdet,
    "svd": svd, "triangular_solve": triangular_solve,
}  # fmt: skip
__all__ = [
    "cholesky", "cholesky_inverse", "cholesky_solve", "det", "geqrf", "inverse", "logdet", "lu", "lu_solve",
    "lu_unpack", "matrix_exp", "matrix_power", "orgqr", "ormqr", "pca_lowrank", "pinverse", "qr", "slogdet", "svd",
    "svd_lowrank", "triangular_solve",
]  # fmt: skip
