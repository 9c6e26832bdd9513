"""The origin of a NaN or an infinity: the first operation that makes one of finite operands.

The search goes back from an element of a result to the elements that it was computed of, as long as one of these is bad
itself: a NaN that a `where` does not select is no origin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjit.compiler.llvm.emit_finite import Checks
from adjit.compiler.loops.ir import FUSE
from adjit.compiler.observe import Observer, Values, floats
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.ops.scalar import where
from adjit.ir.printer import format_node, value_names

Array = NDArray[Any]
Index = tuple[int, ...]
# Which elements of an operand an element of a result is computed of: an index with slices.
Read = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Operand:
    """An operand of the operation at fault, and those of its elements that were read: one, or rows and columns."""

    name: str
    read: Read
    value: Array


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a NaN or an infinity comes from.

    `node` is None where it came in with the input `name`; `text` is the operation's line.  `turns` counts the loops
    around it, outermost first.  `cause` is the origin of an infinity among the operands of what made a NaN.
    """

    node: Node | None
    name: str
    index: Index
    value: complex
    operands: tuple[Operand, ...] = ()
    text: str = ""
    turns: tuple[int, ...] = ()
    cause: Origin | None = None


def is_bad(array: Array, value: Value, *, inf: bool) -> Array:
    """Where the elements of a value are NaN or, with `inf`, infinite."""
    numbers = floats(array, value)
    return ~np.isfinite(numbers) if inf else np.isnan(numbers)


def find(observer: Observer, arrays: Sequence[Array], checks: Checks) -> Origin | None:
    """The origin of what a program's kernels store on these inputs; None if they store nothing bad."""
    observer.begin(arrays)
    try:
        _run(observer.program, arrays, checks, observer)
    except _Found as found:
        return found.origin
    return None


