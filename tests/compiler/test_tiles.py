"""Large sums over rows are found while a kernel goes row by row, with the bits that they have alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjit
from adjit.compiler import tile_sums
from adjit.compiler.pipeline import compile_graph, lowered
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.arrays import expand, reshape
from adjit.ir.ops.reduction import reduce_max, reduce_sum
from adjit.ir.primitive import primitive_named
from adjit.ir.types import F32, F64, DType, TensorType

exp = primitive_named("exp")


def program(rows: int, columns: int, dtype: DType) -> Graph:
    """Softmax of the rows of x weighted by y, its sum, and sums down the columns."""
    graph = Graph("program")
    builder = Builder(graph)
    x, y = (builder.expr(builder.input(TensorType(dtype, (rows, columns)))) for _ in range(2))

    def spread(value: Any) -> Any:
        return expand(reshape(value, (rows, 1)), (rows, columns))

    shifted = exp(x - spread(reduce_max(x, axes=(1,))))
    shares = shifted / spread(reduce_sum(shifted, axes=(1,)))
    weighted = shares * y
    sums = [reduce_sum(weighted, axes=(0, 1)), reduce_sum(weighted, axes=(0,)), reduce_sum(y, axes=(0,))]
    graph.outputs = tuple(value.value for value in (shares, *sums))
    return graph


def arrays(rows: int, columns: int, dtype: DType) -> list[Any]:
    random = np.random.default_rng(rows)
    return [random.standard_normal((rows, columns)).astype(dtype.storage) for _ in range(2)]


def kernels(graph: Graph) -> int:
    return sum(node.op.name == "kernel" for node in lowered(graph).nodes)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of any size go in two stages."""
    monkeypatch.setattr(tile_sums, "LEAST", 1)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_bits_are_those_of_the_sums_alone(dtype: DType, threads: int) -> None:
    shape = 2048, 1024
    given = arrays(*shape, dtype)
    shares, whole, down, plain = compile_graph(program(*shape, dtype), threads=threads, strict=True).run(given)
    weighted = adjit.from_numpy(shares) * adjit.from_numpy(given[1])
    np.testing.assert_array_equal(whole, weighted.sum().numpy())
    np.testing.assert_array_equal(down, weighted.sum(0).numpy())
    np.testing.assert_array_equal(plain, adjit.from_numpy(given[1]).sum(0).numpy())


@pytest.mark.parametrize("threads", [1, 2])
def test_many_blocks_are_added_in_order(threads: int) -> None:
    graph = Graph("program")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(F32, (2400, 2048))))
    graph.outputs = (reduce_sum(x, axes=(0, 1)).value,)
    (given, _) = arrays(2400, 2048, F32)
    assert kernels(graph) == 2  # tiles, then blocks one after the other
    (found,) = compile_graph(graph, threads=threads).run([given])
    np.testing.assert_array_equal(found, adjit.from_numpy(given).sum().numpy())


def test_one_kernel_reads_the_rows() -> None:
    assert kernels(program(2048, 1024, F32)) == 4
    assert kernels(program(2048, 1000, F32)) == 4  # the whole sum has a kernel of its own


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("shape", [(512, 64), (32, 1024), (514, 64), (512, 96), (300, 128)])
def test_loops_mean_what_the_program_says(shape: tuple[int, int]) -> None:
    graph = program(*shape, F32)
    given = arrays(*shape, F32)
    found = compile_graph(graph, threads=1).run(given)
    shares = np.exp(given[0] - given[0].max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    wanted = [shares, (shares * given[1]).sum(), (shares * given[1]).sum(0), given[1].sum(0)]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)
