"""Gathers of elements that stand close together, out of registers; and of those that do not."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import adjit
from adjit.compiler.llvm.target import host_target
from adjit.compiler.pipeline import compile_graph
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.indexing import gather
from adjit.ir.ops.scalar import maximum, minimum
from adjit.ir.types import F32, F64, I32, I64, TensorType
from tests.compiler.guarded import guarded

KINDS = {"float32": F32, "float64": F64, "int32": I32, "int64": I64}
# What multiplies the number of an element to say where it stands, of 40 places.
SLOPES = [0.3, 0.9, 1.7, 2.2, 5.0, -0.4, -1.0, 0.0]
EXTENT = 40


def places(slope: float, count: int) -> np.ndarray:
    return np.clip(np.floor(np.arange(count) * slope + (EXTENT if slope < 0 else -2)), 0, EXTENT - 1).astype(np.int64)


def program(kind: str, count: int) -> Graph:
    """x[:, clamp(index, 0, 39)]: positions that are certain to be inside."""
    graph = Graph("near")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(KINDS[kind], (3, EXTENT)), "x"))
    index = builder.expr(builder.input(TensorType(I64, (count,)), "index"))
    graph.outputs = (gather(x, minimum(maximum(index, 0), EXTENT - 1), axes=(1,)).value,)
    return graph


def arrays(kind: str, slope: float, count: int) -> list[np.ndarray]:
    x = np.arange(3 * EXTENT).reshape(3, EXTENT) * 3 - 50
    return [x.astype(kind), places(slope, count)]


@pytest.mark.parametrize("count", [7, 16, 40, 83])
@pytest.mark.parametrize("kind", KINDS)
def test_elements_near_and_apart_are_what_the_places_say(kind: str, count: int) -> None:
    graph = program(kind, count)
    executable = compile_graph(graph, threads=1)
    for slope in SLOPES:
        x, index = arrays(kind, slope, count)
        np.testing.assert_array_equal(executable.run([x, index])[0], x[:, index].T)
    x, index = arrays(kind, 0.0, count)
    index = np.random.default_rng(count).integers(-9, EXTENT + 9, count)
    np.testing.assert_array_equal(executable.run([x, index])[0], x[:, index.clip(0, EXTENT - 1)].T)


def test_places_that_the_program_clamps_are_looked_for_in_registers() -> None:
    if not host_target().has_avx512:
        pytest.skip("the machine has no AVX-512")
    enlarged = adjit.compile(lambda x: adjit.nn.functional.interpolate(x, size=33, mode="linear", align_corners=True))
    assert "vpermi2var" in enlarged.llvm(adjit.randn(2, 3, 20))
    looked_up = adjit.compile(lambda x, i: x[i])
    assert "vpermi2var" not in looked_up.llvm(adjit.randn(100), adjit.arange(50))


def check_guarded_gathers() -> None:
    for kind in KINDS:
        for count in (16, 83):
            executable = compile_graph(program(kind, count), threads=1)
            for slope in SLOPES:
                for at_end in (False, True):
                    with guarded(arrays(kind, slope, count), at_end) as copies:
                        executable.run(copies)


def test_near_elements_stay_inside_their_arrays() -> None:
    code = "from tests.compiler.test_near import check_guarded_gathers; check_guarded_gathers()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