class _Found(Exception):
    """The origin, on its way out of the loops around it."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin


def _run(graph: Graph, arrays: Sequence[Array], checks: Checks, observer: Observer) -> Values:
    """What a graph stores; _Found where that is bad."""
    stored = observer.stored(graph, arrays)
    for node in graph.nodes:
        bad = [v for v in node.outputs if v.dtype.is_continuous and is_bad(stored[v], v, inf=checks.inf).any()]
        if bad and checks.concern(node):
            _search_loops(node, stored, checks, observer)
            origin = origin_in(graph, stored, bad, checks, observer)
            if origin is not None:
                raise _Found(origin)
    return stored


def _search_loops(node: Node, stored: Values, checks: Checks, observer: Observer) -> None:
    """Run a loop or a branch step by step; _Found with the turn in which something bad is made."""
    if node.op is FUSE or not node.regions:
        return
    turns = [0]

    def program(region: Region) -> Callable[..., tuple[Array, ...]]:
        body = observer.body(region)

        def run(*given: Array) -> tuple[Array, ...]:
            inside = _run(body, [np.asarray(array, order="C") for array in given], checks, observer)
            turns[0] += region is node.regions[-1]
            return tuple(_number_of(value) if value.constant is not None else inside[value] for value in region.outputs)

        return run

    try:
        operands = [_number_of(v) if v.constant is not None else stored[v] for v in node.inputs]
        node.op.reference(*operands, regions=tuple(map(program, node.regions)), **observer.attributes(node))
    except _Found as found:
        turn = () if node.op.name == "cond" else (turns[0],)
        raise _Found(replace(found.origin, turns=(*turn, *found.origin.turns))) from None


def _number_of(value: Value) -> Array:
    """A constant as an array of rank 0."""
    return np.asarray(value.constant, value.dtype.storage)


# -- from a bad element back to its origin ----------------------------------------------------------------------------
def origin_in(
    graph: Graph, values: Values, starts: Sequence[Value], checks: Checks, observer: Observer | None = None
) -> Origin | None:
    """The first origin in program order of the bad elements of `starts`, given the graph's values.

    None where only constants and infinite inputs are bad: those are meant.
    """
    search = _Walk(graph, values, checks.inf, observer)
    for value in starts:
        for flat in np.flatnonzero(search.bad(value)):
            search.visit(value, _unravel(flat, values[value]))
            if search.found:
                break
    if not search.found:
        return None
    origin, parts = search.found[min(search.found)]
    if origin.node is not None and np.isnan(origin.value):
        causes = search.for_infinities()
        for value, read in parts:
            place = causes.first_bad(value, read)
            if place is not None:
                causes.visit(value, place)
        if causes.found:
            origin = replace(origin, cause=causes.found[min(causes.found)][0])
    return origin


class _Walk:
    """A search through a graph's nodes and into its kernels; each element is looked at once."""

    def __init__(self, graph: Graph, values: Values, inf: bool, observer: Observer | None) -> None:
        self.values = values
        self.inf = inf
        self.observer = observer
        self.names = value_names(graph)
        self.order = {node: (number, -1) for number, node in enumerate(graph.nodes)}
        self.outer: dict[Value, Value] = {}  # by the inputs of kernels, what stands for them outside
        self.found: dict[tuple[tuple[int, int], Index], tuple[Origin, Sequence[tuple[Value, Read]]]] = {}
        self.seen: set[tuple[Value, Index]] = set()
        self._bad: dict[Value, Array] = {}
        self._moved: dict[Node, Array | None] = {}
        self._entered: set[Node] = set()

    def for_infinities(self) -> _Walk:
        """A walk on the same values, from where this one stands, after infinities too."""
        other = copy(self)
        other.inf, other.found, other.seen, other._bad = True, {}, set(), {}
        return other

    def bad(self, value: Value) -> Array:
        """Where a value's elements are bad."""
        known = self._bad.get(value)
        if known is None:
            known = self._bad[value] = is_bad(self.values[value], value, inf=self.inf)
        return known

    def visit(self, value: Value, index: Index) -> None:
        """Note the origins of one bad element."""
        stack = [(value, index)]
        while stack:
            value, index = stack.pop()
            if (value, index) in self.seen or value.constant is not None:
                continue
            self.seen.add((value, index))
            node = value.node
            if value in self.outer:
                stack.append((self.outer[value], index))
            elif node is None or node not in self.order:
                self.note(value, index, None, ())
            elif node.op is FUSE:
                stack.append((self.inner(node, value), index))
            else:
                parts = self.parts(node, index)
                bad = [(part, place) for part, read in parts if (place := self.first_bad(part, read)) is not None]
                if not bad and node.inputs:
                    self.note(value, index, node, parts)
                stack += bad

    def note(self, value: Value, index: Index, node: Node | None, parts: Sequence[tuple[Value, Read]]) -> None:
        """Remember an origin; an infinity that came in is none."""
        number = floats(self.values[value], value)[index].item()
        place = ((-1, -1) if node is None else self.order[node], index)
        if place in self.found or (node is None and not np.isnan(number)):
            return
        shown = tuple(
            Operand(self.name(part), read, np.asarray(floats(self.values[part], part)[read])) for part, read in parts
        )
        names = {v: self.name(v) for v in (*node.inputs, *node.outputs)} if node is not None else {}
        text = "" if node is None else format_node(node, names)
        self.found[place] = Origin(node, self.name(value), index, number, shown, text), parts

    def name(self, value: Value) -> str:
        """A value's name outside of kernels; empty for a constant."""
        return "" if value.constant is not None else self.names.get(self.outer.get(value, value), value.name or "?")

    def inner(self, node: Node, value: Value) -> Value:
        """What stands for a result of a kernel inside it; its values are computed at the first visit."""
        (group,) = node.regions
        if node not in self._entered:
            self._entered.add(node)
            self.outer.update(zip(group.inputs, node.inputs, strict=True))
            number = self.order[node][0]
            self.order.update({inner: (number, place) for place, inner in enumerate(group.nodes)})
            if not all(v in self.values for v in group.outputs):
                assert self.observer is not None
                operands = [_number_of(v) if v.constant is not None else self.values[v] for v in node.inputs]
                self.values.update(self.observer.inside(group, operands))
        return group.outputs[value.index]

    # -- what an element is computed of -------------------------------------------------------------------------------
    def parts(self, node: Node, index: Index) -> list[tuple[Value, Read]]:
        """The operands that an element of a result is computed of, and which of their elements."""
        operands = list(node.inputs)
        if node.op is where:
            chosen = self.values[operands[0]]
            operands = [operands[1 if chosen[index if chosen.ndim else ()] else 2]]
        if node.op.family in ("scalar", "named"):
            return [(operand, index if operand.type.ndim else ()) for operand in operands]
        if node.op.name.startswith("reduce_"):
            axes: Any = node.attributes["axes"]
            rest = iter(index)
            dims = range(operands[0].type.ndim)
            return [(operands[0], tuple(slice(None) if axis in axes else next(rest) for axis in dims))]
        if node.op.name == "dot":
            return _of_dot(node, index)
        if node.op.name in ("as_real", "as_complex"):  # a complex number is a pair on a last axis
            return [(operands[0], index[:-1] if node.op.name == "as_real" else (*index, slice(None)))]
        source = self.source(node, index)
        if source is not None:
            return [(operands[0], source)]
        return [(operand, (slice(None),) * operand.type.ndim) for operand in operands]

    def source(self, node: Node, index: Index) -> Index | None:
        """The element of its operand that an op only moves."""
        if node.op.family != "structure" or len(node.inputs) != 1:
            return None
        operand = self.values[node.inputs[0]]
        if node not in self._moved:
            numbers = np.arange(1, operand.size + 1).reshape(operand.shape)
            try:
                attributes = node.attributes if self.observer is None else self.observer.attributes(node)
                self._moved[node] = np.asarray(node.op.reference(numbers, **attributes))
            except (TypeError, ValueError):
                self._moved[node] = None
        moved = self._moved[node]
        place = 0 if moved is None else int(moved[index])
        return _unravel(place - 1, operand) if 0 < place <= operand.size else None

    def first_bad(self, value: Value, read: Read) -> Index | None:
        """The first bad element among those that are read."""
        if not value.dtype.is_continuous:
            return None
        among = np.asarray(self.bad(value)[read])
        if not among.any():
            return None
        inner = iter(_unravel(among.argmax(), among))
        return tuple(next(inner) if isinstance(part, slice) else part for part in read)


def _of_dot(node: Node, index: Index) -> list[tuple[Value, Read]]:
    """A row of the left operand and a column of the right one."""
    contract: Any = node.attributes["contract"]
    batch: Any = node.attributes["batch"]
    rest = iter(index[len(batch[0]) :])
    found: list[tuple[Value, Read]] = []
    for operand, summed, shared in zip(node.inputs, contract, batch, strict=True):
        read = tuple(
            index[shared.index(axis)] if axis in shared else slice(None) if axis in summed else next(rest)
            for axis in range(operand.type.ndim)
        )
        found.append((operand, read))
    return found


def _unravel(flat: Any, array: Array) -> Index:
    return tuple(map(int, np.unravel_index(int(flat), array.shape)))
