"""The batched matrix product of plain arrays: C[b, i, j] = sum over k of A[b, i, k] B[b, k, j], any strides."""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.llvm.gemm import GemmOperands, emit_gemm, emit_task_count
from adjit.compiler.llvm.gemm_matvec import MatvecOperands, emit_matvec
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


def emit_matmul(
    module: Module,
    name: str,
    plan: GemmPlan,
    known: Sequence[int | None] = (None,) * len(MATMUL_SIZES),
    epilogue: str = "",
) -> None:
    """`void @name(buffers, sizes, begin, end)` over arrays, and `i64 @name.tasks(buffers, sizes)`.

    `buffers` points to the addresses `MATMUL_BUFFERS`, `sizes` to the i64 `MATMUL_SIZES`; those given in `known` are
    written into the code and not read.  `epilogue` is `emit_gemm`'s.  A known m or n
    of 1 without epilogue is left to `emit_matvec`, whose order of summation is not `emit_gemm`'s.
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

    def matvec(f: Function) -> MatvecOperands:
        transposed = literals["m"] == 1 and literals["n"] != 1
        matrix, other = ("b", "a") if transposed else ("a", "b")
        row, rows, result = ("b_column", "n", "c_column") if transposed else ("a_row", "m", "c_row")
        return MatvecOperands(
            rows=size(f, rows),
            k=size(f, "k"),
            batch_count=size(f, "batch"),
            matrix=buffer(f, matrix),
            matrix_batch_stride=size(f, f"{matrix}_batch_stride"),
            matrix_row_stride=size(f, f"{row}_stride"),
            matrix_k_stride=size(f, f"{matrix}_k_stride"),
            vector=buffer(f, other),
            vector_batch_stride=size(f, f"{other}_batch_stride"),
            vector_k_stride=size(f, f"{other}_k_stride"),
            result=buffer(f, "c"),
            result_batch_stride=size(f, "c_batch_stride"),
            result_row_stride=size(f, f"{result}_stride"),
        )

    if 1 in (literals["m"], literals["n"]) and not epilogue:
        emit_matvec(module, name, plan, matvec, "")
        return
    left = emit_left(module, f"{name}.pack_a", plan, a, literals["k"])
    packs = plan.right == "packed"
    pack_b = f"{name}.pack_b" if packs else ""
    if packs:
        emit_pack_strided(module, pack_b, plan, b)
    emit_gemm(module, name, plan, left, pack_b, operands, epilogue, linkage="", right=None if packs else b)
    emit_task_count(module, f"{name}.tasks", plan, operands, "")


def _load(f: Function, type: str, table: str, index: int) -> str:
    return f.let(f"load {type}, ptr {f.let(f'getelementptr {type}, ptr {table}, i64 {index}')}, align 8")
