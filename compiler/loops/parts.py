"""`concat` of parts of one array, as rolled and mirrored arrays are: where its elements stand in that array."""

from __future__ import annotations

from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Value
from adjit.ir.shape import Size


@frozen
class Part:
    """`extent` places of an axis: place i is place `start + i*step` of the source."""

    extent: Size
    start: Size
    step: Size


@frozen
class Parts:
    """The parts of `source` that a concat puts in a row along `axis`; along the others all are cut as `others` say."""

    source: Value
    axis: int
    parts: tuple[Part, ...]
    others: tuple[Part, ...]


def parts_of(node: Node) -> Parts | None:
    """The parts of one array that a `concat` is made of, or None."""
    if node.op.name != "concat":
        return None
    axis = node.attributes["axis"]
    assert isinstance(axis, int)
    found = [_cut(value, axis) for value in node.inputs]
    source, first = found[0]
    rest = _without(first, axis)
    if any(other is not source or _without(cut, axis) != rest for other, cut in found[1:]):
        return None
    return Parts(source, axis, tuple(cut[axis] for _, cut in found), first)


def _cut(value: Value, axis: int) -> tuple[Value, tuple[Part, ...]]:
    """The array that a value is a slice of, or itself, and what it takes of each axis; one place may be repeated."""
    node, repeated = value.node, None
    if node is not None and node.op.name == "expand" and node.inputs[0].type.ndim == value.type.ndim:
        stretched = [place for place, dim in enumerate(node.inputs[0].dims) if dim != value.dims[place]]
        if stretched == [axis]:
            repeated, value, node = value.dims[axis], node.inputs[0], node.inputs[0].node
    if node is None or node.op.name != "slice":
        found = [Part(dim, 0, 1) for dim in value.dims]
    else:
        starts, steps = node.attributes["start"], node.attributes["step"]
        found = [Part(*cut) for cut in zip(value.dims, starts, steps, strict=True)]  # type: ignore[arg-type]
        value = node.inputs[0]
    if repeated is not None:
        found[axis] = Part(repeated, found[axis].start, 0)
    return value, tuple(found)


def _without(cut: tuple[Part, ...], axis: int) -> tuple[Part, ...]:
    return (*cut[:axis], *cut[axis + 1 :])
