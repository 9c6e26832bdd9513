"""`reduce`: folds over a domain, with bits that do not depend on how the code is cut into vectors.

A reduction is either cut along its own last variable (`along`), or runs term after term in the lanes of the scope it
stands in (`across`).  The orders `sequential` and `lanes` are those of `adjit.compiler.loops.ir`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from adjit.compiler.llvm.emit_access import combine
from adjit.compiler.llvm.emit_choice import (
    cost,
    extents_of,
    in_lanes,
    in_order,
    is_unrolled,
    is_written_out,
    lanes_for,
    loop_dtype,
    partials,
    time_of_reduce,
    variables_of,
)
from adjit.compiler.llvm.emit_domain import (
    Pairs,
    between,
    cut_domain,
    each_written_out,
    split_flat,
    walk_pieces,
    whole_domain,
)
from adjit.compiler.llvm.emit_fold import Partials
from adjit.compiler.llvm.emit_index import greatest, least, uniform
from adjit.compiler.llvm.emit_loops import Body, is_spelled, neutral, scalar_loop, total_of, vector_loop
from adjit.compiler.llvm.emit_state import Ramp, Register, Slot, Uniform, Writer
from adjit.compiler.llvm.sequences import below, counted
from adjit.compiler.llvm.text import LLType
from adjit.compiler.loops.ir import BLOCK, LOAD, RUN
from adjit.ir.graph import Node
from adjit.ir.primitive import primitive_named
from adjit.ir.shape import Size, product
from adjit.ir.types import I64

if TYPE_CHECKING:
    from adjit.compiler.llvm.emit_extreme import Extreme

# Bodies of fewer operations take all partial sums of the order `lanes` as one wide vector.
_SMALL = 12
# Instructions for a piece of a row in a vector beside its terms, and for a lane of a load whose lanes stand anywhere.
_PIECE, _GATHERED = 10, 5


def emit_reduce(w: Writer, node: Node) -> None:
    """A fold of the region's outputs."""
    for name, extent in zip(variables_of(node), extents_of(node), strict=True):
        w.bounds.declare(name, extent)
    kind = str(node.attributes["kind"])
    own = 1 if w.lanes > 1 else own_lanes(w, node)
    if kind in ("argmax", "argmin"):
        from adjit.compiler.llvm.emit_first import emit_first

        emit_first(w, node, own)
    elif in_lanes(node) and w.lanes > 1 and is_written_out(node):
        _unrolled(w, node)
    elif in_lanes(node) and own > 1:
        _lanes_along(w, node, own)
    elif in_lanes(node):
        _lanes_across(w, node)
    elif in_order(node):
        _in_order(w, node)
    elif own > 1:
        _any_along(w, node, own)
    else:
        _any_across(w, node)


def own_lanes(w: Writer, node: Node) -> int:
    """The lanes to cut the reduction's own last variable into; 1 where it is better left whole."""
    native = w.native_lanes(loop_dtype(node.regions[0]))
    if native == 1 or in_order(node):
        return 1
    if in_lanes(node):
        return min(native, partials(node))
    lanes = lanes_for(extents_of(node)[-1], native)
    return lanes if time_of_reduce(node, w.dependence, native) < float(cost(node.regions[0])) else 1


def _term(w: Writer, node: Node, output: int = 0) -> Register:
    return w.register(node.regions[0].outputs[output])


# -- any order ---------------------------------------------------------------------------------------------------------
def _any_across(w: Writer, node: Node) -> None:
    kind, type = str(node.attributes["kind"]), LLType(node.output.type.dtype, w.lanes)
    total = w.slot(type)
    w.write(total, type.constant(neutral(kind, type.dtype)))

    def body() -> None:
        w.run(node.regions[0])
        w.write(total, combine(w, kind, type, w.read(total), w.spread(_term(w, node))))

    whole_domain(w, node, body)
    w.registers[node.output] = Register(w.read(total), type)


