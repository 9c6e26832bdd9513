"""The host's ways of the ops on matrices: what eager mode and compiled programs run for the family `linalg`.

Where NumPy has the algorithm the op's own reference is the way; LU and triangular systems go to LAPACK and BLAS.  The
checks raise PyTorch's errors for what a factorization says of its matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjit.ir.errors import LinAlgError
from adjit.ir.ops import eigen, factorization, solving
from adjit.ir.ops.factorization import NONFINITE
from adjit.ir.primitive import PRIMITIVES, Primitive
from adjit.runtime import lapack, single_precision
from adjit.runtime.host import HostFunction, register_host_function

Array = NDArray[Any]


def host_name(op: Primitive, attributes: Mapping[str, Any]) -> str:
    """The name of the host's function for an op with these attributes, which are flags."""
    return ".".join(("linalg", op.name, *(name for name, flag in sorted(attributes.items()) if flag)))


# -- LU and triangles --------------------------------------------------------------------------------------------------
def lu(a: Array) -> tuple[Array, Array, Array, Array]:
    """`ir.ops.factorization.lu` by LAPACK, where there is one."""
    if not lapack.available():
        return factorization.lu.reference(a)  # type: ignore[no-any-return]
    *lead, m, n = a.shape
    count = min(m, n)
    factors = np.empty(a.shape, a.dtype)
    pivots, order = np.zeros((*lead, count), np.int32), np.zeros((*lead, m), np.int64)
    info = np.zeros(tuple(lead), np.int32)
    for place in np.ndindex(*lead):
        rows = list(range(m))
        if count:
            matrix = np.array(a[place], order="F")
            exchanged, info[place] = lapack.factorize(matrix)
            factors[place] = matrix
            pivots[place] = exchanged
            for step, other in enumerate(exchanged.tolist()):
                rows[step], rows[other - 1] = rows[other - 1], rows[step]
        order[place] = rows
    return factors, pivots, order, info


def triangular_solve(a: Array, b: Array, *, lower: bool, transpose: bool, unit: bool) -> Array:
    """`ir.ops.solving.triangular_solve` by BLAS, where there is one."""
    if not lapack.available():
        return solving.triangular_solve.reference(a, b, lower=lower, transpose=transpose, unit=unit)  # type: ignore[no-any-return]
    x = np.array(b, order="C")
    if x.size:
        a = np.ascontiguousarray(a)
        count, columns = x.shape[-2:]
        solve = lapack.triangle_solver(x.dtype, count, columns, lower=lower, transpose=transpose, unit=unit)
        for place in np.ndindex(*x.shape[:-2]):
            solve(a[place], x[place])
    return x


def lu_solve(a: Array, factors: Array, order: Array, b: Array, *, transpose: bool) -> Array:
    """`ir.ops.solving.lu_solve` by substitution."""
    order = np.broadcast_to(order[..., None], b.shape)
    if not transpose:
        x = np.take_along_axis(b, order, -2)
        x = triangular_solve(factors, x, lower=True, transpose=False, unit=True)
        return triangular_solve(factors, x, lower=False, transpose=False, unit=False)
    found = triangular_solve(factors, b, lower=False, transpose=True, unit=False)
    found = triangular_solve(factors, found, lower=True, transpose=True, unit=True)
    x = np.empty_like(found)
    np.put_along_axis(x, order, found, -2)
    return x


_FASTER: dict[str, Callable[..., Any]] = {
    "lu": lu, "triangular_solve": triangular_solve, "lu_solve": lu_solve, "eigh": single_precision.eigh,
    "svd": single_precision.svd,
}  # fmt: skip


# By op: the result that has a way of its own where the others are not asked for, and that way.
ALONE: dict[str, tuple[int, Callable[..., Array]]] = {
    "eigh": (0, single_precision.eigenvalues), "svd": (1, single_precision.singular_values)
}  # fmt: skip
# What the name of such a way ends in.
ALONE_SUFFIX = ".alone"


def _way(function: Callable[..., Any], attributes: dict[str, Any]) -> HostFunction:
    def run(*operands: Array) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            results = function(*operands, **attributes)
        return results if isinstance(results, tuple) else (results,)

    return run


def _register_ops() -> None:
    assert eigen and factorization and solving  # they fill the registry
    for op in [op for op in PRIMITIVES.values() if op.family == "linalg"]:
        for flags in product((False, True), repeat=len(op.attributes)):
            attributes = dict(zip(op.attributes, flags, strict=True))
            name = host_name(op, attributes)
            register_host_function(name, _way(_FASTER.get(op.name, op.reference), attributes))
            if op.name in ALONE:
                register_host_function(name + ALONE_SUFFIX, _way(ALONE[op.name][1], attributes))


