"""The emitted product alone, on arrays of any strides: C[b, i, j] = sum over k of A[b, i, k] B[b, k, j].

Compiled programs give them operands in a few orders; here they meet every layout, and no task count or plan is hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.llvm.gemm import GemmOperands, emit_gemm, emit_task_count
from adjit.compiler.llvm.gemm_pack import StridedOperand, emit_left, emit_pack_strided
from adjit.compiler.llvm.gemm_plan import GemmPlan
from adjit.compiler.llvm.text import Function, Module

# The entries of the `sizes` table; strides are in elements.
MATMUL_SIZES = (
    *("m", "n", "k", "batch"),
    *("a_batch_stride", "a_row_stride", "a_k_stride"),
    *("b_batch_stride", "b_k_stride", "b_column_stride"),
    *("c_batch_stride", "c_row_stride", "c_column_stride"),
)
# The entries of the `buffers` table.
MATMUL_BUFFERS = ("a", "b", "c", "workspace")


def emit_product(module: Module, name: str, plan: GemmPlan, known: Sequence[int | None]) -> None:
    """`void @name(buffers, sizes, begin, end)` over arrays, and `i64 @name.tasks(buffers, sizes)`.

    `buffers` points to the addresses `MATMUL_BUFFERS`, `sizes` to the i64 `MATMUL_SIZES`; those given in `known` are
    written into the code and not read.
    """
    literals = dict(zip(MATMUL_SIZES, known, strict=True))

    def size(f: Function, entry: str) -> str:
        value = literals[entry]
        return str(value) if value is not None else _load(f, "i64", "%sizes", MATMUL_SIZES.index(entry))

    def buffer(f: Function, entry: str) -> str:
        return _load(f, "ptr", "%buffers", MATMUL_BUFFERS.index(entry))

    def operands(f: Function) -> GemmOperands:
        return GemmOperands(
            m=size(f, "m"),
            n=size(f, "n"),
            k=size(f, "k"),
            batch_count=size(f, "batch"),
            c=buffer(f, "c"),
            c_batch_stride=size(f, "c_batch_stride"),
            c_row_stride=size(f, "c_row_stride"),
            c_column_stride=size(f, "c_column_stride"),
            workspace=buffer(f, "workspace"),
        )

    def a(f: Function) -> StridedOperand:
        strides = ("a_batch_stride", "a_row_stride", "a_k_stride")
        return StridedOperand(buffer(f, "a"), *(size(f, entry) for entry in strides))

    def b(f: Function) -> StridedOperand:
        strides = ("b_batch_stride", "b_column_stride", "b_k_stride")
        return StridedOperand(buffer(f, "b"), *(size(f, entry) for entry in strides))

    left = emit_left(module, f"{name}.pack_a", plan, a, literals["k"])
    packs = plan.right == "packed"
    pack_b = f"{name}.pack_b" if packs else ""
    if packs:
        emit_pack_strided(module, pack_b, plan, b)
    emit_gemm(module, name, plan, left, pack_b, operands, linkage="", right=None if packs else b)
    emit_task_count(module, f"{name}.tasks", plan, operands, "")


def _load(f: Function, type: str, table: str, index: int) -> str:
    return f.let(f"load {type}, ptr {f.let(f'getelementptr {type}, ptr {table}, i64 {index}')}, align 8")
