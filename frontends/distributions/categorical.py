"""Categories: one of k, as an index or as a unit vector, and counts of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.autograd.modes import no_grad
from adjit.creation import eye, full_like, zeros_like
from adjit.distributions import constraints
from adjit.distributions.discrete import _EITHER, Binomial
from adjit.distributions.distribution import Distribution, broadcast_all, clamped, lazy_property
from adjit.elementwise import where
from adjit.random import multinomial
from adjit.ranges import arange
from adjit.tensor import Tensor


class Categorical(Distribution):
    """Index i with probability probs[i], the last axis normalized."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}  # noqa: RUF012
    has_enumerate_support = True
    _tensors = ("probs", "logits", "_given")

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        if (probs is None) == (logits is None):
            raise ValueError(_EITHER)
        given = logits if probs is None else probs
        if given.dim() < 1:
            raise ValueError(f"`{'logits' if probs is None else 'probs'}` parameter must be at least one-dimensional.")
        if probs is None:
            self.__dict__["logits"] = given - given.logsumexp(-1, keepdim=True)
        else:
            self.__dict__["probs"] = given / given.sum(-1, keepdim=True)
        self._given = given
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> Any:
        """0 .. k - 1."""
        return constraints.integer_interval(0, self._num_events - 1)

    @lazy_property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self.logits.softmax(-1)

    @lazy_property
    def logits(self) -> Tensor:
        """The probabilities' logarithms."""
        return clamped(self.probs).log()

    @property
    def param_shape(self) -> Any:
        """The parameters' shape."""
        return self._given.shape

    @property
    def mean(self) -> Tensor:
        """None: NaN."""
        return full_like(self._given[..., 0].detach(), float("nan"))

    @property
    def mode(self) -> Tensor:
        """The most probable index."""
        return self.probs.argmax(-1)

    @property
    def variance(self) -> Tensor:
        """None: NaN."""
        return self.mean

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Indices."""
        count = 1
        for size in sample_shape:
            count *= size
        with no_grad():
            rows = self.probs.reshape(-1, self._num_events)
            drawn: Tensor = multinomial(rows, count, True).T
            return drawn.reshape(*self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """log(probs[x])."""
        self._validate_sample(value)
        index, logits = value.long().unsqueeze(-1), self.logits
        shape = (*broadcast_all(index[..., 0], logits[..., 0])[0].shape,)
        index = index.expand(*shape, 1)
        return logits.expand(*shape, self._num_events).gather(-1, index).squeeze(-1)

    def entropy(self) -> Tensor:
        """-sum p*log(p)."""
        return -(where(self.probs > 0, self.logits, 0.0) * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0 .. k - 1."""
        values = arange(self._num_events).view(-1, *(1,) * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


class OneHotCategorical(Distribution):
    """A unit vector along axis i with probability probs[i]."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}  # noqa: RUF012
    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._categorical = Categorical(probs, logits)
        super().__init__(
            self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args
        )

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """The distribution with its batch expanded."""
        new = super().expand(batch_shape)
        new._categorical = self._categorical.expand(batch_shape)
        return new

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """The probabilities' logarithms."""
        return self._categorical.logits

    @property
    def mean(self) -> Tensor:
        """probs."""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """The unit vector of the most probable index."""
        return self._units(self._categorical.mode)

    @property
    def variance(self) -> Tensor:
        """p*(1 - p)."""
        return self.probs * (1 - self.probs)

    def _units(self, index: Tensor) -> Tensor:
        return zeros_like(self.probs.expand(*index.shape, -1)).scatter(-1, index.unsqueeze(-1), 1.0)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Unit vectors."""
        with no_grad():
            return self._units(self._categorical.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """log(probs[i]) for the unit vector along i."""
        self._validate_sample(value)
        return self._categorical.log_prob(value.argmax(-1))

    def entropy(self) -> Tensor:
        """-sum p*log(p)."""
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """The unit vectors."""
        n = int(self._event_shape[0])
        values = eye(n, dtype=self.probs.dtype).view(n, *(1,) * len(self._batch_shape), n)
        return values.expand(n, *self._batch_shape, n) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """`OneHotCategorical` whose values pass gradients to the probabilities as they are."""

    has_rsample = True

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Unit vectors + probs - probs."""
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


class Multinomial(Distribution):
    """How often each of k indices comes up in total_count draws."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}  # noqa: RUF012
    total_count: int

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._categorical = Categorical(probs=probs, logits=logits)
        self._binomial = Binomial(total_count, probs=self._categorical.probs)
        super().__init__(
            self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args
        )

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """The distribution with its batch expanded."""
        new = super().expand(batch_shape)
        new._categorical = self._categorical.expand(batch_shape)
        return new

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        """Counts up to total_count."""
        return constraints.multinomial(self.total_count)

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """The probabilities' logarithms."""
        return self._categorical.logits

    @property
    def mean(self) -> Tensor:
        """n*p."""
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        """n*p*(1 - p)."""
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Counts of draws."""
        with no_grad():
            drawn = self._categorical.sample((self.total_count, *sample_shape))
            counts = zeros_like(self.probs.expand(*drawn.shape[1:], -1))
            index = drawn.movedim(0, -1)
            found: Tensor = counts.scatter_add(-1, index, full_like(index.to(counts.dtype), 1.0))
            return found

    def log_prob(self, value: Tensor) -> Tensor:
        """lgamma(n + 1) - sum(lgamma(x + 1)) + sum(x*log(p))."""
        self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        log_powers = where((value == 0) & (logits == -float("inf")), 0.0, logits) * value
        return (value.sum(-1) + 1).lgamma() - (value + 1).lgamma().sum(-1) + log_powers.sum(-1)

    def entropy(self) -> Tensor:
        """n*H(p) - lgamma(n + 1) + the expected sum of lgamma(x + 1)."""
        n = self.total_count
        counts = self._binomial.enumerate_support(expand=False)[1:]
        weights = self._binomial.log_prob(counts).exp()
        spread = (weights * (counts + 1).lgamma()).sum((0, -1))
        constant = float(full_like(self.probs.flatten()[0].detach(), n + 1).lgamma())
        return n * self._categorical.entropy() - constant + spread
