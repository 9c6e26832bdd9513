"""Further distributions of numbers in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjit.creation import empty
from adjit.distributions import constraints
from adjit.distributions.continuous import Uniform
from adjit.distributions.discrete import _ByProbability
from adjit.distributions.distribution import broadcast_all, clamped
from adjit.distributions.maps import AffineTransform, PowerTransform
from adjit.distributions.transformed import TransformedDistribution
from adjit.elementwise import where
from adjit.nn.functional import softplus
from adjit.tensor import Tensor

_EULER = 0.57721566490153286060


class Kumaraswamy(TransformedDistribution):
    """a*b*x**(a - 1)*(1 - x**a)**(b - 1), a and b the concentrations."""

    arg_constraints = {  # noqa: RUF012
        "concentration1": constraints.positive, "concentration0": constraints.positive,
    }  # fmt: skip
    support = constraints.unit_interval
    _tensors = ("concentration1", "concentration0")

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        a, b = self.concentration1, self.concentration0
        base = Uniform((b * 0).detach(), (b * 0 + 1).detach(), validate_args=validate_args)
        steps = [PowerTransform(b.reciprocal()), AffineTransform(1.0, -1.0), PowerTransform(a.reciprocal())]
        super().__init__(base, steps, validate_args=validate_args)

    def _moment(self, n: int) -> Tensor:
        """The expected x**n, b*B(1 + n/a, b)."""
        first, b = 1 + n / self.concentration1, self.concentration0
        return b * (first.lgamma() + b.lgamma() - (first + b).lgamma()).exp()

    @property
    def mean(self) -> Tensor:
        """b*B(1 + 1/a, b)."""
        return self._moment(1)

    @property
    def mode(self) -> Tensor:
        """((a - 1)/(a*b - 1))**(1/a) for a and b from 1 on, else NaN (PyTorch's formula gives NaN everywhere)."""
        a, b = self.concentration1, self.concentration0
        return where((a < 1) | (b < 1), math.nan, ((a - 1) / (a * b - 1)) ** a.reciprocal())

    @property
    def variance(self) -> Tensor:
        """b*B(1 + 2/a, b) - mean**2."""
        return self._moment(2) - self.mean**2

    def entropy(self) -> Tensor:
        """1 - 1/b + (1 - 1/a)*(digamma(b + 1) + Euler's constant) - log(a*b)."""
        a, b = self.concentration1, self.concentration0
        harmonic = (b + 1).digamma() + _EULER
        return (1 - b.reciprocal()) + (1 - a.reciprocal()) * harmonic - a.log() - b.log()


class ContinuousBernoulli(_ByProbability):
    """C(p)*p**x*(1 - p)**(1 - x) for x in [0, 1].  Between `lims`, where C is 0/0, series about 1/2 serve.

    Source: Loaiza-Ganem and Cunningham, 2019.
    """

    support = constraints.unit_interval
    has_rsample = True
    _tensors = ("probs", "logits")

    def __init__(
        self, probs: Any = None, logits: Any = None, lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        given = self._take(probs, logits)
        if probs is not None:
            # What is clamped would pass every check.
            if validate_args is not None and not constraints.unit_interval.check(given).all():
                raise ValueError("The parameter probs has invalid values")
            self.__dict__["probs"] = clamped(given)
        self._lims = lims
        super().__init__(given.shape, validate_args=validate_args)

    def _kept(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where p is away from 1/2; p there, and a number away from 1/2 elsewhere; and p kept from 0 and 1."""
        p = clamped(self.probs)
        away = (p <= self._lims[0]) | (p > self._lims[1])
        return away, where(away, p, self._lims[0]), p

    def _log_normalizer(self) -> Tensor:
        """log C = log((log(1 - p) - log(p))/(1 - 2*p))."""
        away, q, p = self._kept()
        x = (p - 0.5) ** 2
        near = math.log(2.0) + (4 / 3 + 104 / 45 * x) * x
        return where(away, (((-q).log1p() - q.log()) / (1 - 2 * q)).log(), near)

    @property
    def mean(self) -> Tensor:
        """p/(2*p - 1) + 1/log((1 - p)/p)."""
        away, q, p = self._kept()
        x = p - 0.5
        return where(away, q / (2 * q - 1) + 1 / ((-q).log1p() - q.log()), 0.5 + (1 / 3 + 16 / 45 * x**2) * x)

    @property
    def variance(self) -> Tensor:
        """p*(p - 1)/(1 - 2*p)**2 + 1/log((1 - p)/p)**2."""
        away, q, p = self._kept()
        x = (p - 0.5) ** 2
        found = q * (q - 1) / (1 - 2 * q) ** 2 + 1 / ((-q).log1p() - q.log()) ** 2
        return where(away, found, 1 / 12 - (1 / 15 - 128 / 945 * x) * x)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """The quantile of a uniform number."""
        return self.icdf(empty(tuple(self._extended_shape(sample_shape)), dtype=self.probs.dtype).uniform_())

    def log_prob(self, value: Tensor) -> Tensor:
        """log C + x*log(p) + (1 - x)*log(1 - p)."""
        self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return value * logits - softplus(logits) + self._log_normalizer()

    def cdf(self, value: Tensor) -> Tensor:
        """(p**x*(1 - p)**(1 - x) + p - 1)/(2*p - 1)."""
        self._validate_sample(value)
        away, q, _ = self._kept()
        inside = where(away, (q**value * (1 - q) ** (1 - value) + q - 1) / (2 * q - 1), value)
        return where(value <= 0, 0.0, where(value >= 1, 1.0, inside))

    def icdf(self, value: Tensor) -> Tensor:
        """(log(1 - p + u*(2*p - 1)) - log(1 - p))/log(p/(1 - p))."""
        away, q, _ = self._kept()
        other = (-q).log1p()
        return where(away, ((value * (2 * q - 1) - q).log1p() - other) / (q.log() - other), value)

    def entropy(self) -> Tensor:
        """mean*log((1 - p)/p) - log C - log(1 - p)."""
        p = clamped(self.probs)
        zero = (-p).log1p()
        return self.mean * (zero - p.log()) - self._log_normalizer() - zero
