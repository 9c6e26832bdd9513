"""Control flow as one function: its small kernels stand in it, and small values on its stack, so in registers.

A turn of a loop over scalars or short vectors is then a few instructions: no call, no address from the table, no
memory.  Large kernels are called as elsewhere, and what they share with others stands in the program's table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adjit.compiler.llvm.emit import inline_kernel, inline_nodes, load_entry
from adjit.compiler.llvm.emit_certain import certain_turns
from adjit.compiler.llvm.emit_choice import cost, lanes_for
from adjit.compiler.llvm.emit_counted import emit_counted
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_state import StackPlace, Writer, memory_type
from adjit.compiler.llvm.sequences import NO_UNROLL, offset
from adjit.compiler.llvm.text import COUNTED, LOOPS, LLType, literal
from adjit.compiler.loops.ir import AS_COMPLEX, AS_REAL, BLOCKS, CONTRACT, KERNEL, MATRICES, SORT_ROWS, TRANSFORM
from adjit.compiler.memory import Copy, byte_count, may_fault
from adjit.ir.analysis import CONTROL, carries_of, invariants_of
from adjit.ir.graph import Node, Region
from adjit.ir.shape import Size
from adjit.ir.types import I64, TensorType

if TYPE_CHECKING:
    from adjit.compiler.llvm.certain_turn import CertainKernel, CertainTurn
    from adjit.compiler.llvm.driver import Driver, Step

# Larger values stand in the program's memory.
_LARGEST = 1024
# Elements of a row that a turn of a scan reads at its beginning.
_LARGEST_ROW = 8
# Operations in a kernel that stands in the function, and in all of them: LLVM's time is quadratic in a function's size.
_LARGEST_KERNEL, _LARGEST_FUNCTION = 400, 2000
# Lines of a turn, of which several are written out.
_SHORT = 80
# More steps in a row than these are a function of their own.
_LONGEST = 20
# Statements that have functions of their own.
_CALLED = (BLOCKS, CONTRACT, MATRICES, SORT_ROWS, TRANSFORM)


def emit_control(driver: Driver, node: Node, name: str) -> None:
    """`i1 @name(buffers, sizes)`, which runs a `cond`, `while` or `scan`, and returns whether the program must stop."""
    w = driver.open(name)
    w.f.attributes = LOOPS + w.f.attributes
    control = Control(driver, w, node)
    control.enter()
    control.run_node(node)
    control.leave()
    w.f.line("ret i1 false")
    w.f.finish()


class Control:
    """One function under construction: where the values of its regions stand."""

    def __init__(self, driver: Driver, w: Writer, node: Node) -> None:
        self.driver, self.plan, self.w, self.f = driver, driver.plan, w, w.f
        self.node = node
        self.inlined = self._choose_kernels()
        self.types = self._types()
        self.shared = self._shared()  # entries that called code reads or writes
        self.stack: dict[int, StackPlace] = {}
        self.addresses: dict[int, str] = {}
        self.pending: list[Step] = []
        self.certain: Mapping[Node, CertainKernel] = {}  # kernels as they are where their places are certain

    # -- what stands where --------------------------------------------------------------------------------------------
    def _choose_kernels(self) -> set[Node]:
        """The kernels that stand in the function."""
        driver, room, found = self.driver, _LARGEST_FUNCTION, set()
        if driver.checks is not None or driver.clock is not None:
            return set()
        for node in _nodes(self.node):
            if node.op is not KERNEL or any(n.op in _CALLED for n in node.regions[0].walk()):
                continue
            size = cost(node.regions[0])
            if size <= min(room, _LARGEST_KERNEL) and driver.is_serial(node):
                found.add(node)
                room -= size
        return found

    def _types(self) -> dict[int, TensorType]:
        """The type as which each table entry of the function's values is seen.

        Where values share an entry it is the last one's, a complex one's only where all are complex.
        """
        found: dict[int, TensorType] = {}
        values = [*self.node.inputs, *self.node.outputs]
        for node in (self.node, *_nodes(self.node)):
            values += [*node.inputs, *node.outputs]
            if node.op is not KERNEL:
                values += [value for region in node.regions for value in (*region.inputs, *region.outputs)]
        for value in values:
            if self.plan.slots[value] not in found or not value.dtype.is_complex:
                found[self.plan.slots[value]] = value.type
        places: tuple[Node | Region, ...] = (self.node, *_nodes(self.node), *_regions(self.node))
        for copy in (copy for place in places for copy in self.plan.copies.get(place, ())):
            found |= {copy.source: copy.type, copy.target: copy.type}
        return found

    def _shared(self) -> set[int]:
        """The entries that steps of the driver read: operands of called code, and those that change places."""
        found = {s for region in _regions(self.node) for pair in self.plan.exchanges.get(region, ()) for s in pair}
        for node in _nodes(self.node):
            emitted = node.op.name in (*CONTROL, "const", "as_real", "as_complex") or node in self.inlined
            if not emitted:
                found |= {self.plan.slots[value] for value in (*node.inputs, *node.outputs)}
        return found

    def _outer_stacks(self) -> set[int]:
        """The entries of what the outermost loop takes and gives row by row."""
        if self.node.op.name != "scan":
            return set()
        second, carries = _parts(self.node)
        values = (*self.node.inputs[second:], *self.node.outputs[carries:])
        return {self.plan.slots[value] for value in values}

    def enter(self) -> None:
        """Room on the stack for small values, and there what they are outside; the addresses of all others."""
        given = {self.plan.slots[value] for value in (*self.node.inputs, *self.node.outputs)}
        given |= {copy.source for copy in self.plan.copies.get(self.node, ())}
        elsewhere = self.shared | self.plan.pointed | self._outer_stacks()
        used = {self.plan.slots[v] for node in self._emitted() for v in (*node.inputs, *node.outputs)}
        exchanged = {s for pairs in self.plan.exchanges.values() for pair in pairs for s in pair}
        for slot, type in self.types.items():
            size = byte_count(type)
            if slot not in elsewhere and isinstance(size, int) and size <= _LARGEST and self.inlined:
                self.stack[slot] = self._room(type)
                if slot in given:
                    self._move(load_entry(self.f, "ptr", "%buffers", slot), self.stack[slot].pointer, type)
            elif slot in used and slot not in self.plan.pointed | exchanged:
                self.addresses[slot] = load_entry(self.f, "ptr", "%buffers", slot)
        self.w.stack = {place.pointer: place for place in self.stack.values()}

    def _emitted(self) -> list[Node]:
        """The nodes whose code stands in the function."""
        return [self.node, *(n for n in _nodes(self.node) if n in self.inlined or n.op.name in CONTROL)]

    def _room(self, type: TensorType) -> StackPlace:
        """Zeros on the stack, with room for a vector that begins at the last element."""
        scalar, size, whole = memory_type(LLType(type.dtype)), type.size, byte_count(type)
        assert isinstance(size, int) and isinstance(whole, int)
        count = (whole + 64) // scalar.dtype.itemsize
        pointer, bytes = self.w.room(scalar, count), count * scalar.dtype.itemsize
        self.f.clear(pointer, bytes)
        return StackPlace(pointer, size, count)

    def leave(self) -> None:
        """What the outermost node gives, to its place outside."""
        for slot in dict.fromkeys(self.plan.slots[value] for value in self.node.outputs):
            if slot in self.stack:
                self._move(self.stack[slot].pointer, load_entry(self.f, "ptr", "%buffers", slot), self.types[slot])

    def place(self, slot: int) -> str:
        """The address of what stands in a table entry."""
        if slot in self.stack:
            return self.stack[slot].pointer
        return self.addresses.get(slot) or load_entry(self.f, "ptr", "%buffers", slot)

    # -- moving -------------------------------------------------------------------------------------------------------
    def _move(self, source: str, target: str, type: TensorType) -> None:
        """Elements of a small value, as vectors that stay within it."""
        scalar, size = memory_type(LLType(type.dtype)), type.size
        assert isinstance(size, int)
        start = 0
        while start < size:
            lanes = min(self.w.native_lanes(scalar.dtype), 1 << (size - start).bit_length() - 1)
            self._move_vector(source, target, LLType(scalar.dtype, lanes), start)
            start += lanes

    def _move_vector(self, source: str, target: str, type: LLType, start: int) -> None:
        f, align = self.f, type.dtype.itemsize
        value = f.let(f"load {type.llvm}, ptr {offset(f, type.element, source, str(start))}, align {align}")
        f.line(f"store {type.llvm} {value}, ptr {offset(f, type.element, target, str(start))}, align {align}")

    def copy(self, copy: Copy) -> None:
        type = copy.type
        source, target = self.stack.get(copy.source), self.stack.get(copy.target)
        if source is None and target is None:
            size = uniform(self.w, type.size * type.dtype.itemsize)
            self.f.copy(self.place(copy.target), self.place(copy.source), size)
        elif source is None or target is None:
            self._move(self.place(copy.source), self.place(copy.target), type)
        else:  # whole vectors, as kernels write them
            dtype = memory_type(LLType(type.dtype)).dtype
            vector = LLType(dtype, lanes_for(source.size, self.w.native_lanes(dtype)))
            for start in range(0, source.size, vector.lanes):
                self._move_vector(source.pointer, target.pointer, vector, start)

    # -- running ------------------------------------------------------------------------------------------------------
    def run(self, region: Region) -> None:
        """The nodes of a region, and the copies and exchanges at its end."""
        for node in region.nodes:
            if node.op.name in CONTROL or node in self.inlined:
                self._flush()
                self.run_node(node)
            elif node.op.name == "const":
                self._flush()
                self._const(node)
            elif node.op not in (AS_REAL, AS_COMPLEX):
                self.pending += self.driver.node_steps(node)
        self._flush()
        for copy in self.plan.copies.get(region, ()):
            self.copy(copy)
        if region in self.plan.exchanges:
            self.driver.exchange(self.plan.exchanges[region])(self.w)

    def _flush(self) -> None:
        """Emit the steps that are waiting: code that knows the program's table alone."""
        steps, self.pending = self.pending, []
        if len(steps) > _LONGEST:
            steps = [self.driver.call_step(steps)]
        for step in steps:
            with self.w.scope():
                step(self.w)

    def run_node(self, node: Node) -> None:
        """A kernel that stands here, or control flow."""
        with self.f.at(node.location), self.w.scope():
            if node.op is KERNEL:
                self._kernel(node)
                return
            for copy in self.plan.copies.get(node, ()):
                if node is not self.node:
                    self.copy(copy)
            with self._carries_on_stack(node), self._fixed_places(node):
                {"cond": self._cond, "while": self._while, "scan": self._scan}[node.op.name](node)

    @contextmanager
    def _fixed_places(self, node: Node) -> Iterator[None]:
        """What only loops around an inner one exchange stands at one address while that runs: LLVM cannot know it."""
        found = {}
        if node is not self.node and node.op.name != "cond":
            inside = {node, *_nodes(node)}
            moved = {s for region in _regions(node) for pair in self.plan.exchanges.get(region, ()) for s in pair}
            used = {self.plan.slots[v] for n in self._emitted() if n in inside for v in (*n.inputs, *n.outputs)}
            known = {*self.stack, *self.addresses} | self.plan.pointed | moved
            found = {slot: load_entry(self.f, "ptr", "%buffers", slot) for slot in sorted(used - known)}
        self.addresses |= found
        yield
        for slot in found:
            del self.addresses[slot]

    @contextmanager
    def _carries_on_stack(self, node: Node) -> Iterator[None]:
        """Small carries of an inner loop that stand in rows of the outer one are on the stack while it runs."""
        count = 0 if node is self.node or node.op.name == "cond" else carries_of(node)
        found = {}
        for slot in dict.fromkeys(self.plan.slots[value] for value in node.outputs[:count]):
            size = byte_count(self.types[slot])
            has_room = slot not in self.stack and slot not in self.shared
            if slot in self.addresses and has_room and isinstance(size, int) and size <= _LARGEST:
                found[slot] = self._room(self.types[slot])
                self._move(self.addresses[slot], found[slot].pointer, self.types[slot])
        self._put_on_stack(found)
        yield
        for slot, place in found.items():
            del self.stack[slot]
            self._move(place.pointer, self.addresses[slot], self.types[slot])

    def _kernel(self, node: Node) -> None:
        if (certain := self.certain.get(node)) is not None:
            places = {slot: self.place(slot) for slot in certain.entries.values()}
            inline_nodes(self.driver.program, self.w, certain.nodes, certain.entries, places, certain.dependence)
            return
        slots = [self.plan.slots[value] for value in (*node.inputs, *node.outputs)]
        places = {slot: self.place(slot) for slot in slots}
        inline_kernel(self.driver.program, self.w, node, slots, places)

    @contextmanager
    def certain_kernels(self, turn: CertainTurn) -> Iterator[None]:
        """Code for turns whose places are certain, with the elements that they keep on the stack."""
        kept = {element.entry: self._room(TensorType(element.type.dtype, ())) for element in turn.elements}
        self._put_on_stack(kept)
        self.certain = turn.copies
        yield
        self.certain = {}
        for entry in kept:
            del self.stack[entry]

    def _const(self, node: Node) -> None:
        dtype, value = node.output.type.dtype, node.attributes["value"]
        assert isinstance(value, (int, float))
        type = memory_type(LLType(dtype))
        self.f.line(f"store {type.llvm} {literal(type.dtype, value)}, ptr {self.place(self.plan.slots[node.output])}")

    def predicate(self, slot: int) -> str:
        byte = self.f.let(f"load i8, ptr {self.place(slot)}")
        return self.f.let(f"icmp ne i8 {byte}, 0")

    def _stop_on_fault(self, *regions: Region) -> None:
        """Leave the function where code that these regions call has met a fault."""
        if any(map(self._calls_what_may_fault, regions)) or self.driver.checks is not None:
            self.driver.stop_on_fault(self.w)

    def _calls_what_may_fault(self, region: Region) -> bool:
        """Whether a fault in a region does not end this function by itself, as in kernels that stand here and loops."""
        return any(
            any(map(self._calls_what_may_fault, node.regions)) if node.op.name == "cond"
            else node.op.name not in CONTROL and node not in self.inlined and may_fault(node)
            for node in region.nodes
        )  # fmt: skip

    def _cond(self, node: Node) -> None:
        f = self.f
        yes, no, after = f.label("true"), f.label("false"), f.label("after")
        f.branch(self.predicate(self.plan.slots[node.inputs[0]]), yes, no)
        for label, region in zip((yes, no), node.regions, strict=True):
            f.start(label)
            with self.w.scope():
                self.run(region)
            f.jump(after)
        f.start(after)

    def _while(self, node: Node) -> None:
        f, (condition, body) = self.f, node.regions
        head, inside, after = f.label("while"), f.label("body"), f.label("after")
        emit_counted(self, node)
        turns = certain_turns(self, node)
        f.jump(head)
        f.start(head)
        if turns is not None:
            turns.emit(head, after)
        with self.w.scope():
            self.run(condition)
            self._stop_on_fault(condition, body)
            f.branch(self.predicate(self.plan.slots[condition.outputs[0]]), inside, after)
        f.start(inside)
        with self.w.scope():
            self.run(body)
        f.jump(head)
        f.start(after)

    def _scan(self, node: Node) -> None:
        f, w, (body,) = self.f, self.w, node.regions
        length: Size = node.attributes["length"]  # type: ignore[assignment]
        turn, end = w.slot(LLType(I64)), uniform(w, length)
        w.write(turn, "0")
        head, inside, after = f.label("scan"), f.label("body"), f.label("after")
        before = len(f.lines) + f.inlined
        f.jump(head)
        f.start(head)
        t = w.read(turn)
        f.branch(f.let(f"icmp slt i64 {t}, {end}"), inside, after)
        f.start(inside)
        with w.scope(), self._at_rows(node, t if not node.attributes["reverse"] else self._back_from(end, t)):
            self.run(body)
            self._stop_on_fault(body)
        w.write(turn, f.let(f"add nsw i64 {t}, 1"))
        short = len(f.lines) + f.inlined - before <= _SHORT
        for line in COUNTED if short else NO_UNROLL:
            w.module.declare(line)
        f.line(f"br label %{head}, !llvm.loop !{773 if short else 770}")
        f.start(after)

    def _back_from(self, end: str, turn: str) -> str:
        return self.f.let(f"sub nsw i64 {self.f.let(f'sub nsw i64 {end}, 1')}, {turn}")

    @contextmanager
    def _at_rows(self, node: Node, at: str) -> Iterator[None]:
        """Code in which the slices of a scan stand for the rows `at` of its stacks.

        Short ones that are only read are read once: LLVM cannot know that what a turn writes is elsewhere.
        """
        (body,), (second, carries) = node.regions, _parts(node)
        rows = list(zip(body.inputs[second:], node.inputs[second:], strict=True))
        pairs = [(self.plan.slots[value], stack, value.type) for value, stack in rows]
        results = zip(body.outputs[carries:], node.outputs[carries:], strict=True)
        pairs += [(self.plan.slices[stack], stack, value.type) for value, stack in results]
        read = {self.plan.slots[value] for value, _ in rows}
        taken = {}
        for slot, stack, type in pairs:
            self.addresses[slot] = self._row(self.place(self.plan.slots[stack]), type, at)
            if slot in self.shared:
                self.driver.point(self.w, slot, self.addresses[slot])
            elif slot in read and isinstance(type.size, int) and 0 < type.size <= _LARGEST_ROW:
                taken[slot] = self._room(type)
                self._move(self.addresses[slot], taken[slot].pointer, type)
        self._put_on_stack(taken)
        yield
        for slot, _, _ in pairs:
            self.addresses.pop(slot, None)
            self.stack.pop(slot, None)

    def _put_on_stack(self, places: dict[int, StackPlace]) -> None:
        self.stack |= places
        self.w.stack = {place.pointer: place for place in self.stack.values()}

    def _row(self, stack: str, type: TensorType, at: str) -> str:
        size = uniform(self.w, type.size * type.dtype.itemsize)
        return offset(self.f, "i8", stack, self.f.let(f"mul nsw i64 {at}, {size}"))


def _parts(node: Node) -> tuple[int, int]:
    """Of a scan: the number of its operands before the stacks, and of its carries."""
    carries = carries_of(node)
    return invariants_of(node) + carries, carries


def _regions(node: Node) -> Iterator[Region]:
    """The regions of control flow, nested ones included."""
    for region in node.regions:
        yield region
        for inner in region.nodes:
            if inner.op.name in CONTROL:
                yield from _regions(inner)


def _nodes(node: Node) -> Iterator[Node]:
    """The nodes in these regions."""
    for region in _regions(node):
        yield from region.nodes
