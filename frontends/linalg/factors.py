"""Factorizations: LU, Cholesky, QR, eigenvalues and singular values."""

from __future__ import annotations

from typing import Any

from adjit.diagonals import tril, triu
from adjit.dims import shape_of
from adjit.dispatch import apply
from adjit.errors import explained
from adjit.ir.primitive import PRIMITIVES, primitive_named
from adjit.ir.types import I32, I64, complex_of
from adjit.linalg.checks import (
    led,
    mH,
    ones_on_diagonal,
    require_continuous,
    require_kernel,
    require_matrices,
    require_regular,
    require_square,
)
from adjit.logic import isfinite
from adjit.promotion import cast_to
from adjit.results import named_result
from adjit.state import numbers_are_known
from adjit.tensor import Tensor

CholeskyEx = named_result("linalg_cholesky_ex", "L", "info")
LUFactor = named_result("linalg_lu_factor", "LU", "pivots")
LUFactorEx = named_result("linalg_lu_factor_ex", "LU", "pivots", "info")
LU = named_result("linalg_lu", "P", "L", "U")
QR = named_result("linalg_qr", "Q", "R")
Eig = named_result("linalg_eig", "eigenvalues", "eigenvectors")
Eigh = named_result("linalg_eigh", "eigenvalues", "eigenvectors")
SVD = named_result("linalg_svd", "U", "S", "Vh")


# -- Cholesky -------------------------------------------------------------------------------------------------------
def cholesky_of(a: Tensor, upper: bool) -> tuple[Tensor, Tensor]:
    """The Cholesky factor and LAPACK's info."""
    factor, info = apply(PRIMITIVES["cholesky"], (a,), {"upper": upper}, name="LinalgCholeskyEx")
    return mH(factor) if upper else factor, info


