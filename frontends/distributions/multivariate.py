"""The multivariate normal distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from adjit.creation import eye, zeros
from adjit.distributions import constraints
from adjit.distributions.distribution import Distribution, lazy_property
from adjit.promotion import broadcast_shapes
from adjit.tensor import Tensor

linalg: Any = import_module("adjit.linalg")


class MultivariateNormal(Distribution):
    """loc + L x for x standard normal, where L L^T is the covariance and L lower triangular."""

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite, "scale_tril": constraints.lower_cholesky,
    }  # fmt: skip
    support = constraints.real_vector
    has_rsample = True
    _tensors = ("loc", "covariance_matrix", "precision_matrix", "scale_tril")

    def __init__(
        self, loc: Tensor, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None, validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        given = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        named = [(name, matrix) for name, matrix in given.items() if matrix is not None]
        if len(named) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        name, matrix = named[0]
        if matrix.dim() < 2:
            raise ValueError(f"{name} must be at least two-dimensional, with optional leading batch dimensions")
        batch = broadcast_shapes(tuple(matrix.shape[:-2]), tuple(loc.shape[:-1]))
        self.loc = loc.expand(*batch, -1)
        self.__dict__[name] = matrix.expand(*batch, -1, -1)
        super().__init__(batch, self.loc.shape[-1:], validate_args=validate_args)
        self._unbroadcasted_scale_tril = matrix if name == "scale_tril" else _root(name, self.__dict__[name])

    @lazy_property
    def scale_tril(self) -> Tensor:
        """L."""
        return self._expanded(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """L L^T."""
        return self._expanded(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The covariance's inverse."""
        inverse = linalg.solve_triangular(self.scale_tril, eye(self._event_shape[0], dtype=self.loc.dtype), upper=False)
        return inverse.mT @ inverse

    def _expanded(self, matrix: Tensor) -> Tensor:
        return matrix.expand(*self._batch_shape, -1, -1)

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
        found: Tensor = (self._unbroadcasted_scale_tril**2).sum(-1)
        return found.expand(*self._batch_shape, *self._event_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """loc + L x."""
        x = zeros(tuple(self._extended_shape(sample_shape)), dtype=self.loc.dtype).normal_()
        return self.loc + (self._unbroadcasted_scale_tril @ x.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """-|L^-1 (x - loc)|**2/2 - k*log(2 pi)/2 - log det L."""
        self._validate_sample(value)
        difference = (value - self.loc).unsqueeze(-1)
        root = self._unbroadcasted_scale_tril
        batch = broadcast_shapes(tuple(root.shape[:-2]), tuple(difference.shape[:-2]))
        white = linalg.solve_triangular(
            root.expand(*batch, -1, -1), difference.expand(*batch, -1, -1), upper=False
        ).squeeze(-1)
        square = self._event_shape[0] * math.log(2 * math.pi) + (white**2).sum(-1)
        return -0.5 * square - self._half_log_det()

    def _half_log_det(self) -> Tensor:
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def entropy(self) -> Tensor:
        """k*(1 + log(2 pi))/2 + log det L."""
        found = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + self._half_log_det()
        return found.expand(*self._batch_shape)


def _root(name: str, matrix: Tensor) -> Tensor:
    """The lower triangular root of the covariance."""
    if name == "covariance_matrix":
        return linalg.cholesky(matrix)
    flipped = linalg.cholesky(matrix.flip(-2, -1)).flip(-2, -1).mT
    identity = eye(matrix.shape[-1], dtype=matrix.dtype)
    found = linalg.solve_triangular(flipped, identity.expand(*matrix.shape), upper=False)
    return found
