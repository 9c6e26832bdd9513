"""Packing an operand of a matrix product into panels: element (k, r) of panel p stands at p*kc*width + k*width + r.

The operand need not be an array: a `PackSource` evaluates its elements, one or several consecutive ones at a time.
Elements beyond the operand's edge are written as zeros, and are never evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from adjit.compiler.llvm.gemm_plan import GemmPlan
from adjit.compiler.llvm.gemm_tile import (
    below,
    counted,
    masked_load,
    masked_store,
    maximum,
    minimum,
    offset,
    prefetch,
    when,
)
from adjit.compiler.llvm.text import Function, LLType, Module

# Panels that are filled together; more of them would evict each other's lines from L1, a panel being 2^15 bytes long.
_TOGETHER = 8
# Rows of memory that are asked for ahead of the one being copied: some 200 cycles, the latency of a last cache.
_AHEAD = 8

Side = Literal["a", "b"]
Unit = Literal["index", "k"]
Evaluate = Callable[[Function, LLType, str, str, str, str | None], str]


@dataclass(frozen=True, slots=True)
class PackSource:
    """The elements of one operand: (batch, index, k), `index` being the row of A or the column of B.

    `evaluate(function, type, batch, index, k, mask)` emits code for `type.lanes` elements that follow each other along
    `unit` (`index` or `k`; None: only single elements can be asked for) and returns their name.  A mask tells the lanes
    that exist; the others must not be read, and must come out as zeros.  Masks come only with `unit="index"`.
    """

    unit: Unit | None
    evaluate: Evaluate


@dataclass(frozen=True, slots=True)
class StridedOperand:
    """An array operand: a pointer, and i64 names or literals of its strides in elements."""

    pointer: str
    batch_stride: str
    index_stride: str
    k_stride: str


def emit_pack(
    module: Module, name: str, plan: GemmPlan, side: Side, prologue: Callable[[Function], list[tuple[str, PackSource]]]
) -> None:
    """`void @name(buffers, sizes, batch, i0, count, k0, kc, dst)`: pack ceil(count / width) panels of an operand.

    `prologue` emits what stands before the loops and returns the ways to evaluate the operand, each under an i1
    condition; the first whose condition holds is taken, and the last one's condition is taken for granted.
    """
    parameters = (
        "ptr %buffers, ptr %sizes, i64 %batch, i64 %first, i64 %count, i64 %k0, i64 %kc, ptr noalias %destination"
    )
    f = Function(module, name, parameters, attributes='noinline nounwind "prefer-vector-width"="512"')
    ways = prologue(f)
    if any(source.unit == "k" for _, source in ways):
        _make_square(f, plan)
    done = f.label("packed")
    for number, (condition, source) in enumerate(ways):
        other = f.label("way")
        if number + 1 < len(ways):
            chosen = f.label("way")
            f.branch(condition, chosen, other)
            f.start(chosen)
        _pack(f, plan, plan.mr if side == "a" else plan.nr, source)
        f.jump(done)
        if number + 1 < len(ways):
            f.start(other)
    f.start(done)
    f.line("ret void")
    f.finish()


def emit_pack_strided(
    module: Module, name: str, plan: GemmPlan, side: Side, prologue: Callable[[Function], StridedOperand]
) -> None:
    """`emit_pack` for an array of any strides: copies of vectors where a stride is 1, register transposes across it.

    The copying is done by functions that all arrays of a module share; a stride given as the literal `"1"` leaves the
    other ways out.
    """
    parameters = (
        "ptr %buffers, ptr %sizes, i64 %batch, i64 %first, i64 %count, i64 %k0, i64 %kc, ptr noalias %destination"
    )
    f = Function(module, name, parameters, attributes='noinline nounwind "prefer-vector-width"="512"')
    operand = prologue(f)
    base = offset(f, LLType(plan.dtype).llvm, operand.pointer, _product(f, "%batch", operand.batch_stride))
    width = plan.mr if side == "a" else plan.nr
    units: tuple[tuple[Unit, str], ...] = (("index", operand.index_stride), ("k", operand.k_stride))
    known: list[Unit] = [unit for unit, stride in units if stride == "1"]
    done = f.label("packed")

    def copy(unit: Unit | None) -> None:
        f.line(
            f"call void @{_strided_copy(module, plan, width, unit)}(ptr {base}, i64 {operand.index_stride}, "
            f"i64 {operand.k_stride}, i64 %batch, i64 %first, i64 %count, i64 %k0, i64 %kc, ptr %destination)"
        )
        f.jump(done)

    for unit, stride in units if not known else ():
        if stride.startswith("%"):
            chosen, other = f.label("way"), f.label("way")
            f.branch(f.let(f"icmp eq i64 {stride}, 1"), chosen, other)
            f.start(chosen)
            copy(unit)
            f.start(other)
    copy(known[0] if known else None)
    f.start(done)
    f.line("ret void")
    f.finish()


def _strided_copy(module: Module, plan: GemmPlan, width: int, unit: Unit | None) -> str:
    """`void @...(base, index_stride, k_stride, batch, first, count, k0, kc, destination)`: panels of an array.

    `unit` tells which stride is 1.
    """
    name = module.shared(f"gemm.pack.{unit or 'single'}.{width}.{LLType(plan.dtype, plan.lanes).suffix}")
    if module.has(name):
        return name
    parameters = (
        "ptr readonly %base, i64 %index_stride, i64 %k_stride, i64 %batch, i64 %first, i64 %count, i64 %k0, i64 %kc, "
        "ptr noalias %destination"
    )
    f = Function(module, name, parameters, attributes='noinline nounwind "prefer-vector-width"="512"')
    strides = "1" if unit == "index" else "%index_stride", "1" if unit == "k" else "%k_stride"

    def evaluate(f: Function, type: LLType, batch: str, index: str, k: str, mask: str | None) -> str:
        place = f.let(f"add nsw i64 {_product(f, index, strides[0])}, {_product(f, k, strides[1])}")
        address = offset(f, type.element, "%base", place)
        if mask is not None:
            return masked_load(f, type, address, mask, "zeroinitializer")
        if type.lanes == plan.lanes:  # hardware does not foresee the jumps from row to row
            step = _product(f, *ahead)
            prefetch(f, offset(f, type.element, address, step))
        return f.let(f"load {type.llvm}, ptr {address}, align {type.dtype.itemsize}")

    ahead = (str(width), strides[0]) if unit == "k" else (str(_AHEAD), strides[1])
    if unit == "k":
        _make_square(f, plan)
    _pack(f, plan, width, PackSource(unit, evaluate))
    f.line("ret void")
    f.finish()
    return name


def _make_square(f: Function, plan: GemmPlan) -> None:
    """Room for a square of `plan.lanes` vectors."""
    f.lines.insert(1, f"  %square = alloca [{plan.lanes * plan.lanes} x {LLType(plan.dtype).llvm}], align 64")


def _product(f: Function, left: str, right: str) -> str:
    return left if right == "1" else f.let(f"mul nsw i64 {left}, {right}")


def _pack(f: Function, plan: GemmPlan, width: int, source: PackSource) -> None:
    if source.unit == "index":
        _pack_along(f, plan, width, source)
        return
    with counted(f, "0", "%count", width) as start:
        panel = offset(f, LLType(plan.dtype).llvm, "%destination", f.let(f"mul nsw i64 {start}, %kc"))
        left = minimum(f, f.let(f"sub nsw i64 %count, {start}"), width)
        first = f.let(f"add nsw i64 %first, {start}")
        if source.unit == "k":
            _pack_across(f, plan, width, source, panel, first, left)
        else:
            _pack_single(f, plan, width, source, panel, first, left)


def _pack_along(f: Function, plan: GemmPlan, width: int, source: PackSource) -> None:
    """Copy rows of panels as vectors; those of a last, incomplete panel under masks.

    Several panels advance together, so that memory is read in runs longer than a panel is wide.
    """
    pieces = _pieces(plan, width)
    incomplete = f.let(f"urem i64 %count, {width}")
    whole = f.let(f"sub nsw i64 %count, {incomplete}")
    with counted(f, "0", whole, _TOGETHER * width) as group:
        stop = minimum(f, f.let(f"add nsw i64 {group}, {_TOGETHER * width}"), whole)
        with counted(f, "0", "%kc", 1) as k, counted(f, group, stop, width) as start:
            _copy_row(f, plan, width, source, start, k, pieces, [None] * len(pieces))
    if width == 1:
        return
    with when(f, f.let(f"icmp ne i64 {incomplete}, 0")):
        masks = [below(f, type.lanes, f.let(f"sub nsw i64 {incomplete}, {at}")) for at, type in pieces]
        with counted(f, "0", "%kc", 1) as k:
            _copy_row(f, plan, width, source, whole, k, pieces, masks)


def _copy_row(
    f: Function,
    plan: GemmPlan,
    width: int,
    source: PackSource,
    start: str,
    k: str,
    pieces: Sequence[tuple[int, LLType]],
    masks: Sequence[str | None],
) -> None:
    """Row k of the panel that begins at element `start` of this call's range."""
    element = LLType(plan.dtype).llvm
    depth = f.let(f"add nsw i64 %k0, {k}")
    first = f.let(f"add nsw i64 %first, {start}")
    panel = offset(f, element, "%destination", f.let(f"mul nsw i64 {start}, %kc"))
    row = offset(f, element, panel, f.let(f"mul nsw i64 {k}, {width}"))
    for (at, type), mask in zip(pieces, masks, strict=True):
        value = source.evaluate(f, type, "%batch", f.let(f"add nsw i64 {first}, {at}"), depth, mask)
        f.line(f"store {type.llvm} {value}, ptr {offset(f, element, row, at)}, align {type.dtype.itemsize}")


