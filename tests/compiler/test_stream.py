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


def test_rows_that_are_read_again_stay_in_the_caches() -> None:
    graph = Graph("program")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(F32, (4096, 2048))))
    scaled = x * 2
    total = reduce_sum(scaled, axes=(1,))
    graph.outputs = ((scaled * expand(reshape(total, (4096, 1)), (4096, 2048))).value, scaled.value)
    assert "!nontemporal" not in llvm_of(graph, threads=1)


@pytest.mark.skipif(host_target().architecture != "x86_64", reason="only x86-64 has such stores")
def test_only_large_results_are_streamed() -> None:
    text = llvm_of(program(COUNT), threads=1)
    assert text.count("!nontemporal") == 1
    assert text.count("sfence()") == 2
    assert "!nontemporal" not in llvm_of(program(1000), threads=1)
