"""Programs with control flow equal themselves unrolled: values, gradients and second order, both ways of running."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from adjit.compiler.differentiate import differentiate
from adjit.compiler.pipeline import compile_graph
from adjit.ir.builder import Expr
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.errors import DifferentiationError
from adjit.ir.graph import Graph, Location, Region
from adjit.ir.ops import reduction
from adjit.ir.ops.arrays import cast
from adjit.ir.parser import parse
from adjit.ir.primitive import primitive_named
from adjit.ir.printer import format_graph
from adjit.ir.shape import Dim
from adjit.ir.types import BOOL, F64, I64, DType, TensorType
from adjit.ir.verify import verify
from adjit.runtime.interpreter import run
from tests.compiler.gradients import seeds_for, unrolled, with_gradient
from tests.samples import COUNT, FLAG, function, region
from tests.sampling import Array

PAIR, TRIPLE, NUMBER = TensorType(F64, (2,)), TensorType(F64, (3,)), TensorType(F64, ())
Body = Callable[..., Sequence[Expr]]
sin, cos, exp, tanh, sqrt, mod, eq = map(primitive_named, ("sin", "cos", "exp", "tanh", "sqrt", "mod", "eq"))


def control(name: str, operands: Sequence[Expr], regions: Sequence[Region], **attributes: Any) -> tuple[Expr, ...]:
    """A control op on `operands`."""
    builder = operands[0].emitter
    values = [operand.value for operand in operands]
    return builder.exprs(builder.emit(primitive_named(name), values, attributes, regions).outputs)


def cond(predicate: Expr, operands: Sequence[Expr], then: Body, other: Body) -> tuple[Expr, ...]:
    types = [operand.type for operand in operands]
    return control("cond", [predicate, *operands], [region(types, then), region(types, other)])


def while_(invariants: int, operands: Sequence[Expr], condition: Body, body: Body) -> tuple[Expr, ...]:
    types = [operand.type for operand in operands]
    return control("while", operands, [region(types, condition), region(types, body)], invariants=invariants)


def scan(
    invariants: int, carries: int, operands: Sequence[Expr], length: int, body: Body, reverse: bool = False
) -> tuple[Expr, ...]:
    first = invariants + carries
    types = [x.type if place < first else x.type.with_dims(x.shape[1:]) for place, x in enumerate(operands)]
    attributes = {"invariants": invariants, "carries": carries, "length": length, "reverse": reverse}
    return control("scan", operands, [region(types, body)], **attributes)


def literal(like: Expr, value: float, dtype: DType) -> Expr:
    return like.emitter.expr(like.emitter.constant(value, dtype))


def total(x: Expr) -> Expr:
    return reduction.reduce_sum(x, axes=(0,))  # type: ignore[no-any-return]


# -- programs ----------------------------------------------------------------------------------------------------------
def choose(p: Expr, x: Expr, y: Expr) -> Sequence[Expr]:
    """A branch that computes, and one that gives an operand and numbers."""

    def other(a: Expr, b: Expr) -> Sequence[Expr]:
        return a, literal(a, 2, F64), literal(a, 1, I64)

    product, *rest = cond(p, [x, y], lambda a, b: (sin(a) * b, total(sin(a) * b), literal(a, 7, I64)), other)
    return product * x, *rest


def recurrence(length: int, reverse: bool) -> Body:
    """One invariant, an integer carry and two floating ones, two operands in slices, three stacked results."""

    def step(w: Expr, i: Expr, c: Expr, s: Expr, x: Expr, k: Expr) -> Sequence[Expr]:
        inner = c * w + x
        return i + k, tanh(inner), s * 0.5 + total(tanh(inner)) * cast(i + k, F64), inner, i + k, s

    def program(w: Expr, c: Expr, s: Expr, x: Expr, k: Expr) -> Sequence[Expr]:
        _, last, *rest = scan(1, 3, [w, literal(w, 3, I64), c, s, x, k], length, step, reverse)
        return last * w, *rest

    return program


def power(n: Expr, w: Expr, x: Expr) -> Sequence[Expr]:
    """A loop of n steps with an integer carry beside floating ones."""

    def body(n: Expr, w: Expr, i: Expr, x: Expr, s: Expr) -> Sequence[Expr]:
        return i + 1, sin(x * w), s * total(sin(x * w))

    start = [n, w, literal(w, 0, I64), x, literal(w, 1, F64)]
    return while_(2, start, lambda n, w, i, x, s: (i < n,), body)


def halved(limit: Expr, x: Expr) -> Sequence[Expr]:
    """A cond in a while; the number of steps depends on a floating value."""

    def body(limit: Expr, x: Expr, i: Expr) -> Sequence[Expr]:
        even = eq(mod(i, 2), 0)
        return *cond(even, [x, limit], lambda a, b: (a * 0.5 + b * 0.1,), lambda a, b: (sqrt(a),)), i + 1

    return while_(1, [limit, x, literal(x, 0, I64)], lambda limit, x, i: ((limit < x) & (i < 20),), body)


def maybe(p: Expr, c: Expr, x: Expr) -> Sequence[Expr]:
    """A scan in a cond."""

    def looped(c: Expr, x: Expr) -> Sequence[Expr]:
        last, rows = scan(0, 1, [c, x], 3, lambda h, row: (h * row, exp(h * row)))
        return (last + total(rows),)

    return cond(p, [c, x], looped, lambda c, x: (total(x),))


def triangle(w: Expr, c: Expr, x: Expr, k: Expr) -> Sequence[Expr]:
    """A while in a scan, whose steps the scan's operand counts."""

    def row(w: Expr, h: Expr, x: Expr, n: Expr) -> Sequence[Expr]:
        start = [n, w, x, literal(w, 0, I64), h]
        _, last = while_(3, start, lambda n, w, x, i, y: (i < n,), lambda n, w, x, i, y: (i + 1, cos(y * w + x)))
        return last, last * x

    return scan(1, 1, [w, c, x, k], 4, row, reverse=True)


