"""Linear systems, inverses and least squares."""

from __future__ import annotations

from typing import Any

from adjit.complex_parts import conj_physical
from adjit.composite import composite
from adjit.dims import numel_of, shape_of
from adjit.dispatch import apply
from adjit.dtypes import title_of
from adjit.errors import explained
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import I32
from adjit.linalg.checks import (
    identity,
    led,
    mH,
    mT,
    require_continuous,
    require_matrices,
    require_regular,
    require_square,
    same_batch,
)
from adjit.linalg.factors import factored, order_of
from adjit.results import named_result
from adjit.shaping import reshape, squeeze, unsqueeze
from adjit.tensor import Tensor

InvEx = named_result("linalg_inv_ex", "inverse", "info")
SolveEx = named_result("linalg_solve_ex", "result", "info")


def by_factors(a: Tensor, factors: Tensor, order: Tensor, b: Tensor, transpose: bool = False) -> Tensor:
    """a^-1 @ b, or a^-T @ b, by a's LU factors."""
    return apply(PRIMITIVES["lu_solve"], (a, factors, order, b), {"transpose": transpose}, name="LinalgLuSolve")  # type: ignore[no-any-return]


def by_adjoint_factors(a: Tensor, factors: Tensor, order: Tensor, b: Tensor) -> Tensor:
    """a^-H @ b by a's LU factors."""
    return by_factors(conj_physical(a), conj_physical(factors), order, b, transpose=True)


def by_triangle(a: Tensor, b: Tensor, *, lower: bool, transpose: bool = False, unit: bool = False) -> Tensor:
    """x with a @ x = b, or a^T @ x = b, for triangular a."""
    attributes = {"lower": lower, "transpose": transpose, "unit": unit}
    return apply(PRIMITIVES["triangular_solve"], (a, b), attributes, name="LinalgSolveTriangular")  # type: ignore[no-any-return]


# -- inverse --------------------------------------------------------------------------------------------------------
@composite("LinalgInvEx")
def _inverse(A: Tensor) -> tuple[Tensor, Tensor]:
    factors, _, order, info = factored(A.detach())
    lead = tuple(shape_of(A))[:-2]
    return by_factors(A, factors, order, identity(A, shape_of(A)[-1], lead)), info


def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """The inverse, and info: the first 0 on the diagonal of the LU factors, from 1, or 0."""
    require_square("linalg.inv", A)
    require_continuous("linalg.inv", A)
    inverse, info = _inverse(A)
    if check_errors:
        require_regular("linalg.inv_ex", info, A)
    return InvEx(inverse, info)


def inv(A: Tensor) -> Tensor:
    """The inverse of square matrices.  Errors: LinAlgError for a singular one.  Shapes: [*, n, n] -> [*, n, n]."""
    inverse, info = inv_ex(A)
    require_regular("linalg.inv", info, A)
    return inverse  # type: ignore[no-any-return]