# -- checks ------------------------------------------------------------------------------------------------------------
_INVERSION = (
    "The diagonal element {info} is zero, the inversion could not be completed because the input matrix is singular."
)
_SOLVE = "The solver failed because the input matrix is singular."
_CHOLESKY = (
    "The factorization could not be completed because the input is not positive-definite (the leading minor of order "
    "{info} is not positive-definite)."
)
_LU = (
    "U[{info},{info}] is zero and using it on lu_solve would result in a division by zero. If you still want to "
    "perform the factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"
)
_LDL = "D[{info},{info}] is zero: the factors cannot be used to solve a system."
CHECKS = {
    "linalg.inv": _INVERSION, "linalg.inv_ex": _INVERSION, "torch.linalg.solve": _SOLVE,
    "torch.linalg.solve_ex": _SOLVE, "linalg.cholesky": _CHOLESKY, "linalg.cholesky_ex": _CHOLESKY,
    "cholesky": _CHOLESKY, "cholesky_inverse": _INVERSION, "torch.linalg.lu_factor": _LU,
    "torch.linalg.lu_factor_ex": _LU, "torch.linalg.ldl_factor": _LDL, "torch.linalg.ldl_factor_ex": _LDL,
    "linalg.eigh": NONFINITE, "linalg.svd": NONFINITE,
}  # fmt: skip


def _check(name: str, info: Array) -> tuple[()]:
    """LinAlgError for the first matrix whose `info` is not 0."""
    bad = np.flatnonzero(info)
    if bad.size:
        element = "" if info.ndim == 0 else f"(Batch element {bad[0]}): "
        error = RuntimeError if CHECKS[name] in (_LU, _LDL) else LinAlgError
        raise error(f"{name}: {element}{CHECKS[name].format(info=info.reshape(-1)[bad[0]])}")
    return ()


def _register_checks() -> None:
    for name in CHECKS:
        register_host_function(f"linalg.check.{name}", partial(_check, name))


# -- phases ------------------------------------------------------------------------------------------------------------
_PHASE = (
    "{name}: The {vectors} in the complex case are specified up to multiplication by e^{{i phi}}. "
    "The specified loss {fault}"
)
PHASES = {
    "linalg_eig_backward": ("eigenvectors", "function depends on this quantity, so it is ill-defined."),
    "linalg_eigh_backward": ("eigenvectors", "function depends on this quantity, so it is ill-defined."),
    "svd_backward": ("singular vectors", "function depends on this phase term, making it ill-defined."),
}


def _require_no_phase(name: str, *turned: Array) -> tuple[()]:
    """RuntimeError where the diagonals of V^H g, with g the cotangent of V, do not sum to real numbers."""
    *others, last = (np.diagonal(x, 0, -2, -1).imag for x in turned)
    total = sum(others, last)
    # PyTorch's tolerances.
    if np.any(np.abs(total) > 0.01 + (0.01 * np.abs(last) if others else 0)):
        vectors, fault = PHASES[name]
        raise RuntimeError(_PHASE.format(name=name, vectors=vectors, fault=fault))
    return ()


def _register_phases() -> None:
    for name in PHASES:
        register_host_function(f"linalg.phase.{name}", partial(_require_no_phase, name))


def rows_after(pivots: Array, order: Array) -> tuple[Array]:
    """The rows in `order` after the exchanges that `pivots` lists, from 1."""
    found = np.array(order)
    count = order.shape[-1]
    for place in np.ndindex(*pivots.shape[:-1]):
        rows = found[place].tolist()
        for step, other in enumerate(pivots[place].tolist()):
            if not 1 <= other <= count:
                raise RuntimeError(
                    "Pivots given to lu_solve must all be "
                    + ("greater or equal to 1" if other < 1 else "smaller or equal to LU.size(-2)")
                    + ". Did you properly pass the result of lu_factor?"
                )
            rows[step], rows[other - 1] = rows[other - 1], rows[step]
        found[place] = rows
    return (found,)


def ldl_factor(hermitian: bool, a: Array) -> tuple[Array, Array, Array]:
    """LAPACK's factors of symmetric or Hermitian matrices, of which the lower triangle is read; its pivots and info."""
    factors, pivots, info = a.copy(), np.zeros(a.shape[:-1], np.int32), np.zeros(a.shape[:-2], np.int32)
    for place in np.ndindex(*info.shape):
        if a.shape[-1]:
            matrix = np.array(np.tril(a[place]), order="F")
            pivots[place], info[place] = lapack.factorize_symmetric(matrix, hermitian)
            factors[place] = matrix
    return factors, pivots, info


def ldl_solve(hermitian: bool, factors: Array, pivots: Array, b: Array) -> tuple[Array]:
    """The solution given what `ldl_factor` found."""
    x = b.copy()
    for place in np.ndindex(*b.shape[:-2]):
        if x[place].size:
            column = np.array(b[place], order="F")
            lapack.solve_symmetric(np.array(factors[place], order="F"), pivots[place], column, hermitian)
            x[place] = column
    return (x,)


def geqrf(a: Array) -> tuple[Array, Array]:
    """LAPACK's QR factorization as reflections, by NumPy's mode "raw"."""
    *lead, m, n = a.shape
    factors, tau = np.array(a), np.zeros((*lead, min(m, n)), a.dtype)
    for place in np.ndindex(*lead):
        if a[place].size:
            turned, scales = np.linalg.qr(a[place], "raw")
            factors[place], tau[place] = turned.T, scales
    return factors, tau


register_host_function("linalg.geqrf", geqrf)
for _function in (ldl_factor, ldl_solve):
    for _hermitian in (False, True):
        _name = f"linalg.{_function.__name__}" + (".hermitian" if _hermitian else "")
        register_host_function(_name, partial(_function, _hermitian))
register_host_function("linalg.order", rows_after)
_register_ops()
_register_checks()
_register_phases()