def _pieces(plan: GemmPlan, width: int) -> list[tuple[int, LLType]]:
    """The vectors that cover a panel's row: a last one of a single lane takes in the lane before it."""
    starts = [at if at + 1 < width else max(0, at - 1) for at in range(0, width, plan.lanes)]
    return [(at, LLType(plan.dtype, min(plan.lanes, width - at))) for at in starts]


def _pack_across(
    f: Function, plan: GemmPlan, width: int, source: PackSource, panel: str, first: str, left: str
) -> None:
    """Read runs along k of `lanes` rows into a square, and write its columns.

    The last run along k ends at kc, overlapping the one before; a kc shorter than a run goes element by element.
    """
    vector = LLType(plan.dtype, plan.lanes)
    align = plan.lanes * plan.dtype.itemsize
    transpose = emit_transpose(f.module, vector)
    single, across, done = f.label("single"), f.label("across"), f.label("done")
    f.branch(f.let(f"icmp slt i64 %kc, {plan.lanes}"), single, across)
    f.start(single)
    _pack_single(f, plan, width, source, panel, first, left)
    f.jump(done)
    f.start(across)
    last = f.let(f"sub nsw i64 %kc, {plan.lanes}")
    with counted(f, "0", str(width), plan.lanes) as at:
        columns = minimum(f, f.let(f"sub nsw i64 {width}, {at}"), plan.lanes)
        rows = minimum(f, maximum(f, f.let(f"sub nsw i64 {left}, {at}"), 0), columns)
        with counted(f, rows, columns, 1) as r:  # rows beyond the edge
            place = offset(f, vector.element, "%square", f.let(f"mul nsw i64 {r}, {plan.lanes}"))
            f.line(f"store {vector.llvm} zeroinitializer, ptr {place}, align {align}")
        with counted(f, "0", "%kc", plan.lanes) as run:
            k = minimum(f, run, last)
            depth = f.let(f"add nsw i64 %k0, {k}")
            with counted(f, "0", rows, 1) as r:
                index = f.let(f"add nsw i64 {first}, {f.let(f'add nsw i64 {at}, {r}')}")
                value = source.evaluate(f, vector, "%batch", index, depth, None)
                place = offset(f, vector.element, "%square", f.let(f"mul nsw i64 {r}, {plan.lanes}"))
                f.line(f"store {vector.llvm} {value}, ptr {place}, align {align}")
            corner = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {k}, {width}')}, {at}")
            f.line(
                f"call void @{transpose}(ptr %square, ptr {offset(f, vector.element, panel, corner)}, "
                f"i64 {width}, i64 {columns})"
            )
    f.jump(done)
    f.start(done)


