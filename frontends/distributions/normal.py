"""Normal distributions and those of their halves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjit.creation import zeros
from adjit.distributions import constraints
from adjit.distributions.distribution import Distribution, broadcast_all
from adjit.elementwise import where
from adjit.tensor import Tensor

_LOG_ROOT = math.log(math.sqrt(2 * math.pi))


class Normal(Distribution):
    """exp(-((x - loc)/scale)**2/2)/(scale*sqrt(2 pi))."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real
    has_rsample = True
    _tensors = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """scale."""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """scale**2."""
        return self.scale**2

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """loc + scale*standard normal values."""
        shape = tuple(self._extended_shape(sample_shape))
        return self.loc + zeros(shape, dtype=self.loc.dtype).normal_() * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """-((x - loc)/scale)**2/2 - log(scale) - log(2 pi)/2."""
        self._validate_sample(value)
        return -((value - self.loc) ** 2) / (2 * self.scale**2) - self.scale.log() - _LOG_ROOT

    def cdf(self, value: Tensor) -> Tensor:
        """(1 + erf((x - loc)/(scale*sqrt(2))))/2."""
        self._validate_sample(value)
        return 0.5 * (1 + ((value - self.loc) / (self.scale * math.sqrt(2))).erf())

    def icdf(self, value: Tensor) -> Tensor:
        """loc + scale*sqrt(2)*erfinv(2p - 1)."""
        return self.loc + self.scale * (2 * value - 1).erfinv() * math.sqrt(2)

    def entropy(self) -> Tensor:
        """1/2 + log(2 pi)/2 + log(scale)."""
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()


class HalfNormal(Distribution):
    """The distribution of |x| for x normal about 0."""

    arg_constraints = {"scale": constraints.positive}  # noqa: RUF012
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        self._base = Normal(0, scale, validate_args=False)
        super().__init__(self._base.batch_shape, validate_args=validate_args)

    @property
    def scale(self) -> Tensor:
        """The normal distribution's scale."""
        return self._base.scale

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """The distribution with its batch expanded."""
        new = super().expand(batch_shape)
        new._base = self._base.expand(batch_shape)
        return new

    @property
    def mean(self) -> Tensor:
        """scale*sqrt(2/pi)."""
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def mode(self) -> Tensor:
        """0."""
        return self.scale * 0

    @property
    def variance(self) -> Tensor:
        """scale**2*(1 - 2/pi)."""
        return self.scale**2 * (1 - 2 / math.pi)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """|normal values|."""
        return self._base.rsample(sample_shape).abs()

    def log_prob(self, value: Tensor) -> Tensor:
        """The normal density's logarithm + log(2); -inf below 0."""
        self._validate_sample(value)
        return where(value >= 0, self._base.log_prob(value) + math.log(2), -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        """erf(x/(scale*sqrt(2)))."""
        self._validate_sample(value)
        return 2 * self._base.cdf(value) - 1

    def icdf(self, value: Tensor) -> Tensor:
        """scale*sqrt(2)*erfinv(p)."""
        return self._base.icdf((value + 1) / 2)

    def entropy(self) -> Tensor:
        """The normal entropy - log(2)."""
        return self._base.entropy() - math.log(2)
