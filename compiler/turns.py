"""Index arithmetic, given what is known of its integers: of clamps, and of what counts the turns of loops.

`x[i + 1]` is traced as a gather at `where(i + 1 < 0, i + 1 + n, i + 1)`, which is a fault outside [0, n).  Where i runs
over `arange`, or is a carry that grows by a constant, such comparisons are decided here, and an index that cannot be
outside is `certain`: its kernel does not look.  Divisions of arrays whose numbers are small are done in 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.ranges import Range, Ranges, all_of, fits
from adjit.compiler.simplify_rules import number_in
from adjit.ir.analysis import LOOPS, carries_of, invariants_of
from adjit.ir.builder import Builder
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.ops.arrays import cast, expand
from adjit.ir.rewrite import rewrite
from adjit.ir.types import I32, I64

# Beyond the integers of 32 bits.
_MOST = 1 << 31


def with_plain_indices(graph: Graph) -> Graph:
    """The graph with such indices, in its loops and outside."""
    ranges = Ranges()

    def rule(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        name = node.op.name
        if node.regions:
            _learn(ranges, node)
        elif name == "where":
            known = ranges.of(node.inputs[0])
            if known in ((0, 0), (1, 1)):
                return [_spread(builder, operands[2 - known[0]], node)]
        elif name in ("minimum", "maximum"):
            chosen = _chosen(ranges, node, operands)
            return None if chosen is None else [_spread(builder, chosen, node)]
        elif name in ("div", "mod") and _is_narrow(ranges, node):
            narrow = [cast(x, I32) for x in builder.exprs(operands)]
            return [cast(node.op(*narrow), I64).value]
        elif (name == "gather" or name.startswith("scatter_")) and _is_certain(ranges, node):
            return builder.emit(node.op, operands, {**node.attributes, "certain": True}).outputs
        return None

    found = rewrite(graph, rule, follow_calls=False)
    return graph if found is graph else eliminate_dead(found)


def _spread(builder: Builder, value: Value, node: Node) -> Value:
    """A scalar operand in the shape of the result."""
    dims = node.output.dims
    return value if value.dims == dims else expand(builder.expr(value), dims).value


def _chosen(ranges: Ranges, node: Node, operands: tuple[Value, ...]) -> Value | None:
    """The operand that an extreme of integers always is."""
    first, second = map(ranges.of, node.inputs)
    if first is None or second is None:
        return None
    low, high = (0, 1) if node.op.name == "minimum" else (1, 0)
    if first[1] <= second[0]:
        return operands[low]
    return operands[high] if second[1] <= first[0] else None


def _is_narrow(ranges: Ranges, node: Node) -> bool:
    """Whether arrays of i64 are divided by no constant, and 32 bits hold all: vectors divide such numbers as floats."""
    if node.output.dtype is not I64 or not node.output.dims or number_in(node.inputs[1]) is not None:
        return False
    found = [ranges.of(value) for value in node.inputs]
    return all(known is not None and known[0] > -_MOST and known[1] < _MOST for known in found)


def _is_certain(ranges: Ranges, node: Node) -> bool:
    """Whether all indices of a gather or scatter are inside."""
    axes: Sequence[int] = node.attributes["axes"]  # type: ignore[assignment]
    if "certain" in node.attributes:
        return False
    for axis, index in zip(axes, node.inputs[-len(axes) :], strict=True):
        extent, known = node.inputs[0].dims[axis], ranges.of(index)
        if known is None or not isinstance(extent, int) or known[0] < 0 or known[1] >= extent:
            return False
    return True


# -- what regions are given -------------------------------------------------------------------------------------------
def _learn(ranges: Ranges, node: Node) -> None:
    """Enter the bounds of what the regions of control flow take."""
    name, operands = node.op.name, node.inputs
    if name == "cond":
        for region in node.regions:
            for value, given in zip(region.inputs, operands[1:], strict=True):
                ranges.learn(value, ranges.of(given))
        return
    if name not in LOOPS:
        return
    first = invariants_of(node)
    for region in node.regions:
        for value, given in zip(region.inputs[:first], operands, strict=False):
            ranges.learn(value, ranges.of(given))
    body = node.regions[-1]
    if name == "scan":
        carries = carries_of(node)
        length = node.attributes["length"]
        for value, given in zip(body.inputs[first + carries :], operands[first + carries :], strict=True):
            ranges.learn(value, ranges.of(given))
        for place in range(carries):
            step, start = step_of(body, first + place, place), ranges.of(operands[first + place])
            if step is not None and start is not None and isinstance(length, int) and length > 0:
                way = step * (length - 1)
                ranges.learn(body.inputs[first + place], (start[0] + min(way, 0), start[1] + max(way, 0)))
        return
    condition = node.regions[0]
    for place, result in enumerate(node.outputs):
        counter = condition.inputs[first + place]
        if counter.dtype.kind != "int" or counter.dims:
            continue
        # What the condition says holds in every turn; where the counter only grows, or falls, so does what it began at.
        within = _limits(ranges, condition.outputs[0], counter)
        start, step = ranges.of(operands[first + place]), step_of(body, first + place, place)
        if start is not None and step is not None and fits(counter, (within[0] + step, within[1] + step)):
            inside = (max(within[0], start[0]), within[1]) if step >= 0 else (within[0], min(within[1], start[1]))
            ends = inside[0] + step, inside[1] + step
            whole = min(start[0], ends[0]), max(start[1], ends[1])
            for value in (counter, result):
                ranges.learn(value, whole)
        else:
            inside = within
        if inside != all_of(counter) and inside[0] <= inside[1]:
            ranges.learn(body.inputs[first + place], inside)


def step_of(body: Region, place: int, output: int) -> int | None:
    """The constant that each turn adds to a carry, the body's input `place` and its output `output`."""
    found = offset_of(body.outputs[output])
    return found[1] if found[0] is body.inputs[place] and found[0].dtype.kind == "int" else None


def offset_of(value: Value) -> tuple[Value, int]:
    """The value and the constant that an integer scalar is the sum of."""
    total = 0
    while value.node is not None and value.node.op.name in ("add", "sub") and value.dtype.kind == "int":
        sign = 1 if value.node.op.name == "add" else -1
        left, right = value.node.inputs
        if isinstance(right.constant, int):
            value, total = left, total + sign * right.constant
        elif isinstance(left.constant, int) and sign > 0:
            value, total = right, total + left.constant
        else:
            break
    return value, total


def _limits(ranges: Ranges, condition: Value, counter: Value) -> Range:
    """Between which numbers `counter` is where the condition holds."""
    node, whole = condition.node, all_of(counter)
    if node is None:
        return whole
    if node.op.name == "and" and not condition.dims:
        both = [_limits(ranges, operand, counter) for operand in node.inputs]
        return max(low for low, _ in both), min(high for _, high in both)
    if node.op.name not in ("lt", "le") or counter not in node.inputs:
        return whole
    less, more = (ranges.of(operand) or all_of(operand) for operand in node.inputs)
    off = node.op.name == "lt"
    if node.inputs[0] is counter:
        return whole[0], min(whole[1], more[1] - off)
    return (max(whole[0], less[0] + off), whole[1]) if node.inputs[1] is counter else whole
