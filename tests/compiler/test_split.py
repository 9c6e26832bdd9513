"""What follows a reduction is computed for several results at once, with the same bits."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from adjit.compiler.build import build
from adjit.compiler.loops.lower import lower
from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.compiler.prepare import prepare
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.arrays import expand
from adjit.ir.ops.contraction import dot
from adjit.ir.ops.reduction import reduce_max, reduce_sum
from adjit.ir.primitive import primitive_named
from adjit.ir.shape import Dim, Size
from adjit.ir.types import F32, F64, DType, TensorType
from adjit.runtime.interpreter import run as interpret
from tests.compiler.guarded import guarded

SHAPES = [(1, 40), (5, 32), (16, 33), (37, 64), (70, 200)]


def program(rows: Size, columns: Size, dtype: DType) -> Graph:
    """tanh(w @ h + x) exp(scale), and log(max |w| + 1) of each row, which divides it."""
    graph = Graph("program")
    builder = Builder(graph)
    w, h, x, scale = (
        builder.expr(builder.input(TensorType(dtype, dims))) for dims in ((rows, columns), (columns,), (rows,), ())
    )
    tanh, exp, log, absolute = (primitive_named(name) for name in ("tanh", "exp", "log", "abs"))
    product = tanh(dot(w, h, contract=((1,), (0,)), batch=((), ())) + x) * expand(exp(scale), (rows,))
    top = log(reduce_max(absolute(w), axes=(1,)) + 1) / (reduce_sum(w * w, axes=(1,)) + 1)
    graph.outputs = (product.value, top.value)
    return graph


def arrays(rows: int, columns: int, dtype: DType) -> list[Any]:
    generator = np.random.default_rng(rows)
    return [np.asarray(generator.standard_normal(s)).astype(dtype.storage) for s in
            ((rows, columns), (columns,), (rows,), ())]  # fmt: skip


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_results_have_the_same_bits_in_any_lanes(shape: tuple[int, int], dtype: DType) -> None:
    given = arrays(*shape, dtype)
    for sizes in (shape, (Dim.named("n"), Dim.named("m"))):
        graph = program(*sizes, dtype)
        lowered = lower(prepare(graph))
        single = build(lowered, lanes=1).run(given)
        for options in ({}, {"lanes": 4}, {"threads": 2}):
            for found, expected in zip(build(lowered, **options).run(given), single, strict=True):
                np.testing.assert_array_equal(found, expected)
        for found, expected in zip(single, interpret(graph, *given), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_functions_after_a_sum_are_vectors() -> None:
    text = llvm_of(program(64, 200, F32), threads=1)
    assert "x float> @llvm.fma" in text or "fdiv <" in text


def check_guarded() -> None:
    for shape in SHAPES:
        executable = compile_graph(program(*shape, F32), threads=1)
        for at_end in (False, True):
            with guarded(arrays(*shape, F32), at_end) as copies:
                executable.run(copies)


def test_split_loops_stay_inside_their_arrays() -> None:
    code = "from tests.compiler.test_split import check_guarded; check_guarded()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
