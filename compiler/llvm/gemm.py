"""Matrix products as LLVM text: C[b, m, n] = sum over k of A(b, m, k) B(b, k, n), operands given by packing functions.

Dot, batched dot, convolution and their gradients all become this.  The order of summation over k depends on K alone:
runs of equal length, at most `plan.kc`, each summed in order, then added to C in order.  So an element's bits do not
depend on M, N, strides, tiles, edges or the number of tasks.
"""

from __future__ import annotations

from collections.abc import Callable

from adjit.compiler.llvm.gemm_grid import PLACED, Places
from adjit.compiler.llvm.gemm_loops import EPILOGUE, PARAMETERS, Loops, quotient_up
from adjit.compiler.llvm.gemm_pack import LeftOperand, StridedOperand, emit_left, emit_pack_strided
from adjit.compiler.llvm.gemm_plan import ALL_ROWS, GRAIN, GemmPlan, plan_gemm, workspace_bytes
from adjit.compiler.llvm.gemm_tile import emit_placed_tile, emit_tile
from adjit.compiler.llvm.sequences import maximum, minimum, streaming_fence
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.ir.frozen import frozen

__all__ = [
    "GemmOperands",
    "GemmPlan",
    "LeftOperand",
    "StridedOperand",
    "emit_gemm",
    "emit_left",
    "emit_pack_strided",
    "emit_task_count",
    "plan_gemm",
    "task_count",
    "workspace_bytes",
]


@frozen
class GemmOperands:
    """The names or literals of a product's sizes and places: i64, but for the pointers `c` and `workspace`.

    Strides of C are in elements and any; unit `c_column_stride` is the fast one (exchange A and B to get it).  C must
    not overlap itself, the workspace, or what the packing functions read.  Where batches of C have no single stride,
    `c_batch_offset` emits the first element's position of a batch, and the batch stride is not used.  With `a_shared`,
    A is the same in all batches.
    """

    m: str
    n: str
    k: str
    batch_count: str
    c: str
    c_batch_stride: str
    c_row_stride: str
    c_column_stride: str
    workspace: str
    c_batch_offset: Callable[[str], str] | None = None
    a_shared: bool = False


Prologue = Callable[[Function], GemmOperands]


def emit_gemm(
    module: Module,
    name: str,
    plan: GemmPlan,
    left: LeftOperand,
    pack_b: str,
    prologue: Prologue,
    epilogue: str = "",
    fence: bool = False,
    linkage: str = "internal",
    places: Places | None = None,
    right: Callable[[Function], StridedOperand] | None = None,
) -> None:
    """`void @name(buffers, sizes, begin, end)`: the tasks begin..end-1 of a product; begin is also the workspace slot.

    `left` tells where tiles find A, the function `pack_b` makes panels of B; `prologue` emits what yields the operands
    from `%buffers` and `%sizes`.  The number of tasks is `emit_task_count`'s or `task_count`'s.  With `places`, A and
    perhaps B are read where they stand, and `left` tells nothing.  Of a plan that does not pack B, `right` emits it.

    The function `epilogue`, `void (buffers, sizes, batch, row, column, rows, columns, sums, pitch)`, is called once for
    each block of complete sums and does with them what it likes: C is not stored then.  `sums` are rows of elements,
    `pitch` apart, of which those that follow a row's last up to a whole vector may be read.  `@{epilogue}.fetch` is
    called before the last run of k.  With `fence`, the epilogue stores past the caches.
    """
    edge = f"@{emit_tile(module, plan, at_edge=True)}" if plan.edge else "null"
    if places is not None:
        tile = f"@{emit_placed_tile(module, plan)}"
    else:  # the one panel of few columns is the last
        tile = edge if plan.edge == plan.nr == plan.nc else f"@{emit_tile(module, plan)}"
    loops, parameters = _emit_loops(module, plan, bool(epilogue))
    place = "null"
    f = Function(module, name, "ptr %buffers, ptr %sizes, i64 %begin, i64 %end", linkage=linkage)
    operands = prologue(f)
    if operands.c_batch_offset is not None:
        place = f"@{name}.place"
        g = Function(module, f"{name}.place", "ptr %buffers, ptr %sizes, i64 %batch", result="i64")
        own = prologue(g)
        assert own.c_batch_offset is not None
        g.line(f"ret i64 {own.c_batch_offset('%batch')}")
        g.finish()
    rows, strips = _strips(f, plan, operands)
    array = StridedOperand("null", "0", "0", "0") if left.array is None else left.array(f)
    given: dict[str, object] = {
        "a": array.pointer, "a_batch_stride": array.batch_stride, "a_row_stride": array.index_stride,
        "a_k_stride": array.k_stride, "a_by_rows": _truth(left.order == "rows"),
        "a_by_columns": _truth(left.order == "columns"),
        "pack_a": left.pack, "pack_b": f"@{pack_b}" if pack_b else "null", "tile": tile, "place": place,
        "m": operands.m, "n": operands.n, "k": operands.k, "c": operands.c, "c_batch_stride": operands.c_batch_stride,
        "c_row_stride": operands.c_row_stride, "c_column_stride": operands.c_column_stride,
        "workspace": operands.workspace, "a_shared": _truth(operands.a_shared), "rows": rows,
        "strips": strips, "total": f.let(f"mul nsw i64 {strips}, {operands.batch_count}"),
        "tasks": _tasks(f, plan, operands, strips), "mr": plan.mr, "nr": plan.nr, "mc": plan.mc, "nc": plan.nc,
        "slot_bytes": plan.slot_bytes, "a_bytes": plan.bytes_of(plan.a_elements), "edge": edge,
        "edge_columns": plan.edge,
    }  # fmt: skip
    beside = StridedOperand("null", "0", "0", "0") if right is None else right(f)
    given |= {"b": beside.pointer, "b_batch_stride": beside.batch_stride, "b_k_stride": beside.k_stride}
    given["b_copied"] = _truth(plan.right == "copied")
    if epilogue:
        given |= {
            "epilogue": f"@{epilogue}", "fetch": f"@{epilogue}.fetch", "band": plan.band or ALL_ROWS,
            "band_pitch": plan.band_pitch, "b_bytes": plan.bytes_of(plan.b_elements),
            "tile_bytes": plan.bytes_of(plan.mr * plan.nr),
        }  # fmt: skip
    if places is not None:
        from adjit.compiler.llvm.gemm_placed import emit_copy, emit_pack_tail

        tail = emit_pack_tail(module, plan) if places.b_steps else ""
        copy = "" if epilogue else emit_copy(module, plan, places.grid.step)
        given |= places.arguments(copy, tail, operands.n)
    arguments = ", ".join(f"{type} {given[parameter]}" for parameter, type in parameters.items())
    f.line(f"call void @{loops}(ptr %buffers, ptr %sizes, i64 %begin, i64 %end, {arguments})")
    if plan.streams or fence:
        streaming_fence(f)
    f.line("ret void")
    f.finish()


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _emit_loops(module: Module, plan: GemmPlan, epilogue: bool) -> tuple[str, dict[str, str]]:
    """The function of the loops around the tiles, one for all products of a module of one dtype and order.

    Loops over blocks gain nothing from constants, and a function of some 150 lines takes LLVM as long as a tile.
    """
    placed = plan.order in ("windows", "placed")
    parameters = {**PARAMETERS, **(PLACED if placed else {})}
    parameters |= EPILOGUE if epilogue else {}
    blocks = f".{plan.mc}.{plan.steps}" if placed else ""
    kind = f"{'.once' * plan.once}{'.epilogue' * epilogue}"
    kind += ".symmetric" * plan.symmetric + ".wide" * plan.wide
    name = module.shared(f"gemm.{plan.order}.{LLType(plan.dtype).suffix}.{plan.kc}{blocks}{kind}")
    if not module.has(name):
        given = ", ".join(f"{type} %{parameter}" for parameter, type in parameters.items())
        f = Function(module, name, f"ptr %buffers, ptr %sizes, i64 %begin, i64 %end, {given}")
        _loops_of(f, plan, epilogue, placed).emit()
        f.line("ret void")
        f.finish()
    return name, parameters


