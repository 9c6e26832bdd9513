"""Loops over arrays whose elements never meet run block by block: all turns of one block, then those of the next.

The state of a block stays in registers or in the first cache, where whole arrays would go through memory in every turn.
A `while` that goes on as long as any element does, as `vmap` makes them, ends for each block by itself.  An array is
filled up to whole blocks with copies of its last element, which end when that does.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.fuse_cost import FUNCTIONS
from adjit.ir.analysis import LOOPS, carries_of, invariants_of
from adjit.ir.builder import Builder, Expr
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.frozen import frozen
from adjit.ir.graph import Attribute, Graph, Node, Region, Value
from adjit.ir.ops.arrays import expand, reshape, window_of
from adjit.ir.ops.structure import concat
from adjit.ir.primitive import primitive_named
from adjit.ir.rewrite import inline, rewrite
from adjit.ir.shape import Size

# Bytes of an array in a block.  One that ends by itself goes on as long as any of its elements does: it has four of the
# widest vectors, which do not wait for each other.
_BLOCK = {"while": 256, "scan": 1024}
# Blocks, and turns, from which on it pays to cut arrays into blocks and to put them together again.
_FEWEST, _FEWEST_TURNS = 4, 16
# Ops in a turn: of longer ones a block's state leaves the registers, and memory waits for arithmetic anyway.
_LARGEST = 200


def by_block(graph: Graph) -> Graph:
    """The graph with such loops as scans over blocks."""
    found = rewrite(graph, _blocked, follow_calls=False)
    return graph if found is graph else eliminate_dead(found)


@frozen
class _Cut:
    """Arrays of shape `dims` cut into `count` blocks of `block` elements."""

    dims: tuple[Size, ...]
    size: int
    block: int

    @property
    def count(self) -> int:
        return -(-self.size // self.block)

    def is_whole(self, value: Value) -> bool:
        return value.dims == self.dims

    def rows(self, x: Expr) -> Expr:
        """[count, block] of an array."""
        flat = reshape(x, (self.size,))
        missing = self.count * self.block - self.size
        if missing:
            flat = concat(flat, expand(window_of(flat, (self.size - 1,), (1,)), (missing,)), axis=0)
        found: Expr = reshape(flat, (self.count, self.block))
        return found

    def array(self, rows: Expr) -> Expr:
        """The array of which these are the blocks."""
        flat = reshape(rows, (self.count * self.block,))
        found: Expr = reshape(flat if self.size == flat.shape[0] else window_of(flat, (0,), (self.size,)), self.dims)
        return found


@frozen
class _Mask:
    """Which elements go on, or (`ends`) do not: a value of a loop's body, and its twin in the condition."""

    own: Value
    twin: Value
    ends: bool


