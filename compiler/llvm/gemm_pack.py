"""Packing an array that is an operand of a matrix product, so that tiles read it from start to end.

B goes into panels of `nr` columns: element (k, j) of panel p at p*kc*nr + k*nr + j, zeros beyond the edge.  A, of which
tiles read single elements, keeps its rows: element (i, k) at i*kc + k; or, where these are contiguous, its columns, one
after another.  A whose rows, or few columns, are contiguous is read where it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from adjit.compiler.llvm.gemm_plan import GemmPlan
from adjit.compiler.llvm.sequences import below, counted, masked_load, masked_store, minimum, offset, prefetch, when
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.llvm.transposition import transpose
from adjit.compiler.memory import LINE
from adjit.ir.frozen import frozen
from adjit.ir.shape import Size
from adjit.ir.types import BF16, I32

# Panels that are filled together; more of them would evict each other's lines from L1, a panel being 2^15 bytes long.
_TOGETHER = 8
# Rows of memory that are asked for ahead of the one being copied: some 200 cycles, the latency of a last cache.
_AHEAD = 8

# Columns of A that tiles read where they stand: more of them are in more pages than their addresses are kept for.
_FEW_COLUMNS = 128
# Sets of the first cache, and the lines of a set that A may have.
_SETS, _WAYS = 64, 4

PARAMETERS = "ptr %buffers, ptr %sizes, i64 %batch, i64 %first, i64 %count, i64 %k0, i64 %kc, ptr noalias %destination"
ATTRIBUTES = 'noinline nounwind "prefer-vector-width"="512"'
_COPY = (
    "ptr readonly %base, i64 %index_stride, i64 %k_stride, i64 %batch, i64 %first, i64 %count, i64 %k0, i64 %kc, "
    "ptr noalias %destination"
)

Unit = Literal["index", "k"]
Order = Literal["panels", "rows", "columns"]


@frozen
class StridedOperand:
    """An array operand: a pointer, and i64 names or literals of its strides in elements."""

    pointer: str
    batch_stride: str
    index_stride: str
    k_stride: str


@frozen
class LeftOperand:
    """How tiles find A: packed by the function `pack` in an order; or in place, where `array` emits it."""

    pack: str = "null"
    order: Order = "panels"
    array: Callable[[Function], StridedOperand] | None = None


def emit_left(
    module: Module, name: str, plan: GemmPlan, array: Callable[[Function], StridedOperand], k: Size | None
) -> LeftOperand:
    """A that is an array of any strides, of `k` terms: in place, or packed by `void @name(PARAMETERS)`."""
    f = Function(module, name, PARAMETERS, attributes=ATTRIBUTES)
    operand = array(f)
    if operand.k_stride == "1":
        return LeftOperand(array=array)
    by_columns = operand.index_stride == "1"
    if by_columns and not plan.paired and _stay(plan, operand.k_stride, k):
        return LeftOperand(array=array)
    units: tuple[Unit | None, ...] = ("index",) if by_columns else ("k", None)
    _emit_ways(f, plan, operand, {unit: _copy_runs(module, plan, unit) for unit in units})
    return LeftOperand(f"@{name}", "columns" if by_columns else "rows")


def _stay(plan: GemmPlan, stride: str, columns: Size | None) -> bool:
    """Whether lines of so many columns of A, so far apart, stay in the first cache while a tile's columns pass."""
    if not (stride.isdigit() and isinstance(columns, int) and 0 < columns <= _FEW_COLUMNS):
        return False
    lines = (column * int(stride) * plan.dtype.itemsize // LINE for column in range(columns))
    return max(Counter(line % _SETS for line in lines).values()) <= _WAYS


def column_pitch(f: Function, plan: GemmPlan, count: str) -> str:
    """How far apart packed columns of `count` elements are: an odd number of lines, so that they share no cache set."""
    line = LINE // plan.dtype.itemsize
    lines = f.let(f"udiv i64 {f.let(f'add nsw i64 {count}, {line - 1}')}, {line}")
    return f.let(f"mul nsw i64 {f.let(f'or i64 {lines}, 1')}, {line}")


def emit_pack_strided(
    module: Module, name: str, plan: GemmPlan, array: Callable[[Function], StridedOperand]
) -> None:
    """`void @name(PARAMETERS)`: panels of B, an array of any strides.

    Vectors are copied where a stride is 1, and transposed in registers across it.
    """
    f = Function(module, name, PARAMETERS, attributes=ATTRIBUTES)
    operand = array(f)
    units: tuple[Unit | None, ...] = ("index", "k", None)
    _emit_ways(f, plan, operand, {unit: _copy_panels(module, plan, plan.nr, unit) for unit in units})


def _emit_ways(
    f: Function, plan: GemmPlan, operand: StridedOperand, ways: dict[Unit | None, Callable[[], str]]
) -> None:
    """Call the function among `ways` for the stride that is 1, known (the literal `"1"`) or asked for at run time.

    The copying is done by functions that all arrays of a module share, made where they are needed.
    """
    base = offset(f, LLType(plan.dtype).llvm, operand.pointer, _product(f, "%batch", operand.batch_stride))
    strides: dict[Unit | None, str] = {"index": operand.index_stride, "k": operand.k_stride}
    known = [unit for unit in ways if unit is not None and strides[unit] == "1"]
    done = f.label("packed")

    def copy(unit: Unit | None) -> None:
        f.line(
            f"call void @{ways[unit]()}(ptr {base}, i64 {operand.index_stride}, i64 {operand.k_stride}, "
            "i64 %batch, i64 %first, i64 %count, i64 %k0, i64 %kc, ptr %destination)"
        )
        f.jump(done)

    for unit in ways if not known else ():
        if unit and strides[unit].startswith("%"):
            chosen, other = f.label("way"), f.label("way")
            f.branch(f.let(f"icmp eq i64 {strides[unit]}, 1"), chosen, other)
            f.start(chosen)
            copy(unit)
            f.start(other)
    copy(known[0] if known else None)
    f.start(done)
    f.line("ret void")
    f.finish()


class _Array:
    """The elements (index, k) of the array that a copying function is given; `unit` tells which stride is 1."""

    def __init__(self, f: Function, unit: Unit | None) -> None:
        self.f = f
        self.index_stride = "1" if unit == "index" else "%index_stride"
        self.k_stride = "1" if unit == "k" else "%k_stride"

    def place(self, type: LLType, index: str, k: str) -> str:
        at = self.f.let(
            f"add nsw i64 {_product(self.f, index, self.index_stride)}, {_product(self.f, k, self.k_stride)}"
        )
        return offset(self.f, type.element, "%base", at)

    def load(
        self, type: LLType, index: str, k: str, mask: str | None = None, ahead: tuple[int, str] | None = None
    ) -> str:
        """Elements from (index, k) on, along the stride that is 1; `ahead` times a stride further is asked for too."""
        address = self.place(type, index, k)
        if mask is not None:
            return masked_load(self.f, type, address, mask, "zeroinitializer")
        if ahead is not None:  # hardware does not foresee the jumps from row to row
            prefetch(self.f, offset(self.f, type.element, address, _product(self.f, str(ahead[0]), ahead[1])))
        return self.f.let(f"load {type.llvm}, ptr {address}, align {type.dtype.itemsize}")


class _Pairs(_Array):
    """Pairs of bfloat16 as the bits of a float: element (index, k) is those at (index, 2k) and (index, 2k + 1)."""

    def load(
        self, type: LLType, index: str, k: str, mask: str | None = None, ahead: tuple[int, str] | None = None
    ) -> str:
        f, half, words = self.f, LLType(BF16, type.lanes), LLType(I32, type.lanes)
        first = offset(f, half.element, "%base", index)
        parts: list[str] = []
        for number in range(2):
            row = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {k}, 2')}, {number}")
            address = offset(f, half.element, first, f.let(f"mul nsw i64 {row}, {self.k_stride}"))
            if mask is not None:
                part = masked_load(f, half, address, mask, "zeroinitializer")
            else:
                if ahead is not None:
                    distance = f.let(f"mul nsw i64 {ahead[1]}, {2 * ahead[0]}")
                    prefetch(f, offset(f, half.element, address, distance))
                part = f.let(f"load {half.llvm}, ptr {address}, align {half.dtype.itemsize}")
            parts.append(f.let(f"zext {half.llvm} {part} to {words.llvm}"))
        upper = f.let(f"shl {words.llvm} {parts[1]}, {words.constant(16)}")
        return f.let(f"bitcast {words.llvm} {f.let(f'or {words.llvm} {parts[0]}, {upper}')} to {type.llvm}")


def _array_of(f: Function, plan: GemmPlan, unit: Unit | None) -> _Array:
    """The elements of an array; pairs of rows are put together, pairs along k are elements already."""
    return _Pairs(f, unit) if plan.paired and unit == "index" else _Array(f, unit)


def _copy_runs(module: Module, plan: GemmPlan, unit: Unit | None) -> Callable[[], str]:
    """The maker of `void @...(_COPY)`: columns of an array one after another if `unit` is its index, else rows."""

    def make() -> str:
        by_columns = unit == "index"
        vector = LLType(plan.dtype, plan.lanes if unit else 1)
        kind = f"{'columns' if by_columns else 'rows'}{'.pairs' if plan.paired else ''}"
        name = module.shared(f"gemm.{kind}.{vector.suffix}")
        if module.has(name):
            return name
        f = Function(module, name, _COPY, attributes=ATTRIBUTES)
        array, align = _array_of(f, plan, unit), plan.dtype.itemsize
        runs, length, pitch = "%count", "%kc", "%kc"
        ahead = _AHEAD, array.index_stride
        if by_columns:
            runs, length, pitch = "%kc", "%count", column_pitch(f, plan, "%count")
            ahead = _AHEAD, array.k_stride
        with counted(f, "0", runs, 1) as r:
            run = offset(f, vector.element, "%destination", f.let(f"mul nsw i64 {r}, {pitch}"))

            def load(at: str, mask: str | None = None) -> str:
                own, k = (at, r) if by_columns else (r, at)
                index, depth = f.let(f"add nsw i64 %first, {own}"), f.let(f"add nsw i64 %k0, {k}")
                return array.load(vector, index, depth, mask, ahead)

            whole = f.let(f"and i64 {length}, {-vector.lanes}")
            with counted(f, "0", whole, vector.lanes) as at:
                f.line(f"store {vector.llvm} {load(at)}, ptr {offset(f, vector.element, run, at)}, align {align}")
            if vector.lanes > 1:
                with when(f, f.let(f"icmp slt i64 {whole}, {length}")):
                    mask = below(f, vector.lanes, f.let(f"sub nsw i64 {length}, {whole}"))
                    masked_store(f, vector, load(whole, mask), offset(f, vector.element, run, whole), mask)
        f.line("ret void")
        f.finish()
        return name

    return make


def _copy_panels(module: Module, plan: GemmPlan, width: int, unit: Unit | None) -> Callable[[], str]:
    """The maker of `void @...(_COPY)`: panels of an array."""

    def make() -> str:
        kind = f"{unit or 'single'}{'.pairs' if plan.paired else ''}"
        name = module.shared(f"gemm.pack.{kind}.{width}.{LLType(plan.dtype, plan.lanes).suffix}")
        if module.has(name):
            return name
        f = Function(module, name, _COPY, attributes=ATTRIBUTES)
        array = _array_of(f, plan, unit)
        if unit == "index":
            _pack_along(f, plan, width, array)
        else:
            with counted(f, "0", "%count", width) as start:
                panel = offset(f, LLType(plan.dtype).llvm, "%destination", f.let(f"mul nsw i64 {start}, %kc"))
                left = minimum(f, f.let(f"sub nsw i64 %count, {start}"), width)
                first = f.let(f"add nsw i64 %first, {start}")
                (_pack_across if unit == "k" else _pack_single)(f, plan, width, array, panel, first, left)
        f.line("ret void")
        f.finish()
        return name

    return make


def _product(f: Function, left: str, right: str) -> str:
    return left if right == "1" else f.let(f"mul nsw i64 {left}, {right}")


def _pack_along(f: Function, plan: GemmPlan, width: int, array: _Array) -> None:
    """Copy rows of panels as vectors; those of a last, incomplete panel under masks.

    Several panels advance together, so that memory is read in runs longer than a panel is wide.
    """
    starts = range(0, width, plan.lanes)
    incomplete = f.let(f"urem i64 %count, {width}")
    whole = f.let(f"sub nsw i64 %count, {incomplete}")
    with counted(f, "0", whole, _TOGETHER * width) as group:
        stop = minimum(f, f.let(f"add nsw i64 {group}, {_TOGETHER * width}"), whole)
        with counted(f, "0", "%kc", 1) as k, counted(f, group, stop, width) as start:
            _copy_row(f, plan, width, array, start, k, [None] * len(starts))
    with when(f, f.let(f"icmp ne i64 {incomplete}, 0")):
        masks = [below(f, plan.lanes, f.let(f"sub nsw i64 {incomplete}, {at}")) for at in starts]
        with counted(f, "0", "%kc", 1) as k:
            _copy_row(f, plan, width, array, whole, k, masks)


def _copy_row(
    f: Function, plan: GemmPlan, width: int, array: _Array, start: str, k: str, masks: Sequence[str | None]
) -> None:
    """Row k of the panel that begins at element `start` of this call's range."""
    vector = LLType(plan.dtype, plan.lanes)
    depth = f.let(f"add nsw i64 %k0, {k}")
    first = f.let(f"add nsw i64 %first, {start}")
    panel = offset(f, vector.element, "%destination", f.let(f"mul nsw i64 {start}, %kc"))
    row = offset(f, vector.element, panel, f.let(f"mul nsw i64 {k}, {width}"))
    for number, mask in enumerate(masks):
        at = number * plan.lanes
        value = array.load(vector, f.let(f"add nsw i64 {first}, {at}"), depth, mask, (_AHEAD, array.k_stride))
        f.line(f"store {vector.llvm} {value}, ptr {offset(f, vector.element, row, at)}, align {plan.dtype.itemsize}")


def _pack_across(f: Function, plan: GemmPlan, width: int, array: _Array, panel: str, first: str, left: str) -> None:
    """Read runs along k of `lanes` rows, exchange their squares, and write rows of the panel.

    Rows beyond the edge are the last one's again.  A kc shorter than a vector goes element by element.
    """
    vector = LLType(plan.dtype, plan.lanes)
    across = emit_across(f.module, vector)
    single, squares, done = f.label("single"), f.label("squares"), f.label("done")
    f.branch(f.let(f"icmp slt i64 %kc, {plan.lanes}"), single, squares)
    f.start(single)
    _pack_single(f, plan, width, array, panel, first, left)
    f.jump(done)
    f.start(squares)
    with counted(f, "0", str(width), plan.lanes) as at:
        place = array.place(vector, f.let(f"add nsw i64 {first}, {at}"), "%k0")
        last = f.let(f"sub nsw i64 {f.let(f'sub nsw i64 {left}, {at}')}, 1")
        to = offset(f, vector.element, panel, at)
        source = f"ptr {place}, i64 {array.index_stride}, i64 {last}"
        f.line(f"call void @{across}({source}, i64 %kc, ptr {to}, i64 {width})")
    f.jump(done)
    f.start(done)


def emit_across(module: Module, vector: LLType, *, masked: bool = False) -> str:
    """`void @...(array, stride, last, count, to, pitch)`: columns 0..count-1 of `lanes` rows, each to `to + k * pitch`.

    Row r is the r-th of the array, `stride` apart, or the `last`-th (which may be negative) from there on, of which
    nothing is written if `masked`.  The count is at least that of the lanes.
    """
    name = module.shared(f"gemm.across.{vector.suffix}{'.masked' * masked}")
    if not module.has(name):

        def emit(quick: bool) -> None:
            parameters = "ptr %array, i64 %stride, i64 %last, i64 %count, ptr %to, i64 %pitch"
            f = Function(module, name, parameters, attributes=ATTRIBUTES)
            (_copy_across if quick else _turn_across)(f, vector, masked)
            f.line("ret void")
            f.finish()

        module.put_off(name, emit)
    return name


def _copy_across(f: Function, vector: LLType, masked: bool) -> None:
    """Columns copied element by element: where rows are vectors, LLVM takes long for squares of them."""
    scalar = LLType(vector.dtype)
    rows = minimum(f, f.let("add nsw i64 %last, 1"), vector.lanes) if masked else str(vector.lanes)
    with counted(f, "0", rows, 1) as row:
        start = offset(f, scalar.llvm, "%array", f.let(f"mul nsw i64 {minimum(f, row, '%last')}, %stride"))
        to = offset(f, scalar.llvm, "%to", row)
        with counted(f, "0", "%count", 1) as k:
            value = f.let(f"load {scalar.llvm}, ptr {offset(f, scalar.llvm, start, k)}, align {scalar.dtype.itemsize}")
            place = offset(f, scalar.llvm, to, f.let(f"mul nsw i64 {k}, %pitch"))
            f.line(f"store {scalar.llvm} {value}, ptr {place}, align {scalar.dtype.itemsize}")


def _turn_across(f: Function, vector: LLType, masked: bool) -> None:
    """Columns of squares that are transposed in registers; a last one stands over those before it."""
    align, starts = vector.dtype.itemsize, []
    for row in range(vector.lanes):
        starts.append(offset(f, vector.element, "%array", f.let(f"mul nsw i64 {minimum(f, row, '%last')}, %stride")))
    ending = f.let(f"sub nsw i64 %count, {vector.lanes}")
    mask = below(f, vector.lanes, f.let("add nsw i64 %last, 1")) if masked else ""
    with counted(f, "0", "%count", vector.lanes) as k:
        column = minimum(f, k, ending)
        rows = [offset(f, vector.element, start, column) for start in starts]
        values = [f.let(f"load {vector.llvm}, ptr {place}, align {align}") for place in rows]
        place = offset(f, vector.element, "%to", f.let(f"mul nsw i64 {column}, %pitch"))
        for value in transpose(f, vector, values):
            if masked:
                masked_store(f, vector, value, place, mask)
            else:
                f.line(f"store {vector.llvm} {value}, ptr {place}, align {align}")
            place = offset(f, vector.element, place, "%pitch")


def _pack_single(f: Function, plan: GemmPlan, width: int, array: _Array, panel: str, first: str, left: str) -> None:
    """Copy element by element."""
    scalar = LLType(plan.dtype)
    with counted(f, "0", "%kc", 1) as k:
        depth = f.let(f"add nsw i64 %k0, {k}")
        row = offset(f, scalar.llvm, panel, f.let(f"mul nsw i64 {k}, {width}"))
        with counted(f, "0", left, 1) as r:
            value = array.load(scalar, f.let(f"add nsw i64 {first}, {r}"), depth)
            f.line(f"store {scalar.llvm} {value}, ptr {offset(f, scalar.llvm, row, r)}, align {plan.dtype.itemsize}")
        with counted(f, left, str(width), 1) as r:
            f.line(f"store {scalar.llvm} {scalar.constant(0)}, ptr {offset(f, scalar.llvm, row, r)}")
