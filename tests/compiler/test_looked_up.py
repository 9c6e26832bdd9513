"""Loops that look elements up one by one find what the indices say, in every number and dtype, and check each index."""

from __future__ import annotations

import numpy as np
import pytest

import adjit
from adjit.compiler.llvm.target import host_target
from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.indexing import gather
from adjit.ir.shape import Dim, Size
from adjit.ir.types import BOOL, F16, F32, F64, I32, I64, DType, TensorType
from tests.compiler.guarded import guarded

ROWS, COLUMNS = 6, 37


def program(dtype: DType, count: Size, kind: DType = I64) -> Graph:
    """x[rows, columns]: positions of both axes, given."""
    graph = Graph("looked up")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(dtype, (ROWS, COLUMNS)), "x"))
    rows, columns = (builder.expr(builder.input(TensorType(kind, (count,)), name)) for name in ("rows", "columns"))
    graph.outputs = (gather(x, rows, columns, axes=(0, 1)).value,)
    return graph


@pytest.mark.parametrize("dtype", [F32, F64, F16, I32, I64, BOOL], ids=str)
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 31, 1000])
def test_elements_are_those_at_the_positions(dtype: DType, count: int) -> None:
    random = np.random.default_rng(count)
    x = random.integers(-100, 100, (ROWS, COLUMNS)).astype(dtype.storage)
    for size in (count, Dim.named("n")):
        rows, columns = (random.integers(0, extent, count) for extent in (ROWS, COLUMNS))
        with guarded([x, rows, columns], at_end=True) as operands:
            (found,) = compile_graph(program(dtype, size), threads=2).run(operands)
        np.testing.assert_array_equal(found, x[rows, columns])


@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("wrong", [-1, COLUMNS, 1 << 40, -(1 << 62)])
def test_every_position_is_checked(place: int, wrong: int) -> None:
    x = np.zeros((ROWS, COLUMNS), np.float32)
    rows, columns = np.zeros(9, np.int64), np.arange(9)
    columns[place] = wrong
    executable = compile_graph(program(F32, 9), threads=1)
    with guarded([x, rows, columns], at_end=True) as operands, pytest.raises(IndexError):
        executable.run(operands)


def test_what_is_looked_up_anywhere_takes_no_gather() -> None:
    if host_target().has_avx2:
        assert "masked.gather" not in llvm_of(program(F32, 1000))


def test_many_elements_are_the_same_for_any_number_of_threads() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((300, 500)).astype(np.float32)
    index = random.integers(0, 500, (300, 400))
    for threads in (1, 2):
        found = adjit.compile(lambda x, index: x.gather(1, index), threads=threads)(
            adjit.from_numpy(x), adjit.from_numpy(index)
        )
        np.testing.assert_array_equal(found.numpy(), np.take_along_axis(x, index, 1))
