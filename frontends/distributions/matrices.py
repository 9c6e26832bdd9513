"""Distributions of positive definite matrices and of their Cholesky factors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from adjit.autograd.modes import no_grad
from adjit.creation import empty, eye, tensor, zeros
from adjit.distributions import constraints
from adjit.distributions.distribution import Distribution, broadcast_all, lazy_property
from adjit.distributions.gamma import Beta, Chi2
from adjit.distributions.multivariate import _root, linalg
from adjit.elementwise import where
from adjit.joining import cat
from adjit.numeric_limits import finfo
from adjit.promotion import broadcast_shapes
from adjit.ranges import arange
from adjit.special import multigammaln
from adjit.state import STATE
from adjit.tensor import Tensor


class LKJCholesky(Distribution):
    """Cholesky factors L of correlation matrices, whose density is proportional to det(L L^T)**(concentration - 1).

    Source: Lewandowski, Kurowicka and Joe, 2009.
    """

    arg_constraints = {"concentration": constraints.positive}  # noqa: RUF012
    support = constraints.corr_cholesky
    _tensors = ("concentration",)

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None) -> None:
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        super().__init__(self.concentration.shape, (dim, dim), validate_args=validate_args)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Row i is a random direction of i entries times the root of a beta value, and the rest on the diagonal."""
        shape = tuple(self._extended_shape(sample_shape))
        with no_grad():
            like = self.concentration
            before = arange(self.dim - 1, dtype=like.dtype)
            before = cat([before[:1], before])
            other = (like + 0.5 * (self.dim - 2)).unsqueeze(-1) - 0.5 * before
            share = Beta(before + 0.5, other).sample(sample_shape).unsqueeze(-1)
            normal = empty(shape, dtype=like.dtype).normal_().tril(-1)
            square = (normal**2).sum(-1, keepdim=True)
            row = share.sqrt() * normal / where(square > 0, square, 1.0).sqrt()
            rest = (1 - (row**2).sum(-1)).clamp(min=finfo(like.dtype).tiny).sqrt()
            return row + rest.diag_embed()

    def log_prob(self, value: Tensor) -> Tensor:
        """sum((2*(concentration - 1) + dim - i)*log(L_ii), i from 2) - the logarithm of the normalizer."""
        self._validate_sample(value)
        n = self.dim - 1
        order = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim
        order = order - arange(2, self.dim + 1, dtype=self.concentration.dtype)
        density = (order * value.diagonal(dim1=-2, dim2=-1)[..., 1:].log()).sum(-1)
        alpha = self.concentration + 0.5 * n
        return density - (0.5 * n * math.log(math.pi) + multigammaln(alpha - 0.5, n) - n * alpha.lgamma())


class Wishart(Distribution):
    """The sum of df outer products of normal vectors with this covariance; df need not be whole."""

    support = constraints.positive_definite
    has_rsample = True
    _tensors = ("df", "covariance_matrix", "precision_matrix", "scale_tril", "_scale_tril")

    def __init__(
        self, df: Any, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None, validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        given = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        named = [(name, matrix) for name, matrix in given.items() if matrix is not None]
        if len(named) != 1:
            raise AssertionError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        name, matrix = named[0]
        if matrix.dim() < 2:
            raise ValueError("scale_tril must be at least two-dimensional, with optional leading batch dimensions")
        count = df if isinstance(df, Tensor) else tensor(df, dtype=matrix.dtype)
        batch, event = broadcast_shapes(tuple(matrix.shape[:-2]), tuple(count.shape)), matrix.shape[-2:]
        self.df = count.expand(*batch) if batch else count
        if STATE.tracer is None:
            if bool((self.df <= event[-1] - 1).any()):
                raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {event[-1] - 1}.")
            if bool((self.df < event[-1]).any()):
                warnings.warn(
                    "Low df values detected. Singular samples are highly likely to occur for ndim - 1 < df < ndim.",
                    stacklevel=2,
                )
        self.__dict__[name] = matrix.expand(*batch, -1, -1)
        super().__init__(batch, event, validate_args=validate_args)
        expanded = self.__dict__[name]
        self._scale_tril = expanded if name == "scale_tril" else _root(name, expanded)

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """df above the size - 1; one matrix of three."""
        return {
            "covariance_matrix": constraints.positive_definite, "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky, "df": constraints.greater_than(self.event_shape[-1] - 1),
        }  # fmt: skip

    @lazy_property
    def scale_tril(self) -> Tensor:
        """L, where L L^T is the covariance."""
        return self._scale_tril

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """L L^T."""
        return self._scale_tril @ self._scale_tril.mT

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The covariance's inverse."""
        one = eye(self._event_shape[-1], dtype=self._scale_tril.dtype).expand(*self._scale_tril.shape)
        inverse = linalg.solve_triangular(self._scale_tril, one, upper=False)
        return inverse.mT @ inverse

    @property
    def mean(self) -> Tensor:
        """df*covariance."""
        return self.df[..., None, None] * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        """(df - p - 1)*covariance for df > p + 1, else NaN; p the size."""
        factor = self.df - self._event_shape[-1] - 1
        return where(factor > 0, factor, math.nan)[..., None, None] * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        """df*(c_ij**2 + c_ii*c_jj), c the covariance."""
        c = self.covariance_matrix
        diagonal = c.diagonal(dim1=-2, dim2=-1)
        return self.df[..., None, None] * (c**2 + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2))

    def _halves(self) -> Tensor:
        """(df - i)/2 for i < p, in a last axis."""
        return (self.df.unsqueeze(-1) - arange(self._event_shape[-1], dtype=self._scale_tril.dtype)) / 2

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """(L A)(L A)^T, A normal below roots of chi-squared values.  Source: Bartlett, 1933."""
        like = self._scale_tril
        spread = Chi2(2 * self._halves(), validate_args=False).rsample(sample_shape).sqrt()
        below = zeros(tuple(self._extended_shape(sample_shape)), dtype=like.dtype).normal_().tril(-1)
        root = like @ (below + spread.clamp(min=finfo(like.dtype).eps).diag_embed())
        return root @ root.mT

    def _log_det(self) -> Tensor:
        """p*log(2)/2 + log det L."""
        return self._event_shape[-1] * math.log(2) / 2 + self._scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """((df - p - 1)*log det X - trace(covariance^-1 X))/2 - df*(p*log(2)/2 + log det L) - log gamma_p(df/2)."""
        self._validate_sample(value)
        p = self._event_shape[-1]
        trace = (self.precision_matrix * value).sum((-2, -1))
        inner = (self.df - p - 1) / 2 * linalg.slogdet(value)[1] - trace / 2
        return inner - self.df * self._log_det() - multigammaln(self.df / 2, p)

    def entropy(self) -> Tensor:
        """(p + 1)*(p*log(2)/2 + log det L) + log gamma_p(df/2) - (df - p - 1)/2*digamma_p(df/2) + df*p/2."""
        p = self._event_shape[-1]
        slope = (self.df - p - 1) / 2 * self._halves().digamma().sum(-1)
        return (p + 1) * self._log_det() + multigammaln(self.df / 2, p) - slope + self.df * p / 2
