"""`argmax` and `argmin`: the first greatest (least) of pairs (value, index), a NaN being both.

Of numbers that are read from memory the greatest of each block is found, as by `max`, and the first block that has the
greatest of all is read again for its place: no vector of indices is carried along.
"""

from __future__ import annotations

from adjit.compiler.llvm.emit_choice import cost, extents_of, is_unrolled, variables_of
from adjit.compiler.llvm.emit_domain import each_written_out, whole_domain
from adjit.compiler.llvm.emit_extreme import Extreme, has_instruction
from adjit.compiler.llvm.emit_fold import Pair, better_of, fold_pairs, lowest, pick_first
from adjit.compiler.llvm.emit_index import least, uniform
from adjit.compiler.llvm.emit_loops import neutral, vector_loop
from adjit.compiler.llvm.emit_state import Ramp, Register, Writer
from adjit.compiler.llvm.sequences import counted, splat
from adjit.compiler.llvm.text import LLType
from adjit.compiler.loops.ir import INDEX
from adjit.ir.graph import Node
from adjit.ir.shape import Dim
from adjit.ir.types import BOOL, I32, I64

# Bodies of fewer operations run as several vectors abreast, which do not wait for each other; lanes of them all.
_SMALL, _ABREAST, _WIDEST = 12, 4, 64
# Terms of a block; fewer than two of them are one pass; and what a term costs that is computed twice in one block.
_BLOCK, _CHEAP = 256, 2


