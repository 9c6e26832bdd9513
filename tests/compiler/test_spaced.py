"""Elements that stand close together are read by plain vectors: every second to fourth, and one for several lanes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import adjit.ir.ops.source  # noqa: F401
from adjit.compiler.pipeline import compile_graph, llvm_of, lowered
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.arrays import counted, equal, expand, reshape, where, window_of
from adjit.ir.ops.reduction import argmax, reduce_max, reduce_sum
from adjit.ir.ops.structure import concat
from adjit.ir.types import F32, F64, I16, I64, DType, TensorType
from adjit.runtime.interpreter import run as interpret
from tests.compiler.guarded import guarded

LENGTHS = (1, 2, 5, 16, 17, 40)
STEPS = (2, 3, 4)


def graph_of(function: Any, *types: TensorType) -> Graph:
    graph = Graph("program")
    builder = Builder(graph)
    results = function(*(builder.expr(builder.input(type)) for type in types))
    graph.outputs = tuple(x.value for x in (results if isinstance(results, tuple) else (results,)))
    return graph


def strided(length: int, step: int, dtype: DType) -> Graph:
    """x[:, 1::step] + 1, of which nothing follows the last element in memory."""

    def function(x: Any) -> Any:
        return window_of(x, (0, 1), (3, length), (1, step)) + 1

    return graph_of(function, TensorType(dtype, (3, 2 + step * (length - 1))))


def repeated(length: int, step: int, dtype: DType) -> Graph:
    """Each element of x `step` times."""

    def function(x: Any) -> Any:
        return reshape(expand(reshape(x, (3, length, 1)), (3, length, step)), (3, length * step)) + 1

    return graph_of(function, TensorType(dtype, (3, length)))


def tiled(length: int, step: int, dtype: DType) -> Graph:
    """Each element of a matrix as a square of `step` by `step`."""

    def function(x: Any) -> Any:
        squares = expand(reshape(x, (3, 1, length, 1)), (3, step, length, step))
        return reshape(squares, (3 * step, length * step)) + 1

    return graph_of(function, TensorType(dtype, (3, length)))


def turned(length: int, step: int, dtype: DType) -> Graph:
    """Rows of `step` elements turned by one place, and the sums of the first and the last of each."""

    def function(x: Any) -> Any:
        columns = [window_of(x, (0, 0, place), (3, length, 1)) for place in range(step)]
        return concat(*columns[1:], columns[0], axis=2), columns[0] + columns[-1]

    return graph_of(function, TensorType(dtype, (3, length, step)))


def pooled(length: int, step: int) -> Graph:
    """The greatest of every `step` neighbours by its position, the position, and the sum's gradient."""

    def function(x: Any, g: Any) -> Any:
        cells = reshape(x, (3, length, step))
        place = argmax(cells, axis=2)
        own = counted(x, (3, length, step), 2)
        same = equal(own, expand(reshape(place, (3, length, 1)), (3, length, step)))
        best = reduce_sum(where(same, cells, 0.0), axes=(2,))
        back = where(same, expand(reshape(g, (3, length, 1)), (3, length, step)), 0.0)
        return best, place, reshape(back, (3, length * step))

    return graph_of(function, TensorType(F32, (3, length * step)), TensorType(F32, (3, length)))


def arrays(graph: Graph) -> list[Any]:
    generator = np.random.default_rng(3)
    return [
        np.asarray(generator.standard_normal([int(d) for d in value.dims]) * 100).astype(value.dtype.storage)
        for value in graph.inputs
    ]


def programs() -> list[Graph]:
    found = [pooled(length, step) for length in LENGTHS for step in STEPS]
    for dtype in (F32, F64, I64, I16):
        for make in (strided, repeated, tiled, turned):
            found += [make(length, step, dtype) for length in LENGTHS for step in STEPS]
    return found


@pytest.mark.parametrize("dtype", [F32, F64, I64, I16], ids=str)
@pytest.mark.parametrize("make", [strided, repeated, tiled, turned])
def test_spaced_elements_are_the_right_ones(make: Any, dtype: DType) -> None:
    for length in LENGTHS:
        for step in STEPS:
            graph = make(length, step, dtype)
            given = arrays(graph)
            for found, expected in zip(compile_graph(graph).run(given), interpret(graph, *given), strict=True):
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("step", STEPS)
def test_pooling_by_position_is_exact(step: int) -> None:
    for length in LENGTHS:
        graph = pooled(length, step)
        x, g = arrays(graph)
        for special in (np.nan, np.inf, -np.inf, -0.0, 0.0):
            x[0] = -0.0
            x[1, :: step + 1] = special
            for found, expected in zip(compile_graph(graph).run([x, g]), interpret(graph, x, g), strict=True):
                np.testing.assert_array_equal(found, expected)
                np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


def test_the_greatest_and_its_position_are_found_in_one_loop() -> None:
    def function(x: Any) -> Any:
        return reduce_max(x, axes=(1,)), argmax(x, axis=1)

    for graph in (graph_of(function, TensorType(F32, (64, 100))), pooled(16, 2)):
        reductions = [node for node in lowered(graph).walk() if node.op.name == "reduce"]
        assert [node.attributes["kind"] for node in reductions] in (["argmax"], ["argmax", "argmax"])
        assert not [node for node in reductions if node.attributes["kind"] in ("sum", "max")]


def test_no_element_is_gathered() -> None:
    for graph in (strided(40, 2, F32), tiled(40, 2, F32), turned(40, 3, F32)):
        text = llvm_of(graph, threads=1)
        assert "gather" not in text and "scatter" not in text


def check_guarded() -> None:
    for graph in programs():
        executable = compile_graph(graph, threads=1)
        for at_end in (False, True):
            with guarded(arrays(graph), at_end) as copies:
                executable.run(copies)


def test_spaced_loads_stay_inside_their_arrays() -> None:
    code = "from tests.compiler.test_spaced import check_guarded; check_guarded()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
