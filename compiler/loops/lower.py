"""Lowering: every `fuse` group becomes a `kernel` of loops over buffers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from adjit.compiler.loops.affine import Bounds
from adjit.compiler.loops.again import Known
from adjit.compiler.loops.ir import FUSE, INDEX, INSIDE, KERNEL, LISTED, LOAD, PARTIAL, SCRATCH, STORE
from adjit.compiler.loops.kinds import SPECIAL, is_thin
from adjit.compiler.loops.packed import behind_layout, few_axis, ordered_dot, packed_dot
from adjit.compiler.loops.place import PlacingBuilder
from adjit.compiler.loops.rows import Places, lower_rows, make_scratch, share_buffers
from adjit.compiler.loops.scalars import KernelScalars
from adjit.compiler.tile_sums import tile_of
from adjit.ir.analysis import size_names_used
from adjit.ir.graph import Graph, Guard, Node, Region, Value
from adjit.ir.journal import note
from adjit.ir.shape import Dim, Size

if TYPE_CHECKING:
    from adjit.compiler.loops.tiles import TileTotal

# The kernel of a group on operands, of whose results some are used; and those that the kernel's stand for.
LowerGroup: TypeAlias = "Callable[[Node, Sequence[Value], Collection[Value]], tuple[list[Value], Node]]"
_EXTREMES = {"argmax": "reduce_max", "argmin": "reduce_min"}
# What leaves nothing behind where its result is not used.
_EFFECTLESS = (LOAD, INSIDE, INDEX, LISTED, SCRATCH)


def lower(graph: Graph, *, strict: bool = False) -> Graph:
    """The graph with every `fuse` replaced by a `kernel`; control flow stays, its regions lowered.

    With `strict`, contractions are summed in the order `products` even where `lanes` would be faster.
    Errors: CompileError for an op outside a group that only a kernel can compute.
    """
    least = least_sizes(graph.guards)
    taken = size_names_used(graph)

    def group(node: Node, inputs: Sequence[Value], used: Collection[Value]) -> tuple[list[Value], Node]:
        return known.lowered(node, used, inputs, lambda: lower_group(node, inputs, used, least, taken, strict))

    known = Known(graph)
    nodes, outputs = _lower_nodes(graph, group)
    return graph.with_parts(graph.inputs, nodes, outputs)


def least_sizes(guards: Sequence[Guard]) -> dict[str, int]:
    """Lower bounds of named sizes, read off guards such as `n >= 2`."""
    least: dict[str, int] = {}
    for guard in guards:
        if isinstance(guard.left, Dim) and isinstance(guard.right, int) and str(guard.left).isidentifier():
            bound = guard.right + (guard.relation == ">")
            if guard.relation in (">=", ">", "=="):
                least[str(guard.left)] = max(bound, least.get(str(guard.left), 0))
    return least


def _lower_nodes(region: Region, lower_fused: LowerGroup) -> tuple[list[Node], list[Value]]:
    new: dict[Value, Value] = {}
    nodes: list[Node] = []
    used = {*region.outputs, *(value for node in region.nodes for value in node.inputs)}
    for node in region.nodes:
        inputs = [new.get(value, value) for value in node.inputs]
        if node.op is FUSE:
            kept, kernel = lower_fused(node, inputs, used)
        else:
            kept, regions = list(node.outputs), []
            for inner in node.regions:
                inner_nodes, inner_outputs = _lower_nodes(inner, lower_fused)
                regions.append(Region(inner.inputs, inner_nodes, inner_outputs))
            types = [value.type for value in node.outputs]
            kernel = Node(node.op, inputs, node.attributes, types, node.location, regions)
        for old, value in zip(kept, kernel.outputs, strict=True):
            value.name = old.name
            new[old] = value
        nodes.append(kernel)
    note(new)
    return nodes, [new.get(value, value) for value in region.outputs]


def lower_group(
    node: Node,
    inputs: Sequence[Value],
    used: Collection[Value],
    least: dict[str, int],
    taken: frozenset[str],
    strict: bool,
) -> tuple[list[Value], Node]:
    """The kernel of a `fuse` node on `inputs`, and the results of the node that the kernel's results stand for.

    Of a kernel by rows, results outside `used` are stored only if the kernel itself reads them back; of one by blocks,
    they are not.
    """
    (group,) = node.regions
    rows = node.attributes.get("rows")
    kept = list(zip(node.outputs, group.outputs, strict=True))
    tiles: Sequence[int] = node.attributes.get("tiles") or (0,) * len(kept)  # type: ignore[assignment]
    sums = {inner: tile for inner, tile in zip(group.outputs, tiles, strict=True) if tile}
    plain = [inner for inner in group.outputs if inner not in sums]
    places, shared = Places({}, [], []), {}
    block = node.attributes.get("block")
    if isinstance(block, int):
        kept = [(outer, inner) for outer, inner in kept if outer in used]
    elif isinstance(rows, int):
        live = {inner: _buffer(inner) for outer, inner in kept if outer in used and inner not in sums}
        places = share_buffers(plain, rows, live)
        shared = {**places.buffers, **{inner: _buffer(inner) for inner in places.made}}
        kept = [(outer, inner) for outer, inner in kept if inner in live or inner in places.made or inner in sums]
    kernel = Node(KERNEL, inputs, {}, [inner.type for _, inner in kept], node.location, (Region(),))
    (body,) = kernel.regions
    buffers = {value: Value(value.type, value.name) for value in group.inputs}
    results = {inner: shared.get(inner) or _buffer(inner) for _, inner in kept}
    body.inputs = (*buffers.values(), *results.values())
    scalars = KernelScalars(PlacingBuilder(body, Bounds(least), taken), buffers, strict)
    scalars.positions = _positions(group)
    with scalars.builder.at(node.location):
        if isinstance(block, int):
            from adjit.compiler.loops.blocks import lower_blocks

            lower_blocks(scalars, node, results)
        elif isinstance(rows, int):
            shared |= make_scratch(scalars, rows, places.scratch)
            lower_rows(scalars, rows, plain, shared, _tile_totals(scalars, sums, results))
        else:
            _lower_body(scalars, group, results, sums)
    _drop_unused(body)
    return [outer for outer, _ in kept], kernel


def _tile_totals(
    scalars: KernelScalars, sums: Mapping[Value, int], results: Mapping[Value, Value]
) -> Sequence[TileTotal]:
    if not sums:
        return ()
    from adjit.compiler.loops.tiles import tile_totals

    return tile_totals(scalars, sums, results)


def _positions(group: Region) -> dict[Value, Value]:
    """By each `reduce_max` and `reduce_min` over one axis: the argmax or argmin of the same, where there is one."""
    found = {(n.op.name, n.inputs[0], n.attributes["axis"]): n.output for n in group.nodes if n.op.name in _EXTREMES}
    positions: dict[Value, Value] = {}
    for node in group.nodes if found else ():
        for position, extreme in _EXTREMES.items():
            if node.op.name == extreme and len(node.attributes["axes"]) == 1:  # type: ignore[arg-type]
                same = found.get((position, node.inputs[0], node.attributes["axes"][0]))  # type: ignore[index]
                if same is not None:
                    positions[node.output] = same
    return positions


def _buffer(value: Value) -> Value:
    return Value(value.type, f"{value.name}_out" if value.name else None)


def _lower_body(
    scalars: KernelScalars, group: Region, results: Mapping[Value, Value], sums: Collection[Value]
) -> None:
    first = group.outputs[0]
    if first.node is not None and first.node.op.name in SPECIAL:
        from adjit.compiler.loops.special import LOWERINGS, lower_sort

        node = first.node
        with scalars.builder.at(node.location):
            if node.op.name == "sort":
                lower_sort(scalars, node, [results.get(value) for value in node.outputs])
            else:
                LOWERINGS[node.op.name](scalars, node, [results[value] for value in node.outputs])
        return
    last = behind_layout(first)
    if last is not None and last.op.name == "interleave":
        from adjit.compiler.loops.contract import lower_interleave

        lower_interleave(scalars, last, [results[first]])
        return
    if len(results) == 1 and (pad := _behind_shapes(first)) is not None and is_thin(pad):
        from adjit.compiler.loops.special import lower_thin

        lower_thin(scalars, pad, results[first])
        return
    if (dot := packed_dot(group) or (ordered_dot(group) if scalars.strict else None)) is not None:
        from adjit.compiler.loops.contract import lower_contraction

        lower_contraction(scalars, group, dot, results)
        return
    tiles = {value: tile_of(value.node) for value in sums if value.node is not None}
    _lower_maps(scalars, group, results, {value: tile.term for value, tile in tiles.items() if tile})


def _behind_shapes(value: Value) -> Node | None:
    """The node whose elements `value` holds in the same order, perhaps in another shape."""
    node = value.node
    while node is not None and node.op.name == "reshape":
        node = node.inputs[0].node
    return node


def _lower_maps(
    scalars: KernelScalars, group: Region, results: Mapping[Value, Value], terms: Mapping[Value, Value]
) -> None:
    """A loop nest for each shape among the outputs, which stores all outputs of that shape.

    Those that are sums over blocks of a vector of `terms` are found by the loop over its elements.
    """
    nests: dict[tuple[Size, ...], list[tuple[Value, Value]]] = {}
    for value, buffer in results.items():
        nests.setdefault(terms.get(value, value).dims, []).append((value, buffer))
    for dims, stored in nests.items():
        few = _few_axis(group, dims)
        if few is not None:
            with scalars.loop(dims[1 - few : 2 - few]) as (other,):
                for own in range(dims[few]):  # type: ignore[arg-type]
                    _store_all(scalars, stored, terms, (own, other) if few == 0 else (other, own))
        else:
            split = _split(group, dims)
            with scalars.loop(dims[:split]) as outer, scalars.loop(dims[split:]) as inner:
                _store_all(scalars, stored, terms, (*outer, *inner))
        # What a later nest needs of these it reads back.
        for value, buffer in stored:
            scalars.buffers[value] = buffer


def _store_all(
    scalars: KernelScalars,
    stored: Sequence[tuple[Value, Value]],
    terms: Mapping[Value, Value],
    index: tuple[Size, ...],
) -> None:
    """Store the elements at `index` of values of one shape, each in its buffer; of sums over blocks add their terms."""
    for value, buffer in stored:
        location = scalars.builder.location if value.node is None else value.node.location
        with scalars.builder.at(location):
            element = scalars.element(terms.get(value, value), index)
            if value in terms:
                scalars.builder.perform(Node(PARTIAL, (buffer, element.value), {}, (), location))
            else:
                scalars.write(STORE, buffer, index, element)


def _few_axis(group: Region, dims: tuple[Size, ...]) -> int | None:
    """The axis of few sums, of a nest that computes such a product."""
    found = (few_axis(node) for node in group.nodes if node.op.name == "dot" and node.output.dims == dims)
    return next((axis for axis in found if axis is not None), None)


def _split(group: Region, dims: tuple[Size, ...]) -> int:
    """Where a nest over `dims` is cut: after the axes of a gather's index, so that a row's place is found once."""
    for node in group.nodes:
        if node.op.name == "gather" and node.output.dims == dims:
            return node.inputs[1].type.ndim
    return 0


def _drop_unused(body: Region) -> None:
    """Remove scalars that nothing uses and that cannot fault, such as the zero that a masked load gives by itself.

    Scratch memory that nothing reads goes too, with what is stored there.
    """
    used: set[Value] = set()
    for node in body.walk():
        read = node.inputs[1:] if node.op is STORE and _is_scratch(node.inputs[0]) else node.inputs
        used.update(read, *(region.outputs for region in node.regions))
    stack = [body]
    while stack:
        region = stack.pop()
        kept: list[Node] = []
        for node in reversed(region.nodes):
            is_idle = bool(node.outputs) and not used.intersection(node.outputs)
            is_lost = node.op is STORE and _is_scratch(node.inputs[0]) and node.inputs[0] not in used
            is_idle = is_idle and (node.op in _EFFECTLESS or node.op.name == "const")
            if not is_lost and not is_idle:
                kept.append(node)
        region.nodes = kept[::-1]
        stack.extend(inner for node in region.nodes for inner in node.regions)


def _is_scratch(buffer: Value) -> bool:
    return buffer.node is not None and buffer.node.op is SCRATCH
