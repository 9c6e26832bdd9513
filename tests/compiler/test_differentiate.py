"""Laws of reverse mode: right, sound and readable for every op, saving little, of any order and any length."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest

from adjit.compiler.differentiate import Derivative, differentiate
from adjit.compiler.nodewise import pullback_of
from adjit.compiler.pipeline import compile_graph
from adjit.compiler.simplify import simplify
from adjit.ir.builder import Builder, Expr
from adjit.ir.errors import DifferentiationError
from adjit.ir.graph import Graph, Guard, Location, Value
from adjit.ir.ops import reduction, structure
from adjit.ir.ops.arrays import cast, full, permute, reshape, spread
from adjit.ir.parser import parse
from adjit.ir.primitive import Primitive, primitive_named, source
from adjit.ir.printer import format_graph, value_names
from adjit.ir.rewrite import clone, inline
from adjit.ir.shape import Dim, Size
from adjit.ir.types import BF16, F32, F64, I64, TensorType
from adjit.ir.verify import verify
from adjit.runtime.interpreter import run
from tests.compiler.gradients import seeds_for, with_gradient
from tests.compiler.random_graphs import random_arrays, random_graph
from tests.conftest import Golden
from tests.ir.laws import OPS, UNGIVEN, assert_same, named
from tests.ir.test_tensor_derivatives import directional, floating, inner, random_like
from tests.samples import function, samples
from tests.sampling import Array, Sample

N, M = Dim.named("n"), Dim.named("m")
sin, exp, tanh = map(primitive_named, ("sin", "exp", "tanh"))


def f64(*dims: Size) -> TensorType:
    return TensorType(F64, dims)


# -- every op ----------------------------------------------------------------------------------------------------------
def in_domain(op: Primitive, sample: Sample) -> Sample | None:
    """The sample in float64, its floats moved to where the op and its difference quotients are finite."""
    wide = [x.astype(np.float64) if x.dtype == np.float32 else x for x in sample.operands]
    for move in (lambda x: x, lambda x: np.abs(x) + 0.1, lambda x: 0.1 + 0.8 * np.abs(np.sin(x)), lambda x: 1.1 + x**2):
        moved = [move(x) if floating(x) else x for x in wide]
        with np.errstate(all="ignore"):
            sides = [
                np.asarray(op.reference(*(x + step if floating(x) else x for x in moved), **sample.attributes))
                for step in (-1e-3, 0, 1e-3)
            ]
        if all(np.isfinite(side).all() for side in sides):
            return replace(sample, operands=tuple(map(np.asarray, moved)))
    return None


def is_numeric(sample: Sample) -> bool:
    types = [type for type in sample.types if type.dtype.is_float]
    return sample.smooth and bool(types) and all(type.dtype is F64 for type in types)


@cache
def differentiable_samples(op: Primitive) -> tuple[Sample, ...]:
    """The samples of `op` with operands of float64 at which it is smooth; those of complex ones see test_complex.py."""
    if op.family != "scalar":
        return tuple(sample for sample in samples(op) if is_numeric(sample))
    if op.name in ("cast", "bitcast"):
        return (Sample("", (np.ones((2, 3)),), {"dtype": F64}),) if op.name == "cast" else ()
    floats = [s for s in samples(op) if s.smooth and all(x.dtype.kind in "fbu" for x in s.operands)]
    floats = [s for s in floats if any(floating(x) for x in s.operands)]
    halves = (np.float16, np.uint16)
    found = [in_domain(op, s) for s in floats if all(x.dtype not in halves for x in s.operands)]
    return tuple(sample for sample in found if sample is not None)


def program_of(op: Primitive, uses: Sequence[Sample]) -> Graph:
    """All uses of `op` in one program; each line has a location of its own."""
    graph = Graph("f")
    builder = Builder(graph)
    outputs: list[Value] = []
    for line, sample in enumerate(uses, 1):
        builder.location = Location("user.py", line)
        inputs = [builder.input(type) for type in sample.types]
        bodies = [clone(Graph("body", r.inputs, r.nodes, r.outputs)) for r in sample.regions]
        outputs += builder.emit(op, inputs, sample.attributes, bodies).outputs
    graph.outputs = tuple(outputs)
    return graph


def assert_sound(graph: Graph, derivative: Derivative) -> None:
    """What holds for every derivative's text and types."""
    forward, backward = derivative.forward, derivative.backward
    for each in (forward, backward):
        verify(each)
        assert format_graph(parse(format_graph(each))) == format_graph(each)
    count = len(derivative.seeded)
    assert [v.type for v in backward.inputs[:count]] == [graph.outputs[i].type for i in derivative.seeded]
    assert [v.type for v in backward.outputs] == [graph.inputs[i].type for i in derivative.reached]
    # What is saved has one name in both programs, is saved once, and is no number.
    names, own = value_names(forward), value_names(backward)
    assert [own[v] for v in backward.inputs[count:]] == [names[v] for v in derivative.residuals]
    assert [v.type for v in backward.inputs[count:]] == [v.type for v in derivative.residuals]
    assert forward.outputs == (*forward.outputs[: len(graph.outputs)], *derivative.residuals)
    assert len(set(derivative.residuals)) == len(derivative.residuals)
    assert all(value.constant is None for value in derivative.residuals)
    places = {(n.location.file, n.location.line, n.location.origin) for n in forward.walk()}
    for node in backward.walk():
        if node.op.name == "const":
            continue
        origin = node.location.origin
        again = node.location.note == "run again"
        assert again or origin.startswith("∂"), node
        place = (node.location.file, node.location.line, origin if again else origin.removeprefix("∂"))
        assert place in places, node


