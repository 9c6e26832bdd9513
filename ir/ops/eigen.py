"""Eigenvalues and eigenvectors of matrices that need not be symmetric: they are complex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adjit.ir.errors import DTypeError, LinAlgError
from adjit.ir.ops.arrays import Array, zeros
from adjit.ir.ops.checks import require
from adjit.ir.ops.complex import conjugate, real
from adjit.ir.ops.factorization import NONFINITE, lu, require_no_phase
from adjit.ir.ops.matrices import adjoint, as_columns, as_numbers_of, as_rows, on_diagonal, product, with_diagonal
from adjit.ir.ops.solving import lu_solve
from adjit.ir.primitive import primitive
from adjit.ir.types import TensorType


@primitive("linalg", exact=False)
def eig(a: Array) -> tuple[Array, Array]:
    """values, vectors: a @ vectors = vectors * values, in no order; vectors have the length 1.

    Shapes: c64[*, n, n] -> c64[*, n], c64[*, n, n], and c128.  Errors: LinAlgError for NaN and infinity.
    """
    a = np.asarray(a)
    # A matrix without imaginary parts has conjugate pairs of values, which the real algorithm keeps.
    plain = a if np.any(a.imag) else a.real
    try:
        values, vectors = np.linalg.eig(plain)
    except np.linalg.LinAlgError:
        raise LinAlgError(f"linalg.eig: {NONFINITE}") from None
    return values.astype(a.dtype, copy=False), vectors.astype(a.dtype, copy=False)


@eig.infers
def _(a: TensorType) -> tuple[TensorType, TensorType]:
    if not a.dtype.is_complex:
        raise DTypeError(f"eig: an operand is {a}; it takes c64, c128")
    require(a.ndim >= 2 and a.dims[-1] == a.dims[-2], f"eig: {a} is no square matrix")
    return a.with_dims(a.dims[:-1]), a


@eig.vjps
def _(g: tuple[Array, Array], out: tuple[Array, Array], a: Array) -> Array:
    """V^-H (diag(g_values) + (V^H g_V - V^H V Re diag(V^H g_V))/gaps) V^H, off the diagonal.

    A loss that depends on the phases of vectors, which are arbitrary, has no derivative.
    Source: Boeddeker, Hanebrink, Drude, Heymann and Haeb-Umbach, 2017.
    """
    (g_values, g_vectors), (values, vectors) = g, out
    count = values.shape[-1]
    turned_back = adjoint(vectors)
    turned = product(turned_back, g_vectors)
    require_no_phase("linalg_eig_backward", turned)
    lengths = real(with_diagonal(zeros(turned), turned))
    turned = turned - product(turned_back, product(vectors, as_numbers_of(lengths, turned)))
    steps = conjugate(as_rows(values, count) - as_columns(values, count))
    inner = turned / with_diagonal(steps, zeros(steps) + 1)
    inner = with_diagonal(inner, on_diagonal(g_values))
    factors, _, order, _ = lu(turned_back)
    return lu_solve(turned_back, factors, order, product(inner, turned_back), transpose=False)


@eig.batches
def _(batched: Sequence[bool], a: Array) -> Any:
    return eig(a)
