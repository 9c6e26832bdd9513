"""The distribution of angles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjit.distributions import constraints
from adjit.distributions.distribution import Distribution, broadcast_all
from adjit.distributions.sampling import von_mises
from adjit.special import i0e, i1e
from adjit.tensor import Tensor


class VonMises(Distribution):
    """exp(k*cos(x - loc))/(2*pi*I0(k)) for angles x, k the concentration.

    The normalizer is exact to rounding; PyTorch's is a polynomial that is right to 1e-7.
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}  # noqa: RUF012
    support = constraints.real
    _tensors = ("loc", "concentration")

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """k*(cos(x - loc) - 1) - log(2*pi) - log(I0(k)*exp(-k))."""
        self._validate_sample(value)
        k = self.concentration
        return k * ((value - self.loc).cos() - 1) - math.log(2 * math.pi) - i0e(k).log()

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Angles in [-pi, pi]."""
        shape = tuple(self._extended_shape(sample_shape))
        return von_mises(self.loc.expand(*shape), self.concentration.expand(*shape))

    @property
    def mean(self) -> Tensor:
        """The circular mean, loc."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The circular variance, 1 - I1(k)/I0(k)."""
        return 1 - i1e(self.concentration) / i0e(self.concentration)
