"""Factorizations of batches of matrices: Cholesky, LU, QR, eigenvectors of Hermitian matrices, singular values.

Leading axes are a batch; A^H is the conjugate transpose, for real matrices the transpose.  The references are NumPy's;
programs call the host for them (`host_call`), which has faster ways.  The derivatives hold where the factors are
differentiable functions: for distinct eigenvalues or singular values, for matrices of full rank.  The rules are
adjoints of complex maps as they stand: a cotangent is dL/dRe + i*dL/dIm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from adjit.ir.errors import DTypeError, LinAlgError
from adjit.ir.ops.arrays import Array, counted, dtype_of, zeros
from adjit.ir.ops.checks import require
from adjit.ir.ops.matrices import (
    adjoint,
    as_columns,
    as_numbers_of,
    as_rows,
    columns,
    lower_part,
    on_diagonal,
    product,
    quotient,
    rows,
    upper_part,
    with_diagonal,
)
from adjit.ir.primitive import primitive, primitive_named
from adjit.ir.shape import Size
from adjit.ir.types import F32, F64, I32, I64, TensorType

NONFINITE = "The algorithm failed to converge because the input matrix contained non-finite values."

# Fewer small matrices than these are not worth the compilation of a kernel in eager mode, nor in programs that are to
# have the bits of eager mode.
MANY_MATRICES = 16


def require_matrices(op: str, a: TensorType, *, square: bool = False) -> None:
    """The operand is a batch of matrices of numbers with parts in float32 or float64."""
    if a.dtype.part not in (F32, F64):
        raise DTypeError(f"{op}: an operand is {a}; it takes f32, f64, c64, c128")
    require(a.ndim >= 2, f"{op}: {a} is no matrix")
    require(not square or a.dims[-1] == a.dims[-2], f"{op}: {a} is not square")


def least(op: str, m: Size, n: Size) -> Size:
    """The smaller of two sizes, which must be known to be."""
    if m == n:
        return m
    require(isinstance(m, int) and isinstance(n, int), f"{op}: the smaller of {m} and {n} is not known")
    return min(m, n)  # type: ignore[type-var]


def _skew(x: Array) -> Array:
    return x - adjoint(x)


def require_no_phase(name: str, *turned: Array) -> None:
    """Let the program raise PyTorch's error where the diagonal of V^H g, or of a sum of such, has imaginary parts.

    Complex vectors are defined up to factors of size 1; a loss that depends on them has no derivative.
    """
    if dtype_of(turned[0]).is_complex:
        primitive_named("host_call")(*turned, function=f"linalg.phase.{name}", types=())


# -- Cholesky ----------------------------------------------------------------------------------------------------------


@primitive("linalg", exact=False)
def cholesky(a: Array, *, upper: bool) -> tuple[Array, Array]:
    """factor with factor @ factor^H = a, lower triangular; info = 0, or the order of a leading minor not positive.

    Only one triangle of `a` is read.  Shapes: [*, n, n] -> [*, n, n], i32[*].
    """
    a = np.conjugate(np.swapaxes(a, -1, -2)) if upper else np.asarray(a)
    factor, info = np.empty(a.shape, a.dtype), np.zeros(a.shape[:-2], np.int32)
    try:
        factor[...] = np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        for place in np.ndindex(*info.shape):
            info[place] = _first_bad_minor(a[place])
            factor[place] = np.nan if info[place] else np.linalg.cholesky(a[place])
    # LAPACK takes a pivot of NaN for a positive one.
    nan = np.isnan(np.diagonal(factor, 0, -2, -1)) & (info == 0)[..., None]
    bad = nan.any(-1)
    if bad.any():
        info[bad] = nan[bad].argmax(-1) + 1
        factor[bad] = np.nan
    return factor, info


def _first_bad_minor(a: Any) -> int:
    """The least order of a leading minor that is not positive-definite, or 0: every greater one is not either."""
    low, high = 0, a.shape[0] + 1  # minors up to `low` are good, from `high` on bad
    while high - low > 1:
        order = (low + high) // 2
        try:
            np.linalg.cholesky(a[:order, :order])
            low = order
        except np.linalg.LinAlgError:
            high = order
    return high if high <= a.shape[0] else 0


@cholesky.infers
def _(a: TensorType, *, upper: bool) -> tuple[TensorType, TensorType]:
    require_matrices("cholesky", a, square=True)
    return a, TensorType(I32, a.dims[:-2])


@cholesky.vjps
def _(g: tuple[Array, Any], out: tuple[Array, Array], a: Array, *, upper: bool) -> Array:
    # a = L L^H, so L^-1 da L^-H = X + X^H with X = L^-1 dL lower triangular.
    from adjit.ir.ops.solving import adjoint_solve

    factor = out[0]
    inner = lower_part(product(adjoint(factor), g[0])) * 0.5
    left = adjoint_solve(factor, inner + adjoint(lower_part(inner, -1)), lower=True)
    return adjoint(adjoint_solve(factor, adjoint(left), lower=True))


# -- LU ----------------------------------------------------------------------------------------------------------------


@primitive("linalg", exact=False)
def lu(a: Array) -> tuple[Array, Array, Array, Array]:
    """factors, pivots, order, info: a[order] = L @ U, with L below the diagonal of `factors` and U on and above it.

    pivots[i] is the row, counted from 1, that step i exchanged with row i; info the first 0 on U's diagonal, counted
    from 1, or 0.  Shapes: [*, m, n] -> [*, m, n], i32[*, min(m, n)], i64[*, m], i32[*].
    """
    factors = np.array(a)
    *lead, m, n = factors.shape
    count = min(m, n)
    pivots = np.zeros((*lead, count), np.int32)
    order = np.zeros((*lead, m), np.int64)
    info = np.zeros(tuple(lead), np.int32)
    for place in np.ndindex(*lead):
        order[place] = np.arange(m)
        matrix = factors[place]
        for step in range(count):
            column = matrix[step:, step]
            found = step + int(np.argmax(np.abs(column.real) + np.abs(column.imag)))  # as LAPACK measures sizes
            pivots[(*place, step)] = found + 1
            if found != step:
                matrix[[step, found]] = matrix[[found, step]]
                order[place][[step, found]] = order[place][[found, step]]
            if matrix[step, step] == 0:
                info[place] = info[place] or step + 1
                continue
            matrix[step + 1 :, step] /= matrix[step, step]
            matrix[step + 1 :, step + 1 :] -= np.outer(matrix[step + 1 :, step], matrix[step, step + 1 :])
    return factors, pivots, order, info


@lu.infers
def _(a: TensorType) -> tuple[TensorType, ...]:
    require_matrices("lu", a)
    *lead, m, n = a.dims
    count = least("lu", m, n)
    return a, TensorType(I32, (*lead, count)), TensorType(I64, (*lead, m)), TensorType(I32, tuple(lead))


@lu.vjps
def _(g: tuple[Any, ...], out: tuple[Array, ...], a: Array) -> Array:
    from adjit.ir.ops.solving import adjoint_solve, triangular_solve

    factors, _, order, _ = out
    m, n = factors.shape[-2:]
    count = least("lu", m, n)
    square = rows(columns(factors, 0, count), 0, count)
    given = rows(columns(g[0], 0, count), 0, count)

    def within(x: Array, y: Array) -> Array:
        """L^-H (tril(x, -1) + triu(y)) U^-H."""
        left = adjoint_solve(square, lower_part(x, -1) + upper_part(y), lower=True, unit=True)
        return adjoint(triangular_solve(square, adjoint(left), lower=False, transpose=False, unit=False))

    unit = with_diagonal(lower_part(square), zeros(square) + 1)
    upper = upper_part(square)
    if m == n:
        found = within(product(adjoint(unit), lower_part(given, -1)), product(upper_part(given), adjoint(upper)))
    elif m == count:  # wide: a = P L [U1 U2]
        g_rest, rest = columns(g[0], count, n - count), columns(factors, count, n - count)
        lower = product(adjoint(unit), lower_part(given, -1)) - product(g_rest, adjoint(rest))
        first = within(lower, product(upper_part(given), adjoint(upper)))
        second = adjoint_solve(square, g_rest, lower=True, unit=True)
        found = _joined(first, second, factors.ndim - 1)
    else:  # tall: a = P [L1; L2] U
        g_rest, rest = rows(g[0], count, m - count), rows(factors, count, m - count)
        above = product(upper_part(given), adjoint(upper)) - product(adjoint(rest), g_rest)
        first = within(product(adjoint(unit), lower_part(given, -1)), above)
        second = adjoint(triangular_solve(square, adjoint(g_rest), lower=False, transpose=False, unit=False))
        found = _joined(first, second, factors.ndim - 2)
    return put_rows(found, order)


def _joined(first: Array, second: Array, axis: int) -> Array:
    from adjit.ir.ops.structure import concat

    return concat(first, second, axis=axis)


def put_rows(x: Array, order: Array) -> Array:
    """out[..., order[i], :] = x[..., i, :]: the inverse of taking rows in an order."""
    from adjit.ir.ops.indexing import scatter_add

    shape = tuple(x.shape)
    places = [counted(x, shape, axis) for axis in range(x.ndim)]
    places[-2] = as_columns(order, shape[-1])
    return scatter_add(zeros(x), x, *places, axes=tuple(range(x.ndim)))


# -- QR ----------------------------------------------------------------------------------------------------------------


@primitive("linalg", exact=False)
def qr(a: Array, *, complete: bool) -> tuple[Array, Array]:
    """q, r with q @ r = a: q has orthonormal columns, r is upper triangular.

    Shapes: [*, m, n] -> [*, m, k], [*, k, n] with k = m if complete, else min(m, n).
    """
    a = np.asarray(a)
    q, r = np.linalg.qr(a, "complete" if complete else "reduced")
    return q.astype(a.dtype, copy=False), r.astype(a.dtype, copy=False)


@qr.infers
def _(a: TensorType, *, complete: bool) -> tuple[TensorType, TensorType]:
    require_matrices("qr", a)
    *lead, m, n = a.dims
    count = m if complete else least("qr", m, n)
    return a.with_dims((*lead, m, count)), a.with_dims((*lead, count, n))


@qr.vjps
def _(g: tuple[Array, Array], out: tuple[Array, Array], a: Array, *, complete: bool) -> Array:
    from adjit.ir.ops.solving import triangular_solve

    (gq, gr), (q, r) = g, out
    m, n = a.shape[-2:]
    count = least("qr", m, n)
    if q.shape[-1] != count:  # the columns beyond count are any complement: only the others vary with a
        q, gq, r, gr = columns(q, 0, count), columns(gq, 0, count), rows(r, 0, count), rows(gr, 0, count)
    g_rest = None
    if count != n:  # wide: a = q [r1 r2], and r2 = q^H a2
        g_rest = columns(gr, count, n - count)
        gq = gq + product(columns(a, count, n - count), adjoint(g_rest))
        gr, r = columns(gr, 0, count), columns(r, 0, count)
    inner = upper_part(product(gr, adjoint(r)) - product(adjoint(q), gq))
    inner = inner + adjoint(inner)
    total = gq + product(q, with_diagonal(inner, inner * 0.5))
    first = adjoint(triangular_solve(r, adjoint(total), lower=False, transpose=False, unit=False))
    return first if g_rest is None else _joined(first, product(q, g_rest), a.ndim - 1)


# -- eigenvectors ------------------------------------------------------------------------------------------------------


@primitive("linalg", exact=False)
def eigh(a: Array, *, upper: bool) -> tuple[Array, Array]:
    """values, vectors of Hermitian matrices: a @ vectors = vectors * values, values real and ascending.

    Only one triangle of `a` is read.  Shapes: [*, n, n] -> [*, n], [*, n, n].  Errors: LinAlgError for
    NaN; matrices with an infinity have results of NaN.
    """
    a = np.asarray(a)
    triangle: Literal["U", "L"] = "U" if upper else "L"
    values, vectors = where_finite("linalg.eigh", a, lambda x: tuple(np.linalg.eigh(x, triangle)), upper=upper)
    return values.astype(a.real.dtype, copy=False), vectors.astype(a.dtype, copy=False)


def eigenvalues(a: Array, *, upper: bool) -> Array:
    """The first result of `eigh` alone, for which much less is to be done; the errors are those of both."""
    a = np.asarray(a)
    triangle: Literal["U", "L"] = "U" if upper else "L"
    (found,) = where_finite("linalg.eigh", a, lambda x: (np.linalg.eigvalsh(x, triangle),), upper=upper)
    return found.astype(a.real.dtype, copy=False)


def where_finite(
    name: str, a: Any, algorithm: Callable[[Any], tuple[Any, ...]], *, upper: bool | None = None
) -> tuple[Any, ...]:
    """algorithm(a), with NaN for the matrices that have an infinity: LAPACK need not come to an end for them.

    `upper` is the triangle that the algorithm for Hermitian matrices reads.  Errors: LinAlgError for NaN, and where
    the algorithm comes to no end.
    """
    infinite = None
    # A single number is its own eigenvalue, whatever it is.
    if not np.isfinite(a).all() and (upper is None or a.shape[-1] > 1):
        read = a if upper is None else np.triu(a) if upper else np.tril(a)
        if np.isnan(read).any():
            raise _no_end(name, read)
        infinite = np.isinf(read).any((-2, -1))
        a = np.where(infinite[..., None, None], a.dtype.type(0), a)
    try:
        results = algorithm(a)
    except np.linalg.LinAlgError:
        raise _no_end(name, a) from None
    if infinite is not None:
        for each in results:
            each[infinite] = np.nan
    return results


def _no_end(name: str, a: Any) -> LinAlgError:
    """The error for an algorithm that comes to no end."""
    return LinAlgError(f"{name}: {_element(a)}{NONFINITE}")


def _element(a: Any) -> str:
    """Which element of a batch has NaN."""
    if a.ndim == 2:
        return ""
    flat = a.reshape(-1, *a.shape[-2:])
    number = next((index for index, matrix in enumerate(flat) if np.isnan(matrix).any()), 0)
    return f"(Batch element {number}): "


@eigh.infers
def _(a: TensorType, *, upper: bool) -> tuple[TensorType, TensorType]:
    require_matrices("eigh", a, square=True)
    return TensorType(a.dtype.part, a.dims[:-1]), a


@eigh.vjps
def _(g: tuple[Array, Array], out: tuple[Array, Array], a: Array, *, upper: bool) -> Array:
    (g_values, g_vectors), (values, vectors) = g, out
    count = values.shape[-1]
    gaps = as_rows(values, count) - as_columns(values, count)
    turned = product(adjoint(vectors), g_vectors)
    require_no_phase("linalg_eigh_backward", turned)
    # Vectors turn into one another at skew rates: the Hermitian part has no influence.
    inner = quotient(_skew(turned) * 0.5, as_numbers_of(with_diagonal(gaps, zeros(gaps) + 1), turned))
    inner = with_diagonal(inner, on_diagonal(as_numbers_of(g_values, inner)))
    return product(product(vectors, inner), adjoint(vectors))


# -- singular values ---------------------------------------------------------------------------------------------------


@primitive("linalg", exact=False)
def svd(a: Array, *, full: bool) -> tuple[Array, Array, Array]:
    """u, s, vh with (u * s) @ vh = a: u's columns and vh's rows are orthonormal, s >= 0 descends.

    Shapes: [*, m, n] -> [*, m, k], [*, min(m, n)], [*, l, n] with k, l = m, n if full, else min(m, n).  Errors:
    LinAlgError for NaN; matrices with an infinity have results of NaN.
    """
    a = np.asarray(a)
    found = where_finite("linalg.svd", a, lambda x: tuple(np.linalg.svd(x, full)))
    u, s, vh = (x.astype(dtype, copy=False) for x, dtype in zip(found, (a.dtype, a.real.dtype, a.dtype), strict=True))
    return u, s, vh


def singular_values(a: Array, *, full: bool) -> Array:
    """The second result of `svd` alone, for which much less is to be done; the errors are those of all."""
    a = np.asarray(a)
    (found,) = where_finite("linalg.svd", a, lambda x: (np.linalg.svd(x, full, compute_uv=False),))
    return found.astype(a.real.dtype, copy=False)


@svd.infers
def _(a: TensorType, *, full: bool) -> tuple[TensorType, TensorType, TensorType]:
    require_matrices("svd", a)
    *lead, m, n = a.dims
    count = least("svd", m, n)
    left, right = (m, n) if full else (count, count)
    values = TensorType(a.dtype.part, (*lead, count))
    return a.with_dims((*lead, m, left)), values, a.with_dims((*lead, right, n))


@svd.vjps
def _(g: tuple[Array, Array, Array], out: tuple[Array, Array, Array], a: Array, *, full: bool) -> Array:
    (gu, gs, gvh), (u, s, vh) = g, out
    m, n = a.shape[-2:]
    count = s.shape[-1]
    if full:
        u, gu, vh, gvh = columns(u, 0, count), columns(gu, 0, count), rows(vh, 0, count), rows(gvh, 0, count)
    of_u = product(adjoint(u), gu)
    of_v = product(vh, adjoint(gvh))
    require_no_phase("svd_backward", of_u, of_v)
    s, gs = as_numbers_of(s, u), as_numbers_of(gs, u)
    across, down = as_rows(s, count), as_columns(s, count)
    gaps = (across - down) * (across + down)
    gaps = with_diagonal(gaps, zeros(gaps) + 1)
    turned_u = quotient(_skew(of_u), gaps) * across
    turned_v = quotient(_skew(of_v), gaps) * down
    inner = with_diagonal(turned_u + turned_v, on_diagonal(gs))
    if dtype_of(u).is_complex:  # what turns a column of u against its row of vh
        inner = inner + with_diagonal(zeros(inner), quotient(_skew(of_u) * 0.5, across))
    left = product(u, inner)
    if m != count:
        outside = gu - product(u, of_u)
        left = left + quotient(outside, as_rows(s, m))
    found = product(left, vh)
    if n != count:
        outside = gvh - product(adjoint(of_v), vh)
        found = found + product(u, quotient(outside, as_columns(s, n)))
    return found


# -- batches -----------------------------------------------------------------------------------------------------------


def _batched(op: Any) -> None:
    """Leading axes are a batch already."""

    def rule(batched: Sequence[bool], a: Array, **attributes: Any) -> Any:
        return op(a, **attributes)

    op.batches(rule)


for _op in (cholesky, lu, qr, eigh, svd):
    _batched(_op)