# -- solve ----------------------------------------------------------------------------------------------------------
@composite("LinalgSolveEx")
def _solve(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    factors, _, order, info = factored(A.detach())
    lead = tuple(shape_of(B))[:-2]
    found = by_factors(
        led(A, lead), led(factors, lead), led(order, lead, 1), B
    )
    return found, info


def _is_vector(A: Tensor, B: Tensor) -> bool:
    """Whether B holds one vector for each matrix."""
    a, b = tuple(shape_of(A)), tuple(shape_of(B))
    return len(b) == 1 or (len(a) - 1 == len(b) and b == a[:-1])


def _require_fit(name: str, A: Tensor, B: Tensor, left: bool) -> None:
    """The matrices can be multiplied with the right sides."""
    require_square(name, A)
    a, b = shape_of(A), shape_of(B)
    if a[-1] != (b[-2] if left else b[-1]):
        form = "AX = B" if left else "XA = B"
        raise explained(
            RuntimeError,
            f"{name}: Incompatible shapes of A and B for the equation {form} ({a[-2]}x{a[-1]} and {b[-2]}x{b[-1]})",
            name,
            {"A": A, "B": B},
        )


def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """X with A @ X = B (or X @ A = B), and info: 0 where A is regular."""
    found = _solved("linalg.solve", A, B, left)
    if check_errors:
        require_regular("torch.linalg.solve_ex", found[1], A)
    return found


def _solved(name: str, A: Tensor, B: Tensor, left: bool) -> Any:
    require_continuous(name, A)
    if A._dtype is not B._dtype:
        raise explained(
            RuntimeError,
            f"{name}: Expected A and B to have the same dtype, but found A of type {title_of(A._dtype)} and B of type "
            f"{title_of(B._dtype)} instead",
            name,
            {"A": A, "B": B},
        )
    require_matrices(name, A)
    if not shape_of(B):
        require_matrices(name, B, "B")
    vector = _is_vector(A, B)
    if vector and not left:
        raise RuntimeError(
            f"{name}: Vector broadcasting of the left hand side is not supported for left=False. In this case "
            "linalg.solve is equivalent to B / A.squeeze(-1)"
        )
    right = unsqueeze(B, -1) if vector else B
    _require_fit(name, A, right, left)
    if not left:
        matrix, right = mT(A), mT(right)
    else:
        matrix = A
    _, right = same_batch(matrix, right)
    found, info = _solve(matrix, right)
    found = found if left else mT(found)
    return SolveEx(squeeze(found, -1) if vector else found, info)


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A @ X = B, or X @ A = B.  Errors: LinAlgError for a singular matrix.

    Shapes: [*, n, n], [*, n, k] or [*, n] -> that of B, leading axes broadcast.
    """
    found, info = _solved("linalg.solve", A, B, left)
    require_regular("torch.linalg.solve", info, A)
    return found  # type: ignore[no-any-return]


def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X with A @ X = B (or X @ A = B) for triangular A, of which the other triangle is not read."""
    name = "linalg.solve_triangular"
    require_matrices(name, A)
    require_matrices(name, B, "B")
    _require_fit(name, A, B, left)
    A, B = same_batch(A, B)
    if not left:
        return mT(by_triangle(A, mT(B), lower=not upper, transpose=True, unit=unitriangular))
    return by_triangle(A, B, lower=not upper, unit=unitriangular)


def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """X with A @ X = B, A^H @ X = B (adjoint), X @ A = B or X @ A^H = B, given A's factors from `lu_factor`."""
    name = "linalg.lu_solve"
    require_continuous(name, LU)
    if pivots._dtype is not I32:
        raise RuntimeError(f"{name}: pivots should be a Tensor of scalar type torch.int32")
    _require_fit(name, LU, B, left)
    if shape_of(LU)[-1] != shape_of(pivots)[-1]:
        raise RuntimeError(f"{name}: Number of pivots per batch should be same as the dimension of the matrix")
    if tuple(shape_of(LU))[:-2] != tuple(shape_of(pivots))[:-1]:
        raise RuntimeError(f"{name}: Expected LU.shape[:-1] and pivots.shape to be the same, but got pivots with shape "
                           f"{list(shape_of(pivots))} instead")  # fmt: skip
    order = order_of(pivots, shape_of(LU)[-2])
    if not left:  # A^H @ X^H = B^H
        return mH(_by_given(LU, order, mH(B), not adjoint))
    return _by_given(LU, order, B, adjoint)


def _by_given(LU: Tensor, order: Tensor, b: Tensor, adjoint: bool) -> Tensor:
    """The system by substitution: the factors are operands whose gradients count."""
    from adjit.linalg.factors import permutation
    from adjit.products import matmul

    LU, b = same_batch(LU, b)
    place = permutation(order, LU)
    if adjoint:
        LU = conj_physical(LU)
        found = by_triangle(LU, b, lower=False, transpose=True)
        return matmul(place, by_triangle(LU, found, lower=True, transpose=True, unit=True))
    found = by_triangle(LU, _placed(place, b), lower=True, unit=True)
    return by_triangle(LU, found, lower=False)


def _placed(place: Tensor, b: Tensor) -> Tensor:
    from adjit.products import matmul

    return matmul(mT(place), b)


# -- tensors as matrices --------------------------------------------------------------------------------------------
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of A seen as a matrix, whose rows are its first `ind` axes."""
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    shape = tuple(shape_of(A))
    rows, columns = numel_of(shape[:ind]), numel_of(shape[ind:])
    if rows != columns:
        raise RuntimeError(
            f"Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{columns} != {rows}"
        )
    return reshape(inv(reshape(A, rows, columns)), *shape[ind:], *shape[:ind])


def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """X with tensordot(A, X, X.ndim) = B; the axes `dims` of A are moved last first."""
    from adjit.shaping import movedim

    if dims is not None:
        A = movedim(A, tuple(dims), tuple(range(len(shape_of(A)) - len(dims), len(shape_of(A)))))
    shape = tuple(shape_of(A))[len(shape_of(B)) :]
    rows, columns = numel_of(shape_of(B)), numel_of(shape)
    if rows != columns:
        raise RuntimeError(
            f"Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), "
            f"but got {columns} != {rows}"
        )
    return reshape(solve(reshape(A, rows, columns), reshape(B, -1)), *shape)
