"""Lowering of `dot`: to a packed contraction, or to plain sums where packing would cost more than it saves.

Contractions are stored through the layout ops after them; those that an `interleave` puts together, each at its places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from adjit.compiler.loops.collapse import merge
from adjit.compiler.loops.ir import CONTRACT, STORE, address
from adjit.compiler.loops.place import PlacingBuilder
from adjit.compiler.loops.scalars import KernelScalars
from adjit.ir.graph import Location, Node, Region, Value
from adjit.ir.ops.contraction import free_axes
from adjit.ir.ops.structure import same_position
from adjit.ir.shape import Dim, Size, product, size_names
from adjit.ir.types import TensorType

# Fewer multiply-adds than this (16 x 16 x 16) are done sooner than the panels are packed.
SMALL = 4096


def behind_layout(value: Value) -> Node | None:
    """The node whose elements `value` holds, in the order of a `permute` at most and in another shape."""
    node = value.node
    while node is not None and node.op.name == "reshape":
        node = node.inputs[0].node
    if node is not None and node.op.name == "permute":
        node = node.inputs[0].node
    return node


def is_packed(dot: Node) -> bool:
    """Whether packing pays: not for products with a vector, nor for few terms.  An unknown size counts as large."""
    contract, batch = dot.attributes["contract"], dot.attributes["batch"]
    sizes: list[Size] = []
    for side, operand in enumerate(dot.inputs):
        axes = free_axes(operand.type.ndim, contract[side], batch[side])  # type: ignore[index, arg-type]
        sizes.append(product(operand.dims[axis] for axis in axes))
    x = dot.inputs[0].dims
    sizes.append(product(x[axis] for axis in contract[0]))  # type: ignore[index, union-attr]
    total = product((*sizes, *(x[axis] for axis in batch[0])))  # type: ignore[index, union-attr]
    if any(isinstance(size, int) and size <= 1 for size in sizes):
        return False
    return not isinstance(total, int) or total > SMALL


class Axes:
    """One of the four kinds of axes of a contraction: its variables with extents, and the index over all its axes."""

    __slots__ = ("extents", "index", "variables")

    def __init__(self, builder: PlacingBuilder, hint: str, extents: Sequence[Size]) -> None:
        self.extents = [extent for extent in extents if extent != 1]
        self.variables = [builder.variable(hint) for _ in self.extents]
        names = iter(self.variables)
        self.index: tuple[Size, ...] = tuple(0 if extent == 1 else next(names) for extent in extents)

    @property
    def pairs(self) -> tuple[tuple[Dim, Size], ...]:
        return tuple(zip(self.variables, self.extents, strict=True))


def lower_contraction(scalars: KernelScalars, result: Value, buffer: Value) -> None:
    """One `contract` statement for a dot, stored through the layout ops after it."""
    dot = behind_layout(result)
    assert dot is not None
    _contract(scalars, dot, buffer, lambda index: _destination(result, index))


def lower_interleave(scalars: KernelScalars, node: Node, buffers: Sequence[Value]) -> None:
    """A `contract` statement for each operand that is a packed dot, a loop for each other; zeros between them first."""
    (out,) = buffers
    dims = node.output.dims
    if sum((x.type.size for x in node.inputs), start=0) != product(dims):
        with scalars.loop(dims) as index:
            at = address(node.output.type, index)
            scalars.write(STORE, out, (at,), scalars.constant(0, node.output.dtype))
    starts: Sequence[Sequence[Size]] = node.attributes["starts"]  # type: ignore[assignment]
    for x, start in zip(node.inputs, starts, strict=True):
        dot = behind_layout(x)
        if x not in scalars.buffers and dot is not None and dot.op.name == "dot" and is_packed(dot):
            _contract(scalars, dot, out, partial(_interleaved, node, start, x))
            continue
        with scalars.loop(x.dims) as index:
            scalars.write(STORE, out, (_interleaved(node, start, None, index),), scalars.element(x, index))


def _interleaved(node: Node, start: Sequence[Size], x: Value | None, index: tuple[Size, ...]) -> Size:
    """The flat position that an interleave gives the element at `index` of an operand, or of the dot behind it, `x`."""
    step: Sequence[int] = node.attributes["step"]  # type: ignore[assignment]
    inside = index if x is None else _through_layout(x, index)
    return address(node.output.type, [i * by + begin for i, by, begin in zip(inside, step, start, strict=True)])


def _contract(
    scalars: KernelScalars, dot: Node, buffer: Value, destination: Callable[[tuple[Size, ...]], Size]
) -> None:
    builder = scalars.builder
    contract, batch = dot.attributes["contract"], dot.attributes["batch"]
    x, y = dot.inputs
    dims = x.type.dims
    free = [
        free_axes(v.type.ndim, contract[side], batch[side])  # type: ignore[index, arg-type]
        for side, v in enumerate((x, y))
    ]
    outer = Axes(builder, "b", [dims[axis] for axis in batch[0]])  # type: ignore[index, union-attr]
    rows = Axes(builder, "m", [x.dims[axis] for axis in free[0]])
    columns = Axes(builder, "n", [y.dims[axis] for axis in free[1]])
    summed = Axes(builder, "k", [dims[axis] for axis in contract[0]])  # type: ignore[index, union-attr]
    regions: list[Region] = []
    for side, (value, own) in enumerate(((x, rows), (y, columns))):
        axes = (*batch[side], *free[side], *contract[side])  # type: ignore[index, misc]
        at = dict(zip(axes, (*outer.index, *own.index, *summed.index), strict=True))
        index = [at[axis] for axis in range(value.type.ndim)]
        regions.append(_region(scalars, value, index, (outer, own, summed), dot.location))
    where = [destination((*outer.index, *rows.index, *columns.index))]
    if any(_coefficient(where[0], variable) == 1 for variable in rows.variables):
        rows, columns, regions = columns, rows, regions[::-1]
    for kind, seen in ((outer, regions), (rows, regions[:1]), (columns, regions[1:]), (summed, regions)):
        merge(kind.variables, kind.extents, seen, where)
    with builder.at(dot.location):
        builder.perform(
            Node(
                CONTRACT, (buffer,),
                {"batch": outer.pairs, "m": rows.pairs, "n": columns.pairs, "k": summed.pairs, "at": tuple(where)},
                (), dot.location, regions,
            )
        )  # fmt: skip


def _region(
    scalars: KernelScalars, value: Value, index: Sequence[Size], kinds: Sequence[Axes], location: Location
) -> Region:
    """A region of its own that computes an operand's element: packing runs it apart from the rest of the kernel."""
    outside = scalars.builder
    region = Region()
    builder = PlacingBuilder(region, outside.scope.bounds.copy(), outside.taken)
    for kind in kinds:
        for variable, extent in kind.pairs:
            builder.scope.bounds.declare(str(variable), extent)
    builder.location = location
    element = KernelScalars(builder, scalars.buffers, scalars.strict).element(value, index)
    region.outputs = (element.value,)
    outside.taken |= builder.taken
    return region


def _destination(result: Value, index: tuple[Size, ...]) -> Size:
    """The flat position in `result` of the dot's element at `index`."""
    node = result.node
    while node is not None and node.op.name == "reshape":
        node = node.inputs[0].node
    assert node is not None
    dims = node.output.dims
    if node.op.name == "permute":
        index = tuple(index[axis] for axis in node.attributes["perm"])  # type: ignore[union-attr, index]
    return address(TensorType(result.dtype, dims), index) if len(dims) != 1 else index[0]


def _through_layout(value: Value, index: tuple[Size, ...]) -> tuple[Size, ...]:
    """The index in `value` of the element at `index` of the dot behind its layout ops."""
    node = value.node
    assert node is not None
    if node.op.name not in ("permute", "reshape"):
        return index
    before = _through_layout(node.inputs[0], index)
    if node.op.name == "permute":
        return tuple(before[axis] for axis in node.attributes["perm"])  # type: ignore[union-attr, index]
    return same_position(before, node.inputs[0].dims, value.dims)


def _coefficient(expression: Size, variable: Dim) -> Size | None:
    return expression.coefficient(str(variable)) if variable.names & size_names(expression) else 0  # type: ignore[union-attr]
