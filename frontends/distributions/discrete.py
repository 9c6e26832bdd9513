"""Counts: Bernoulli, geometric, Poisson and binomial distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.autograd.modes import no_grad
from adjit.creation import empty
from adjit.distributions import constraints
from adjit.distributions.distribution import Distribution, broadcast_all, clamped, lazy_property
from adjit.distributions.sampling import binomial, poisson
from adjit.elementwise import where
from adjit.nn.functional import binary_cross_entropy_with_logits, softplus
from adjit.numeric_limits import finfo
from adjit.ranges import arange
from adjit.tensor import Tensor

_EITHER = "Either `probs` or `logits` must be specified, but not both."


class _ByProbability(Distribution):
    """A distribution given by probabilities or by their log odds."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}  # noqa: RUF012

    def _take(self, probs: Any, logits: Any) -> Tensor:
        if (probs is None) == (logits is None):
            raise ValueError(_EITHER)
        (given,) = broadcast_all(logits if probs is None else probs)
        self.__dict__["logits" if probs is None else "probs"] = given
        return given

    @lazy_property
    def probs(self) -> Tensor:
        """The probability of 1."""
        return self.logits.sigmoid()

    @lazy_property
    def logits(self) -> Tensor:
        """log(p/(1 - p))."""
        kept = clamped(self.probs)
        return kept.log() - (-kept).log1p()

    @property
    def param_shape(self) -> Any:
        """The parameters' shape."""
        return (self.__dict__.get("probs", self.__dict__.get("logits"))).shape  # type: ignore[union-attr]


class Bernoulli(_ByProbability):
    """1 with probability p, else 0."""

    support = constraints.boolean
    has_enumerate_support = True
    _tensors = ("probs", "logits")

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        super().__init__(self._take(probs, logits).shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """p."""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """1 for p >= 1/2, NaN at 1/2."""
        mode = (self.probs >= 0.5).to(self.probs.dtype)
        return where(self.probs == 0.5, float("nan"), mode)

    @property
    def variance(self) -> Tensor:
        """p*(1 - p)."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Zeros and ones."""
        with no_grad():
            found: Tensor = self.probs.expand(*self._extended_shape(sample_shape)).bernoulli()
            return found

    def log_prob(self, value: Tensor) -> Tensor:
        """x*log(p) + (1 - x)*log(1 - p)."""
        self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        """-p*log(p) - (1 - p)*log(1 - p)."""
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0 and 1."""
        values = arange(2, dtype=self.param_dtype).view(-1, *(1,) * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values

    @property
    def param_dtype(self) -> Any:
        """The parameters' dtype."""
        return self.__dict__.get("probs", self.__dict__.get("logits")).dtype  # type: ignore[union-attr]


class Geometric(_ByProbability):
    """(1 - p)**x*p: failures before the first success."""

    support = constraints.nonnegative_integer
    _tensors = ("probs", "logits")

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        given = self._take(probs, logits)
        super().__init__(given.shape, validate_args=validate_args)
        if self._validate_args and probs is not None and not (given > 0).all():
            raise ValueError(
                f"Expected parameter probs ({type(given).__name__} of shape {tuple(given.shape)}) of distribution "
                f"{self!r} to be positive but found invalid values:\n{given.reshape(-1)[given.reshape(-1) <= 0]}"
            )

    @property
    def mean(self) -> Tensor:
        """1/p - 1."""
        return 1.0 / self.probs - 1.0

    @property
    def mode(self) -> Tensor:
        """0."""
        return self.probs * 0

    @property
    def variance(self) -> Tensor:
        """(1/p - 1)/p."""
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """floor(log(u)/log(1 - p)) for uniform values u."""
        with no_grad():
            shape = tuple(self._extended_shape(sample_shape))
            u = empty(shape, dtype=self.probs.dtype).uniform_().clamp(min=finfo(self.probs.dtype).tiny)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        """x*log(1 - p) + log(p)."""
        self._validate_sample(value)
        value, probs = broadcast_all(value, self.probs)
        rest = where((probs == 1) & (value == 0), 0.0, probs)
        return value * (-rest).log1p() + self.probs.log()

    def entropy(self) -> Tensor:
        """The entropy of one trial over p."""
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none") / self.probs


class Poisson(Distribution):
    """rate**x*exp(-rate)/x!."""

    arg_constraints = {"rate": constraints.nonnegative}  # noqa: RUF012
    support = constraints.nonnegative_integer
    _tensors = ("rate",)

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """rate."""
        return self.rate

    @property
    def mode(self) -> Tensor:
        """floor(rate)."""
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        """rate."""
        return self.rate

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Counts."""
        with no_grad():
            return poisson(self.rate.expand(*self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """x*log(rate) - rate - lgamma(x + 1)."""
        self._validate_sample(value)
        rate, value = broadcast_all(self.rate, value)
        return value.xlogy(rate) - rate - (value + 1).lgamma()


class Binomial(_ByProbability):
    """Successes in total_count trials."""

    has_enumerate_support = True
    _tensors = ("total_count", "probs", "logits")

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError(_EITHER)
        count, given = broadcast_all(total_count, logits if probs is None else probs)
        self.total_count = count.to(given.dtype)
        self.__dict__["logits" if probs is None else "probs"] = given
        super().__init__(given.shape, validate_args=validate_args)

    arg_constraints = {  # noqa: RUF012
        "total_count": constraints.nonnegative_integer, "probs": constraints.unit_interval, "logits": constraints.real,
    }  # fmt: skip

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> Any:
        """0 .. total_count."""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        """n*p."""
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        """floor((n + 1)*p), at most n."""
        return ((self.total_count + 1) * self.probs).floor().minimum(self.total_count)

    @property
    def variance(self) -> Tensor:
        """n*p*(1 - p)."""
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Counts."""
        shape = tuple(self._extended_shape(sample_shape))
        with no_grad():
            return binomial(self.total_count.expand(*shape), self.probs.expand(*shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """log choose(n, x) + x*logits - n*softplus(logits)."""
        self._validate_sample(value)
        n = self.total_count
        choose = (n + 1).lgamma() - (value + 1).lgamma() - (n - value + 1).lgamma()
        # Half of logits + |logits|, not a clamp, whose derivative at 0 is not 1/2.
        positive = 0.5 * (self.logits + self.logits.abs()) + softplus(-self.logits.abs())
        return choose + value * self.logits - n * positive

    def entropy(self) -> Tensor:
        """-sum p(x)*log p(x), for equal counts."""
        most = int(self.total_count.max())
        if not bool((self.total_count == most).all()):
            raise NotImplementedError("Inhomogeneous total count not supported by `entropy`.")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(log_prob.exp() * log_prob).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0 .. total_count, for equal counts."""
        most = int(self.total_count.max())
        if not bool((self.total_count == most).all()):
            raise NotImplementedError("Inhomogeneous total count not supported by `enumerate_support`.")
        values = arange(1 + most, dtype=self.total_count.dtype).view(-1, *(1,) * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values
