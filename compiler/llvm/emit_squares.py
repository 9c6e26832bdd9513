"""Sums in order whose terms are neighbours in memory while their lanes stand apart, as those of a matrix by a vector.

A gather would take a step for each lane and term.  Here squares of lanes and terms are read by rows and exchanged in
registers, where each column is a vector of terms.  A whole square's columns are used there; those of others, and of
squares beside each other, stand on the stack.
"""

from __future__ import annotations

from collections.abc import Callable

from adjit.compiler.llvm.emit_choice import WIDEST_STRIDE, column_stride, cost, extents_of, in_order, variables_of
from adjit.compiler.llvm.emit_index import least, uniform
from adjit.compiler.llvm.emit_loops import Body
from adjit.compiler.llvm.emit_state import Register, Uniform, Writer, memory_type
from adjit.compiler.llvm.emit_turned import apart
from adjit.compiler.llvm.sequences import below, counted, masked_load, offset, prefetch
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.llvm.transposition import transpose
from adjit.compiler.loops.ir import LOAD, REDUCE, address
from adjit.compiler.memory import LINE
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Region
from adjit.ir.shape import Size
from adjit.ir.types import BF16, F16, F32, F64, I16, I32, I64

# Elements that are exchanged, and the words that they are exchanged as.
_WORDS = {F32: F32, F64: F64, I32: I32, I64: I64, F16: I16, BF16: I16}
# Fewer gathers take no longer.
_FEWEST_TERMS = 4
# Squares ahead of which memory is asked for their rows: it does not foresee so many at a time.
_AHEAD = 4
# Operations of a body that stands once for each term of a whole square, and terms of a sum that has such squares.
_SMALL, _FEWEST_WHOLE = 6, 16
# AVX2 has masks for words of so many bytes.
_MASKED_BYTES = 4


@frozen
class Square:
    """A load whose lanes stand `stride` apart: those of its terms at hand stand in `room`, a row for each term.

    A row has `pitch` words, and a square `word.lanes` of them: lanes beyond these are in squares of their own.
    """

    load: Node
    stride: Size
    word: LLType
    room: str
    pitch: int


def has_square(region: Region, variable: str) -> bool:
    """Whether a sum in the body of a `for` would be read by whole squares where vectors go along `variable`."""
    for node in region.nodes:
        if node.op is not REDUCE or not in_order(node) or len(variables_of(node)) != 1:
            continue
        (name,), (extent,), inside = variables_of(node), extents_of(node), node.regions[0]
        if cost(inside) <= _SMALL and not (isinstance(extent, int) and extent < _FEWEST_WHOLE):
            return sum(_is_apart(load, name, variable) for load in inside.nodes) == 1
    return False


def _is_apart(load: Node, term: str, lane: str) -> bool:
    """Whether terms of a load are neighbours and its lanes are not."""
    if load.op is not LOAD or len(load.inputs) > 1 or column_stride(load, term) != 1:
        return False
    stride = column_stride(load, lane)
    return stride is not None and not (isinstance(stride, int) and stride <= WIDEST_STRIDE)


def squares_of(w: Writer, node: Node) -> list[Square]:
    """The loads of a `reduce` that are read by squares, in the lanes of the scope."""
    names, extents = variables_of(node), extents_of(node)
    width, target = w.native_lanes(node.output.type.dtype), w.options.target
    if min(w.lanes, width) < 2 or len(names) != 1 or not target.has_avx2:
        return []
    if isinstance(extents[0], int) and extents[0] < _FEWEST_TERMS:
        return []
    pitch, found = max(w.lanes, width), []
    for load in node.regions[0].nodes:
        word = _WORDS.get(load.output.type.dtype) if load.outputs else None
        stride = 0 if word is None else apart(w, load, names[0])
        if stride and word is not None and (target.has_masks or word.itemsize >= _MASKED_BYTES):
            type = LLType(word, width)
            found.append(Square(load, stride, type, w.room(type, pitch), pitch))
    return found


