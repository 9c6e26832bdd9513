"""Continuous distributions with closed quantiles: a uniform value goes through them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjit.creation import empty, full_like
from adjit.distributions import constraints
from adjit.distributions.distribution import Distribution, broadcast_all
from adjit.elementwise import where
from adjit.numeric_limits import finfo
from adjit.tensor import Tensor

_EULER = 0.57721566490153286060


class _ByQuantile(Distribution):
    """Draws uniform values and takes their quantiles."""

    has_rsample = True

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Quantiles of uniform values."""
        return self._quantile(self._uniform(sample_shape))

    def _uniform(self, sample_shape: Sequence[int]) -> Tensor:
        """Values in (0, 1), without the ends, where some quantiles are infinite."""
        first = getattr(self, self._tensors[0])
        limits = finfo(first.dtype)
        drawn: Tensor = empty(tuple(self._extended_shape(sample_shape)), dtype=first.dtype).uniform_()
        return drawn.clamp(min=limits.tiny, max=1 - limits.eps / 2)

    def icdf(self, value: Tensor) -> Tensor:
        """The quantile."""
        return self._quantile(value)

    def _quantile(self, p: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} says its quantiles")


class _Located(_ByQuantile):
    """A distribution with a location and a scale."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real
    _tensors = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc


class Uniform(_ByQuantile):
    """1/(high - low) for low <= x < high."""

    has_rsample = True
    _tensors = ("low", "high")

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)

    @property
    def arg_constraints(self) -> Any:
        """low < high."""
        return {"low": constraints.less_than(self.high), "high": constraints.greater_than(self.low)}

    @constraints.dependent_property
    def support(self) -> Any:
        """From low to high."""
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Tensor:
        """(low + high)/2."""
        return (self.high + self.low) / 2

    @property
    def mode(self) -> Tensor:
        """None: NaN."""
        return self.high * math.nan

    @property
    def variance(self) -> Tensor:
        """(high - low)**2/12."""
        return (self.high - self.low) ** 2 / 12

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """low + (high - low)*uniform values."""
        drawn: Tensor = empty(tuple(self._extended_shape(sample_shape)), dtype=self.low.dtype).uniform_()
        return self._quantile(drawn)

    def _quantile(self, p: Tensor) -> Tensor:
        return self.low + p * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        """-log(high - low) inside, -inf outside."""
        self._validate_sample(value)
        inside = (self.low <= value) & (self.high > value)
        return inside.to(self.low.dtype).log() - (self.high - self.low).log()

    def cdf(self, value: Tensor) -> Tensor:
        """(x - low)/(high - low), from 0 to 1."""
        self._validate_sample(value)
        return ((value - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def entropy(self) -> Tensor:
        """log(high - low)."""
        return (self.high - self.low).log()


class Exponential(_ByQuantile):
    """rate*exp(-rate*x)."""

    arg_constraints = {"rate": constraints.positive}  # noqa: RUF012
    support = constraints.nonnegative
    _tensors = ("rate",)

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """1/rate."""
        return self.rate.reciprocal()

    @property
    def mode(self) -> Tensor:
        """0."""
        return self.rate * 0

    @property
    def stddev(self) -> Tensor:
        """1/rate."""
        return self.rate.reciprocal()

    @property
    def variance(self) -> Tensor:
        """1/rate**2."""
        return self.rate**-2

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Standard exponential values over the rate."""
        shape = tuple(self._extended_shape(sample_shape))
        return empty(shape, dtype=self.rate.dtype).exponential_() / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        """log(rate) - rate*x."""
        self._validate_sample(value)
        return self.rate.log() - self.rate * value

    def cdf(self, value: Tensor) -> Tensor:
        """1 - exp(-rate*x)."""
        self._validate_sample(value)
        return 1 - (-self.rate * value).exp()

    def _quantile(self, p: Tensor) -> Tensor:
        return -(-p).log1p() / self.rate

    def entropy(self) -> Tensor:
        """1 - log(rate)."""
        return 1.0 - self.rate.log()


