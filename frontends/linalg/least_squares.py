"""Least squares and pseudoinverses."""

from __future__ import annotations

from typing import Any

from adjit.complex_parts import conj_physical, squared_size
from adjit.composite import composite
from adjit.creation import constant
from adjit.dims import shape_of
from adjit.dtypes import title_of
from adjit.elementwise import abs as absolute
from adjit.elementwise import reciprocal, sign, where
from adjit.ir.types import BF16, F16, I64
from adjit.linalg.checks import led, mH, require_square
from adjit.linalg.factors import eigh, qr, svd
from adjit.linalg.norms import tolerance
from adjit.linalg.ruled import apply_with_rule
from adjit.linalg.systems import by_triangle
from adjit.products import matmul
from adjit.promotion import broadcast_shapes
from adjit.results import named_result
from adjit.shaping import unsqueeze
from adjit.tensor import Tensor

Lstsq = named_result("linalg_lstsq", "solution", "residuals", "rank", "singular_values")


# -- pseudoinverse --------------------------------------------------------------------------------------------------
def _pinv(a: Tensor, inverse: Tensor) -> tuple[Tensor]:
    return (inverse.clone(),)


def _pinv_rule(g: Tensor, a: Tensor, inverse: Tensor, found: Tensor) -> tuple[Tensor]:
    """Source: Golub and Pereyra, 1973, in an order that multiplies the smaller matrices first."""
    turned = mH(g)
    m, n = shape_of(a)[-2:]
    if m <= n:
        k = matmul(turned, found)
        tall = matmul(k, mH(found))
        return (
            -mH(matmul(found, k))
            + tall
            - matmul(matmul(a, found), tall)
            + matmul(matmul(mH(found), found), turned - matmul(k, a)),
        )
    k = matmul(found, turned)
    wide = matmul(mH(found), k)
    return (
        -mH(matmul(k, found))
        + matmul(turned - matmul(a, k), matmul(found, mH(found)))
        + wide
        - matmul(wide, matmul(found, a)),
    )