def by_squares(w: Writer, node: Node, squares: list[Square], body: Body) -> Callable[[str, str], None]:
    """What emits `body` for the terms of a `reduce` from one up to another, in order, with the loads of `squares`."""
    f, (name,) = w.f, variables_of(node)
    width, loads = squares[0].word.lanes, [square.load for square in squares]
    direct = _is_direct(w, node, squares)

    def on_stack(first: str, terms: str) -> None:
        with w.bound({name: Uniform(first)}):
            for square in squares:
                _fill(w, square, terms)
        mark = len(f.lines)
        with (
            counted(f, "0", terms, 1) as term,
            w.without({0: loads}),
            w.bound({name: Uniform(f.let(f"add nsw i64 {first}, {term}"))}, mark),
        ):
            for square in squares:
                _give(w, square, term)
            body()

    def in_registers(first: str) -> None:
        (square,) = squares
        with w.bound({name: Uniform(first)}):
            rows = _whole_rows(f, square.word, _start(w, square), uniform(w, square.stride))
        for term, column in enumerate(transpose(f, square.word, rows)):
            with w.without({0: loads}), w.bound({name: Uniform(f.let(f"add nsw i64 {first}, {term}"))}):
                w.registers[square.load.output] = Register(column, square.word)
                body()

    def each(begin: str, end: str) -> None:
        mark, step = len(f.lines), f.reserve()
        with counted(f, begin, end, step) as first, w.scope(mark):
            rest = least(w, f.let(f"sub nsw i64 {end}, {first}"), str(width))
            with w.bound({name: Uniform(first)}):
                terms = _up_to_line(w, squares[0], rest)
            f.set(step, f"add nsw i64 {terms}, 0")
            if not direct:
                on_stack(first, terms)
                return
            whole, part, done = f.label("whole"), f.label("part"), f.label("done")
            f.branch(f.let(f"icmp eq i64 {terms}, {width}"), whole, part)
            f.start(whole)
            with w.scope():
                in_registers(first)
            f.jump(done)
            f.start(part)
            with w.scope():
                on_stack(first, terms)
            f.jump(done)
            f.start(done)

    return each


def _is_direct(w: Writer, node: Node, squares: list[Square]) -> bool:
    """Whether the columns of whole squares stay in registers: those of one, in all lanes of the scope."""
    (first, *others), small = squares, cost(node.regions[0]) <= _SMALL
    is_word = first.load.output.type.dtype is first.word.dtype
    return small and is_word and not others and w.mask is None and w.lanes == first.word.lanes


def _start(w: Writer, square: Square) -> str:
    """Where the first lane's term at hand stands."""
    load = square.load
    flat = address(load.inputs[0].type, load.attributes["at"])  # type: ignore[arg-type]
    return offset(w.f, square.word.element, w.buffers[load.inputs[0]], uniform(w, flat))


def _up_to_line(w: Writer, square: Square, rest: str) -> str:
    """How many terms to read: up to a square's width of the `rest`, and not beyond a cache line that rows have alike.

    Rows that begin at one place in a line are often a power of two apart: the next square finds the other part of
    their lines no more, which evict each other from the cache.
    """
    f, width, bytes = w.f, square.word.lanes, square.word.dtype.itemsize
    if isinstance(square.stride, int) and square.stride * bytes % LINE:
        return rest
    place = f.let(f"ptrtoint ptr {_start(w, square)} to i64")
    beyond = f.let(f"and i64 {f.let(f'lshr i64 {place}, {bytes.bit_length() - 1}')}, {width - 1}")
    if not isinstance(square.stride, int):
        apart = f.let(f"and i64 {uniform(w, square.stride)}, {LINE // bytes - 1}")
        beyond = f.let(f"select i1 {f.let(f'icmp eq i64 {apart}, 0')}, i64 {beyond}, i64 0")
    return least(w, rest, f.let(f"sub nsw i64 {width}, {beyond}"))