def _loops_of(f: Function, plan: GemmPlan, epilogue: bool, placed: bool) -> Loops:
    if not placed:
        return Loops(f, plan, epilogue)
    from adjit.compiler.llvm.gemm_placed import PlacedLoops

    return PlacedLoops(f, plan, epilogue)


def emit_task_count(module: Module, name: str, plan: GemmPlan, prologue: Prologue, linkage: str = "internal") -> None:
    """`i64 @name(buffers, sizes)`: the number of tasks of a product, `task_count`'s formula."""
    f = Function(module, name, "ptr %buffers, ptr %sizes", result="i64", linkage=linkage)
    operands = prologue(f)
    f.line(f"ret i64 {_tasks(f, plan, operands, _strips(f, plan, operands)[1])}")
    f.finish()


def task_count(plan: GemmPlan, batch: int, m: int, n: int, k: int) -> int:
    """min(plan.tasks, strips of all batches, multiply-adds / GRAIN), at least 1."""
    strips = max(1, -(-m // plan.mr) if m >= n else -(-n // plan.nr))
    return max(1, min(plan.tasks, strips * batch, batch * m * n * k // GRAIN))


def _strips(f: Function, plan: GemmPlan, operands: GemmOperands) -> tuple[str, str]:
    """Whether tasks split the rows (else the columns), and the strips (panels of A or of B) of one batch, at least 1.

    The longer side is split, so that what several tasks pack again is the smaller operand.
    """
    rows = f.let(f"icmp sge i64 {operands.m}, {operands.n}")
    width = f.let(f"select i1 {rows}, i64 {plan.mr}, i64 {plan.nr}")
    length = f.let(f"select i1 {rows}, i64 {operands.m}, i64 {operands.n}")
    return rows, maximum(f, quotient_up(f, length, width), 1)


def _tasks(f: Function, plan: GemmPlan, operands: GemmOperands, strips: str) -> str:
    total = f.let(f"mul nsw i64 {strips}, {operands.batch_count}")
    area = f.let(f"mul nsw i64 {operands.m}, {operands.n}")
    work = f.let(f"mul nsw i64 {f.let(f'mul nsw i64 {area}, {operands.k}')}, {operands.batch_count}")
    grains = f.let(f"udiv i64 {work}, {GRAIN}")
    return maximum(f, minimum(f, plan.tasks, minimum(f, total, grains)), 1)
