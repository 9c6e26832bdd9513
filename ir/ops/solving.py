"""Solutions of linear systems, and the exponential, of batches of matrices.

Leading axes are a batch.  What is solved with is its own derivative's tool, so every order is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adjit.ir.ops.arrays import Array, batch_extent, with_batch, zeros
from adjit.ir.ops.checks import require, require_one_dtype
from adjit.ir.ops.complex import conjugate
from adjit.ir.ops.factorization import require_matrices
from adjit.ir.ops.matrices import adjoint, columns, lower_part, product, rows, transposed, upper_part
from adjit.ir.ops.structure import concat
from adjit.ir.primitive import primitive
from adjit.ir.types import TensorType


def require_sides(op: str, a: TensorType, b: TensorType) -> None:
    """The right sides are matrices of as many rows as the matrix has, in the same batch."""
    require_matrices(op, a, square=True)
    require_one_dtype(op, (a, b))
    require(a.ndim == b.ndim and a.dims[:-1] == b.dims[:-1], f"{op}: {b} are no right sides of {a}")


def substitute(a: Any, b: Any, lower: bool, unit: bool) -> Any:
    """x with a @ x = b by substitution, row by row for a whole batch; only a's triangle is read."""
    x = np.array(b)
    count = a.shape[-1]
    for i in range(count) if lower else reversed(range(count)):
        known = slice(0, i) if lower else slice(i + 1, count)
        x[..., i, :] -= np.matmul(a[..., i : i + 1, known], x[..., known, :])[..., 0, :]
        if not unit:
            x[..., i, :] /= a[..., i, i, None]
    return x


# -- triangles ---------------------------------------------------------------------------------------------------------


@primitive("linalg", exact=False)
def triangular_solve(a: Array, b: Array, *, lower: bool, transpose: bool, unit: bool) -> Array:
    """x with a @ x = b, or a^T @ x = b; a 0 on the diagonal gives infinities.

    Only the triangle of `a` named by `lower` is read, and not its diagonal if `unit`, which says that it is 1.
    Shapes: [*, n, n], [*, n, k] -> [*, n, k].
    """
    a = np.asarray(a)
    if transpose:
        return substitute(np.swapaxes(a, -1, -2), b, not lower, unit)
    return substitute(a, b, lower, unit)


@triangular_solve.infers
def _(a: TensorType, b: TensorType, *, lower: bool, transpose: bool, unit: bool) -> TensorType:
    require_sides("triangular_solve", a, b)
    return b


@triangular_solve.vjps
def _(g: Array, out: Array, a: Array, b: Array, *, lower: bool, transpose: bool, unit: bool) -> tuple[Array, Array]:
    gb = triangular_solve(conjugate(a), g, lower=lower, transpose=not transpose, unit=unit)
    ga = _cotangent_of_matrix(gb, out, transpose)
    edge = 1 if unit else 0
    return -(lower_part(ga, -edge) if lower else upper_part(ga, edge)), gb


def _cotangent_of_matrix(gb: Array, x: Array, transpose: bool) -> Array:
    """-da of a @ x = b, or a^T @ x = b, given the cotangent of b: a^-H g x^H."""
    return product(conjugate(x), transposed(gb)) if transpose else product(gb, adjoint(x))


def adjoint_solve(a: Array, b: Array, *, lower: bool, unit: bool = False) -> Array:
    """x with a^H @ x = b for triangular a."""
    return triangular_solve(conjugate(a), b, lower=lower, transpose=True, unit=unit)


@triangular_solve.batches
def _(batched: Sequence[bool], a: Array, b: Array, **attributes: Any) -> Any:
    extent = batch_extent(batched, (a, b))
    return triangular_solve(with_batch(a, batched[0], extent), with_batch(b, batched[1], extent), **attributes)


# -- LU ----------------------------------------------------------------------------------------------------------------