def _fill(w: Writer, square: Square, terms: str) -> None:
    """Put the first `terms` terms of the lanes that exist into the square's rows."""
    f, lanes = w.f, square.word.lanes
    exchange = _emit_exchange(w.module, square.word)
    start = _start(w, square)
    stride = uniform(w, square.stride)
    for at in range(0, w.lanes, lanes):
        exist = str((1 << min(lanes, w.lanes - at)) - 1)
        if w.mask is not None:
            bits = f.let(f"bitcast <{w.lanes} x i1> {w.mask} to i{w.lanes}")
            bits = bits if w.lanes == 64 else f.let(f"zext i{w.lanes} {bits} to i64")
            exist = f.let(f"lshr i64 {bits}, {at}")
        row = offset(f, square.word.element, start, f.let(f"mul nsw i64 {stride}, {at}"))
        to = offset(f, square.word.element, square.room, at)
        given = f"ptr {to}, i64 {square.pitch}, ptr {row}, i64 {stride}, i64 {exist}, i64 {terms}"
        f.line(f"call void @{exchange}({given})")


def _give(w: Writer, square: Square, term: str) -> None:
    """Let the load have the vector of a term."""
    row = w.f.let(f"mul nsw i64 {term}, {square.pitch}")
    place = offset(w.f, square.word.element, square.room, row)
    type = memory_type(LLType(square.load.output.type.dtype, w.lanes))
    align = min(64, w.lanes * type.dtype.itemsize)
    w.registers[square.load.output] = Register(w.f.let(f"load {type.llvm}, ptr {place}, align {align}"), type)


def _emit_exchange(module: Module, vector: LLType) -> str:
    """`void @transpose.squares...(to, pitch, from, stride, exist, count)`: to[c * pitch + r] = from[r * stride + c].

    They are 0 where bit r of `exist` is not set and for c from `count` on, which are not read.  A function of its
    own, so that a module holds the exchange once.
    """
    name = module.shared(f"transpose.squares.{vector.suffix}")
    if module.has(name):
        return name
    parameters = "ptr noalias %to, i64 %pitch, ptr noalias %from, i64 %stride, i64 %exist, i64 %count"
    f = Function(module, name, parameters, attributes='noinline nounwind "prefer-vector-width"="512"')
    rows = _rows(f, vector)
    place, align = "%to", min(64, vector.lanes * vector.dtype.itemsize)
    for column in transpose(f, vector, rows):
        f.line(f"store {vector.llvm} {column}, ptr {place}, align {align}")
        place = offset(f, vector.element, place, "%pitch")
    f.line("ret void")
    f.finish()
    return name


def _rows(f: Function, vector: LLType) -> list[str]:
    """The rows of a square: of whole ones without masks, which cost more than the exchange."""
    lanes = vector.lanes
    part, whole, join = f.label("part"), f.label("whole"), f.label("join")
    all_exist = f.let(f"icmp eq i64 %exist, {(1 << lanes) - 1}")
    all_count = f.let(f"icmp sge i64 %count, {lanes}")
    f.branch(f.let(f"and i1 {all_exist}, {all_count}"), whole, part)
    f.start(part)
    mask = below(f, lanes, "%count")
    masked, place = [], "%from"
    for lane in range(lanes):
        bit = f.let(f"trunc i64 {f.let(f'lshr i64 %exist, {lane}')} to i1")
        own = f.let(f"select i1 {bit}, <{lanes} x i1> {mask}, <{lanes} x i1> zeroinitializer")
        masked.append(masked_load(f, vector, place, own, vector.constant(0)))
        place = offset(f, vector.element, place, "%stride")
    f.jump(join)
    f.start(whole)
    plain = _whole_rows(f, vector, "%from", "%stride")
    f.jump(join)
    f.start(join)
    pairs = zip(plain, masked, strict=True)
    return [f.let(f"phi {vector.llvm} [ {a}, %{whole} ], [ {b}, %{part} ]") for a, b in pairs]


def _whole_rows(f: Function, vector: LLType, place: str, stride: str) -> list[str]:
    """The rows of a whole square; those further on are asked for."""
    rows = []
    for _ in range(vector.lanes):
        rows.append(f.let(f"load {vector.llvm}, ptr {place}, align {vector.dtype.itemsize}"))
        prefetch(f, offset(f, vector.element, place, _AHEAD * vector.lanes), cache=2)
        place = offset(f, vector.element, place, stride)
    return rows
