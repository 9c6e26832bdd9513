"""Loops over padded and shifted arrays ask for bounds only at their ends, and are right at every place."""

from __future__ import annotations

import numpy as np
import pytest

from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.structure import pad, slice_
from adjit.ir.types import F32, F64, DType, TensorType
from adjit.runtime.interpreter import run


def shifted(dims: tuple[int, ...], dtype: DType, left: int, right: int) -> Graph:
    """x*x without its last `right` places in a row, padded by `left` before, plus the same the other way round."""
    graph = Graph("program")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(dtype, dims)))
    total = x
    for before, behind in ((left, right), (right, left)):
        start = (*(0 for _ in dims[1:]), behind)
        size = (*dims[:-1], dims[-1] - before - behind)
        kept = slice_(x * x, start=start, size=size, step=(1,) * len(dims))
        low, high = ((*(0 for _ in dims[1:]), count) for count in (before, behind))
        total = total + pad(kept * 3, low=low, high=high, interior=(0,) * len(dims), value=0.5)
    graph.outputs = (total.value,)
    return graph


@pytest.mark.parametrize(
    ("dtype", "dims", "left", "right"),
    [(F32, (1024,), 1, 0), (F32, (300,), 20, 7), (F32, (5, 527), 3, 2), (F64, (1025,), 1, 2)],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_every_place_is_right(dtype: DType, dims: tuple[int, ...], left: int, right: int, threads: int) -> None:
    x = np.random.default_rng(0).standard_normal(dims).astype(dtype.storage)
    graph = shifted(dims, dtype, left, right)
    (found,) = compile_graph(graph, threads=threads).run([x])
    np.testing.assert_allclose(found, run(graph, x)[0], rtol=4 * np.finfo(dtype.storage).eps)


@pytest.mark.parametrize(("extent", "loads"), [(100_000, 3), (100, 1)])
def test_long_loops_have_an_interior(extent: int, loads: int) -> None:
    """There every load is of whole vectors; in a short loop only that of what is not shifted."""
    text = llvm_of(shifted((extent,), F32, 1, 0), threads=1)
    assert text.count("= load <") == loads
