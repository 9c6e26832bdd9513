"""Sets in which parameters and samples lie: `constraint.check(value)` says where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from adjit.tensor import Tensor

__all__ = [
    "Constraint", "boolean", "cat", "corr_cholesky", "dependent", "dependent_property", "greater_than",
    "greater_than_eq", "half_open_interval", "independent", "integer_interval", "interval", "is_dependent",
    "less_than", "lower_cholesky", "lower_triangular", "multinomial", "nonnegative", "nonnegative_integer",
    "one_hot", "positive", "positive_definite", "positive_integer", "positive_semidefinite", "real", "real_vector",
    "simplex", "square", "stack", "symmetric", "unit_interval",
]  # fmt: skip


class Constraint:
    """A set: of numbers, or of vectors or matrices in the last `event_dim` axes."""

    is_discrete: bool = False
    event_dim: int = 0

    def check(self, value: Tensor) -> Tensor:
        """A bool for each number (vector, matrix): whether it is in the set."""
        raise NotImplementedError(f"{type(self).__name__} says what is in the set")

    def __repr__(self) -> str:
        return type(self).__name__.removeprefix("_") + "()"


class _Dependent(Constraint):
    """A set that depends on a distribution's parameters."""

    def __init__(self, is_discrete: bool = False, event_dim: int = 0) -> None:
        self.is_discrete = is_discrete
        self.event_dim = event_dim

    def check(self, value: Tensor) -> Tensor:
        """ValueError: there is no distribution to ask."""
        raise ValueError("Cannot determine validity of dependent constraint")


class dependent_property(property, _Dependent):
    """A property of a distribution that gives a constraint."""

    def __init__(
        self, fn: Callable[[Any], Any] | None = None, *, is_discrete: bool = False, event_dim: int = 0
    ) -> None:
        property.__init__(self, fn)
        _Dependent.__init__(self, is_discrete, event_dim)

    def __call__(self, fn: Callable[[Any], Any]) -> dependent_property:
        return dependent_property(fn, is_discrete=self.is_discrete, event_dim=self.event_dim)


def is_dependent(constraint: Any) -> bool:
    """Whether a constraint can only be checked with a distribution's parameters."""
    return isinstance(constraint, _Dependent)


class _Real(Constraint):
    def check(self, value: Tensor) -> Tensor:
        return value == value  # NaN is not real


class _Boolean(Constraint):
    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value == 0) | (value == 1)


class _Bounded(Constraint):
    """Numbers compared with bounds, which the text names."""

    names: tuple[str, ...] = ()

    def __init__(self, *bounds: Any) -> None:
        for name, bound in zip(self.names, bounds, strict=True):
            setattr(self, name, bound)
        self.bounds = bounds

    def __repr__(self) -> str:
        stated = ", ".join(f"{name}={bound}" for name, bound in zip(self.names, self.bounds, strict=True))
        return f"{type(self).__name__.removeprefix('_')}({stated})"


class _GreaterThan(_Bounded):
    names = ("lower_bound",)

    def check(self, value: Tensor) -> Tensor:
        return value > self.bounds[0]


class _GreaterThanEq(_Bounded):
    names = ("lower_bound",)

    def check(self, value: Tensor) -> Tensor:
        return value >= self.bounds[0]


class _LessThan(_Bounded):
    names = ("upper_bound",)

    def check(self, value: Tensor) -> Tensor:
        return value < self.bounds[0]


class _Interval(_Bounded):
    names = ("lower_bound", "upper_bound")

    def check(self, value: Tensor) -> Tensor:
        return (value >= self.bounds[0]) & (value <= self.bounds[1])


class _HalfOpenInterval(_Bounded):
    names = ("lower_bound", "upper_bound")

    def check(self, value: Tensor) -> Tensor:
        return (value >= self.bounds[0]) & (value < self.bounds[1])


class _IntegerInterval(_Bounded):
    is_discrete = True
    names = ("lower_bound", "upper_bound")

    def check(self, value: Tensor) -> Tensor:
        return (value % 1 == 0) & (value >= self.bounds[0]) & (value <= self.bounds[1])


class _IntegerGreaterThan(_Bounded):
    is_discrete = True
    names = ("lower_bound",)

    def check(self, value: Tensor) -> Tensor:
        return (value % 1 == 0) & (value >= self.bounds[0])


class _Simplex(Constraint):
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-6)


class _OneHot(Constraint):
    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)


class _Multinomial(Constraint):
    is_discrete = True
    event_dim = 1

    def __init__(self, upper_bound: Any) -> None:
        self.upper_bound = upper_bound

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0).all(-1) & (value.sum(-1) <= self.upper_bound)


class _Square(Constraint):
    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        from adjit.creation import full

        return full(tuple(value.shape[:-2]), value.shape[-2] == value.shape[-1])


