"""Lowering of `dot`: to a packed contraction, or to plain sums where packing would cost more than it saves.

Contractions are stored through the layout ops after them; those that an `interleave` puts together, each at its places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

from adjit.compiler.loops.collapse import merge
from adjit.compiler.loops.ir import CONTRACT, STORE, address
from adjit.compiler.loops.packed import behind_layout, contraction_chain, is_packed
from adjit.compiler.loops.place import PlacingBuilder
from adjit.compiler.loops.scalars import KernelScalars
from adjit.ir.graph import Location, Node, Region, Value
from adjit.ir.ops.contraction import free_axes
from adjit.ir.ops.structure import same_position
from adjit.ir.shape import Dim, Size, product, size_names

# The part of an axis that a contraction goes over: where it starts, and how long it is.
Piece: TypeAlias = "tuple[Size, Size]"
# That of an axis of an operand, 0 or 1, from its number and size.
PieceOf: TypeAlias = "Callable[[int, int, Size], Piece]"


class Axes:
    """One of the four kinds of axes of a contraction: its variables with extents, and the index over all its axes."""

    __slots__ = ("extents", "index", "variables")

    def __init__(self, builder: PlacingBuilder, hint: str, pieces: Sequence[Piece]) -> None:
        self.extents = [extent for _, extent in pieces if extent != 1]
        self.variables = [builder.variable(hint) for _ in self.extents]
        names = iter(self.variables)
        self.index: tuple[Size, ...] = tuple(
            start if extent == 1 else start + next(names) for start, extent in pieces
        )

    @property
    def pairs(self) -> tuple[tuple[Dim, Size], ...]:
        return tuple(zip(self.variables, self.extents, strict=True))


def lower_contraction(scalars: KernelScalars, group: Region, dot: Node, buffers: Mapping[Value, Value]) -> None:
    """One `contract` statement for the `dot` of a group, stored through the layout ops after it.

    `buffers` are those of the group's results; where these are not the product alone, they are stored by its epilogue.
    """
    chain = contraction_chain(dot, _users(group), group.outputs)
    end = chain[-1].output
    if set(buffers) == {end}:
        _contract(scalars, dot, partial(_destination, chain), buffers[end])
    else:
        _contract(scalars, dot, partial(_destination, chain), None, partial(_epilogue, end, chain, buffers))


def lower_piece(
    scalars: KernelScalars, result: Value, buffer: Value, piece: PieceOf, add: Callable[..., None] | None = None
) -> None:
    """The statement for a `piece` of each axis of the operands of the dot that `result` holds.

    Its elements go to their places in `buffer`, or else `add(inside, sum, position, index)` stores them: the position
    is that in `result`, the index that in the dot, and `inside` the scalars of the epilogue.
    """
    chain: list[Node] = []
    node = result.node
    while node is not None and (not chain or chain[0].op.name != "dot"):
        chain.insert(0, node)
        node = node.inputs[0].node
    dot = chain[0]

    def destination(index: tuple[Size, ...]) -> Size:
        if buffer in scalars.scratch:
            return address(buffer.type, scalars.local(buffer, index))
        return _destination(chain, index)

    def epilogue(place: tuple[Size, ...], inside: KernelScalars) -> None:
        total = Value(dot.output.type.with_dims(()))
        inside.builder.scope.region.inputs = (total,)
        assert add is not None
        add(inside, inside.builder.expr(total), destination(place), place)

    if add is None:
        _contract(scalars, dot, destination, buffer, piece=piece)
    else:
        _contract(scalars, dot, destination, None, epilogue, piece)


def lower_interleave(scalars: KernelScalars, node: Node, buffers: Sequence[Value]) -> None:
    """A `contract` statement for each operand that is a packed dot, a loop for each other; zeros between them first."""
    (out,) = buffers
    dims = node.output.dims
    if sum((x.type.size for x in node.inputs), start=0) != product(dims):
        with scalars.loop(dims) as index:
            at = address(node.output.type, index)
            scalars.write(STORE, out, (at,), scalars.constant(0, node.output.dtype))
    starts: Sequence[Sequence[Size]] = node.attributes["starts"]  # type: ignore[assignment]
    plain: list[tuple[Value, Sequence[Size]]] = []
    for x, start in zip(node.inputs, starts, strict=True):
        dot = behind_layout(x)
        if x not in scalars.buffers and dot is not None and dot.op.name == "dot" and is_packed(dot):
            _contract(scalars, dot, partial(_interleaved, node, start, x), out)
        else:
            plain.append((x, start))
    # Operands that share their first axes are stored together, so that what they read and write stays in the caches.
    steps: Sequence[int] = node.attributes["step"]  # type: ignore[assignment]
    alike = [by == 1 and all(x.dims[axis] == extent for x, _ in plain)
             for axis, (by, extent) in enumerate(zip(steps, dims, strict=True))]  # fmt: skip
    lead = alike.index(False) if False in alike else len(alike)
    if not plain:
        return
    with scalars.loop(dims[:lead]) as outer:
        for x, start in plain:
            with scalars.loop(x.dims[lead:]) as inner:
                index = (*outer, *inner)
                scalars.write(STORE, out, (_interleaved(node, start, None, index),), scalars.element(x, index))


def _interleaved(node: Node, start: Sequence[Size], x: Value | None, index: tuple[Size, ...]) -> Size:
    """The flat position that an interleave gives the element at `index` of an operand, or of the dot behind it, `x`."""
    step: Sequence[int] = node.attributes["step"]  # type: ignore[assignment]
    inside = index if x is None else _through_layout(x, index)
    return address(node.output.type, [i * by + begin for i, by, begin in zip(inside, step, start, strict=True)])


def _whole(side: int, axis: int, dim: Size) -> Piece:
    return 0, dim


def _contract(
    scalars: KernelScalars,
    dot: Node,
    destination: Callable[[tuple[Size, ...]], Size],
    buffer: Value | None,
    epilogue: Callable[[tuple[Size, ...], KernelScalars], None] | None = None,
    piece: PieceOf = _whole,
) -> None:
    """The statement for a `dot`, whose elements go to their places in `buffer`, or else to an epilogue.

    It goes over a `piece` of each axis of the operands.
    """
    builder = scalars.builder
    contract, batch = dot.attributes["contract"], dot.attributes["batch"]
    x, y = dot.inputs
    pieces = [[piece(side, axis, dim) for axis, dim in enumerate(v.dims)] for side, v in enumerate((x, y))]
    free = [
        free_axes(v.type.ndim, contract[side], batch[side])  # type: ignore[index, arg-type]
        for side, v in enumerate((x, y))
    ]
    outer = Axes(builder, "b", [pieces[0][axis] for axis in batch[0]])  # type: ignore[index, union-attr]
    rows = Axes(builder, "m", [pieces[0][axis] for axis in free[0]])
    columns = Axes(builder, "n", [pieces[1][axis] for axis in free[1]])
    summed = Axes(builder, "k", [pieces[0][axis] for axis in contract[0]])  # type: ignore[index, union-attr]
    regions: list[Region] = []
    for side, (value, own) in enumerate(((x, rows), (y, columns))):
        axes = (*batch[side], *free[side], *contract[side])  # type: ignore[index, misc]
        at = dict(zip(axes, (*outer.index, *own.index, *summed.index), strict=True))
        index = [at[axis] for axis in range(value.type.ndim)]
        with _region(scalars, (outer, own, summed), dot.location) as inside:
            inside.builder.scope.region.outputs = (inside.element(value, index).value,)
            regions.append(inside.builder.scope.region)
    place = (*outer.index, *rows.index, *columns.index)
    where = [destination(place)]
    after: list[Region] = []
    if epilogue is not None:
        with _region(scalars, (outer, rows, columns), dot.location) as inside:
            epilogue(place, inside)
            after.append(inside.builder.scope.region)
    if any(_coefficient(where[0], variable) == 1 for variable in rows.variables):
        rows, columns, regions = columns, rows, regions[::-1]
    seen = (outer, [*regions, *after]), (rows, [regions[0], *after]), (columns, [regions[1], *after]), (summed, regions)
    for kind, used in seen:
        merge(kind.variables, kind.extents, used, where)
    with builder.at(dot.location):
        builder.perform(
            Node(
                CONTRACT, () if buffer is None else (buffer,),
                {"batch": outer.pairs, "m": rows.pairs, "n": columns.pairs, "k": summed.pairs, "at": tuple(where)},
                (), dot.location, (*regions, *after),
            )
        )  # fmt: skip


def _users(group: Region) -> dict[Value, list[Node]]:
    users: dict[Value, list[Node]] = {}
    for node in group.nodes:
        for value in dict.fromkeys(node.inputs):
            users.setdefault(value, []).append(node)
    return users


@contextmanager
def _region(scalars: KernelScalars, kinds: Sequence[Axes], location: Location) -> Iterator[KernelScalars]:
    """The scalars of a region of its own, over the variables of `kinds`: it runs apart from the rest of the kernel."""
    outside = scalars.builder
    builder = PlacingBuilder(Region(), outside.scope.bounds.copy(), outside.taken)
    for kind in kinds:
        for variable, extent in kind.pairs:
            builder.scope.bounds.declare(str(variable), extent)
    builder.location = location
    inside = KernelScalars(builder, scalars.buffers, scalars.strict)
    inside.scratch = scalars.scratch
    yield inside
    outside.taken |= builder.taken


def _epilogue(
    product: Value,
    chain: Sequence[Node],
    buffers: Mapping[Value, Value],
    place: tuple[Size, ...],
    inside: KernelScalars,
) -> None:
    """Store `buffers`, computed from the product's element whose index in the dot is `place`: the region's input."""
    total, index = Value(product.type.with_dims(())), _index(chain, place)
    inside.builder.scope.region.inputs = (total,)
    inside.give(product, index, total)
    for value, buffer in buffers.items():
        location = inside.builder.location if value.node is None else value.node.location
        with inside.builder.at(location):
            inside.write(STORE, buffer, index, inside.element(value, index))


def _index(chain: Sequence[Node], index: tuple[Size, ...]) -> tuple[Size, ...]:
    """Where the dot's element at `index` stands in what a `permute` makes of it."""
    if len(chain) > 1 and chain[1].op.name == "permute":
        return tuple(index[axis] for axis in chain[1].attributes["perm"])  # type: ignore[union-attr, index]
    return index


def _destination(chain: Sequence[Node], index: tuple[Size, ...]) -> Size:
    """The flat position in memory of the dot's element at `index`."""
    permuted = len(chain) > 1 and chain[1].op.name == "permute"
    index = _index(chain, index)
    return address(chain[int(permuted)].output.type, index) if len(index) != 1 else index[0]


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
