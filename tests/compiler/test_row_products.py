"""Gradients of small kernels whose terms are read in rows: near the exact sums, equal bits, inside their arrays."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from adjit.compiler.build import build
from adjit.compiler.llvm.target import Target
from adjit.compiler.pipeline import compile_graph, llvm_of, lowered
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.arrays import permute
from adjit.ir.ops.contraction import conv, dot
from adjit.ir.ops.windows import window
from adjit.ir.shape import Dim
from adjit.ir.types import F32, F64, DType, TensorType
from tests.compiler.guarded import guarded
from tests.compiler.test_gemm import targets

# samples, channels, features, places, taps, steps between windows: of the axes of images, the last's windows neighbours
CASES: dict[str, tuple[int, int, int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "one channel": (9, 1, 10, (24, 24), (5, 5), (1, 1)),
    "three channels": (3, 3, 6, (28, 28), (5, 5), (1, 1)),
    "two features": (2, 2, 2, (12, 16), (3, 4), (1, 1)),
    "rows of 17": (4, 1, 3, (15, 17), (3, 3), (1, 1)),
    "rows of 31, one sample": (1, 3, 7, (13, 31), (1, 5), (1, 1)),
    "rows of 48, steps of 2 down": (11, 2, 5, (6, 48), (3, 3), (2, 1)),
    "cubes": (2, 1, 4, (5, 12, 16), (3, 3, 3), (1, 1, 1)),
    "no sample": (0, 1, 4, (14, 16), (3, 3), (1, 1)),
}


def program(name: str, dtype: DType = F32, open: bool = False) -> Graph:
    """The gradient of a kernel: of cotangents [samples, features, *places] and an image."""
    samples, channels, features, places, taps, steps = CASES[name]
    graph = Graph("gradient")
    builder = Builder(graph)
    count = Dim.named("samples") if open else samples
    extent = [(place - 1) * step + tap for place, tap, step in zip(places, taps, steps, strict=True)]
    shapes = (count, features, *places), (count, channels, *extent)
    g, x = (builder.expr(builder.input(TensorType(dtype, shape))) for shape in shapes)
    axes = tuple(range(2, 2 + len(places)))
    windows = window(x, axes=axes, size=taps, stride=steps, dilation=(1,) * len(taps))
    found = dot(g, windows, contract=((0, *axes), (0, *axes)), batch=((), ()))
    graph.outputs = (found.value,)
    return graph


def arrays(name: str, dtype: DType = F32) -> list[Any]:
    generator = np.random.default_rng(5)
    graph = program(name, dtype)
    return [generator.standard_normal([int(d) for d in value.dims]).astype(dtype.storage) for value in graph.inputs]


def exact(name: str, g: Any, x: Any) -> Any:
    """The sums in float64."""
    _, _, _, places, taps, steps = CASES[name]
    found = np.zeros((g.shape[1], x.shape[1], *taps))
    for tap in np.ndindex(*taps):
        part = x[(..., *(slice(t, t + (p - 1) * s + 1, s) for t, p, s in zip(tap, places, steps, strict=True)))]
        sums = tuple(range(2, g.ndim))
        found[(..., *tap)] = np.tensordot(g.astype(np.float64), part.astype(np.float64), ((0, *sums), (0, *sums)))
    return found


def is_in_rows(graph: Graph) -> bool:
    return "gemm.rows." in llvm_of(graph)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", CASES)
def test_they_are_near_the_exact_sums_for_any_threads_and_samples(name: str, dtype: DType) -> None:
    graph = program(name, dtype)
    assert is_in_rows(graph if CASES[name][0] else program(name, dtype, open=True))
    g, x = arrays(name, dtype)
    (found,) = compile_graph(graph, threads=1).run([g, x])
    bound = 1e-6 if dtype is F32 else 1e-14
    np.testing.assert_allclose(found, exact(name, g, x), rtol=0, atol=bound * max(1, g.size) ** 0.5 * 4)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(compile_graph(graph, threads=threads).run([g, x])[0], found)
    np.testing.assert_array_equal(compile_graph(program(name, dtype, open=True), threads=2).run([g, x])[0], found)


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("name", ["one channel", "rows of 17", "cubes"])
def test_lesser_machines_have_nearly_the_same_sums(name: str, target: Target) -> None:
    g, x = arrays(name)
    (found,) = compile_graph(program(name), threads=1).run([g, x])
    (other,) = build(lowered(program(name)), strict=False, target=target).run([g, x])
    if target.has_fma:
        np.testing.assert_array_equal(other, found)
    np.testing.assert_allclose(other, found, rtol=0, atol=1e-6 * g.size**0.5)


def test_no_element_meets_what_is_none_of_its_terms() -> None:
    for place in np.ndindex(15, 17):
        if place[1] not in (0, 15, 16):
            continue
        g, x = (np.ones_like(array) for array in arrays("rows of 17"))
        g[1, 2, *place] = np.nan
        (found,) = compile_graph(program("rows of 17"), threads=1).run([g, x])
        assert np.isnan(found[2]).all()
        assert (found[:2] == 4 * 15 * 17).all()
    g, x = (np.ones_like(array) for array in arrays("rows of 17"))
    x[0, 0, 0, 18] = np.inf
    (found,) = compile_graph(program("rows of 17"), threads=1).run([g, x])
    assert np.isinf(found[:, 0, 0, 2]).all()
    assert np.isfinite(np.delete(found.reshape(3, 9), 2, axis=1)).all()


def test_strict_programs_many_channels_and_short_rows_are_summed_otherwise() -> None:
    graph = program("one channel")
    assert "gemm.rows." not in llvm_of(graph, strict=True)
    CASES["short"] = 4, 6, 16, (30, 9), (3, 3), (1, 1)
    CASES["many"] = 4, 64, 64, (16, 16), (1, 3), (1, 1)
    try:
        assert not is_in_rows(program("short"))
        assert not is_in_rows(program("many"))
    finally:
        del CASES["short"], CASES["many"]


def test_transposed_cotangents_and_turned_kernels_are_put_in_their_places() -> None:
    """The gradient with its features last, of an image whose samples and channels are exchanged."""
    graph = Graph("gradient")
    builder = Builder(graph)
    g, x = (builder.expr(builder.input(TensorType(F32, d))) for d in ((9, 10, 24, 24), (1, 9, 28, 28)))
    plain = {"stride": (1, 1), "padding": ((0, 0),) * 2, "input_dilation": (1, 1), "kernel_dilation": (1, 1)}
    found = conv(x, permute(g, (1, 0, 2, 3)), **plain, groups=1)
    graph.outputs = (permute(found, (2, 3, 0, 1)).value,)
    assert is_in_rows(graph)
    given, image = arrays("one channel")
    (ours,) = compile_graph(graph, threads=1).run([given, np.ascontiguousarray(image.swapaxes(0, 1))])
    expected = exact("one channel", given, image).transpose(2, 3, 1, 0)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6 * given.size**0.5 * 4)


def check_guarded() -> None:
    """Sum beside pages that may not be touched."""
    for name in CASES:
        executable, given = compile_graph(program(name), threads=2), arrays(name)
        (expected,) = executable.run(given)
        for at_end in (True, False):
            with guarded(given, at_end) as inputs, guarded([expected], at_end) as outputs:
                outputs[0][...] = 1
                np.testing.assert_array_equal(executable.run(inputs, outputs)[0], expected)


def test_they_stay_inside_their_arrays() -> None:
    code = "from tests.compiler.test_row_products import check_guarded; check_guarded()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
