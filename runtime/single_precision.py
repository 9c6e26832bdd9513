"""Factorizations of float32 matrices in float32, as LAPACK has them: `numpy.linalg` computes in float64 and rounds.

NumPy's compiled module has loops of both precisions; with one that has not, the references serve.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjit.ir.ops import factorization
from adjit.ir.ops.factorization import where_finite

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
    loop = "eigh_up" if upper else "eigh_lo"
    values, vectors = where_finite("linalg.eigh", a, lambda x: _run(loop, x, "f->ff"), upper=upper)
    return values, vectors


def eigenvalues(a: Array, *, upper: bool) -> Array:
    """`ir.ops.factorization.eigenvalues`."""
    if not _serves(a):
        return factorization.eigenvalues(a, upper=upper)  # type: ignore[no-any-return]
    loop = "eigvalsh_up" if upper else "eigvalsh_lo"
    found: Array
    (found,) = where_finite("linalg.eigh", a, lambda x: (_run(loop, x, "f->f"),), upper=upper)
    return found


def svd(a: Array, *, full: bool) -> tuple[Array, Array, Array]:
    """`ir.ops.factorization.svd`."""
    if not _serves(a):
        return factorization.svd.reference(a, full=full)  # type: ignore[no-any-return]
    loop = "svd_f" if full else "svd_s"
    u, s, vh = where_finite("linalg.svd", a, lambda x: _run(loop, x, "f->fff"))
    return u, s, vh


def singular_values(a: Array, *, full: bool) -> Array:
    """`ir.ops.factorization.singular_values`."""
    if not _serves(a):
        return factorization.singular_values(a, full=full)  # type: ignore[no-any-return]
    found: Array
    (found,) = where_finite("linalg.svd", a, lambda x: (_run("svd", x, "f->f"),))
    return found
