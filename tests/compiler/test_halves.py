"""Half precision by integer arithmetic: every f16 and the neighbourhood of every rounding, on any x86-64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adjit.compiler.build import build, llvm_text
from adjit.compiler.llvm import jit
from adjit.compiler.llvm.target import host_target, make_target
from adjit.compiler.loops.lower import lower
from adjit.compiler.prepare import prepare
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.halfs import round_bf16, widen_bf16
from adjit.ir.ops.arrays import cast
from adjit.ir.shape import Dim
from adjit.ir.types import BF16, F16, F32, DType, TensorType


def program(source: DType, target: DType) -> Graph:
    graph = Graph("cast")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(source, (Dim.named("n"),))))
    graph.outputs = (cast(x, target).value,)
    return lower(prepare(graph))


def run(source: DType, target: DType, array: Any, level: str) -> Any:
    """The cast in code for an x86-64 of a level; `host` is the machine as it is."""
    chosen = host_target() if level == "host" else make_target(host_target().triple, level)
    return build(program(source, target), target=chosen).run([array])[0]


def levels() -> list[str]:
    return ["host", "x86-64", "x86-64-v3"] if host_target().architecture == "x86_64" else ["host"]


def singles() -> Any:
    """The neighbourhood of every f16 and of the middle between two, and random bits."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    exact = np.sort(halves[np.isfinite(halves)])
    near = np.concatenate([exact, (exact[:-1] + exact[1:]) / 2])
    bits = np.random.default_rng(0).integers(0, 1 << 32, 200_000, dtype=np.uint32).view(np.float32)
    bits = bits[~np.isnan(bits)]
    with np.errstate(all="ignore"):  # there are denormals
        sides = [np.nextafter(near, np.float32(side)) for side in (-np.inf, np.inf)]
    return np.concatenate([near, *sides, bits, np.float32([65504, 65519.99, 65520, 65536, np.inf, -np.inf])])


@pytest.mark.parametrize("level", levels())
def test_every_f16_has_its_value(level: str) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    found = run(F16, F32, halves, level)
    np.testing.assert_array_equal(found, halves.astype(np.float32))
    assert found[~np.isnan(found)].tobytes() == halves.astype(np.float32)[~np.isnan(found)].tobytes()


@pytest.mark.parametrize("level", levels())
def test_f32_is_rounded_to_the_nearest_f16(level: str) -> None:
    given = singles()
    with np.errstate(over="ignore"):
        expected = given.astype(np.float16)
    assert run(F32, F16, given, level).tobytes() == expected.tobytes()
    assert np.isnan(run(F32, F16, np.float32([np.nan, -np.nan]), level)).all()


@pytest.mark.parametrize("level", levels())
def test_bf16_is_the_upper_half(level: str) -> None:
    given = singles()
    np.testing.assert_array_equal(run(F32, BF16, given, level), round_bf16(given))
    words = np.arange(1 << 16, dtype=np.uint16)
    np.testing.assert_array_equal(run(BF16, F32, words, level), widen_bf16(words))


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("half", [F16, BF16], ids=str)
def test_no_library_is_needed(cpu: str, half: DType) -> None:
    target = make_target("x86_64-unknown-linux-gnu", cpu)
    for source, result in ((half, F32), (F32, half)):
        text = jit.assembly(llvm_text(program(source, result), target=target), target)
        assert "__trunc" not in text
        assert "__extend" not in text
