"""Distributions made of gamma values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjit.creation import as_tensor, zeros
from adjit.distributions import constraints
from adjit.distributions.distribution import Distribution, broadcast_all
from adjit.distributions.sampling import standard_gamma
from adjit.dtypes import float64
from adjit.elementwise import where
from adjit.joining import stack
from adjit.numeric_limits import finfo
from adjit.ranges import arange
from adjit.tensor import Tensor


class Gamma(Distribution):
    """rate**a*x**(a - 1)*exp(-rate*x)/gamma(a), a the concentration."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}  # noqa: RUF012
    support = constraints.nonnegative
    has_rsample = True
    _tensors = ("concentration", "rate")

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """concentration/rate."""
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        """(concentration - 1)/rate, at least 0."""
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        """concentration/rate**2."""
        return self.concentration / self.rate**2

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Standard gamma values over the rate."""
        shape = tuple(self._extended_shape(sample_shape))
        value = standard_gamma(self.concentration.expand(*shape)) / self.rate.expand(*shape)
        value.detach().clamp_(min=finfo(value.dtype).tiny)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """a*log(rate) + (a - 1)*log(x) - rate*x - lgamma(a).  The value may be a number."""
        a, rate = self.concentration, self.rate
        value = as_tensor(value, dtype=a.dtype)
        self._validate_sample(value)
        return a.xlogy(rate) + (a - 1).xlogy(value) - rate * value - a.lgamma()

    def cdf(self, value: Tensor) -> Tensor:
        """The regularized incomplete gamma function at (a, rate*x)."""
        from adjit import special

        self._validate_sample(value)
        if not hasattr(special, "gammainc"):
            raise NotImplementedError("Gamma.cdf needs special.gammainc")
        return special.gammainc(self.concentration, self.rate * value)

    def entropy(self) -> Tensor:
        """a - log(rate) + lgamma(a) + (1 - a)*digamma(a)."""
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1.0 - a) * a.digamma()


class Chi2(Gamma):
    """The sum of the squares of `df` standard normal values."""

    arg_constraints = {"df": constraints.positive}  # noqa: RUF012

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        half = 0.5 * df
        super().__init__(half, 0.5, validate_args=validate_args)

    @property
    def df(self) -> Tensor:
        """The degrees of freedom."""
        return self.concentration * 2


class Dirichlet(Distribution):
    """prod x**(a - 1)/B(a) on the simplex, a the concentrations in the last axis."""

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}  # noqa: RUF012
    support = constraints.simplex
    has_rsample = True
    _tensors = ("concentration",)

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """a/sum(a)."""
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self) -> Tensor:
        """(a - 1)/sum(a - 1) for a >= 1; where all are below 1, the first corner, as PyTorch has it."""
        above = (self.concentration - 1).clamp(min=0.0)
        mode = above / above.sum(-1, True)
        corner = (self.concentration < 1).all(-1, True)
        first = (arange(self.concentration.shape[-1]) == 0).to(mode.dtype)
        return where(corner, first, mode)

    @property
    def variance(self) -> Tensor:
        """a*(s - a)/(s**2*(s + 1)) with s = sum(a)."""
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total**2 * (total + 1))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Gamma values over their sum, in float64 (those of small concentrations end in float32); never 0 or 1."""
        concentration = self.concentration
        drawn = standard_gamma(concentration.to(float64).expand(*self._extended_shape(sample_shape)))
        value = (drawn / drawn.sum(-1, True)).to(concentration.dtype)
        limits = finfo(value.dtype)
        value.detach().clamp_(min=limits.tiny, max=1 - limits.eps / 2)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """sum((a - 1)*log(x)) + lgamma(sum(a)) - sum(lgamma(a))."""
        self._validate_sample(value)
        a = self.concentration
        return (a - 1.0).xlogy(value).sum(-1) + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    def entropy(self) -> Tensor:
        """log B(a) + (s - k)*digamma(s) - sum((a - 1)*digamma(a))."""
        a, k = self.concentration, self.concentration.shape[-1]
        total = a.sum(-1)
        spread = ((a - 1.0) * a.digamma()).sum(-1)
        return a.lgamma().sum(-1) - total.lgamma() - (k - total) * total.digamma() - spread


