"""Maps of numbers to triangular and to positive definite matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from adjit.creation import eye, zeros
from adjit.distributions import constraints
from adjit.distributions.composition import PlainTransform
from adjit.joining import cat
from adjit.nn.functional import softplus
from adjit.numeric_limits import finfo
from adjit.ranges import tril_indices
from adjit.tensor import Tensor

linalg: Any = import_module("adjit.linalg")


class LowerCholeskyTransform(PlainTransform):
    """The lower triangle of a matrix, with the exponential of its diagonal."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def _call(self, x: Tensor) -> Tensor:
        return x.tril(-1) + x.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()


class PositiveDefiniteTransform(PlainTransform):
    """L L^T, L the lower triangle of a matrix with the exponential of its diagonal."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def _call(self, x: Tensor) -> Tensor:
        root = LowerCholeskyTransform()(x)
        return root @ root.mT

    def _inverse(self, y: Tensor) -> Tensor:
        return LowerCholeskyTransform().inv(linalg.cholesky(y))


class CorrCholeskyTransform(PlainTransform):
    """k*(k - 1)/2 numbers as the Cholesky factor of a k by k correlation matrix, whose rows have length 1.

    The tanh of each number, row by row below the diagonal, is the share of its row's length that is left over by the
    entries before it; the diagonal takes the rest.
    """

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        eps = finfo(x.dtype).eps
        size = self.forward_shape(x.shape)[-1]
        share = _placed(x.tanh().clamp(min=-1 + eps, max=1 - eps), size)
        left = (1 - share**2).sqrt().cumprod(-1)
        return (share + eye(size, dtype=x.dtype)) * _shifted(left)

    def _inverse(self, y: Tensor) -> Tensor:
        return _below(y / _shifted(1 - (y * y).cumsum(-1)).clamp(min=finfo(y.dtype).tiny).sqrt()).atanh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The slopes of tanh, and of each row's entries by their shares: of x and the entries below y's diagonal."""
        left = _below(1 - (y * y).cumsum(-1), -2)
        return 0.5 * left.log().sum(-1) - 2 * (x + softplus(-2 * x) - math.log(2.0)).sum(-1)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """(..., k, k)."""
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        count = shape[-1]
        size = round((0.25 + 2 * count) ** 0.5 + 0.5)
        if size * (size - 1) // 2 != count:
            raise ValueError("Input is not a flattened lower-diagonal number")
        return (*shape[:-1], size, size)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """(..., k*(k - 1)/2)."""
        if len(shape) < 2:
            raise ValueError("Too few dimensions on input")
        if shape[-2] != shape[-1]:
            raise ValueError("Input is not square")
        return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)


def _placed(values: Tensor, size: int) -> Tensor:
    """Numbers row by row below the diagonal of a matrix of zeros."""
    rows, columns = tril_indices(size, size, -1)
    flat = zeros((*values.shape[:-1], size * size), dtype=values.dtype)
    return flat.index_add(-1, rows * size + columns, values).unflatten(-1, (size, size))


def _below(matrix: Tensor, diagonal: int = -1) -> Tensor:
    """The numbers on and below a diagonal, row by row."""
    rows, columns = tril_indices(matrix.shape[-1], matrix.shape[-1], diagonal)
    return matrix[..., rows, columns]


def _shifted(matrix: Tensor) -> Tensor:
    """The columns one to the right, behind a column of ones."""
    return cat([matrix[..., :1] * 0 + 1, matrix[..., :-1]], -1)