def emit_first(w: Writer, node: Node, lanes: int) -> None:
    """A fold of pairs, cut along its own variable into vectors of `lanes` where that helps and its index says so."""
    if lanes > 1 and _counts_itself(node):
        (_by_blocks if _has_blocks(w, node, lanes) else _along)(w, node, lanes)
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
    """The first in each lane, at each width that the loop runs at, then among the lanes."""
    kind, (value, index) = str(node.attributes["kind"]), (LLType(output.type.dtype) for output in node.outputs)
    name, extent = variables_of(node)[0], extents_of(node)[0]
    abreast = max(1, min(_ABREAST, _WIDEST // lanes)) if cost(node.regions[0]) <= _SMALL else 1
    wide = lanes * abreast
    widths = [wide]
    if abreast > 1 and not (isinstance(extent, int) and extent % wide == 0):
        widths.append(lanes)
    is_short = isinstance(extent, int) and extent < 1 << 31
    types = value, LLType(I32) if is_short else index
    size = uniform(w, extent)
    filled = w.f.let(f"icmp sge i64 {size}, {wide}")
    firsts = {width: _Firsts(w, kind, types, width, filled if width == wide else None) for width in widths}

    def body() -> None:
        w.run(node.regions[0])
        firsts[w.lanes].add(_pair(w, node))

    vector_loop(w, name, "0", size, lanes, body, extent if isinstance(extent, int) else None, abreast)
    found, *others = (fold_pairs(w, kind, first.types, first.pair()) for first in firsts.values())
    for other in others:
        found = better_of(w, kind, types, found, other)
    place = w.f.let(f"sext i32 {found.index} to {index.llvm}") if is_short else found.index
    w.registers[node.outputs[0]] = Register(found.value, value)
    w.registers[node.outputs[1]] = Register(place, index)


def _has_blocks(w: Writer, node: Node, lanes: int) -> bool:
    """Whether rows are long, their terms cheap floats, and the greatest of two vectors is one instruction."""
    extent, type = extents_of(node)[0], LLType(node.outputs[0].type.dtype, lanes)
    is_long = not isinstance(extent, int) or extent >= 2 * _BLOCK
    return is_long and cost(node.regions[0]) <= _CHEAP and has_instruction(w, type)


def _by_blocks(w: Writer, node: Node, lanes: int) -> None:
    """The greatest of each block, and the place of it in the first block that has the greatest of all."""
    f, kind, name, extent = w.f, str(node.attributes["kind"]), variables_of(node)[0], extents_of(node)[0]
    value, index = (LLType(output.type.dtype) for output in node.outputs)
    wide = LLType(value.dtype, min(_ABREAST * lanes, _WIDEST))
    size = uniform(w, extent)
    zero = wide.constant(neutral(kind, value.dtype))
    best, block = w.slot(value), w.slot(LLType(I64))
    w.write(best, value.constant(neutral(kind, value.dtype)))
    w.write(block, "0")
    greatest = Extreme(w, kind.removeprefix("arg"), wide, zeros=False)

    def term() -> str:
        w.run(node.regions[0])
        found = w.spread(w.register(node.regions[0].outputs[0]))
        if w.mask is None:
            return found
        return f.let(f"select <{w.lanes} x i1> {w.mask}, {wide.llvm} {found}, {wide.llvm} {zero}")

    with counted(f, "0", size, _BLOCK) as begin, w.scope():
        greatest.clear()
        stop = least(w, f.let(f"add nsw i64 {begin}, {_BLOCK}"), size)
        vector_loop(w, name, begin, stop, wide.lanes, lambda: greatest.add("0", term()))
        pairs = Pair(w.read(best), w.read(block)), Pair(greatest.total(), begin)
        found = pick_first(w, kind, (value, LLType(I64)), *pairs, None)
        w.write(best, found.value)
        w.write(block, found.index)

    number = LLType(I32, wide.lanes)
    values, places, wanted = w.slot(wide), w.slot(number), splat(f, wide, w.read(best))
    w.write(values, wide.constant(0))
    w.write(places, number.constant(-1))

    def look() -> None:
        new = term()
        flags, ramp = f"<{wide.lanes} x i1>", w.variables[name]
        assert isinstance(ramp, Ramp)
        # Where the greatest is NaN nothing is equal to it; where it is not, nothing is NaN.
        same = f.let(f"fcmp oeq {wide.llvm} {new}, {wanted}")
        same = f.let(f"or {flags} {same}, {f.let(f'fcmp uno {wide.llvm} {new}, {new}')}")
        if w.mask is not None:
            same = f.let(f"and {flags} {same}, {w.mask}")
        is_first = f.let(f"icmp eq {number.llvm} {w.read(places)}, {number.constant(-1)}")
        same = f.let(f"and {flags} {same}, {is_first}")
        start = f.let(f"trunc i64 {f.let(f'sub nsw i64 {ramp.base}, {first}')} to i32")
        place = f.let(f"or disjoint {number.llvm} {splat(f, number, start)}, {number.numbers()}")
        for slot, after in ((values, new), (places, place)):
            type = slot.type.llvm
            w.write(slot, f.let(f"select {flags} {same}, {type} {after}, {type} {w.read(slot)}"))

    first = w.read(block)
    vector_loop(w, name, first, least(w, f.let(f"add nsw i64 {first}, {_BLOCK}"), size), wide.lanes, look)
    found = lowest(w, (wide, number), Pair(w.read(values), w.read(places)))
    place = f.let(f"add nsw i64 {first}, {f.let(f'sext i32 {found.index} to i64')}")
    w.registers[node.outputs[0]] = Register(found.value, value)
    w.registers[node.outputs[1]] = Register(place, index)


class _Firsts:
    """The first greatest (least) pair in each of `lanes` lanes; index -1 where none was seen.

    Where the i1 `filled` holds, all lanes are sure to see their own number first, so that nothing can be less than what
    they begin with.
    """

    def __init__(self, w: Writer, kind: str, types: tuple[LLType, LLType], lanes: int, filled: str | None) -> None:
        self.w, self.kind, self.filled = w, kind, filled
        value, index = self.types = LLType(types[0].dtype, lanes), LLType(types[1].dtype, lanes)
        self.best, self.index = w.slot(value), w.slot(index)
        w.write(self.best, value.constant(neutral(kind, value.dtype)))
        start = index.constant(-1)
        if filled is not None:
            start = w.f.let(f"select i1 {filled}, {index.llvm} {index.numbers()}, {index.llvm} {start}")
        w.write(self.index, start)

    def pair(self) -> Pair:
        return Pair(self.w.read(self.best), self.w.read(self.index))

    def add(self, new: Pair) -> None:
        """Take in a vector of pairs, in the lanes that exist."""
        w, f, old, index = self.w, self.w.f, self.pair(), self.types[1]
        if index.dtype is I32:
            new = Pair(new.value, f.let(f"trunc <{index.lanes} x i64> {new.index} to {index.llvm}"))
        fresh = None
        if self.filled is None or w.mask is not None:
            fresh = f.let(f"icmp slt {index.llvm} {old.index}, {index.constant(0)}")
        found = pick_first(w, self.kind, self.types, old, new, fresh)
        for slot, before, after in ((self.best, old.value, found.value), (self.index, old.index, found.index)):
            if w.mask is not None:
                type = slot.type.llvm
                after = f.let(f"select <{index.lanes} x i1> {w.mask}, {type} {after}, {type} {before}")
            w.write(slot, after)
