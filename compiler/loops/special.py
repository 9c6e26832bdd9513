"""Lowering of ops whose elements are no closed form of few: running reductions, scatters, sorts, factorizations of
small matrices; and of `concat` and `interleave`, which store each operand at its places."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjit.compiler.loops.contract import lower_interleave
from adjit.compiler.loops.ir import MATRICES, SORT_ROWS, STORE, TRANSFORM, UPDATE, address
from adjit.compiler.loops.kinds import LAPACK_PREFIX, ON_MATRICES, RUNNING, SCATTERS, SPECIAL, TRANSFORMS
from adjit.compiler.loops.scalars import KernelScalars
from adjit.ir.graph import Attribute, Node, Value
from adjit.ir.index import Element
from adjit.ir.primitive import primitive_named
from adjit.ir.shape import Size, product
from adjit.ir.types import BOOL

Lowering = Callable[[KernelScalars, Node, Sequence[Value]], None]
# Arrays that a loop writes side by side without their lines in the caches being in each other's way.
_FEW = 4
# An operand of a concat with fewer elements in a row does not fill the lines of the caches that it is in.
_SHORT_PART = 32
RUNNING_TRUTH = {"cumulate_max": "or", "cumulate_min": "and"}


def lower_running(scalars: KernelScalars, node: Node, buffers: Sequence[Value]) -> None:
    """out[.., t, ..] = out[.., t-1, ..] op x[.., t, ..]."""
    combined = primitive_named((RUNNING_TRUTH if node.inputs[0].dtype is BOOL else RUNNING)[node.op.name])
    run(scalars, node, buffers, lambda before, new, index: combined(before, new))


def run(
    scalars: KernelScalars,
    node: Node,
    buffers: Sequence[Value],
    combine: Callable[[Element, Element, Sequence[Size]], Element],
) -> None:
    """out[t] = combine(out[t-1], x[t], t), the first is x's; axes after the running one are the innermost loop."""
    x, (out,) = node.inputs[0], buffers
    axis, reverse = node.attributes["axis"], node.attributes["reverse"]
    assert isinstance(axis, int)
    extent = x.dims[axis]
    scalars.written.add(out)
    outside, inside = x.dims[: axis + 1], x.dims[axis + 1 :]
    is_parallel = any(dim != 1 for dim in x.dims[:axis])
    with scalars.loop(outside, parallel=is_parallel, sequential=True) as outer, scalars.loop(inside) as rest:
        *before, step = outer
        place, previous = (extent - 1 - step, extent - step) if reverse else (step, step - 1)
        index = (*before, place, *rest)
        new = scalars.element(x, index)
        value = scalars.select(
            scalars.inside([(previous, extent)]),
            lambda: combine(scalars.load(out, (*before, previous, *rest)), new, index),
            lambda: new,
        )
        scalars.write(STORE, out, index, value)


def lower_recurrence(scalars: KernelScalars, node: Node, buffers: Sequence[Value]) -> None:
    """out[.., t, ..] = x[.., t, ..] + factor[.., t, ..] * out[.., t-1, ..], as a running reduction."""
    factor = node.inputs[1]

    def combine(before: Element, new: Element, index: Sequence[Size]) -> Element:
        return new + scalars.element(factor, index) * before

    run(scalars, node, buffers, combine)


def lower_scatter(scalars: KernelScalars, node: Node, buffers: Sequence[Value]) -> None:
    """A copy of x, then the updates in their order; the innermost loop is over axes that are not indexed, and last ones
    of the indices along which a place is its own index.

    Where elements that follow each other in x are found by indices, axes that are not indexed are the outermost loop.
    """
    x, updates, *indices = node.inputs
    (out,) = buffers
    axes = node.attributes["axes"]
    assert isinstance(axes, tuple)
    scalars.written.add(out)
    with scalars.loop(x.dims) as index:
        scalars.write(STORE, out, index, scalars.element(x, index))
    count = indices[0].type.ndim
    kind = node.op.name.removeprefix("scatter_")
    own = _identities(x, updates, indices, axes)  # type: ignore[arg-type]
    certain = bool(node.attributes.get("certain"))

    def update(whole: tuple[Size, ...]) -> None:
        at = {
            axis: whole[own[axis]]  # type: ignore[index]
            if axis in own
            else scalars.position(scalars.element(place, whole[:count]), x.dims[axis], certain=certain)  # type: ignore[index]
            for axis, place in zip(axes, indices, strict=True)
        }
        others = iter(whole[count:])
        where = tuple(at[axis] if axis in at else next(others) for axis in range(x.type.ndim))
        scalars.write(UPDATE, out, where, scalars.element(updates, whole), kind=kind)

    last = x.type.ndim - 1
    if updates.type.ndim > count and last in axes and last not in own:
        with (
            scalars.loop(updates.dims[count:]) as rest,
            scalars.loop(updates.dims[:count], parallel=False, sequential=True) as first,
        ):
            update((*first, *rest))
        return
    split = count - len(own)
    with (
        scalars.loop(updates.dims[:split], parallel=False, sequential=True) as outer,
        scalars.loop(updates.dims[split:]) as inner,
    ):
        update((*outer, *inner))


def _identities(x: Value, updates: Value, indices: Sequence[Value], axes: Sequence[int]) -> dict[int, int]:
    """By axis of x the axis of the indices that it is the same as, for the last axes of the indices but the first."""
    found: dict[int, int] = {}
    for own in reversed(range(1, indices[0].type.ndim)):
        for axis, place in zip(axes, indices, strict=True):
            made = place.node
            if made is None or made.op.name != "iota" or made.attributes["axis"] != own:
                continue
            if updates.dims[own] == x.dims[axis]:
                found[axis] = own
                break
        else:
            break
    return found


