"""Weights that stay orthogonal: a matrix with orthonormal columns (or rows) as a function of free numbers."""

from __future__ import annotations

from typing import Any

import adjit
from adjit.autograd.modes import no_grad
from adjit.nn.module import Module
from adjit.tensor import Tensor

MAPS = ("matrix_exp", "cayley", "householder")


class _Orthogonal(Module):
    """Q = base @ map(X), transposed where the weight is wider than tall.

    matrix_exp: exp(A), cayley: (I - A/2)^-1 (I + A/2), for A = L - L^T of X's lower triangle L; householder: the
    product of reflections by the columns below X's diagonal, whose signs are on the diagonal.
    Shapes: X [..., n, k] -> Q [..., n, k].
    """

    base: Tensor | None

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        self.use_trivialization = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        """The matrix with orthonormal columns, or rows."""
        wide = X.size(-2) < X.size(-1)
        X = X.mT if wide else X
        Q = _reflections(X) if self.orthogonal_map == "householder" else self._of_skew(X)
        if self.use_trivialization:
            Q = self.base @ Q
        return Q.mT if wide else Q

    def _of_skew(self, X: Tensor) -> Tensor:
        n, k = X.size(-2), X.size(-1)
        lower = X.tril()
        if n != k:
            lower = adjit.cat([lower, X.new_zeros(*X.shape[:-2], n, n - k)], -1)
        skew = lower - lower.mT
        if self.orthogonal_map == "matrix_exp":
            Q = adjit.matrix_exp(skew)
        else:
            identity = adjit.eye(n, dtype=skew.dtype)
            Q = adjit.linalg.solve(identity - 0.5 * skew, identity + 0.5 * skew)
        return Q[..., :k] if n != k else Q  # type: ignore[no-any-return]

    @no_grad()
    def right_inverse(self, value: Tensor) -> Tensor:
        """Free numbers that give `value`, or the orthogonal matrix of its QR factorization.

        Errors: ValueError for another shape, NotImplementedError where the map cannot be inverted.
        """
        if value.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {value.shape}."
            )
        n, k = value.size(-2), value.size(-1)
        Q = value.mT if n < k else value
        n, k = max(n, k), min(n, k)
        if not self.use_trivialization:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            reflectors, tau = adjit.geqrf(Q)
            signs = reflectors.diagonal(dim1=-2, dim2=-1).sign()
            signs = adjit.where(tau == 0, -signs, signs)
            found = reflectors.tril(-1) + _tall(adjit.diag_embed(signs), n)
            return found.mT if value.size(-2) < value.size(-1) else found  # type: ignore[no-any-return]
        if n != k:
            Q = _orthogonalized(adjit.cat([Q, adjit.randn(*Q.shape[:-2], n, n - k, dtype=Q.dtype)], -1))
        else:
            Q = Q.clone() if _is_orthogonal(Q) else _orthogonalized(Q)
        self.base = Q
        # The reflections of this one, and the exponential of its zero skew part, are the identity.
        start = adjit.zeros_like(value)
        start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return start  # type: ignore[no-any-return]


def _reflections(X: Tensor) -> Tensor:
    below = X.tril(-1)
    tau = 2.0 / (1.0 + (below * below).sum(-2))
    signs = X.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
    return adjit.linalg.householder_product(below, tau) * signs  # type: ignore[no-any-return]


def _tall(square: Tensor, rows: int) -> Tensor:
    """The matrix with rows of 0 below, `rows` in all."""
    shape = (*square.shape[:-2], rows - square.size(-2), square.size(-1))
    return adjit.cat([square, square.new_zeros(shape)], -2)  # type: ignore[no-any-return]


def _orthogonalized(A: Tensor) -> Tensor:
    """Q of A = Q R with R's diagonal positive."""
    reflectors, tau = adjit.geqrf(A)
    signs = reflectors.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)
    return adjit.linalg.householder_product(reflectors, tau) * signs  # type: ignore[no-any-return]


def _is_orthogonal(Q: Tensor) -> bool:
    """Whether Q^T Q is the identity, to ten rounding errors a row."""
    bound = 10.0 * Q.size(-2) * adjit.finfo(Q.dtype).eps
    return bool(adjit.allclose(Q.mT @ Q, adjit.eye(Q.size(-1), dtype=Q.dtype), atol=bound))


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """A weight [..., n, k] with orthonormal columns (rows for n < k), by `orthogonal_map`.

    The map is "matrix_exp" (for square weights the default), "cayley" or "householder".  With `use_trivialization` it
    moves the orthogonal matrix that the weight had.  Errors: ValueError for what is no matrix or no map.
    Source: Lezcano-Casado, 2019.
    """
    from adjit.nn.utils.parametrize import register_parametrization

    weight: Any = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.size(-2) == weight.size(-1) else "householder"
    if orthogonal_map not in MAPS:
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)
