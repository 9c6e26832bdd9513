"""Eigenvalues and eigenvectors of matrices that need not be symmetric: they are complex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adjit.ir.errors import DTypeError, LinAlgError
from adjit.ir.ops.arrays import Array, zeros
from adjit.ir.ops.checks import require
from adjit.ir.ops.complex import conj, imag, make_complex, real
from adjit.ir.ops.factorization import NONFINITE, lu
from adjit.ir.ops.matrices import as_columns, as_rows, on_diagonal, product, rows, transposed, with_diagonal
from adjit.ir.ops.solving import lu_solve
from adjit.ir.ops.structure import concat
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

    A loss that depends on the phases of vectors, which are arbitrary, has no derivative; this one leaves them as they
    are.  Source: Boeddeker, Hanebrink, Drude, Heymann and Haeb-Umbach, 2017.
    """
    (g_values, g_vectors), (values, vectors) = g, out
    count = values.shape[-1]
    adjoint = conj(transposed(vectors))
    turned = product(adjoint, g_vectors)
    lengths = with_diagonal(zeros(turned), turned)
    lengths = make_complex(real(lengths), zeros(real(lengths)))
    turned = turned - product(adjoint, product(vectors, lengths))
    steps = conj(as_rows(values, count) - as_columns(values, count))
    inner = turned / with_diagonal(steps, zeros(steps) + 1)
    inner = with_diagonal(inner, on_diagonal(g_values))
    return solved(adjoint, product(inner, adjoint))


def solved(a: Array, b: Array) -> Array:
    """x with a @ x = b, of complex matrices: a system of the parts, [[re, -im], [im, re]]."""
    last = a.ndim - 1
    count = a.shape[-1]
    block = concat(
        concat(real(a), -imag(a), axis=last), concat(imag(a), real(a), axis=last), axis=last - 1
    )  # fmt: skip
    factors, _, order, _ = lu(block)
    found = lu_solve(block, factors, order, concat(real(b), imag(b), axis=last - 1), transpose=False)
    return make_complex(rows(found, 0, count), rows(found, count, count))


@eig.batches
def _(batched: Sequence[bool], a: Array) -> Any:
    return eig(a)
