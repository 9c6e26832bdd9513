"""A turn of a loop that counts through arrays, as the body of a `for` (`emit_counted`).

Numbers of a turn are what they began as plus the turn's number, or scalars.  Of branches both are computed, and what
they give is chosen; what they put into arrays is stored at the end of the turn, under a mask where one branch puts
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from adjit.compiler.llvm.emit import is_idle
from adjit.compiler.llvm.emit_choice import WIDEST_STRIDE, Dependence, choose, loop_dtype
from adjit.compiler.llvm.emit_state import size_of
from adjit.compiler.llvm.fused import FusedProducts, fused_products
from adjit.compiler.loops.ir import FOR, INDEX, LOAD, POSITION, STORE, UPDATE, address
from adjit.ir.analysis import carries_of
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Region, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.shape import Dim, Size, size_names, substitute
from adjit.ir.types import BOOL, I64, TensorType

if TYPE_CHECKING:
    from adjit.compiler.llvm.control import Control

# Numbers beyond are no distances from a counter.
_FARTHEST = 1 << 32
TURN, TURNS = "turn'", "turns'"
# When a value of a turn is known: before places are checked, before the turns, or in each.
BEFORE, ONCE, EACH = range(3)


@frozen
class Counter:
    """What a table entry held when the loop began, plus the turn's number, plus `shift`."""

    slot: int
    shift: int

    @property
    def began(self) -> Size:
        """What it is in the first turn."""
        return Dim.named(first_name(self.slot)) + self.shift

    @property
    def size(self) -> Size:
        return self.began + Dim.named(TURN)


_Known = Counter | Value


@frozen
class _Stored:
    """What a turn puts into an array, at the place `at`, which `positions` tell; under a mask, where that holds."""

    at: tuple[Size, ...]
    positions: tuple[Value, ...]
    value: Value
    mask: Value | None = None

    def is_at(self, at: tuple[Size, ...], positions: tuple[Value, ...]) -> bool:
        return (self.at, self.positions) == (at, positions)


class NotCounted(Exception):
    """A loop's turns cannot run side by side."""


def first_name(slot: int) -> str:
    """The name of what a counter is when the loop begins."""
    return f"first'{slot}"


