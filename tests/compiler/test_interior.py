"""Loops over padded and shifted arrays ask for bounds only at their ends, and are right at every place."""

from __future__ import annotations

import numpy as np
import pytest

from adjit.compiler.llvm.target import host_target
from adjit.compiler.pipeline import compile_graph, llvm_of, lowered
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Graph
from adjit.ir.ops.arrays import expand, reshape
from adjit.ir.ops.structure import concat, pad, slice_
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


def in_row(kind: str, dims: tuple[int, ...], axis: int, count: int) -> Graph:
    """Arrays put in a row along an axis, seen by arithmetic: parts of one that rolls, mirrors or repeats, or of two."""
    graph = Graph("program")
    builder = Builder(graph)
    x, y = (builder.expr(builder.input(TensorType(F32, dims))) for _ in range(2))
    extent = dims[axis]

    def cut(z: Expr, start: int, size: int, step: int = 1) -> Expr:
        starts, sizes, steps = ([value if place == axis else other for place, other in enumerate(whole)]
                                for value, whole in ((start, [0] * len(dims)), (size, dims), (step, [1] * len(dims))))
        return slice_(z, start=tuple(starts), size=tuple(sizes), step=tuple(steps))

    def repeated(place: int) -> Expr:
        shape = (*dims[:axis], count, *dims[axis + 1 :])
        return expand(cut(x, place, 1), shape)

    match kind:
        case "roll":
            parts = [cut(x * x, extent - count, count), cut(x * x, 0, extent - count)]
        case "mirror":
            parts = [cut(x, count, count, -1), x, cut(x, extent - 2, count, -1)]
        case "repeat":
            parts = [repeated(0), x, repeated(extent - 1)]
        case _:
            parts = [cut(x, 1, count), y * 2]
    row = concat(*parts, axis=axis)
    graph.outputs = ((row * row).value,)
    return graph


@pytest.mark.parametrize("kind", ["roll", "mirror", "repeat", "two"])
@pytest.mark.parametrize(
    ("dims", "axis", "count"),
    [((1100,), 0, 3), ((3, 70, 130), 2, 5), ((3, 70, 130), 1, 2), ((40, 33, 64), 0, 7), ((2, 9, 128), 2, 64)],
)
def test_arrays_in_a_row_are_looked_through(kind: str, dims: tuple[int, ...], axis: int, count: int) -> None:
    if kind == "mirror" and count + 1 >= dims[axis] - count:
        count = dims[axis] // 3
    graph = in_row(kind, dims, axis, count)
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal(dims).astype("f") for _ in range(2)]
    wanted = run(graph, *arrays)[0]
    for threads in (1, 2):
        (found,) = compile_graph(graph, threads=threads).run(arrays)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    kernels = [node for node in lowered(graph).nodes if node.op.name == "kernel"]
    assert len(kernels) == 1


@pytest.mark.parametrize(("extent", "loads"), [(100_000, 3), (4 * host_target().lanes(F32) - 4, 1)])
def test_long_loops_have_an_interior(extent: int, loads: int) -> None:
    """There every load is of whole vectors; in a short loop only that of what is not shifted."""
    text = llvm_of(shifted((extent,), F32, 1, 0), threads=1)
    assert text.count("= load <") == loads


@pytest.mark.parametrize(("low", "gap", "shape"), [(0, 40, (40, 40)), (3, 10, (2, 204)), (200, 0, (400,))])
def test_elements_far_apart_are_put_among_zeros(low: int, gap: int, shape: tuple[int, ...]) -> None:
    graph = Graph("program")
    builder = Builder(graph)
    count = 37
    x = builder.expr(builder.input(TensorType(F32, (count,))))
    high = int(np.prod(shape)) - low - (count - 1) * (gap + 1) - 1
    spread = pad(x * 2, low=(low,), high=(high,), interior=(gap,), value=-1.5)
    graph.outputs = (reshape(spread, shape).value,)
    (wanted,) = run(graph, given := np.arange(count, dtype="f"))
    for threads in (1, 2):
        np.testing.assert_array_equal(compile_graph(graph, threads=threads).run([given])[0], wanted)
