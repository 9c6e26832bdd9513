"""Forward mode: <g, jvp(t)> = <vjp(g), t> for every op and program, and the derivative along t by differences."""

from __future__ import annotations

import numpy as np
import pytest

from adjit.compiler.differentiate import differentiate
from adjit.compiler.forward_mode import forward_mode
from adjit.compiler.pipeline import compile_graph
from adjit.ir.graph import Graph
from adjit.ir.parser import parse
from adjit.ir.primitive import Primitive
from adjit.ir.printer import format_graph
from adjit.ir.types import F64, TensorType
from adjit.ir.verify import verify
from adjit.runtime.interpreter import run
from tests.compiler.gradients import seeds_for
from tests.compiler.test_control_flow import CASES, Body, operands
from tests.compiler.test_differentiate import DIFFERENTIABLE, differentiable_samples
from tests.ir.laws import graph_of, named
from tests.samples import function
from tests.sampling import Array


def paired(graph: Graph, arrays: list[Array], seed: int = 0) -> None:
    """<g, jvp(t)> = <vjp(g), t> for random g and t."""
    random = np.random.default_rng(seed)
    pushed = forward_mode(graph)
    verify(pushed.graph)
    text = format_graph(pushed.graph)
    assert format_graph(parse(text)) == text
    tangents = [random.standard_normal(arrays[i].shape) for i in pushed.wrt]
    results = run(pushed.graph, *arrays, *tangents)
    count = len(graph.outputs)
    primals = run(graph, *arrays)
    for ours, theirs in zip(results[:count], primals, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    derivative = differentiate(graph)
    seeds = seeds_for(graph, list(primals), random)
    forward = run(derivative.forward, *arrays)
    cotangents = run(derivative.backward, *seeds, *forward[count:])
    seed_of = dict(zip(derivative.seeded, seeds, strict=True))
    left = sum(
        float(np.vdot(seed_of[i], t)) for i, t in zip(pushed.reached, results[count:], strict=True) if i in seed_of
    )
    of_input = dict(zip(pushed.wrt, tangents, strict=True))
    right = sum(float(np.vdot(c, of_input[i])) for i, c in zip(derivative.reached, cotangents, strict=True))
    assert left == pytest.approx(right, rel=1e-9, abs=1e-9)
    compiled = compile_graph(pushed.graph, strict=True).run([np.array(x, order="C") for x in (*arrays, *tangents)])
    for ours, theirs in zip(compiled, results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=named)
def test_the_tangent_pairs_with_the_cotangent(op: Primitive) -> None:
    for number, sample in enumerate(differentiable_samples(op)):
        graph = graph_of(op, sample)
        if any(value.dtype is F64 for value in graph.outputs):
            paired(graph, [np.asarray(x) for x in sample.operands], number)


@pytest.mark.parametrize(("program", "types", "given"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_control_flow(program: Body, types: list[TensorType], given: dict[int, object]) -> None:
    graph = function("program", types, program)
    paired(graph, operands(graph, given))