def lower_sort(scalars: KernelScalars, node: Node, buffers: Sequence[Value | None]) -> None:
    """The rows along the last axis, or a window of their order; of values and indices what has a buffer."""
    (x,) = node.inputs
    values, indices = buffers
    attributes: dict[str, Attribute] = {
        "rows": product(x.dims[:-1]), "length": x.dims[-1], "descending": node.attributes["descending"],
        "first": node.attributes.get("first", 0), "count": node.outputs[0].dims[-1],
        "results": "values" if indices is None else "indices" if values is None else "both",
    }  # fmt: skip
    operands = (scalars.buffers[x], *(buffer for buffer in buffers if buffer is not None))
    scalars.builder.perform(Node(SORT_ROWS, operands, attributes, (), node.location))


def lower_matrices(scalars: KernelScalars, node: Node, buffers: Sequence[Value]) -> None:
    """The matrices of a batch, by the op's kernel or LAPACK's routine; the sizes are those of the last operand."""
    routine = node.attributes.get("routine")
    algorithm = node.op.name if routine is None else f"{LAPACK_PREFIX}{routine}"
    *lead, rows, columns = node.inputs[-1].dims
    attributes = {
        **node.attributes, "algorithm": algorithm, "batch": product(lead), "rows": rows, "columns": columns,
        "results": len(buffers),
    }  # fmt: skip
    operands = (*(scalars.buffers[x] for x in node.inputs), *buffers)
    scalars.builder.perform(Node(MATRICES, operands, attributes, (), node.location))


def lower_transform(scalars: KernelScalars, node: Node, buffers: Sequence[Value]) -> None:
    """The Fourier transform along one axis, which is the last one for real numbers."""
    (x,), (out,) = node.inputs, buffers
    attributes = node.attributes
    axis: int = attributes["axis"] if "axis" in attributes else attributes["axes"][0]  # type: ignore[index,assignment]
    points = (out if node.op.name == "irfft" else x).dims[axis]
    found: dict[str, Attribute] = {
        "way": node.op.name, "inverse": node.op.name == "irfft" or bool(attributes.get("inverse")),
        "rows": product(x.dims[:axis]), "points": points, "inner": product(x.dims[axis + 1 :]),
    }  # fmt: skip
    scalars.builder.perform(Node(TRANSFORM, (scalars.buffers[x], out), found, (), node.location))


def lower_concat(scalars: KernelScalars, node: Node, buffers: Sequence[Value]) -> None:
    """A loop for each operand, stored at its offset: in each row, or one for all rows where there are no short ones.

    Operands whose elements stand side by side have one loop together.
    """
    (out,) = buffers
    axis = node.attributes["axis"]
    assert isinstance(axis, int)
    operands: list[tuple[Value, Size]] = []
    offset: Size = 0
    for x in node.inputs:
        operands.append((x, offset))
        offset = offset + x.dims[axis]
    around = axis if _has_short_parts(node, axis) else 0
    with scalars.loop(node.output.dims[:around]) as row:
        for group in [operands] if _are_beside(node, axis) else [[operand] for operand in operands]:
            with scalars.loop(group[0][0].dims[around:]) as rest:
                index = (*row, *rest)
                for x, offset in group:
                    where = (*index[:axis], offset + index[axis], *index[axis + 1 :])
                    scalars.write(STORE, out, where, scalars.element(x, index))


def _has_short_parts(node: Node, axis: int) -> bool:
    """Whether a few operands have few elements in a row, another many: one pass over the rows stores whole lines."""
    parts = [product(x.dims[axis:]) for x in node.inputs]
    known = [part for part in parts if isinstance(part, int)]
    return len(known) == len(parts) <= _FEW and min(known) < _SHORT_PART <= max(known)


def _are_beside(node: Node, axis: int) -> bool:
    """Whether each operand of a concat has one element in a row of the result, or they are few and of extent 1."""
    alike = all(x.dims[axis] == 1 for x in node.inputs)
    return alike and (len(node.inputs) <= _FEW or all(dim == 1 for dim in node.output.dims[axis + 1 :]))


def lower_thin(scalars: KernelScalars, node: Node, out: Value) -> None:
    """The value everywhere, then the elements of a `pad`, whose result `out` holds in this or another shape."""
    (x,) = node.inputs
    value: float = node.attributes["value"]  # type: ignore[assignment]
    low: Sequence[Size] = node.attributes["low"]  # type: ignore[assignment]
    gaps: Sequence[int] = node.attributes["interior"]  # type: ignore[assignment]
    with scalars.loop(out.dims) as index:
        scalars.write(STORE, out, index, scalars.constant(value, x.dtype))
    with scalars.loop(x.dims) as index:
        places = zip(index, low, gaps, strict=True)
        at = address(node.output.type, [before + place * (gap + 1) for place, before, gap in places])
        scalars.write(STORE, out, (at,), scalars.element(x, index))


LOWERINGS: dict[str, Lowering] = {
    "concat": lower_concat,
    "interleave": lower_interleave,
    "sort": lower_sort,
    **dict.fromkeys((*ON_MATRICES, "lapack"), lower_matrices),
    **dict.fromkeys(TRANSFORMS, lower_transform),
    **dict.fromkeys(RUNNING, lower_running),
    "recur": lower_recurrence,
    **dict.fromkeys(SCATTERS, lower_scatter),
}
assert LOWERINGS.keys() == SPECIAL
