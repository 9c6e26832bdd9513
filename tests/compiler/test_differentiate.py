"""Laws of reverse mode: right, sound and readable for every op, saving little, of any order and any length."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

import mpmath
import numpy as np
import pytest

from adjit.compiler.differentiate import Derivative, differentiate
from adjit.compiler.nodewise import pullback_of
from adjit.compiler.pipeline import compile_graph
from adjit.compiler.simplify import simplify
from adjit.ir.builder import Builder, Expr
from adjit.ir.errors import DifferentiationError
from adjit.ir.graph import Graph, Location, Region, Value
from adjit.ir.ops import reduction, structure
from adjit.ir.ops.arrays import cast, permute, reshape, spread, where
from adjit.ir.parser import parse
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.printer import format_graph, value_names
from adjit.ir.shape import Dim, Size
from adjit.ir.types import BF16, BOOL, F32, F64, I64, TensorType
from adjit.ir.verify import verify
from adjit.runtime.interpreter import run
from tests.compiler.gradients import seeds_for, with_gradient
from tests.compiler.random_graphs import random_graph
from tests.ir.laws import OPS, assert_same, named
from tests.ir.test_tensor_derivatives import NO_SECOND_ORDER, directional, floating, inner, random_like
from tests.samples import function, samples
from tests.sampling import Array, Sample

N, M = Dim.named("n"), Dim.named("m")
sin, exp, tanh, relu, sqrt = map(primitive_named, ("sin", "exp", "tanh", "relu", "sqrt"))


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
            return replace(sample, operands=tuple(moved))
    return None


def is_numeric(sample: Sample) -> bool:
    types = [type for type in sample.types if type.dtype.is_float]
    return sample.smooth and bool(types) and all(type.dtype is F64 for type in types)


def differentiable_samples(op: Primitive) -> list[Sample]:
    """The samples of `op` with operands of float64 at which it is smooth."""
    if op.family != "scalar":
        return [sample for sample in samples(op) if is_numeric(sample)]
    if op.name in ("cast", "bitcast"):
        target = [sample for sample in samples(op) if sample.attributes["dtype"] is F64]
        return [sample for sample in target if is_numeric(sample)]
    floats = [s for s in samples(op) if s.smooth and any(floating(x) for x in s.operands)]
    found = [in_domain(op, s) for s in floats if all(x.dtype != np.float16 and x.dtype != np.uint16 for x in s.operands)]
    return [sample for sample in found if sample is not None]


def program_of(op: Primitive, uses: Sequence[Sample]) -> Graph:
    """All uses of `op` in one program; each line has a location of its own."""
    graph = Graph("f")
    builder = Builder(graph)
    outputs: list[Value] = []
    for line, sample in enumerate(uses, 1):
        builder.location = Location("user.py", line)
        inputs = [builder.input(type) for type in sample.types]
        outputs += builder.emit(op, inputs, sample.attributes, sample.regions).outputs
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
    for node in backward.nodes:
        if node.op.name == "const":
            continue
        origin = node.location.origin
        again = node.location.note == "run again"
        assert again or origin.startswith("∂"), node
        place = (node.location.file, node.location.line, origin if again else origin.removeprefix("∂"))
        assert place in places, node


def differentiates(op: Primitive) -> bool:
    return op.name != "host_call" and bool(differentiable_samples(op))


DIFFERENTIABLE = [op for op in OPS if differentiates(op)]


def test_most_ops_are_covered() -> None:
    assert len(DIFFERENTIABLE) > 110
    missing = {op.name for op in OPS} - {op.name for op in DIFFERENTIABLE}
    assert missing == {
        "and", "or", "xor", "not", "shl", "shr", "bitcast", "reduce_any", "reduce_all", "const", "iota", "random_bits",
        "host_call",
    }  # fmt: skip


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=named)
def test_the_backward_graph_is_the_transpose_of_the_derivative(op: Primitive) -> None:
    """<g, J t> = <backward(g), t>, with J t by central differences; compiled, it computes the same."""
    uses = differentiable_samples(op)
    graph = program_of(op, uses)
    derivative = differentiate(graph)
    assert_sound(graph, derivative)
    operands = [x for sample in uses for x in sample.operands]
    random = np.random.default_rng(11)
    results = run(derivative.forward, *operands)
    count = len(graph.outputs)
    seeds = [random.standard_normal(results[index].shape) for index in derivative.seeded]
    cotangents = run(derivative.backward, *seeds, *results[count:])
    native = compile_graph(derivative.forward).run(operands)
    for found, wanted in zip(native, results, strict=True):
        assert_same(found, wanted, False, op.name)
    for found, wanted in zip(compile_graph(derivative.backward).run([*seeds, *native[count:]]), cotangents, strict=True):
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
    operands = [x for sample in uses for x in sample.operands]
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