COMPLEX = {"complex", "real", "imag", "conj", "view_as_real", "view_as_complex", "fft", "rfft", "irfft", "eig"}


def differentiates(op: Primitive) -> bool:
    return op.name not in ("host_call", "detach", *UNGIVEN, *COMPLEX) and bool(differentiable_samples(op))


DIFFERENTIABLE = [op for op in OPS if differentiates(op)]


def test_most_ops_are_covered() -> None:  # of those on complex numbers see tests/ir/test_complex.py
    assert len(DIFFERENTIABLE) > 110
    missing = {op.name for op in OPS} - {op.name for op in DIFFERENTIABLE}
    assert missing == {
        "and", "or", "xor", "not", "shl", "shr", "bitcast", "reduce_any", "reduce_all", "const", "iota", "table",
        "random_bits", "host_call", "detach", *((UNGIVEN | COMPLEX) & {op.name for op in OPS}),
    }  # fmt: skip


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=named)
def test_the_backward_graph_is_the_transpose_of_the_derivative(op: Primitive) -> None:
    """<g, J t> = <backward(g), t>, with J t by central differences; compiled, it computes the same."""
    uses = differentiable_samples(op)
    graph = program_of(op, uses)
    derivative = differentiate(graph)
    assert_sound(graph, derivative)
    operands = [np.asarray(x) for sample in uses for x in sample.operands]
    random = np.random.default_rng(11)
    results = run(derivative.forward, *operands)
    count = len(graph.outputs)
    seeds = [random.standard_normal(results[index].shape) for index in derivative.seeded]
    cotangents = run(derivative.backward, *seeds, *results[count:])
    native = compile_graph(derivative.forward).run(operands)
    for found, wanted in zip(native, results, strict=True):
        assert_same(found, wanted, False, op.name)
    pulled = compile_graph(derivative.backward).run([*seeds, *native[count:]])
    for found, wanted in zip(pulled, cotangents, strict=True):
        assert_same(found, wanted, False, op.name)

    given, reached = iter(seeds), dict(zip(derivative.reached, cotangents, strict=True))
    position = 0
    for sample in uses:
        single = program_of(op, [sample])
        tangents = random_like(sample.operands, random)
        moved = directional(lambda *xs, p=single: run(p, *xs), sample.operands, tangents)
        left = inner(list(itertools.islice(given, len(moved))), moved)
        right = sum(inner([reached[position + i]], [t]) for i, t in enumerate(tangents) if position + i in reached)
        assert left == pytest.approx(right, rel=1e-6, abs=1e-6), sample.name
        position += len(sample.operands)


