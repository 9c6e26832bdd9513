"""Distributions of ratios and of exceedances, whose tails are powers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjit.comparison import isclose
from adjit.creation import empty, zeros_like
from adjit.distributions import constraints
from adjit.distributions.distribution import Distribution, broadcast_all
from adjit.distributions.gamma import Gamma
from adjit.elementwise import where
from adjit.numeric_limits import finfo
from adjit.tensor import Tensor


class FisherSnedecor(Distribution):
    """The ratio of two chi-squared values, each over its degrees of freedom."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}  # noqa: RUF012
    support = constraints.positive
    has_rsample = True
    _tensors = ("df1", "df2")

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = broadcast_all(df1, df2)
        # The halves' own check comes first: its text names the gamma distribution, as PyTorch's does.
        self._parts()
        super().__init__(self.df1.shape, validate_args=validate_args)

    def _parts(self) -> tuple[Gamma, Gamma]:
        """The distributions of the ratio's two sides."""
        return Gamma(self.df1 * 0.5, self.df1), Gamma(self.df2 * 0.5, self.df2)

    @property
    def mean(self) -> Tensor:
        """df2/(df2 - 2) for df2 > 2, else NaN."""
        df2 = where(self.df2 > 2, self.df2, math.nan)
        return df2 / (df2 - 2)

    @property
    def mode(self) -> Tensor:
        """(df1 - 2)/df1*df2/(df2 + 2) for df1 > 2, else NaN."""
        return where(self.df1 > 2, (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2), math.nan)

    @property
    def variance(self) -> Tensor:
        """2*df2**2*(df1 + df2 - 2)/(df1*(df2 - 2)**2*(df2 - 4)) for df2 > 4, else NaN."""
        df1, df2 = self.df1, where(self.df2 > 4, self.df2, math.nan)
        return 2 * df2**2 * (df1 + df2 - 2) / (df1 * (df2 - 2) ** 2 * (df2 - 4))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """One gamma value over another."""
        above, below = (part.rsample(sample_shape) for part in self._parts())
        tiny = finfo(below.dtype).tiny
        return (above / below.clamp(min=tiny)).clamp(min=tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        """a*log(r) + (a - 1)*log(x) - (a + b)*log(1 + r*x) - log B(a, b), a and b half of df, r = df1/df2."""
        self._validate_sample(value)
        a, b, ratio = self.df1 * 0.5, self.df2 * 0.5, self.df1 / self.df2
        constants = (a + b).lgamma() - a.lgamma() - b.lgamma()
        return constants + a * ratio.log() + (a - 1) * value.log() - (a + b) * (ratio * value).log1p()


class GeneralizedPareto(Distribution):
    """(1 + k*z)**(-1/k - 1)/scale, z = (x - loc)/scale and k the concentration; exp(-z)/scale for k = 0."""

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real,
    }  # fmt: skip
    has_rsample = True
    _tensors = ("loc", "scale", "concentration")

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def _kept(self) -> tuple[Tensor, Tensor]:
        """Where k is 0, and k with 1 in its place there."""
        zero = isclose(self.concentration, zeros_like(self.concentration))
        return zero, where(zero, 1.0, self.concentration)

    def _standard(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return (value - self.loc) / self.scale

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """The quantile of a uniform number."""
        return self.icdf(empty(tuple(self._extended_shape(sample_shape)), dtype=self.loc.dtype).uniform_())

    def log_prob(self, value: Tensor) -> Tensor:
        """-log(scale) - (1/k + 1)*log(1 + k*z)."""
        z, (zero, k) = self._standard(value), self._kept()
        power = 1 / k + 1
        flat = power == 0  # k = -1: uniform, also at its end
        curved = where(flat, 0.0, power * where(flat, 0.0, k * z).log1p())
        return -self.scale.log() - where(zero, z, curved)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """-log(1 + k*z)/k."""
        z, (zero, k) = self._standard(value), self._kept()
        return where(zero, -z, -(k * z).log1p() / k)

    def log_cdf(self, value: Tensor) -> Tensor:
        """log(1 - (1 + k*z)**(-1/k))."""
        return (-self.log_survival_function(value).exp()).log1p()

    def cdf(self, value: Tensor) -> Tensor:
        """1 - (1 + k*z)**(-1/k)."""
        return self.log_cdf(value).exp()

    def icdf(self, value: Tensor) -> Tensor:
        """loc + scale*((1 - u)**-k - 1)/k."""
        zero, k = self._kept()
        log = (-value).log1p()
        return where(zero, self.loc - self.scale * log, self.loc + self.scale / k * (-k * log).expm1())

    @property
    def mean(self) -> Tensor:
        """loc + scale/(1 - k) for k < 1, else NaN."""
        known = self.concentration < 1
        k = where(known, self.concentration, 0.0)
        return where(known, self.loc + self.scale / (1 - k), math.nan)

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """scale**2/((1 - k)**2*(1 - 2*k)) for k < 1/2, else NaN."""
        known = self.concentration < 0.5
        k = where(known, self.concentration, 0.0)
        return where(known, self.scale**2 / ((1 - k) ** 2 * (1 - 2 * k)), math.nan)

    def entropy(self) -> Tensor:
        """log(scale) + k + 1."""
        return self.scale.log() + self.concentration + 1

    @constraints.dependent_property
    def support(self) -> Any:
        """From loc on; for k < 0 to loc - scale/k."""
        end = where(self.concentration < 0, self.loc - self.scale / self.concentration, math.inf)
        return constraints.interval(self.loc, end)
