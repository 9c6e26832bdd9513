"""A turn of a loop whose places are numbers as the turn finds them, give or take a constant (`emit_certain`).

One comparison of such a number says that all these places are inside their arrays.  Elements at places that no turn
moves, and elements that the turn before has written, need not be read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from adjit.compiler.llvm.counted_turn import (
    Counter,
    NotCounted,
    first_name,
    flat_place,
    number_of,
    shifted,
    written_entries,
)
from adjit.compiler.llvm.emit import is_idle, used_buffers
from adjit.compiler.llvm.emit_choice import Dependence, cost
from adjit.compiler.llvm.emit_state import size_of
from adjit.compiler.llvm.fused import fused_products
from adjit.compiler.loops.ir import LOAD, POSITION, STORE, UPDATE
from adjit.ir.frozen import frozen, record
from adjit.ir.graph import Attribute, Node, Region, Value
from adjit.ir.shape import Size, size_names, substitute
from adjit.ir.types import I64, TensorType

if TYPE_CHECKING:
    from adjit.compiler.llvm.control import Control

# How many turns back elements are kept, and how many are.
_FARTHEST_BACK, _MOST_ELEMENTS = 2, 8
# Operations of a turn that is written twice.
_LARGEST = 500
# Of loads and stores of a single number.
_ALONE: dict[str, Attribute] = {"at": (), "masked": False}


@frozen
class _Wrapped:
    """`where(i < 0, i + n, i)`, which is the counter i where that is not negative."""

    counter: Counter


_Known: TypeAlias = "Counter | _Wrapped | None"


@record
class _Access:
    """A load or store of an element, at the flat `place` if that is known; `sure` if each turn makes it."""

    node: Node
    slot: int
    place: Size | None
    sure: bool


@frozen
class Element:
    """An element that is kept while turns run: what stands at `place` of an array when they begin.

    At the end of a turn it becomes what the element of entry `before` is, if there is such: what stands a turn further
    back.  One that is `written` goes back to its array after the last turn.
    """

    slot: int
    type: TensorType
    place: Size
    entry: int
    before: int | None = None
    written: bool = False


@frozen
class CertainKernel:
    """A kernel's statements where its places are certain, and the entries of its buffers."""

    nodes: list[Node]
    entries: dict[Value, int]
    dependence: Dependence


@frozen
class Below:
    """Whether a counter is below what stands in `entry`, which turns do not change, or below `number`."""

    counter: int
    entry: int | None
    number: int


