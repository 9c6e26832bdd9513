"""Which elements of a result vary with which elements of an input: sets of columns, pushed through a graph's nodes.

Ops that only move elements are asked where: their meaning is run on the elements' numbers.  Indices and constant
matrices are looked at where they are known.  What has no rule depends on all that it is given, which is always true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjit.compiler.pattern import Pattern
from adjit.ir.analysis import carries_of, has_rule, invariants_of
from adjit.ir.errors import ShapeError
from adjit.ir.frozen import frozen
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.ops.indexing import gather, scatter_set
from adjit.ir.ops.windows import window
from adjit.ir.rewrite import inline_calls
from adjit.ir.shape import evaluate
from adjit.runtime.interpreter import run_node

Array = NDArray[Any]
# Known shapes: an element's number stands where the element would.
MOVES = frozenset(("reshape", "permute", "expand", "slice", "window", "as_strided"))
# A loop that has not settled after so many rounds is taken to mix everything.
ROUNDS = 100


@frozen
class Dependence:
    """A pattern for each output (None: it does not vary), and the inputs whose numbers were looked at."""

    outputs: tuple[Pattern | None, ...]
    consulted: frozenset[int]


def dependence(graph: Graph, variable: int, arrays: Sequence[Array | None]) -> Dependence:
    """How the outputs of `graph` vary with the input number `variable`.

    `arrays` are the inputs' numbers where they may be relied on.  Errors: ShapeError for open sizes.
    """
    source = inline_calls(graph, keep_rules=True)
    for value in source.inputs:
        if not value.type.is_static:
            raise ShapeError(f"sparsity needs known sizes: {value.name} is {value.type}")
    size = _size(source.inputs[variable])
    known = {value: array for value, array in zip(source.inputs, arrays, strict=True) if array is not None}
    pushing = _Pushing(size, known)
    given = [Pattern.identity(size) if index == variable else None for index in range(len(source.inputs))]
    outputs = pushing.region(source, given)
    consulted = frozenset(index for index, value in enumerate(source.inputs) if value in pushing.consulted)
    return Dependence(tuple(outputs), consulted)


def _shape(value: Value) -> tuple[int, ...]:
    return tuple(evaluate(dim, {}) for dim in value.dims)


def _size(value: Value) -> int:
    return prod(_shape(value))


def _numbers(dims: Sequence[int]) -> Array:
    """The numbers of a value's elements, in its shape."""
    return np.arange(prod(dims), dtype=np.int64).reshape(tuple(dims))


Found = list[Pattern | None]


