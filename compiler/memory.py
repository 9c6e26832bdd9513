"""Memory planning: where every value of a lowered program stands.

Results have memory of their own; all other values share one arena, by liveness.  Where all sizes are numbers a value
takes the smallest free hole; one of named size takes over a dead value of equal size, or new room at the end.
A value that is written to an input at the end is computed there directly where nothing can tell the difference; so is
one that can take the place of an operand which nothing reads afterwards, such as what a loop carries.  Large carries
that cannot change places with what a turn makes of them: entries of the table do, not the elements.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from adjit.compiler.in_place import (
    dying_operands,
    may_replace,
    origin,
    same_element,
    stays,
    steps_in_place,
    taken_over,
)
from adjit.compiler.loops.ir import AS_COMPLEX, AS_REAL, KERNEL, POSITION
from adjit.ir.analysis import CONTROL, carries_of, invariants_of
from adjit.ir.frozen import frozen, record
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.primitive import Primitive
from adjit.ir.shape import Size
from adjit.ir.types import TensorType

# Bytes of a cache line; temporaries and workspaces begin with one.
LINE = 64
# Carries of more bytes change places with what becomes of them, where that is cheaper than a copy.
LARGEST_COPIED = 1024


@frozen
class Temporary:
    """Bytes offset.. of the arena, for the value of table entry `slot`."""

    slot: int
    offset: Size


@frozen
class Copy:
    """A value to be copied from one table entry to another."""

    source: int
    target: int
    type: TensorType


@record
class MemoryPlan:
    """The table entries of a program's values, and what must be moved.

    `copies` happen before a loop (by node), at the end of a region, and at the end of the graph.  `guarded` is the
    first kernel that writes an input: a fault before it must stop the program there.  `pointed` are the entries that a
    scan points to a slice of one of its stacks; `slices` gives those of its stacked results.  `exchanges` are pairs of
    entries (source, target) at the end of a region: each target takes the address of its source, all at once.
    """

    slots: dict[Value, int]
    count: int
    inputs: tuple[int, ...]
    results: tuple[int, ...]
    temporaries: list[Temporary] = field(default_factory=list)
    arena: Size = 0
    copies: dict[Region | Node, list[Copy]] = field(default_factory=dict)
    guarded: Node | None = None
    pointed: set[int] = field(default_factory=set)
    slices: dict[Value, int] = field(default_factory=dict)
    exchanges: dict[Region, list[tuple[int, int]]] = field(default_factory=dict)


def plan_memory(graph: Graph, first: int, *, may_stop: bool = False) -> MemoryPlan:
    """The plan of a lowered graph whose table entries begin at `first`; with `may_stop`, any kernel may fault."""
    return _Planner(graph, first, may_stop).plan()


def byte_count(type: TensorType) -> Size:
    """The bytes of a value, in whole cache lines."""
    return (type.size * type.dtype.itemsize + (LINE - 1)) // LINE * LINE


def may_fault(node: Node) -> bool:
    """Whether a node, or one inside it, can raise a fault."""
    for inner in (node, *(n for region in node.regions for n in region.walk())):
        if (inner.op is POSITION and not inner.attributes["certain"]) or inner.op.name == "host_call":
            return True
        if inner.op.name in ("div", "mod") and inner.output.dtype.is_integer and not inner.inputs[1].constant:
            return True
    return False


class _Planner:
    def __init__(self, graph: Graph, first: int, may_stop: bool) -> None:
        self.graph = graph
        self.next = first
        self.slots: dict[Value, int] = {}
        self.begins: dict[int, int] = {}  # by table entry: the step at which memory is needed, and the last one
        self.ends: dict[int, int] = {}
        self.types: dict[int, TensorType] = {}
        self.outside: set[int] = set()
        self.step = 0
        self.copies: dict[Region | Node, list[Copy]] = {}
        self.guarded: Node | None = None
        self.pointed: set[int] = set()
        self.slices: dict[Value, int] = {}
        self.exchanges: dict[Region, list[tuple[int, int]]] = {}
        self.dying: dict[Region, dict[Node, list[Value]]] = {}
        self.place = {node: number for number, node in enumerate(graph.nodes)}
        faults = (number for node, number in self.place.items() if may_stop or may_fault(node))
        self.last_fault = max(faults, default=-1)
        self.last_use: dict[Value, int] = {}
        for node, number in self.place.items():
            self.last_use.update(dict.fromkeys(node.inputs, number))

    def plan(self) -> MemoryPlan:
        graph = self.graph
        inputs = tuple(self._new(value) for value in graph.inputs)
        targets = dict(self._written(inputs))
        results: list[int] = []
        results_in_place = map(_memory_of, graph.outputs)
        taken = {value for value in results_in_place if _memory_of(value, AS_REAL) is not value} | {*graph.inputs}
        for index, value in enumerate(map(_memory_of, graph.outputs)):
            slot = targets.get(index)
            own = value not in taken and value.node is not None and index not in targets
            slot = self._entry() if slot is None else slot
            if own or (index in targets and self._is_direct(value, inputs.index(slot), taken)):
                self.slots[value] = slot
                taken.add(value)
                if own:
                    self._begin_in_place(value)
            results.append(slot)
        self.outside = {*inputs, *results}
        self._region(graph)
        self._move(graph, [Copy(self.slots[value], slot, value.type)
                           for value, slot in zip(graph.outputs, results, strict=True)])  # fmt: skip
        plan = MemoryPlan(self.slots, self.next, inputs, tuple(results), copies=self.copies, guarded=self.guarded)
        plan.pointed, plan.slices, plan.exchanges = self.pointed, self.slices, self.exchanges
        self._join_lifetimes()
        plan.temporaries, plan.arena = _place(self.begins, self.ends, self.types, self.outside | self.pointed)
        return plan

    def _entry(self) -> int:
        self.next += 1
        return self.next - 1

    def _new(self, value: Value) -> int:
        """The table entry of a value; a new one unless it has one."""
        if value not in self.slots:
            self.slots[value] = self._entry()
        return self.slots[value]

    # -- inputs that are written --------------------------------------------------------------------------------------
    def _written(self, inputs: Sequence[int]) -> Iterator[tuple[int, int]]:
        for source, output in self.graph.writes:
            yield output, inputs[source]

    def _is_direct(self, value: Value, index: int, taken: set[Value]) -> bool:
        """Whether the kernel that computes `value` may store it over input `index`."""
        graph, kernel, given = self.graph, value.node, self.graph.inputs[index]
        if kernel is None or kernel.op is not KERNEL or value.type != given.type:
            return False  # one written to a complex input is of another type
        if value in taken or given in graph.outputs:
            return False
        place = self.place[kernel]
        if place <= self.last_fault or self.last_use.get(given, -1) > place:
            return False
        places = [number for number, operand in enumerate(kernel.inputs) if operand is given]
        if not all(same_element(kernel, number, value.index) for number in places):
            return False
        if self.guarded is None or place < self.place[self.guarded]:
            self.guarded = kernel
        return True

    # -- regions ------------------------------------------------------------------------------------------------------
    def _region(self, region: Region, carried: Sequence[Value] = ()) -> None:
        """Entries and lifetimes of the values in a region, which may overwrite the inputs `carried`."""
        dying = self._dying(region)
        for node in region.nodes:
            self.step += 1
            if node.op in (AS_REAL, AS_COMPLEX):
                self._alias(node.outputs, node.inputs)
            else:
                free = [v for v in dying.get(node, ()) if v.node is not None or v in carried]
                if node.op.name in CONTROL:
                    self._control(node, free)
                else:
                    self._replace(node, free)
                    for value in node.outputs:
                        self._begin(value)
            for value in node.inputs:
                self._end(value)
            for value in node.outputs:
                self._end(value)
        self.step += 1
        for value in region.outputs:
            self._end(value)

    def _replace(self, kernel: Node, dying: list[Value]) -> None:
        """Let results of a kernel take the places of operands that die there."""
        taken = {self.slots[result] for result in kernel.outputs if result in self.slots}
        dying = [v for v in dying if self.slots[v] not in taken]
        for result in kernel.outputs:
            if result not in self.slots:
                operand = next((v for v in dying if may_replace(kernel, v, result)), None)
                if operand is not None:
                    dying.remove(operand)
                    self.slots[result] = self.slots[operand]

    def _begin(self, value: Value) -> None:
        slot = self._new(value)
        self.begins.setdefault(slot, self.step)
        self.types.setdefault(slot, value.type)

    def _end(self, value: Value) -> None:
        self.ends[self.slots[value]] = self.step

    def _take_over(self, node: Node, free: list[Value]) -> dict[Value, Value]:
        """Let loops carry, and branches change, operands among `free` in their places; to those, the results there."""
        found = {}
        for result in sorted(node.outputs, key=lambda result: result not in self.slots):
            operand = taken_over(node, result, self._dying)
            if operand in free and self.slots.get(result, self.slots[operand]) == self.slots[operand]:
                self.slots[result] = self.slots[operand]
                found[operand] = result
            free = [v for v in free if self.slots[v] != self.slots.get(result)]
        return found

    def _begin_in_place(self, result: Value) -> None:
        """Let what a loop or branch begins with be computed where its result is wanted, if it stays there."""
        while result.node is not None and result.node.op.name in CONTROL:
            node = result.node
            operand = taken_over(node, result, self._dying)
            if operand is None or operand.node is None or operand in self.slots:
                return
            if operand not in self._dying(self.graph).get(node, ()) or not stays(node, operand, result, self._dying):
                return
            self.slots[operand] = self.slots[result]
            result = operand

    def _dying(self, region: Region) -> dict[Node, list[Value]]:
        """What `dying_operands` finds, once."""
        if region not in self.dying:
            self.dying[region] = dying_operands(region)
        return self.dying[region]

    def _control(self, node: Node, free: list[Value]) -> None:
        """What a control node computes has its memory from the node's beginning on."""
        taken = self._take_over(node, free)
        for value in node.outputs:
            self._begin(value)
        match node.op.name:
            case "cond":
                self._cond(node, taken)
            case "while":
                self._while(node)
            case "scan":
                self._scan(node)

    def _cond(self, node: Node, taken: Mapping[Value, Value]) -> None:
        for region in node.regions:
            self._alias(region.inputs, node.inputs[1:])
            self._direct(region, region.outputs, node.outputs)
            for result in taken.values():  # what else the branch computes must not stand where its result will
                steps = steps_in_place(region, result.index, self._dying)
                self.slots.update(dict.fromkeys(steps, self.slots[result]))
            self._region(region, [v for v, x in zip(region.inputs, node.inputs[1:], strict=True) if x in taken])
            self._carry(region, region.outputs, node.outputs)

    def _while(self, node: Node) -> None:
        invariants = invariants_of(node)
        condition, body = node.regions
        self._rehouse(body, body.inputs[invariants:], body.outputs, node.outputs)
        self._carry(node, node.inputs[invariants:], node.outputs)
        for region in (condition, body):
            self._alias(region.inputs, (*node.inputs[:invariants], *node.outputs))
            self._region(region, region.inputs[invariants:] if region is body else ())
        self._move(body, self._exchange(body, body.outputs, node.outputs))

    def _scan(self, node: Node) -> None:
        invariants, carries = invariants_of(node), carries_of(node)
        (body,) = node.regions
        results = node.outputs[:carries]
        self._rehouse(body, body.inputs[invariants : invariants + carries], body.outputs[:carries], results)
        self._carry(node, node.inputs[invariants : invariants + carries], results)
        self._alias(body.inputs[: invariants + carries], (*node.inputs[:invariants], *results))
        for value in body.inputs[invariants + carries :]:
            self.pointed.add(self._new(value))
        owned = set(self._owned(body, body.outputs[carries:]))
        stacked = list(zip(body.outputs[carries:], node.outputs[carries:], strict=True))
        for value, stack in stacked:
            self.slices[stack] = self._new(value) if value in owned else self._entry()
            self.pointed.add(self.slices[stack])
        self._region(body, body.inputs[invariants : invariants + carries])
        copies = [Copy(self._new(v), self.slices[stack], v.type) for v, stack in stacked]
        self._move(body, [*copies, *self._exchange(body, body.outputs[:carries], results)])

    def _alias(self, values: Sequence[Value], of: Sequence[Value]) -> None:
        for value, other in zip(values, of, strict=True):
            self.slots[value] = self._new(other)

    def _owned(self, region: Region, values: Sequence[Value]) -> list[Value]:
        """Those of a region's outputs that it computes itself and gives out once."""
        counts = Counter(region.outputs)
        return [v for v in values if v.node is not None and v not in region.inputs and counts[v] == 1]

    def _direct(self, region: Region, values: Sequence[Value], targets: Sequence[Value]) -> None:
        """Let a region compute its outputs where they are wanted."""
        owned = set(self._owned(region, values))
        for value, target in zip(values, targets, strict=True):
            if value in owned:
                self.slots[value] = self._new(target)

    # -- large carries ------------------------------------------------------------------------------------------------
    def _rehouse(
        self, body: Region, entries: Sequence[Value], values: Sequence[Value], results: Sequence[Value]
    ) -> None:
        """Give a loop's large results entries that may change their addresses, where carries are computed anew."""
        for output, (entry, value, result) in enumerate(zip(entries, values, results, strict=True)):
            if value is entry or not _is_large(value.type) or self.slots.get(result) not in self.outside:
                continue
            place = origin(body, output, self._dying)
            if place is not None and body.inputs[place] is entry:
                continue
            self.slots[result] = self._entry()
            self._begin(result)

    def _exchange(self, body: Region, values: Sequence[Value], results: Sequence[Value]) -> list[Copy]:
        """The copies of what a turn carries over that remain where entries of large values change places instead."""
        copies = [Copy(self._new(v), self._new(t), v.type) for v, t in zip(values, results, strict=True)]
        fixed = self.outside | self.pointed
        made = {self.slots[v] for v in values if v.node is not None}
        counts = Counter(copy.source for copy in copies)
        moved = [
            c for c in copies
            if c.source != c.target and counts[c.source] == 1 and _is_large(c.type) and not fixed & {c.source, c.target}
        ]  # fmt: skip
        while True:
            targets = {copy.target for copy in moved}
            written = {copy.target for copy in copies if copy not in moved}
            good = [c for c in moved if c.source in made | targets and c.source not in written]
            if len(good) == len(moved):
                break
            moved = good
        if moved:
            self.exchanges[body] = _closed([(copy.source, copy.target) for copy in moved])
        return [copy for copy in copies if copy not in moved]

    def _join_lifetimes(self) -> None:
        """Entries that change places, directly or through others, live as long as the first and the last of them."""
        groups: list[set[int]] = []
        for pairs in self.exchanges.values():
            slots = {slot for slot, _ in pairs}
            slots.update(*(group for group in groups if group & slots))
            groups = [*(group for group in groups if not group & slots), slots]
        for slots in groups:
            begin, end = min(self.begins[s] for s in slots), max(self.ends.get(s, self.begins[s]) for s in slots)
            self.begins.update(dict.fromkeys(slots, begin))
            self.ends.update(dict.fromkeys(slots, end))

    def _carry(self, place: Region | Node, values: Sequence[Value], targets: Sequence[Value]) -> None:
        copies = [Copy(self._new(v), self._new(t), v.type) for v, t in zip(values, targets, strict=True)]
        self._move(place, copies)

    def _move(self, place: Region | Node, copies: Sequence[Copy]) -> None:
        """Copies that mean to happen at once: one goes when nobody waits to read its target; a cycle is put aside."""
        waiting = [copy for copy in copies if copy.source != copy.target]
        ordered = self.copies.setdefault(place, [])
        while waiting:
            read = Counter(copy.source for copy in waiting)
            ready = [copy for copy in waiting if not read[copy.target]]
            if ready:
                ordered += ready
                done = set(ready)
                waiting = [copy for copy in waiting if copy not in done]
                continue
            first = waiting[0]
            aside = self._entry()
            self.types[aside] = first.type
            self.begins[aside] = self.ends[aside] = self.step
            ordered.append(Copy(first.source, aside, first.type))
            waiting = [Copy(aside, c.target, c.type) if c.source == first.source else c for c in waiting]


