"""Sums of a few neighbouring terms read rows of memory, whole lanes or some, and nothing beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adjit.compiler.llvm.target import host_target
from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.arrays import expand
from adjit.ir.ops.reduction import reduce_max, reduce_sum
from adjit.ir.types import F32, F64, I32, DType, TensorType
from tests.compiler.guarded import guarded


def program(count: int, rows: int, terms: int, dtype: DType) -> Graph:
    """A vector by each of `count` matrices, and the greatest element of their rows less one."""
    graph = Graph("program")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(dtype, (count, rows, terms))))
    y = builder.expr(builder.input(TensorType(dtype, (count, 1, terms))))
    results = reduce_sum(x * expand(y, (count, rows, terms)), axes=(2,)), reduce_max(x - 1, axes=(2,))
    graph.outputs = tuple(result.value for result in results)
    return graph


@pytest.mark.parametrize("terms", (2, 3, 5, 8, 13, 16))
@pytest.mark.parametrize("rows", (1, 6, 8, 19))
@pytest.mark.parametrize("dtype", (F32, F64, I32), ids=str)
def test_sums_of_few_terms(dtype: DType, rows: int, terms: int) -> None:
    random = np.random.default_rng(terms)
    whole: list[Any] = [
        random.integers(-9, 9, shape).astype(dtype.storage) for shape in ((7, rows, terms), (7, 1, terms))
    ]
    x, y = whole
    program_ = compile_graph(program(7, rows, terms, dtype))
    for at_end in (True, False):
        with guarded(whole, at_end) as given:
            total, greatest = program_.run(given)
        np.testing.assert_array_equal(total, (x * y).sum(2))
        np.testing.assert_array_equal(greatest, (x - 1).max(2))


@pytest.mark.skipif(not host_target().has_masks, reason="parts of rows take masks")
@pytest.mark.parametrize("terms", (5, 8))
def test_rows_are_not_gathered(terms: int) -> None:
    graph = program(100, 8, terms, F32)
    graph.outputs = graph.outputs[:1]
    assert "gather" not in llvm_of(graph)
