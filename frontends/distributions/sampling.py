"""Random values that no function of tensors draws: gamma, Poisson, binomial and von Mises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.autograd.function import Function
from adjit.autograd.modes import no_grad
from adjit.conversion import concrete
from adjit.creation import empty, from_numpy, zeros
from adjit.dtypes import float32, float64
from adjit.elementwise import where
from adjit.ir.errors import TraceError
from adjit.numeric_limits import finfo
from adjit.random import randint
from adjit.state import STATE
from adjit.tensor import Tensor

# Marsaglia and Tsang's method accepts a proposal with probability above 0.95 for every alpha >= 1: sixteen proposals
# leave 1e-21 of the values without one, and these take the last.
_PROPOSALS = 16


class _StandardGamma(Function):
    """Gamma values of rate 1; the derivative is the implicit one, -(dF/dalpha)/f at the value."""

    @staticmethod
    def forward(ctx: Any, alpha: Tensor) -> Tensor:
        value = _marsaglia_tsang(alpha)
        ctx.save_for_backward(alpha, value)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        alpha, value = ctx.saved_tensors
        return grad * gamma_slope(alpha, value)


def standard_gamma(alpha: Tensor) -> Tensor:
    """A value of the gamma distribution of shape `alpha` and rate 1, differentiable in alpha."""
    return _StandardGamma.apply(alpha)


def _marsaglia_tsang(alpha: Tensor) -> Tensor:
    """Source: Marsaglia and Tsang, 2000; for alpha < 1 a value of alpha + 1 times u**(1/alpha)."""
    small = alpha < 1
    d = where(small, alpha + 1, alpha) - 1 / 3
    c = 1 / (9 * d).sqrt()
    shape = (_PROPOSALS, *alpha.shape)
    x = empty(shape, dtype=alpha.dtype).normal_()
    u = empty(shape, dtype=alpha.dtype).uniform_()
    v = (1 + c * x) ** 3
    positive = v > 0
    fits = positive & (u.log() < 0.5 * x * x + d * (1 - v + where(positive, v, 1.0).log()))
    first = fits.to(float32).argmax(0)  # the first accepted proposal
    value = d * v.gather(0, first.unsqueeze(0)).squeeze(0)
    power = empty(tuple(alpha.shape), dtype=alpha.dtype).uniform_().log() / where(small, alpha, 1.0)
    value = where(small, value * power.exp(), value)
    return value.clamp(min=finfo(alpha.dtype).tiny)


def gamma_slope(alpha: Tensor, value: Tensor) -> Tensor:
    """d value/d alpha of a gamma value whose probability F(value; alpha) is kept.

    With t = value*exp(s) on the side of the value away from the mode,
    -dF/dalpha / f = sign * value * integral over s > 0 of exp(sign*alpha*s - value*(e^(sign*s) - 1)) *
    (log value + sign*s - digamma(alpha)), sign +1 for value > alpha and -1 else: the integrand falls from 1 on.
    The integral is taken by the double exponential rule.  Source: Takahasi and Mori, 1974.
    """
    a, z = alpha.to(float64).unsqueeze(-1), value.to(float64).unsqueeze(-1)
    nodes = np.linspace(-4.2, 2.6, 80)
    points = from_numpy(np.exp(np.pi / 2 * np.sinh(nodes)))
    weights = from_numpy(np.pi / 2 * np.cosh(nodes) * (nodes[1] - nodes[0]))
    sign = where(z > a, 1.0, -1.0).to(float64)
    width = 1 / ((z - a).abs() + where(z > a, z, a).sqrt())
    s = points * width
    s = where(z > a, s.clamp(max=700.0), s)  # below the mode exp(-a*s) falls slowly where a is small
    exponent = sign * a * s - z * (sign * s).expm1()
    integral = (weights * s * exponent.exp() * (z.log() + sign * s - a.digamma())).sum(-1)
    return (sign.squeeze(-1) * z.squeeze(-1) * integral).to(alpha.dtype)


def poisson(rate: Tensor) -> Tensor:
    """Poisson counts as numbers of the rates' dtype."""
    return _drawn(rate, "poisson", lambda generator: generator.poisson(concrete(rate, "poisson()")))


def binomial(count: Tensor, prob: Tensor) -> Tensor:
    """Successes in `count` trials, as numbers of the probabilities' dtype."""
    return _drawn(
        prob,
        "binomial",
        lambda generator: generator.binomial(
            concrete(count, "binomial()").astype(np.int64), concrete(prob.to(float64), "binomial()")
        ),
    )


def von_mises(loc: Tensor, concentration: Tensor) -> Tensor:
    """Angles about `loc`, as numbers of its dtype."""
    return _drawn(
        loc,
        "von_mises",
        lambda generator: generator.vonmises(
            concrete(loc.to(float64), "von_mises()"), concrete(concentration.to(float64), "von_mises()")
        ),
    )


def _drawn(like: Tensor, name: str, draw: Callable[[np.random.Generator], Any]) -> Tensor:
    """Values from NumPy, whose generator starts from numbers of the default one."""
    if STATE.tracer is not None:
        raise TraceError(
            f"{name} values have no compiled form\n  hint: draw them outside of the compiled function and pass them in"
        )
    with no_grad():
        seed = [int(word) for word in randint(0, 2**31 - 1, (4,)).tolist()]
        found = zeros(tuple(like.shape), dtype=like.dtype)
        return found.copy_(from_numpy(np.asarray(draw(np.random.default_rng(seed)), np.float64)))
