"""`transform_to` and `biject_to`: for a set, the transform from all real numbers into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.distributions import constraints, transforms

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]


class ConstraintRegistry:
    """A table from classes of constraints to functions that make a transform for a constraint of the class."""

    def __init__(self) -> None:
        self._registry: dict[type, Callable[[Any], Any]] = {}

    def register(self, constraint: Any, factory: Callable[[Any], Any] | None = None) -> Any:
        """Let `factory` make the transforms of a class (or of a constraint's class); a decorator without `factory`.

        Errors: TypeError for what is not a constraint.
        """
        if factory is None:
            return lambda function: self.register(constraint, function)
        kind = type(constraint) if isinstance(constraint, constraints.Constraint) else constraint
        if not isinstance(kind, type) or not issubclass(kind, constraints.Constraint):
            raise TypeError(
                f"Expected constraint to be either a Constraint subclass or instance, but got {constraint}"
            )
        self._registry[kind] = factory
        return factory

    def __call__(self, constraint: Any) -> Any:
        """The transform into the set.  NotImplementedError for a class that is not in the table."""
        factory = self._registry.get(type(constraint))
        if factory is None:
            raise NotImplementedError(f"Cannot transform {type(constraint).__name__} constraints")
        return factory(constraint)


# The transforms of `biject_to` are one to one and have slopes; those of `transform_to` need not.
biject_to, transform_to = ConstraintRegistry(), ConstraintRegistry()


def _lower(constraint: Any) -> Any:
    shift = transforms.AffineTransform(constraint.lower_bound, 1)
    return transforms.ComposeTransform([transforms.ExpTransform(), shift])


def _upper(constraint: Any) -> Any:
    shift = transforms.AffineTransform(constraint.upper_bound, -1)
    return transforms.ComposeTransform([transforms.ExpTransform(), shift])


def _between(constraint: Any) -> Any:
    low, high = constraint.lower_bound, constraint.upper_bound
    numbers = isinstance(low, (int, float)) and isinstance(high, (int, float))
    if numbers and (low, high) == (0, 1):
        return transforms.SigmoidTransform()
    return transforms.ComposeTransform([transforms.SigmoidTransform(), transforms.AffineTransform(low, high - low)])


def _register(constraint: Any, factory: Callable[[Any], Any], *tables: ConstraintRegistry) -> None:
    for table in tables or (biject_to, transform_to):
        table.register(constraint, factory)


def _joint(table: ConstraintRegistry) -> Callable[[Any], Any]:
    """Transforms of several axes by the table's transform of one."""
    return lambda joint: transforms.IndependentTransform(table(joint.base_constraint), joint.reinterpreted_batch_ndims)


_register(constraints.real, lambda _: transforms.identity_transform)
_register(constraints.independent, _joint(biject_to), biject_to)
_register(constraints.independent, _joint(transform_to), transform_to)
_register(constraints.greater_than, _lower)
_register(constraints.greater_than_eq, _lower)
_register(constraints.less_than, _upper)
_register(constraints.interval, _between)
_register(constraints.half_open_interval, _between)
_register(constraints.simplex, lambda _: transforms.StickBreakingTransform(), biject_to)
_register(constraints.simplex, lambda _: transforms.SoftmaxTransform(), transform_to)
_register(constraints.lower_cholesky, lambda _: transforms.LowerCholeskyTransform(), transform_to)
_register(constraints.positive_definite, lambda _: transforms.PositiveDefiniteTransform(), transform_to)
_register(constraints.positive_semidefinite, lambda _: transforms.PositiveDefiniteTransform(), transform_to)
_register(constraints.corr_cholesky, lambda _: transforms.CorrCholeskyTransform())
