"""`for` nests: one variable is cut into vectors, the others are counted; and the scalars inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from adjit.compiler.llvm import scalar
from adjit.compiler.llvm.emit_choice import (
    Choice,
    choose,
    cost,
    extents_of,
    in_order,
    is_written_out,
    loop_dtype,
    variables_of,
)
from adjit.compiler.llvm.emit_clusters import clustered
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_interior import stretched_loop, stretches_of
from adjit.compiler.llvm.emit_state import Ramp, Register, Uniform, Writer
from adjit.compiler.llvm.emit_stream import emit_streaming, streamed_buffers
from adjit.compiler.llvm.sequences import below, counted, when
from adjit.compiler.llvm.text import LLType
from adjit.compiler.loops.ir import LOAD, REDUCE, STORE, UPDATE
from adjit.ir.graph import Node, Region, Value
from adjit.ir.shape import Size, product
from adjit.ir.types import BOOL, DType

if TYPE_CHECKING:
    from adjit.compiler.llvm.emit_abreast import RowsAbreast

Body: TypeAlias = Callable[[], None]
# A body of more operations stands once, always masked, instead of once for whole vectors and once for the rest.
_LARGE = 150
# Bodies of fewer operations run as several vectors abreast, so that sums in order do not wait for each other.
SMALL = 12
ABREAST = 4
# Operations of a loop over values on the stack that is written out.
_SPELLED = 200


def emit_for(w: Writer, node: Node, span: tuple[str, str] | None = None, rows: RowsAbreast | None = None) -> None:
    """A nest; `span` restricts its first variable; `rows` of its last variable but one may run side by side."""
    (region,) = node.regions
    names, extents = variables_of(node), extents_of(node)
    for name, extent in zip(names, extents, strict=True):
        w.bounds.declare(name, extent)
    choice = Choice(None)
    if w.lanes == 1:
        choice = choose(node, w.dependence, w.native_lanes(loop_dtype(region)))
    once = cost(region) > _LARGE
    abreast = ABREAST if choice.abreast and cost(region) <= SMALL and not _by_squares(region, choice) else 1
    spelled = is_spelled(w, node, choice.lanes)
    early = _early(w, node, len(names) - (2 if rows else 1))

    def nest(depth: int) -> None:
        for first in early.get(depth, ()):
            w.emit_node(first)
        if depth == len(names):
            with w.scope(), w.without(early), clustered(w, region, choice.variable):
                rows.run() if rows else w.run(region)
            return
        name, extent = names[depth], extents[depth]
        if rows and name == rows.row:
            rows.each(lambda: nest(depth + 1))
            return
        whole = span is None or depth > 0
        begin, end = ("0", uniform(w, extent)) if whole or span is None else span
        if name == choice.variable:
            known = extent if whole and isinstance(extent, int) else None

            def inner() -> None:
                nest(depth + 1)

            last = name == names[-1] and not spelled
            stretches = stretches_of(region, name, extent, choice.lanes, depth > 0) if last else ()
            if stretches:

                def between(low: str, high: str) -> None:
                    vector_loop(w, name, low, high, choice.lanes, inner, once=True)

                stretched_loop(w, name, (begin, end), choice.lanes, stretches, between, inner)
            elif known is not None and not spelled and choice.lanes < known < choice.lanes * abreast:
                # All vectors of a row abreast, the last of them cut by a mask that is known.
                masked(w, name, begin, end, -(-known // choice.lanes) * choice.lanes, inner)
            else:
                vector_loop(w, name, begin, end, choice.lanes, inner, known, abreast, once, spelled)
        else:
            scalar_loop(w, name, begin, end, lambda: nest(depth + 1), spelled)

    streamed = streamed_buffers(w, node, choice) if w.lanes == 1 else []
    if streamed:
        emit_streaming(w, streamed, span[0] if span and len(names) == 1 else "0", lambda: nest(0))
    else:
        nest(0)


def _by_squares(region: Region, choice: Choice) -> bool:
    """Whether sums read whole squares of neighbouring terms, whose columns fill the registers."""
    if choice.variable is None or not any(node.op is REDUCE and in_order(node) for node in region.nodes):
        return False
    from adjit.compiler.llvm.emit_squares import has_square

    return has_square(region, choice.variable)


def _early(w: Writer, node: Node, most: int) -> dict[int, list[Node]]:
    """What a nest computes outside its inner loops, by the number of loops around it: what depends on no inner one.

    `most` is the greatest such number.  LLVM would not move a load before a loop that stores, nor code with branches.
    """
    (region,) = node.regions
    names = variables_of(node)
    written = {w.memory_of(inner.inputs[0]) for inner in region.walk() if inner.op in (STORE, UPDATE)}
    inside, found = set(region.nodes), dict[int, list[Node]]()
    depths: dict[Node, int] = {}
    for inner in region.nodes:
        plain = inner.op is LOAD and len(inner.inputs) == 1 and w.memory_of(inner.inputs[0]) not in written
        safe = inner.op.family == "scalar" and inner.output.type.dtype.is_float
        if not (plain or safe):
            continue
        used = w.dependence.of(inner.output)
        depth = max((place + 1 for place, name in enumerate(names) if name in used), default=0)
        makers = [value.node for value in inner.inputs if value.node in inside]
        if depth <= most and all(maker in depths for maker in makers):
            depths[inner] = depth
            found.setdefault(depth, []).append(inner)
    return found


def is_spelled(w: Writer, node: Node, lanes: int = 1) -> bool:
    """Whether a short loop over values on the stack is written out, turn by turn: values with fixed places can stand in
    registers."""
    if not w.stack:
        return False
    count, size = product(extents_of(node)), cost(node.regions[0])
    for inner in node.regions[0].walk():
        if inner.op is REDUCE and is_written_out(inner):
            terms = product(extents_of(inner))
            size += cost(inner.regions[0]) * (terms - 1 if isinstance(terms, int) else 0)
    return isinstance(count, int) and -(-count // lanes) * size <= _SPELLED


def scalar_loop(w: Writer, name: str, begin: str, end: str, body: Body, spelled: bool = False) -> None:
    """`body` for each value of a variable; with `spelled`, each in code of its own where begin and end are numbers."""
    if spelled and begin.isdigit() and end.isdigit():
        for value in range(int(begin), int(end)):
            with w.bound({name: Uniform(str(value))}):
                body()
        return
    mark = len(w.f.lines)
    with counted(w.f, begin, end, 1) as i, w.bound({name: Uniform(i)}, mark):
        body()


def vector_loop(
    w: Writer,
    name: str,
    begin: str,
    end: str,
    lanes: int,
    body: Body,
    known: int | None = None,
    abreast: int = 1,
    once: bool = False,
    spelled: bool = False,
) -> None:
    """`body` for `lanes` values of a variable at a time, the last ones under a mask.

    `known` is the extent, where begin is 0 and the extent is a number; with `abreast`, that many vectors at a time are
    taken first, as one wider one; with `once`, the body is written once and runs under a mask always.  With `spelled`,
    a known number of vectors is written out.
    """
    f = w.f
    if lanes == 1:
        scalar_loop(w, name, begin, end, body, spelled)
        return
    if known is not None and (spelled or known == lanes):
        for start in range(0, known, lanes):
            if start + lanes <= known:
                with w.bound({name: Ramp(str(start), lanes)}), w.vector(lanes, None):
                    body()
            else:
                masked(w, name, str(start), end, lanes, body, lanes)
        return
    wide = lanes * abreast
    multiple = lanes if begin == "0" else 1
    if once and not (known is not None and known % lanes == 0):
        with counted(f, begin, end, lanes) as i:
            masked(w, name, i, end, lanes, body, multiple)
        return
    if known is not None:
        stop = str(known - known % wide)
    else:
        span = f.let(f"sub nsw i64 {end}, {begin}")
        stop = f.let(f"add nsw i64 {begin}, {f.let(f'and i64 {span}, {-wide}')}")
    if stop != begin:
        mark = len(f.lines)
        with counted(f, begin, stop, wide) as i:
            ramp = Ramp(i, wide if begin == "0" else 1)
            with w.bound({name: ramp}, mark), w.vector(wide, None):
                body()
    if stop == end:
        return
    if known is not None and known - int(stop) <= lanes:
        masked(w, name, stop, end, lanes, body, multiple)
    elif abreast == 1:
        with when(f, f.let(f"icmp slt i64 {stop}, {end}")):
            masked(w, name, stop, end, lanes, body, multiple)
    else:
        with counted(f, stop, end, lanes) as i:
            masked(w, name, i, end, lanes, body, multiple)


def masked(w: Writer, name: str, begin: str, end: str, lanes: int, body: Body, multiple: int = 1) -> None:
    """`body` for the values begin..end-1, at most `lanes` of them, of a variable; `multiple` divides begin."""
    f = w.f
    left = f.let(f"sub nsw i64 {end}, {begin}")
    if not end.startswith("%") and not begin.startswith("%"):
        left = str(int(end) - int(begin))
    elif lanes > 1:
        f.module.declare("declare i64 @llvm.smin.i64(i64, i64)")
        left = f.let(f"call i64 @llvm.smin.i64(i64 {left}, i64 {lanes})")
    if w.stack and left.isdigit() and lanes > 1:
        mask = f"<{', '.join(f'i1 {str(lane < int(left)).lower()}' for lane in range(lanes))}>"
    else:
        mask = below(f, lanes, left)
    with w.bound({name: Ramp(begin, multiple)}), w.vector(lanes, mask):
        body()


def emit_const(w: Writer, node: Node) -> None:
    """`const`: a literal."""
    type = LLType(node.output.type.dtype)
    value = node.attributes["value"]
    assert isinstance(value, (int, float))
    w.registers[node.output] = Register(type.constant(value), type, value)


def emit_scalar(w: Writer, node: Node) -> None:
    """A scalar primitive, in as many lanes as its operands have."""
    if is_fused_product(w, node):
        return
    operands = [w.register(value) for value in operands_of(w, node)]
    decided = _decided(node, operands)
    if decided is not None:
        w.registers[node.output] = decided
        return
    index = fused_side(w, node)
    if index is not None:
        w.registers[node.output] = fused_sum(w, node, index, operands)
        return
    lanes = max((register.type.lanes for register in operands), default=1)
    types = [LLType(register.type.dtype, lanes) for register in operands]
    names = [w.spread(register, lanes) for register in operands]
    result = LLType(node.output.type.dtype, lanes)

    def fault(code: int, where: str) -> None:
        w.fault(code, where, lanes)

    w.registers[node.output] = Register(scalar.emit(w.f, node, types, names, result, fault), result)


def _decided(node: Node, operands: Sequence[Register]) -> Register | None:
    """The operand that a `where`, `and` or `or` gives, or a literal, where a bool of it is known."""
    if node.op.name == "where" and isinstance(operands[0].literal, bool):
        return operands[1 if operands[0].literal else 2]
    if node.op.name in ("and", "or") and node.output.type.dtype is BOOL:
        for this, other in (operands, operands[::-1]):
            if isinstance(this.literal, bool):
                return other if this.literal == (node.op.name == "and") else this
    if node.op.name == "not" and isinstance(operands[0].literal, bool):
        type = LLType(BOOL)
        return Register(type.constant(not operands[0].literal), type, not operands[0].literal)
    return None


def is_fused_product(w: Writer, node: Node) -> bool:
    """Whether a product is computed with the sum that it goes into."""
    return not w.options.strict and w.options.target.has_fma and node in w.dependence.fused.products


def fused_side(w: Writer, node: Node) -> int | None:
    """Which operand of a sum or difference is a product that is computed with it."""
    return w.dependence.fused.side.get(node) if not w.options.strict and w.options.target.has_fma else None


def operands_of(w: Writer, node: Node) -> tuple[Value, ...]:
    """What a scalar is computed from: a product's operands, then the other one, where a product is computed with it."""
    index = fused_side(w, node)
    product = None if index is None else node.inputs[index].node
    return node.inputs if index is None or product is None else (*product.inputs, node.inputs[1 - index])


