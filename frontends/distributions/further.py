"""Distributions that others give by a transform or a mixture: waiting times, tails, counts, relaxed choices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjit.autograd.modes import no_grad
from adjit.creation import empty
from adjit.distributions import constraints
from adjit.distributions.continuous import Exponential
from adjit.distributions.discrete import _ByProbability
from adjit.distributions.distribution import Distribution, broadcast_all, clamped
from adjit.distributions.gamma import Gamma
from adjit.distributions.maps import AffineTransform, ExpTransform, PowerTransform, SigmoidTransform
from adjit.distributions.sampling import poisson, standard_gamma
from adjit.distributions.transformed import TransformedDistribution
from adjit.elementwise import where
from adjit.nn.functional import softplus
from adjit.tensor import Tensor

_EULER = 0.57721566490153286060


class Pareto(TransformedDistribution):
    """alpha*scale**alpha/x**(alpha + 1) for x >= scale."""

    arg_constraints = {"alpha": constraints.positive, "scale": constraints.positive}  # noqa: RUF012
    _tensors = ("scale", "alpha")

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None) -> None:
        self.scale, self.alpha = broadcast_all(scale, alpha)
        base = Exponential(self.alpha, validate_args=validate_args)
        super().__init__(base, [ExpTransform(), AffineTransform(0, self.scale)], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """alpha*scale/(alpha - 1) for alpha > 1, else inf."""
        a = self.alpha.clamp(min=1)
        return a * self.scale / (a - 1)

    @property
    def mode(self) -> Tensor:
        """scale."""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """scale**2*alpha/((alpha - 1)**2*(alpha - 2)) for alpha > 2, else inf."""
        a = self.alpha.clamp(min=2)
        return self.scale**2 * a / ((a - 1) ** 2 * (a - 2))

    @constraints.dependent_property
    def support(self) -> Any:
        """From scale on."""
        return constraints.greater_than_eq(self.scale)

    def entropy(self) -> Tensor:
        """log(scale/alpha) + 1 + 1/alpha."""
        return (self.scale / self.alpha).log() + (1 + self.alpha.reciprocal())


class Weibull(TransformedDistribution):
    """scale*x**(1/concentration) for standard exponential x."""

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}  # noqa: RUF012
    support = constraints.positive
    _tensors = ("scale", "concentration", "concentration_reciprocal")

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        self.concentration_reciprocal = self.concentration.reciprocal()
        base = Exponential(self.scale * 0 + 1, validate_args=validate_args)
        power = PowerTransform(self.concentration_reciprocal)
        super().__init__(base, [power, AffineTransform(0, self.scale)], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """scale*gamma(1 + 1/k)."""
        return self.scale * (1 + self.concentration_reciprocal).lgamma().exp()

    @property
    def mode(self) -> Tensor:
        """scale*((k - 1)/k)**(1/k)."""
        k = self.concentration
        return self.scale * ((k - 1) / k) ** k.reciprocal()

    @property
    def variance(self) -> Tensor:
        """scale**2*(gamma(1 + 2/k) - gamma(1 + 1/k)**2)."""
        inverse = self.concentration_reciprocal
        return self.scale**2 * ((1 + 2 * inverse).lgamma().exp() - (2 * (1 + inverse).lgamma()).exp())

    def entropy(self) -> Tensor:
        """Euler's constant*(1 - 1/k) + log(scale/k) + 1."""
        inverse = self.concentration_reciprocal
        return _EULER * (1 - inverse) + (self.scale * inverse).log() + 1


class InverseGamma(TransformedDistribution):
    """1/x for gamma values x."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}  # noqa: RUF012
    support = constraints.positive

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        base = Gamma(concentration, rate, validate_args=validate_args)
        super().__init__(base, PowerTransform(-1.0), validate_args=validate_args)

    @property
    def concentration(self) -> Tensor:
        """The gamma distribution's."""
        return self.base_dist.concentration

    @property
    def rate(self) -> Tensor:
        """The gamma distribution's."""
        return self.base_dist.rate

    @property
    def mean(self) -> Tensor:
        """rate/(a - 1) for a > 1, else inf."""
        above = self.concentration > 1
        return where(above, self.rate / where(above, self.concentration - 1, 1.0), math.inf)

    @property
    def mode(self) -> Tensor:
        """rate/(a + 1)."""
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Tensor:
        """rate**2/((a - 1)**2*(a - 2)) for a > 2, else inf."""
        above = self.concentration > 2
        a = where(above, self.concentration, 3.0)
        return where(above, self.rate**2 / ((a - 1) ** 2 * (a - 2)), math.inf)

    def entropy(self) -> Tensor:
        """a + log(rate) + lgamma(a) - (1 + a)*digamma(a)."""
        a = self.concentration
        return a + self.rate.log() + a.lgamma() - (1 + a) * a.digamma()


