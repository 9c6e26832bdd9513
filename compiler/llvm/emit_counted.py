"""Loops of control flow that count, and go through arrays as they count: whole vectors of turns at a time.

Of `while i < n: new[i] = old[i - 1] + old[i + 1]; i = i + 1` each turn checks its places, and waits for none before it.
Where all places of some turns are within the arrays, and what is written is not read elsewhere, those turns run as one
`for` without checks, cut into vectors as other kernels are.  What is known only when the loop begins is asked then; the
loop itself, which checks and faults, runs the turns that are left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from adjit.compiler.llvm.emit import inlined_writer, is_idle
from adjit.compiler.llvm.emit_choice import WIDEST_STRIDE, Dependence, choose, loop_dtype
from adjit.compiler.llvm.emit_index import least, uniform
from adjit.compiler.llvm.emit_state import Uniform, Writer, size_of
from adjit.compiler.llvm.fused import FusedProducts, fused_products
from adjit.compiler.loops.ir import FOR, INDEX, LOAD, POSITION, STORE, UPDATE, address
from adjit.ir.analysis import carries_of
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Region, Value
from adjit.ir.shape import Dim, Size, size_names, substitute
from adjit.ir.types import I64, TensorType

if TYPE_CHECKING:
    from adjit.compiler.llvm.control import Control

# Fewer turns than these run one by one.
_FEWEST = 8
# Numbers beyond are no distances from a counter.
_FARTHEST = 1 << 32
_TURN, _TURNS = "turn'", "turns'"
# When a value of a turn is known: before places are checked, before the turns, or in each.
_BEFORE, _ONCE, _EACH = range(3)


@frozen
class _Counter:
    """What a table entry held when the loop began, plus the turn's number, plus `shift`."""

    slot: int
    shift: int

    @property
    def size(self) -> Size:
        return Dim.named(_first(self.slot)) + Dim.named(_TURN) + self.shift


_Known = _Counter | Value


class _NotCounted(Exception):
    """A loop's turns cannot run side by side."""


def emit_counted(control: Control, node: Node) -> None:
    """The turns of a `while` that can run side by side, before the loop itself."""
    try:
        turn = _Turn(control, node)
    except _NotCounted:
        return
    turn.emit()


def _first(slot: int) -> str:
    """The name of what a counter is when the loop begins."""
    return f"first'{slot}"