class AnyFold:
    """A fold in any order along its own variable, `lanes` terms at a time."""

    def __init__(self, w: Writer, node: Node, lanes: int) -> None:
        self.w, self.node, self.kind = w, node, str(node.attributes["kind"])
        self.type = LLType(node.output.type.dtype, lanes)
        self.parts = _partials(w, self.kind, self.type)
        self.parts.clear()

    def begin(self) -> None:
        """Begin a block: there is nothing to do."""

    def add(self, start: str, run: Body) -> None:
        """Take in the terms from position `start` on; `run` emits what they are computed by."""
        w = self.w
        run()
        term = w.spread(_term(w, self.node))
        if w.mask is not None:
            term = _where_exists(w, self.type, term, self.type.constant(neutral(self.kind, self.type.dtype)))
        self.parts.add("0", term)

    def end(self) -> None:
        """End a block: there is nothing to do."""

    def finish(self) -> None:
        """The fold becomes the value of its node."""
        self.w.registers[self.node.output] = Register(self.parts.total(), LLType(self.type.dtype))


def abreast(node: Node, lanes: int) -> int:
    """How many vectors of `lanes` a fold in any order takes at a time: four of masks, which wait longest."""
    if cost(node.regions[0]) > _SMALL:
        return 1
    last = extents_of(node)[-1]
    is_long = not isinstance(last, int) or last >= 4 * lanes
    return 4 if is_long and node.attributes["kind"] in ("any", "all") else max(1, min(4, 64 // lanes))


def _any_along(w: Writer, node: Node, lanes: int) -> None:
    """One total for each lane, of each width that the loop runs at, folded at the end."""
    kind, dtype, region = str(node.attributes["kind"]), node.output.type.dtype, node.regions[0]
    names, extents = variables_of(node), extents_of(node)
    spelled, last = is_spelled(w, node, lanes), extents[-1]
    many = 1 if spelled else abreast(node, lanes)
    widths = [lanes * many]
    if many > 1 and not (isinstance(last, int) and last % widths[0] == 0):
        widths.append(lanes)
    folds = {width: AnyFold(w, node, width) for width in widths}

    def body() -> None:
        folds[w.lanes].add("0", lambda: w.run(region))

    def nest(depth: int) -> None:
        name, extent = names[depth], extents[depth]
        if depth + 1 < len(names):
            scalar_loop(w, name, "0", uniform(w, extent), lambda: nest(depth + 1), spelled)
        else:
            known = extent if isinstance(extent, int) else None
            vector_loop(w, name, "0", uniform(w, extent), lanes, body, known, many, spelled=spelled)

    nest(0)
    parts = [fold.parts.total() for fold in folds.values()]
    result = parts[0]
    for part in parts[1:]:
        result = combine(w, kind, LLType(dtype), result, part)
    w.registers[node.output] = Register(result, LLType(dtype))


def _partials(w: Writer, kind: str, type: LLType) -> Extreme | Partials:
    """What gathers the terms of a reduction in any order, lane by lane."""
    if kind in ("max", "min"):
        from adjit.compiler.llvm.emit_extreme import Extreme, has_instruction

        if has_instruction(w, type):
            return Extreme(w, kind, type)
    return Partials(w, kind, type, 1, type.lanes)


def _where_exists(w: Writer, type: LLType, value: str, other: str) -> str:
    return w.f.let(f"select <{type.lanes} x i1> {w.mask}, {type.llvm} {value}, {type.llvm} {other}")


# -- in order ----------------------------------------------------------------------------------------------------------
def _in_order(w: Writer, node: Node) -> None:
    """Runs of terms, each added from zero; the runs added in order.

    As in a packed product, the first run is the total's first value, so that one run alone keeps a -0.
    """
    kind, terms, run = str(node.attributes["kind"]), product(extents_of(node)), in_order_slot(w, node)
    from adjit.compiler.llvm.emit_squares import by_squares, squares_of  # which few programs need

    squares = squares_of(w, node)

    def fold() -> None:
        fold_term(w, node, run)

    walk = by_squares(w, node, squares, fold) if squares else between(w, node, fold)
    if isinstance(terms, int) and terms <= RUN:
        if squares:
            walk("0", str(terms))
        else:
            (each_written_out if is_unrolled(node) else whole_domain)(w, node, fold)
        w.registers[node.output] = Register(w.read(run), run.type)
        return
    zero, total = run.type.constant(neutral(kind, run.type.dtype)), w.slot(run.type)
    w.write(total, run.type.constant(-0.0 if kind == "sum" else 1.0))

    def end() -> None:
        w.write(total, combine(w, kind, run.type, w.read(total), w.read(run)))

    length = run_length(w, total_of(w, extents_of(node)))
    cut_domain(w, node, length, lambda: w.write(run, zero), walk, end)
    w.registers[node.output] = Register(w.read(total), run.type)


def in_order_slot(w: Writer, node: Node) -> Slot:
    """Where a run of a sum or product in order stands while its terms are taken in, one after another."""
    type = LLType(node.output.type.dtype, w.lanes)
    slot = w.slot(type)
    w.write(slot, type.constant(neutral(str(node.attributes["kind"]), type.dtype)))
    return slot


def fold_term(w: Writer, node: Node, run: Slot) -> None:
    """Take the term at hand into a run; a product's last step is one rounding with the addition if it may be."""
    fused = fused_product(w, node) if node.attributes["order"] == "products" else None
    w.run(node.regions[0])
    if fused is not None:
        left, right = (w.spread(w.register(value)) for value in fused.inputs)
        w.write(run, w.f.intrinsic("fma", run.type, left, right, w.read(run)))
    else:
        w.write(run, combine(w, str(node.attributes["kind"]), run.type, w.read(run), w.spread(_term(w, node))))


def run_length(w: Writer, terms: str) -> str:
    """The length of the runs that `terms` are cut into: the least number of runs, of nearly equal length."""
    f = w.f
    if terms.isdigit():
        count = max(-(-int(terms) // RUN), 1)
        return str(max(-(-int(terms) // count), 1))
    runs = greatest(w, f.let(f"udiv i64 {f.let(f'add nsw i64 {terms}, {RUN - 1}')}, {RUN}"), "1")
    above = f.let(f"add nsw i64 {terms}, {f.let(f'sub nsw i64 {runs}, 1')}")
    return greatest(w, f.let(f"udiv i64 {above}, {runs}"), "1")


def fused_product(w: Writer, node: Node) -> Node | None:
    """The multiplication that is the last step of each term, where it can be fused with the addition."""
    term = node.regions[0].outputs[0].node
    if not w.options.target.has_fma or node.attributes["kind"] != "sum":
        return None
    if term is None or term.op is not primitive_named("mul") or term not in node.regions[0].nodes:
        return None
    return term


# -- lanes -------------------------------------------------------------------------------------------------------------
def _unrolled(w: Writer, node: Node) -> None:
    """Few terms: partial result l is that of the terms l, l + partials, ...; they are added as a tree.

    The tree is written depth first, so that few of its values are in registers at a time.  Partial results start from 0
    so that no sum is -0; it suffices that one does.
    """
    from adjit.compiler.llvm.emit_turned import turned

    kind, type = str(node.attributes["kind"]), LLType(node.output.type.dtype, w.lanes)
    zero, count, names = type.constant(neutral(kind, type.dtype)), partials(node), variables_of(node)
    extents: list[int] = [extent for extent in extents_of(node) if isinstance(extent, int)]
    terms = list(itertools.product(*map(range, extents)))

    def tree(first: int, step: int) -> str:
        if step < count and first + step < len(terms):
            return combine(w, kind, type, tree(first, 2 * step), tree(first + step, 2 * step))
        if step < count:
            return tree(first, 2 * step)
        found = zero if first == 0 else ""
        for index in terms[first::count]:
            with w.bound({name: Uniform(str(value)) for name, value in zip(names, index, strict=True)}):
                give(index[-1])
                w.run(node.regions[0])
                term = w.spread(_term(w, node))
                found = combine(w, kind, type, found, term) if found else term
        return found

    with turned(w, node) as give:
        w.registers[node.output] = Register(tree(0, 1), type)


def _lanes_across(w: Writer, node: Node) -> None:
    """All partial results stand in memory, each a vector of the scope's lanes."""
    kind, type = str(node.attributes["kind"]), LLType(node.output.type.dtype, w.lanes)
    count = partials(node)
    parts = Partials(w, kind, type, count, 1)
    total = w.slot(type)
    w.write(total, type.constant(neutral(kind, type.dtype)))
    at = w.slot(LLType(I64))

    def begin() -> None:
        parts.clear()
        w.write(at, "0")

    def body() -> None:
        w.run(node.regions[0])
        place = w.read(at)
        parts.add(w.f.let(f"and i64 {place}, {count - 1}"), w.spread(_term(w, node)))
        w.write(at, w.f.let(f"add nsw i64 {place}, 1"))

    def end() -> None:
        w.write(total, combine(w, kind, type, w.read(total), parts.total()))

    terms = product(extents_of(node))
    if isinstance(terms, int) and terms <= BLOCK:
        begin()
        whole_domain(w, node, body)
        end()
    else:
        cut_domain(w, node, str(BLOCK), begin, between(w, node, body), end)
    w.registers[node.output] = Register(w.read(total), type)


class LaneSum:
    """A sum in the order `lanes` that goes along its own variable, `lanes` terms at a time, block after block."""

    def __init__(self, w: Writer, node: Node, lanes: int) -> None:
        self.w, self.node, self.count = w, node, partials(node)
        self.kind, dtype = str(node.attributes["kind"]), node.output.type.dtype
        self.type, self.scalar = LLType(dtype, lanes), LLType(dtype)
        self.parts = Partials(w, self.kind, self.type, self.count // lanes, lanes)
        self.sum = w.slot(self.scalar)
        w.write(self.sum, self.scalar.constant(neutral(self.kind, dtype)))

    def begin(self) -> None:
        """Begin a block."""
        self.parts.clear()

    def add(self, start: str, run: Body) -> None:
        """Take in the terms from position `start` of the block on; `run` emits what they are computed by."""
        w, type = self.w, self.type
        run()
        term = w.spread(_term(w, self.node))
        if w.mask is not None:
            term = _where_exists(w, type, term, type.constant(neutral(self.kind, type.dtype)))
        self.parts.add(w.f.let(f"and i64 {start}, {self.count - 1}") if self.count > type.lanes else "0", term)

    def end(self) -> None:
        """Add the block."""
        w = self.w
        w.write(self.sum, combine(w, self.kind, self.scalar, w.read(self.sum), self.parts.total()))

    def finish(self) -> None:
        """The sum becomes the value of its node."""
        self.w.registers[self.node.output] = Register(self.w.read(self.sum), self.scalar)


def _lanes_along(w: Writer, node: Node, lanes: int) -> None:
    """Neighbouring terms in the lanes of a vector: all partial results at once where the body is small."""
    count, extents = partials(node), extents_of(node)
    last = extents[-1]
    whole_rows = isinstance(last, int) and last % lanes == 0 and last % count != 0 and len(extents) > 1
    if cost(node.regions[0]) <= _SMALL and not whole_rows and w.options.lanes is None:
        lanes = count
    fold = LaneSum(w, node, lanes)

    def add(start: str) -> None:
        fold.add(start, lambda: w.run(node.regions[0]))

    def block(begin: str, end: str, known: int | None) -> None:
        fold.begin()
        if len(extents) == 1:
            name = variables_of(node)[0]
            vector_loop(w, name, begin, end, lanes, lambda: add(_lane_zero(w, name)), known)
        elif before := _short_rows(w, node, begin, end, lanes, add):
            fold.parts.turn(before)
        else:
            _flat_vectors(w, node, begin, end, lanes, add)
        fold.end()

    in_blocks(w, product(extents), block)
    fold.finish()


def in_blocks(w: Writer, terms: Size, block: Callable[[str, str, int | None], None]) -> None:
    """`block(begin, end, known)` for each block of the order `lanes`; `known` is the number of terms of an only one."""
    if isinstance(terms, int) and terms <= BLOCK:
        block("0", str(terms), terms)
        return
    size = uniform(w, terms)
    with counted(w.f, "0", size, BLOCK) as begin, w.scope():
        block(begin, least(w, w.f.let(f"add nsw i64 {begin}, {BLOCK}"), size), None)


def _lane_zero(w: Writer, name: str) -> str:
    """The value of a variable in the first lane."""
    variable = w.variables[name]
    assert isinstance(variable, Ramp)
    return variable.base


def _short_rows(w: Writer, node: Node, begin: str, end: str, lanes: int, add: Callable[[str], None]) -> str:
    """`walk_short_rows` where that pays, in the order of whose places the partial results then are; else no text."""
    if not isinstance(length := extents_of(node)[-1], int) or length >= lanes:
        return ""
    from adjit.compiler.llvm.emit_short_rows import period_of, walk_short_rows

    period = period_of(w, node, lanes)
    return walk_short_rows(w, node, period, begin, end, lanes, add) if period else ""


def _flat_vectors(
    w: Writer, node: Node, begin: str, end: str, lanes: int, add: Callable[[str], None]
) -> None:
    """The terms begin..end-1 of a domain of several variables, `lanes` at a time.

    A vector within one row of the last variable is read as such.  One that straddles rows is read piece by piece, each
    in the lanes that it fills: partial results take 0, or 1, from the others, which changes none.  Rows so short that
    the pieces are too many are read with indices lane by lane.
    """
    f = w.f
    pairs = tuple(zip(variables_of(node), extents_of(node), strict=True))
    *outer, (name, extent) = pairs
    length = greatest(w, uniform(w, extent), "1")
    never = isinstance(extent, int) and extent < lanes
    read = _by_piece if _pays_pieces(w, node, lanes) else _lane_by_lane
    with counted(f, begin, end, lanes) as start, w.scope():
        stop = f.let(f"add nsw i64 {start}, {lanes}")
        one, other, done = f.label("row"), f.label("straddle"), f.label("done")
        if not never:
            row, column = f.let(f"udiv i64 {start}, {length}"), f.let(f"urem i64 {start}, {length}")
            in_row = f.let(f"icmp sle i64 {f.let(f'add nsw i64 {column}, {lanes}')}, {length}")
            f.branch(f.let(f"and i1 {in_row}, {f.let(f'icmp sle i64 {stop}, {end}')}"), one, other)
            f.start(one)
            with w.scope(), w.bound({**split_flat(w, outer, row), name: Ramp(column)}), w.vector(lanes, None):
                add(start)
            f.jump(done)
            f.start(other)
        read(w, pairs, start, least(w, stop, end), lanes, add)
        if not never:
            f.jump(done)
            f.start(done)


def _pays_pieces(w: Writer, node: Node, lanes: int) -> bool:
    """Whether to compute the terms of each piece of a vector in its lanes takes less time than to gather them all."""
    extent, region = extents_of(node)[-1], node.regions[0]
    if not isinstance(extent, int):
        return True
    work = cost(region) * max(1, lanes // w.native_lanes(loop_dtype(region)))
    loads = sum(inner.op is LOAD for inner in region.walk())
    return (lanes // max(1, extent) + 1) * (work + _PIECE) <= work + _GATHERED * lanes * loads


def _by_piece(w: Writer, pairs: Pairs, start: str, stop: str, lanes: int, add: Callable[[str], None]) -> None:
    """The terms start..stop-1, at most `lanes` of them, as pieces of rows."""
    f = w.f
    with walk_pieces(w, pairs, start, stop) as (shift, first, last):
        base = f.let(f"sub nsw i64 {start}, {shift}")
        before, until = (below(f, lanes, f.let(f"sub nsw i64 {column}, {base}")) for column in (first, last))
        mask = f.let(f"xor <{lanes} x i1> {before}, {until}")
        with w.vector(lanes, mask), w.bound({pairs[-1][0]: Ramp(base)}):
            add(start)


def _lane_by_lane(w: Writer, pairs: Pairs, start: str, stop: str, lanes: int, add: Callable[[str], None]) -> None:
    """The terms start..stop-1, at most `lanes` of them, each lane with variables of its own."""
    from adjit.compiler.llvm.emit_short_rows import lane_by_lane

    mask = below(w.f, lanes, w.f.let(f"sub nsw i64 {stop}, {start}"))
    lane_by_lane(w, pairs, start, mask, lanes, lambda: add(start))