@pytest.mark.parametrize("op", [op for op in DIFFERENTIABLE if op.family in ("scalar", "control")], ids=named)
def test_second_order(op: Primitive) -> None:
    """The same for the program of values and gradients: the pass runs on its own output."""
    uses = [sample for sample in differentiable_samples(op) if all(0 < x.size < 30 for x in sample.operands)][:3]
    graph = program_of(op, uses)
    if not any(value.dtype.is_float for value in graph.outputs):
        return
    operands = [np.asarray(x) for sample in uses for x in sample.operands]
    random = np.random.default_rng(12)
    first = with_gradient(graph)
    operands += seeds_for(graph, run(graph, *operands), random)
    derivative = differentiate(first)
    assert_sound(first, derivative)
    results = run(derivative.forward, *operands)
    count = len(first.outputs)
    seeds = [random.standard_normal(results[index].shape) for index in derivative.seeded]
    cotangents = run(derivative.backward, *seeds, *results[count:])
    tangents = random_like(operands, random)
    moved = directional(lambda *xs: run(first, *xs), operands, tangents)
    right = inner(cotangents, [tangents[index] for index in derivative.reached])
    assert inner(seeds, moved) == pytest.approx(right, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("op", [op for op in OPS if op.family not in ("source", "control")], ids=named)
def test_other_dtypes_have_derivatives_of_their_own_type(op: Primitive, dtype: object) -> None:
    uses = [s for s in samples(op) if any(t.dtype is dtype for t in s.types)]
    if uses:
        graph = program_of(op, uses[:4])
        assert_sound(graph, differentiate(graph))


# -- named sizes -------------------------------------------------------------------------------------------------------
def test_a_size_in_attributes_alone_is_bound_by_an_input() -> None:
    """What is saved names no size n, and backward needs it: the input that has it is kept."""
    graph = function("f", [f64(N, M), f64(M)], lambda x, w: (reduction.reduce_sum(x, axes=(0,)) * w,))
    graph.guards = (Guard(N, ">=", 2), Guard(M, ">", 0))
    derivative = differentiate(graph, inputs=[0])
    assert_sound(graph, derivative)
    assert derivative.residuals == (graph.inputs[1], graph.inputs[0])
    assert derivative.backward.guards == graph.guards


def test_a_size_inside_a_product_is_bound_by_an_input() -> None:
    graph = function("f", [f64(N, M)], lambda x: (reshape(tanh(reshape(x, (N * M,))), (M, N)),))
    assert_sound(graph, differentiate(graph))


def test_guards_on_sizes_that_backward_does_not_see_stay_with_forward() -> None:
    graph = function("f", [f64(N), f64(M)], lambda x, y: (sin(x), sin(y)))
    graph.guards = (Guard(N, ">=", 2), Guard(M, ">", 3))
    derivative = differentiate(graph, inputs=[0], outputs=[0])
    assert_sound(graph, derivative)
    assert (derivative.forward.guards, derivative.backward.guards) == (graph.guards, graph.guards[:1])


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_in_named_sizes(seed: int) -> None:
    """Sound to second order; compiled as interpreted; and recomputing changes no bit and saves no more."""
    graph = random_graph(seed, length=8)
    derivative = differentiate(graph)
    assert_sound(graph, derivative)
    first = with_gradient(graph)
    assert_sound(first, differentiate(first))
    arrays = random_arrays(graph, seed, 3, 2)
    count, random = len(graph.outputs), np.random.default_rng(seed)
    results = run(derivative.forward, *arrays)
    seeds = [random.standard_normal(results[index].shape).astype(np.float32) for index in derivative.seeded]
    wanted = run(derivative.backward, *seeds, *results[count:])
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CHEAP", "VIEWS", "COMPACT"):
            patch.setattr(f"adjit.compiler.differentiate.{name}", frozenset({"const"}))
        plain = differentiate(graph)
    saved = run(plain.forward, *arrays)
    for left, right in zip(wanted, run(plain.backward, *seeds, *saved[count:]), strict=True):
        np.testing.assert_array_equal(left, right)
    assert new_bytes(derivative, results[count:]) <= new_bytes(plain, saved[count:])
    for left, right in zip(compile_graph(derivative.backward).run([*seeds, *results[count:]]), wanted, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-4)


def new_bytes(derivative: Derivative, saved: Sequence[Array]) -> int:
    """What saving costs: inputs are there already."""
    return sum(x.nbytes for value, x in zip(derivative.residuals, saved, strict=True) if value.node is not None)


# -- what is saved -----------------------------------------------------------------------------------------------------
def called(name: str, x: Expr) -> Expr:
    x.value.name = name
    return x


def softmax(x: Expr) -> Sequence[Expr]:
    powers = called("powers", exp(x))
    sums = called("sums", reduction.reduce_sum(powers, axes=(1,)))
    return (powers / called("wide", spread(sums, x.shape, (1,))),)


def viewed(x: Expr) -> Sequence[Expr]:
    """Three views of one value, each needed by a rule."""
    y = called("y", exp(x))
    return sin(permute(y, (1, 0))), sin(reshape(y, (3, 2))), sin(structure.expand(y, shape=(2, 2, 3)))


def chained(x: Expr) -> Sequence[Expr]:
    """Cheap arithmetic on views of views of a saved value."""
    y = called("y", exp(x))
    z = called("z", reshape(permute(y, (1, 0)), (6,)) + 1.0)
    return (z * z,)


def counted(x: Expr) -> Sequence[Expr]:
    places = cast(source(x, primitive_named("iota"), shape=x.shape, axis=0, dtype=I64), F64)
    return (x * called("places", places),)


def thrice(x: Expr) -> Sequence[Expr]:
    y = called("y", exp(x))
    return sin(y), y * x, y * y


def deep(x: Expr) -> Sequence[Expr]:
    """Cheap arithmetic on what nobody saves: its own result is kept."""
    floor = called("floor", primitive_named("floor")(x))
    return (x * called("kept", floor + 1.0),)


SAVED: dict[str, tuple[Callable[..., Any], list[TensorType], list[str]]] = {
    "an output that its rule uses": (lambda x: (called("y", tanh(x)),), [f64(N)], ["y"]),
    "nothing of linear ops": (lambda x: (permute(x * 3.0, (1, 0)) - 1.0,), [f64(2, 3)], []),
    "an input, not its view": (lambda x: (sin(called("v", permute(x, (1, 0)))),), [f64(2, 3)], ["0"]),
    "inputs, not cheap arithmetic": (lambda x, y: (sin(called("s", x + y)),), [f64(N), f64(N)], ["0", "1"]),
    "one value, not its views": (viewed, [f64(2, 3)], ["y"]),
    "one value, not arithmetic on its views": (chained, [f64(2, 3)], ["y"]),
    "sums, not what repeats them": (softmax, [f64(N, M)], ["powers", "sums", "2"]),
    "a mask, not the number it becomes": (
        lambda x: (x * called("number", cast(called("mask", primitive_named("isfinite")(x)), F64)),), [f64(N)], ["mask"]
    ),
    "a narrow copy, not the wide value": (
        lambda x, y: (y * called("narrow", cast(primitive_named("floor")(x), F32)),), [f64(N), TensorType(F32, (N,))],
        ["narrow"],
    ),
    "no positions": (counted, [f64(N)], []),
    "no number, no size": (lambda x: (x / 3.0 * 2.0 / N,), [f64(N)], []),
    "one value for several rules": (thrice, [f64(N)], ["0", "y"]),
    "a result of cheap arithmetic on what is not kept": (deep, [f64(N)], ["kept"]),
    "the integers that rules need": (
        lambda x: (reduction.sort(x, axis=0, descending=False)[0],), [f64(N)], ["2"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SAVED)
def test_what_is_saved(what: str) -> None:
    body, types, names = SAVED[what]
    graph = function("f", types, body)
    derivative = differentiate(graph)
    assert_sound(graph, derivative)
    of_value = value_names(derivative.forward)
    assert [of_value[value] for value in derivative.residuals] == names


def test_names_of_the_forward_program_win() -> None:
    """An input called %g, or %d0, keeps its name in backward."""
    graph = function("f", [f64(N), f64(N)], lambda x, y: (exp(x * y),))
    graph.inputs[0].name, graph.inputs[1].name = "g", "d0"
    backward = differentiate(graph).backward
    assert [value_names(backward)[value] for value in backward.inputs] == ["g_1", "g", "d0", "1"]


def test_a_derivative_along_no_path() -> None:
    graph = function("f", [f64(N), f64(N)], lambda x, y: (primitive_named("detach")(x) * y,))
    assert differentiate(graph).reached == (1,)
    whole = function("f", [f64(N)], lambda x: (cast(x, I64),))
    assert differentiate(whole).backward.outputs == ()
    with pytest.raises(DifferentiationError, match="output 0 of @f has dtype i64: no gradient"):
        differentiate(whole, outputs=[0])


def test_the_pullback_of_one_op() -> None:
    """It is kept by signature, and saves operands and results."""
    found = pullback_of(primitive_named("mul"), [f64(3), f64(3)], {}, [None, None], [True, False], [f64(3)])
    assert (found.saved, found.seeded, found.reached) == ((("in", 1),), (0,), (0,))
    again = pullback_of(primitive_named("mul"), [f64(3), f64(3)], {}, [None, None], [True, False], [f64(3)])
    assert again is found
    powered = [
        pullback_of(primitive_named("pow"), [f64(3), f64()], {}, [None, (type(n), n)], [True, False], [f64(3)])
        for n in (1, 1.0, 2.0)
    ]
    assert len({id(each) for each in powered}) == 3
    assert pullback_of(primitive_named("tanh"), [f64(3)], {}, [None], [True], [f64(3)]).saved == (("out", 0),)


# -- any order, any length ---------------------------------------------------------------------------------------------
def derived(graph: Graph) -> Graph:
    """The derivative of a program of one elementwise result by its only input, simplified."""
    joined = with_gradient(graph)
    result = Graph("derived")
    builder = Builder(result)
    x = builder.expr(builder.input(graph.inputs[0].type))
    one = full(x, 1.0, x.shape, F64)
    result.outputs = inline(builder, joined, [x.value, one.value])[1:]
    return simplify(result)


def test_any_order() -> None:
    """The first five derivatives of sin(x)*x**10, interpreted and compiled, against mpmath; the programs stay small."""
    x = np.array([-2.5, -1.0, -0.1, 0.3, 1.7, 3.0])
    graph = function("f", [f64(6)], lambda x: (sin(x) * x**10.0,))
    sizes = []
    for order in range(1, 6):
        graph = derived(graph)
        verify(graph)
        sizes.append(sum(node.op.name != "const" for node in graph.nodes))
        with mpmath.workdps(60):
            wanted = [float(mpmath.diff(lambda t: mpmath.sin(t) * t**10, mpmath.mpf(float(v)), order)) for v in x]
        for found in (run(graph, x), compile_graph(graph).run([x])):
            np.testing.assert_allclose(found[0], wanted, rtol=1e-12)
    assert sizes == sorted(sizes) and sizes[-1] < 600, sizes
    print("ops after simplification, orders 1 to 5:", sizes)


def chain(length: int) -> Graph:
    def body(x: Expr) -> Sequence[Expr]:
        y = x
        for step in range(length):
            y = sin(y) if step % 2 else y * x
        return (y,)

    return function("chain", [f64(2)], body)


def fan(count: int) -> Graph:
    def body(x: Expr) -> Sequence[Expr]:
        y = exp(x)
        return (sum((sin(y) for _ in range(count)), x),)

    return function("fan", [f64(2)], body)


def seconds(graph: Graph) -> float:
    start = time.thread_time()
    differentiate(graph)
    return time.thread_time() - start


@pytest.mark.parametrize(("make", "length"), [(chain, 10_000), (fan, 1_000)])
def test_length_costs_linear_time_and_no_stack(make: Callable[[int], Graph], length: int) -> None:
    graph, quarter = make(length), make(length // 4)
    found: list[object] = []

    def work() -> None:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(200)
        try:
            found.append(differentiate(graph))
            found.append(min(seconds(graph), seconds(graph)) / min(seconds(quarter), seconds(quarter)))
        except RecursionError as error:
            found.append(error)
        finally:
            sys.setrecursionlimit(limit)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    derivative, ratio = found
    assert isinstance(derivative, Derivative) and isinstance(ratio, float)
    verify(derivative.backward)
    assert len(derivative.backward.nodes) < 6 * length
    assert ratio < 13, ratio  # four for linear time, sixteen for quadratic


def test_a_value_used_often_collects_every_use() -> None:
    graph = with_gradient(fan(1_000))
    x = np.array([0.3, -1.2])
    _, found = run(graph, x, np.ones(2))
    np.testing.assert_allclose(found, 1 + 1_000 * np.cos(np.exp(x)) * np.exp(x), rtol=1e-12)


# -- texts -------------------------------------------------------------------------------------------------------------
LOSS = """\
func @loss(%x: f32[n, 3], %w: f32[3, 1], %b: f32[1], %t: f32[n, 1]) -> (f32[]) {
  %0 = dot %x, %w {contract=[[1], [0]], batch=[[], []]} : f32[n, 1]  # train.py:12
  %1 = expand %b {shape=[n, 1]}                         : f32[n, 1]  # train.py:12
  %2 = add %0, %1                                       : f32[n, 1]  # train.py:12
  %3 = sigmoid %2                                       : f32[n, 1]  # train.py:13
  %4 = sub %3, %t                                       : f32[n, 1]  # train.py:13
  %5 = mul %4, %4                                       : f32[n, 1]  # train.py:14
  %6 = reduce_sum %5 {axes=[0, 1]}                      : f32[]      # train.py:14
  %7 = div %6, n                                        : f32[]      # train.py:14
  return %7
}"""

CROSS_ENTROPY = """\
func @cross_entropy(%logits: f32[n, classes], %target: i64[n]) -> (f32[]) where n >= 1, classes >= 1 {
  %0 = reduce_max %logits {axes=[1]}          : f32[n]           # losses.py:4
  %top = detach %0                            : f32[n]           # losses.py:4
  %1 = reshape %top {shape=[n, 1]}            : f32[n, 1]        # losses.py:5
  %2 = expand %1 {shape=[n, classes]}         : f32[n, classes]  # losses.py:5
  %shifted = sub %logits, %2                  : f32[n, classes]  # losses.py:5
  %3 = exp %shifted                           : f32[n, classes]  # losses.py:6
  %4 = reduce_sum %3 {axes=[1]}               : f32[n]           # losses.py:6
  %5 = log %4                                 : f32[n]           # losses.py:6
  %6 = iota {shape=[n], axis=0, dtype=i64}    : i64[n]           # losses.py:7
  %7 = gather %shifted, %6, %target {axes=[0, 1]} : f32[n]       # losses.py:7
  %8 = sub %5, %7                             : f32[n]           # losses.py:8
  %9 = reduce_sum %8 {axes=[0]}               : f32[]            # losses.py:8
  %10 = div %9, n                             : f32[]            # losses.py:8
  return %10
}"""


@pytest.mark.parametrize("text", [LOSS, CROSS_ENTROPY], ids=["loss", "cross_entropy"])
def test_texts_of_derivatives(text: str, golden: Golden) -> None:
    """What a reader of a derivative sees; the inputs that get cotangents are the parameters or the logits."""
    graph = parse(text)
    verify(graph)
    inputs = [1, 2] if graph.name == "loss" else [0]
    derivative = differentiate(graph, inputs)
    assert_sound(graph, derivative)
    golden(f"{graph.name}.adjit", str(derivative.forward))
    golden(f"{graph.name}.vjp.adjit", str(derivative.backward))
