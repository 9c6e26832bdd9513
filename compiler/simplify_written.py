"""Reading an array that a program has written into: what is read is what was written, or lies beside it.

`x[i] = v` is traced as where(box, pad(v), x), where the box is true, its gradients so and as sums of padded pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.compiler.simplify_rules import Site, made_by, number_in, rule
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Value

# How many writes are looked through for the one that is read.
_MOST = 4096


@frozen
class Box:
    """The elements from `start` to `stop` in every axis."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    def is_inside(self, other: Box) -> bool:
        """Whether all elements are those of `other` too."""
        return all(map(int.__le__, other.start, self.start)) and all(map(int.__le__, self.stop, other.stop))

    def is_apart(self, other: Box) -> bool:
        """Whether no element is one of `other`."""
        return any(map(int.__le__, self.stop, other.start)) or any(map(int.__le__, other.stop, self.start))


def box_of(start: Sequence[Any], size: Sequence[Any]) -> Box | None:
    """The box from `start` on; None if it is not known in numbers, or has no elements."""
    if not all(isinstance(number, int) for number in (*start, *size)) or 0 in size:
        return None
    return Box(tuple(start), tuple(begin + extent for begin, extent in zip(start, size, strict=True)))


def padded_box(node: Node | None) -> Box | None:
    """Where the operand of a pad lies in its result."""
    if node is None or node.op.name != "pad":
        return None
    attributes: Any = node.attributes
    return None if any(attributes["interior"]) else box_of(attributes["low"], node.inputs[0].dims)


def written_box(node: Node | None) -> Box | None:
    """Where a `where` takes its second operand: inside one box."""
    mask = None if node is None or node.op.name != "where" else made_by(node.inputs[0], "pad")
    if mask is None or mask.attributes["value"] or number_in(mask.inputs[0]) is not True:
        return None
    return padded_box(mask)


@rule("slice")
def slice_of_written(site: Site) -> Value | None:
    """The elements of what was written last to where they lie, and of pieces that were added there."""
    attributes: Any = site.attributes
    box = box_of(attributes["start"], attributes["size"])
    if box is None or any(step != 1 for step in attributes["step"]):
        return None
    value, added = site.inputs[0], list[Value | float]()
    for _ in range(_MOST):
        found = _seen(value, box)
        if found is None:
            break
        value, piece = found
        added += [] if piece is None else [piece]
    if value is site.inputs[0]:
        return None
    result = _read(site, value, box)
    for piece in reversed(added):
        result = site.make("add", result, _read(site, piece, box) if isinstance(piece, Value) else piece)
    return result


def _seen(value: Value, box: Box) -> tuple[Value, Value | float | None] | None:
    """An earlier value that has the elements of `value` in the box, and what is added to it there."""
    node = value.node
    if node is None or node.op.name not in ("where", "add") or value.dims == ():
        return None
    if node.op.name == "where":
        written = written_box(node)
        if written is None or not (box.is_inside(written) or box.is_apart(written)):
            return None
        return node.inputs[1 if box.is_inside(written) else 2], None
    for other, piece in (node.inputs, node.inputs[::-1]):
        place = padded_box(made_by(piece, "pad"))
        if place is None or piece.node is None or piece.node.attributes["value"] != 0 or other.dims != value.dims:
            continue
        if box.is_inside(place):
            return other, piece
        if box.is_apart(place):
            return other, 0.0 if value.dtype.is_continuous else None
    return None


def _read(site: Site, value: Value, box: Box) -> Value:
    """The elements of `value` in the box."""
    if value.dims == ():
        return site.full(value)
    node = made_by(value, "pad")
    place = padded_box(node)
    start = box.start
    if node is not None and place is not None:
        if box.is_apart(place):
            return site.full(site.builder.constant(node.attributes["value"], value.dtype))  # type: ignore[arg-type]
        if box.is_inside(place):
            value, start = node.inputs[0], tuple(map(int.__sub__, box.start, place.start))
    return site.make("slice", value, start=start, size=site.types[0].dims, step=(1,) * len(start))


@rule("slice")
def slice_of_padded(site: Site) -> Value | None:
    """Elements of what was padded, or of the border."""
    attributes: Any = site.attributes
    place, box = padded_box(made_by(site.inputs[0], "pad")), box_of(attributes["start"], attributes["size"])
    if place is None or box is None or any(step != 1 for step in attributes["step"]):
        return None
    return _read(site, site.inputs[0], box) if box.is_inside(place) or box.is_apart(place) else None
