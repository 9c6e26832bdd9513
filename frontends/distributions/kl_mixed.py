"""Divergences between distributions of two kinds: -(entropy of p) - (expectation under p of log q(x)).

The expectation needs few moments of p: its mean and variance, and the means of log(x) and of exp(-x/scale).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from adjit.distributions.continuous import Exponential, Gumbel, Laplace, Uniform
from adjit.distributions.discrete import Bernoulli, Binomial, Poisson
from adjit.distributions.further import Pareto
from adjit.distributions.gamma import Beta, Gamma
from adjit.distributions.kl import register_kl
from adjit.distributions.normal import Normal
from adjit.distributions.unit_interval import ContinuousBernoulli
from adjit.elementwise import where
from adjit.nn.functional import softplus
from adjit.tensor import Tensor


def _where_outside(outside: Tensor, kl: Tensor) -> Tensor:
    """`kl`, but infinite where p has values outside of q's support."""
    found: Tensor = where(outside, math.inf, kl)
    return found


def _mean_log(p: Any) -> Tensor:
    """The mean of log(x)."""
    found: Tensor
    if isinstance(p, Beta):
        found = p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma()
    elif isinstance(p, Pareto):
        found = p.scale.log() + p.alpha.reciprocal()
    else:
        found = _mean_log_between(p.low, p.high)
    return found


def _mean_log_between(low: Tensor, high: Tensor) -> Tensor:
    found: Tensor = (high.xlogy(high) - low.xlogy(low)) / (high - low) - 1
    return found


# -- finite --------------------------------------------------------------------------------------------------------
def _to_normal(p: Any, q: Normal) -> Tensor:
    spread = (p.variance + (p.mean - q.loc) ** 2) / (2 * q.scale**2)
    found: Tensor = -p.entropy() + spread + q.scale.log() + 0.5 * math.log(2 * math.pi)
    return found


def _to_exponential(p: Any, q: Exponential) -> Tensor:
    found: Tensor = -p.entropy() - q.rate.log() + q.rate * p.mean
    return _where_outside(p.low < 0, found) if isinstance(p, Uniform) else found


def _to_gamma(p: Any, q: Gamma) -> Tensor:
    a, rate = q.concentration, q.rate
    found = -p.entropy() - a * rate.log() + a.lgamma() - (a - 1) * _mean_log(p) + rate * p.mean
    return _where_outside(p.low < 0, found) if isinstance(p, Uniform) else found


def _to_uniform(p: Any, q: Uniform) -> Tensor:
    return _where_outside((q.low > 0) | (q.high < 1), -p.entropy() + (q.high - q.low).log())


def _to_continuous_bernoulli(p: Any, q: ContinuousBernoulli) -> Tensor:
    found = -p.entropy() - p.mean * q.logits + softplus(q.logits) - q._log_normalizer()
    return _where_outside((p.low < 0) | (p.high > 1), found) if isinstance(p, Uniform) else found


def _to_pareto(p: Any, q: Pareto) -> Tensor:
    least = p.scale if isinstance(p, Pareto) else p.low
    found = -p.entropy() - q.alpha.log() - q.alpha * q.scale.log() + (q.alpha + 1) * _mean_log(p)
    return _where_outside(least < q.scale, found)


def _to_gumbel(p: Any, q: Gumbel) -> Tensor:
    """`decay` is the mean of exp(-(x - loc)/scale)."""
    if isinstance(p, Uniform):
        ends = ((q.loc - p.low) / q.scale).exp() - ((q.loc - p.high) / q.scale).exp()
        decay = q.scale / (p.high - p.low) * ends
    elif isinstance(p, Normal):
        decay = ((q.loc - p.loc) / q.scale + 0.5 * (p.scale / q.scale) ** 2).exp()
    else:
        count = p.concentration if isinstance(p, Gamma) else 1.0
        decay = (q.loc / q.scale).exp() * (1 + (p.rate * q.scale).reciprocal()) ** -count
    found: Tensor = -p.entropy() + q.scale.log() + (p.mean - q.loc) / q.scale + decay
    return found


@register_kl(Uniform, Beta)
def _uniform_beta(p: Uniform, q: Beta) -> Tensor:
    a, b = q.concentration1, q.concentration0
    logs = (a - 1) * _mean_log(p) + (b - 1) * _mean_log_between(1 - p.high, 1 - p.low)
    found = -p.entropy() - logs + a.lgamma() + b.lgamma() - (a + b).lgamma()
    return _where_outside((p.low < 0) | (p.high > 1), found)


@register_kl(Normal, Laplace)
def _normal_laplace(p: Normal, q: Laplace) -> Tensor:
    shift = p.loc - q.loc
    share = shift / (math.sqrt(2) * p.scale)
    distance = p.scale * math.sqrt(2 / math.pi) * (-(share**2)).exp() + shift * share.erf()
    found: Tensor = -p.entropy() + (2 * q.scale).log() + distance / q.scale
    return found


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Bernoulli, q: Poisson) -> Tensor:
    found: Tensor = -p.entropy() - p.probs * q.rate.log() + q.rate
    return found


_FINITE: tuple[tuple[Callable[[Any, Any], Tensor], type, tuple[type, ...]], ...] = (
    (_to_normal, Normal, (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Pareto)),
    (_to_exponential, Exponential, (Beta, ContinuousBernoulli, Gamma, Pareto, Uniform)),
    (_to_gamma, Gamma, (Beta, Pareto, Uniform)),
    (_to_uniform, Uniform, (Beta, ContinuousBernoulli)),
    (_to_continuous_bernoulli, ContinuousBernoulli, (Beta, Uniform)),
    (_to_pareto, Pareto, (Pareto, Uniform)),
    (_to_gumbel, Gumbel, (Exponential, Gamma, Normal, Uniform)),
)
for _function, _right, _lefts in _FINITE:
    for _left in _lefts:
        register_kl(_left, _right)(_function)


# -- infinite: p has values where q has none ------------------------------------------------------------------------
def _infinite(p: Any, q: Any) -> Tensor:
    found: Tensor = p.mean.new_full(tuple(p.batch_shape), math.inf)
    return found


_REAL = (Gumbel, Laplace, Normal)
_POSITIVE = (Exponential, Gamma)
_OUTSIDE: tuple[tuple[type, tuple[type, ...]], ...] = (
    (Beta, (*_REAL, *_POSITIVE, Pareto)), (ContinuousBernoulli, (*_REAL, *_POSITIVE, Pareto)),
    (Uniform, (*_REAL, *_POSITIVE, Pareto)), (Exponential, _REAL), (Gamma, _REAL),
    (Pareto, (*_REAL, *_POSITIVE, Beta, ContinuousBernoulli)), (Bernoulli, (Poisson,)), (Binomial, (Poisson,)),
)  # fmt: skip
for _right, _lefts in _OUTSIDE:
    for _left in _lefts:
        register_kl(_left, _right)(_infinite)
