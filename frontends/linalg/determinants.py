"""Determinants and their logarithms."""

from __future__ import annotations

from typing import Any

from adjit.complex_parts import complex as of_parts
from adjit.complex_parts import conj_physical, imag
from adjit.composite import composite
from adjit.creation import ones_like
from adjit.dims import shape_of
from adjit.dispatch import apply
from adjit.elementwise import abs as absolute
from adjit.elementwise import log, sgn, where
from adjit.ir.primitive import PRIMITIVES
from adjit.joining import cat
from adjit.linalg.checks import identity, mH, require_continuous, require_kernel, require_square
from adjit.linalg.factors import factored, svd
from adjit.linalg.ruled import apply_with_rule
from adjit.linalg.systems import by_adjoint_factors
from adjit.logic import isfinite
from adjit.promotion import cast_to
from adjit.results import named_result
from adjit.shaping import unsqueeze
from adjit.tensor import Tensor

Slogdet = named_result("linalg_slogdet", "sign", "logabsdet")


def _diagonal(factors: Tensor) -> Tensor:
    from adjit.diagonals import diagonal

    return diagonal(factors, 0, -2, -1)


def _parity(pivots: Tensor, like: Tensor) -> Tensor:
    """1 for an even number of exchanges of rows, else -1."""
    position = apply(PRIMITIVES["iota"], (), {
        "shape": tuple(shape_of(pivots)), "axis": len(shape_of(pivots)) - 1, "dtype": pivots._dtype,
    })  # fmt: skip
    exchanged = cast_to(pivots != position + 1, like._dtype)
    return (1 - 2 * exchanged).prod(-1)  # type: ignore[no-any-return]


def _scaled_inverse(a: Tensor, factors: Tensor, order: Tensor, scale: Tensor) -> Tensor:
    """scale * a^-H."""
    units = identity(a, shape_of(a)[-1], tuple(shape_of(a))[:-2])
    return by_adjoint_factors(a, factors, order, units * unsqueeze(unsqueeze(scale, -1), -1))


def _det(a: Tensor, factors: Tensor, order: Tensor, pivots: Tensor) -> tuple[Tensor]:
    return (_diagonal(factors).prod(-1) * _parity(pivots, factors),)


def _det_rule(
    g: Tensor, a: Tensor, factors: Tensor, order: Tensor, pivots: Tensor, found: Tensor
) -> tuple[Tensor]:
    # The derivative is the matrix of cofactors, det(a) a^-T, and the adjoint multiplies by its conjugate.
    operands = a, factors, order, pivots, found
    cofactors = apply_with_rule("LinalgDetBackward", _cofactors, _cofactors_rule, (0,), *operands)
    return (_weighted(cofactors, g),)


def _weighted(matrices: Tensor, weights: Tensor) -> Tensor:
    return matrices * unsqueeze(unsqueeze(weights, -1), -1)


def _cofactors(a: Tensor, factors: Tensor, order: Tensor, pivots: Tensor, found: Tensor) -> tuple[Tensor]:
    """The conjugates of the cofactors, conj(det(a)) a^-H.

    Where a is singular, a 0 on U's diagonal is moved by a rounding error: the cofactors of what results are those of a
    but for rounding.
    """
    from adjit.numeric_limits import finfo

    line = _diagonal(factors)
    moved = where(line == 0, finfo(factors.dtype).eps, line)
    near = factors + (moved - line).diag_embed()
    value = where(found == 0, moved.prod(-1) * _parity(pivots, factors), found)
    return (_scaled_inverse(a, near, order, conj_physical(value)),)


def _cofactors_rule(
    g: Tensor, a: Tensor, factors: Tensor, order: Tensor, pivots: Tensor, found: Tensor, cofactors: Tensor
) -> tuple[Tensor]:
    # With x = a^-T, the derivative of the cofactors in the direction h is det(a) (sum(x*h) x - x h^T x), and the map is
    # its own transpose; the cotangent is the conjugate of its value at g.
    divisor = conj_physical(where(found == 0, 1, found))
    inverse = cofactors / unsqueeze(unsqueeze(divisor, -1), -1)
    along = _weighted(inverse, (inverse * conj_physical(g)).sum((-2, -1)))
    regular = _weighted(along - inverse @ mH(g) @ inverse, divisor)
    singular, at_singular = _slope_at_singular(a.detach(), found.detach(), g)
    return (where(unsqueeze(unsqueeze(singular, -1), -1), at_singular, regular),)