class NegativeBinomial(_ByProbability):
    """Successes before total_count failures, each trial a success with probability p."""

    arg_constraints = {  # noqa: RUF012
        "total_count": constraints.greater_than_eq(0), "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }  # fmt: skip
    support = constraints.nonnegative_integer
    _tensors = ("total_count", "probs", "logits")

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        count, given = broadcast_all(total_count, logits if probs is None else probs)
        self.total_count = count.to(given.dtype)
        self.__dict__["logits" if probs is None else "probs"] = given
        super().__init__(given.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """n*exp(logits)."""
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        """floor((n - 1)*exp(logits)), at least 0."""
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self) -> Tensor:
        """mean/(1 - p)."""
        return self.mean / (-self.logits).sigmoid()

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Poisson counts of gamma rates."""
        shape = tuple(self._extended_shape(sample_shape))
        with no_grad():
            rate = standard_gamma(self.total_count.expand(*shape)) * self.logits.exp().expand(*shape)
            return poisson(rate)

    def log_prob(self, value: Tensor) -> Tensor:
        """n*log(1 - p) + x*log(p) + log choose(n + x - 1, x)."""
        self._validate_sample(value)
        n = self.total_count
        powers = -n * softplus(self.logits) - value * softplus(-self.logits)
        choose = (n + value).lgamma() - (1.0 + value).lgamma() - n.lgamma()
        return powers + where(n + value == 0.0, 0.0, choose)


class _LogitRelaxedBernoulli(_ByProbability):
    """The logits of `RelaxedBernoulli`."""

    support = constraints.real
    has_rsample = True
    _tensors = ("probs", "logits")

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self.temperature = temperature
        super().__init__(self._take(probs, logits).shape, validate_args=validate_args)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """(logit(u) + logit(p))/temperature."""
        shape, kept = tuple(self._extended_shape(sample_shape)), clamped(self.probs)
        u = clamped(empty(shape, dtype=kept.dtype).uniform_())
        return (u.log() - (-u).log1p() + kept.log() - (-kept).log1p()) / self.temperature

    def log_prob(self, value: Tensor) -> Tensor:
        """log(temperature) + d - 2*softplus(d), d = logits - temperature*x."""
        self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        d = logits - value * self.temperature
        scale = self.temperature.log() if isinstance(self.temperature, Tensor) else math.log(self.temperature)
        return scale + d - 2 * softplus(d)


class RelaxedBernoulli(TransformedDistribution):
    """Values in (0, 1) that come near 0 and 1 as the temperature falls.  Source: Maddison, Mnih and Teh, 2017."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}  # noqa: RUF012
    support = constraints.unit_interval

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        base = _LogitRelaxedBernoulli(temperature, probs, logits)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)

    @property
    def temperature(self) -> Any:
        """How far values are from 0 and 1."""
        return self.base_dist.temperature

    @property
    def probs(self) -> Tensor:
        """The probability of 1."""
        return self.base_dist.probs

    @property
    def logits(self) -> Tensor:
        """log(p/(1 - p))."""
        return self.base_dist.logits


class _LogRelaxedCategorical(Distribution):
    """The logarithms of `RelaxedOneHotCategorical`."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = True
    _tensors = ("probs", "logits")

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        from adjit.distributions.categorical import Categorical

        choice = Categorical(probs, logits, validate_args)
        self.temperature = temperature
        self.logits, self.probs = choice.logits, choice.probs
        super().__init__(choice.batch_shape, choice.param_shape[-1:], validate_args=validate_args)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """log_softmax((logits + Gumbel values)/temperature)."""
        shape = tuple(self._extended_shape(sample_shape))
        u = clamped(empty(shape, dtype=self.logits.dtype).uniform_())
        scores = (self.logits - (-u.log()).log()) / self.temperature
        return scores - scores.logsumexp(-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        """lgamma(k) + (k - 1)*log(temperature) + sum(d - logsumexp(d)), d = logits - temperature*x."""
        self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        k = logits.shape[-1]
        temperature = self.temperature
        scale = temperature.log() if isinstance(temperature, Tensor) else math.log(temperature)
        d = logits - value * temperature
        return (d - d.logsumexp(-1, keepdim=True)).sum(-1) + math.lgamma(k) + (k - 1) * scale


class RelaxedOneHotCategorical(TransformedDistribution):
    """Points of the simplex that come near its corners as the temperature falls.

    Source: Jang, Gu and Poole, 2017; Maddison, Mnih and Teh, 2017.
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}  # noqa: RUF012
    support = constraints.simplex

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        base = _LogRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    @property
    def temperature(self) -> Any:
        """How far values are from the corners."""
        return self.base_dist.temperature

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self.base_dist.probs

    @property
    def logits(self) -> Tensor:
        """Their logarithms."""
        return self.base_dist.logits