class Laplace(_Located):
    """exp(-|x - loc|/scale)/(2*scale)."""

    @property
    def mean(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """2*scale**2."""
        return 2 * self.scale**2

    @property
    def stddev(self) -> Tensor:
        """sqrt(2)*scale."""
        return math.sqrt(2) * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """-log(2*scale) - |x - loc|/scale."""
        self._validate_sample(value)
        return -(2 * self.scale).log() - (value - self.loc).abs() / self.scale

    def cdf(self, value: Tensor) -> Tensor:
        """1/2 - sign(d)*(exp(-|d|/scale) - 1)/2 with d = x - loc."""
        self._validate_sample(value)
        d = value - self.loc
        return 0.5 - 0.5 * d.sign() * (-d.abs() / self.scale).expm1()

    def _quantile(self, p: Tensor) -> Tensor:
        term = p - 0.5
        return self.loc - self.scale * term.sign() * (-2 * term.abs()).log1p()

    def entropy(self) -> Tensor:
        """1 + log(2*scale)."""
        return 1 + (2 * self.scale).log()


class Cauchy(_Located):
    """1/(pi*scale*(1 + ((x - loc)/scale)**2))."""

    @property
    def mean(self) -> Tensor:
        """None: NaN."""
        return full_like(self.loc, math.nan)

    @property
    def variance(self) -> Tensor:
        """inf."""
        return full_like(self.loc, math.inf)

    def log_prob(self, value: Tensor) -> Tensor:
        """-log(pi) - log(scale) - log(1 + ((x - loc)/scale)**2)."""
        self._validate_sample(value)
        return -math.log(math.pi) - self.scale.log() - (((value - self.loc) / self.scale) ** 2).log1p()

    def cdf(self, value: Tensor) -> Tensor:
        """atan((x - loc)/scale)/pi + 1/2."""
        self._validate_sample(value)
        return ((value - self.loc) / self.scale).atan() / math.pi + 0.5

    def _quantile(self, p: Tensor) -> Tensor:
        return (math.pi * (p - 0.5)).tan() * self.scale + self.loc

    def entropy(self) -> Tensor:
        """log(4 pi*scale)."""
        return math.log(4 * math.pi) + self.scale.log()


class Gumbel(_Located):
    """exp(-(y + exp(-y)))/scale with y = (x - loc)/scale."""

    @property
    def mean(self) -> Tensor:
        """loc + scale*Euler's constant."""
        return self.loc + self.scale * _EULER

    @property
    def stddev(self) -> Tensor:
        """scale*pi/sqrt(6)."""
        return math.pi / math.sqrt(6) * self.scale

    @property
    def variance(self) -> Tensor:
        """scale**2*pi**2/6."""
        return self.stddev**2

    def log_prob(self, value: Tensor) -> Tensor:
        """-log(scale) - y - exp(-y)."""
        self._validate_sample(value)
        y = (self.loc - value) / self.scale
        return (y - y.exp()) - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        """exp(-exp(-y))."""
        self._validate_sample(value)
        return (-(-(value - self.loc) / self.scale).exp()).exp()

    def _quantile(self, p: Tensor) -> Tensor:
        return self.loc - self.scale * (-p.log()).log()

    def entropy(self) -> Tensor:
        """log(scale) + 1 + Euler's constant."""
        return self.scale.log() + (1 + _EULER)


class HalfCauchy(_ByQuantile):
    """The distribution of |x| for x Cauchy about 0."""

    arg_constraints = {"scale": constraints.positive}  # noqa: RUF012
    support = constraints.nonnegative
    _tensors = ("_scale",)

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        (self._scale,) = broadcast_all(scale)
        super().__init__(self._scale.shape, validate_args=validate_args)

    @property
    def scale(self) -> Tensor:
        """The Cauchy distribution's scale."""
        return self._scale

    @property
    def mean(self) -> Tensor:
        """inf."""
        return full_like(self._scale, math.inf)

    @property
    def mode(self) -> Tensor:
        """0."""
        return self._scale * 0

    @property
    def variance(self) -> Tensor:
        """inf."""
        return full_like(self._scale, math.inf)

    def log_prob(self, value: Tensor) -> Tensor:
        """log(2/pi) - log(scale) - log(1 + (x/scale)**2); -inf below 0."""
        self._validate_sample(value)
        inside = math.log(2 / math.pi) - self._scale.log() - ((value / self._scale) ** 2).log1p()
        return where(value >= 0, inside, -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        """2*atan(x/scale)/pi."""
        self._validate_sample(value)
        return 2 * (value / self._scale).atan() / math.pi

    def _quantile(self, p: Tensor) -> Tensor:
        return (math.pi / 2 * p).tan() * self._scale

    def entropy(self) -> Tensor:
        """log(2 pi*scale)."""
        return math.log(2 * math.pi) + self._scale.log()