def _blocked(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name not in LOOPS:
        return None
    cut = _cut(node)
    if cut is None or not all(_is_pointwise(region, cut) for region in node.regions):
        return None
    mask: _Mask | None = None
    if node.op.name == "while" and _ends_with(node.regions[0]) is not None:
        mask = _mask(node)
        if mask is None:
            return None
    # Stacks are given to each block whole, also those that have as many rows as an array has elements.
    end = len(node.inputs) if node.op.name == "while" else _first_stack(node)
    is_cut = [place < end and cut.is_whole(value) for place, value in enumerate(node.inputs)]
    fixed = [value for value, own in zip(operands, is_cut, strict=True) if not own]
    whole = [cut.rows(builder.expr(value)).value for value, own in zip(operands, is_cut, strict=True) if own]
    body = Region()
    inner = Builder(body, builder.location)
    scalars, slices = [inner.input(v.type) for v in fixed], [inner.input(v.type.with_dims((cut.block,))) for v in whole]
    rest = iter(scalars), iter(slices)
    given = [next(rest[own]) for own in is_cut]
    body.outputs = tuple(_inner_loop(inner, node, given, cut, mask))
    attributes: dict[str, Attribute] = {
        "invariants": len(fixed), "carries": 0, "length": cut.count, "reverse": False
    }  # fmt: skip
    results = builder.emit(primitive_named("scan"), [*fixed, *whole], attributes, [body]).outputs
    return [_joined(builder.expr(rows), old, cut).value for rows, old in zip(results, node.outputs, strict=True)]


def _joined(rows: Expr, old: Value, cut: _Cut) -> Expr:
    """A result of all blocks: the array, or the scalar that each block found alike."""
    if cut.is_whole(old):
        return cut.array(rows)
    found: Expr = reshape(window_of(rows, (0,) * rows.ndim, (1, *old.dims)), old.dims)
    return found


def _inner_loop(builder: Builder, node: Node, given: Sequence[Value], cut: _Cut, mask: _Mask | None) -> Sequence[Value]:
    """The loop over one block; with a mask, what that is in the next turn is a carry of its own."""
    if mask is None:
        regions = [_region(region, cut) for region in node.regions]
        return builder.emit(node.op, given, node.attributes, regions).outputs
    first = invariants_of(node)
    condition, body = node.regions
    asked = _region(Region(condition.inputs, condition.nodes, (mask.twin,)), cut)
    (start,) = inline(builder, asked, given)
    turn = _region(body, cut, mask.own)
    turn.outputs = (
        *turn.outputs,
        *inline(Builder(turn, builder.location), asked, [*turn.inputs[:first], *turn.outputs]),
    )
    test = Region()
    inner = Builder(test, builder.location)
    truths = [inner.input(value.type) for value in turn.inputs][-1:]
    if mask.ends:
        truths = list(inner.emit(primitive_named("not"), truths).outputs)
    test.outputs = inner.emit(primitive_named("reduce_any"), truths, {"axes": (0,)}).outputs
    return builder.emit(node.op, [*given, start], node.attributes, [test, turn]).outputs[:-1]


def _region(region: Region, cut: _Cut, mask: Value | None = None) -> Region:
    """A region on blocks; its `mask` is a further input."""
    result = Region()
    builder = Builder(result)

    def at_block(value: Value) -> Value:
        return builder.input(value.type.with_dims((cut.block,)) if cut.is_whole(value) else value.type, value.name)

    mapping = {value: at_block(value) for value in region.inputs}
    if mask is not None:
        mapping[mask] = at_block(mask)
    for node in region.nodes:
        if node.outputs[0] is mask:
            continue
        builder.location = node.location
        if node.op.name == "const":
            mapping[node.output] = builder.constant(node.attributes["value"], node.output.dtype)  # type: ignore[arg-type]
            continue
        attributes = dict(node.attributes)
        operands = [mapping[value] for value in node.inputs]
        if node.op.name == "expand" and cut.is_whole(node.output):
            attributes["shape"] = (cut.block,)
            if not cut.is_whole(node.inputs[0]):
                operands = [reshape(builder.expr(operands[0]), ()).value]
        if node.op.name == "reduce_any":
            attributes["axes"] = (0,)
        mapping[node.output] = builder.emit(node.op, operands, attributes).output
    result.outputs = tuple(mapping[value] for value in region.outputs)
    return result


def _first_stack(node: Node) -> int:
    """The number of a scan's operands before its stacks."""
    return invariants_of(node) + carries_of(node)


# -- which loops ------------------------------------------------------------------------------------------------------
def _cut(node: Node) -> _Cut | None:
    """How the arrays that a loop carries are cut, if they have one shape, and all others are scalars."""
    first = invariants_of(node)
    carries = len(node.regions[-1].outputs)
    if node.op.name == "scan":
        length = node.attributes["length"]
        if carries != node.attributes["carries"] or not isinstance(length, int) or length < _FEWEST_TURNS:
            return None
        if any(value.type.size != 1 for value in node.regions[0].inputs[_first_stack(node) :]):
            return None  # a block's rows do not stand together
        if any(inner.op.name in FUNCTIONS for inner in node.regions[0].nodes):
            return None  # threads share the elements of whole arrays, and arithmetic takes longer than memory
    state = node.inputs[first : first + carries]
    shapes = {value.dims for value in state if value.type.size != 1}
    if len(shapes) != 1:
        return None
    (dims,) = shapes
    size = state[0].type.with_dims(dims).size
    block = _BLOCK[node.op.name] // max(value.dtype.itemsize for value in state if value.dims == dims)
    return _Cut(dims, size, block) if isinstance(size, int) and size >= _FEWEST * block else None


def _is_pointwise(region: Region, cut: _Cut) -> bool:
    """Whether elements of arrays are computed from those at the same place, and from scalars, alone."""
    if len(region.nodes) > _LARGEST:
        return False
    values = [*region.inputs, *(value for node in region.nodes for value in (*node.inputs, *node.outputs))]
    if not all(cut.is_whole(value) or value.type.size == 1 for value in values):
        return False
    last = None if not region.outputs else region.outputs[0].node
    return all(
        node.op.family == "scalar"
        or node.op.name in ("const", "expand")
        or (node.op.name == "reshape" and node.output.type.size == 1)
        or (node is last and node.op.name == "reduce_any" and not node.output.dims)
        for node in region.nodes
    )


def _ends_with(condition: Region) -> Value | None:
    """The truth values of which a condition asks whether any is true."""
    node = condition.outputs[0].node
    return node.inputs[0] if node is not None and node.op.name == "reduce_any" else None


def _mask(node: Node) -> _Mask | None:
    """What says which elements go on, if all carries of the others stay."""
    condition, body = node.regions
    first = invariants_of(node)
    choices: dict[tuple[Value, bool], None] = {}
    for value, carry in zip(body.outputs, body.inputs[first:], strict=True):
        choice = value.node
        if value is carry:
            continue
        if choice is None or choice.op.name != "where" or carry not in choice.inputs[1:]:
            return None
        choices[choice.inputs[0], choice.inputs[1] is carry] = None
    goes_on = _ends_with(condition)
    if len(choices) != 1 or goes_on is None:
        return None
    ((own, ends),) = choices
    if ends:
        denied = goes_on.node
        if denied is None or denied.op.name != "not":
            return None
        goes_on = denied.inputs[0]
    same = dict(zip(condition.inputs, body.inputs, strict=True))
    return _Mask(own, goes_on, ends) if _is_alike(goes_on, own, same) else None


def _is_alike(value: Value, other: Value, same: dict[Value, Value]) -> bool:
    """Whether two regions compute two values alike, given which values of the one are which of the other."""
    if value in same:
        return same[value] is other
    node, twin = value.node, other.node
    if node is None or twin is None or node.op is not twin.op or repr(node.attributes) != repr(twin.attributes):
        return False
    if (value.type, value.index, len(node.inputs)) != (other.type, other.index, len(twin.inputs)):
        return False
    if not all(_is_alike(x, y, same) for x, y in zip(node.inputs, twin.inputs, strict=True)):
        return False
    same[value] = other
    return True
