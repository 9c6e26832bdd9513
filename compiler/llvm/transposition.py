"""Squares of a register of vectors, transposed by exchanges between registers."""

from __future__ import annotations

from collections.abc import Iterator

from adjit.compiler.llvm.sequences import below, masked_store, offset, when
from adjit.compiler.llvm.text import Function, LLType, Module


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
    columns = transpose(f, vector, rows)
    if not module.avx512:  # stores under masks take long there, and loads wait for what they wrote
        with when(f, f.let(f"icmp sge i64 %count, {vector.lanes}")):
            for column, place in zip(columns, _places(f, vector), strict=True):
                f.line(f"store {vector.llvm} {column}, ptr {place}, align {vector.dtype.itemsize}")
            f.line("ret void")
            f.start(f.label("part"))
    mask = below(f, vector.lanes, "%count")
    for column, place in zip(columns, _places(f, vector), strict=True):
        masked_store(f, vector, column, place, mask)
    f.line("ret void")
    f.finish()
    return name


def _places(f: Function, vector: LLType) -> Iterator[str]:
    """Where the columns go."""
    place = "%to"
    for column in range(vector.lanes):
        yield place
        if column + 1 < vector.lanes:
            place = offset(f, vector.element, place, "%stride")


def transpose(f: Function, vector: LLType, values: list[str]) -> list[str]:
    """The columns of the square whose rows are `values`: log2(lanes) rounds that exchange blocks off the diagonal.

    Fewer rows hold squares beside each other: of each column follow those of the squares.
    """
    lanes = vector.lanes
    block = 1
    while block < len(values):
        upper = [lane if not lane & block else lanes + lane - block for lane in range(lanes)]
        lower = [lane + block if not lane & block else lanes + lane for lane in range(lanes)]
        result = list(values)
        for i in range(len(values)):
            if not i & block:
                result[i] = f.shuffle(vector, upper, values[i], values[i + block])
                result[i + block] = f.shuffle(vector, lower, values[i], values[i + block])
        values = result
        block *= 2
    return values
