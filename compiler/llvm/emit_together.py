"""Loops over one extent in a loop's body, run together: a row is read once for several sums and results.

`for row { a = sum over the row; b = another; store a row }` makes three passes over a row; where none of them needs the
whole of another, one does.  Every sum keeps its order (`adjit.compiler.loops.ir`), so bits stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field

from adjit.compiler.llvm.emit_access import combine
from adjit.compiler.llvm.emit_choice import (
    choose,
    column_stride,
    cost,
    extents_of,
    in_lanes,
    in_order,
    loop_dtype,
    partials,
    variables_of,
)
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_loops import fused_side, is_fused_product, operands_of, vector_loop
from adjit.compiler.llvm.emit_prefetch import fetched_ahead
from adjit.compiler.llvm.emit_reduce import AnyFold, LaneSum, abreast, in_blocks, own_lanes
from adjit.compiler.llvm.emit_state import Ramp, Register, Uniform, Variable, Writer
from adjit.compiler.llvm.emit_stream import emit_streaming, streamed_buffers
from adjit.compiler.llvm.text import LLType
from adjit.compiler.loops.ir import FOR, LOAD, REDUCE, STORE, UPDATE, address, used_values
from adjit.ir.frozen import frozen, record
from adjit.ir.graph import Node, Value
from adjit.ir.shape import Dim, Size, product, substitute
from adjit.ir.types import BOOL

# Operations of the loops that run together: their vectors and partial results stay in registers.
_MOST = 48
# The place in a row, whatever a loop calls it.
_COLUMN = "@column"


@frozen
class RowLoop:
    """A loop over `extent` elements of a row; where it is a nest of two, over groups of `lanes` and inside these.

    With `exact` it runs in vectors of `lanes`, else in any.
    """

    node: Node
    extent: Size
    lanes: int
    exact: bool

    def element(self, access: Node) -> Size | None:
        """What an access touches at place `@column` of the row; None where other things than the place decide."""
        buffer, *rest = access.inputs
        if access.attributes["masked"] or len(rest) != (access.op is not LOAD):
            return None
        *outer, last = variables_of(self.node)
        if any(column_stride(access, v) != self.lanes or column_stride(access, last) != 1 for v in outer):
            return None
        at = address(buffer.type, access.attributes["at"])  # type: ignore[arg-type]
        return substitute(at, {**dict.fromkeys(outer, 0), last: Dim.named(_COLUMN)})

    def at(self, w: Writer, column: Variable) -> dict[str, Variable]:
        """The variables where a vector begins at `column`."""
        *outer, last = variables_of(self.node)
        if not outer:
            return {last: column}
        assert isinstance(column, Ramp)
        group = w.f.let(f"lshr i64 {column.base}, {self.lanes.bit_length() - 1}")
        return {outer[0]: Uniform(group), last: Ramp("0", self.lanes)}


@record
class Step:
    """Nodes that are emitted together: loops, or one node of any kind (`loops` is empty then)."""

    nodes: list[Node]
    loops: list[RowLoop]
    cost: int = 0
    reads: dict[object, list[Node]] = field(default_factory=dict)
    writes: dict[object, list[Node]] = field(default_factory=dict)

    def takes(self, other: Step) -> bool:
        """Whether a loop can run with these."""
        if not self.loops or not other.loops or self.cost + other.cost > _MOST:
            return False
        (loop,) = other.loops
        alike = not loop.exact or all(each.lanes == loop.lanes for each in self.loops if each.exact)
        return alike and self.loops[0].extent == loop.extent

    def shared(self, other: Step) -> int:
        """How many buffers both touch."""
        return len((self.reads.keys() | self.writes.keys()) & (other.reads.keys() | other.writes.keys()))

    def add(self, other: Step) -> None:
        """Run `other` with these, after them."""
        self.nodes += other.nodes
        self.loops += other.loops
        self.cost += other.cost
        for into, new in ((self.reads, other.reads), (self.writes, other.writes)):
            for key, nodes in new.items():
                into.setdefault(key, []).extend(nodes)


def emit_body(w: Writer, node: Node, nodes: Sequence[Node]) -> None:
    """Nodes of a `for`'s body, loops over the same extent together where they can be."""
    steps = plan(w, nodes)
    if w.lanes == 1:
        w.fetched = {**w.fetched, **fetched_ahead(node, [step.nodes for step in steps])}
    for step in steps:
        emit_step(w, step)


def plan(w: Writer, nodes: Sequence[Node]) -> list[Step]:
    """What is emitted together, in order."""
    candidates = {inner: loop for inner in nodes if w.lanes == 1 and (loop := _loop_of(w, inner))}
    if len(candidates) > 1:
        return _steps(w, nodes, candidates)
    return [Step([inner], [candidates[inner]] if inner in candidates else []) for inner in nodes]


