"""Slabs: what lies between two places of one axis of an array."""

from __future__ import annotations

from typing import Any

from adjit.compiler.simplify_rules import Site, made_by
from adjit.ir.frozen import frozen
from adjit.ir.graph import Value
from adjit.ir.shape import Size


@frozen
class Slab:
    """`count` places of axis `axis` of `source`, from `start` on, or back where `step` is -1."""

    source: Value
    axis: int
    start: Size
    count: Size
    step: int = 1

    def joined(self, other: Slab) -> Slab | None:
        """This slab and `other`, if that begins where this one ends, as one."""
        if (self.source, self.axis) != (other.source, other.axis):
            return None
        for step in (1, -1):
            goes_on = all(slab.step == step or slab.count == 1 for slab in (self, other))
            if goes_on and self.start + step * self.count == other.start:
                return Slab(self.source, self.axis, self.start, self.count + other.count, step)
        return None

    def value(self, site: Site, axis: int) -> Value:
        """The slab as a part of the result of `site`, along its axis `axis`."""
        dims, place, wanted = self.source.dims, self.axis, site.types[0].dims
        start = tuple(self.start if number == place else 0 for number in range(len(dims)))
        size = (*dims[:place], self.count, *dims[place + 1 :])
        step = tuple(self.step if number == place else 1 for number in range(len(dims)))
        found = site.make("slice", self.source, start=start, size=size, step=step)
        order = [number for number in range(len(dims)) if number != place]
        if len(dims) != len(wanted):
            found = site.make("permute", found, perm=(place, *order))
            found = site.make("reshape", found, shape=(self.count, *wanted[:axis], *wanted[axis + 1 :]))
            place, order = 0, list(range(1, len(wanted)))
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
    own = (*x.dims[:axis], *x.dims[axis + 1 :])
    is_moved = rest == own if len(rest) == len(own) else _without_ones(rest) == _without_ones(own)
    return Slab(source, place, start_at, 1) if size[place] == x.dims[axis] == 1 and is_moved else None


def _without_ones(dims: tuple[Size, ...]) -> tuple[Size, ...]:
    return tuple(dim for dim in dims if dim != 1)
