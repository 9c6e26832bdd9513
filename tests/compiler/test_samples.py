"""Convolutions along the samples: exact but for rounding, the same bits whoever computes them, inside their arrays."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from adjit.compiler.build import build
from adjit.compiler.by_samples import Axis, axes_of, pays
from adjit.compiler.llvm.target import Target
from adjit.compiler.loops.ir import KERNEL
from adjit.compiler.pipeline import compile_graph, llvm_of, lowered
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.arrays import permute, window_of
from adjit.ir.ops.contraction import conv, dot
from adjit.ir.ops.scalar import maximum
from adjit.ir.ops.structure import pad
from adjit.ir.ops.windows import window
from adjit.ir.types import F32, F64, DType, TensorType
from tests.compiler.guarded import guarded
from tests.compiler.test_gemm import targets

# image, kernel, low and high padding, dilation: blocks that are not whole, outputs that meet no tap, runs of k
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, int], tuple[int, int], int]] = {
    "gradient": ((64, 20, 8, 8), (10, 20, 5, 5), (4, 4), (4, 4), 1),
    "odd": ((37, 7, 5, 3), (11, 7, 3, 2), (2, 1), (1, 1), 1),
    "apart": ((33, 6, 7, 6), (9, 6, 3, 3), (4, 4), (4, 4), 2),
    "far": ((16, 3, 2, 2), (5, 3, 2, 2), (4, 3), (3, 4), 1),
    "deep": ((32, 130, 2, 2), (17, 130, 3, 3), (1, 1), (1, 1), 1),
    "two": ((29, 2, 1, 2), (2, 2, 2, 3), (1, 2), (1, 2), 1),
}
EPILOGUES = ["none", "relu", "residual", "relu", "residual", "relu"]


def program(name: str, epilogue: str = "none", dtype: DType = F32, last: bool = False, turned: bool = False) -> Graph:
    """relu(conv(x, w) + b), or conv(x, w) + y; with the channels `last` in memory, of a kernel that is turned about."""
    image, kernel, low, high, dilation = CASES[name]
    graph = Graph("convolution")
    builder = Builder(graph)

    def operand(*dims: Any) -> Any:
        return builder.expr(builder.input(TensorType(dtype, dims)))

    x = permute(operand(image[0], *image[2:], image[1]), (0, 3, 1, 2)) if last else operand(*image)
    w = operand(*kernel)
    if turned:
        w = window_of(w, (0, 0, kernel[2] - 1, kernel[3] - 1), kernel, (1, 1, -1, -1))
    padding = tuple(zip(low, high, strict=True))
    found = conv(
        x, w, stride=(1, 1), padding=padding, input_dilation=(1, 1), kernel_dilation=(dilation,) * 2, groups=1
    )
    found = permute(found, (0, 2, 3, 1)) if last else found
    if epilogue != "none":
        other = operand(*found.shape)
        found = found + other if epilogue == "residual" else maximum(found - other, 0.0)
    graph.outputs = (found.value,)
    return graph


def arrays(graph: Graph, dtype: DType = F32) -> list[Any]:
    generator = np.random.default_rng(3)
    return [generator.standard_normal([int(d) for d in value.dims]).astype(dtype.storage) for value in graph.inputs]


def exact(name: str, given: list[Any], epilogue: str = "none", last: bool = False, turned: bool = False) -> Any:
    """The results in float64."""
    low, high, dilation = CASES[name][2:]
    x, w, *rest = (array.astype(np.float64) for array in given)
    found = conv.reference(
        x.transpose(0, 3, 1, 2) if last else x, w[:, :, ::-1, ::-1] if turned else w, stride=(1, 1),
        padding=tuple(zip(low, high, strict=True)), input_dilation=(1, 1), kernel_dilation=(dilation,) * 2, groups=1,
    )  # fmt: skip
    found = found.transpose(0, 2, 3, 1) if last else found
    if epilogue != "none":
        found = found + rest[0] if epilogue == "residual" else np.maximum(found - rest[0], 0)
    return found


def goes(graph: Graph) -> bool:
    """Whether a program computes along the samples."""
    return ".samples(" in llvm_of(graph)


@pytest.mark.parametrize(("name", "epilogue"), list(zip(CASES, EPILOGUES, strict=True)))
def test_outputs_have_the_same_bits_for_all(name: str, epilogue: str) -> None:
    """One thread or several, quick code or the best; in one kernel with what follows."""
    graph = program(name, epilogue)
    assert goes(graph)
    given = arrays(graph)
    (found,) = compile_graph(graph, strict=False, threads=1).run(given)
    np.testing.assert_allclose(found, exact(name, given, epilogue), rtol=1e-5, atol=1e-4)
    for other in (
        *(compile_graph(graph, strict=False, threads=threads) for threads in (2, 3, 7)),
        build(lowered(graph), strict=False, threads=1, level=0),
    ):
        np.testing.assert_array_equal(other.run(given)[0], found)
    assert sum(node.op is KERNEL for node in lowered(graph).nodes) == 1


@pytest.mark.parametrize("name", ["gradient", "odd", "apart", "far", "two"])
def test_sums_of_one_run_have_the_bits_of_strict_programs(name: str) -> None:
    """The terms that are left out are zeros, and the others have their order."""
    graph = program(name)
    given = arrays(graph)
    (found,) = compile_graph(graph, strict=False).run(given)
    assert ".samples(" not in llvm_of(graph, strict=True)
    np.testing.assert_array_equal(compile_graph(graph, strict=True).run(given)[0], found)


def test_strict_programs_store_the_padding() -> None:
    """They sum in the order of any number of samples, by kernels that do not test each element."""
    for name in CASES:
        assert "masked=true" not in str(lowered(program(name), strict=True)).split("contract")[-1]


@pytest.mark.parametrize("target", targets()[1:])
@pytest.mark.parametrize("name", ["odd", "deep"])
def test_other_vectors(name: str, target: Target) -> None:
    graph = program(name, "residual")
    given = arrays(graph)
    (found,) = build(lowered(graph), strict=False, threads=2, target=target).run(given)
    np.testing.assert_allclose(found, exact(name, given, "residual"), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_double_precision(name: str) -> None:
    graph = program(name, dtype=F64)
    assert goes(graph)
    given = arrays(graph, F64)
    (found,) = compile_graph(graph, strict=False).run(given)
    np.testing.assert_allclose(found, exact(name, given), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("epilogue", ["none", "relu"])
@pytest.mark.parametrize("name", CASES)
def test_channels_last_in_memory(name: str, epilogue: str) -> None:
    graph = program(name, epilogue, last=True)
    assert goes(graph)
    assert sum(node.op is KERNEL for node in lowered(graph).nodes) == 1
    given = arrays(graph)
    (found,) = compile_graph(graph, strict=False, threads=2).run(given)
    np.testing.assert_allclose(found, exact(name, given, epilogue, last=True), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_turned_about(name: str) -> None:
    """As gradients of images have it."""
    graph = program(name, turned=True)
    assert goes(graph)
    given = arrays(graph)
    (found,) = compile_graph(graph, strict=False).run(given)
    np.testing.assert_allclose(found, exact(name, given, turned=True), rtol=1e-5, atol=1e-4)


def test_what_is_not_finite_reaches_the_outputs_that_meet_it() -> None:
    graph = program("gradient")
    x, w = arrays(graph)
    run = compile_graph(graph, strict=False)
    (plain,) = run.run([x, w])
    x[33, 3, 1, 2] = np.nan
    (found,) = run.run([x, w])
    touched = np.zeros(found.shape, bool)
    touched[33, :, 1:6, 2:7] = True
    assert np.isnan(found[touched]).all()
    np.testing.assert_array_equal(found[~touched], plain[~touched])


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_weights_that_are_not_finite_meet_no_zeros_around_images(value: float) -> None:
    """Strict programs multiply the zeros; README.md tells so."""
    graph = program("gradient")
    x, w = arrays(graph)
    (plain,) = compile_graph(graph, strict=False).run([x, w])
    w[2, 5, 0, 0] = value
    (found,) = compile_graph(graph, strict=False).run([x, w])
    touched = np.zeros(found.shape, bool)
    touched[:, 2, 4:, 4:] = True
    assert not np.isfinite(found[touched]).any()
    np.testing.assert_array_equal(found[~touched], plain[~touched])
    (multiplied,) = compile_graph(graph, strict=True).run([x, w])
    assert np.isnan(multiplied[:, 2, :4]).all() and np.isnan(multiplied[:, 2, :, :4]).all()


@pytest.mark.parametrize("features", [1, 3])
def test_kernels_of_several_axes_are_left_to_others(features: int) -> None:
    """The product of windows with an array of two axes beside those that are summed, or of none."""
    graph = Graph("windows")
    builder = Builder(graph)
    x, w = (builder.expr(builder.input(TensorType(F32, dims))) for dims in ((32, 4, 5, 5), (2, features, 4, 3, 3)))
    wide = pad(x, low=(0, 0, 1, 1), high=(0, 0, 1, 1), interior=(0,) * 4, value=0)
    windows = window(wide, axes=(2, 3), size=(3, 3), stride=(1, 1), dilation=(1, 1))
    graph.outputs = (dot(w, windows, contract=((2, 3, 4), (1, 4, 5)), batch=((), ())).value,)
    given = arrays(graph)
    (found,) = compile_graph(graph, strict=False).run(given)
    padded = np.pad(given[0], ((0, 0), (0, 0), (1, 1), (1, 1))).astype(np.float64)
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    np.testing.assert_allclose(found, np.einsum("pqcuv,ncyxuv->pqnyx", given[1], views), rtol=1e-5, atol=1e-4)


def check_guarded_arrays() -> None:
    cases = ("odd", "residual", False), ("odd", "none", True), ("two", "relu", True), ("far", "none", False)
    for name, epilogue, last in cases:
        graph = program(name, epilogue, last=last)
        executable = compile_graph(graph, strict=False, threads=1)
        for at_end in (False, True):
            with guarded(arrays(graph), at_end) as copies:
                executable.run(copies)


def test_accesses_stay_inside_their_arrays() -> None:
    code = "from tests.compiler.test_samples import check_guarded_arrays; check_guarded_arrays()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_decision() -> None:
    """Few samples, images without zeros around them, and large ones are left to others, as are open sizes."""
    axes = [Axis(8, 5, 4, 4, 1)] * 2
    assert axes[0].out == 12
    assert axes[0].met == 40
    assert pays(F32, 64, 20, 10, axes)
    for samples in (None, 15):
        assert not pays(F32, samples, 20, 10, axes)
    assert not pays(F32, 64, 20, 10, [Axis(80, 5, 4, 4, 1)] * 2)
    assert axes_of((8, 8), (3, 3), (0, 0), (0, 0), (1, 1)) is None
    assert axes_of((8, 8), (3, 3), (-1, 1), (1, 1), (1, 1)) is None
