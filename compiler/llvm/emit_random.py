"""`random_word`: words of a Philox stream (`adjit.ir.ops.source`), whole blocks of four at a time where they follow
each other.

A block stands in two lanes of 64 bits.  One multiplication gives both products of a round, as it takes the lower halves
of the lanes, words 0 and 2; turning the four halves of the products round puts them where the next round wants them.
"""

from __future__ import annotations

from adjit.compiler.llvm.emit_index import Place, place
from adjit.compiler.llvm.emit_state import Ramp, Register, Writer, size_of
from adjit.compiler.llvm.sequences import offset, splat
from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.vecmath_lanes import Lanes
from adjit.compiler.loops.ir import INDEX
from adjit.ir.graph import Node
from adjit.ir.ops.source import INCREMENTS, LOW_32, MULTIPLIERS, ROUNDS, philox
from adjit.ir.shape import Dim, Size
from adjit.ir.types import I32, I64

_BLOCK = 4


def emit_random_word(w: Writer, node: Node) -> None:
    """Word `position` of the stream (seed, offset)."""
    seed, stream, position = (w.register(value) for value in node.inputs)
    where = _consecutive(w, node)
    if where is not None and seed.type.lanes == stream.type.lanes == 1:
        name = _words(w, seed.name, stream.name, where, _is_whole(w, _expression(node)))
        w.registers[node.output] = Register(name, LLType(I32, w.lanes))
        return
    lanes = max(seed.type.lanes, stream.type.lanes, position.type.lanes)
    type = LLType(I64, lanes)
    word = _word(*(Lanes(w.f, type, w.spread(register, lanes)) for register in (seed, stream, position)))
    w.registers[node.output] = Register(word.convert("trunc", I32).text, LLType(I32, lanes))


def _word(seed: Lanes, stream: Lanes, position: Lanes) -> Lanes:
    """The word at any position in each lane."""
    block = position.shift_in_zeros(2)

    def halves(x: Lanes) -> tuple[Lanes, Lanes]:
        return x & LOW_32, x.shift_in_zeros(32)

    def multiply(x: Lanes, factor: int) -> tuple[Lanes, Lanes]:
        low, high = halves(x * factor)
        return high, low

    words = philox(halves(seed), (*halves(block), *halves(stream)), multiply, lambda x, step: (x + step) & LOW_32)
    number, found = position & (_BLOCK - 1), words[-1]
    for k in range(_BLOCK - 1):
        found = number.equal(k).choose(words[k], found)
    return found  # type: ignore[no-any-return]


# -- words that follow each other -------------------------------------------------------------------------------------
def _expression(node: Node) -> Size | None:
    """The position as an index expression."""
    index = node.inputs[2].node
    return size_of(index.attributes["value"]) if index is not None and index.op is INDEX and not index.inputs else None


def _consecutive(w: Writer, node: Node) -> Place | None:
    """Where the words of the lanes begin, if they follow each other and fill blocks."""
    expression = _expression(node)
    if expression is None or w.lanes % _BLOCK:
        return None
    where = place(w, expression)
    return where if where.stride == 1 and not where.scattered else None


def _is_whole(w: Writer, expression: Size | None) -> bool:
    """Whether the first lane's word surely begins a block."""
    if not isinstance(expression, Dim):
        return False
    for monomial, coefficient in expression.terms:
        if coefficient % _BLOCK == 0:
            continue
        variable = w.variables.get(monomial[0]) if len(monomial) == 1 and isinstance(monomial[0], str) else None
        if not isinstance(variable, Ramp) or variable.multiple % _BLOCK:
            return False
    return True


def _words(w: Writer, seed: str, stream: str, where: Place, whole: bool) -> str:
    """The words from a position on, in lanes of 32 bits."""
    f, type = w.f, LLType(I32, w.lanes)
    block = f.let(f"lshr i64 {where.base}, 2")
    first = _blocks(w, seed, stream, block)
    if whole:
        return first
    # Elsewhere they are a part of twice as many.
    ahead = f.let(f"and i64 {where.base}, {_BLOCK - 1}")
    pair, before = w.room(type, 2), f.block
    apart, joined = f.label("apart"), f.label("joined")
    f.branch(f.let(f"icmp eq i64 {ahead}, 0"), joined, apart)
    f.start(apart)
    second = _blocks(w, seed, stream, f.let(f"add i64 {block}, {w.lanes // _BLOCK}"))
    for number, words in enumerate((first, second)):
        f.line(f"store {type.llvm} {words}, ptr {offset(f, type.llvm, pair, number)}, align 4")
    moved = f.let(f"load {type.llvm}, ptr {offset(f, type.element, pair, ahead)}, align 4")
    f.jump(joined)
    f.start(joined)
    return f.let(f"phi {type.llvm} [ {first}, %{before} ], [ {moved}, %{apart} ]")


def _blocks(w: Writer, seed: str, stream: str, block: str) -> str:
    """The words of blocks from `block` on."""
    f, half, wide = w.f, LLType(I32, w.lanes), LLType(I64, w.lanes // 2)
    odd = ", ".join(f"i1 {str(lane % 2 == 1).lower()}" for lane in range(wide.lanes))
    reverse = [lane ^ (_BLOCK - 1) for lane in range(half.lanes)]
    numbers = f.let(f"add {wide.llvm} {splat(f, wide, block)}, {_repeated(range(wide.lanes // 2), 2)}")
    state = f.let(
        f"select <{wide.lanes} x i1> <{odd}>, {wide.llvm} {splat(f, wide, stream)}, {wide.llvm} {numbers}"
    )
    # The key's words stand at the places of words 0 and 2.
    low, high = f.let(f"and i64 {seed}, {LOW_32}"), f.let(f"lshr i64 {seed}, 32")
    low_all, high_all = splat(f, wide, low), splat(f, wide, high)
    key = f.let(f"select <{wide.lanes} x i1> <{odd}>, {wide.llvm} {high_all}, {wide.llvm} {low_all}")
    factors, steps = (_alternating(pair, wide.lanes) for pair in (MULTIPLIERS, INCREMENTS))
    words = f"splat (i64 {LOW_32})"
    for number in range(ROUNDS):
        if number:
            key = f.let(f"and {wide.llvm} {f.let(f'add {wide.llvm} {key}, {steps}')}, {words}")
        products = f.let(f"mul {wide.llvm} {f.let(f'and {wide.llvm} {state}, {words}')}, {factors}")
        parts = f.let(f"bitcast {wide.llvm} {products} to {half.llvm}")
        turned = f.let(f"bitcast {half.llvm} {f.shuffle(half, reverse, parts)} to {wide.llvm}")
        others = f.let(f"xor {wide.llvm} {f.let(f'lshr {wide.llvm} {state}, splat (i64 32)')}, {key}")
        state = f.let(f"xor {wide.llvm} {turned}, {others}")
    return f.let(f"bitcast {wide.llvm} {state} to {half.llvm}")


def _repeated(numbers: range, times: int) -> str:
    return "<" + ", ".join(f"i64 {number}" for number in numbers for _ in range(times)) + ">"


def _alternating(pair: tuple[int, int], lanes: int) -> str:
    return "<" + ", ".join(f"i64 {pair[lane % 2]}" for lane in range(lanes)) + ">"
