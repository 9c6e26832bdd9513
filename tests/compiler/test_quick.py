"""Quick code for the first call, the best from the second on: the same bits, one change, nothing lost on the way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler import quick
from adjit.compiler.build import emit_program
from adjit.compiler.compile import compile_graph
from adjit.compiler.pipeline import lowered
from adjit.ir.graph import Graph
from adjit.ir.parser import parse
from adjit.runtime.executable import Executable
from tests.threads import in_threads

PROGRAMS = {
    "products": """
func @f(%x: f32[48, 96], %y: f32[96, 80], %z: f32[48, 80]) -> (f32[48, 80], f32[80], f32[48, 96]) {
  %0 = dot %x, %y {contract=[[1], [0]], batch=[[], []]} : f32[48, 80]
  %1 = tanh %0 : f32[48, 80]
  %2 = mul %1, %z : f32[48, 80]
  %3 = reduce_sum %2 {axes=[0]} : f32[80]
  %4 = dot %2, %y {contract=[[1], [1]], batch=[[], []]} : f32[48, 96]
  %5 = sin %4 : f32[48, 96]
  return %2, %3, %5
}
""",
    "rows": """
func @f(%x: f64[30, 70], %y: f64[70]) -> (f64[30, 70], f64[30]) {
  %0 = mul %x, %x : f64[30, 70]
  %1 = reduce_max %x {axes=[1]} : f64[30]
  %a = reshape %1 {shape=[30, 1]} : f64[30, 1]
  %2 = expand %a {shape=[30, 70]} : f64[30, 70]
  %3 = sub %0, %2 : f64[30, 70]
  %4 = exp %3 : f64[30, 70]
  %5 = expand %y {shape=[30, 70]} : f64[30, 70]
  %6 = mul %4, %5 : f64[30, 70]
  %7 = sub %6, %3 : f64[30, 70]
  %8 = reduce_sum %7 {axes=[1]} : f64[30]
  return %7, %8
}
""",
    "blocks": """
func @f(%x: f32[40000]) -> (f32[40000], f32[]) {
  %0 = exp %x : f32[40000]
  %1 = mul %0, %x : f32[40000]
  %2 = reduce_sum %1 {axes=[0]} : f32[]
  return %0, %2
}
""",
}


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even small programs have quick code."""
    monkeypatch.setenv("ADJIT_CACHE", "0")
    monkeypatch.setenv("ADJIT_QUICK", "1")
    monkeypatch.setattr(quick, "_LEAST_LINES", 0)
    monkeypatch.setattr(quick, "_SAVED", 1.0)


def graph(name: str = "products") -> Graph:
    return parse(PROGRAMS[name])


def operands(program: Graph) -> list[Any]:
    random = np.random.default_rng(0)
    return [random.standard_normal(value.type.dims).astype(value.type.dtype.storage) for value in program.inputs]


def bits(program: Executable) -> list[bytes]:
    return [found.tobytes() for found in program.run(operands(program.graph))]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("least_hot", [0, 1 << 60])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_bits_do_not_change(
    name: str, least_hot: int, threads: int, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick, "_LEAST_HOT", least_hot)
    program = compile_graph(graph(name), strict=strict, threads=threads)
    assert program.is_quick
    first = bits(program)
    assert program.is_quick
    assert bits(program) == first
    assert not program.is_quick
    assert bits(program) == first


SIZES = [(1, 1, 1), (5, 7, 3), (13, 70, 600), (37, 50, 1100), (70, 130, 40), (3, 16, 0), (0, 4, 5), (64, 10, 700)]


def product(m: int, n: int, k: int, dtype: str, *, left: bool, right: bool) -> Graph:
    """A product whose operands are stored transposed where `left` and `right` say so."""
    x, y = (k, m) if left else (m, k), (n, k) if right else (k, n)
    types = [f"{dtype}[{a}, {b}]" for a, b in (x, y, (m, n))]
    contract = f"{{contract=[[{int(not left)}], [{int(right)}]], batch=[[], []]}}"
    lines = f"  %0 = dot %x, %y {contract} : {types[2]}\n  %1 = mul %0, %0 : {types[2]}\n"
    return parse(f"func @f(%x: {types[0]}, %y: {types[1]}) -> ({types[2]}) {{\n{lines}  return %1\n}}\n")


