"""Code for machines without AVX-512 or AVX2 computes what it means here, and code for other machines can be made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from adjit.compiler.build import build, llvm_text
from adjit.compiler.llvm import jit
from adjit.compiler.llvm.target import host_target, make_target
from adjit.compiler.loops.lower import lower
from adjit.compiler.prepare import prepare
from adjit.ir.errors import CompileError
from adjit.ir.graph import Graph
from adjit.ir.halfs import widen_bf16
from adjit.ir.parser import parse
from adjit.runtime.interpreter import run as interpret
from tests.compiler.programs import PROGRAMS

ON_X86 = host_target().architecture == "x86_64"
HERE = [level for level in ("x86-64-v3", "x86-64-v2") if ON_X86 and host_target().vector_bytes >= 32]
SIZES = {"n": 37, "m": 21}
# Larger than blocks and tiles, and of what has forms of its own for some machines.
LARGER = {
    "product": "%x: f32[70, 130], %y: f32[130, 90]) -> (f32[70, 90]) {\n"
    "  %0 = dot %x, %y {contract=[[1], [0]], batch=[[], []]} : f32[70, 90]\n  return %0",
    "product_f64": "%x: f64[33, 65], %y: f64[130, 65]) -> (f64[33, 130]) {\n"
    "  %0 = dot %x, %y {contract=[[1], [1]], batch=[[], []]} : f64[33, 130]\n  return %0",
    "sort": "%x: f32[3, 1000]) -> (f32[3, 1000], i64[3, 1000]) {\n"
    "  %0, %1 = sort %x {axis=1, descending=false} : f32[3, 1000], i64[3, 1000]\n  return %0, %1",
    "functions": "%x: f32[515], %y: f64[515]) -> (f32[515], f32[515], f32[515], f64[515], f64[515], f64[515]) {\n"
    "  %0 = exp %x : f32[515]\n  %1 = tanh %x : f32[515]\n  %a = abs %x : f32[515]\n  %2 = log %a : f32[515]\n"
    "  %3 = exp %y : f64[515]\n  %4 = erf %y : f64[515]\n  %b = abs %y : f64[515]\n  %5 = pow %b, %y : f64[515]\n"
    "  return %0, %1, %2, %3, %4, %5",
    "columns": "%x: f32[300, 3]) -> (f32[300], f32[300, 3]) {\n"
    "  %0 = reduce_max %x {axes=[1]} : f32[300]\n  %1 = sin %x : f32[300, 3]\n  return %0, %1",
}


def program(name: str) -> tuple[Graph, list[Any]]:
    """The program `name` in its sizes, and operands."""
    if name in PROGRAMS:
        return PROGRAMS[name].graph(SIZES), PROGRAMS[name].arrays(SIZES)
    graph = parse(f"func @f({LARGER[name]}\n}}")
    random = np.random.default_rng(0)
    return graph, [random.standard_normal(x.type.dims).astype(x.type.dtype.storage) for x in graph.inputs]  # type: ignore[arg-type]


def wide(array: Any) -> Any:
    return widen_bf16(array) if array.dtype == np.uint16 else array


@pytest.mark.parametrize("level", HERE)
@pytest.mark.parametrize("name", [*PROGRAMS, *LARGER])
def test_lesser_levels_compute_what_programs_mean(name: str, level: str) -> None:
    graph, arrays = program(name)
    target, lowered = make_target(host_target().triple, level), lower(prepare(graph))
    found = build(lowered, target=target, threads=1).run(arrays)
    for ours, theirs in zip(found, interpret(graph, *arrays), strict=True):
        tolerance = 2e-2 if ours.dtype in (np.uint16, np.float16) else 1e-9 if ours.dtype == np.float64 else 2e-5
        np.testing.assert_allclose(wide(ours), wide(theirs), rtol=tolerance, atol=tolerance)
    if name in LARGER:
        others = build(lowered, target=target, threads=2), build(lowered, target=target, threads=1, level=0)
        for other in others:
            assert [each.tobytes() for each in other.run(arrays)] == [each.tobytes() for each in found]


@pytest.mark.parametrize("level", HERE)
@pytest.mark.parametrize("lanes", [8, 16, 32])
def test_of_a_corner_nothing_else_is_read(lanes: int, level: str) -> None:
    """Parts of a vector under masks, of which some are constant."""
    graph = parse(
        "func @f(%x: f32[3, 4], %y: f32[20, 24]) -> (f32[20, 24]) {\n"
        "  %p = pad %x {low=[0, 0], high=[17, 20], interior=[0, 0], value=0.0} : f32[20, 24]\n"
        "  %0 = add %p, %y : f32[20, 24]\n  return %0\n}"
    )
    x, y = np.ones((3, 4), np.float32), np.arange(480, dtype=np.float32).reshape(20, 24)
    lowered = lower(prepare(graph))
    (found,) = build(lowered, target=make_target(host_target().triple, level), threads=1, lanes=lanes).run([x, y])
    np.testing.assert_array_equal(found, interpret(graph, x, y)[0])


@pytest.mark.parametrize("level", HERE)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_extremes_are_those_of_the_host(dtype: str, level: str) -> None:
    """NaN wins, then +0 over -0, in rows that are long and short, and whole."""
    graph = parse(
        f"func @f(%x: {dtype}[9, n]) -> ({dtype}[9], {dtype}[9], {dtype}[]) where n >= 1 {{\n"
        f"  %0 = reduce_max %x {{axes=[1]}} : {dtype}[9]\n  %1 = reduce_min %x {{axes=[1]}} : {dtype}[9]\n"
        f"  %2 = reduce_max %x {{axes=[0, 1]}} : {dtype}[]\n  return %0, %1, %2\n}}"
    )
    lowered, random = lower(prepare(graph)), np.random.default_rng(4)
    programs = [build(lowered, target=target) for target in (make_target(host_target().triple, level), host_target())]
    for length in (1, 3, 8, 17, 100, 1027):
        x = random.choice(np.array([-0.0, -0.0, -1.0, -3.0]), (9, length)).astype(graph.inputs[0].type.dtype.storage)
        x[1:4, random.integers(length)] = 0.0, 2.0, np.nan
        x[4:6] = -x[:2]
        found, expected = (program.run([x]) for program in programs)
        assert [each.tobytes() for each in found] == [each.tobytes() for each in expected]


def undefined(code: str) -> Iterator[str]:
    """The functions that LLVM text declares but for LLVM's own."""
    for line in code.splitlines():
        if line.startswith("declare"):
            name = line.partition("@")[2].partition("(")[0]
            if not name.startswith("llvm."):
                yield name


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-macosx", "x86_64-pc-windows-msvc"])
@pytest.mark.parametrize("name", ["linear", "softmax", "conv", *LARGER])
def test_code_for_other_machines(name: str, triple: str) -> None:
    target = make_target(triple)
    text = llvm_text(lower(prepare(program(name)[0])), threads=2, target=target)
    assert set(undefined(text)) <= {"adjit_parallel_for", "memcpy", "memset", "memmove"}
    assert (".x86." in text) <= (target.architecture == "x86_64")
    assert jit.assembly(text, target, 1)


def test_the_environment_names_a_lesser_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADJIT_CPU", raising=False)
    host_target.cache_clear()
    detected = host_target()
    try:
        for name in ("x86-64-v2", "generic") if HERE else ("generic",):
            host_target.cache_clear()
            monkeypatch.setenv("ADJIT_CPU", name)
            assert host_target().cpu == name
            assert host_target().vector_bytes == 16
            assert host_target().triple == detected.triple
        host_target.cache_clear()
        monkeypatch.setenv("ADJIT_CPU", "abacus")
        with pytest.raises(CompileError, match="ADJIT_CPU must be one of"):
            host_target()
    finally:
        monkeypatch.undo()
        host_target.cache_clear()
