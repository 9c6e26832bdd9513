"""Loops over reductions in two steps: the reductions of some neighbours one by one, then the rest for all at once.

A reduction that is cut along its own variable leaves one number.  What follows it, such as a tanh, would be computed
number by number; here the numbers of a vector's lanes are put side by side first.
"""

from __future__ import annotations

from collections.abc import Callable

from adjit.compiler.llvm.emit_choice import (
    HEAVY,
    choose,
    column_stride,
    extents_of,
    in_order,
    is_unrolled,
    lanes_for,
    loop_dtype,
    variables_of,
)
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_loops import scalar_loop, vector_loop
from adjit.compiler.llvm.emit_pairs import row_loop
from adjit.compiler.llvm.emit_state import Ramp, Register, Writer
from adjit.compiler.llvm.sequences import minimum, offset
from adjit.compiler.llvm.text import LLType
from adjit.compiler.loops.ir import FOR, LOAD, POSITION, REDUCE, STORE
from adjit.ir.graph import Node, Value
from adjit.ir.types import BOOL


def is_split(w: Writer, node: Node) -> bool:
    """Whether a `for` holds reductions along their own variables, and dear arithmetic after them."""
    (region,) = node.regions
    names = variables_of(node)
    sums = [inner for inner in region.nodes if inner.op is REDUCE]
    if not names or not sums or w.lanes != 1 or node.attributes["sequential"] or w.options.lanes == 1:
        return False
    if any(in_order(inner) or is_unrolled(inner) or len(inner.outputs) != 1 for inner in sums):
        return False
    if any(inner.output.type.dtype is BOOL for inner in sums):
        return False
    others = [inner for inner in region.nodes if inner.op is not REDUCE]
    if not any(inner.op.name in HEAVY for inner in others) or any(inner.op in (FOR, POSITION) for inner in others):
        return False
    if any(column_stride(inner, names[-1]) not in ((0, 1) if inner.op is LOAD else (1,))
           or len(inner.inputs) != (1 if inner.op is LOAD else 2) for inner in others if inner.op in (LOAD, STORE)):
        return False  # fmt: skip
    if any(inner.regions or inner.op.name == "update" for inner in others):
        return False
    return choose(node, w.dependence, w.native_lanes(loop_dtype(region))).variable is None


def emit_split(w: Writer, node: Node, span: tuple[str, str] | None) -> None:
    """The `for`, as many values of its last variable at a time as a vector has lanes."""
    f, (region,) = w.f, node.regions
    names, extents = variables_of(node), extents_of(node)
    for name, extent in zip(names, extents, strict=True):
        w.bounds.declare(name, extent)
    lanes = max(2, lanes_for(extents[-1], w.native_lanes(loop_dtype(region))))
    sums = [inner for inner in region.nodes if inner.op is REDUCE]
    slots = {inner: w.slot(LLType(inner.output.type.dtype, lanes)) for inner in sums}
    needed = _needed(node)

    def rows(base: str, count: str) -> None:
        def keep(row: str, of: Callable[[Value], Value]) -> None:
            lane = f.let(f"sub nsw i64 {row}, {base}")
            for inner in sums:
                type = LLType(inner.output.type.dtype)
                place = offset(f, type.llvm, slots[inner].pointer, lane)
                f.line(f"store {type.llvm} {w.register(of(inner.output)).name}, ptr {place}")

        row_loop(w, node, needed, base, f.let(f"add nsw i64 {base}, {count}"), keep)

    def nest(depth: int) -> None:
        name, extent = names[depth], extents[depth]
        begin, end = span if span is not None and depth == 0 else ("0", uniform(w, extent))
        if depth + 1 < len(names):
            scalar_loop(w, name, begin, end, lambda: nest(depth + 1))
            return

        def body() -> None:
            ramp = w.variables[name]
            assert isinstance(ramp, Ramp)
            vector, mask = w.lanes, w.mask
            count = str(lanes) if mask is None else minimum(f, f.let(f"sub nsw i64 {end}, {ramp.base}"), lanes)
            if mask is not None:  # lanes that do not exist must hold something
                for slot in slots.values():
                    w.write(slot, slot.type.constant(0))
            w.lanes, w.mask = 1, None
            rows(ramp.base, count)
            w.lanes, w.mask = vector, mask
            for inner in region.nodes:
                if inner in slots:
                    w.registers[inner.output] = Register(w.read(slots[inner]), slots[inner].type)
                else:
                    w.emit_node(inner)

        vector_loop(w, name, begin, end, lanes, body)

    nest(0)


def _needed(node: Node) -> list[Node]:
    """The reductions of a loop's body and what they need, in order."""
    (region,) = node.regions
    found: list[Node] = []
    wanted: set[object] = set()
    for inner in reversed(region.nodes):
        if inner.op is REDUCE or not wanted.isdisjoint(inner.outputs):
            found.append(inner)
            wanted.update(inner.inputs)
            for body in inner.regions:
                wanted.update(body.outputs)
                for deeper in body.walk():
                    wanted.update(deeper.inputs)
                    wanted.update(v for r in deeper.regions for v in r.outputs)
    return found[::-1]
