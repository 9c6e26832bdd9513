"""Convolutions of images with zeros between their elements: dense ones, one a phase of the outputs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.legalize import legalize
from adjit.compiler.pipeline import compile_graph
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.contraction import conv
from adjit.ir.types import F32, TensorType
from tests.compiler.guarded import guarded

# image, kernel, steps between the image's elements, padding before and after, kernel dilation, groups
Case = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, int], int, int]
CASES: dict[str, Case] = {
    "one to four taps": ((2, 24, 9, 9), (20, 24, 3, 3), (2, 2), (1, 2), 1, 1),
    "four taps each": ((2, 18, 8, 9), (20, 18, 4, 4), (2, 2), (2, 2), 1, 1),
    "a tap each": ((2, 33, 9, 16), (17, 33, 2, 2), (2, 2), (1, 1), 1, 1),
    "phases without taps": ((2, 40, 7, 7), (24, 40, 1, 1), (2, 2), (0, 1), 1, 1),
    "one axis": ((2, 16, 20), (16, 16, 9), (4,), (7, 5), 1, 1),
    "one axis of two": ((2, 16, 6, 20), (16, 16, 3, 3), (1, 2), (1, 1), 1, 1),
    "eight steps": ((1, 16, 20), (16, 16, 16), (8,), (11, 12), 1, 1),
    "a volume": ((1, 12, 4, 5, 6), (9, 12, 3, 3, 3), (2, 2, 2), (1, 2), 1, 1),
    "taps apart": ((1, 12, 8, 8), (16, 12, 3, 3), (2, 2), (3, 3), 2, 1),
    "taps apart, all phases": ((1, 12, 8, 8), (16, 12, 3, 3), (2, 2), (3, 4), 3, 1),
    "sixteen phases": ((2, 12, 6, 6), (5, 12, 4, 4), (4, 4), (3, 3), 1, 1),
    "sixteen phases that overlap": ((2, 12, 6, 6), (5, 12, 7, 7), (4, 4), (2, 5), 1, 1),
    "columns of all samples": ((3, 18, 4, 5), (35, 18, 4, 4), (2, 2), (2, 3), 1, 1),
    "one axis, samples together": ((3, 18, 5), (35, 18, 4), (2,), (2, 2), 1, 1),
    "a volume, samples together": ((2, 9, 3, 4, 3), (33, 9, 4, 4, 4), (2, 2, 2), (2, 2), 1, 1),
    "groups": ((2, 36, 9, 9), (20, 18, 3, 3), (2, 2), (1, 2), 1, 2),
    "a group a channel": ((2, 6, 9, 19), (6, 1, 3, 3), (2, 2), (1, 2), 1, 6),
    "images of one element": ((3, 18, 1, 1), (35, 18, 4, 4), (2, 2), (3, 3), 1, 1),
    "one element in groups": ((2, 6, 1, 1), (4, 3, 3, 3), (1, 1), (1, 2), 1, 2),
    "one element, few taps": ((2, 3, 1), (4, 3, 3), (1,), (4, 3), 1, 1),
    "many phases in groups": ((2, 6, 5, 5), (4, 3, 5, 5), (3, 3), (1, 2), 1, 2),
}


def program(name: str) -> Graph:
    image, kernel, steps, padding, dilation, groups = CASES[name]
    graph = Graph("phases")
    builder = Builder(graph)
    x, w = (builder.expr(builder.input(TensorType(F32, shape), hint)) for shape, hint in ((image, "x"), (kernel, "w")))
    result = conv(
        x, w, stride=(1,) * len(steps), padding=(padding,) * len(steps), input_dilation=steps,
        kernel_dilation=(dilation,) * len(steps), groups=groups,
    )  # fmt: skip
    graph.outputs = (result.value,)
    return graph


def arrays(graph: Graph) -> list[Any]:
    generator = np.random.default_rng(1)
    return [generator.standard_normal([int(d) for d in value.dims]).astype(np.float32) for value in graph.inputs]


@pytest.mark.parametrize("name", CASES)
def test_phases_are_the_convolution(name: str) -> None:
    graph = program(name)
    x, w = arrays(graph)
    (node,) = graph.nodes
    expected = conv.reference(x.astype(np.float64), w.astype(np.float64), **node.attributes)
    (found,) = compile_graph(graph, strict=True, threads=1).run([x, w])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(compile_graph(graph, strict=True, threads=3).run([x, w])[0], found)


@pytest.mark.parametrize("name", CASES)
def test_no_zeros_stand_between_elements(name: str) -> None:
    for node in legalize(program(name)).walk():
        assert node.op.name != "pad" or not any(node.attributes["interior"])  # type: ignore[arg-type]


def check_guarded_phases() -> None:
    for name in CASES:
        graph = program(name)
        executable = compile_graph(graph, threads=1)
        for at_end in (False, True):
            with guarded(arrays(graph), at_end) as copies:
                executable.run(copies)


def test_phases_stay_inside_their_arrays() -> None:
    code = "from tests.compiler.test_phases import check_guarded_phases; check_guarded_phases()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_images_of_one_element_spread_no_nan_to_outputs_that_do_not_meet_them() -> None:
    point = torch.tensor([[[[float("nan")]]]])
    for padding, taps in ((1, 1), (3, 3), (5, 2)):
        found = torch.nn.functional.conv2d(point, torch.ones(1, 1, taps, taps), padding=padding)[0, 0]
        edge = padding - taps + 1
        expected = np.zeros(found.shape)
        expected[edge : found.shape[0] - edge, edge : found.shape[1] - edge] = np.nan
        np.testing.assert_array_equal(found.numpy(), expected)
