"""Vectorisation: a program over a batch is a loop over its examples, for every choice of batched inputs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from adjit.compiler.differentiate import differentiate
from adjit.compiler.pipeline import compile_graph
from adjit.compiler.vectorize import vectorize
from adjit.ir.graph import Graph
from adjit.ir.parser import parse
from adjit.ir.primitive import Primitive
from adjit.ir.printer import format_graph
from adjit.ir.types import TensorType
from adjit.ir.verify import verify
from adjit.runtime.interpreter import run
from tests.compiler.test_control_flow import CASES, Body, operands
from tests.ir.laws import OPS, graph_of, named
from tests.samples import function, samples
from tests.sampling import Array

EXTENT = 2


def choices(count: int) -> list[tuple[bool, ...]]:
    """Every nonempty choice of up to three batched inputs; of more, one at a time and all."""
    if count <= 3:
        return [flags for flags in itertools.product((False, True), repeat=count) if any(flags)]
    return [*(tuple(place == chosen for place in range(count)) for chosen in range(count)), (True,) * count]


def reversed_(x: Array) -> Array:
    """The array's elements in reverse: integers stay valid as indices and counts."""
    return np.flip(x.reshape(-1)).reshape(x.shape)


def changed(x: Array) -> Array:
    """Another operand of its kind: the other truth value, a lower count, a number nearby."""
    if x.dtype == bool:
        return ~x
    return np.maximum(x - 1, 0) if x.dtype.kind == "i" else np.asarray(x * 0.9)


def looped(graph: Graph, arrays: Sequence[Array], flags: Sequence[bool]) -> list[tuple[Array, ...]]:
    return [
        run(graph, *(x[row] if flag else x for x, flag in zip(arrays, flags, strict=True))) for row in range(EXTENT)
    ]


def is_a_loop(graph: Graph, examples: Sequence[Array], flags: Sequence[bool], others: Sequence[Array]) -> None:
    """Vectorised over two examples, the program gives what it gives for each."""
    whole = [np.stack(pair) for pair in zip(examples, others, strict=True)]
    arrays = [w if flag else x for w, x, flag in zip(whole, examples, flags, strict=True)]
    found = vectorize(graph, flags, EXTENT)
    verify(found.graph)
    text = format_graph(found.graph)
    assert format_graph(parse(text)) == text
    rows = looped(graph, arrays, flags)
    for execute in (lambda: run(found.graph, *arrays), lambda: compile_graph(found.graph).run(arrays)):
        for result, flag, wanted in zip(execute(), found.batched, zip(*rows, strict=True), strict=True):
            expected = np.stack(wanted) if flag else wanted[0]
            tolerance = 1e-5 if expected.dtype == np.float32 else 1e-9
            np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("op", [op for op in OPS if op.name == "host_call"], ids=named)
def test_functions_of_the_host(op: Primitive) -> None:
    for sample in samples(op):
        examples = [np.array(x, order="C") for x in sample.operands]
        for flags in choices(len(examples)):
            is_a_loop(graph_of(op, sample), examples, flags, [reversed_(x) for x in examples])


@pytest.mark.parametrize(("program", "types", "given"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_control_flow(program: Body, types: list[TensorType], given: dict[int, object]) -> None:
    """Values, then gradients: the vectorised pullback is the pullback of each example."""
    graph = function("program", types, program)
    examples = operands(graph, given)
    if any(not isinstance(dim, int) for value in graph.inputs for dim in value.dims):
        graph = function("program", [t.with_dims(tuple(3 for _ in t.dims)) for t in types], program)
    for flags in choices(len(examples)):
        is_a_loop(graph, examples, flags, [changed(x) for x in examples])
    derivative = differentiate(graph)
    forward = run(derivative.forward, *examples)
    seeds = [np.ones_like(forward[i]) for i in derivative.seeded]
    given_back = [*seeds, *forward[len(graph.outputs) :]]
    flags = [True] * len(seeds) + [False] * (len(given_back) - len(seeds))
    is_a_loop(derivative.backward, given_back, flags, [x * 2 if x.dtype.kind == "f" else x for x in given_back])
