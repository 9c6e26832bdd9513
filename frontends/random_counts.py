"""Random counts: `poisson` and `binomial`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.autograd.modes import no_grad
from adjit.dtypes import title_of
from adjit.tensor import Tensor

METHODS: dict[str, Callable[..., Any]] = {}
__all__ = ["binomial", "poisson"]


def _default(generator: Any, name: str) -> None:
    if generator is not None:
        raise NotImplementedError(f"{name}() draws from the default generator: leave out generator")


def poisson(input: Tensor, generator: Any = None) -> Tensor:
    """Counts of the rates that the elements say, as numbers of their dtype; without a derivative.

    Errors: RuntimeError for a negative rate.
    """
    from adjit.distributions import sampling

    _default(generator, "poisson")
    if not input._dtype.is_float:
        raise NotImplementedError(f"\"poisson_cpu\" not implemented for '{title_of(input._dtype)}'")
    with no_grad():
        if bool((input < 0).any()):
            raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
        return sampling.poisson(input)


def binomial(count: Tensor, prob: Tensor, generator: Any = None) -> Tensor:
    """Successes in `count` trials of probability `prob`, as numbers of its dtype; without a derivative."""
    from adjit.distributions import sampling
    from adjit.shaping import broadcast_tensors

    _default(generator, "binomial")
    for name, value in (("count", count), ("prob", prob)):
        if not value._dtype.is_float:
            raise ValueError(f"binomial only supports floating-point dtypes for {name}, got: {title_of(value._dtype)}")
    with no_grad():
        counts, probabilities = broadcast_tensors(count, prob.clamp(0, 1))
        return sampling.binomial(counts, probabilities)
