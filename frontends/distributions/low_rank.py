"""The normal distribution whose covariance is a diagonal and a few outer products."""

from __future__ import annotations

import math
from collections.abc import Sequence

from adjit.creation import eye, zeros
from adjit.distributions import constraints
from adjit.distributions.distribution import Distribution, lazy_property
from adjit.distributions.multivariate import linalg
from adjit.shaping import broadcast_tensors
from adjit.tensor import Tensor


class LowRankMultivariateNormal(Distribution):
    """The multivariate normal distribution of covariance W W^T + D, W the factor and D the diagonal.

    Only the small matrix C = I + W^T D^-1 W is factored: det(W W^T + D) = det(C)*det(D), and
    (W W^T + D)^-1 = D^-1 - D^-1 W C^-1 W^T D^-1.  Source: Woodbury, 1950.
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real_vector, "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }  # fmt: skip
    support = constraints.real_vector
    has_rsample = True
    _tensors = ("loc", "cov_factor", "cov_diag")

    def __init__(self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: bool | None = None) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        event = loc.shape[-1:]
        if cov_factor.dim() < 2:
            raise ValueError("cov_factor must be at least two-dimensional, with optional leading batch dimensions")
        if cov_factor.shape[-2:-1] != event:
            raise ValueError(f"cov_factor must be a batch of matrices with shape {event[0]} x m")
        if cov_diag.shape[-1:] != event:
            raise ValueError(f"cov_diag must be a batch of vectors with shape {event}")
        try:
            columns = broadcast_tensors(loc.unsqueeze(-1), cov_factor, cov_diag.unsqueeze(-1))
        except RuntimeError as error:
            raise ValueError(
                f"Incompatible batch shapes: loc {loc.shape}, cov_factor {cov_factor.shape}, cov_diag {cov_diag.shape}"
            ) from error
        self.loc, self.cov_factor, self.cov_diag = columns[0][..., 0], columns[1], columns[2][..., 0]
        super().__init__(self.loc.shape[:-1], event, validate_args=validate_args)

    def _scaled(self) -> Tensor:
        """W^T D^-1."""
        return self.cov_factor.mT / self.cov_diag.unsqueeze(-2)

    def _capacitance_root(self) -> Tensor:
        """The Cholesky factor of C."""
        one = eye(self.cov_factor.shape[-1], dtype=self.loc.dtype)
        found: Tensor = linalg.cholesky(self._scaled() @ self.cov_factor + one)
        return found

    def _half_log_det(self) -> Tensor:
        """log det(W W^T + D)/2."""
        return self._capacitance_root().diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * self.cov_diag.log().sum(-1)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """L = D^(1/2) cholesky(I + D^(-1/2) W W^T D^(-1/2)), where L L^T is the covariance."""
        root = self.cov_diag.sqrt().unsqueeze(-1)
        scaled = self.cov_factor / root
        found: Tensor = root * linalg.cholesky(scaled @ scaled.mT + eye(self._event_shape[0], dtype=self.loc.dtype))
        return found

    @property
    def covariance_matrix(self) -> Tensor:
        """W W^T + D."""
        return self.cov_factor @ self.cov_factor.mT + self.cov_diag.diag_embed()

    @property
    def precision_matrix(self) -> Tensor:
        """The covariance's inverse."""
        part = linalg.solve_triangular(self._capacitance_root(), self._scaled(), upper=False)
        return self.cov_diag.reciprocal().diag_embed() - part.mT @ part

    @property
    def mean(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The covariance's diagonal."""
        return (self.cov_factor**2).sum(-1) + self.cov_diag

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """loc + W x + D^(1/2) y for x and y standard normal."""
        shape = tuple(self._extended_shape(sample_shape))
        x = zeros((*shape[:-1], self.cov_factor.shape[-1]), dtype=self.loc.dtype).normal_()
        y = zeros(shape, dtype=self.loc.dtype).normal_()
        return self.loc + (self.cov_factor @ x.unsqueeze(-1)).squeeze(-1) + self.cov_diag.sqrt() * y

    def log_prob(self, value: Tensor) -> Tensor:
        """-(d^T (W W^T + D)^-1 d + k*log(2 pi) + log det(W W^T + D))/2, d = x - loc."""
        self._validate_sample(value)
        d = value - self.loc
        inner = (self._scaled() @ d.unsqueeze(-1))
        root = self._capacitance_root()
        white = linalg.solve_triangular(root.expand(*inner.shape[:-2], *root.shape[-2:]), inner, upper=False)
        square = (d**2 / self.cov_diag).sum(-1) - (white.squeeze(-1) ** 2).sum(-1)
        return -0.5 * (square + self._event_shape[0] * math.log(2 * math.pi)) - self._half_log_det()

    def entropy(self) -> Tensor:
        """(k*(1 + log(2 pi)) + log det(W W^T + D))/2."""
        return 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + self._half_log_det()