@pytest.mark.parametrize(("left", "right"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("dtype", ["f32", "f64", "i32"])
@pytest.mark.parametrize("size", SIZES)
def test_products_have_the_bits_of_the_best_code(
    size: tuple[int, int, int], dtype: str, left: bool, right: bool
) -> None:
    program = compile_graph(product(*size, dtype, left=left, right=right), threads=1)
    arrays = operands(program.graph)
    if dtype != "i32":
        for array in arrays:
            array.reshape(-1)[3::101] = [np.inf, -0.0, np.nan][array.ndim % 3]
    assert program.is_quick
    first = program.run(arrays)[0].tobytes()
    assert program.run(arrays)[0].tobytes() == first
    assert not program.is_quick


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("depth", [40, 700, 2200])
def test_products_whose_columns_stand_apart_have_the_bits_of_the_best_code(dtype: str, depth: int) -> None:
    """The sums of a run of k are added to those before it, which stand as the columns of the result do."""
    x, y, whole, turned = "2, 3, 37", "2, 3, 50", "2, 3, 37, 50", "2, 37, 50, 3"
    program = compile_graph(
        parse(
            f"func @f(%x: {dtype}[{x}, {depth}], %y: {dtype}[{y}, {depth}]) -> ({dtype}[{turned}]) {{\n"
            f"  %0 = dot %x, %y {{contract=[[3], [3]], batch=[[0, 1], [0, 1]]}} : {dtype}[{whole}]\n"
            f"  %1 = permute %0 {{perm=[0, 2, 3, 1]}} : {dtype}[{turned}]\n  return %1\n}}\n"
        ),
        threads=1,
    )
    arrays = operands(program.graph)
    assert program.is_quick
    first = program.run(arrays)[0]
    np.testing.assert_allclose(first, np.einsum("bhmk,bhnk->bmnh", *arrays), rtol=1e-3, atol=1e-2)
    assert program.run(arrays)[0].tobytes() == first.tobytes()
    assert not program.is_quick


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 3, 9, 11), (1, 16, 20, 20), (3, 1, 28, 28)])
def test_convolutions_and_pairs_have_the_bits_of_the_best_code(shape: tuple[int, ...], dtype: Any) -> None:
    torch.manual_seed(0)
    x, w, y = (torch.randn(*dims).to(dtype) for dims in (shape, (13, shape[1], 3, 5), (shape[3], 70)))

    def both(x: Any, w: Any, y: Any) -> Any:
        return torch.nn.functional.conv2d(x, w, padding=1), x @ y

    program = compile_graph(torch.compile(both).graph(x, w, y), threads=1)
    given = [value.view(torch.int16) if dtype is torch.bfloat16 else value for value in (x, w, y)]
    arrays = [
        value.numpy().view(own.type.dtype.storage) for value, own in zip(given, program.graph.inputs, strict=True)
    ]
    assert program.is_quick
    first = [found.tobytes() for found in program.run(arrays)]
    assert [found.tobytes() for found in program.run(arrays)] == first
    assert not program.is_quick


def test_small_functions_stand_for_large_ones_in_quick_code() -> None:
    module = emit_program(lowered(product(64, 512, 784, "f32", left=False, right=True)), strict=False, threads=1).module
    quick_text, best = module.text(quick=True), module.text()
    assert module.waiting >= 2
    assert quick_text.count("\n") < best.count("\n")
    assert "@gemm.block." in quick_text
    assert "@gemm.block." not in best
    assert (module.text(quick=True), str(module)) == (quick_text, best)


def test_whoever_calls_it_himself_gets_the_best_code() -> None:
    program = compile_graph(graph())
    shapes: Any = tuple(value.type.dims for value in program.graph.inputs)
    native = program.native_call(shapes)
    assert not program.is_quick
    assert native is not None
    bits(program)
    bits(program)
    assert program.native_call(shapes) == native


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJIT_QUICK", "0")
    assert not compile_graph(graph()).is_quick


def test_a_program_that_runs_for_longer_than_it_takes_to_compile_has_the_best_code_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quick, "_SAVED", 1e-12)
    assert not compile_graph(graph()).is_quick


def test_a_loop_of_unknown_length_has_the_best_code_at_once() -> None:
    halved = torch.compile(lambda x: torch.while_loop(lambda x: (x > 1).all(), lambda x: (x / 2,), (x,)))
    assert not compile_graph(halved.graph(torch.ones(10))).is_quick


def test_code_that_could_not_be_made_is_made_at_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    program = compile_graph(graph())
    first, original = bits(program), quick.object_of

    def fails(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(quick, "object_of", fails)
    with pytest.raises(MemoryError):
        bits(program)
    monkeypatch.setattr(quick, "object_of", original)
    assert bits(program) == first
    assert not program.is_quick


def test_threads_make_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    program, made, original = compile_graph(graph()), [], quick.object_of
    monkeypatch.setattr(quick, "object_of", lambda *given: (made.append(1), original(*given))[1])
    first = bits(program)
    assert in_threads(lambda _: bits(program)) == [first] * 4
    assert len(made) == 1


def test_the_disk_cache_keeps_the_better_of_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADJIT_CACHE", "1")
    monkeypatch.setenv("ADJIT_CACHE_DIR", str(tmp_path))
    first = bits(compile_graph(graph()))
    again = compile_graph(graph())
    assert again.is_quick
    assert [bits(again), bits(again)] == [first, first]
    best = compile_graph(graph())
    assert not best.is_quick
    assert bits(best) == first


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_makes_its_own() -> None:
    program = compile_graph(graph())
    first = bits(program)
    child = os.fork()
    if child == 0:
        os._exit(0 if bits(program) == first and not program.is_quick else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert program.is_quick