def emit_step(w: Writer, step: Step) -> None:
    """The nodes of a step."""
    if len(step.loops) > 1:
        _emit_together(w, step.loops)
        return
    for node in step.nodes:
        w.emit_node(node)


def _loop_of(w: Writer, node: Node) -> RowLoop | None:
    """The loop over a row that `node` is, or None."""
    if node.op not in (FOR, REDUCE) or w.options.lanes is not None:
        return None
    (region,), extents = node.regions, extents_of(node)
    if any(inner.regions for inner in region.nodes):
        return None
    native = w.native_lanes(loop_dtype(region))
    if node.op is REDUCE:
        if len(extents) != 1 or native == 1 or len(node.outputs) != 1 or in_order(node):
            return None
        if in_lanes(node):
            lanes = partials(node)
            return RowLoop(node, extents[0], lanes, True) if lanes > 1 else None
        lanes = own_lanes(w, node)
        return RowLoop(node, extents[0], lanes * abreast(node, lanes), False) if lanes > 1 else None
    if node.attributes["sequential"] or not extents:
        return None
    choice = choose(node, w.dependence, native)
    if choice.variable != variables_of(node)[-1] or choice.lanes == 1:
        return None
    if len(extents) == 1:
        return RowLoop(node, extents[0], choice.lanes, False)
    inner = extents[1]
    if len(extents) > 2 or not isinstance(inner, int) or inner & (inner - 1) or inner < choice.lanes:
        return None
    return RowLoop(node, product(extents), inner, True)


# -- which loops run together ------------------------------------------------------------------------------------------
def _steps(w: Writer, nodes: Sequence[Node], candidates: dict[Node, RowLoop]) -> list[Step]:
    """The nodes in an order that keeps every dependence, each loop with others that touch the same memory."""
    own = {}
    for node in nodes:
        loop = candidates.get(node)
        own[node] = step = Step([node], [loop] if loop else [], cost(node.regions[0]) if loop else 0)
        _note_accesses(w, step)
    # What nothing after it depends on can wait, and then choose among all others.
    waiting = [node for number, node in enumerate(nodes)
               if node in candidates and not node.outputs
               and all(_first_place(1, own[node], own[later]) == 0 for later in nodes[number + 1 :])]  # fmt: skip
    steps: list[Step] = []
    made: dict[Value, int] = {}
    for node in (*(node for node in nodes if node not in waiting), *waiting):
        new = own[node]
        least = max((made[value] + 1 for value in used_values(node) if value in made), default=0)
        for number, step in enumerate(steps):
            least = max(least, _first_place(number, step, new))
        shared = [(steps[place].shared(new), place) for place in range(least, len(steps)) if steps[place].takes(new)]
        most, place = max(shared, default=(0, 0))
        if most:
            steps[place].add(new)
        else:
            place = len(steps)
            steps.append(new)
        made.update(dict.fromkeys(node.outputs, place))
    return steps


def _first_place(number: int, step: Step, own: Step) -> int:
    """The first place where `own` may stand in view of the memory that step `number` touches."""
    if not {node.op for node in (*step.nodes, *own.nodes) if not node.outputs} <= {FOR, STORE, UPDATE}:
        return number + 1
    pairs = [
        (a, b)
        for earlier, later in ((step.writes, own.reads), (step.writes, own.writes), (step.reads, own.writes))
        for key, nodes in earlier.items()
        for a in nodes
        for b in later.get(key, ())
    ]
    if not pairs:
        return 0
    alike = step.loops and own.loops and all(_same_element(step, own, a, b) for a, b in pairs)
    return number if alike else number + 1


def _same_element(step: Step, own: Step, first: Node, second: Node) -> bool:
    """Whether two accesses touch one element at each place of a row, and each place another."""
    (loop,) = own.loops
    host = next(other for other in step.loops if any(node is first for node in other.node.regions[0].nodes))
    element = host.element(first)
    if element is None or element != loop.element(second):
        return False
    return isinstance(element, Dim) and element.coefficient(_COLUMN) == 1


def _note_accesses(w: Writer, step: Step) -> None:
    (node,) = step.nodes
    for inner in (node, *(n for region in node.regions for n in region.walk())):
        if inner.op in (LOAD, UPDATE):
            step.reads.setdefault(w.memory_of(inner.inputs[0]), []).append(inner)
        if inner.op in (STORE, UPDATE):
            step.writes.setdefault(w.memory_of(inner.inputs[0]), []).append(inner)