class Turn:
    """The body of a loop as that of a `for`.

    Errors: NotCounted where its turns depend on each other, or may fault other than by a place.
    """

    def __init__(self, control: Control, node: Node) -> None:
        self.control, self.plan, self.w = control, control.plan, control.w
        self.known: dict[int, _Known | None] = {}  # what the turn has put into entries of single numbers
        self.stored: dict[int, _Stored] = {}  # and into arrays: stores are made at its end
        self.buffers: dict[int, Value] = {}
        self.nodes: tuple[list[Node], list[Node], list[Node]] = ([], [], [])
        self.when: dict[Value, int] = {}
        self.copied: dict[Node, Node] = {}
        self.indices: dict[Counter, Value] = {}
        self.alike: dict[object, Value] = {}  # values that are known before the turns, each computed once
        self.places: dict[int, list[tuple[int, Size]]] = {}  # by counter: shifts, and the extents they stay within
        self.checked: list[tuple[Value, Size]] = []
        self.stores: dict[int, Node] = {}
        self.loads: list[Node] = []
        self.kernels: list[Node] = []
        condition, body = node.regions
        carries = node.outputs[: carries_of(node)]
        self.written = {self.plan.slots[value] for value in (*carries, *condition.outputs)}
        self.written.update(written_entries(control, body))
        self._run(body)
        self._carry(node, body)
        self.counter, self.end = self._test(condition)
        self._store()
        self._look_at_memory()
        self.region = Region()
        self.region.nodes = [*self.nodes[BEFORE], *self.nodes[ONCE], self._loop(node)]
        self.dependence = Dependence(self.region)
        self.dependence.fused = self._fused()
        native = self.w.native_lanes(loop_dtype(self.region.nodes[-1].regions[0]))
        if choose(self.region.nodes[-1], self.dependence, native).variable is None:
            raise NotCounted

    # -- what a turn does ---------------------------------------------------------------------------------------------
    def _run(self, region: Region) -> None:
        """The nodes of a turn, one after the other."""
        for node in region.nodes:
            if node.op.name == "cond":
                self._cond(node)
            elif node.op.name == "const":
                self.known[self.plan.slots[node.output]] = self._add(node, node.op, [], node.attributes)
            else:
                self._kernel(node)

    def _kernel(self, kernel: Node) -> None:
        """A kernel's statements, one after the other."""
        self.kernels.append(kernel)
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
                raise NotCounted

    def _cond(self, node: Node) -> None:
        """Both branches, and of each what holds where it would run."""
        condition = self._value(self._number(self.plan.slots[node.inputs[0]], node.inputs[0].type))
        known, stored, ends = self.known, self.stored, []
        for region in node.regions:
            self.known, self.stored = dict(known), dict(stored)
            self._run(region)
            copies = self.plan.copies.get(region, ())
            if any(copy.type.dims for copy in copies):
                raise NotCounted
            self.known.update({copy.target: self._number(copy.source, copy.type) for copy in copies})
            ends.append((self.known, self.stored))
        (yes, yes_stored), (no, no_stored) = ends
        self.known = {slot: self._either(condition, yes.get(slot), no.get(slot)) for slot in {**yes, **no}}
        self.stored = {}
        for slot in dict.fromkeys((*yes_stored, *no_stored)):
            self.stored[slot] = self._either_stored(condition, yes_stored.get(slot), no_stored.get(slot))

    def _either(self, condition: Value, yes: _Known | None, no: _Known | None) -> _Known | None:
        """A number that branches make; None where one of them does not, and nothing may read it."""
        if yes is None or no is None or yes == no:
            return yes if yes == no else None
        return self._made("where", condition, self._value(yes), self._value(no))

    def _either_stored(self, condition: Value, yes: _Stored | None, no: _Stored | None) -> _Stored:
        """What both branches, or one of them, put into an array."""
        if yes is None or no is None:
            one = yes or no
            assert one is not None
            mask = condition if no is None else self._made("not", condition)
            mask = mask if one.mask is None else self._made("and", mask, one.mask)
            return _Stored(one.at, one.positions, one.value, mask)
        if yes == no:
            return yes
        if not yes.is_at(no.at, no.positions):
            raise NotCounted
        value = self._made("where", condition, yes.value, no.value)
        if yes.mask is None and no.mask is None:
            return _Stored(yes.at, yes.positions, value)
        masks = (stored.mask or self._true() for stored in (yes, no))
        return _Stored(yes.at, yes.positions, value, self._made("where", condition, *masks))

    def _made(self, name: str, *inputs: Value) -> Value:
        node = Node(primitive_named(name), inputs, {}, [inputs[-1].type])
        return self._add(node, node.op, list(inputs), {})

    def _true(self) -> Value:
        node = Node(primitive_named("const"), (), {"value": True, "dtype": BOOL}, [TensorType(BOOL, ())])
        return self._add(node, node.op, [], node.attributes)

    def _access(self, node: Node, table: Mapping[Value, int], found: dict[Value, _Known]) -> None:
        slot, dims = table.get(node.inputs[0]), node.inputs[0].type.dims
        if slot is None or node.attributes["masked"] or (node.op is UPDATE and node.attributes["kind"] != "set"):
            raise NotCounted
        if dims:
            self._access_array(node, slot, found)
        elif node.op is LOAD:
            found[node.output] = self._number(slot, node.inputs[0].type)
        else:
            self.known[slot] = found[node.inputs[1]]

    def _number(self, slot: int, type: TensorType) -> _Known:
        """What a single number is where a turn reads it."""
        if slot in self.known or slot in self.written:
            known = self.known.get(slot, Counter(slot, 0) if type.dtype is I64 else None)
            if known is None:
                raise NotCounted
            return known
        node = Node(LOAD, (self._buffer(slot, type),), {"at": (), "masked": False}, [type])
        return self._add(node, LOAD, [*node.inputs], node.attributes)

    def _buffer(self, slot: int, type: TensorType) -> Value:
        buffer = self.buffers.setdefault(slot, Value(type))
        if buffer.type != type:
            raise NotCounted
        return buffer

    def _access_array(self, node: Node, slot: int, found: dict[Value, _Known]) -> None:
        """A load or store of an element, at the places that counters say."""
        buffer, rest = self._buffer(slot, node.inputs[0].type), node.inputs[1 if node.op is LOAD else 2 :]
        positions: list[Value] = []
        renamed: dict[str, Size] = {}
        for number, value in enumerate(rest):
            place = found[value]
            if isinstance(place, Counter):
                renamed[f"_{number}"] = place.size
            else:
                renamed[f"_{number}"] = Dim.named(f"_{len(positions)}")
                positions.append(place)
        at = tuple(substitute(index, renamed) for index in node.attributes["at"])  # type: ignore[union-attr, arg-type]
        stored = self.stored.get(slot)
        if node.op is not LOAD:
            if stored is not None and not stored.is_at(at, tuple(positions)):
                raise NotCounted
            self.stored[slot] = _Stored(at, tuple(positions), self._value(found[node.inputs[1]]))
            return
        again = stored is not None and stored.is_at(at, tuple(positions))
        if again and stored is not None and stored.mask is None:
            found[node.output] = stored.value
            return
        value = self._add(node, LOAD, [buffer, *positions], {"at": at, "masked": False})
        self.loads.append(self.copied[node])
        if again and stored is not None and stored.mask is not None:
            value = self._made("where", stored.mask, stored.value, value)
        found[node.output] = value

    def _store(self) -> None:
        """The stores of a turn."""
        for slot, stored in self.stored.items():
            masks = [stored.mask] if stored.mask is not None else []
            inputs = [self.buffers[slot], stored.value, *stored.positions, *masks]
            node = Node(STORE, inputs, {"at": stored.at, "masked": bool(masks)}, ())
            self._place(node, EACH)
            self.stores[slot] = node

    def _position(self, node: Node, found: dict[Value, _Known]) -> None:
        """A place: one that a counter says is checked for all turns at once, another one once."""
        operand, extent = found[node.inputs[0]], size_of(node.attributes["extent"])
        if node.attributes["masked"]:
            raise NotCounted
        if isinstance(operand, Counter):
            self.places.setdefault(operand.slot, []).append((operand.shift, extent))
            found[node.output] = operand
            return
        if self.when[operand] != BEFORE:
            raise NotCounted
        certain = {**node.attributes, "certain": True}
        found[node.output] = place = self._add(node, POSITION, [operand], certain)
        self.checked.append((place, extent))

    def _scalar(self, node: Node, found: dict[Value, _Known]) -> None:
        if node.op.name in ("div", "mod") and node.output.type.dtype.is_integer:
            raise NotCounted
        found[node.output] = shifted(node, found) or self._add(
            node, node.op, [self._value(found[value]) for value in node.inputs], node.attributes
        )

    def _value(self, known: _Known) -> Value:
        """What stands for a scalar of the turn; a counter as the number that it is."""
        if not isinstance(known, Counter):
            return known
        if known not in self.indices:
            index = Node(INDEX, (), {"value": known.size, "dtype": I64}, [TensorType(I64, ())])
            self.indices[known] = self._place(index, EACH)
        return self.indices[known]

    def _add(self, node: Node, op: object, inputs: list[Value], attributes: Mapping[str, object]) -> Value:
        """What a node of the `for` gives that stands for one of the loop's."""
        new = Node(op, inputs, dict(attributes), [v.type for v in node.outputs], node.location)  # type: ignore[arg-type]
        self.copied[node] = new
        moves = any(TURN in size_names(index) for index in attributes.get("at", ()))  # type: ignore[attr-defined]
        when = EACH if moves else max((self.when.get(value, BEFORE) for value in inputs), default=BEFORE)
        if op is LOAD and inputs[0].type.dims:
            when = max(when, ONCE)
        if when != BEFORE:
            return self._place(new, when)
        key = (op, tuple(inputs), tuple((name, repr(value)) for name, value in attributes.items()), new.output.type)
        if key not in self.alike:
            self.alike[key] = self._place(new, when)
        return self.alike[key]

    def _place(self, node: Node, when: int) -> Value:
        self.nodes[when].append(node)
        self.when.update(dict.fromkeys(node.outputs, when))
        return node.outputs[0] if node.outputs else node.inputs[0]

    # -- what it needs ------------------------------------------------------------------------------------------------
    def _carry(self, node: Node, body: Region) -> None:
        """At the end of a turn its numbers are counted on by one, and nothing else goes to the next but arrays."""
        end = dict(self.known)
        for copy in self.plan.copies.get(body, ()):
            if copy.type.dims:
                raise NotCounted
            end[copy.target] = self.known.get(copy.source, Counter(copy.source, 0))
        slots = {self.plan.slots[value]: value.type for value in node.outputs[: carries_of(node)]}
        read = {known.slot for known in (*self.known.values(), *end.values()) if isinstance(known, Counter)}
        self.steps: dict[int, int] = {}
        for slot in {slot for slot, type in slots.items() if not type.dims} | read | self.places.keys():
            known = end.get(slot, Counter(slot, 0))
            shifts = (1,) if slot in self.places else (0, 1)  # a place that stands still is not asked before the turns
            if not isinstance(known, Counter) or known.slot != slot or known.shift not in shifts:
                raise NotCounted
            self.steps[slot] = known.shift
        used = {slot for slot in self.steps if any(first_name(slot) in names for names in self._names())}
        if not used <= self.places.keys():
            raise NotCounted

    def _names(self) -> Iterator[frozenset[str]]:
        """The names in the index expressions of the `for`."""
        for node in self.nodes[EACH]:
            for size in (*node.attributes.get("at", ()), node.attributes.get("value", 0)):  # type: ignore[misc]
                yield size_names(size)

    def _test(self, condition: Region) -> tuple[int, Value]:
        """The counter that is compared with what the turns do not change, and that."""
        if len(condition.nodes) != 1 or condition.nodes[0] not in self.control.inlined:
            raise NotCounted
        (kernel,) = condition.nodes
        nodes = kernel.regions[0].nodes
        tests = [node for node in nodes if node.op.name == "lt"]
        if len(tests) != 1 or tests[0].inputs[0].type.dtype is not I64:
            raise NotCounted
        slots = [self.plan.slots[value] for value in (*kernel.inputs, *kernel.outputs)]
        table, known, self.known = dict(zip(kernel.regions[0].inputs, slots, strict=True)), self.known, {}
        found: dict[Value, _Known] = {}
        for node in nodes:
            if node.op is LOAD and not node.inputs[0].type.dims:
                found[node.output] = self._number(table[node.inputs[0]], node.inputs[0].type)
            elif node.op.name == "const":
                self._scalar(node, found)
            elif node.op is not STORE and node is not tests[0]:
                raise NotCounted
        self.known = known
        counter, end = (found[value] for value in tests[0].inputs)
        if not isinstance(counter, Counter) or isinstance(end, Counter):
            raise NotCounted
        if counter.slot not in self.places:
            raise NotCounted
        return counter.slot, end

    def _look_at_memory(self) -> None:
        """Stores go to elements side by side; what is read of the same array is known to be elsewhere, or asked."""
        self.apart: list[tuple[Node, Node]] = []
        if not self.stores or any(_slope(store) != 1 for store in self.stores.values()):
            raise NotCounted
        own = {self.buffers[slot]: store for slot, store in self.stores.items()}
        for load in self.loads:
            store, slope = own.get(load.inputs[0]), _slope(load)
            if slope not in (0, 1) and not (isinstance(slope, int) and slope > WIDEST_STRIDE):
                raise NotCounted
            if store is None:
                continue
            between = flat_place(load) - flat_place(store) if load.inputs[1:] == positions_of(store) else None
            if slope == 1 and isinstance(between, int):
                if between < 0:
                    raise NotCounted
            elif slope == 0 and store.attributes["masked"]:
                raise NotCounted  # as in searches for shorter ways: most often it is among what is written
            else:
                self.apart.append((load, store))

    def _loop(self, node: Node) -> Node:
        body = Region()
        body.nodes = self.nodes[EACH]
        var, extent = (Dim.named(TURN),), (Dim.named(TURNS),)
        attributes = {"var": var, "extent": extent, "parallel": True, "sequential": False}
        return Node(FOR, (), attributes, (), node.location, (body,))  # type: ignore[arg-type]

    def _fused(self) -> FusedProducts:
        """The products that are added where they are made are those of the loop's own kernels."""
        found = [fused_products(kernel.regions[0]).extended(self.copied) for kernel in self.kernels]
        side = {node: index for fused in found for node, index in fused.side.items()}
        return FusedProducts(side, frozenset().union(*(fused.products for fused in found)))