def fused_sum(w: Writer, node: Node, index: int, operands: Sequence[Register]) -> Register:
    """A sum or difference whose operand `index` is a product, in one rounding: of two factors and what is added.

    a*b - c = a*b + (-c) and c - a*b = (-a)*b + c: a sign changes no bit of a rounding.
    """
    type = LLType(node.output.type.dtype, max(register.type.lanes for register in operands))
    left, right, added = (w.spread(register, type.lanes) for register in operands)
    if node.op.name == "sub" and index == 0:
        added = w.f.let(f"fneg {type.llvm} {added}")
    elif node.op.name == "sub":
        left = w.f.let(f"fneg {type.llvm} {left}")
    return Register(w.f.intrinsic("fma", type, left, right, added), type)


def neutral(kind: str, dtype: DType) -> int | float | bool:
    """The value that changes nothing under `kind`; for max and min the least and the greatest value there is."""
    if kind in ("sum", "any"):
        return False if dtype.kind == "bool" else 0
    if kind in ("prod", "all"):
        return True if dtype.kind == "bool" else 1
    low = kind in ("max", "argmax")
    if dtype.is_float:
        return float("-inf") if low else float("inf")
    if dtype.kind == "bool":
        return not low
    least = -(1 << dtype.bits - 1) if dtype.kind == "int" else 0
    most = (1 << dtype.bits - (dtype.kind == "int")) - 1
    return least if low else most


def total_of(w: Writer, extents: tuple[Size, ...]) -> str:
    """The i64 product of extents."""
    total: Size = 1
    for extent in extents:
        total = total * extent
    return uniform(w, total)