def grid(w: Expr, c: Expr, x: Expr) -> Sequence[Expr]:
    """A scan in a scan."""

    def cell(w: Expr, h: Expr, x: Expr) -> Sequence[Expr]:
        return sin(h * w + x), h * w + x

    return scan(1, 1, [w, c, x], 3, lambda w, h, row: scan(1, 1, [w, h, row], 2, cell, reverse=True))


def calls() -> Body:
    """A callee shared by two others and called on several sizes."""
    k, m = Dim.named("k"), Dim.named("m")
    sums = function("total", [TensorType(F64, (k,))], lambda v: (total(v),))

    def product(a: Expr, b: Expr) -> Sequence[Expr]:
        return (a * b * tanh(*control("call", [a * b], [], callee=sums)),)

    inner = function("inner", [TensorType(F64, (m,))] * 2, product)

    def program(x: Expr, y: Expr) -> Sequence[Expr]:
        (first,) = control("call", [x, y], [], callee=inner)
        (second,) = control("call", [first, x], [], callee=inner)
        return second, *control("call", [second], [], callee=sums)

    return program


def calls_in_scan(w: Expr, c: Expr, x: Expr) -> Sequence[Expr]:
    """A callee in a loop's body."""
    step = function("step", [TensorType(F64, (Dim.named("k"),))] * 2, lambda a, b: (sin(a * b),))

    def body(w: Expr, h: Expr, x: Expr) -> Sequence[Expr]:
        (inner,) = control("call", [h, w], [], callee=step)
        return control("call", [inner, x], [], callee=step)

    return scan(1, 1, [w, c, x], 3, body)


def array(draw: np.random.Generator, dtype: DType, shape: Sequence[int]) -> Array:
    if dtype is BOOL:
        return np.asarray(draw.integers(0, 2, shape), bool)
    if dtype.is_integer:
        return np.asarray(draw.integers(0, 4, shape), dtype.storage)
    return np.asarray(draw.uniform(0.4, 1.6, shape))


def rows(count: int, type: TensorType) -> TensorType:
    return type.with_dims((count, *type.dims))


def cases() -> Iterator[tuple[str, Body, list[TensorType], dict[int, object]]]:
    """A name, a program, the types of its operands, and what some of them are."""
    for chosen in (True, False):
        yield f"cond {chosen}", choose, [FLAG, TRIPLE, TRIPLE], {0: chosen}
        yield f"scan in cond {chosen}", maybe, [FLAG, PAIR, rows(3, PAIR)], {0: chosen}
    for length in (0, 1, 4):
        for reverse in (False, True):
            types = [PAIR, PAIR, NUMBER, rows(length, PAIR), rows(length, COUNT)]
            yield f"scan of {length}{' reversed' * reverse}", recurrence(length, reverse), types, {}
    for steps in (0, 1, 7):
        yield f"while of {steps}", power, [COUNT, TRIPLE, TRIPLE], {0: steps}
    yield "cond in while", halved, [NUMBER, NUMBER], {0: 1.1, 1: 9.0}
    yield "while in scan", triangle, [NUMBER, NUMBER, rows(4, NUMBER), rows(4, COUNT)], {}
    yield "scan in scan", grid, [NUMBER, NUMBER, rows(3, PAIR)], {}
    yield "calls", calls(), [TensorType(F64, (Dim.named("n"),))] * 2, {}
    yield "calls in scan", calls_in_scan, [PAIR, PAIR, rows(3, PAIR)], {}


CASES = list(cases())
Run = Callable[[Graph, Sequence[Array]], Sequence[Array]]


def interpreted(graph: Graph, arrays: Sequence[Array]) -> Sequence[Array]:
    return run(graph, *arrays)


def compiled(graph: Graph, arrays: Sequence[Array]) -> Sequence[Array]:
    return compile_graph(graph).run(list(arrays))


def operands(graph: Graph, given: dict[int, object]) -> list[Array]:
    """Operands of a program whose named sizes are 3."""
    draw = np.random.default_rng(5)
    shapes = [[dim if isinstance(dim, int) else 3 for dim in value.dims] for value in graph.inputs]
    return [
        np.asarray(given[index], value.dtype.storage) if index in given else array(draw, value.dtype, shape)
        for index, (value, shape) in enumerate(zip(graph.inputs, shapes, strict=True))
    ]


