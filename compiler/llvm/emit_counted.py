"""Loops of control flow that count, and go through arrays as they count: whole vectors of turns at a time.

Of `while i < n: new[i] = old[i - 1] + old[i + 1]; i = i + 1` each turn checks its places, and waits for none before it.
Where all places of some turns are within the arrays, and what is written is not read elsewhere, those turns run as one
`for` without checks, cut into vectors as other kernels are.  What is known only when the loop begins is asked then; the
loop itself, which checks and faults, runs the turns that are left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adjit.compiler.llvm.counted_turn import (
    BEFORE,
    ONCE,
    TURN,
    TURNS,
    NotCounted,
    Turn,
    first_name,
    flat_place,
    positions_of,
)
from adjit.compiler.llvm.emit import inlined_writer
from adjit.compiler.llvm.emit_index import least, uniform
from adjit.compiler.llvm.emit_state import Uniform, Writer
from adjit.ir.graph import Node
from adjit.ir.shape import Dim, substitute

if TYPE_CHECKING:
    from adjit.compiler.llvm.control import Control

# Fewer turns than these run one by one.
_FEWEST = 8


def emit_counted(control: Control, node: Node) -> None:
    """The turns of a `while` that can run side by side, before the loop itself."""
    try:
        turn = Turn(control, node)
    except NotCounted:
        return
    _emit(control, turn)


def _emit(control: Control, turn: Turn) -> None:
    """The turns that can run side by side, if there are some."""
    f, slots = control.f, {buffer: slot for slot, buffer in turn.buffers.items()}
    places = {slot: control.place(slot) for slot in turn.buffers}
    w = inlined_writer(control.driver.program, control.w, turn.region.nodes, slots, places, turn.dependence)
    near, beside, after = f.label("near"), f.label("beside"), f.label("after")
    for node in turn.nodes[BEFORE]:
        w.emit_node(node)
    first = {slot: _read(control, slot) for slot, step in turn.steps.items() if step}
    names = {first_name(slot): Uniform(name) for slot, name in first.items()}
    good, turns = _places_are_good(turn, w, first)
    f.branch(good, near, after)
    f.start(near)
    with w.bound({**names, TURNS: Uniform(turns)}):
        f.branch(_are_apart(turn, w, turns), beside, after)
        f.start(beside)
        for node in (*turn.nodes[ONCE], turn.region.nodes[-1]):
            w.emit_node(node)
    for slot, name in first.items():
        f.line(f"store i64 {f.let(f'add i64 {name}, {turns}')}, ptr {control.place(slot)}")
    f.jump(after)
    f.start(after)


def _read(control: Control, slot: int) -> str:
    return control.f.let(f"load i64, ptr {control.place(slot)}")


def _places_are_good(turn: Turn, w: Writer, first: Mapping[int, str]) -> tuple[str, str]:
    """Whether there are some turns that stay within all arrays, and how many."""
    f, turns = w.f, ""
    good = [f.let(f"icmp ult i64 {w.register(place).name}, {uniform(w, extent)}") for place, extent in turn.checked]
    for slot in (turn.counter, *(slot for slot in turn.places if slot != turn.counter)):
        high = w.register(turn.end).name if slot == turn.counter else ""
        for shift, extent in dict.fromkeys(turn.places[slot]):
            limit = uniform(w, extent - shift)
            high = least(w, high, limit) if high else limit
        low = -min(shift for shift, _ in turn.places[slot])
        good.append(f.let(f"icmp sge i64 {first[slot]}, {low}"))
        good.append(f.let(f"icmp slt i64 {first[slot]}, {high}"))
        left = f.let(f"sub i64 {high}, {first[slot]}")
        turns = least(w, turns, left) if turns else left
    total = f.let(f"icmp sge i64 {turns}, {_FEWEST}")
    for each in good:
        total = f.let(f"and i1 {total}, {each}")
    return total, turns


def _are_apart(turn: Turn, w: Writer, turns: str) -> str:
    """Whether what all turns read of an array that they write is before or after what they write."""
    f, total, last = w.f, "true", Dim.named(TURNS) - 1
    for load, store in turn.apart:
        begins, ends = [], []
        for node, rest in ((load, load.inputs[1:]), (store, positions_of(store))):
            renamed = {f"_{number}": Dim.named(w.position_name(value)) for number, value in enumerate(rest)}
            flat = substitute(flat_place(node), renamed)
            begins.append(uniform(w, substitute(flat, {TURN: 0})))
            ends.append(uniform(w, substitute(flat, {TURN: last})))
        before = f.let(f"icmp slt i64 {ends[0]}, {begins[1]}")
        behind = f.let(f"icmp sgt i64 {begins[0]}, {ends[1]}")
        total = f.let(f"and i1 {total}, {f.let(f'or i1 {before}, {behind}')}")
    return total