def _is_large(type: TensorType) -> bool:
    size = byte_count(type)
    return not isinstance(size, int) or size > LARGEST_COPIED


def _closed(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs, and for each chain of them one more that gives its first source the address of its last target."""
    following = dict(pairs)
    sources = dict.fromkeys(following)
    for first in sources.keys() - set(following.values()):
        last = first
        while last in following:
            last = following[last]
        pairs = [*pairs, (last, first)]
    return pairs


def _memory_of(value: Value, view: Primitive = AS_COMPLEX) -> Value:
    """What `value` is a view of, which is computed where `value` is wanted; `value` itself if it is none."""
    return value.node.inputs[0] if value.node is not None and value.node.op is view else value


# -- the arena --------------------------------------------------------------------------------------------------------
def _place(
    begins: dict[int, int], ends: dict[int, int], types: dict[int, TensorType], outside: set[int]
) -> tuple[list[Temporary], Size]:
    """Offsets for all entries with a lifetime, and the size of the arena."""
    events = sorted((step, slot) for slot, step in begins.items() if slot not in outside)
    numbers, named = _Holes(), _Equal()
    placed: list[tuple[int, Size, bool]] = []
    alive: list[tuple[int, int, int | Size, Size]] = []
    for step, slot in events:
        for ended in [item for item in alive if item[0] < step]:
            alive.remove(ended)
            (numbers if isinstance(ended[3], int) else named).free(ended[2], ended[3])  # type: ignore[arg-type]
        size = byte_count(types[slot])
        offset = numbers.take(size) if isinstance(size, int) else named.take(size)
        placed.append((slot, offset, isinstance(size, int)))
        alive.append((ends.get(slot, step), slot, offset, size))
    found = [Temporary(slot, offset if static else numbers.end + offset) for slot, offset, static in placed]
    return found, numbers.end + named.end


class _Holes:
    """Room of numeric size: the smallest free hole that is large enough, else the end."""

    def __init__(self) -> None:
        self.end = 0
        self._free: list[tuple[int, int]] = []  # (offset, size), by offset

    def take(self, size: int) -> int:
        fitting = [hole for hole in self._free if hole[1] >= size]
        if not fitting or size == 0:
            last = self._free[-1] if self._free else (0, 0)
            if size and last[1] and last[0] + last[1] == self.end:  # the last hole grows
                self._free.pop()
                self.end = last[0] + size
                return last[0]
            self.end += size
            return self.end - size
        offset, room = min(fitting, key=lambda hole: hole[1])
        self._free.remove((offset, room))
        if room > size:
            bisect.insort(self._free, (offset + size, room - size))
        return offset

    def free(self, offset: int, size: int) -> None:
        if size == 0:
            return
        place = bisect.bisect(self._free, (offset, size))
        if place < len(self._free) and self._free[place][0] == offset + size:
            size += self._free.pop(place)[1]
        if place and sum(self._free[place - 1]) == offset:
            offset, before = self._free.pop(place - 1)
            size += before
        bisect.insort(self._free, (offset, size))


class _Equal:
    """Room of named sizes: a dead value of equal size, else the end."""

    def __init__(self) -> None:
        self.end: Size = 0
        self._free: dict[Size, list[Size]] = {}

    def take(self, size: Size) -> Size:
        if self._free.get(size):
            return self._free[size].pop()
        offset = self.end
        self.end = self.end + size
        return offset

    def free(self, offset: Size, size: Size) -> None:
        self._free.setdefault(size, []).append(offset)
