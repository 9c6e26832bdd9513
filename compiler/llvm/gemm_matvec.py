"""Matrix times vector without packing: y[b, i] = sum over k of W[b, i, k] x[b, k], W read once, in its own order.

Packing would write the matrix again.  The order of summation depends on K, the vector width and which stride of W is 1,
never on the number of rows or tasks; it is not the order of `emit_gemm`.
"""

from __future__ import annotations

from collections.abc import Callable

from adjit.compiler.llvm.gemm_plan import GRAIN, GemmPlan
from adjit.compiler.llvm.gemm_tile import (
    add,
    below,
    counted,
    masked_load,
    masked_store,
    maximum,
    minimum,
    multiply_add,
    offset,
    splat,
    when,
)
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.ir.frozen import frozen

# Elements of x, or of y, that are kept in L1 while the matrix passes.
_RUN = 2048
# Rows of W (or steps of k) that are read side by side: as many streams as hardware prefetchers follow.
_ROWS = 4
_STEPS = 8
# Tasks begin at multiples of so many rows, so that no two write one cache line of an aligned y.
_STRIP = 64
_PARAMETERS = (
    "ptr readonly %w, i64 %row_stride, i64 %k_stride, ptr readonly %x, i64 %x_stride, ptr %y, i64 %y_stride, "
    "i64 %rows, i64 %k"
)


@frozen
class MatvecOperands:
    """Names or literals: i64, but for the pointers `matrix`, `vector`, `result`; strides are in elements."""

    rows: str
    k: str
    batch_count: str
    matrix: str
    matrix_batch_stride: str
    matrix_row_stride: str
    matrix_k_stride: str
    vector: str
    vector_batch_stride: str
    vector_k_stride: str
    result: str
    result_batch_stride: str
    result_row_stride: str


Prologue = Callable[[Function], MatvecOperands]