@primitive("linalg", exact=False)
def lu_solve(a: Array, factors: Array, order: Array, b: Array, *, transpose: bool) -> Array:
    """x with a @ x = b, or a^T @ x = b, given the factors of a[order], which spare the time to find them.

    A singular matrix gives NaN or infinity.
    Shapes: [*, n, n], [*, n, n], i64[*, n], [*, n, k] -> [*, n, k].
    """
    a = np.swapaxes(a, -1, -2) if transpose else np.asarray(a)
    try:
        return np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        return np.full_like(b, np.nan)


@lu_solve.infers
def _(a: TensorType, factors: TensorType, order: TensorType, b: TensorType, *, transpose: bool) -> TensorType:
    require_sides("lu_solve", a, b)
    require(a == factors and order.dims == a.dims[:-1], f"lu_solve: {factors} and {order} are no factors of {a}")
    return b


@lu_solve.vjps
def _(
    g: Array, out: Array, a: Array, factors: Array, order: Array, b: Array, *, transpose: bool
) -> tuple[Array | None, ...]:
    gb = lu_solve(conjugate(a), conjugate(factors), order, g, transpose=not transpose)
    return -_cotangent_of_matrix(gb, out, transpose), zeros(factors), None, gb


@lu_solve.batches
def _(batched: Sequence[bool], *operands: Array, transpose: bool) -> Any:
    extent = batch_extent(batched, operands)
    whole = [with_batch(x, flag, extent) for x, flag in zip(operands, batched, strict=True)]
    return lu_solve(*whole, transpose=transpose)


# -- the exponential ---------------------------------------------------------------------------------------------------

# Al-Mohy and Higham, 2009, table 3.1: the norm up to which the Pade approximant of degree 13 is exact to double.
_RADIUS = 4.25
_PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
    10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip


@primitive("linalg", exact=False)
def matrix_exp(a: Array) -> Array:
    """out = sum over k of a^k / k!, by a Pade approximant of a scaled down, squared up again.

    Shapes: [*, n, n] -> [*, n, n].  Source: Higham, The scaling and squaring method, 2005.
    """
    given = np.asarray(a)
    a = np.array(given, np.result_type(given, np.float64), order="C")  # products round by layout
    count = a.shape[-1]
    if a.size == 0:
        return given.copy()
    norms = np.abs(a).sum(-2).max(-1)
    finite = np.isfinite(norms)
    norms = np.where(finite, norms, 1.0)
    halvings = np.maximum(np.ceil(np.log2(np.maximum(norms, 1e-300) / _RADIUS)), 0).astype(np.int64)
    a = np.where(finite[..., None, None], a, 0.0) * np.exp2(-halvings)[..., None, None]
    unit = np.eye(count)
    a2 = a @ a
    a4, a6 = a2 @ a2, a2 @ a2 @ a2
    c = _PADE
    odd = a6 @ (c[13] * a6 + c[11] * a4 + c[9] * a2) + c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * unit
    even = a6 @ (c[12] * a6 + c[10] * a4 + c[8] * a2) + c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * unit
    odd = a @ odd
    x = np.linalg.solve(even - odd, even + odd)
    for step in range(int(halvings.max(initial=0))):
        x = np.where((halvings > step)[..., None, None], x @ x, x)
    return np.where(finite[..., None, None], x, np.nan).astype(given.dtype)


@matrix_exp.infers
def _(a: TensorType) -> TensorType:
    require_matrices("matrix_exp", a, square=True)
    return a


@matrix_exp.vjps
def _(g: Array, out: Array, a: Array) -> Array:
    # exp of [[x, g], [0, x]] has the derivative of exp at x along g in its upper right block (Mathias, 1996).
    turned = adjoint(a)
    last, count = a.ndim - 1, a.shape[-1]
    block = concat(concat(turned, g, axis=last), concat(zeros(turned), turned, axis=last), axis=last - 1)
    return columns(rows(matrix_exp(block), 0, count), count, count)


@matrix_exp.batches
def _(batched: Sequence[bool], a: Array) -> Any:
    return matrix_exp(a)