class _LowerTriangular(Constraint):
    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        return (value.tril() == value).flatten(-2).all(-1)


class _LowerCholesky(_LowerTriangular):
    def check(self, value: Tensor) -> Tensor:
        return super().check(value) & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


class _CorrCholesky(_LowerCholesky):
    """Cholesky factors of correlation matrices: every row has length 1."""

    def check(self, value: Tensor) -> Tensor:
        from adjit.numeric_limits import finfo

        tolerance = 10 * finfo(value.dtype).eps * value.shape[-1]
        length = (value.detach() ** 2).sum(-1).sqrt()
        return super().check(value) & ((length - 1.0).abs() <= tolerance).all(-1)


class _Symmetric(_Square):
    def check(self, value: Tensor) -> Tensor:
        return ((value - value.mT).abs() <= 1e-6).flatten(-2).all(-1) & super().check(value)


class _PositiveDefinite(_Symmetric):
    def check(self, value: Tensor) -> Tensor:
        return super().check(value) & (_linalg().eigvalsh(value) > 0).all(-1)


class _PositiveSemidefinite(_Symmetric):
    def check(self, value: Tensor) -> Tensor:
        return super().check(value) & (_linalg().eigvalsh(value) >= 0).all(-1)


class _IndependentConstraint(Constraint):
    """A set in which several axes are one event."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        self.base_constraint = base_constraint
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        self.is_discrete = base_constraint.is_discrete
        self.event_dim = base_constraint.event_dim + reinterpreted_batch_ndims

    def check(self, value: Tensor) -> Tensor:
        result = self.base_constraint.check(value)
        if result.dim() < self.reinterpreted_batch_ndims:
            expected = self.base_constraint.event_dim + self.reinterpreted_batch_ndims
            raise ValueError(f"Expected value.dim() >= {expected} but got {value.dim()}")
        return result.flatten(result.dim() - self.reinterpreted_batch_ndims).all(-1) if self._joins() else result

    def _joins(self) -> bool:
        return self.reinterpreted_batch_ndims > 0

    def __repr__(self) -> str:
        return f"IndependentConstraint({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class _Parts(Constraint):
    """What sets of tensors share whose parts lie in a set each."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0) -> None:
        assert all(isinstance(each, Constraint) for each in cseq)
        self.cseq = list(cseq)
        self.dim = dim
        self.is_discrete = any(each.is_discrete for each in self.cseq)
        self.event_dim = max(each.event_dim for each in self.cseq)


class _Cat(_Parts):
    """Slices along an axis, of these lengths (1 each), in a set each."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0, lengths: Sequence[int] | None = None) -> None:
        super().__init__(cseq, dim)
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)
        assert len(self.lengths) == len(self.cseq)

    def check(self, value: Tensor) -> Tensor:
        assert -value.dim() <= self.dim < value.dim()
        parts = value.split([*self.lengths, value.shape[self.dim] - sum(self.lengths)], self.dim)
        held = [each.check(part) for each, part in zip(self.cseq, parts, strict=False)]
        found: Tensor = _joining().cat(held, self.dim)
        return found


class _Stack(_Parts):
    """Entries along an axis in a set each."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0) -> None:
        super().__init__(cseq, dim)
        self.event_dim += self.dim + self.event_dim < 0

    def check(self, value: Tensor) -> Tensor:
        assert -value.dim() <= self.dim < value.dim()
        parts = [value.select(self.dim, place) for place in range(value.shape[self.dim])]
        found: Tensor = _joining().stack([c.check(part) for c, part in zip(self.cseq, parts, strict=True)], self.dim)
        return found


def _joining() -> Any:
    return import_module("adjit.joining")


def _linalg() -> Any:
    return import_module("adjit.linalg")


dependent = _Dependent()
boolean = _Boolean()
real = _Real()
independent = _IndependentConstraint
cat, stack = _Cat, _Stack
real_vector = independent(real, 1)
greater_than, greater_than_eq, less_than = _GreaterThan, _GreaterThanEq, _LessThan
interval, half_open_interval = _Interval, _HalfOpenInterval
integer_interval, multinomial = _IntegerInterval, _Multinomial
positive, nonnegative = greater_than(0.0), greater_than_eq(0.0)
unit_interval = interval(0.0, 1.0)
nonnegative_integer, positive_integer = _IntegerGreaterThan(0), _IntegerGreaterThan(1)
simplex, one_hot = _Simplex(), _OneHot()
square, symmetric = _Square(), _Symmetric()
lower_triangular, lower_cholesky = _LowerTriangular(), _LowerCholesky()
corr_cholesky = _CorrCholesky()
positive_definite, positive_semidefinite = _PositiveDefinite(), _PositiveSemidefinite()
