"""Factorizations of float32 matrices in float32, as LAPACK has them: `numpy.linalg` computes in float64 and rounds.

NumPy's compiled module has loops of both precisions; with one that has not, the references serve.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjit.ir.ops import factorization

Array = NDArray[Any]

try:
    from numpy.linalg import _umath_linalg as loops
except ImportError:  # a build of another kind
    loops = None  # type: ignore[assignment]


def _serves(a: Array) -> bool:
    return loops is not None and a.dtype == np.float32 and a.size > 0


def _fail(error: str, flag: int) -> None:
    raise np.linalg.LinAlgError(error)


def _run(name: str, a: Array, signature: str) -> Any:
    """The loop's results; LinAlgError where LAPACK comes to no end, which NumPy's loops tell by the flag `invalid`."""
    with np.errstate(call=_fail, invalid="call", over="ignore", divide="ignore", under="ignore"):
        return getattr(loops, name)(a, signature=signature)


def eigh(a: Array, *, upper: bool) -> tuple[Array, Array]:
    """`ir.ops.factorization.eigh`."""
    if not _serves(a):
        return factorization.eigh.reference(a, upper=upper)  # type: ignore[no-any-return]
    try:
        values, vectors = _run("eigh_up" if upper else "eigh_lo", a, "f->ff")
    except np.linalg.LinAlgError:
        raise factorization.no_end("linalg.eigh", a) from None
    return values, vectors


def eigenvalues(a: Array, *, upper: bool) -> Array:
    """`ir.ops.factorization.eigenvalues`."""
    if not _serves(a):
        return factorization.eigenvalues(a, upper=upper)  # type: ignore[no-any-return]
    try:
        found: Array = _run("eigvalsh_up" if upper else "eigvalsh_lo", a, "f->f")
    except np.linalg.LinAlgError:
        raise factorization.no_end("linalg.eigh", a) from None
    return found if np.isfinite(found).all() else eigh(a, upper=upper)[0]


def svd(a: Array, *, full: bool) -> tuple[Array, Array, Array]:
    """`ir.ops.factorization.svd`."""
    if not _serves(a):
        return factorization.svd.reference(a, full=full)  # type: ignore[no-any-return]
    try:
        u, s, vh = _run("svd_f" if full else "svd_s", a, "f->fff")
    except np.linalg.LinAlgError:
        raise factorization.no_end("linalg.svd", a) from None
    return u, s, vh


def singular_values(a: Array, *, full: bool) -> Array:
    """`ir.ops.factorization.singular_values`."""
    if not _serves(a):
        return factorization.singular_values(a, full=full)  # type: ignore[no-any-return]
    try:
        found: Array = _run("svd", a, "f->f")
    except np.linalg.LinAlgError:
        raise factorization.no_end("linalg.svd", a) from None
    return found if np.isfinite(found).all() else svd(a, full=full)[1]