def cholesky_ex(input: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """L with L @ L^H = input (or U with U^H @ U = input), and info: 0, or the order of the minor that is not positive.

    Shapes: [*, n, n] -> [*, n, n], int32 [*].
    """
    require_square("linalg.cholesky", input)
    require_continuous("linalg.cholesky", input, kernel="cholesky_cpu")
    factor, info = cholesky_of(input, upper)
    if check_errors:
        require_regular("linalg.cholesky_ex", info, input)
    return CholeskyEx(factor, info)


def cholesky(input: Tensor, *, upper: bool = False) -> Tensor:
    """L, lower triangular, with L @ L^H = input (or U with U^H @ U = input).

    Errors: LinAlgError for a matrix that is not positive-definite.  Shapes: [*, n, n] -> [*, n, n].
    """
    factor, info = cholesky_ex(input, upper=upper)
    require_regular("linalg.cholesky", info, input)
    return factor  # type: ignore[no-any-return]


# -- LU -------------------------------------------------------------------------------------------------------------
def factored(a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """LU factors in one matrix, pivots from 1, the order of the rows, and info."""
    return apply(PRIMITIVES["lu"], (a,), name="LinalgLuFactorEx")  # type: ignore[no-any-return]


def require_pivoting(name: str, pivot: bool) -> None:
    """Factors without exchanges of rows do not exist on the CPU."""
    if not pivot:
        raise RuntimeError(f"{name}: LU without pivoting is not implemented on the CPU")


def _require_factorable(a: Tensor, name: str) -> None:
    if len(shape_of(a)) < 2:
        raise RuntimeError(f"{name}: Expected tensor with 2 or more dimensions. Got size: {list(shape_of(a))} instead")
    require_kernel("lu_cpu", a)


def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """The factors L and U in one matrix, the exchanges of rows, and info: the first 0 on U's diagonal, from 1, or 0.

    Shapes: [*, m, n] -> [*, m, n], int32 [*, min(m, n)], int32 [*].
    """
    _require_factorable(A, "torch.lu_factor")
    require_pivoting("linalg.lu_factor", pivot)
    factors, pivots, _, info = factored(A)
    if check_errors:
        require_regular("torch.linalg.lu_factor_ex", info, A)
    return LUFactorEx(factors, pivots, info)


def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """The factors L and U in one matrix, and the exchanges of rows.  Errors: RuntimeError for a 0 on U's diagonal."""
    found = lu_factor_ex(A, pivot=pivot)
    require_regular("torch.linalg.lu_factor", found.info, A)
    return LUFactor(found.LU, found.pivots)


def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """P, L, U with A = P @ L @ U.

    Shapes: [*, m, n] -> [*, m, m], [*, m, k], [*, k, n], k = min(m, n).
    """
    _require_factorable(A, "linalg.lu")
    require_pivoting("linalg.lu_factor", pivot)
    factors, _, order, _ = factored(A)
    return LU(permutation(order, factors), *triangles(factors))


def permutation(order: Tensor, like: Tensor) -> Tensor:
    """P with P[order[i], i] = 1."""
    from adjit.shaping import unsqueeze

    shape = (*shape_of(order), shape_of(order)[-1])
    row = apply(PRIMITIVES["iota"], (), {"shape": shape, "axis": len(shape) - 2, "dtype": I64})
    return cast_to(apply(PRIMITIVES["eq"], (row, led(unsqueeze(order, -2), shape[:-2]).expand(shape))), like._dtype)


def triangles(factors: Tensor) -> tuple[Tensor, Tensor]:
    """L, with 1 on its diagonal, and U."""
    m, n = shape_of(factors)[-2:]
    count = m if m == n else min(m, n)
    square = factors if m == n else factors[..., :count]
    lower = tril(square, -1)
    lower = lower + ones_on_diagonal(lower, shape_of(lower))
    return lower, triu(factors if m == n else factors[..., :count, :])


def order_of(pivots: Tensor, rows: Any) -> Tensor:
    """The order of the rows after LAPACK's exchanges: what `pivots` says step by step."""
    lead = tuple(shape_of(pivots))[:-1]
    order = apply(PRIMITIVES["iota"], (), {"shape": (*lead, rows), "axis": len(lead), "dtype": I64})
    host = {"function": "linalg.order", "types": (order._tensor_type,)}
    if pivots._dtype is not I32:
        raise RuntimeError("linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32")
    return hosted((pivots, order), host)[0]


def hosted(operands: tuple[Tensor, ...], attributes: dict[str, Any]) -> tuple[Tensor, ...]:
    """The results of a function of the host: now, or when the traced program runs."""
    found = apply(PRIMITIVES["host_call"], operands, attributes)
    return (found,) if isinstance(found, Tensor) else tuple(found)


# -- QR -------------------------------------------------------------------------------------------------------------
def qr(A: Tensor, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and R upper triangular, Q @ R = A; mode "complete" has a square Q, "r" an empty one.

    Shapes: [*, m, n] -> [*, m, k], [*, k, n], k = min(m, n).
    """
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    require_matrices("linalg.qr", A)
    require_continuous("linalg.qr", A, kernel="geqrf_cpu")
    m, n = shape_of(A)[-2:]
    complete = mode == "complete"
    q, r = apply(PRIMITIVES["qr"], (A,), {"complete": complete}, name="LinalgQr")
    if mode == "r":
        from adjit.creation import constant

        refuse(r, "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use "
                  "linalg.qr(A, mode='reduced') if you are going to differentiate through linalg.qr.")  # fmt: skip
        return QR(constant((0,), 0, A._dtype), r)
    if complete and m > n:
        for result in (q, r):
            refuse(result, "The QR decomposition is not differentiable when mode='complete' and nrows > ncols.")
    return QR(q, r)


def refuse(result: Tensor, fault: str) -> None:
    """Let backward through the function of `result` raise an error."""
    from adjit.autograd.tape import Recorded

    node = None if result._value is None else result._value.node
    if node is not None and isinstance(node.attached, Recorded):
        node.attached.fault = fault


# -- eigenvalues and singular values --------------------------------------------------------------------------------
def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """Eigenvalues, ascending, and eigenvectors of Hermitian matrices, of which one triangle is read.

    Shapes: [*, n, n] -> [*, n], [*, n, n].
    """
    require_square("linalg.eigh", A)
    require_kernel("linalg_eigh_cpu", A)
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return Eigh(*apply(PRIMITIVES["eigh"], (A,), {"upper": UPLO.upper() == "U"}, name="LinalgEigh"))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Eigenvalues of Hermitian matrices, ascending."""
    return eigh(A, UPLO)[0]  # type: ignore[no-any-return]


def eig(A: Tensor) -> Any:
    """Eigenvalues and eigenvectors, which are complex: A @ eigenvectors = eigenvectors * eigenvalues, in no order.

    Shapes: [*, n, n] -> [*, n], [*, n, n].
    """
    require_square("linalg.eig", A)
    require_continuous("linalg.eig", A, kernel="linalg_eig")
    if numbers_are_known() and not bool(isfinite(A.detach()).all()):
        raise explained(
            RuntimeError, "torch.linalg.eig: input tensor should not contain infs or NaNs.", "linalg.eig", {"A": A}
        )
    a = cast_to(A, complex_of(A._dtype))
    return Eig(*apply(primitive_named("eig"), (a,), name="LinalgEig"))


def eigvals(A: Tensor) -> Tensor:
    """The eigenvalues of matrices, which are complex, in no order."""
    return eig(A)[0]  # type: ignore[no-any-return]


def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """U, S, Vh with A = U @ diag(S) @ Vh: S descends, U and Vh have orthonormal columns and rows.

    Shapes: [*, m, n] -> [*, m, k], [*, min(m, n)], [*, l, n] with k, l = m, n if full_matrices, else min(m, n).
    """
    require_matrices("linalg.svd", A)
    require_continuous("linalg.svd", A, kernel="linalg_svd_cpu")
    if driver is not None:
        raise RuntimeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )
    return SVD(*apply(PRIMITIVES["svd"], (A,), {"full": full_matrices}, name="LinalgSvd"))


def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """Singular values, descending.  Shapes: [*, m, n] -> [*, min(m, n)]."""
    return svd(A, False, driver=driver)[1]  # type: ignore[no-any-return]