def emit_transpose(module: Module, vector: LLType) -> str:
    """`void @transpose...(square, to, stride, count)`: write `count` lanes of each column of a square in memory.

    Column c goes to `to + c * stride`.  A function of its own, so that a module holds the exchange once.
    """
    name = module.shared(f"transpose.{vector.suffix}")
    if module.has(name):
        return name
    attributes = 'noinline nounwind "prefer-vector-width"="512"'
    f = Function(module, name, "ptr noalias %square, ptr noalias %to, i64 %stride, i64 %count", attributes=attributes)
    align = vector.lanes * vector.dtype.itemsize
    rows = [
        f.let(f"load {vector.llvm}, ptr {offset(f, vector.element, '%square', r * vector.lanes)}, align {align}")
        for r in range(vector.lanes)
    ]
    mask = below(f, vector.lanes, "%count")
    place = "%to"
    for column in transpose(f, vector, rows):
        masked_store(f, vector, column, place, mask)
        place = offset(f, vector.element, place, "%stride")
    f.line("ret void")
    f.finish()
    return name


def transpose(f: Function, vector: LLType, values: list[str]) -> list[str]:
    """The columns of the square whose rows are `values`: log2(lanes) rounds that exchange blocks off the diagonal."""
    lanes = vector.lanes
    block = 1
    while block < lanes:
        upper = ", ".join(f"i32 {lane if not lane & block else lanes + lane - block}" for lane in range(lanes))
        lower = ", ".join(f"i32 {lane + block if not lane & block else lanes + lane}" for lane in range(lanes))
        result = list(values)
        for i in range(lanes):
            if not i & block:
                pair = f"{vector.llvm} {values[i]}, {vector.llvm} {values[i + block]}"
                result[i] = f.let(f"shufflevector {pair}, <{lanes} x i32> <{upper}>")
                result[i + block] = f.let(f"shufflevector {pair}, <{lanes} x i32> <{lower}>")
        values = result
        block *= 2
    return values


def _pack_single(
    f: Function, plan: GemmPlan, width: int, source: PackSource, panel: str, first: str, left: str
) -> None:
    """Evaluate element by element."""
    scalar = LLType(plan.dtype)
    with counted(f, "0", "%kc", 1) as k:
        depth = f.let(f"add nsw i64 %k0, {k}")
        row = offset(f, scalar.llvm, panel, f.let(f"mul nsw i64 {k}, {width}"))
        with counted(f, "0", left, 1) as r:
            value = source.evaluate(f, scalar, "%batch", f.let(f"add nsw i64 {first}, {r}"), depth, None)
            f.line(f"store {scalar.llvm} {value}, ptr {offset(f, scalar.llvm, row, r)}, align {plan.dtype.itemsize}")
        with counted(f, left, str(width), 1) as r:
            f.line(f"store {scalar.llvm} {scalar.constant(0)}, ptr {offset(f, scalar.llvm, row, r)}")
