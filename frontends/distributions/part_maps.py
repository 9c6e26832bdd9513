"""Transforms of parts of a tensor, each by a transform of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.distributions import constraints
from adjit.distributions.composition import Transform
from adjit.distributions.distribution import sum_rightmost
from adjit.joining import cat, stack
from adjit.tensor import Tensor


class _Parts(Transform):
    """What transforms of parts share; `_pieces` and `_joined` take a tensor apart and together again."""

    _of_parts: Callable[..., Any]

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0) -> None:
        assert all(isinstance(each, Transform) for each in tseq)
        super().__init__(cache_size)
        self.transforms = list(tseq)
        self.dim = dim

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        """Whether all transforms are."""
        return all(each.bijective for each in self.transforms)

    def _pieces(self, x: Tensor) -> list[Tensor]:
        raise NotImplementedError(f"{type(self).__name__} says what its parts are")

    def _joined(self, parts: list[Tensor]) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} says how its parts are joined")

    def _checked(self, x: Tensor, size: int) -> Tensor:
        assert -x.dim() <= self.dim < x.dim()
        assert x.size(self.dim) == size
        return x

    def _call(self, x: Tensor) -> Tensor:
        return self._joined([each(part) for each, part in zip(self.transforms, self._pieces(x), strict=True)])

    def _inverse(self, y: Tensor) -> Tensor:
        return self._joined([each.inv(part) for each, part in zip(self.transforms, self._pieces(y), strict=True)])


class CatTransform(_Parts):
    """Transforms of slices along an axis, of these lengths (1 each)."""

    def __init__(
        self, tseq: Sequence[Transform], dim: int = 0, lengths: Sequence[int] | None = None, cache_size: int = 0
    ) -> None:
        super().__init__(tseq, dim, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        assert len(self.lengths) == len(self.transforms)

    @property
    def event_dim(self) -> int:
        """The most axes that one value of a part has."""
        return max(each.event_dim for each in self.transforms)

    @property
    def length(self) -> int:
        """The size of the axis."""
        return sum(self.lengths)

    @property
    def domain(self) -> Any:
        """What the transforms take."""
        return constraints.cat([each.domain for each in self.transforms], self.dim, self.lengths)

    @property
    def codomain(self) -> Any:
        """What the transforms give."""
        return constraints.cat([each.codomain for each in self.transforms], self.dim, self.lengths)

    def _pieces(self, x: Tensor) -> list[Tensor]:
        return list(self._checked(x, self.length).split(self.lengths, self.dim))

    def _joined(self, parts: list[Tensor]) -> Tensor:
        return cat(parts, self.dim)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |dy/dx|: of each slice, or their sum where the axis is one of a value's."""
        found = []
        for each, part, image in zip(self.transforms, self._pieces(x), self._pieces(y), strict=True):
            found.append(sum_rightmost(each.log_abs_det_jacobian(part, image), self.event_dim - each.event_dim))
        dim = (self.dim - x.dim() if self.dim >= 0 else self.dim) + self.event_dim
        return cat(found, dim) if dim < 0 else sum(found[1:], found[0])

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same with another cache."""
        return self if self._cache_size == cache_size else CatTransform(
            self.transforms, self.dim, self.lengths, cache_size
        )  # fmt: skip


class StackTransform(_Parts):
    """Transforms of the entries along an axis."""

    @property
    def domain(self) -> Any:
        """What the transforms take."""
        return constraints.stack([each.domain for each in self.transforms], self.dim)

    @property
    def codomain(self) -> Any:
        """What the transforms give."""
        return constraints.stack([each.codomain for each in self.transforms], self.dim)

    def _pieces(self, x: Tensor) -> list[Tensor]:
        return [self._checked(x, len(self.transforms)).select(self.dim, i) for i in range(len(self.transforms))]

    def _joined(self, parts: list[Tensor]) -> Tensor:
        return stack(parts, self.dim)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |dy/dx| of each entry."""
        triples = zip(self.transforms, self._pieces(x), self._pieces(y), strict=True)
        return stack([each.log_abs_det_jacobian(part, image) for each, part, image in triples], self.dim)

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same with another cache."""
        return self if self._cache_size == cache_size else StackTransform(self.transforms, self.dim, cache_size)