def assert_equal(found: Sequence[Array], wanted: Sequence[Array]) -> None:
    assert len(found) == len(wanted)
    for left, right in zip(found, wanted, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("execute", [interpreted, compiled])
@pytest.mark.parametrize(("program", "types", "given"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_control_flow_equals_itself_unrolled(
    program: Body, types: list[TensorType], given: dict[int, object], execute: Run
) -> None:
    """To second order: values, gradients, and gradients of values and gradients."""
    graph = function("program", types, program)
    arrays = operands(graph, given)
    plain = unrolled(graph, *arrays)
    assert not {"call", "cond", "while", "scan"} & {node.op.name for node in plain.walk()}
    random = np.random.default_rng(6)
    for order in range(3):
        verify(graph)
        assert format_graph(parse(format_graph(graph))) == format_graph(graph)
        wanted = run(plain, *arrays)
        assert order == 0 or any(np.any(x) for x in wanted)
        assert_equal(execute(graph, arrays), wanted)
        arrays = [*arrays, *seeds_for(graph, wanted, random)]
        if order < 2:
            graph, plain = with_gradient(graph), with_gradient(plain)


@pytest.mark.parametrize(("program", "types", "given"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_nobody_reads_of_control_flow_is_not_computed(
    program: Body, types: list[TensorType], given: dict[int, object]
) -> None:
    """Each result alone, and its gradient, equal those of the whole program, and nothing unread is left."""
    graph = function("program", types, program)
    arrays = operands(graph, given)
    wanted = run(graph, *arrays)
    random = np.random.default_rng(7)
    for place, value in enumerate(graph.outputs):
        alone = graph.with_parts(graph.inputs, graph.nodes, [value])
        swept = eliminate_dead(alone)
        verify(swept)
        assert eliminate_dead(swept) is swept
        assert_all_read(swept)
        assert_equal(run(swept, *arrays), [wanted[place]])
        if value.dtype.is_continuous:
            seeded = [*arrays, *seeds_for(alone, [wanted[place]], random)]
            assert_equal(run(with_gradient(swept), *seeded), run(with_gradient(unrolled(alone, *arrays)), *seeded))


def assert_all_read(region: Region) -> None:
    """Every node has a result that is used, every stacked result is, and every input of a loop's turn."""
    used = {value for node in region.walk() for value in node.inputs} | set(region.outputs)
    used.update(value for node in region.walk() for inner in node.regions for value in inner.outputs)
    for node in region.walk():
        assert used & set(node.outputs)
        assert used.issuperset(node.outputs[int(node.attributes.get("carries", 0)) :]) or node.op.name != "scan"
        for inner in node.regions[-1:] if node.op.name == "scan" else ():
            assert used.issuperset(inner.inputs[: int(node.attributes["invariants"])])


def test_what_a_dead_carry_reads_goes_too() -> None:
    """A carry that only itself needs, with its operands; one that a carry which is read needs stays."""
    graph = function("program", [PAIR, PAIR, NUMBER, rows(4, PAIR), rows(4, NUMBER)], lambda w, c, s, x, y: scan(
        1, 3, [w, c, c, s, x, y], 4,
        lambda w, h, k, t, x, y: (tanh(h + k), k * x, t * y * total(w), h * 2.0, exp(w)))[:1])  # fmt: skip
    (node,) = (node for node in eliminate_dead(graph).nodes if node.op.name == "scan")
    assert [value.type for value in node.inputs] == [PAIR, PAIR, rows(4, PAIR)]
    assert {inner.op.name for inner in node.regions[0].nodes} == {"tanh", "add", "mul"}


def test_a_scan_is_pulled_back_only_where_asked() -> None:
    """No cotangent of slices that nobody wants, no zeros for rows that nothing uses."""
    graph = function("program", [PAIR, PAIR, rows(4, PAIR)], lambda w, c, x: scan(
        1, 1, [w, c, x], 4, lambda w, h, x: (tanh(h * w + x), h * 2.0))[:1])  # fmt: skip
    backward = differentiate(graph, inputs=[0]).backward
    last = [node for node in backward.nodes if node.op.name == "scan"][-1]
    assert [value.type for value in last.outputs] == [PAIR, PAIR]
    assert [value.type for value in last.inputs[last.attributes["invariants"] :]] == [
        PAIR, PAIR, rows(4, PAIR), rows(4, PAIR)
    ]  # fmt: skip
    assert [value.type for value in backward.outputs] == [PAIR]


def test_an_op_without_a_derivative_says_where() -> None:
    graph = function("program", [PAIR], lambda x: control("host_call", [x], [], function="f", types=(PAIR,)))
    graph.nodes[0].location = Location("train.py", 7)
    with pytest.raises(DifferentiationError, match=r"host_call has no derivative \(train.py:7\)"):
        differentiate(graph)