class _Turn:
    """The body of a loop as that of a `for`.

    Errors: _NotCounted where its turns depend on each other, or may fault other than by a place.
    """

    def __init__(self, control: Control, node: Node) -> None:
        self.control, self.plan, self.w = control, control.plan, control.w
        self.known: dict[int, _Known] = {}  # what the turn has put into entries of single numbers
        self.buffers: dict[int, Value] = {}
        self.nodes: tuple[list[Node], list[Node], list[Node]] = ([], [], [])
        self.when: dict[Value, int] = {}
        self.copied: dict[Node, Node] = {}
        self.indices: dict[_Counter, Value] = {}
        self.alike: dict[object, Value] = {}  # values that are known before the turns, each computed once
        self.places: dict[int, list[tuple[int, Size]]] = {}  # by counter: shifts, and the extents they stay within
        self.checked: list[tuple[Value, Size]] = []
        self.stores: dict[int, Node] = {}
        self.loads: list[Node] = []
        condition, body = node.regions
        self.written = set(self._written(node, body))
        for kernel in body.nodes:
            self._run(kernel)
        self._carry(node, body)
        self.counter, self.end = self._test(condition)
        self._look_at_memory()
        self.region = Region()
        self.region.nodes = [*self.nodes[_BEFORE], *self.nodes[_ONCE], self._loop(node)]
        self.dependence = Dependence(self.region)
        self.dependence.fused = self._fused(body)
        native = self.w.native_lanes(loop_dtype(self.region.nodes[-1].regions[0]))
        if choose(self.region.nodes[-1], self.dependence, native).variable is None:
            raise _NotCounted

    # -- what a turn does ---------------------------------------------------------------------------------------------
    def _written(self, node: Node, body: Region) -> Iterator[int]:
        """The entries that a turn writes, if it is made of kernels in this function alone."""
        if body in self.plan.exchanges or any(inner not in self.control.inlined for inner in body.nodes):
            raise _NotCounted
        for inner in body.nodes:
            yield from (self.plan.slots[value] for value in inner.outputs)
        yield from (copy.target for copy in self.plan.copies.get(body, ()))
        yield from (self.plan.slots[value] for value in (*node.outputs[: carries_of(node)], *node.regions[0].outputs))

    def _run(self, kernel: Node) -> None:
        """A kernel's statements, one after the other."""
        (region,) = kernel.regions
        slots = [self.plan.slots[value] for value in (*kernel.inputs, *kernel.outputs)]
        table = dict(zip(region.inputs, slots, strict=True))
        found: dict[Value, _Known] = {}
        for node in region.nodes:
            if node.op is LOAD or node.op is STORE or node.op is UPDATE:
                self._access(node, table, found)
            elif node.op is POSITION:
                self._position(node, found)
            elif node.op.family == "scalar" or node.op.name == "const":
                self._scalar(node, found)
            elif not is_idle(node, table):
                raise _NotCounted

    def _access(self, node: Node, table: Mapping[Value, int], found: dict[Value, _Known]) -> None:
        slot, dims = table.get(node.inputs[0]), node.inputs[0].type.dims
        if slot is None or node.attributes["masked"] or (node.op is UPDATE and node.attributes["kind"] != "set"):
            raise _NotCounted
        if dims:
            self._access_array(node, slot, found)
        elif node.op is LOAD:
            found[node.output] = self._number(slot, node)
        else:
            self.known[slot] = found[node.inputs[1]]

    def _number(self, slot: int, node: Node) -> _Known:
        """What a single number is where a turn reads it."""
        if slot in self.known:
            return self.known[slot]
        if slot not in self.written:
            return self._add(node, LOAD, [self._buffer(slot, node.inputs[0].type)], node.attributes)
        if node.output.type.dtype is not I64:
            raise _NotCounted
        return _Counter(slot, 0)

    def _buffer(self, slot: int, type: TensorType) -> Value:
        buffer = self.buffers.setdefault(slot, Value(type))
        if buffer.type != type:
            raise _NotCounted
        return buffer

    def _access_array(self, node: Node, slot: int, found: dict[Value, _Known]) -> None:
        """A load or store of an element, at the places that counters say."""
        buffer, rest = self._buffer(slot, node.inputs[0].type), list(node.inputs[1:])
        values = [] if node.op is LOAD else [self._value(rest.pop(0), found)]
        renamed: dict[str, Size] = {}
        for number, value in enumerate(rest):
            place = found[value]
            if isinstance(place, _Counter):
                renamed[f"_{number}"] = place.size
            else:
                renamed[f"_{number}"] = Dim.named(f"_{len(values) - (node.op is not LOAD)}")
                values.append(place)
        at = tuple(substitute(index, renamed) for index in node.attributes["at"])  # type: ignore[union-attr, arg-type]
        store = self.stores.get(slot)
        if node.op is LOAD and store is not None and (at, values) == (store.attributes["at"], [*store.inputs[2:]]):
            found[node.output] = store.inputs[1]  # what the turn has put there
            return
        if store is not None:
            raise _NotCounted
        if node.op is LOAD:
            found[node.output] = self._add(node, LOAD, [buffer, *values], {"at": at, "masked": False})
            self.loads.append(self.copied[node])
            return
        self._add(node, STORE, [buffer, *values], {"at": at, "masked": False})
        self.stores[slot] = self.copied[node]

    def _position(self, node: Node, found: dict[Value, _Known]) -> None:
        """A place: one that a counter says is checked for all turns at once, another one once."""
        operand, extent = found[node.inputs[0]], size_of(node.attributes["extent"])
        if node.attributes["masked"]:
            raise _NotCounted
        if isinstance(operand, _Counter):
            self.places.setdefault(operand.slot, []).append((operand.shift, extent))
            found[node.output] = operand
            return
        if self.when[operand] != _BEFORE:
            raise _NotCounted
        certain = {**node.attributes, "certain": True}
        found[node.output] = place = self._add(node, POSITION, [operand], certain)
        self.checked.append((place, extent))

    def _scalar(self, node: Node, found: dict[Value, _Known]) -> None:
        if node.op.name in ("div", "mod") and node.output.type.dtype.is_integer:
            raise _NotCounted
        found[node.output] = _shifted(node, found) or self._add(
            node, node.op, [self._value(value, found) for value in node.inputs], node.attributes
        )

    def _value(self, value: Value, found: dict[Value, _Known]) -> Value:
        """What stands for a scalar of the turn; a counter as the number that it is."""
        known = found[value]
        if not isinstance(known, _Counter):
            return known
        if known not in self.indices:
            index = Node(INDEX, (), {"value": known.size, "dtype": I64}, [TensorType(I64, ())])
            self.indices[known] = self._place(index, _EACH)
        return self.indices[known]

    def _add(self, node: Node, op: object, inputs: list[Value], attributes: Mapping[str, object]) -> Value:
        """A node of the `for` that stands for one of the loop's; what it gives, or, for a store, what it takes."""
        new = Node(op, inputs, dict(attributes), [v.type for v in node.outputs], node.location)  # type: ignore[arg-type]
        self.copied[node] = new
        moves = any(_TURN in size_names(index) for index in attributes.get("at", ()))  # type: ignore[attr-defined]
        when = _EACH if moves or op is STORE else max((self.when.get(value, _BEFORE) for value in inputs), default=0)
        if op is LOAD and inputs[0].type.dims:
            when = max(when, _ONCE)
        if when != _BEFORE:
            return self._place(new, when)
        key = (op, tuple(inputs), tuple((name, repr(value)) for name, value in attributes.items()), new.output.type)
        if key not in self.alike:
            self.alike[key] = self._place(new, when)
        return self.alike[key]

    def _place(self, node: Node, when: int) -> Value:
        self.nodes[when].append(node)
        self.when.update(dict.fromkeys(node.outputs, when))
        return node.outputs[0] if node.outputs else node.inputs[1]

    # -- what it needs ------------------------------------------------------------------------------------------------
    def _carry(self, node: Node, body: Region) -> None:
        """At the end of a turn its numbers are counted on by one, and nothing else goes to the next but arrays."""
        end = dict(self.known)
        for copy in self.plan.copies.get(body, ()):
            if copy.type.dims:
                raise _NotCounted
            end[copy.target] = self.known.get(copy.source, _Counter(copy.source, 0))
        slots = {self.plan.slots[value]: value.type for value in node.outputs[: carries_of(node)]}
        read = {known.slot for known in (*self.known.values(), *end.values()) if isinstance(known, _Counter)}
        self.steps: dict[int, int] = {}
        for slot in {slot for slot, type in slots.items() if not type.dims} | read | self.places.keys():
            known = end.get(slot, _Counter(slot, 0))
            if not isinstance(known, _Counter) or known.slot != slot or known.shift not in (0, 1):
                raise _NotCounted
            self.steps[slot] = known.shift
        used = {slot for slot in self.steps if any(_first(slot) in names for names in self._names())}
        if any(self.steps[slot] != 1 or slot not in self.places for slot in used):
            raise _NotCounted

    def _names(self) -> Iterator[frozenset[str]]:
        """The names in the index expressions of the `for`."""
        for node in self.nodes[_EACH]:
            for size in (*node.attributes.get("at", ()), node.attributes.get("value", 0)):  # type: ignore[misc]
                yield size_names(size)

    def _test(self, condition: Region) -> tuple[int, Value]:
        """The counter that is compared with what the turns do not change, and that."""
        if len(condition.nodes) != 1 or condition.nodes[0] not in self.control.inlined:
            raise _NotCounted
        (kernel,) = condition.nodes
        nodes = kernel.regions[0].nodes
        tests = [node for node in nodes if node.op.name == "lt"]
        if len(tests) != 1 or tests[0].inputs[0].type.dtype is not I64:
            raise _NotCounted
        slots = [self.plan.slots[value] for value in (*kernel.inputs, *kernel.outputs)]
        table, known, self.known = dict(zip(kernel.regions[0].inputs, slots, strict=True)), self.known, {}
        found: dict[Value, _Known] = {}
        for node in nodes:
            if node.op is LOAD and not node.inputs[0].type.dims:
                found[node.output] = self._number(table[node.inputs[0]], node)
            elif node.op.name == "const":
                self._scalar(node, found)
            elif node.op is not STORE and node is not tests[0]:
                raise _NotCounted
        self.known = known
        counter, end = (found[value] for value in tests[0].inputs)
        if not isinstance(counter, _Counter) or isinstance(end, _Counter):
            raise _NotCounted
        if self.steps.get(counter.slot) != 1 or counter.slot not in self.places:
            raise _NotCounted
        return counter.slot, end

    def _look_at_memory(self) -> None:
        """Stores go to elements side by side; what is read of the same array is known to be elsewhere, or asked."""
        self.apart: list[tuple[Node, Node]] = []
        if not self.stores or any(_slope(store) != 1 for store in self.stores.values()):
            raise _NotCounted
        own = {self.buffers[slot]: store for slot, store in self.stores.items()}
        for load in self.loads:
            store, slope = own.get(load.inputs[0]), _slope(load)
            if slope not in (0, 1) and not (isinstance(slope, int) and slope > WIDEST_STRIDE):
                raise _NotCounted
            if store is None:
                continue
            between = _flat(load) - _flat(store) if load.inputs[1:] == store.inputs[2:] else None
            if slope == 1 and isinstance(between, int):
                if between < 0:
                    raise _NotCounted
            else:
                self.apart.append((load, store))

    def _loop(self, node: Node) -> Node:
        body = Region()
        body.nodes = self.nodes[_EACH]
        var, extent = (Dim.named(_TURN),), (Dim.named(_TURNS),)
        attributes = {"var": var, "extent": extent, "parallel": True, "sequential": False}
        return Node(FOR, (), attributes, (), node.location, (body,))  # type: ignore[arg-type]

    def _fused(self, body: Region) -> FusedProducts:
        """The products that are added where they are made are those of the loop's own kernels."""
        found = [fused_products(kernel.regions[0]).extended(self.copied) for kernel in body.nodes]
        side = {node: index for fused in found for node, index in fused.side.items()}
        return FusedProducts(side, frozenset().union(*(fused.products for fused in found)))

    # -- emission -----------------------------------------------------------------------------------------------------
    def emit(self) -> None:
        """The turns that can run side by side, if there are some."""
        f, slots = self.w.f, {buffer: slot for slot, buffer in self.buffers.items()}
        places = {slot: self.control.place(slot) for slot in self.buffers}
        w = inlined_writer(self.control.driver.program, self.w, self.region.nodes, slots, places, self.dependence)
        near, beside, after = f.label("near"), f.label("beside"), f.label("after")
        for node in self.nodes[_BEFORE]:
            w.emit_node(node)
        first = {slot: self._read(slot) for slot, step in self.steps.items() if step}
        names = {_first(slot): Uniform(name) for slot, name in first.items()}
        good, turns = self._places_are_good(w, first)
        f.branch(good, near, after)
        f.start(near)
        with w.bound({**names, _TURNS: Uniform(turns)}):
            f.branch(self._are_apart(w, turns), beside, after)
            f.start(beside)
            for node in (*self.nodes[_ONCE], self.region.nodes[-1]):
                w.emit_node(node)
        for slot, name in first.items():
            f.line(f"store i64 {f.let(f'add i64 {name}, {turns}')}, ptr {self.control.place(slot)}")
        f.jump(after)
        f.start(after)

    def _read(self, slot: int) -> str:
        return self.w.f.let(f"load i64, ptr {self.control.place(slot)}")

    def _places_are_good(self, w: Writer, first: Mapping[int, str]) -> tuple[str, str]:
        """Whether there are some turns that stay within all arrays, and how many."""
        f, turns = self.w.f, ""
        good = [f.let(f"icmp ult i64 {w.register(place).name}, {uniform(w, extent)}") for place, extent in self.checked]
        for slot in (self.counter, *(slot for slot in self.places if slot != self.counter and self.steps[slot])):
            high = w.register(self.end).name if slot == self.counter else ""
            for shift, extent in dict.fromkeys(self.places[slot]):
                limit = uniform(w, extent - shift)
                high = least(w, high, limit) if high else limit
            low = -min(shift for shift, _ in self.places[slot])
            good.append(f.let(f"icmp sge i64 {first[slot]}, {low}"))
            good.append(f.let(f"icmp slt i64 {first[slot]}, {high}"))
            left = f.let(f"sub i64 {high}, {first[slot]}")
            turns = least(w, turns, left) if turns else left
        total = f.let(f"icmp sge i64 {turns}, {_FEWEST}")
        for each in good:
            total = f.let(f"and i1 {total}, {each}")
        return total, turns

    def _are_apart(self, w: Writer, turns: str) -> str:
        """Whether what all turns read of an array that they write is before or after what they write."""
        f, total, last = self.w.f, "true", Dim.named(_TURNS) - 1
        for load, store in self.apart:
            begins, ends = [], []
            for node, rest in ((load, load.inputs[1:]), (store, store.inputs[2:])):
                renamed = {f"_{number}": Dim.named(w.position_name(value)) for number, value in enumerate(rest)}
                flat = substitute(_flat(node), renamed)
                begins.append(uniform(w, substitute(flat, {_TURN: 0})))
                ends.append(uniform(w, substitute(flat, {_TURN: last})))
            before = f.let(f"icmp slt i64 {ends[0]}, {begins[1]}")
            behind = f.let(f"icmp sgt i64 {begins[0]}, {ends[1]}")
            total = f.let(f"and i1 {total}, {f.let(f'or i1 {before}, {behind}')}")
        return total


