"""Native code computes what programs mean, with bits that depend on neither vectors nor threads, inside its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adjit.compiler.llvm.driver as driver
import adjit.ir.ops.windows  # noqa: F401
from adjit.compiler.build import build, llvm_text
from adjit.compiler.differentiate import backward_of
from adjit.compiler.llvm.target import host_target
from adjit.compiler.loops.ir import BLOCK, RUN, lanes_of
from adjit.compiler.loops.lower import lower
from adjit.compiler.memory import byte_count, plan_memory
from adjit.compiler.prepare import prepare
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.halfs import widen_bf16
from adjit.ir.parser import parse
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.shape import evaluate
from adjit.ir.types import F32, F64, DType
from adjit.runtime.executable import Executable
from adjit.runtime.interpreter import run as interpret
from tests.compiler.guarded import guarded
from tests.compiler.programs import PROGRAMS
from tests.compiler.random_graphs import random_arrays, random_graph
from tests.compiler.sums import in_order
from tests.samples import Sample, samples
from tests.special import SPECIAL

Array = np.ndarray[Any, Any]
KERNELS_OWN = {"as_real", "as_complex"}  # made where complex values become pairs, of the ops view_as_real and _complex
OPS = [
    name
    for name, op in PRIMITIVES.items()
    if op.family != "loop" and name not in {"host_call", *KERNELS_OWN, *SPECIAL}
]
SIZES = [{"n": 3, "m": 4}, {"n": 1, "m": 1}, {"n": 0, "m": 2}, {"n": 2, "m": 0}, {"n": 37, "m": 21}]
# Ops whose results are exact only where the order of summation does not matter.
SUMS = {"reduce_sum", "reduce_prod", "cumulate_sum", "cumulate_prod", "recur", "fold", "scatter_add", "scatter_mul"}
# Units in the last place (of the whole result's size) by which sums and functions may differ from NumPy's.
ULPS = 256.0


def compiled(graph: Graph, **options: Any) -> Executable:
    return build(lower(prepare(graph)), **options)


def program(signature: str, body: str) -> Graph:
    return parse(f"func @f({signature} {{\n{body}\n}}")


def same(found: Array, expected: Array, exact: bool = False) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if found.dtype.kind == "c":  # kernels see the parts, and may fuse their products with sums
        same(np.stack([found.real, found.imag]), np.stack([expected.real, expected.imag]))
        return
    if exact or found.dtype.kind not in "fu" or (found.dtype.kind == "u" and found.dtype != np.uint16):
        np.testing.assert_array_equal(found, expected)
        return
    unit = {np.dtype(np.float64): 2**-52, np.dtype(np.float32): 2**-23}.get(found.dtype, 2**-8 / ULPS)
    if found.dtype == np.uint16:
        found, expected = widen_bf16(found), widen_bf16(expected)
    finite = np.abs(expected[np.isfinite(expected)])
    size = max(1.0, float(finite.max())) if finite.size else 1.0
    np.testing.assert_allclose(
        found.astype(np.float64), expected.astype(np.float64), rtol=ULPS * unit, atol=ULPS * unit * size
    )


# -- meaning -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_compute_what_they_mean(name: str) -> None:
    program = PROGRAMS[name]
    symbolic = compiled(program.graph())
    for number, sizes in enumerate(SIZES):
        if min(sizes.values()) < program.least:
            continue
        arrays = program.arrays(sizes)
        expected = interpret(program.graph(sizes), *arrays)
        static = [compiled(program.graph(sizes))] if number in (0, len(SIZES) - 1) else []
        for executable in (symbolic, *static):
            for ours, theirs in zip(executable.run(arrays), expected, strict=True):
                same(ours, theirs)


def graphs_of(name: str, found: list[Sample]) -> list[tuple[Graph, list[Array]]]:
    """All samples of an op as one program; those with regions, which belong to one node only, as one program each."""
    groups = [[sample] for sample in found] if PRIMITIVES[name].family == "control" else [found]
    result = []
    for group in groups:
        graph = Graph("samples")
        builder = Builder(graph)
        outputs = []
        for sample in group:
            inputs = [builder.input(type) for type in sample.types]
            outputs += builder.emit(PRIMITIVES[name], inputs, dict(sample.attributes), sample.regions).outputs
        graph.outputs = tuple(outputs)
        result.append((graph, [np.array(x, order="C") for sample in group for x in sample.operands]))
    return result


@pytest.mark.parametrize("name", OPS)
def test_ops_compute_what_they_mean(name: str) -> None:
    for graph, arrays in graphs_of(name, samples(PRIMITIVES[name])):
        expected = interpret(graph, *arrays)
        for ours, theirs in zip(compiled(graph).run(arrays), expected, strict=True):
            same(ours, theirs, PRIMITIVES[name].exact and name not in SUMS)


@pytest.mark.parametrize("seed", range(6))
def test_random_programs_compute_what_they_mean(seed: int) -> None:
    graph = random_graph(seed, 20 + 10 * seed)
    executable = compiled(graph)
    for n, m in ((2, 3), (1, 1), (17, 33)):
        arrays = random_arrays(graph, seed, n, m)
        for ours, theirs in zip(executable.run(arrays), interpret(graph, *arrays), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("seed", [3, 14, 21, 30])
def test_gradients_of_random_programs_compute_what_they_mean(seed: int) -> None:
    graph = random_graph(seed, 20 + seed)
    arrays = random_arrays(graph, seed, 17, 5)
    backward, residuals, _ = backward_of(graph, range(len(graph.inputs)), tuple(range(len(graph.outputs))))
    saved = interpret(Graph("saved", graph.inputs, graph.nodes, residuals), *arrays)
    generator = np.random.default_rng(seed)
    cotangents = [generator.standard_normal(x.shape, np.float32) for x in interpret(graph, *arrays)]
    for ours, theirs in zip(
        compiled(backward).run([*cotangents, *saved]), interpret(backward, *cotangents, *saved), strict=True
    ):
        size = max(1.0, float(np.abs(theirs).max()))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-4 * size)


# -- bits --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["softmax", "sum_twice", "vectors", "linear", "conv", "pooled", "normalized"])
def test_bits_depend_on_neither_vectors_nor_threads(name: str) -> None:
    sizes = {"n": 37, "m": 21}
    arrays = PROGRAMS[name].arrays(sizes)
    loops = lower(prepare(PROGRAMS[name].graph()))
    found = {
        tuple(result.tobytes() for result in build(loops, lanes=lanes, threads=threads).run(arrays))
        for lanes, threads in ((None, 2), (None, 1), (1, 1), (4, 2), (8, 1), (16, 2))
    }
    assert len(found) == 1


def in_lanes(terms: Array, dtype: DType) -> Array:
    """The order `lanes` of adjit.compiler.loops.ir, written out."""
    count, total = lanes_of(dtype), terms.dtype.type(0)
    for start in range(0, len(terms), BLOCK):
        block = terms[start : start + BLOCK]
        rows = np.concatenate([block, np.zeros(-len(block) % count, terms.dtype)]).reshape(-1, count)
        parts = np.zeros(count, terms.dtype)
        for row in rows:
            parts = parts + row
        while len(parts) > 1:
            parts = parts[: len(parts) // 2] + parts[len(parts) // 2 :]
        total = total + parts[0]
    return np.asarray(total)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(
    "shape", [(3, 70), (5, 1), (2, BLOCK + 77), (1, 3 * BLOCK), (4, 0), (300, 33), (2 * RUN + 1, 5)]
)
def test_sums_have_the_order_that_is_written(shape: tuple[int, int], dtype: DType) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype.storage)
    text = "\n".join(
        f" %{axis} = reduce_sum %x {{axes=[{axis}]}} : {dtype}[{size}]" for axis, size in ((0, "m"), (1, "n"))
    )
    signature = f"%x: {dtype}[n, m]) -> ({dtype}[m], {dtype}[n])"
    columns, rows = compiled(program(signature, text + "\n return %0, %1")).run([x])
    np.testing.assert_array_equal(columns, in_order(x))
    np.testing.assert_array_equal(rows, np.array([in_lanes(row, dtype) for row in x]))


# Rows of the last axis as long as a vector, shorter and longer ones, some of which meet three vectors.
ROWS_OF_SUMS = [
    (3, 7, 50), (2, 3, BLOCK // 2 + 5), (9, 4, 3), (70, 2, 64), (3, 2, 784), (40, 3, 49), (5, 2, 65), (33, 2, 22),
    (2, 2, 63), (6, 1, 129), (1, 2, 7), (0, 2, 7), (17, 2, 5),
]  # fmt: skip


def summed(shape: tuple[int, ...], known: bool, dtype: DType, term: str = "mul %x, 1.0") -> Graph:
    """The sums of an array over its first and last axis, of `term` computed from each element."""
    a, c, b = shape if known else "acb"
    body = f" %0 = {term} : {dtype}[{a}, {c}, {b}]\n %1 = reduce_sum %0 {{axes=[0, 2]}} : {dtype}[{c}]\n return %1"
    return program(f"%x: {dtype}[{a}, {c}, {b}]) -> ({dtype}[{c}])", body)


@pytest.mark.parametrize("shape", ROWS_OF_SUMS)
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("known", [False, True])
def test_sums_over_outer_and_inner_axes_have_the_order_that_is_written(
    shape: tuple[int, ...], known: bool, dtype: DType
) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype.storage)
    x.reshape(-1)[3:4] = -0.0
    (found,) = compiled(summed(shape, known, dtype)).run([x])
    expected = [in_lanes(np.ascontiguousarray(x[:, i]).reshape(-1), dtype) for i in range(shape[1])]
    np.testing.assert_array_equal(found, np.array(expected, dtype.storage))
    x[:, 0, :1], x[-1:, -1, -1] = np.inf, np.nan
    (found,) = compiled(summed(shape, known, dtype)).run([x])
    wanted = [np.inf, *[0.0] * (shape[1] - 2), np.nan][-shape[1] :] if shape[0] else [0.0] * shape[1]
    np.testing.assert_array_equal(found[[0, -1]], [wanted[0], wanted[-1]])


def test_sums_over_axes_of_open_sizes_compute_sizes_in_each_way_through_a_row() -> None:
    """A product of two extents is an operand of both ways, and of indices beside them."""
    for shape in ((4, 2, 3, 65), (3, 1, 5, 7), (2, 3, 2, 130)):
        x = np.random.default_rng(2).standard_normal(shape, dtype=np.float32)
        body = """
 %0 = slice %x {start=[0, 0, 0, 0], size=[1, b, c, d], step=[1, 1, 1, 1]} : f32[1, b, c, d]
 %1 = expand %0 {shape=[a, b, c, d]} : f32[a, b, c, d]
 %2 = slice %x {start=[0, 0, 0, 0], size=[a, b, c, 1], step=[1, 1, 1, 1]} : f32[a, b, c, 1]
 %3 = expand %2 {shape=[a, b, c, d]} : f32[a, b, c, d]
 %4 = mul %x, %3 : f32[a, b, c, d]
 %5 = add %4, %1 : f32[a, b, c, d]
 %6 = reduce_sum %5 {axes=[0, 1, 2, 3]} : f32[]
 return %6"""
        (found,) = compiled(program("%x: f32[a, b, c, d]) -> (f32[])", body)).run([x])
        np.testing.assert_allclose(found, (x * x[..., :1] + x[:1]).sum(dtype=np.float64), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("term", ["exp %x", "neg %x"])
def test_terms_of_rows_that_meet_several_vectors_are_each_taken_once(term: str) -> None:
    for shape in ROWS_OF_SUMS:
        x = -np.zeros(shape, np.float32)
        (found,) = compiled(summed(shape, True, F32, term)).run([x])
        np.testing.assert_array_equal(found, float(term.startswith("exp")) * shape[0] * shape[2])
        assert not np.signbit(found).any()


def test_packed_and_plain_products_have_the_same_bits() -> None:
    x, y = (np.random.default_rng(i).standard_normal((700, 5), dtype=np.float32) for i in (0, 1))
    body = " %0 = dot %x, %y {{contract=[[0], [0]], batch=[[], []]}} : f32[{0}, {0}]\n return %0"
    packed = compiled(program("%x: f32[n, m], %y: f32[n, m]) -> (f32[m, m])", body.format("m")))
    columns = [
        compiled(program("%x: f32[n], %y: f32[n, m]) -> (f32[m])", body.format("m").replace("m, m", "m"))).run(
            [np.ascontiguousarray(x[:, i]), y]
        )[0]
        for i in range(5)
    ]
    np.testing.assert_array_equal(packed.run([x, y])[0], np.array(columns))


INDICES = [
    "i + 5", "7*i + 3*j", "(i + 3) // 4", "(3*i + j) % 5", "(i + -9) // 4", "(i + -9) % 4", "i*j + 2*i", "(i*j) // 3",
    "(i + n) // n", "(i + 2*n) % n", "(j + -1*i) // n", "((i + 7) // 3) % 4",
]  # fmt: skip


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("lanes", [None, 1])
def test_index_arithmetic_is_that_of_sizes(known: bool, lanes: int | None) -> None:
    rows, columns = 3, 37
    n, m = ("3", "37") if known else ("n", "m")
    stores = "\n".join(
        f"        %{number} = index {{value={text}, dtype=i64}} : i64[]\n"
        f"        store %out, %{number} {{at=[{number}, j, i], masked=false}}"
        for number, text in enumerate(INDICES)
    )
    graph = parse(f"""func @f(%x: f32[n, m]) -> (i64[{len(INDICES)}, {n}, {m}]) {{
  %r = kernel %x : i64[{len(INDICES)}, {n}, {m}]
    region(%x_1: f32[n, m], %out: i64[{len(INDICES)}, {n}, {m}]) {{
      for {{var=[j, i], extent=[{n}, {m}], parallel=true, sequential=false}} {{
{stores}
      }}
    }}
  return %r
}}""")
    (found,) = build(graph, lanes=lanes).run([np.zeros((rows, columns), np.float32)])
    expected = [
        [[eval(text, {"i": i, "j": j, "n": rows}) for i in range(columns)] for j in range(rows)] for text in INDICES
    ]
    np.testing.assert_array_equal(found, np.array(expected))


# -- memory ------------------------------------------------------------------------------------------------------------
def check_guarded_programs() -> None:
    """Run every program with each array against an untouchable page, behind it and before it."""
    for name in PROGRAMS:
        executable = compiled(PROGRAMS[name].graph())
        for sizes in ({"n": 3, "m": 4}, {"n": 37, "m": 21}, {"n": 16, "m": 64}, {"n": 65, "m": 33}):
            arrays = PROGRAMS[name].arrays(sizes)
            expected = executable.run(arrays)
            for at_end in (True, False):
                with guarded(arrays, at_end) as inputs, guarded(expected, at_end) as outputs:
                    for output in outputs:
                        output.reshape(-1).view(np.uint8)[...] = 1
                    for ours, theirs in zip(executable.run(inputs, outputs), expected, strict=True):
                        np.testing.assert_array_equal(ours, theirs)


def check_guarded_sums() -> None:
    """Sum rows that meet several vectors beside untouchable pages."""
    for shape in ROWS_OF_SUMS:
        for executable in (compiled(summed(shape, known, F32)) for known in (False, True)):
            x = np.ones(shape, np.float32)
            for at_end in (True, False):
                with guarded([x], at_end) as inputs:
                    np.testing.assert_array_equal(executable.run(inputs)[0], shape[0] * shape[2])


def check_guard_itself() -> None:
    """Read one element too far."""
    import ctypes

    with guarded([np.zeros(3)], True) as (array,):
        ctypes.c_double.from_address(array.ctypes.data + array.nbytes).value  # noqa: B018


CHECKS = [("check_guarded_programs", True), ("check_guarded_sums", True), ("check_guard_itself", False)]


@pytest.mark.parametrize(("check", "survives"), CHECKS)
def test_programs_stay_inside_their_arrays(check: str, survives: bool) -> None:
    code = f"from tests.compiler.test_emit import {check}; {check}()"
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (result.returncode == 0) == survives, result.stderr
    assert survives or result.returncode < 0


def test_dead_values_give_their_memory_to_later_ones() -> None:
    steps = "\n".join(f" %{i + 1} = cumulate_sum %{i} {{axis=0, reverse=false}} : f32[S]" for i in range(8))
    for size, values in (("1000", {}), ("n", {"n": 1000})):
        text = f" %0 = cumulate_sum %x {{axis=0, reverse=false}} : f32[S]\n{steps}\n return %8".replace("S", size)
        graph = lower(prepare(program(f"%x: f32[{size}]) -> (f32[{size}])", text)))
        plan = plan_memory(graph, 3)
        assert evaluate(plan.arena, values) == 2 * evaluate(byte_count(graph.inputs[0].type), values)
        (found,) = build(graph).run([np.ones(1000, np.float32)])
        expected = np.ones(1000)
        for _ in range(9):
            expected = np.cumsum(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-3)


# -- the driver --------------------------------------------------------------------------------------------------------
def test_long_programs_are_cut_into_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = "\n".join(
        f" %{i + 1} = cumulate_sum %{i} {{axis=0, reverse={str(i % 2 == 0).lower()}}} : i64[n]" for i in range(9)
    )
    graph = lower(prepare(program("%x: i64[n]) -> (i64[n])", f" %0 = mul %x, 3 : i64[n]\n{steps}\n return %9")))
    x = np.arange(1, 6)
    (expected,) = build(graph).run([x])
    monkeypatch.setattr(driver, "CHUNK", 2)
    assert llvm_text(graph).count("@driver") > 6
    np.testing.assert_array_equal(build(graph).run([x])[0], expected)


@pytest.mark.parametrize("lanes", [None, 4])
def test_faults_are_raised_from_any_lane(lanes: int | None) -> None:
    pick = program("%x: f32[n], %i: i64[m]) -> (f32[m])", " %0 = gather %x, %i {axes=[0]} : f32[m]\n return %0")
    part = program("%x: i32[n], %y: i32[n]) -> (i32[n])", " %0 = div %x, %y : i32[n]\n return %0")
    gather, divide = compiled(pick, lanes=lanes), compiled(part, lanes=lanes)
    x, places, ones = np.ones(5, np.float32), np.zeros(21, np.int64), np.ones(21, np.int32)
    for lane in range(21):
        for bad in (-1, 5):
            places[:] = 0
            places[lane] = bad
            with pytest.raises(IndexError):
                gather.run([x, places])
        zeros = ones.copy()
        zeros[lane] = 0
        with pytest.raises(ZeroDivisionError):
            divide.run([ones, zeros])
    gather.run([x, places * 0])
    divide.run([ones, ones])


def test_the_text_depends_on_the_program_alone() -> None:
    graph = PROGRAMS["softmax"].graph()
    target = host_target()
    texts = {llvm_text(lower(prepare(graph)), threads=2, target=target) for _ in range(2)}
    assert len(texts) == 1
    assert " fast" not in texts.pop()
