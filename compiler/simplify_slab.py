"""Slabs: what lies between two places of one axis of an array."""

from __future__ import annotations

from typing import Any

from adjit.compiler.simplify_rules import Site, made_by
from adjit.ir.frozen import frozen
from adjit.ir.graph import Value
from adjit.ir.shape import Size


@frozen
class Slab:
    """`count` places of axis `axis` of `source`, from `start` on."""

    source: Value
    axis: int
    start: Size
    count: Size

    def is_before(self, other: Slab) -> bool:
        """Whether `other` begins where this one ends."""
        return (self.source, self.axis, self.start + self.count) == (other.source, other.axis, other.start)

    def value(self, site: Site, axis: int) -> Value:
        """The slab, with its axis in the place `axis`."""
        dims, place = self.source.dims, self.axis
        start = tuple(self.start if number == place else 0 for number in range(len(dims)))
        size = (*dims[:place], self.count, *dims[place + 1 :])
        found = site.make("slice", self.source, start=start, size=size, step=(1,) * len(dims))
        order = [number for number in range(len(dims)) if number != place]
        return site.make("permute", found, perm=(*order[:axis], place, *order[axis:]))


def slab_of(x: Value, axis: int) -> Slab | None:
    """The slab that `x` is, along its own axis `axis`: a slice, or one place of another axis that a reshape moved."""
    shaped = made_by(x, "reshape")
    node = made_by(x if shaped is None else shaped.inputs[0], "slice")
    if node is None:
        return None
    source, attributes = node.inputs[0], node.attributes
    start, size, step = (attributes[name] for name in ("start", "size", "step"))
    assert isinstance(start, tuple) and isinstance(size, tuple) and isinstance(step, tuple)
    cut = [place for place in range(source.type.ndim) if (start[place], size[place]) != (0, source.dims[place])]
    if len(cut) != 1 or any(stride != 1 for stride in step):
        return None
    (place,) = cut
    start_at: Any = start[place]
    if shaped is None:
        return Slab(source, place, start_at, size[place]) if place == axis else None  # type: ignore[arg-type]
    rest = (*source.dims[:place], *source.dims[place + 1 :])
    is_moved = size[place] == 1 and x.dims == (*rest[:axis], 1, *rest[axis:])
    return Slab(source, place, start_at, 1) if is_moved else None
