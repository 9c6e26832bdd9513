"""Lowered programs compute what the tensor programs mean, and the loops are the ones wanted."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest

from adjit.compiler.loops.affine import Bounds, collapsed, rejoin
from adjit.compiler.loops.lower import lower
from adjit.compiler.prepare import prepare
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Node
from adjit.ir.halfs import widen_bf16
from adjit.ir.parser import parse
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.shape import Dim, Size, evaluate
from adjit.ir.verify import verify
from adjit.runtime.host import register_host_function
from adjit.runtime.interpreter import run as interpret
from tests.compiler.loop_interpreter import Fault, run
from tests.compiler.programs import PROGRAMS, Program, f32, i64
from tests.compiler.random_graphs import random_arrays, random_graph
from tests.samples import samples
from tests.special import SPECIAL

SIZES = [{"n": 3, "m": 4}, {"n": 1, "m": 1}, {"n": 5, "m": 3}, {"n": 0, "m": 2}, {"n": 2, "m": 0}]


def lowered(graph: Graph) -> Graph:
    prepared = prepare(graph)
    verify(prepared)
    result = lower(prepared)
    verify(result)
    return result


def same(found: Any, expected: Any) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if found.dtype == np.uint16:
        found, expected = widen_bf16(found), widen_bf16(expected)
    inexact = expected.dtype.kind in "fc"
    tolerance = {2: 2e-2, 4: 1e-4}.get(expected.real.dtype.itemsize, 1e-10) if inexact else 0
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    np.testing.assert_allclose(found.astype(wide), expected.astype(wide), tolerance, tolerance)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("kind", ["symbolic", "static"])
def test_programs_keep_their_meaning(name: str, kind: str) -> None:
    program = PROGRAMS[name]
    loops = lowered(program.graph()) if kind == "symbolic" else None
    for sizes in SIZES:
        if min(sizes.values()) < program.least:
            continue
        graph = program.graph(None if loops else sizes)
        arrays = program.arrays(sizes)
        expected = interpret(graph, *arrays)
        for ours, theirs in zip(run(loops or lowered(graph), arrays), expected, strict=True):
            same(ours, theirs)


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_keep_their_meaning(seed: int) -> None:
    graph = random_graph(seed, 10 + seed)
    loops = lowered(graph)
    for n, m in ((2, 3), (1, 1), (3, 2)):
        arrays = random_arrays(graph, seed, n, m)
        for ours, theirs in zip(run(loops, arrays), interpret(graph, *arrays), strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", ["softmax", "conv", "scattered", "controlled"])
def test_lowered_text_is_read_back(name: str) -> None:
    text = str(lowered(PROGRAMS[name].graph()))
    assert str(parse(text)) == text


# -- the loops ------------------------------------------------------------------------------------------------------
def nodes(program: Program, name: str) -> list[Node]:
    return [node for node in lowered(program.graph()).walk() if node.op.name == name]


def test_elementwise_code_is_one_flat_loop() -> None:
    (loop,) = nodes(PROGRAMS["elementwise"], "for")
    assert loop.attributes["extent"] == (3 * Dim.named("n"),)
    assert loop.attributes["parallel"] is True


def test_a_broadcast_axis_stays_a_loop_of_its_own() -> None:
    (loop,) = nodes(PROGRAMS["broadcast"], "for")
    assert len(loop.attributes["extent"]) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("axes", "order", "extents"),
    [((2,), "lanes", 1), ((0,), "sequential", 1), ((1, 2), "lanes", 1), ((0, 2), "lanes", 2)],
)
def test_the_order_of_a_sum_follows_from_its_axes(axes: tuple[int, ...], order: str, extents: int) -> None:
    from adjit.ir.ops.reduction import reduce_sum

    (fold,) = nodes(Program(lambda x: reduce_sum(x, axes=axes), (f32(5, 6, 7),)), "reduce")
    assert fold.attributes["order"] == order
    assert len(fold.attributes["extent"]) == extents  # type: ignore[arg-type]


@pytest.mark.parametrize(("column", "order"), [((9,), "lanes"), ((9, 1), "lanes"), ((9, 4), "products")])
def test_a_product_with_a_column_is_one_with_a_vector(column: tuple[int, ...], order: str) -> None:
    from adjit.ir.ops.contraction import dot

    program = Program(lambda x, y: dot(x, y, contract=((1,), (0,)), batch=((), ())), (f32(70, 9), f32(*column)))
    (fold,) = nodes(program, "reduce")
    assert fold.attributes["order"] == order


@pytest.mark.parametrize("left", [2, 4, 70])
@pytest.mark.parametrize("right", [3, 90])
def test_few_rows_are_summed_together_for_each_row_of_the_other(left: int, right: int) -> None:
    from adjit.compiler.pipeline import compile_graph
    from adjit.ir.ops.contraction import dot

    beside: Any = {"contract": ((1,), (1,)), "batch": ((), ())}
    program = Program(lambda x, y: dot(x, y, **beside) * 2.0, (f32(left, 65), f32(right, 65)))
    graph = program.graph()
    loops, sums = nodes(program, "for"), nodes(program, "reduce")
    few = min(left, right)
    if few <= 4 and max(left, right) >= 64:
        assert [loop.attributes["extent"] for loop in loops] == [(max(left, right),)]
        assert len(sums) == few
    random = np.random.default_rng(left)
    x, y = (random.standard_normal(value.dims).astype(np.float32) for value in graph.inputs)
    found = [compile_graph(graph, threads=threads).run([x, y])[0] for threads in (1, 3)]
    np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(found[0], 2 * (x.astype(np.float64) @ y.astype(np.float64).T), atol=1e-4)


def test_softmax_is_one_kernel_without_memory_of_its_own() -> None:
    (kernel,) = nodes(PROGRAMS["softmax"], "kernel")
    assert len(kernel.outputs) == 1
    assert [node.op.name for node in kernel.regions[0].nodes] == ["for"]
    assert sum(node.op.name == "exp" for node in kernel.regions[0].walk()) == 1


def test_convolution_reads_the_image_while_packing() -> None:
    _, kernel = nodes(PROGRAMS["conv"], "kernel")
    (contract,) = kernel.regions[0].nodes
    assert contract.op.name == "contract"
    a, b = contract.regions
    assert [node.op.name for node in a.nodes] == ["load"]
    assert [node.op.name for node in b.nodes] == ["load"]
    # The destination's last axis belongs to n.
    (at,) = contract.attributes["at"]  # type: ignore[misc]
    last, _ = contract.attributes["n"][-1]  # type: ignore[index, misc]
    assert at.coefficient(str(last)) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(("rows", "columns", "packed"), [(64, 64, True), (1, 64, False), (64, 1, False), (4, 4, False)])
def test_contractions_are_packed_where_it_pays(rows: int, columns: int, packed: bool) -> None:
    from adjit.ir.ops.contraction import dot

    def function(x: Any, y: Any) -> Any:
        return dot(x, y, contract=((1,), (0,)), batch=((), ()))

    found = nodes(Program(function, (f32(rows, 32), f32(32, columns))), "contract")
    assert bool(found) is packed


def test_a_row_is_looked_up_once() -> None:
    from adjit.ir.ops.indexing import gather

    program = Program(lambda x, i: gather(x, i, axes=(0,)), (f32(10, 8), i64(5)))
    (kernel,) = nodes(program, "kernel")
    (outer,) = kernel.regions[0].nodes
    assert [node.op.name for node in outer.regions[0].nodes] == ["load", "position", "for"]


def test_an_index_outside_is_a_fault_and_not_a_read() -> None:
    program = PROGRAMS["masked_rows"]
    loops = lowered(program.graph())
    sizes = {"n": 3, "m": 2}
    x, _ = program.arrays(sizes)
    with pytest.raises(Fault):
        run(loops, [x, np.array([0, 4, 1])])
    with pytest.raises(Fault):
        run(loops, [x, np.array([0, -1, 1])])


def test_a_division_that_is_asked_for_still_faults() -> None:
    program = PROGRAMS["guarded_division"]
    with pytest.raises(ZeroDivisionError):
        run(lowered(program.graph()), [np.array([4, 5]), np.array([1, -1])])


# -- index arithmetic -----------------------------------------------------------------------------------------------
ROW, COLUMN, N = Dim.named("i"), Dim.named("j"), Dim.named("n")


def bounds(extents: dict[str, Size]) -> Bounds:
    found = Bounds()
    for name, extent in extents.items():
        found.declare(name, extent)
    return found


@pytest.mark.parametrize(
    ("expression", "simple"),
    [
        ((3 * ROW + COLUMN) // 3, ROW),
        ((3 * ROW + COLUMN) % 3, COLUMN),
        ((ROW * N + COLUMN) // N, ROW + COLUMN // N),
        (((ROW * 6 + COLUMN) // 2) // 3, ROW),
        ((3 * ROW + COLUMN) // 6, ROW // 2),
        ((3 * ROW + COLUMN) % 6, 3 * (ROW % 2) + COLUMN),
        ((ROW + COLUMN) // 3, (ROW + COLUMN) // 3),
        (3 * ((ROW + COLUMN) // 3) + (ROW + COLUMN) % 3, ROW + COLUMN),
    ],
)
def test_quotients_are_resolved_by_ranges(expression: Size, simple: Size) -> None:
    assert bounds({"i": 5, "j": 3}).simplify(expression) == simple


def test_quotients_by_sizes_are_resolved_by_ranges() -> None:
    known = bounds({"i": 5, "j": N})
    assert known.simplify((ROW * N + COLUMN) // N) == ROW
    assert known.simplify((ROW * N + COLUMN) % N) == COLUMN


def test_simplified_expressions_have_the_same_values() -> None:
    random = Random(0)
    for _ in range(300):
        extents = {"i": random.randint(1, 5), "j": random.randint(1, 5)}
        expression: Size = random.randint(0, 4) * ROW + random.randint(0, 4) * COLUMN + random.randint(-3, 6)
        divisor = random.randint(1, 6)
        expression = random.choice([expression // divisor, expression % divisor]) * random.randint(1, 3) + COLUMN
        divisor = random.randint(1, 6)
        expression = random.choice([expression // divisor, expression % divisor, expression])
        known = bounds(extents)
        simple = known.simplify(expression)
        limit = random.randint(0, 12)
        values = []
        for i, j in product(range(extents["i"]), range(extents["j"])):
            values.append(evaluate(expression, {"i": i, "j": j}))
            assert evaluate(simple, {"i": i, "j": j}) == values[-1]
        if known.is_inside(expression, limit):
            assert all(0 <= value < limit for value in values)
        if known.is_outside(expression, limit):
            assert not any(0 <= value < limit for value in values)


@pytest.mark.parametrize(
    ("expression", "joins"),
    [(3 * ROW + COLUMN, True), (6 * ROW + 2 * COLUMN + 1, True), (ROW + COLUMN, False), (3 * ROW, False),
     ((3 * ROW + COLUMN) // 4, True), ((ROW + COLUMN) // 4, False), (N, True)],
)  # fmt: skip
def test_variables_merge_only_as_a_flat_index(expression: Size, joins: bool) -> None:
    assert collapsed(ROW, COLUMN, 3, [expression]) is joins


# -- every op -------------------------------------------------------------------------------------------------------
# A sample of host_call needs the function that it names; see the test after this one.
UNSAMPLED = {"host_call", *SPECIAL}
SAMPLED = [name for name, op in PRIMITIVES.items() if op.family not in ("loop", "memory") and name not in UNSAMPLED]


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_of_every_op_keep_their_meaning(name: str) -> None:
    op = PRIMITIVES[name]
    for sample in samples(op):
        graph = Graph(name)
        builder = Builder(graph)
        operands = [builder.input(type) for type in sample.types]
        graph.outputs = builder.emit(op, operands, dict(sample.attributes), sample.regions).outputs
        expected = interpret(graph, *sample.operands)
        for ours, theirs in zip(run(lowered(graph), sample.operands), expected, strict=True):
            same(ours, theirs)


def test_a_call_of_the_host_stays_between_kernels() -> None:
    register_host_function("tests.negated", lambda x: (-x,))
    graph = Graph("program")
    builder = Builder(graph)
    x = builder.expr(builder.input(f32(3), "x"))
    node = builder.emit(PRIMITIVES["host_call"], [(x * 2.0).value], {"function": "tests.negated", "types": (x.type,)})
    graph.outputs = ((builder.expr(node.output) + x).value,)
    loops = lowered(graph)
    assert [node.op.name for node in loops.nodes] == ["kernel", "host_call", "kernel"]
    (found,) = run(loops, [np.array([1, 2, 3], np.float32)])
    assert found.tolist() == [-1, -2, -3]


def test_digits_of_a_position_are_joined() -> None:
    n = Dim.named("n")
    assert rejoin(256 * (n // 256) + 64 * (n // 64 % 4) + n % 64) == n
    assert rejoin(512 * (n // 256) + 64 * (n // 64 % 4) + n % 64) != n
