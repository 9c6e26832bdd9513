"""Large results are stored past the caches where they stand at cache lines, and are right everywhere else too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adjit.compiler.llvm.emit_stream import LEAST
from adjit.compiler.llvm.target import host_target
from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.arrays import expand, reshape
from adjit.ir.ops.reduction import reduce_sum
from adjit.ir.primitive import primitive_named
from adjit.ir.types import F32, TensorType

COUNT = LEAST // 4 + 67


def program(count: int) -> Graph:
    graph = Graph("program")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(F32, (count,))))
    graph.outputs = ((x * 2 + 1).value, (x <= 0).value)
    return graph


def placed(count: int, dtype: Any, shift: int) -> Any:
    """An array whose first byte stands `shift` bytes after a cache line."""
    memory = np.zeros(count * np.dtype(dtype).itemsize + 128, np.uint8)
    start = -memory.ctypes.data % 64 + shift
    return memory[start : start + count * np.dtype(dtype).itemsize].view(dtype)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_large_results_are_right_wherever_they_stand(threads: int) -> None:
    executable = compile_graph(program(COUNT), threads=threads)
    x = np.random.default_rng(0).standard_normal(COUNT).astype(np.float32)
    for shift in (0, 4, 60):
        outputs = [placed(COUNT, np.float32, shift), placed(COUNT, np.bool_, 0)]
        found = executable.run([x], outputs)
        np.testing.assert_array_equal(found[0], x * np.float32(2) + 1)
        np.testing.assert_array_equal(found[1], x <= 0)


def by_rows(columns: int, dear: bool) -> Graph:
    """Rows over their sums; of dear elements, which stand in scratch memory, or in the result's place, until then."""
    graph = Graph("program")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(F32, (4096, columns))))
    if dear:
        x = primitive_named("exp")(primitive_named("tanh")(x))
    total = expand(reshape(reduce_sum(x, axes=(1,)), (4096, 1)), (4096, columns))
    graph.outputs = ((x / total).value,)
    return graph


@pytest.mark.skipif(host_target().architecture != "x86_64", reason="only x86-64 has such stores")
def test_rows_are_streamed_unless_they_are_read_again() -> None:
    assert "!nontemporal" in llvm_of(by_rows(2048, dear=False), threads=1)
    assert "!nontemporal" in llvm_of(by_rows(2048, dear=True), threads=1)
    assert "!nontemporal" not in llvm_of(by_rows(8192, dear=True), threads=1)
    assert "!nontemporal" not in llvm_of(by_rows(2047, dear=False), threads=1)


@pytest.mark.parametrize("threads", [1, 2])
def test_streamed_rows_are_right(threads: int) -> None:
    for columns, dear in ((2048, False), (2047, False), (2048, True)):
        graph = by_rows(columns, dear=dear)
        x = np.random.default_rng(0).uniform(0.5, 1.5, (4096, columns)).astype(np.float32)
        for shift in (0, 4):
            output = placed(4096 * columns, np.float32, shift).reshape(4096, columns)
            (found,) = compile_graph(graph, threads=threads).run([x], [output])
            y = np.exp(np.tanh(x)) if dear else x
            np.testing.assert_allclose(found, y / y.sum(axis=1, keepdims=True), rtol=1e-5)


@pytest.mark.skipif(host_target().architecture != "x86_64", reason="only x86-64 has such stores")
def test_only_large_results_are_streamed() -> None:
    text = llvm_of(program(COUNT), threads=1)
    assert text.count("!nontemporal") == 1
    assert "call void @llvm.x86.sse.sfence()" in text
    assert "!nontemporal" not in llvm_of(program(1000), threads=1)
