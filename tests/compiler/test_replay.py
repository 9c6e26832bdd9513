"""A replayed run computes what the compiled one does, bit by bit, inside kernels too."""

from __future__ import annotations

import numpy as np
import pytest

from adjit.compiler.observe import same_bits
from adjit.compiler.pipeline import compile_graph
from adjit.compiler.replay import replay
from adjit.execute import execute
from adjit.ir.graph import Graph
from adjit.runtime import interpreter
from tests.compiler.random_graphs import random_arrays, random_graph

SEEDS = [4, 14, 22, 24, 40, 74, 90, 93, 191, 211]


@pytest.mark.parametrize("seed", SEEDS)
def test_bits_of_random_programs(seed: int) -> None:
    graph = random_graph(seed)
    arrays = random_arrays(graph, seed, 5, 7)
    run = replay(graph, arrays, strict=False)
    assert run.inexact == []
    wanted = compile_graph(graph).run(arrays)
    assert all(same_bits(a, b) for a, b in zip(run.results, wanted, strict=True))


@pytest.mark.parametrize("seed", SEEDS[:5])
def test_values_on_the_way_are_the_interpreters(seed: int) -> None:
    graph = random_graph(seed)
    arrays = random_arrays(graph, seed, 3, 4)
    run = replay(graph, arrays, strict=True)
    values = [value for node in run.graph.nodes for value in node.outputs]
    opened = Graph("opened", run.graph.inputs, run.graph.nodes, values, run.graph.guards)
    wanted = dict(zip(values, interpreter.run(opened, *arrays, execute=execute), strict=True))
    assert run.steps
    for step in run.steps:
        for value in step.node.outputs:
            assert same_bits(step.values[value], wanted[value])


def test_bits_are_compared() -> None:
    one, nan = np.array([1.0, np.nan]), np.array([1.0, -np.nan])
    assert same_bits(one, nan) and not same_bits(one, one[::-1])
    assert not same_bits(np.zeros(1), -np.zeros(1)) and not same_bits(np.zeros(1), np.zeros(1, np.float32))