def _shifted(node: Node, found: Mapping[Value, _Known]) -> _Counter | None:
    """A counter plus or minus a number, or as the integer that it is; None for other arithmetic."""
    counters = [known for value in node.inputs if isinstance(known := found[value], _Counter)]
    numbers = [_literal(value) for value in node.inputs if not isinstance(found[value], _Counter)]
    if len(counters) != 1 or node.output.type.dtype is not I64:
        return None
    (counter,) = counters
    if node.op.name == "cast" and not numbers:
        return counter
    if len(numbers) != 1 or numbers[0] is None or abs(numbers[0]) > _FARTHEST:
        return None
    if node.op.name == "add":
        return _Counter(counter.slot, counter.shift + numbers[0])
    if node.op.name == "sub" and isinstance(found[node.inputs[0]], _Counter):
        return _Counter(counter.slot, counter.shift - numbers[0])
    return None


def _literal(value: Value) -> int | None:
    number = value.node.attributes["value"] if value.node is not None and value.node.op.name == "const" else None
    return number if isinstance(number, int) else None


def _flat(node: Node) -> Size:
    """The place of a load or store in its array."""
    return address(node.inputs[0].type, node.attributes["at"])  # type: ignore[arg-type]


def _slope(node: Node) -> Size | None:
    """How far apart neighbouring turns' elements stand."""
    flat = _flat(node)
    return flat.coefficient(_TURN) if isinstance(flat, Dim) else 0