def _slope_at_singular(a: Tensor, found: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Which matrices are singular but for rounding, and the derivative of their conjugate cofactors by h.

    With a = u diag(s) v^H, y = u^H h v and p[i, j] the product of all s but s[i] and s[j] (0 for i = j), the derivative
    of diag(s)'s cofactors has p @ diag(y) on its diagonal and -p*y^T beside it: nothing is divided by.
    """
    from adjit.numeric_limits import finfo

    u, s, vh = svd(where(isfinite(a), a, 0))
    unit = identity(s, shape_of(a)[-1])
    others = where(unit == 1, 1, unsqueeze(s, -2))
    p = (1 - unit) * _exclusive(others) * _exclusive(others.flip(-1)).flip(-1)
    y = cast_to(mH(u) @ h @ mH(vh), a._dtype)
    p = cast_to(p, a._dtype)
    line = (p @ unsqueeze(_diagonal(y), -1))[..., 0]
    inner = line.diag_embed() - p * y.mT
    turn = conj_physical(_constant_det(u) * _constant_det(vh))
    is_singular = (s[..., -1:] <= 100 * finfo(a.dtype).eps * s[..., :1]).any(-1)  # a matrix of none is not
    return is_singular & isfinite(found), _weighted(u @ conj_physical(inner) @ vh, turn)


def _constant_det(a: Tensor) -> Tensor:
    factors, pivots, order, _ = factored(a)
    return _det(a, factors, order, pivots)[0]


def _exclusive(x: Tensor) -> Tensor:
    """out[..., i] = product of x[..., j] over j < i."""
    return cat([ones_like(x[..., :1]), x[..., :-1]], -1).cumprod(-1)  # type: ignore[no-any-return]


def det(input: Tensor) -> Tensor:
    """The determinants of square matrices; the derivative is the matrix of cofactors, for singular ones too.

    The second derivative is right for singular matrices, too; a third one of those is not defined here.

    Shapes: [*, n, n] -> [*].
    """
    require_square("linalg.det", input)
    require_continuous("linalg.det", input, kernel="lu_cpu")
    return _det_of_few(input) if shape_of(input)[-1] in (2, 3) else _det_by_factors(input)  # type: ignore[no-any-return]


@composite("LinalgDet")
def _det_of_few(A: Tensor) -> Tensor:
    """Two or three rows: the sum of products, whose derivatives of every order are those of a polynomial."""

    def minor(i: int, j: int) -> Tensor:
        return A[..., -2, i] * A[..., -1, j] - A[..., -2, j] * A[..., -1, i]

    if shape_of(A)[-1] == 2:
        return minor(0, 1)
    return A[..., 0, 0] * minor(1, 2) - A[..., 0, 1] * minor(0, 2) + A[..., 0, 2] * minor(0, 1)


@composite("LinalgDet")
def _det_by_factors(A: Tensor) -> Tensor:
    factors, pivots, order, _ = factored(A.detach())
    return apply_with_rule("LinalgDet", _det, _det_rule, (0,), A, factors, order, pivots)  # type: ignore[no-any-return]


def _slogdet(a: Tensor, factors: Tensor, order: Tensor, pivots: Tensor) -> tuple[Tensor, Tensor]:
    line = _diagonal(factors)
    return sgn(line).prod(-1) * _parity(pivots, factors), log(absolute(line)).sum(-1)


def _slogdet_rule(
    g_sign: Tensor, g: Tensor, a: Tensor, factors: Tensor, order: Tensor, pivots: Tensor, signs: Tensor, sizes: Tensor
) -> tuple[Tensor]:
    # tr(a^-1 da) is the change of the logarithm: its real part moves the size, its imaginary part the sign.
    if a._dtype.is_complex:
        g = of_parts(g, imag(g_sign * conj_physical(signs)))
    return (_scaled_inverse(a, factors, order, g),)


def slogdet(A: Tensor) -> Any:
    """The signs of determinants, and the logarithms of their sizes.  Shapes: [*, n, n] -> [*], [*]."""
    return _signed("linalg.slogdet", A)


def _signed(name: str, A: Tensor) -> Any:
    require_square(name, A)
    require_continuous(name, A)
    require_kernel("lu_cpu", A)
    return Slogdet(*_slogdet_by_factors(A))


@composite("LinalgSlogdet")
def _slogdet_by_factors(A: Tensor) -> tuple[Tensor, Tensor]:
    factors, pivots, order, _ = factored(A.detach())
    return apply_with_rule("LinalgSlogdet", _slogdet, _slogdet_rule, (0,), A, factors, order, pivots)  # type: ignore[no-any-return]


def logdet(input: Tensor) -> Tensor:
    """The logarithms of determinants; NaN for a negative one, minus infinity for 0; complex of complex matrices."""
    signs, size = _signed("logdet", input)
    if input._dtype.is_complex:
        return log(signs) + size  # type: ignore[no-any-return]
    return where(signs == -1, float("nan"), size)  # type: ignore[no-any-return]
