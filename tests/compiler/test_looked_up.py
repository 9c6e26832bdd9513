"""Elements at indices, looked up one by one or updated, in every number and dtype; each index is checked."""

from __future__ import annotations

import numpy as np
import pytest

import adjit
from adjit.compiler.llvm.target import host_target
from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.indexing import gather, scatter_add, scatter_max, scatter_min, scatter_mul, scatter_set
from adjit.ir.shape import Dim, Size
from adjit.ir.types import BOOL, F16, F32, F64, I32, I64, DType, TensorType
from tests.compiler.guarded import guarded

ROWS, COLUMNS = 6, 37
SCATTERS = {"set": scatter_set, "add": scatter_add, "mul": scatter_mul, "max": scatter_max, "min": scatter_min}
FOLDS = {"set": lambda x, y: y, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


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


@pytest.mark.parametrize("kind", ["set", "add", "mul", "max", "min"])
@pytest.mark.parametrize("shape", [(5, 37), (1, 9), (3, 4, 33), (0, 7)], ids=str)
@pytest.mark.parametrize("dtype", [F32, F64, I64], ids=str)
def test_updates_of_columns_keep_their_order(kind: str, shape: tuple[int, ...], dtype: DType) -> None:
    """Rows stand outermost; in each the updates of an element come one after another."""
    count, columns = 70, shape[-1]
    random = np.random.default_rng(columns)
    x, updates = (random.standard_normal(dims) * 9 for dims in (shape, (count, *shape[:-1])))
    x, updates = x.astype(dtype.storage), updates.astype(dtype.storage)
    index = random.integers(0, columns, count)
    graph = Graph("updates")
    builder = Builder(graph)
    types = TensorType(dtype, shape), TensorType(dtype, updates.shape), TensorType(I64, (count,))
    operands = [builder.expr(builder.input(type)) for type in types]
    graph.outputs = (SCATTERS[kind](*operands, axes=(len(shape) - 1,)).value,)
    wanted = x.copy()
    for place, update in zip(index, updates, strict=True):
        wanted[..., place] = FOLDS[kind](wanted[..., place], update)
    for threads in (1, 3):
        with guarded([x, updates, index], at_end=threads == 1) as given:
            (found,) = compile_graph(graph, threads=threads).run(given)
        np.testing.assert_array_equal(found, wanted)


def test_gathers_beside_channels_a_page_apart_go_along_what_is_contiguous() -> None:
    """Channels that far apart would have one set of the first cache for all lanes."""
    if not host_target().has_avx2:
        return
    image, grid = adjit.zeros(2, 16, 32, 32), adjit.zeros(2, 32, 32, 2)
    sampled = adjit.compile(lambda x, g: adjit.nn.functional.grid_sample(x, g, align_corners=False), threads=1)
    assert "masked.scatter" not in sampled.llvm(image, grid)
