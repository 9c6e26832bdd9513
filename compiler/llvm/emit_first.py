"""`argmax` and `argmin`: the first greatest (least) of pairs (value, index), a NaN being both."""

from __future__ import annotations

from adjit.compiler.llvm.emit_choice import extents_of, is_unrolled, variables_of
from adjit.compiler.llvm.emit_domain import each_written_out, whole_domain
from adjit.compiler.llvm.emit_fold import Pair, fold_pairs, pick_first
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_loops import neutral, vector_loop
from adjit.compiler.llvm.emit_state import Register, Writer
from adjit.compiler.llvm.text import LLType
from adjit.compiler.loops.ir import INDEX
from adjit.ir.graph import Node
from adjit.ir.shape import Dim
from adjit.ir.types import BOOL


def emit_first(w: Writer, node: Node, lanes: int) -> None:
    """A fold of pairs, cut along its own variable into vectors of `lanes` where that helps and its index says so."""
    if lanes > 1 and _counts_itself(node):
        _along(w, node, lanes)
    elif w.lanes > 1 and is_unrolled(node):
        _written_out(w, node)
    else:
        _across(w, node)


def _written_out(w: Writer, node: Node) -> None:
    """Few terms, each in code of its own."""
    kind = str(node.attributes["kind"])
    types = LLType(node.outputs[0].type.dtype, w.lanes), LLType(node.outputs[1].type.dtype, w.lanes)
    found: list[Pair] = []

    def body() -> None:
        w.run(node.regions[0])
        new = _pair(w, node)
        found[:] = [pick_first(w, kind, types, found[0], new, LLType(BOOL, w.lanes).constant(False)) if found else new]

    each_written_out(w, node, body)
    for output, type, name in zip(node.outputs, types, (found[0].value, found[0].index), strict=True):
        w.registers[output] = Register(name, type)


def _counts_itself(node: Node) -> bool:
    """Whether a reduction over one variable gives that variable as the index."""
    index = node.regions[0].outputs[1].node
    names = variables_of(node)
    if index is None or index.op is not INDEX or len(names) != 1:
        return False
    return index.attributes["value"] == Dim.named(names[0])


def _pair(w: Writer, node: Node) -> Pair:
    """The pair that the region has just computed."""
    value, index = (w.spread(w.register(output)) for output in node.regions[0].outputs)
    return Pair(value, index)


def _across(w: Writer, node: Node) -> None:
    """Term after term, in the lanes of the scope."""
    kind = str(node.attributes["kind"])
    types = LLType(node.outputs[0].type.dtype, w.lanes), LLType(node.outputs[1].type.dtype, w.lanes)
    best, index, fresh = w.slot(types[0]), w.slot(types[1]), w.slot(LLType(BOOL))
    w.write(best, types[0].constant(neutral(kind, types[0].dtype)))
    w.write(index, types[1].constant(0))
    w.write(fresh, "true")

    def body() -> None:
        w.run(node.regions[0])
        old = Pair(w.read(best), w.read(index))
        found = pick_first(w, kind, types, old, _pair(w, node), w.spread(Register(w.read(fresh), LLType(BOOL))))
        w.write(best, found.value)
        w.write(index, found.index)
        w.write(fresh, "false")

    whole_domain(w, node, body)
    w.registers[node.outputs[0]] = Register(w.read(best), types[0])
    w.registers[node.outputs[1]] = Register(w.read(index), types[1])


def _along(w: Writer, node: Node, lanes: int) -> None:
    """The first in each lane, then among the lanes; a lane that has seen nothing has index -1."""
    f, kind = w.f, str(node.attributes["kind"])
    types = LLType(node.outputs[0].type.dtype, lanes), LLType(node.outputs[1].type.dtype, lanes)
    best, index = w.slot(types[0]), w.slot(types[1])
    w.write(best, types[0].constant(neutral(kind, types[0].dtype)))
    w.write(index, types[1].constant(-1))

    def body() -> None:
        w.run(node.regions[0])
        old, new = Pair(w.read(best), w.read(index)), _pair(w, node)
        fresh = f.let(f"icmp slt {types[1].llvm} {old.index}, {types[1].constant(0)}")
        found = pick_first(w, kind, types, old, new, fresh)
        for slot, before, after in ((best, old.value, found.value), (index, old.index, found.index)):
            if w.mask is not None:
                after = f.let(
                    f"select <{lanes} x i1> {w.mask}, {slot.type.llvm} {after}, {slot.type.llvm} {before}"
                )
            w.write(slot, after)

    name, extent = variables_of(node)[0], extents_of(node)[0]
    known = extent if isinstance(extent, int) else None
    vector_loop(w, name, "0", uniform(w, extent), lanes, body, known)
    found = fold_pairs(w, kind, types, Pair(w.read(best), w.read(index)))
    w.registers[node.outputs[0]] = Register(found.value, LLType(types[0].dtype))
    w.registers[node.outputs[1]] = Register(found.index, LLType(types[1].dtype))