class _Pushing:
    """One propagation towards patterns of `columns` columns."""

    def __init__(self, columns: int, known: dict[Value, Array]) -> None:
        self.columns = columns
        self.known = known
        self.consulted: set[Value] = set()

    def region(self, region: Region, given: Sequence[Pattern | None]) -> Found:
        """The patterns of a region's outputs for those of its inputs."""
        patterns: dict[Value, Pattern | None] = dict(zip(region.inputs, given, strict=True))
        for node in region.nodes:
            operands = [patterns[value] for value in node.inputs]
            if node.op.constant_result or all(pattern is None for pattern in operands):
                found: Found = [None for _ in node.outputs]
            else:
                found = self.node(node, operands)
            for value, pattern in zip(node.outputs, found, strict=True):
                patterns[value] = pattern if value.dtype.is_continuous else None
        return [patterns[value] for value in region.outputs]

    def node(self, node: Node, operands: Sequence[Pattern | None]) -> Found:
        """The patterns of the results of a node, one of whose operands varies."""
        name = node.op.name
        if node.op.family == "scalar":
            return [self.elementwise(node, operands)]
        if name in MOVES:
            moved = node.op.reference(_numbers(_shape(node.inputs[0])), **node.attributes)
            return [_some(operands[0]).take(np.asarray(moved).reshape(-1))]
        rule = _RULES.get(name)
        if rule is not None:
            return rule(self, node, operands)
        if node.op.family == "linalg":
            return self.by_matrix(node, operands)
        return self.everything(node, operands)

    def array(self, value: Value) -> Array | None:
        """The numbers of a value that follow from what is known, or None."""
        if value in self.known:
            self.consulted.add(value)
            return self.known[value]
        node = value.node
        if node is None or node.regions or node.op.family == "control" or node.op.name == "random_bits":
            return None
        operands = [self.array(operand) for operand in node.inputs]
        if any(operand is None for operand in operands):
            return None
        results = run_node(node.op, operands, [v.type for v in node.outputs], node.attributes)  # type: ignore[arg-type]
        self.known.update(zip(node.outputs, results, strict=True))
        return self.known[value]

    # -- families -----------------------------------------------------------------------------------------------------
    def elementwise(self, node: Node, operands: Sequence[Pattern | None]) -> Pattern:
        """Each element varies with what its operands' elements vary with."""
        size = _size(node.output)
        zeros = np.zeros(size, np.int64)
        return Pattern.union([p if p.rows == size else p.take(zeros) for p in operands if p is not None])

    def everything(self, node: Node, operands: Sequence[Pattern | None]) -> Found:
        """Each element varies with all that the operands vary with."""
        parts = [pattern.grouped(np.zeros(pattern.rows, np.int64), 1) for pattern in operands if pattern is not None]
        whole = Pattern.union(parts)
        return [whole.take(np.zeros(_size(value), np.int64)) for value in node.outputs]

    def by_matrix(self, node: Node, operands: Sequence[Pattern | None]) -> Found:
        """Each matrix of a batch of results varies with that matrix of the operands."""
        lead = _shape(node.inputs[0])[:-2]
        if any(_shape(value)[: len(lead)] != lead for value in (*node.inputs, *node.outputs)):
            return self.everything(node, operands)
        count = prod(lead)
        parts = [
            pattern.grouped(np.arange(pattern.rows) * count // max(pattern.rows, 1), count)
            for pattern in operands
            if pattern is not None
        ]
        whole = Pattern.union(parts)
        sizes = [_size(value) for value in node.outputs]
        return [whole.take(np.arange(size) * count // max(size, 1)) for size in sizes]

    # -- regions ------------------------------------------------------------------------------------------------------
    def local(self, region: Region, varying: Sequence[bool], fixed: Sequence[Value] = ()) -> Found:
        """How a region's outputs vary with those of its inputs that do, one after the other as columns.

        `fixed` are the outer values of its first inputs.
        """
        sizes = [_size(value) if flag else 0 for value, flag in zip(region.inputs, varying, strict=True)]
        total, start = sum(sizes), 0
        given: Found = []
        for size, flag in zip(sizes, varying, strict=True):
            given.append(Pattern.block(size, start, total) if flag else None)
            start += size
        known: dict[Value, Array] = {}
        for inner, outer in zip(region.inputs, fixed, strict=False):
            array = self.array(outer)
            if array is not None:
                known[inner] = array
        return _Pushing(total, known).region(region, given)

    def after(self, local: Pattern | None, given: Sequence[Pattern | None]) -> Pattern | None:
        """A local pattern applied to the patterns of the inputs that vary."""
        parts = [pattern for pattern in given if pattern is not None]
        return None if local is None else local.after(Pattern.stacked(parts, self.columns))


def _some(pattern: Pattern | None) -> Pattern:
    assert pattern is not None
    return pattern


# -- structure and reductions -----------------------------------------------------------------------------------------
def _pad(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    attributes: dict[str, Any] = {**node.attributes, "value": -1}
    return [_some(operands[0]).take(node.op.reference(_numbers(_shape(node.inputs[0])), **attributes).reshape(-1))]


def _joined(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    """Of a concat or an interleave: each element is one of an operand, or of none."""
    filled = [
        Pattern.empty(_size(value), pushing.columns) if pattern is None else pattern
        for value, pattern in zip(node.inputs, operands, strict=True)
    ]
    starts = np.cumsum([1, *(pattern.rows for pattern in filled)])
    numbers = [_numbers(_shape(value)) + start for value, start in zip(node.inputs, starts, strict=False)]
    places = np.asarray(node.op.reference(*numbers, **node.attributes)) - 1
    return [Pattern.stacked(filled, pushing.columns).take(places.reshape(-1))]


def _fold(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    """The transpose of a window: an element goes where the window would take it from."""
    attributes: dict[str, Any] = {k: v for k, v in node.attributes.items() if k != "shape"}
    labels = window.reference(_numbers(_shape(node.output)), **attributes)
    return [_some(operands[0]).grouped(np.asarray(labels).reshape(-1), _size(node.output))]


def _without(dims: Sequence[int], axes: Sequence[int]) -> Array:
    """For each element, the number of its place when `axes` are left out."""
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(dims))
    return np.broadcast_to(_numbers(kept), tuple(dims)).reshape(-1)


def _reduce(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    axes: Any = node.attributes["axes"]
    return [_some(operands[0]).grouped(_without(_shape(node.inputs[0]), axes), _size(node.output))]


def _sort(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    axes = [int(node.attributes["axis"])]  # type: ignore[arg-type]
    labels = _without(_shape(node.inputs[0]), axes)
    lines = _some(operands[0]).grouped(labels, int(labels.max(initial=-1)) + 1)
    return [lines.take(_without(_shape(node.outputs[0]), axes)), None]


def _cumulate(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    """An element depends on its own and all earlier elements of each operand."""
    lines = np.moveaxis(_numbers(_shape(node.inputs[0])), int(node.attributes["axis"]), -1)  # type: ignore[arg-type]
    if node.attributes["reverse"]:
        lines = lines[..., ::-1]
    lines = lines.reshape(-1, lines.shape[-1]) if lines.ndim else lines.reshape(1, 1)
    to, source = np.tril_indices(lines.shape[1])
    size = _size(node.output)
    running = Pattern.of_pairs(lines[:, to].reshape(-1), lines[:, source].reshape(-1), size, size)
    return [running.after(Pattern.union([pattern for pattern in operands if pattern is not None]))]


# -- contractions -----------------------------------------------------------------------------------------------------
def _dot(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    contract: Any = node.attributes["contract"]
    batch: Any = node.attributes["batch"]
    parts = []
    for side, (value, pattern) in enumerate(zip(node.inputs, operands, strict=True)):
        if pattern is None:
            continue
        own = _ordered(_numbers(_shape(value)), batch[side], contract[side])
        other = None
        if operands[1 - side] is None and not batch[0]:
            other = pushing.array(node.inputs[1 - side])
        if other is not None:  # a constant matrix: its zeros count
            factor = _ordered(np.asarray(other), (), contract[1 - side])[0]
            free, inner = np.nonzero(factor)
            sizes = (factor.shape[0], own.shape[1])
            places = _numbers(sizes) if side else _numbers(sizes[::-1]).T
            taken = own[0].T[inner]  # [nonzeros, own free]
            to = np.broadcast_to(places[free], taken.shape)
            size = _size(node.output)
            parts.append(Pattern.of_pairs(to.reshape(-1), taken.reshape(-1), size, pattern.rows).after(pattern))
            continue
        count, free_size, _ = own.shape
        labels = np.empty(pattern.rows, np.int64)
        labels[own] = _numbers((count, free_size))[:, :, None]
        rows = pattern.grouped(labels, count * free_size)
        other_free = _size(node.output) // max(count * free_size, 1)
        numbers = _numbers((count, free_size))
        spread = numbers[:, None, :] if side else numbers[:, :, None]
        shape = (count, other_free, free_size) if side else (count, free_size, other_free)
        parts.append(rows.take(np.broadcast_to(spread, shape).reshape(-1)))
    return [Pattern.union(parts)]


def _ordered(x: Array, batch: Sequence[int], contract: Sequence[int]) -> Array:
    """x as [batch, free, contracted]."""
    free = [axis for axis in range(x.ndim) if axis not in batch and axis not in contract]
    count, inner = prod(x.shape[axis] for axis in batch), prod(x.shape[axis] for axis in contract)
    return x.transpose(*batch, *free, *contract).reshape(count, prod(x.shape[axis] for axis in free), inner)


def _conv(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    """As the contraction of windows that it is compiled to."""
    from adjit.compiler.legalize import legalize

    inputs = [Value(value.type) for value in node.inputs]
    alone = Node(node.op, inputs, node.attributes, [node.output.type])
    graph = legalize(Graph("conv", inputs, [alone], alone.outputs))
    for inner, outer in zip(inputs, node.inputs, strict=True):
        if outer in pushing.known:
            pushing.known[inner] = pushing.known[outer]
    return pushing.region(graph, operands)


# -- indexing ---------------------------------------------------------------------------------------------------------
def _gather(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    axes: Any = node.attributes["axes"]
    x = node.inputs[0]
    indices = [pushing.array(value) for value in node.inputs[1:]]
    if all(index is not None for index in indices):
        return [_some(operands[0]).take(gather.reference(_numbers(_shape(x)), *indices, axes=axes).reshape(-1))]
    rest = [size for axis, size in enumerate(_shape(x)) if axis not in axes]
    lines = _some(operands[0]).grouped(_without(_shape(x), axes), prod(rest))
    return [lines.take(np.broadcast_to(_numbers(rest), _shape(node.output)).reshape(-1))]


def _scatter(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    axes: Any = node.attributes["axes"]
    indices = [pushing.array(value) for value in node.inputs[2:]]
    if any(index is None for index in indices):
        return pushing.everything(node, operands)
    x, updates = operands[0], operands[1]
    numbers = _numbers(_shape(node.output))
    parts = []
    if x is not None:
        if node.op.name == "scatter_set":
            gone = np.full(_shape(node.inputs[1]), -1)
            numbers_kept = scatter_set.reference(numbers, gone, *indices, axes=axes)
            parts.append(x.take(numbers_kept.reshape(-1)))
        else:
            parts.append(x)
    if updates is not None:
        parts.append(updates.grouped(gather.reference(numbers, *indices, axes=axes).reshape(-1), numbers.size))
    return [Pattern.union(parts)]


# -- control ----------------------------------------------------------------------------------------------------------
def _call(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    """What the call's own rule says."""
    assert has_rule(node)
    wrt: Any = node.attributes["wrt"]
    rule = node.attributes.get("jvp", node.attributes.get("vjp"))
    assert isinstance(rule, Graph)
    flat = inline_calls(rule, keep_rules=True)
    forward = "jvp" in node.attributes
    floating = [value for value in node.outputs if value.dtype.is_continuous]
    moving = len(wrt) if forward else len(floating)
    local = pushing.local(flat, [index < moving for index in range(len(flat.inputs))])
    given = Pattern.stacked(
        [_or_empty(operands[index], node.inputs[index], pushing.columns) for index in wrt], pushing.columns
    )
    if forward:
        found = iter(None if pattern is None else pattern.after(given) for pattern in local)
        return [next(found) if value.dtype.is_continuous else None for value in node.outputs]
    total = sum(_size(value) for value in floating)
    back = [_or_empty(pattern, node.inputs[index], total) for pattern, index in zip(local, wrt, strict=True)]
    rows = Pattern.stacked(back, total).transposed().after(given)
    result: Found = []
    start = 0
    for value in node.outputs:
        if value.dtype.is_continuous:
            result.append(rows.take(np.arange(start, start + _size(value))))
            start += _size(value)
        else:
            result.append(None)
    return result


def _or_empty(pattern: Pattern | None, value: Value, columns: int) -> Pattern:
    return Pattern.empty(_size(value), columns) if pattern is None else pattern


def _cond(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    """What either branch says."""
    flags = [pattern is not None for pattern in operands[1:]]
    branches = [pushing.local(region, flags, node.inputs[1:]) for region in node.regions]
    found: Found = []
    for pair in zip(*branches, strict=True):
        applied = [pushing.after(local, operands[1:]) for local in pair]
        parts = [pattern for pattern in applied if pattern is not None]
        found.append(Pattern.union(parts) if parts else None)
    return found


def _while(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    """The carries after any number of steps: rounds until nothing is added."""
    first = invariants_of(node)
    flags = [pattern is not None for pattern in operands[:first]] + [v.dtype.is_continuous for v in node.outputs]
    local = pushing.local(node.regions[1], flags, node.inputs[:first])
    carried = [
        _or_empty(pattern, value, pushing.columns) if value.dtype.is_continuous else None
        for pattern, value in zip(operands[first:], node.outputs, strict=True)
    ]
    for _ in range(ROUNDS):
        after = [pushing.after(pattern, [*operands[:first], *carried]) for pattern in local]
        grown = [
            old if old is None or new is None else Pattern.union([old, new])
            for old, new in zip(carried, after, strict=True)
        ]
        if all(a is None or b is None or a.count == b.count for a, b in zip(grown, carried, strict=True)):
            return carried
        carried = grown
    return pushing.everything(node, operands)


def _scan(pushing: _Pushing, node: Node, operands: Sequence[Pattern | None]) -> Found:
    """One step after the other; all at once where nothing is carried."""
    first, carries, length = invariants_of(node), carries_of(node), int(node.attributes["length"])  # type: ignore[arg-type]
    body = node.regions[0]
    second = first + carries
    flags = [
        pattern is not None or (first <= place < second and body.inputs[place].dtype.is_continuous)
        for place, pattern in enumerate(operands)
    ]
    local = pushing.local(body, flags, node.inputs[:first])
    carried: Found = [
        _or_empty(pattern, value, pushing.columns) if value.dtype.is_continuous else None
        for pattern, value in zip(operands[first:second], node.outputs, strict=False)
    ]
    rows: list[Found] = []
    order = range(length)
    for step in reversed(order) if node.attributes["reverse"] else order:
        slices = []
        for pattern in operands[second:]:
            size = 0 if pattern is None else pattern.rows // length
            slices.append(None if pattern is None else pattern.take(np.arange(step * size, (step + 1) * size)))
        found = [pushing.after(pattern, [*operands[:first], *carried, *slices]) for pattern in local]
        carried = [
            None if before is None else _or_empty(pattern, value, pushing.columns)
            for before, pattern, value in zip(carried, found, body.outputs, strict=False)
        ]
        rows.append(found[carries:])
    if node.attributes["reverse"]:
        rows.reverse()
    stacked: Found = []
    for place, value in enumerate(body.outputs[carries:]):
        column = [_or_empty(row[place], value, pushing.columns) for row in rows]
        stacked.append(Pattern.stacked(column, pushing.columns) if value.dtype.is_continuous else None)
    return [*carried, *stacked]


_RULES: dict[str, Callable[[_Pushing, Node, Sequence[Pattern | None]], Found]] = {
    "pad": _pad, "concat": _joined, "interleave": _joined, "fold": _fold, "sort": _sort, "dot": _dot, "conv": _conv,
    "gather": _gather, "call": _call, "cond": _cond, "while": _while, "scan": _scan,
    **{f"reduce_{kind}": _reduce for kind in ("sum", "prod", "max", "min")},
    "recur": _cumulate, **{f"cumulate_{kind}": _cumulate for kind in ("sum", "prod", "max", "min")},
    **{f"scatter_{kind}": _scatter for kind in ("set", "add", "mul", "max", "min")},
}  # fmt: skip
