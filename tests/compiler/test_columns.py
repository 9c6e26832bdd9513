"""Sums over rows go through memory as it lies, with the order of each column's sum unchanged."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.arrays import expand
from adjit.ir.ops.reduction import reduce_max, reduce_min, reduce_prod, reduce_sum
from adjit.ir.shape import Dim, Size
from adjit.ir.types import F32, F64, I32, DType, TensorType
from tests.compiler.guarded import guarded
from tests.compiler.sums import in_order

SHAPES = [(32, 256), (33, 257), (255, 300), (257, 1024), (700, 1025), (1000, 5000), (8, 300), (40, 7)]


def program(rows: Size, columns: Size, dtype: DType) -> Graph:
    """Over the rows of x: the sum, and that of x scaled by its row and its column and by another matrix."""
    graph = Graph("program")
    builder = Builder(graph)
    x, y = (builder.expr(builder.input(TensorType(dtype, (rows, columns)))) for _ in range(2))
    scale = builder.expr(builder.input(TensorType(dtype, (columns,))))
    plain = reduce_sum(x, axes=(0,))
    results = (plain * 2 + scale, reduce_sum(x * y - expand(scale, (rows, columns)), axes=(0,)))
    graph.outputs = tuple(result.value for result in results)
    return graph


def arrays(rows: int, columns: int, dtype: DType) -> list[Any]:
    generator = np.random.default_rng(rows)
    return [generator.standard_normal(s).astype(dtype.storage) for s in ((rows, columns), (rows, columns), (columns,))]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_sums_over_rows_have_the_order_that_is_written(shape: tuple[int, int], dtype: DType) -> None:
    x, y, scale = arrays(*shape, dtype)
    expected = in_order(x) * 2 + scale, in_order(x * y - scale)
    for sizes in (shape, (Dim.named("n"), Dim.named("m"))):
        graph = program(*sizes, dtype)
        for threads in (1, 2, 3):
            found = compile_graph(graph, strict=True, threads=threads).run([x, y, scale])
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_sums_and_products_of_nothing() -> None:
    graph = program(Dim.named("n"), Dim.named("m"), F32)
    for found in compile_graph(graph).run([np.zeros((0, 300), np.float32)] * 2 + [np.zeros(300, np.float32)]):
        np.testing.assert_array_equal(found, np.zeros(300, np.float32))
        assert not np.signbit(found).any()
    graph = Graph("product")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(F32, (Dim.named("n"), 300))))
    graph.outputs = (reduce_prod(x, axes=(0,)).value,)
    given = np.random.default_rng(0).uniform(0.9, 1.1, (40, 300)).astype(np.float32)
    np.testing.assert_allclose(compile_graph(graph).run([given])[0], given.prod(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(compile_graph(graph).run([given[:0]])[0], np.ones(300, np.float32))


def test_known_sizes_leave_no_code_for_other_ones() -> None:
    """A single tile of whole vectors, a single run of rows that are added eight at a time: nothing under masks."""
    text = llvm_of(program(64, 512, F32), threads=1)
    assert "masked" not in text
    assert "urem" not in text
    assert text.count("\n") < llvm_of(program(67, 515, F32), threads=1).count("\n")


@pytest.mark.parametrize("shape", [(64, 512), (39, 263), (513, 4097)], ids=str)
@pytest.mark.parametrize("reduce", [reduce_sum, reduce_prod, reduce_max, reduce_min])
def test_known_sizes_have_the_bits_of_open_ones(reduce: Any, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x[:, 3], x[:, 4], x[5, 7], x[6, 8], x[7, 9] = -0.0, 0.0, np.nan, np.inf, -np.inf
    found = []
    for sizes in (shape, (Dim.named("n"), Dim.named("m"))):
        graph = Graph("reduced")
        builder = Builder(graph)
        graph.outputs = (reduce(builder.expr(builder.input(TensorType(F32, sizes))), axes=(0,)).value,)
        found.append(compile_graph(graph).run([x])[0].view(np.int32))
    np.testing.assert_array_equal(*found)


def test_rows_are_added_while_totals_are_in_registers() -> None:
    text = llvm_of(program(1000, 2000, F32), threads=1)
    assert re.search(r"alloca \[\d+ x <\d+ x float>\]", text)


def check_guarded() -> None:
    for shape in SHAPES:
        executable = compile_graph(program(*shape, F32), threads=1)
        for at_end in (False, True):
            with guarded(arrays(*shape, F32), at_end) as copies:
                executable.run(copies)


def test_sums_over_rows_stay_inside_their_arrays() -> None:
    code = "from tests.compiler.test_columns import check_guarded; check_guarded()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("dtype", [F32, F64, I32], ids=str)
@pytest.mark.parametrize("shape", [(33, 257), (700, 1025)])
def test_extremes_over_rows_are_those_of_the_columns(shape: tuple[int, int], dtype: DType) -> None:
    graph = Graph("extremes")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(dtype, (Dim.named("n"), Dim.named("m")))))
    graph.outputs = (reduce_max(x, axes=(0,)).value, reduce_min(x, axes=(0,)).value)
    given = (100 * np.random.default_rng(1).standard_normal(shape)).astype(dtype.storage)
    if dtype.is_float:
        given[20, 5], given[21, 6] = np.nan, -np.inf
    for found, expected in zip(compile_graph(graph, threads=2).run([given]), (given.max(0), given.min(0)), strict=True):
        np.testing.assert_array_equal(found, expected)
