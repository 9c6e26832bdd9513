"""Loops of control flow, with the turns whose places are inside by themselves: these do not look at each place.

Of `while i < n: x[i] = x[i] + x[i - 1]; i = i + 1` a turn asks whether i is in [1, n), or beyond the array, in one
comparison.  If so the next turns run in a loop of their own, until one would be outside; that one, and turns that
fault, are the loop's own, which looks at each place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adjit.compiler.llvm.certain_turn import CertainTurn, Element
from adjit.compiler.llvm.counted_turn import NotCounted, first_name
from adjit.compiler.llvm.emit import inlined_writer
from adjit.compiler.llvm.emit_choice import Dependence
from adjit.compiler.llvm.emit_index import greatest, least, uniform
from adjit.compiler.llvm.emit_state import Uniform
from adjit.compiler.loops.ir import LOAD, STORE
from adjit.compiler.memory import Copy
from adjit.ir.graph import Attribute, Node, Region, Value
from adjit.ir.shape import Size
from adjit.ir.types import TensorType

if TYPE_CHECKING:
    from adjit.compiler.llvm.control import Control


def certain_turns(control: Control, node: Node) -> CertainTurns | None:
    """The turns of a `while` whose places are known by counters; None where that says nothing."""
    try:
        turn = CertainTurn(control, node)
    except NotCounted:
        return None
    return CertainTurns(control, node, turn)


class CertainTurns:
    """Code before the loop, when made; then, by `emit`, that of turns without checks."""

    def __init__(self, control: Control, node: Node, turn: CertainTurn) -> None:
        self.control, self.node, self.turn, self.f = control, node, turn, control.f
        self.spans: dict[int, tuple[int, str]] = {}  # by counter: the least that is good, and how many are
        self.merged = turn.test is not None and turn.test.counter in turn.places
        for slot, places in turn.places.items():
            self.spans[slot] = self._span(slot, places)

    def _span(self, slot: int, places: list[tuple[int, Size]]) -> tuple[int, str]:
        w, test = self.control.w, self.turn.test
        low, high = -min(shift for shift, _ in places), ""
        for shift, extent in dict.fromkeys(places):
            limit = uniform(w, extent - shift)
            high = least(w, high, limit) if high else limit
        if self.merged and test is not None and test.counter == slot:
            high = least(w, high, str(test.number) if test.entry is None else self._read(test.entry))
        high = greatest(w, high, str(low))
        return low, self.f.let(f"sub i64 {high}, {low}")

    def _read(self, slot: int) -> str:
        return self.f.let(f"load i64, ptr {self.control.place(slot)}")

    def _inside(self, slots: list[int]) -> str:
        """Whether these counters are where all places that they say are inside."""
        f, total = self.f, ""
        for slot in slots:
            low, count = self.spans[slot]
            good = f.let(f"icmp ult i64 {f.let(f'sub i64 {self._read(slot)}, {low}')}, {count}")
            total = f.let(f"and i1 {total}, {good}") if total else good
        return total or "true"

    def _move(self, element: Element, names: Mapping[str, Uniform], *, back: bool) -> None:
        """An element from its array to where it is kept, or back."""
        control, array, kept = self.control, Value(element.type), Value(TensorType(element.type.dtype, ()))
        places = {slot: control.place(slot) for slot in (element.slot, element.entry)}
        ways: list[tuple[Value, dict[str, Attribute]]]
        ways = [(array, {"at": (element.place,), "masked": False}), (kept, {"at": (), "masked": False})]
        (source, here), (target, there) = reversed(ways) if back else ways
        load, region = Node(LOAD, [source], here, [kept.type]), Region()
        region.nodes = [load, Node(STORE, [target, load.output], there, ())]
        entries = {array: element.slot, kept: element.entry}
        w = inlined_writer(control.driver.program, control.w, region.nodes, entries, places, Dependence(region))
        with w.bound(names):
            w.run(region)

    def _hand_on(self, element: Element) -> None:
        """At the end of a turn, what the next one knows of an element."""
        if element.before is not None:
            type = TensorType(element.type.dtype, ())
            self.control.copy(Copy(element.before, element.entry, type))

    def emit(self, head: str, after: str) -> None:
        """The turns that are certain, at the head of the loop; code that follows runs the next one."""
        f, control, (condition, body) = self.f, self.control, self.node.regions
        begin, turn, run, leave, end, careful = map(f.label, ("certain", "turn", "run", "leave", "end", "careful"))
        f.branch(self._inside(list(self.spans)), begin, careful)
        f.start(begin)
        with control.w.scope(), control.certain_kernels(self.turn):
            names = {first_name(slot): Uniform(self._read(slot)) for slot in self.spans}
            for element in self.turn.elements:
                self._move(element, names, back=False)
            f.jump(turn)
            f.start(turn)
            if not self.merged:
                control.run(condition)
                f.branch(control.predicate(self.control.plan.slots[condition.outputs[0]]), run, end)
                f.start(run)
            with control.w.scope():
                control.run(body)
            for element in reversed(self.turn.elements):
                self._hand_on(element)
            f.branch(self._inside([slot for slot in self.spans if slot in self.turn.written]), turn, leave)
            for label, target in ((leave, head), (end, after)):
                if label == leave or not self.merged:
                    f.start(label)
                    for element in self.turn.elements:
                        if element.written:
                            self._move(element, names, back=True)
                    f.jump(target)
        f.start(careful)