def pinv(
    A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """The pseudoinverse: singular values up to max(atol, rtol * the greatest) count as 0.

    Shapes: [*, m, n] -> [*, n, m].
    """
    if len(shape_of(A)) < 2 or not A._dtype.is_continuous or A._dtype in (F16, BF16):
        raise RuntimeError(
            f"linalg.pinv({title_of(A._dtype)}{{{list(shape_of(A))}}}): expected a tensor with 2 or more dimensions of "
            "float, double, cfloat or cdouble types"
        )
    rtol = rcond if rcond is not None else rtol
    *lead, m, n = shape_of(A)
    if hermitian:
        require_square("linalg.eigh", A)
    if m == 0 or n == 0:
        return A.new_zeros((*lead, n, m)) + 0 * A.sum()  # type: ignore[no-any-return]
    if isinstance(atol, Tensor) or isinstance(rtol, Tensor):
        return _inverted(A, atol, rtol, hermitian)
    found: Tensor = _inverted_within(A, atol, rtol, hermitian)
    return found


def _inverted(A: Tensor, atol: Any, rtol: Any, hermitian: bool) -> Tensor:
    inverse = _pseudoinverse(A.detach(), atol, rtol, hermitian)
    return apply_with_rule("LinalgPinv", _pinv, _pinv_rule, (0,), A, inverse)  # type: ignore[no-any-return]


@composite("LinalgPinv")
def _inverted_within(A: Tensor, atol: float | None, rtol: float | None, hermitian: bool) -> Tensor:
    return _inverted(A, atol, rtol, hermitian)


def _pseudoinverse(a: Tensor, atol: Any, rtol: Any, hermitian: bool) -> Tensor:
    if hermitian:
        values, vectors = eigh(a)
        sizes = absolute(values)
        kept = sizes > tolerance(a, sizes.amax(-1, keepdim=True), atol, rtol)
        inverse = where(kept, sign(values) * reciprocal(where(kept, sizes, 1.0)), 0.0)
        return matmul(vectors * unsqueeze(inverse, -2), mH(vectors))
    u, s, vh = svd(a, False)
    kept = s > tolerance(a, s[..., :1], atol, rtol)
    inverse = where(kept, reciprocal(where(kept, s, 1.0)), 0.0)
    return matmul(mH(vh) * unsqueeze(inverse, -2), mH(u))


# -- least squares --------------------------------------------------------------------------------------------------
_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """The X of least norm among those with least |A @ X - B|: solution, residuals, rank, singular values.

    Driver "gels" takes A to be of full rank; the others count singular values up to rcond * the greatest as 0.
    Shapes: [*, m, n], [*, m, k] or [*, m] -> [*, n, k] or [*, n].
    """
    name = "torch.linalg.lstsq"
    a, b = tuple(shape_of(A)), tuple(shape_of(B))
    if len(a) < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    if len(b) < 1:
        raise RuntimeError(f"{name}: other must have at least 1 dimension.")
    if A._dtype is not B._dtype:
        raise RuntimeError(
            f"{name}: Expected input and other to have the same dtype, but got input's dtype {title_of(A._dtype)} and "
            f"other's dtype {title_of(B._dtype)}"
        )
    if not 0 <= len(a) - len(b) <= 1:
        raise RuntimeError(
            f"{name}: input.dim() must be greater or equal to other.dim() and (input.dim() - other.dim()) <= 1"
        )
    driver = "gelsy" if driver is None else driver
    if driver not in _DRIVERS:
        raise RuntimeError(f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")
    vector = len(a) - 1 == len(b) and a[:-1] == b[: len(a) - 1]
    if a[-2] != (b[-1] if vector or len(b) == 1 else b[-2]):
        raise RuntimeError(f"{name}: input.size(-2) should match other.size({-1 if len(b) == 1 or vector else -2})")
    right = unsqueeze(B, -1) if vector else B
    lead = broadcast_shapes(a[:-2], tuple(shape_of(right))[:-2])
    matrix, right = led(A, lead), led(right, lead)
    empty = constant((0,), 0, A._dtype.part)
    rank = constant((0,), 0, I64)
    values = empty
    m, n = a[-2:]
    if driver == "gels":
        solution = _full_rank(matrix, right)
    elif m == 0 or n == 0:
        solution = right.new_zeros((*lead, n, shape_of(right)[-1]))
        rank = constant(a[:-2], 0, I64)
    else:
        s = svd(A.detach(), False)[1]
        from adjit.numeric_limits import finfo

        cut = finfo(A.dtype).eps * max(m, n) if rcond is None else rcond
        rank = (s > s[..., :1] * cut).sum(-1)
        values = s if driver in ("gelsd", "gelss") else empty
        solution = matmul(pinv(matrix, rtol=cut), right)
    residuals = constant((0,), 0, A._dtype.part)
    if m > n and driver != "gelsy" and _all_of_full_rank(rank, n, driver):
        missing = matmul(matrix, solution) - right
        residuals = (squared_size(missing) if A._dtype.is_complex else missing * missing).sum(-2)
    if vector:
        solution = solution.squeeze(-1)
    return Lstsq(solution, residuals, rank, values)


def _all_of_full_rank(rank: Tensor, n: Any, driver: str) -> bool:
    """Whether residuals are told: in a trace ranks are not known, and taken to be full."""
    from adjit.state import numbers_are_known

    return driver == "gels" or not numbers_are_known() or bool((rank == n).all())


def _full_rank(a: Tensor, b: Tensor) -> Tensor:
    """The solution by QR, or by QR of the transpose where there are fewer rows than columns."""
    m, n = shape_of(a)[-2:]
    if m >= n:
        q, r = qr(a)
        return by_triangle(r, matmul(mH(q), b), lower=False)
    q, r = qr(mH(a))
    return matmul(q, by_triangle(conj_physical(r), b, lower=False, transpose=True))
