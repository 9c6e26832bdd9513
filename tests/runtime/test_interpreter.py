"""The interpreter: sizes bound, guards checked, control ops run, halves rounded once, results typed as inferred."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

import adjit.compiler.loops.ir as loops
from adjit.ir.builder import Builder
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.errors import DTypeError, ShapeError, VerifyError
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.halfs import round_bf16, widen_bf16
from adjit.ir.ops import contraction, control, indexing, named, reduction, scalar, source, structure
from adjit.ir.parser import parse
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.rewrite import clone, inline_calls, substitute_sizes
from adjit.ir.shape import Dim
from adjit.ir.types import BF16, F16, F32, I64, TensorType
from adjit.runtime.host import call_host, register_host_function
from adjit.runtime.interpreter import bind_sizes, run, run_node
from tests.ir.random_graphs import graphs

FAMILIES = (contraction, control, indexing, named, reduction, scalar, source, structure)


def f32(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def one(text: str, *arrays: Any) -> NDArray[Any]:
    (result,) = run(parse(text), *arrays)
    return result


# -- whole graphs -----------------------------------------------------------------------------------------------------
def test_an_example() -> None:
    text = """
    func @loss(%x: f32[n, 3], %w: f32[3, 1], %t: f32[n, 1]) -> (f32[]) where n >= 2 {
      %0 = dot %x, %w {contract=[[1], [0]], batch=[[], []]} : f32[n, 1]
      %1 = sub %0, %t : f32[n, 1]
      %2 = mul %1, %1 : f32[n, 1]
      %3 = reduce_sum %2 {axes=[0, 1]} : f32[]
      %4 = div %3, n : f32[]
      return %4
    }"""
    rng = np.random.default_rng(0)
    x, w, t = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 3), (3, 1), (5, 1)))
    result = one(text, x, w, t)
    assert result.dtype == np.float32 and result.shape == ()
    np.testing.assert_allclose(result, np.mean((x @ w - t) ** 2), rtol=1e-6)


def arguments(graph: Graph) -> list[NDArray[Any]]:
    rng = np.random.default_rng(len(graph.nodes))
    sizes = {"n": 4, "m": 3}
    found = []
    for value in graph.inputs:
        shape = [dim.evaluate(sizes) for dim in value.dims if isinstance(dim, Dim)]
        found.append(np.asarray(rng.integers(-2, 3, shape)).astype(value.dtype.storage))
    return found


@given(graphs())
@settings(max_examples=25)
def test_passes_keep_the_meaning(graph: Graph) -> None:
    inputs = arguments(graph)
    graph.guards = ()
    expected = run(graph, *inputs)
    assert [(r.dtype, r.ndim) for r in expected] == [(v.dtype.storage, len(v.dims)) for v in graph.outputs]
    for other in (
        clone(graph),
        eliminate_dead(graph),
        inline_calls(graph),
        substitute_sizes(graph, {"n": 4, "m": 3}),
        parse(str(graph)),
    ):
        for left, right in zip(run(other, *inputs), expected, strict=True):
            np.testing.assert_array_equal(left, right)


def test_inputs_are_neither_changed_nor_returned() -> None:
    graph = parse(
        "func @f(%x: f32[n, m]) -> (f32[n, m], f32[m, n], f32[2, n, m]) writes(%x <- 0) {\n"
        "  %0 = permute %x {perm=[1, 0]} : f32[m, n]\n  %1 = expand %x {shape=[2, n, m]} : f32[2, n, m]\n"
        "  return %x, %0, %1\n}"
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    before = x.copy()
    results = run(graph, x)
    for result in results:
        assert not np.shares_memory(result, x)
        assert result.flags.c_contiguous and result.flags.writeable
        result[...] = -1
    np.testing.assert_array_equal(x, before)


def test_values_are_dropped_after_their_last_use() -> None:
    graph = Graph("f")
    builder = Builder(graph)
    y = builder.expr(builder.input(TensorType(F32, (Dim.named("n"),)), "x"))
    for _ in range(64):
        y = y + 1.0
    graph.outputs = (y.value,)
    x = np.zeros(1 << 18, np.float32)
    tracemalloc.start()
    try:
        run(graph, x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * x.nbytes


# -- sizes ------------------------------------------------------------------------------------------------------------
SIZED = "func @f(%x: f32[n, 3], %y: f32[2*n + 1, m], %z: i64[n*m]) -> () where m >= 2, n - m != 0 {\n}"


def test_sizes_are_bound() -> None:
    assert bind_sizes(parse(SIZED), [(4, 3), (9, 2), (8,)]) == {"n": 4, "m": 2}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(4, 3)], "@f takes 3 inputs, not 1"),
        ([(4,), (9, 2), (8,)], "@f: x is f32[n, 3], and is given the shape [4]"),
        ([(4, 5), (9, 2), (8,)], "@f: axis 1 of x is 5, not 3"),
        ([(4, 3), (8, 2), (8,)], "@f: axis 0 of y is 8, not 2*n + 1 = 9 (n is axis 0 of x)"),
        ([(4, 3), (9, 2), (9,)], "@f: axis 0 of z is 9, not m*n = 8 (n is axis 0 of x, m is axis 1 of y)"),
        ([(4, 3), (9, 1), (4,)], "@f needs m >= 2, and m = 1"),
        ([(2, 3), (5, 2), (4,)], "@f needs -m + n != 0, and m = 2, n = 2"),
    ],
)
def test_shapes_that_do_not_fit(shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        bind_sizes(parse(SIZED), shapes)
    assert str(caught.value) == message


def test_equal_names_mean_equal_sizes() -> None:
    graph = parse("func @f(%x: f32[n], %y: f32[n]) -> () {\n}")
    with pytest.raises(ShapeError, match=r"@f: axis 0 of y is 5, not n = 4 \(n is axis 0 of x\)"):
        run(graph, np.zeros(4, np.float32), np.zeros(5, np.float32))


def test_dtypes_are_checked() -> None:
    graph = parse("func @f(%x: f32[n]) -> () {\n}")
    with pytest.raises(DTypeError, match=r"@f: x is f32\[n\], and is given f64"):
        run(graph, np.zeros(4))


# -- control ----------------------------------------------------------------------------------------------------------
def test_branches_and_calls() -> None:
    text = """
    func @f(%p: bool[], %x: f32[n, 2]) -> (f32[n, 2]) {
      %0 = cond %p, %x : f32[n, 2]
        region(%a: f32[n, 2]) {
          %1 = call %a {callee=@double} : f32[n, 2]
          return %1
        }
        region(%b: f32[n, 2]) {
          %2 = mul %b, n : f32[n, 2]
          return %2
        }
      return %0
    }
    func @double(%y: f32[m, k]) -> (f32[m, k]) {
      %0 = mul %y, k : f32[m, k]
      return %0
    }"""
    x = np.ones((5, 2), np.float32)
    assert one(text, np.array(True), x)[0, 0] == 2
    assert one(text, np.array(False), x)[0, 0] == 5


def test_while_counts_down() -> None:
    text = """
    func @power(%x: f64[], %n: i64[]) -> (i64[], f64[]) {
      %0, %1 = while %x, %n, 1.0:f64 {invariants=1} : i64[], f64[]
        region(%a: f64[], %i: i64[], %c: f64[]) {
          %2 = lt 0, %i : bool[]
          return %2
        }
        region(%b: f64[], %j: i64[], %d: f64[]) {
          %3 = sub %j, 1 : i64[]
          %4 = mul %d, %b : f64[]
          return %3, %4
        }
      return %0, %1
    }"""
    left, power = run(parse(text), np.array(3.0), np.array(4))
    assert (int(left), float(power)) == (0, 81.0)


SCAN = """
    func @sums(%x: f32[n, 2]) -> (f32[2], f32[n, 2]) {
      %z = expand 0.0:f32 {shape=[2]} : f32[2]
      %0, %1 = scan %z, %x {invariants=0, carries=1, length=n, reverse=false} : f32[2], f32[n, 2]
        region(%c: f32[2], %row: f32[2]) {
          %2 = add %c, %row : f32[2]
          return %2, %2
        }
      return %0, %1
    }"""


@pytest.mark.parametrize("length", [0, 1, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_scan_stacks(length: int, reverse: bool) -> None:
    x = np.arange(2 * length, dtype=np.float32).reshape(length, 2)
    total, sums = run(parse(SCAN.replace("reverse=false", f"reverse={str(reverse).lower()}")), x)
    order = slice(None, None, -1 if reverse else 1)
    np.testing.assert_array_equal(total, x.sum(axis=0))
    np.testing.assert_array_equal(sums, np.cumsum(x[order], axis=0)[order])


def test_functions_of_the_host() -> None:
    def halve(x: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        with pytest.raises(ValueError, match="read-only"):
            x[...] = 0
        return (x / 2,)

    register_host_function("tests.halve", halve)
    text = """func @f(%x: f64[n]) -> (f64[n]) {
      %0 = host_call %x {function="tests.halve", types=[f64[n]]} : f64[n]
      return %0
    }"""
    np.testing.assert_array_equal(one(text, np.array([2.0, 4.0])), [1.0, 2.0])
    with pytest.raises(ValueError, match="exists already"):
        register_host_function("tests.halve", halve)
    with pytest.raises(KeyError, match="no host function is called"):
        call_host("tests.nothing")


def test_groups_run_and_loops_do_not() -> None:
    type = TensorType(F32, (2,))
    graph = Graph("f", [Value(type, "x")])
    region = Region()
    inner = Builder(region)
    a = inner.expr(inner.input(type, "a"))
    region.outputs = ((a + 1.0).value,)
    graph.nodes = [Node(loops.FUSE, graph.inputs, {}, [type], regions=[region])]
    graph.outputs = graph.nodes[0].outputs
    np.testing.assert_array_equal(run(graph, f32(1, 2))[0], [2, 3])
    graph.nodes = [Node(loops.LOAD, graph.inputs, {"at": (0,)}, [TensorType(F32, ())])]
    graph.outputs = graph.nodes[0].outputs
    with pytest.raises(VerifyError, match="load belongs to the loop level"):
        run(graph, f32(1, 2))


# -- halves -----------------------------------------------------------------------------------------------------------
def bf16(*values: float) -> NDArray[np.uint16]:
    return round_bf16(f32(*values))


@pytest.mark.parametrize("name", ["add", "mul", "div", "sigmoid", "tanh", "silu"])
def test_halves_are_computed_in_float32_and_rounded_once(name: str) -> None:
    op = primitive_named(name)
    values = np.random.default_rng(1).standard_normal((len(op.operands), 200)).astype(np.float32)
    for dtype, narrow, widen in (
        (BF16, round_bf16, widen_bf16),
        (F16, lambda x: x.astype(np.float16), lambda x: x.astype(np.float32)),
    ):
        operands = [narrow(row) for row in values]
        (result,) = run_node(op, operands, [TensorType(dtype, (200,))], {})
        wide = [widen(operand) for operand in operands]
        np.testing.assert_array_equal(result, narrow(np.asarray(op.reference(*wide))))


def test_bf16_goes_through_every_kind_of_op() -> None:
    text = """
    func @f(%x: bf16[4]) -> (bf16[2], bf16[], bf16[6], bool[4], f32[4], bf16[3]) {
      %0 = slice %x {start=[3], size=[2], step=[-2]} : bf16[2]
      %1 = reduce_sum %x {axes=[0]} : bf16[]
      %2 = pad %x {low=[1], high=[1], interior=[0], value=0.5} : bf16[6]
      %3 = lt %x, 2.0 : bool[4]
      %4 = cast %x {dtype=f32} : f32[4]
      %5 = iota {shape=[3], axis=0, dtype=bf16} : bf16[3]
      return %0, %1, %2, %3, %4, %5
    }"""
    sliced, total, padded, less, wide, counted = run(parse(text), bf16(1, 2, 3, -4.5))
    assert widen_bf16(sliced).tolist() == [-4.5, 2]
    assert float(widen_bf16(total)) == 1.5
    assert widen_bf16(padded).tolist() == [0.5, 1, 2, 3, -4.5, 0.5]
    assert less.tolist() == [True, False, False, True]
    assert wide.tolist() == [1, 2, 3, -4.5]
    assert widen_bf16(counted).tolist() == [0, 1, 2]


# -- one step ---------------------------------------------------------------------------------------------------------
def test_a_caller_may_run_some_ops_itself() -> None:
    seen: list[str] = []

    def execute(
        op: Primitive, arrays: Sequence[NDArray[Any]], types: Sequence[TensorType], attributes: Mapping[str, Any]
    ) -> Sequence[NDArray[Any]] | None:
        seen.append(op.name)
        return (np.full(types[0].dims, 7, np.float32),) if op is scalar.exp else None  # type: ignore[arg-type]

    graph = parse(
        "func @f(%x: f32[n]) -> (f32[n]) {\n  %0 = call %x {callee=@g} : f32[n]\n  return %0\n}\n"
        "func @g(%x: f32[n]) -> (f32[n]) {\n  %0 = exp %x : f32[n]\n  %1 = neg %0 : f32[n]\n  return %1\n}"
    )
    (result,) = run(graph, f32(1, 2), execute=execute)
    assert result.tolist() == [-7, -7]
    assert seen == ["call", "exp", "neg"]


def test_a_reference_of_the_wrong_type_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"neg gave float32, not i64\[2\]"):
        run_node(scalar.neg, [f32(1, 2)], [TensorType(I64, (2,))], {})
    with pytest.raises(AssertionError, match=r"neg gave the shape \[2\], not f32\[3\]"):
        run_node(scalar.neg, [f32(1, 2)], [TensorType(F32, (3,))], {})


def test_no_warning_comes_out() -> None:
    text = "func @f(%x: f32[n]) -> (f32[n]) {\n  %0 = log %x : f32[n]\n  %1 = div %0, 0.0 : f32[n]\n  return %1\n}"
    assert np.isnan(one(text, f32(-1, 1))).all()


def test_faults_come_out() -> None:
    with pytest.raises(ZeroDivisionError):
        one("func @f(%x: i64[n]) -> (i64[n]) {\n  %0 = div 1, %x : i64[n]\n  return %0\n}", np.array([1, 0]))