def matvec_task_count(plan: GemmPlan, batch: int, rows: int, k: int) -> int:
    """min(plan.tasks, strips of all batches, multiply-adds / GRAIN), at least 1."""
    strips = max(1, -(-rows // _STRIP))
    return max(1, min(plan.tasks, strips * batch, batch * rows * k // GRAIN))


def emit_matvec(module: Module, name: str, plan: GemmPlan, prologue: Prologue, linkage: str = "internal") -> None:
    """`void @name(buffers, sizes, begin, end)` over `i64 @name.tasks(buffers, sizes)` tasks; needs no workspace.

    Of the plan, its dtype, target, lanes and tasks are used.  y must not overlap W or x.
    """
    f = Function(module, f"{name}.tasks", "ptr %buffers, ptr %sizes", result="i64", linkage=linkage)
    f.line(f"ret i64 {_tasks(f, plan, prologue(f))[1]}")
    f.finish()
    f = Function(module, name, "ptr %buffers, ptr %sizes, i64 %begin, i64 %end", linkage=linkage)
    operands = prologue(f)
    strips, tasks = _tasks(f, plan, operands)
    total = f.let(f"mul nsw i64 {strips}, {operands.batch_count}")
    first = f.let(f"udiv i64 {f.let(f'mul nsw i64 %begin, {total}')}, {tasks}")
    stop = f.let(f"udiv i64 {f.let(f'mul nsw i64 %end, {total}')}, {tasks}")
    above = f.let(f"add nsw i64 {stop}, {f.let(f'sub nsw i64 {strips}, 1')}")
    last = f.let(f"udiv i64 {above}, {strips}")
    with counted(f, f.let(f"udiv i64 {first}, {strips}"), last, 1) as batch:
        base = f.let(f"mul nsw i64 {batch}, {strips}")
        begin = maximum(f, f.let(f"sub nsw i64 {first}, {base}"), 0)
        end = minimum(f, f.let(f"sub nsw i64 {stop}, {base}"), strips)
        row = f.let(f"mul nsw i64 {begin}, {_STRIP}")
        limit = minimum(f, f.let(f"mul nsw i64 {end}, {_STRIP}"), operands.rows)
        _call_kernel(f, plan, name, operands, batch, row, f.let(f"sub nsw i64 {limit}, {row}"))
    f.line("ret void")
    f.finish()


def _tasks(f: Function, plan: GemmPlan, operands: MatvecOperands) -> tuple[str, str]:
    """The strips of one batch, at least 1, and the number of tasks."""
    strips = maximum(f, f.let(f"udiv i64 {f.let(f'add nsw i64 {operands.rows}, {_STRIP - 1}')}, {_STRIP}"), 1)
    total = f.let(f"mul nsw i64 {strips}, {operands.batch_count}")
    area = f.let(f"mul nsw i64 {operands.rows}, {operands.k}")
    grains = f.let(f"udiv i64 {f.let(f'mul nsw i64 {area}, {operands.batch_count}')}, {GRAIN}")
    return strips, maximum(f, minimum(f, plan.tasks, minimum(f, total, grains)), 1)


def _call_kernel(
    f: Function, plan: GemmPlan, name: str, operands: MatvecOperands, batch: str, row: str, rows: str
) -> None:
    """Call the kernel for the strides at hand; one that a literal stride excludes is not emitted."""
    element = LLType(plan.dtype).llvm

    def place(pointer: str, batch_stride: str, row_stride: str) -> str:
        base = f.let(f"mul nsw i64 {batch}, {batch_stride}")
        return offset(f, element, pointer, f.let(f"add nsw i64 {base}, {f.let(f'mul nsw i64 {row}, {row_stride}')}"))

    arguments = (
        f"ptr {place(operands.matrix, operands.matrix_batch_stride, operands.matrix_row_stride)}, "
        f"i64 {operands.matrix_row_stride}, i64 {operands.matrix_k_stride}, "
        f"ptr {place(operands.vector, operands.vector_batch_stride, '0')}, i64 {operands.vector_k_stride}, "
        f"ptr {place(operands.result, operands.result_batch_stride, operands.result_row_stride)}, "
        f"i64 {operands.result_row_stride}, i64 {rows}, i64 {operands.k}"
    )
    done = f.label("done")
    kernels = (
        ("by_row", operands.matrix_k_stride, _emit_rows),
        ("by_column", operands.matrix_row_stride, _emit_columns),
    )
    for suffix, stride, emit in kernels:
        if stride != "1" and not stride.startswith("%"):
            continue
        emit(f.module, f"{name}.{suffix}", plan)
        chosen, other = f.label("chosen"), f.label("other")
        f.branch(f.let(f"icmp eq i64 {stride}, 1"), chosen, other)
        f.start(chosen)
        f.line(f"call void @{name}.{suffix}({arguments})")
        f.jump(done)
        f.start(other)
    _emit_elements(f.module, f"{name}.by_element", plan)
    f.line(f"call void @{name}.by_element({arguments})")
    f.jump(done)
    f.start(done)


def _emit_rows(module: Module, name: str, plan: GemmPlan) -> None:
    """Rows of W along k: a run of x in L1, dotted with a few rows at a time."""
    f = Function(module, name, _PARAMETERS)
    element = LLType(plan.dtype).llvm
    x = f.let(f"alloca [{_RUN} x {element}], align 64")
    with counted(f, "0", maximum(f, "%k", 1), _RUN) as k0:
        length = minimum(f, f.let(f"sub nsw i64 %k, {k0}"), _RUN)
        with counted(f, "0", length, 1) as k:
            source = f.let(f"mul nsw i64 {f.let(f'add nsw i64 {k0}, {k}')}, %x_stride")
            value = f.let(f"load {element}, ptr {offset(f, element, '%x', source)}, align {plan.dtype.itemsize}")
            f.line(f"store {element} {value}, ptr {offset(f, element, x, k)}, align {plan.dtype.itemsize}")
        again = f.let(f"icmp sgt i64 {k0}, 0")
        several = f.let(f"sub nsw i64 %rows, {f.let(f'urem i64 %rows, {_ROWS}')}")
        run = offset(f, element, "%w", k0)
        with counted(f, "0", several, _ROWS) as row:
            _dot_rows(f, plan, x, run, row, _ROWS, length, again)
        with counted(f, several, "%rows", 1) as row:
            _dot_rows(f, plan, x, run, row, 1, length, again)
    f.line("ret void")
    f.finish()


def _dot_rows(f: Function, plan: GemmPlan, x: str, w: str, row: str, rows: int, length: str, again: str) -> None:
    """Dots of `rows` rows from `row` on with x, each in two vectors of sums, stored or, if `again`, added to y."""
    vector, align = LLType(plan.dtype, plan.lanes), plan.dtype.itemsize
    starts = [
        offset(f, vector.element, w, f.let(f"mul nsw i64 {f.let(f'add nsw i64 {row}, {r}')}, %row_stride"))
        for r in range(rows)
    ]
    step = 2 * plan.lanes
    whole = f.let(f"sub nsw i64 {length}, {f.let(f'urem i64 {length}, {step}')}")
    totals = _sum_vectors(f, plan, x, starts, whole)
    current = _sum_tail(f, plan, x, starts, whole, length, totals)
    scalar = LLType(plan.dtype)
    for r, total in enumerate(current):
        value = _across(f, vector, total)
        place = offset(f, scalar.llvm, "%y", f.let(f"mul nsw i64 {f.let(f'add nsw i64 {row}, {r}')}, %y_stride"))
        before, more, join = f.block, f.label("more"), f.label("join")
        f.branch(again, more, join)
        f.start(more)
        added = add(f, scalar, f.let(f"load {scalar.llvm}, ptr {place}, align {align}"), value)
        f.jump(join)
        f.start(join)
        value = f.let(f"phi {scalar.llvm} [ {value}, %{before} ], [ {added}, %{more} ]")
        f.line(f"store {scalar.llvm} {value}, ptr {place}, align {align}")


def _sum_vectors(f: Function, plan: GemmPlan, x: str, starts: list[str], whole: str) -> list[str]:
    """For each row, one vector of sums over k below `whole`: the even vectors' sums plus the odd vectors'."""
    vector, align = LLType(plan.dtype, plan.lanes), plan.dtype.itemsize
    count = 2 * len(starts)
    current, updated = [f.reserve() for _ in range(count)], [f.reserve() for _ in range(count)]
    head, body, after = f.label("head"), f.label("body"), f.label("after")
    before, index, following = f.block, f.reserve(), f.reserve()
    f.jump(head)
    f.start(head)
    f.set(index, f"phi i64 [ 0, %{before} ], [ {following}, %{body} ]")
    for old, new in zip(current, updated, strict=True):
        f.set(old, f"phi {vector.llvm} [ zeroinitializer, %{before} ], [ {new}, %{body} ]")
    f.branch(f.let(f"icmp slt i64 {index}, {whole}"), body, after)
    f.start(body)
    for half in (0, 1):
        k = f.let(f"add nsw i64 {index}, {half * plan.lanes}")
        right = f.let(f"load {vector.llvm}, ptr {offset(f, vector.element, x, k)}, align {align}")
        for r, start in enumerate(starts):
            left = f.let(f"load {vector.llvm}, ptr {offset(f, vector.element, start, k)}, align {align}")
            place = 2 * r + half
            f.set(updated[place], multiply_add(f, plan, vector, left, right, current[place]))
    f.set(following, f"add nsw i64 {index}, {2 * plan.lanes}")
    f.jump(head)
    f.start(after)
    return [add(f, vector, current[2 * r], current[2 * r + 1]) for r in range(len(starts))]


def _sum_tail(
    f: Function, plan: GemmPlan, x: str, starts: list[str], whole: str, length: str, totals: list[str]
) -> list[str]:
    """The sums with the last, incomplete vectors added under masks."""
    vector = LLType(plan.dtype, plan.lanes)
    for piece in (0, 1):
        k = f.let(f"add nsw i64 {whole}, {piece * plan.lanes}")
        mask = below(f, plan.lanes, f.let(f"sub nsw i64 {length}, {k}"))
        right = masked_load(f, vector, offset(f, vector.element, x, k), mask, "zeroinitializer")
        for r, start in enumerate(starts):
            left = masked_load(f, vector, offset(f, vector.element, start, k), mask, "zeroinitializer")
            totals[r] = f.let(multiply_add(f, plan, vector, left, right, totals[r]))
    return totals


def _across(f: Function, vector: LLType, value: str) -> str:
    """The sum of the lanes, the upper half added to the lower until one is left.

    Each step is on vectors of half the lanes: LLVM 22 miscompiles the same tree on whole vectors of i16 or i32 with
    AVX-512 where two or more stand in a function.
    """
    while vector.lanes > 1:
        half = LLType(vector.dtype, vector.lanes // 2)
        parts = []
        for first in (0, half.lanes):
            numbers = ", ".join(f"i32 {first + lane}" for lane in range(half.lanes))
            pair = f"{vector.llvm} {value}, {vector.llvm} poison"
            parts.append(f.let(f"shufflevector {pair}, <{half.lanes} x i32> <{numbers}>"))
        if half.lanes == 1:
            parts = [f.let(f"extractelement <1 x {half.element}> {part}, i32 0") for part in parts]
        value, vector = add(f, half, *parts), half
    return value


def _emit_columns(module: Module, name: str, plan: GemmPlan) -> None:
    """Columns of W along the rows' index: a run of y in L1, to which several steps of k are added at a time."""
    f = Function(module, name, _PARAMETERS)
    scalar, align = LLType(plan.dtype), plan.dtype.itemsize
    y = f.let(f"alloca [{_RUN} x {scalar.llvm}], align 64")
    with counted(f, "0", "%rows", _RUN) as row:
        length = minimum(f, f.let(f"sub nsw i64 %rows, {row}"), _RUN)
        with counted(f, "0", length, 1) as i:
            f.line(f"store {scalar.llvm} {scalar.constant(0)}, ptr {offset(f, scalar.llvm, y, i)}, align {align}")
        several = f.let(f"sub nsw i64 %k, {f.let(f'urem i64 %k, {_STEPS}')}")
        run = offset(f, scalar.llvm, "%w", row)
        with counted(f, "0", several, _STEPS) as k:
            _add_steps(f, plan, run, y, k, _STEPS, length)
        with counted(f, several, "%k", 1) as k:
            _add_steps(f, plan, run, y, k, 1, length)
        with counted(f, "0", length, 1) as i:
            value = f.let(f"load {scalar.llvm}, ptr {offset(f, scalar.llvm, y, i)}, align {align}")
            place = f.let(f"mul nsw i64 {f.let(f'add nsw i64 {row}, {i}')}, %y_stride")
            f.line(f"store {scalar.llvm} {value}, ptr {offset(f, scalar.llvm, '%y', place)}, align {align}")
    f.line("ret void")
    f.finish()


def _add_steps(f: Function, plan: GemmPlan, w: str, y: str, k: str, steps: int, length: str) -> None:
    """y[i] = W[i, k + steps - 1] x[k + steps - 1] + ( ... (W[i, k] x[k] + y[i])) for i below length."""
    vector, align = LLType(plan.dtype, plan.lanes), plan.dtype.itemsize
    factors, columns = [], []
    for step in range(steps):
        at = f.let(f"add nsw i64 {k}, {step}")
        source = offset(f, vector.element, "%x", f.let(f"mul nsw i64 {at}, %x_stride"))
        factors.append(splat(f, vector, f.let(f"load {vector.element}, ptr {source}, align {align}")))
        columns.append(offset(f, vector.element, w, f.let(f"mul nsw i64 {at}, %k_stride")))
    tail = f.let(f"urem i64 {length}, {plan.lanes}")
    whole = f.let(f"sub nsw i64 {length}, {tail}")
    with counted(f, "0", whole, plan.lanes) as i:
        place = offset(f, vector.element, y, i)
        value = f.let(f"load {vector.llvm}, ptr {place}, align {align}")
        for factor, column in zip(factors, columns, strict=True):
            left = f.let(f"load {vector.llvm}, ptr {offset(f, vector.element, column, i)}, align {align}")
            value = f.let(multiply_add(f, plan, vector, left, factor, value))
        f.line(f"store {vector.llvm} {value}, ptr {place}, align {align}")
    with when(f, f.let(f"icmp ne i64 {tail}, 0")):
        mask = below(f, plan.lanes, tail)
        place = offset(f, vector.element, y, whole)
        value = masked_load(f, vector, place, mask, "zeroinitializer")
        for factor, column in zip(factors, columns, strict=True):
            left = masked_load(f, vector, offset(f, vector.element, column, whole), mask, "zeroinitializer")
            value = f.let(multiply_add(f, plan, vector, left, factor, value))
        masked_store(f, vector, value, place, mask)


def _emit_elements(module: Module, name: str, plan: GemmPlan) -> None:
    """Any strides: one chain over k for each row."""
    f = Function(module, name, _PARAMETERS)
    scalar, align = LLType(plan.dtype), plan.dtype.itemsize
    total = f.let(f"alloca {scalar.llvm}, align {align}")
    with counted(f, "0", "%rows", 1) as row:
        start = offset(f, scalar.llvm, "%w", f.let(f"mul nsw i64 {row}, %row_stride"))
        f.line(f"store {scalar.llvm} {scalar.constant(0)}, ptr {total}, align {align}")
        with counted(f, "0", "%k", 1) as k:
            left = offset(f, scalar.llvm, start, f.let(f"mul nsw i64 {k}, %k_stride"))
            right = offset(f, scalar.llvm, "%x", f.let(f"mul nsw i64 {k}, %x_stride"))
            values = [f.let(f"load {scalar.llvm}, ptr {place}, align {align}") for place in (left, right)]
            old = f.let(f"load {scalar.llvm}, ptr {total}, align {align}")
            new = f.let(multiply_add(f, plan, scalar, values[0], values[1], old))
            f.line(f"store {scalar.llvm} {new}, ptr {total}, align {align}")
        place = offset(f, scalar.llvm, "%y", f.let(f"mul nsw i64 {row}, %y_stride"))
        value = f.let(f"load {scalar.llvm}, ptr {total}, align {align}")
        f.line(f"store {scalar.llvm} {value}, ptr {place}, align {align}")
    f.line("ret void")
    f.finish()