# -- code --------------------------------------------------------------------------------------------------------------
def _emit_together(w: Writer, loops: Sequence[RowLoop]) -> None:
    """One loop over the row that does what each of `loops` does."""
    extent = loops[0].extent
    lanes = next((loop.lanes for loop in loops if loop.exact), max(loop.lanes for loop in loops))
    known = extent if isinstance(extent, int) else None
    for loop in loops:
        for name, size in zip(variables_of(loop.node), extents_of(loop.node), strict=True):
            w.bounds.declare(name, size)
    name = variables_of(loops[0].node)[-1]
    sums = {
        loop.node: (LaneSum if in_lanes(loop.node) else AnyFold)(w, loop.node, lanes)
        for loop in loops if loop.node.op is REDUCE
    }  # fmt: skip
    totals = {update: _Total(w, update, lanes) for loop in loops for update in _repeated_updates(loop)}

    def body() -> None:
        column = w.variables[name]
        assert isinstance(column, Ramp)
        same: dict[object, Register] = {}
        for loop in loops:
            with w.bound(loop.at(w, column)):
                if loop.node in sums:
                    sums[loop.node].add(column.base, lambda loop=loop: _run(w, loop, same, totals))  # type: ignore[misc]
                else:
                    _run(w, loop, same, totals)

    def block(begin: str, end: str, known: int | None) -> None:
        for each in sums.values():
            each.begin()
        streamed = list(dict.fromkeys(_streamed(w, loops)))
        if streamed:
            emit_streaming(w, streamed, begin, lambda: vector_loop(w, name, begin, end, lanes, body, known))
        else:
            vector_loop(w, name, begin, end, lanes, body, known)
        for each in sums.values():
            each.end()

    for total in totals.values():
        total.begin()
    if sums:
        in_blocks(w, extent, block)
    else:
        block("0", uniform(w, extent), known)
    for each in sums.values():
        each.finish()
    for total in totals.values():
        total.finish()


class _Total:
    """A vector in memory that every group of a row is added to: in a register meanwhile."""

    def __init__(self, w: Writer, update: Node, lanes: int) -> None:
        self.w, self.kind = w, str(update.attributes["kind"])
        self.type = LLType(update.inputs[0].type.dtype, lanes)
        self.pointer, self.slot = w.buffers[update.inputs[0]], w.slot(self.type)

    def begin(self) -> None:
        """What memory holds."""
        self.w.write(self.slot, self.w.f.let(f"load {self.type.llvm}, ptr {self.pointer}, align {self._align}"))

    def add(self, term: Register) -> None:
        """Take in a group."""
        w = self.w
        w.write(self.slot, combine(w, self.kind, self.type, w.read(self.slot), w.spread(term)))

    def finish(self) -> None:
        """Back to memory."""
        self.w.f.line(f"store {self.type.llvm} {self.w.read(self.slot)}, ptr {self.pointer}, align {self._align}")

    @property
    def _align(self) -> int:
        return self.type.dtype.itemsize


def _repeated_updates(loop: RowLoop) -> Iterator[Node]:
    """The updates in a nest that each group makes of the same `lanes` elements, which are a whole buffer."""
    *outer, last = variables_of(loop.node)
    for node in loop.node.regions[0].nodes if outer else ():
        if node.op is UPDATE and node.inputs[0].type.dims == (loop.lanes,) and node.attributes["kind"] != "set":
            plain = not node.attributes["masked"] and len(node.inputs) == 2
            if plain and node.attributes["at"] == (Dim.named(last),):
                yield node


def _run(w: Writer, loop: RowLoop, same: dict[object, Register], totals: Mapping[Node, _Total]) -> None:
    """The nodes of a loop's body; `same` are scalars that loops before it in the group have found."""
    for node in loop.node.regions[0].nodes:
        if node in totals:
            totals[node].add(w.register(node.inputs[1]))
            continue
        key = _meaning(w, loop, node)
        if key is not None and key in same and node.op is not STORE:
            w.registers[node.output] = same[key]
            continue
        w.emit_node(node)
        if node.op in (STORE, UPDATE):
            memory = w.memory_of(node.inputs[0])
            for stale in [key for key in same if isinstance(key, tuple) and key[0] == memory]:
                del same[stale]
            stored = w.register(node.inputs[1])
            if node.op is STORE and key is not None and stored.type.lanes == w.lanes:
                same[key] = stored
        elif key is not None:
            same[key] = w.registers[node.output]


def _meaning(w: Writer, loop: RowLoop, node: Node) -> object:
    """What scalars of one value have in common: the element that is loaded or stored, or an op and its operands."""
    if node.op in (LOAD, STORE):
        element = loop.element(node)
        return None if element is None or node.inputs[0].type.dtype is BOOL else (w.memory_of(node.inputs[0]), element)
    if node.op.family != "scalar" or is_fused_product(w, node):
        return None
    operands = tuple((w.register(value).name, value.type.dtype) for value in operands_of(w, node))
    return node.op, repr(node.attributes), node.output.type, fused_side(w, node), operands


def _streamed(w: Writer, loops: Iterable[RowLoop]) -> Iterator[Value]:
    """The large buffers that the loops fill."""
    for loop in loops:
        if loop.node.op is FOR:
            native = w.native_lanes(loop_dtype(loop.node.regions[0]))
            yield from streamed_buffers(w, loop.node, choose(loop.node, w.dependence, native))
