"""Windows of images packed row by row: exact sums in their order, inside memory, for rows of every length."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from adjit.compiler.loops.ir import RUN
from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.compiler.prepare import prepare
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.arrays import permute
from adjit.ir.ops.contraction import conv
from adjit.ir.shape import Dim
from adjit.ir.types import F32, F64, DType, TensorType
from tests.compiler.guarded import guarded

# image, kernel, stride, padding, dilation, groups: rows of 1 to 40 outputs, sums of more than one run, several parts
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int, int, int, int]] = {
    "rows of 24": ((3, 1, 28, 28), (10, 1, 5, 5), 1, 0, 1, 1),
    "rows of 8": ((5, 10, 12, 12), (20, 10, 5, 5), 1, 0, 1, 1),
    "rows of 12, padded": ((3, 20, 8, 8), (10, 20, 5, 5), 1, 4, 1, 1),
    "rows of 28, padded": ((2, 32, 28, 28), (17, 32, 3, 3), 1, 1, 1, 1),
    "rows of 7": ((2, 12, 9, 9), (33, 12, 3, 3), 1, 0, 1, 1),
    "rows of 3": ((4, 30, 5, 5), (18, 30, 3, 3), 1, 0, 1, 1),
    "rows of 40, apart": ((2, 6, 44, 44), (16, 6, 3, 3), 1, 0, 2, 1),
    "steps of 2": ((2, 6, 21, 21), (16, 6, 3, 3), 2, 1, 1, 1),
    "steps of 2, many features": ((2, 9, 21, 21), (40, 9, 3, 3), 2, 1, 1, 1),
    "steps of 2, rows of 4": ((5, 9, 8, 8), (34, 9, 4, 4), 2, 1, 1, 1),
    "steps of 2, one sample": ((1, 9, 21, 21), (40, 9, 3, 3), 2, 1, 1, 1),
    "steps of 3": ((3, 9, 12, 24), (34, 9, 3, 3), 3, 0, 1, 1),
    "steps of 4, taps apart": ((2, 5, 22, 70), (100, 5, 4, 4), 4, 0, 2, 1),
    "3 x 3 of large taps": ((5, 4, 14, 14), (29, 4, 12, 12), 1, 0, 1, 1),
    "groups": ((3, 12, 14, 14), (24, 4, 3, 3), 1, 0, 1, 3),
    "a channel each": ((2, 24, 14, 14), (24, 1, 3, 3), 1, 1, 1, 24),
    "a channel each, rows of 56": ((1, 17, 56, 56), (17, 1, 7, 7), 1, 3, 1, 17),
    "a channel each, steps of 2": ((2, 20, 21, 21), (20, 1, 3, 3), 2, 1, 1, 20),
    "a channel each, rows of 17, taps apart": ((2, 9, 13, 17), (9, 1, 5, 3), 1, 4, 2, 9),
    "a channel each, large taps, steps of 3": ((1, 9, 41, 70), (9, 1, 11, 7), 3, 5, 1, 9),
    "points": ((3, 40, 10, 10), (24, 40, 1, 1), 1, 0, 1, 1),
    "one feature": ((3, 8, 9, 9), (1, 8, 2, 2), 1, 0, 1, 1),
    "one feature, steps of 2": ((3, 8, 16, 16), (1, 8, 2, 2), 2, 0, 1, 1),
}


def program(name: str, dtype: DType, samples: Dim | None = None) -> Graph:
    (count, *place), kernel, stride, padding, dilation, groups = CASES[name]
    image = (count if samples is None else samples, *place)
    graph = Graph("convolution")
    builder = Builder(graph)
    x, w = (
        builder.expr(builder.input(TensorType(dtype, shape), name)) for shape, name in ((image, "x"), (kernel, "w"))
    )
    pair = (stride, stride), ((padding, padding),) * 2, (1, 1), (dilation, dilation)
    result = conv(
        x, w, stride=pair[0], padding=pair[1], input_dilation=pair[2], kernel_dilation=pair[3], groups=groups
    )
    graph.outputs = (result.value,)
    return graph


def arrays(graph: Graph, dtype: DType) -> list[Any]:
    generator = np.random.default_rng(1)
    return [generator.standard_normal([int(d) for d in value.dims]).astype(dtype.storage) for value in graph.inputs]


def in_order(name: str, x: Any, w: Any) -> Any:
    """The convolution by sums in the stated order: runs of at most RUN terms, each term added in one rounding.

    Products and sums are formed in twice the precision and rounded once a term, which is that for f32.
    """
    _, (features, each, *taps), stride, padding, dilation, groups = CASES[name]
    x = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2)).astype(np.float64)
    reach = [(tap - 1) * dilation + 1 for tap in taps]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, (2, 3))
    windows = windows[:, :, ::stride, ::stride, ::dilation, ::dilation]
    terms = [(c, i, j) for c in range(each) for i in range(taps[0]) for j in range(taps[1])]
    runs = -(-len(terms) // RUN)
    length = -(-len(terms) // runs)
    result = np.zeros((x.shape[0], features, *windows.shape[2:4]), np.float32)
    for feature in range(features):
        first = feature // (features // groups) * each
        for begin in range(0, len(terms), length):
            total = np.zeros(windows[:, 0, :, :, 0, 0].shape, np.float32)
            for c, i, j in terms[begin : begin + length]:
                exact = windows[:, first + c, :, :, i, j] * np.float64(w[feature, c, i, j]) + total
                total = exact.astype(np.float32)
            result[:, feature] = total if begin == 0 else result[:, feature] + total
    return result


@pytest.mark.parametrize("name", CASES)
def test_sums_over_windows_have_the_order_that_is_written(name: str) -> None:
    graph = program(name, F32)
    x, w = arrays(graph, F32)
    (found,) = compile_graph(graph, strict=True, threads=1).run([x, w])
    expected = in_order(name, x, w)
    # The double product is exact; its sum with the total is rounded twice, which shows in one of some 2**29 terms.
    np.testing.assert_array_equal(found, expected)
    for threads in (2, 3):
        np.testing.assert_array_equal(compile_graph(graph, threads=threads).run([x, w])[0], found)


def turned(order: tuple[int, ...] | None) -> Graph:
    """A convolution by a long kernel with a channel each; its kernel is an array in another order."""
    graph = Graph("convolution")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(F32, (1, 18, 15, 19)), "x"))
    shape = (9, 2, 10, 13)
    own = shape if order is None else tuple(shape[order.index(axis)] for axis in range(4))
    w = builder.expr(builder.input(TensorType(F32, own), "w"))
    taken = w if order is None else permute(w, order)
    pair = {"stride": (1, 1), "padding": ((1, 1),) * 2, "input_dilation": (1, 1), "kernel_dilation": (1, 1)}
    graph.outputs = (conv(x, taken, **pair, groups=9).value,)
    return graph


def test_long_kernels_in_another_order_are_stored_in_that_of_their_windows() -> None:
    order = (3, 0, 1, 2)
    kernels = [[node.op.name for node in fused.regions[0].nodes] for fused in prepare(turned(order)).nodes]
    assert ["permute"] in kernels
    x, w = arrays(turned(None), F32)
    (found,) = compile_graph(turned(order), threads=1).run([x, np.ascontiguousarray(w.transpose(1, 2, 3, 0))])
    np.testing.assert_array_equal(found, compile_graph(turned(None), threads=1).run([x, w])[0])


@pytest.mark.parametrize("samples", [1, 3])
def test_kernels_with_longer_rows_than_there_are_windows(samples: int) -> None:
    """Gradients of kernels are such convolutions: their sums go by columns of the kernel, in few terms."""
    graph = Graph("convolution")
    builder = Builder(graph)
    x, w = (builder.expr(builder.input(TensorType(F32, d))) for d in ((samples, 48, 16, 17), (24, 2, 14, 15)))
    plain = {"stride": (1, 1), "input_dilation": (1, 1), "kernel_dilation": (1, 1)}
    graph.outputs = (conv(x, w, padding=((0, 1), (1, 1)), groups=24, **plain).value,)
    given = arrays(graph, F32)
    expected = conv.reference(*(a.astype(np.float64) for a in given), **graph.nodes[0].attributes)
    (found,) = compile_graph(graph, threads=1).run(given)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(compile_graph(graph, threads=2).run(given)[0], found)


@pytest.mark.parametrize("name", ["rows of 8", "rows of 12, padded", "rows of 3"])
def test_windows_of_doubles(name: str) -> None:
    graph = program(name, F64)
    x, w = arrays(graph, F64)
    (found,) = compile_graph(graph, strict=True).run([x, w])
    np.testing.assert_allclose(found, in_order(name, x, w), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_the_number_of_samples_need_not_be_known(name: str) -> None:
    x, w = arrays(program(name, F32), F32)
    named = compile_graph(program(name, F32, Dim.named("samples")), strict=True, threads=2)
    np.testing.assert_array_equal(named.run([x, w])[0], in_order(name, x, w))


@pytest.mark.parametrize(
    "name", ["rows of 24", "rows of 28, padded", "steps of 2, one sample", "3 x 3 of large taps"]
)
def test_windows_are_read_in_place(name: str) -> None:
    text = llvm_of(program(name, F32))
    assert "@gemm.placed" in text
    are_rows = name in ("steps of 2, one sample", "3 x 3 of large taps")  # then the kernel is packed as columns
    assert (".pack_b(" in text) == are_rows
    assert "gather" not in text


@pytest.mark.parametrize(
    "name", ["rows of 8", "rows of 3", "steps of 2, rows of 4", "steps of 3", "steps of 4, taps apart"]
)
def test_windows_are_packed_as_rows(name: str) -> None:
    text = llvm_of(program(name, F32))
    packing = text[text.index(".pack_b(") :]
    packing = packing[: packing.index("\n}")]
    assert "masked.load" in packing
    assert "gather" not in packing


def check_guarded_windows() -> None:
    for name in CASES:
        graph = program(name, F32)
        executable = compile_graph(graph, threads=1)
        for at_end in (False, True):
            with guarded(arrays(graph, F32), at_end) as copies:
                executable.run(copies)


@pytest.mark.parametrize("name", ["one feature", "one feature, steps of 2"])
def test_channels_are_not_written_out(name: str) -> None:
    """Rows side by side share what windows have in common, and no two windows have another channel's rows."""
    assert llvm_of(program(name, F32)).count("\n") < 1500


def test_windows_stay_inside_their_arrays() -> None:
    code = "from tests.compiler.test_windows import check_guarded_windows; check_guarded_windows()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