def written_entries(control: Control, region: Region) -> Iterator[int]:
    """The entries that a turn writes.

    Errors: NotCounted if it is made of other things than kernels in this function and branches.
    """
    if region in control.plan.exchanges:
        raise NotCounted
    for node in region.nodes:
        if node not in control.inlined and node.op.name not in ("cond", "const"):
            raise NotCounted
        yield from (control.plan.slots[value] for value in node.outputs)
        if node.op.name == "cond":
            for inner in node.regions:
                yield from written_entries(control, inner)
    yield from (copy.target for copy in control.plan.copies.get(region, ()))


def shifted(node: Node, found: Mapping[Value, object]) -> Counter | None:
    """A counter plus or minus a number, or as the integer that it is; None for other arithmetic."""
    counters = [known for value in node.inputs if isinstance(known := found[value], Counter)]
    numbers = [number_of(value) for value in node.inputs if not isinstance(found[value], Counter)]
    if len(counters) != 1 or node.output.type.dtype is not I64:
        return None
    (counter,) = counters
    if node.op.name == "cast" and not numbers:
        return counter
    if len(numbers) != 1 or numbers[0] is None or abs(numbers[0]) > _FARTHEST:
        return None
    if node.op.name == "add":
        return Counter(counter.slot, counter.shift + numbers[0])
    if node.op.name == "sub" and isinstance(found[node.inputs[0]], Counter):
        return Counter(counter.slot, counter.shift - numbers[0])
    return None


def number_of(value: Value) -> int | None:
    """The integer that a scalar of a kernel is known to be."""
    number = value.node.attributes["value"] if value.node is not None and value.node.op.name == "const" else None
    return number if isinstance(number, int) else None


def flat_place(node: Node) -> Size:
    """The place of a load or store in its array."""
    return address(node.inputs[0].type, node.attributes["at"])  # type: ignore[arg-type]


def positions_of(store: Node) -> tuple[Value, ...]:
    """The positions that a store takes, without its mask."""
    return store.inputs[2 : len(store.inputs) - bool(store.attributes["masked"])]


def _slope(node: Node) -> Size | None:
    """How far apart neighbouring turns' elements stand."""
    flat = flat_place(node)
    return flat.coefficient(TURN) if isinstance(flat, Dim) else 0