class Beta(Distribution):
    """x**(a - 1)*(1 - x)**(b - 1)/B(a, b)."""

    arg_constraints = {  # noqa: RUF012
        "concentration1": constraints.positive, "concentration0": constraints.positive,
    }  # fmt: skip
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        pair = stack(broadcast_all(concentration1, concentration0), -1)
        self._dirichlet = Dirichlet(pair, validate_args=validate_args)
        super().__init__(self._dirichlet.batch_shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Beta:
        """The distribution with its batch expanded."""
        new = Beta.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._dirichlet = self._dirichlet.expand(batch_shape)
        new._batch_shape = new._dirichlet.batch_shape
        return new

    @property
    def concentration1(self) -> Tensor:
        """The exponent of x, + 1."""
        return self._dirichlet.concentration[..., 0]

    @property
    def concentration0(self) -> Tensor:
        """The exponent of 1 - x, + 1."""
        return self._dirichlet.concentration[..., 1]

    @property
    def mean(self) -> Tensor:
        """a/(a + b)."""
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Tensor:
        """(a - 1)/(a + b - 2)."""
        return self._dirichlet.mode[..., 0]

    @property
    def variance(self) -> Tensor:
        """a*b/((a + b)**2*(a + b + 1))."""
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total**2 * (total + 1))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """x/(x + y) for gamma values x and y."""
        return self._dirichlet.rsample(sample_shape)[..., 0]

    def log_prob(self, value: Tensor) -> Tensor:
        """(a - 1)*log(x) + (b - 1)*log(1 - x) - log B(a, b)."""
        self._validate_sample(value)
        pair = stack([value, 1.0 - value], -1)
        unchecked = self._dirichlet.expand(self._batch_shape)
        unchecked._validate_args = False
        return unchecked.log_prob(pair)

    def entropy(self) -> Tensor:
        """The Dirichlet distribution's."""
        return self._dirichlet.entropy()


class StudentT(Distribution):
    """A normal value over the root of a chi-squared one's mean square."""

    arg_constraints = {  # noqa: RUF012
        "df": constraints.positive, "loc": constraints.real, "scale": constraints.positive,
    }  # fmt: skip
    support = constraints.real
    has_rsample = True
    _tensors = ("df", "loc", "scale")

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """loc for df > 1, else NaN."""
        return where(self.df > 1, self.loc, math.nan)

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """scale**2*df/(df - 2) for df > 2, inf for df > 1, else NaN."""
        wide = self.df > 2
        finite = self.scale**2 * self.df / where(wide, self.df - 2, 1.0)
        return where(wide, finite, where(self.df > 1, math.inf, math.nan).to(finite.dtype))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """loc + scale*x/sqrt(z/df), x normal, z chi-squared."""
        shape = tuple(self._extended_shape(sample_shape))
        x = zeros(shape, dtype=self.df.dtype).normal_()
        z = Chi2(self.df, validate_args=False).rsample(sample_shape)
        return self.loc + self.scale * x * (z / self.df).rsqrt()

    def _log_constant(self) -> Tensor:
        half = 0.5 * self.df
        return self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi) + half.lgamma() - (half + 0.5).lgamma()

    def log_prob(self, value: Tensor) -> Tensor:
        """-(df + 1)/2*log(1 + y**2/df) - log of the constant, y = (x - loc)/scale."""
        self._validate_sample(value)
        y = (value - self.loc) / self.scale
        return -0.5 * (self.df + 1.0) * (y**2.0 / self.df).log1p() - self._log_constant()

    def entropy(self) -> Tensor:
        """(df + 1)/2*(digamma((df + 1)/2) - digamma(df/2)) + log(sqrt(df)*B(df/2, 1/2)) + log(scale)."""
        half = 0.5 * (self.df + 1)
        return half * (half.digamma() - (0.5 * self.df).digamma()) + self._log_constant()
