"""Convolutions by Winograd's method: near the exact sums, the same bits whoever computes them, inside their arrays."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from adjit.compiler.build import build
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
from adjit.ir.parser import parse
from adjit.ir.shape import Dim
from adjit.ir.types import F32, TensorType
from tests.compiler.guarded import guarded
from tests.compiler.test_gemm import targets

# samples, channels, features, height, width, padding: odd sizes, channels and features that fill no vector, runs of k
CASES: dict[str, tuple[int, int, int, int, int, int]] = {
    "even": (3, 32, 64, 12, 12, 1),
    "odd": (2, 17, 47, 11, 9, 1),
    "unpadded": (1, 40, 32, 15, 18, 0),
    "wide": (5, 16, 16, 5, 33, 2),
    "deep": (12, 600, 32, 7, 7, 1),
}
EPILOGUES = {"even": "relu", "odd": "residual", "unpadded": "none", "wide": "relu", "deep": "none"}
# Of sums of |x| |w|, in units of 2**-24: the largest error, and the root of the mean square.  Direct sums: 4 and 0.5.
LARGEST, TYPICAL = 8.0, 1.0
SCALED = """
func @scaled(%x: f32[3, 32, 12, 12], %w: f32[64, 32, 3, 3]) -> (f32[3, 64, 12, 12]) {
  %0 = exp %x : f32[3, 32, 12, 12]
  %1 = mul %w, 2.0 : f32[64, 32, 3, 3]
  %2 = conv %0, %1 {stride=[1, 1], padding=[[1, 1], [1, 1]], input_dilation=[1, 1], kernel_dilation=[1, 1], groups=1}
    : f32[3, 64, 12, 12]
  return %2
}
"""


def program(
    name: str, epilogue: str = "none", turned: bool = False, open: bool = False, last: tuple[bool, ...] = (False,) * 3
) -> Graph:
    """relu(conv(x, w) + b), or conv(x, w) + y, of a kernel that is turned about if so asked.

    `last` are the image, the kernel and the outputs that have their channels last in memory.
    """
    samples, channels, features, height, width, padding = CASES[name]
    graph = Graph("convolution")
    builder = Builder(graph)
    count = Dim.named("samples") if open else samples

    def operand(*dims: Any) -> Any:
        return builder.expr(builder.input(TensorType(F32, dims)))

    def image(number: int, *dims: Any) -> Any:
        if not last[number]:
            return operand(*dims)
        return permute(operand(dims[0], *dims[2:], dims[1]), (0, 3, 1, 2))

    x, w = image(0, count, channels, height, width), image(1, features, channels, 3, 3)
    taps = window_of(w, (0, 0, 2, 2), (features, channels, 3, 3), (1, 1, -1, -1)) if turned else w
    found = conv(
        x, taps, stride=(1, 1), padding=((padding, padding),) * 2, input_dilation=(1, 1), kernel_dilation=(1, 1),
        groups=1,
    )  # fmt: skip
    found = permute(found, (0, 2, 3, 1)) if last[2] else found
    if epilogue != "none":
        other = operand(*found.shape)
        found = found + other if epilogue == "residual" else maximum(found - other, 0.0)
    graph.outputs = (found.value,)
    return graph


def arrays(graph: Graph) -> list[Any]:
    generator = np.random.default_rng(3)
    found = [generator.standard_normal([int(d) for d in value.dims]).astype(np.float32) for value in graph.inputs]
    found[1] /= np.float32(np.sqrt(found[1][0].size))  # outputs of about 1
    return found


def exact(name: str, given: list[Any], epilogue: str = "none", turned: bool = False) -> Any:
    """The results in float64."""
    padding = CASES[name][5]
    x, w, *rest = (array.astype(np.float64) for array in given)
    attributes = {
        "stride": (1, 1), "padding": ((padding, padding),) * 2, "input_dilation": (1, 1), "kernel_dilation": (1, 1),
        "groups": 1,
    }  # fmt: skip
    found = conv.reference(x, w[:, :, ::-1, ::-1] if turned else w, **attributes)
    if epilogue == "residual":
        return found + rest[0]
    return np.maximum(found - rest[0], 0) if epilogue == "relu" else found


@pytest.mark.parametrize(("name", "epilogue"), EPILOGUES.items())
def test_outputs_have_the_same_bits_for_all(name: str, epilogue: str) -> None:
    """One thread or several, quick code or the best, a known number of samples or not."""
    graph = program(name, epilogue)
    assert "@gemm.winograd" in llvm_of(graph)
    given = arrays(graph)
    (found,) = compile_graph(graph, threads=1).run(given)
    np.testing.assert_allclose(found, exact(name, given, epilogue), rtol=0, atol=2e-5)
    open = program(name, epilogue, open=True)
    others = [compile_graph(graph, threads=3), compile_graph(graph, strict=True), compile_graph(open, threads=2),
              build(lowered(graph), threads=1, level=0)]  # fmt: skip
    for other in others:
        np.testing.assert_array_equal(other.run(given)[0], found)


@pytest.mark.parametrize(("name", "epilogue"), EPILOGUES.items())
def test_one_kernel_pads_multiplies_and_does_what_follows(name: str, epilogue: str) -> None:
    kernels = [node for node in lowered(program(name, epilogue)).nodes if node.op is KERNEL]
    assert len(kernels) == 1


def test_operands_that_are_computed_stand_in_memory() -> None:
    """Kernels and cotangents too: the method reads them more than once."""
    graph = parse(SCALED)
    assert "@gemm.winograd.kernels" in llvm_of(graph)
    given = arrays(graph)
    (found,) = compile_graph(graph).run(given)
    np.testing.assert_allclose(found, exact("even", [np.exp(given[0]), given[1] * 2]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("target", targets()[1:])
def test_other_vectors(target: Target) -> None:
    graph = program("odd", "residual")
    given = arrays(graph)
    (found,) = build(lowered(graph), threads=2, target=target).run(given)
    np.testing.assert_allclose(found, exact("odd", given, "residual"), rtol=0, atol=2e-5)


def test_a_kernel_turned_about() -> None:
    """As gradients of images have it."""
    graph = program("odd", turned=True)
    assert "@gemm.winograd" in llvm_of(graph)
    given = arrays(graph)
    (found,) = compile_graph(graph).run(given)
    np.testing.assert_allclose(found, exact("odd", given, turned=True), rtol=0, atol=2e-5)


LAST = [(True, False, True), (True, True, True), (True, False, False), (False, False, True), (False, True, False)]


@pytest.mark.parametrize("last", LAST, ids=str)
@pytest.mark.parametrize(("name", "epilogue"), EPILOGUES.items())
def test_channels_last(name: str, epilogue: str, last: tuple[bool, ...]) -> None:
    """Whatever stands so in memory, the bits are those of arrays with the channels first."""
    graph = program(name, epilogue, last=last)
    assert "@gemm.winograd.products" in llvm_of(graph)
    kernels = [node for node in lowered(graph).nodes if node.op is KERNEL]
    assert len(kernels) == 1 + (name == "unpadded" and last[2])  # a single sample is reshaped, and then turned
    given = arrays(program(name, epilogue))
    (expected,) = compile_graph(program(name, epilogue), threads=1).run(given)
    moved = [array.transpose(0, 2, 3, 1).copy() if so else array for array, so in zip(given, last, strict=False)]
    for threads in (1, 3):
        (found,) = compile_graph(graph, threads=threads).run(moved)
        np.testing.assert_array_equal(found, expected.transpose(0, 2, 3, 1) if last[2] else expected)


@pytest.mark.parametrize("name", CASES)
def test_errors_are_those_that_are_stated(name: str) -> None:
    graph = program(name)
    given = arrays(graph)
    errors = np.abs(compile_graph(graph).run(given)[0] - exact(name, given)) / 2.0**-24
    errors /= exact(name, [abs(array) for array in given])
    assert errors.max() < LARGEST
    assert np.sqrt((errors**2).mean()) < TYPICAL


def test_no_other_output_sees_what_is_not_finite() -> None:
    graph = program("odd")
    x, w = arrays(graph)
    (plain,) = compile_graph(graph).run([x, w])
    x[1, 3, 4, 5] = np.nan
    (found,) = compile_graph(graph).run([x, w])
    touched = np.zeros(found.shape, bool)
    touched[1, :, 3:6, 4:7] = True
    assert np.isnan(found[touched]).all()
    np.testing.assert_array_equal(found[~touched], plain[~touched])


def test_a_switch_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJIT_WINOGRAD", "0")
    assert "winograd" not in llvm_of(program("even"))


# -- gradients of kernels ----------------------------------------------------------------------------------------------
# samples, channels, features, height, width, padding: as above, and so few samples that some partial sums have no rows
KERNELS: dict[str, tuple[int, int, int, int, int, int]] = {
    "even": (6, 32, 64, 12, 12, 1),
    "odd": (9, 29, 47, 11, 9, 1),
    "unpadded": (5, 40, 32, 15, 18, 0),
    "wide": (5, 16, 30, 6, 33, 2),
    "one": (1, 16, 16, 23, 24, 1),
}


def gradient(
    name: str, epilogue: bool = False, open: bool = False, last: tuple[bool, ...] = (False,) * 3
) -> Graph:
    """The gradient of a kernel [features, channels, 3, 3], for images and cotangents; or a step along it.

    `last` are the image, the kernel and the cotangents that have their channels last in memory.
    """
    samples, channels, features, height, width, padding = KERNELS[name]
    graph = Graph("gradient")
    builder = Builder(graph)
    count = Dim.named("samples") if open else samples
    x, w, g = (
        builder.expr(builder.input(TensorType(F32, (dims[0], *dims[2:], dims[1]) if so else dims)))
        for dims, so in zip((
            (count, channels, height, width), (features, channels, 3, 3),
            (count, features, height + 2 * padding - 2, width + 2 * padding - 2),
        ), last, strict=True)
    )  # fmt: skip
    x, w, g = (permute(each, (0, 3, 1, 2)) if so else each for each, so in zip((x, w, g), last, strict=True))
    wide = pad(x, low=(0, 0, padding, padding), high=(0, 0, padding, padding), interior=(0,) * 4, value=0)
    windows = window(wide, axes=(2, 3), size=g.shape[2:], stride=(1, 1), dilation=(1, 1))
    # Axes of the windows: sample, channel, tap down, tap right, place down, place right.
    found = dot(g, windows, contract=((0, 2, 3), (0, 4, 5)), batch=((), ()))
    found = w - found * 0.25 if epilogue else found
    graph.outputs = ((permute(found, (0, 2, 3, 1)) if last[1] else found).value,)
    return graph


def exact_gradient(name: str, given: list[Any]) -> Any:
    padding = KERNELS[name][5]
    x, _, g = (array.astype(np.float64) for array in given)
    wide = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(wide, g.shape[2:], (2, 3))
    return np.einsum("nkyx,ncuvyx->kcuv", g, windows)


@pytest.mark.parametrize("name", KERNELS)
def test_gradients_of_kernels_have_the_same_bits_for_all(name: str) -> None:
    graph = gradient(name)
    assert "@gemm.winograd.sums" in llvm_of(graph)
    given = arrays(graph)
    (found,) = compile_graph(graph, strict=False, threads=1).run(given)
    errors = np.abs(found - exact_gradient(name, given)) / exact_gradient(name, [abs(array) for array in given])
    assert errors.max() < LARGEST * 2.0**-24
    assert np.sqrt((errors**2).mean()) < TYPICAL * 2.0**-24
    others = [compile_graph(graph, strict=False, threads=3), build(lowered(graph), strict=False, threads=2, level=0),
              compile_graph(gradient(name, open=True), strict=False, threads=1)]  # fmt: skip
    for other in others:
        np.testing.assert_array_equal(other.run(given)[0], found)
    (step,) = build(lowered(gradient(name, epilogue=True), strict=True), strict=False).run(given)
    np.testing.assert_allclose(step, given[1] - found * np.float32(0.25), rtol=1e-6, atol=1e-5)
    assert "@gemm.winograd.sums" not in llvm_of(graph, strict=True)


@pytest.mark.parametrize("epilogue", [False, True])
@pytest.mark.parametrize("last", [*LAST, (False, True, True), (False, False, True)], ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_gradients_of_kernels_with_channels_last(name: str, last: tuple[bool, ...], epilogue: bool) -> None:
    graph = gradient(name, epilogue, last=last)
    assert "@gemm.winograd.sums" in llvm_of(graph, strict=False)
    given = arrays(gradient(name))
    (expected,) = compile_graph(gradient(name, epilogue), strict=False, threads=1).run(given)
    moved = [array.transpose(0, 2, 3, 1).copy() if so else array for array, so in zip(given, last, strict=True)]
    for threads in (1, 3):
        (found,) = compile_graph(graph, strict=False, threads=threads).run(moved)
        np.testing.assert_array_equal(found, expected.transpose(0, 2, 3, 1) if last[1] else expected)


@pytest.mark.parametrize("samples", [0, 1, 5])
def test_gradients_of_kernels_for_any_number_of_samples(samples: int) -> None:
    graph = gradient("even", open=True)
    assert "@gemm.winograd.sums" in llvm_of(graph)
    given = [array[:samples] if array.shape[0] == KERNELS["even"][0] else array for array in arrays(gradient("even"))]
    for threads in (1, 2):
        (found,) = compile_graph(graph, strict=False, threads=threads).run(given)
        np.testing.assert_allclose(found, exact_gradient("even", given), rtol=0, atol=1e-4)


def check_guarded_arrays() -> None:
    for name in ("odd", "wide"):
        graph = program(name, "residual")
        executable = compile_graph(graph, threads=1)
        for at_end in (False, True):
            with guarded(arrays(graph), at_end) as copies:
                executable.run(copies)
    for last in ((False,) * 3, (True,) * 3):
        for graph in (gradient("odd", last=last), gradient("odd", epilogue=True, last=last), program("odd", last=last)):
            executable = compile_graph(graph, strict=False, threads=1)
            for at_end in (False, True):
                with guarded(arrays(graph), at_end) as copies:
                    executable.run(copies)


def test_accesses_stay_inside_their_arrays() -> None:
    code = "from tests.compiler.test_winograd import check_guarded_arrays; check_guarded_arrays()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("samples", "goes"), [(1, False), (3, True), (None, True)])
def test_few_tiles_of_many_channels_are_summed_directly(samples: int | None, goes: bool) -> None:
    """Where the number of samples is known and need not be left out of account, as it must in strict programs."""
    graph = Graph("deep")
    builder = Builder(graph)
    count = Dim.named("samples") if samples is None else samples
    x, w = (builder.expr(builder.input(TensorType(F32, dims))) for dims in ((count, 128, 7, 7), (128, 128, 3, 3)))
    sides = {"padding": ((1, 1), (1, 1)), "input_dilation": (1, 1), "kernel_dilation": (1, 1), "groups": 1}
    graph.outputs = (conv(x, w, stride=(1, 1), **sides).value,)
    assert (".kernel(" in llvm_of(graph)) == goes
    assert ".kernel(" in llvm_of(graph, strict=True)
    random = np.random.default_rng(0)
    given = [random.standard_normal((samples or 2, 128, 7, 7)), random.standard_normal((128, 128, 3, 3))]
    expected = conv.reference(*given, stride=(1, 1), **sides)
    (found,) = compile_graph(graph, threads=1).run([array.astype("float32") for array in given])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)