class CertainTurn:
    """What the turns of a `while` do where the places that they count are inside.

    Errors: NotCounted where nothing is gained by knowing that, or a turn does more than kernels and branches.
    """

    def __init__(self, control: Control, node: Node) -> None:
        self.control, self.plan = control, control.plan
        condition, body = node.regions
        self.known: dict[int, _Known] = {}  # what the turn has put into entries of single numbers
        self.places: dict[int, list[tuple[int, Size]]] = {}  # by counter: shifts, and the extents they stay within
        self.operands: dict[Node, Value] = {}  # of positions that are certain
        self.accesses: list[_Access] = []
        self.kernels: list[Node] = []
        self.gains = self.faults = False
        self.written = {self.plan.slots[value] for value in (*node.outputs, *condition.outputs)}
        self.written.update(written_entries(control, condition), written_entries(control, body))
        self._run(condition)
        self.test = self._test(condition)
        self._run(body)
        self._end(body)
        self.elements: list[Element] = []
        self.kept: dict[Node, Element] = {}  # by the load or store that need not go to memory
        self.noted: dict[Node, Element] = {}  # by the store of which the next turn knows the value
        self._keep()
        size = sum(cost(kernel.regions[0]) for kernel in self.kernels)
        if not self.places or not (self.gains or self.elements) or size > _LARGEST:
            raise NotCounted
        self.copies = {kernel: self._copy(kernel) for kernel in self.kernels}

    # -- what a turn does ---------------------------------------------------------------------------------------------
    def _run(self, region: Region, *, sure: bool = True) -> None:
        """The nodes of a turn, one after the other."""
        for node in region.nodes:
            if node.op.name == "cond":
                self._cond(node)
            elif node.op.name == "const":
                self.known[self.plan.slots[node.output]] = None
            else:
                self._kernel(node, sure)

    def _cond(self, node: Node) -> None:
        """Both branches, and what is known after either."""
        before, ends = self.known, []
        for region in node.regions:
            self.known = dict(before)
            self._run(region, sure=False)
            self._end(region)
            ends.append(self.known)
        yes, no = ends
        self.known = {slot: yes.get(slot) if yes.get(slot) == no.get(slot) else None for slot in {**yes, **no}}

    def _end(self, region: Region) -> None:
        """The copies at the end of a region."""
        for copy in self.plan.copies.get(region, ()):
            if copy.type.dims:
                raise NotCounted
            self.known[copy.target] = self._number(copy.source, copy.type)

    def _number(self, slot: int, type: TensorType) -> _Known:
        return self.known.get(slot, Counter(slot, 0) if type == TensorType(I64, ()) else None)

    def _kernel(self, kernel: Node, sure: bool) -> None:
        """A kernel's statements, one after the other."""
        self.kernels.append(kernel)
        (region,) = kernel.regions
        table, found = self._table(kernel), dict[Value, _Known]()
        for node in region.nodes:
            if node.op in (LOAD, STORE, UPDATE):
                self._access(node, table, found, sure)
            elif node.op is POSITION:
                found[node.output] = self._position(node, found)
            elif node.op.family == "scalar" or node.op.name == "const":
                found[node.output] = _computed(node, found)
            elif not is_idle(node, table):
                raise NotCounted

    def _table(self, kernel: Node) -> dict[Value, int]:
        slots = [self.plan.slots[value] for value in (*kernel.inputs, *kernel.outputs)]
        return dict(zip(kernel.regions[0].inputs, slots, strict=True))

    def _access(self, node: Node, table: Mapping[Value, int], found: dict[Value, _Known], sure: bool) -> None:
        slot, type = table.get(node.inputs[0]), node.inputs[0].type
        if slot is None:
            raise NotCounted
        if node.op is LOAD:
            found[node.output] = None
        if type.dims:
            self.accesses.append(_Access(node, slot, self._place(node, found), sure))
        elif node.op is LOAD:
            found[node.output] = self._number(slot, type)
        else:
            plain = len(node.inputs) == 2 and node.attributes.get("kind", "set") == "set"
            self.known[slot] = found[node.inputs[1]] if plain else None

    def _place(self, node: Node, found: Mapping[Value, _Known]) -> Size | None:
        """The flat place of an element, of what counters are when the turn begins."""
        if node.attributes["masked"] or node.attributes.get("kind", "set") != "set":
            return None
        renamed: dict[str, Size] = {}
        for number, value in enumerate(node.inputs[1 if node.op is LOAD else 2 :]):
            place = found[value]
            if not isinstance(place, Counter):
                return None
            renamed[f"_{number}"] = place.began
        return substitute(flat_place(node), renamed)

    def _position(self, node: Node, found: Mapping[Value, _Known]) -> _Known:
        """A place, which is certain where a counter says it."""
        (operand, *masks) = node.inputs
        place, certain = found[operand], bool(node.attributes["certain"])
        if masks or place is None:
            self.faults = self.faults or not certain
            return None
        self.operands[node] = operand
        if isinstance(place, _Wrapped):
            place, self.operands[node] = place.counter, _unwrapped(operand)
        self.places.setdefault(place.slot, []).append((place.shift, size_of(node.attributes["extent"])))
        self.gains = self.gains or not certain
        return place

    def _test(self, condition: Region) -> Below | None:
        """The test by which the turns go on, if it is that of a counter alone."""
        kernel = condition.nodes[0] if len(condition.nodes) == 1 else None
        if kernel is None or kernel not in self.kernels:
            return None
        table, nodes = self._table(kernel), kernel.regions[0].nodes
        tests = [node for node in nodes if node.op.name == "lt"]
        loads = {node.output: table[node.inputs[0]] for node in nodes if node.op is LOAD}
        plain = all(node.op.name == "const" or node.op in (LOAD, STORE) or node in tests for node in nodes)
        if not plain or len(tests) != 1 or any(access.slot in loads.values() for access in self.accesses):
            return None
        counter, end = tests[0].inputs
        number, entry = number_of(end), loads.get(end)
        unmoved = number is not None if entry is None else entry not in self.written
        if counter not in loads or counter.type.dtype is not I64 or not unmoved:
            return None
        return Below(loads[counter], entry, number or 0)

    # -- elements that are kept ---------------------------------------------------------------------------------------
    def _keep(self) -> None:
        """Choose the elements that turns keep."""
        arrays: dict[int, list[_Access]] = {}
        for access in self.accesses:
            arrays.setdefault(access.slot, []).append(access)
        for slot, accesses in arrays.items():
            stores = [access for access in accesses if access.node.op is not LOAD]
            if not stores:
                self._keep_read(slot, accesses)
            elif len({access.place for access in accesses}) == 1 and self._stands(accesses[0].place):
                if not self.faults:
                    self._keep_all(slot, accesses)
            elif len(stores) == 1 and stores[0].sure:
                self._keep_written(slot, stores[0], accesses)

    def _stands(self, place: Size | None) -> bool:
        """Whether no turn moves a place."""
        moving = {first_name(slot) for slot in self.written}
        return place is not None and not moving & size_names(place)

    def _keep_read(self, slot: int, accesses: list[_Access]) -> None:
        """Elements of an array that is only read, where they stand still."""
        for place in dict.fromkeys(access.place for access in accesses):
            if place is not None and self._stands(place):
                self._keep_all(slot, [access for access in accesses if access.place == place])

    def _keep_all(self, slot: int, accesses: list[_Access]) -> None:
        place, written = accesses[0].place, any(access.node.op is not LOAD for access in accesses)
        assert place is not None
        if len(self.elements) < _MOST_ELEMENTS:
            element = self._element(slot, accesses[0].node, place, written=written)
            self.kept.update({access.node: element for access in accesses})

    def _keep_written(self, slot: int, store: _Access, accesses: list[_Access]) -> None:
        """What a turn writes, and what some turns before wrote, if it reads that."""
        step, place = self._step(store.place), store.place
        if step is None or place is None:
            return
        loads = [access for access in accesses if access.node.op is LOAD]
        read = {turns for turns in range(1, _FARTHEST_BACK + 1) for load in loads if load.place == place - turns * step}
        if not read or len(self.elements) + max(read) >= _MOST_ELEMENTS:
            return
        self.noted[store.node] = element = self._element(slot, store.node, place)
        for turns in range(1, max(read) + 1):
            element = self._element(slot, store.node, place - turns * step, before=element.entry)
            self.kept.update({load.node: element for load in loads if load.place == element.place})

    def _element(
        self, slot: int, node: Node, place: Size, *, before: int | None = None, written: bool = False
    ) -> Element:
        entry = -1 - len(self.elements)  # beyond those of the program's table
        self.elements.append(Element(slot, node.inputs[0].type, place, entry, before, written))
        return self.elements[-1]

    def _step(self, place: Size | None) -> int | None:
        """How far the next turn's place is."""
        if place is None:
            return None
        moved: dict[str, Size] = {}
        for slot in self.written:
            if first_name(slot) in size_names(place):
                known = self.known.get(slot, Counter(slot, 0))
                if not isinstance(known, Counter) or known.slot != slot:
                    return None
                moved[first_name(slot)] = known.began
        step = substitute(place, moved) - place
        return step if isinstance(step, int) and step else None

    # -- its kernels --------------------------------------------------------------------------------------------------
    def _copy(self, kernel: Node) -> CertainKernel:
        """A kernel that does not look whether places are inside, and keeps elements."""
        (region,), table, copy = kernel.regions, self._table(kernel), Region()
        buffers = {element: Value(TensorType(element.type.dtype, ())) for element in self.elements}
        copied: dict[Node, Node] = {}
        values: dict[Value, Value] = {}
        for node in region.nodes:
            if is_idle(node, table):
                continue
            inputs = [values.get(value, value) for value in node.inputs]
            op, attributes = node.op, node.attributes
            if node in self.operands:
                operand = self.operands[node]
                inputs, attributes = [values.get(operand, operand)], {**attributes, "certain": True}
            elif node in self.kept:
                op, attributes = LOAD if op is LOAD else STORE, _ALONE
                inputs = [buffers[self.kept[node]], *inputs[1 : 1 + (op is STORE)]]
            new = Node(op, inputs, attributes, [value.type for value in node.outputs], node.location)
            copied[node] = new
            values.update(zip(node.outputs, new.outputs, strict=True))
            copy.nodes.append(new)
            if node in self.noted:
                copy.nodes.append(Node(STORE, [buffers[self.noted[node]], inputs[1]], _ALONE, (), node.location))
        dependence = Dependence(copy)
        dependence.fused = fused_products(region).extended(copied)
        entries = {**table, **{value: element.entry for element, value in buffers.items()}}
        return CertainKernel(copy.nodes, used_buffers(copy.nodes, entries), dependence)


def _computed(node: Node, found: Mapping[Value, _Known]) -> _Known:
    """What is known of a scalar."""
    if node.op.name == "where" and isinstance(place := found[node.inputs[2]], Counter):
        test = node.inputs[0].node
        if test is not None and test.op.name == "lt" and found.get(test.inputs[0]) == place:
            return _Wrapped(place) if number_of(test.inputs[1]) == 0 else None
    return shifted(node, found)


def _unwrapped(value: Value) -> Value:
    """The i of `where(i < 0, i + n, i)`, if that is made here."""
    return value.node.inputs[2] if value.node is not None and value.node.op.name == "where" else value
