"""Groups hold what they should, every op is in one, and what is refused is explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adjit.compiler.fuse import LARGEST, fuse
from adjit.compiler.fuse_group import Grouping
from adjit.compiler.loops.lower import lower
from adjit.compiler.prepare import prepare
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Node
from adjit.ir.ops import contraction, reduction, structure
from adjit.ir.ops.arrays import permute, reshape, spread
from adjit.ir.shape import Dim
from adjit.ir.types import F32, TensorType
from adjit.ir.verify import verify
from tests.compiler.loop_interpreter import run
from tests.compiler.programs import PROGRAMS, Program, f32, graph_of, scalar
from tests.compiler.random_graphs import random_graph

N = Dim.named("n")
Function = Callable[..., Any]


def groups(function: Function, *types: TensorType) -> list[list[str]]:
    """The names of the ops in each group."""
    result = fuse(graph_of(function, types))
    verify(result)
    return [ops(node) for node in result.nodes]


def ops(node: Node) -> list[str]:
    return [inner.op.name for inner in node.regions[0].nodes if inner.op.name != "const"]


def dot(x: Any, y: Any) -> Any:
    return contraction.dot(x, y, contract=((1,), (0,)), batch=((), ()))


ROWS, WEIGHTS = f32(N, 64), f32(64, 64)


@pytest.mark.parametrize("seed", range(30))
def test_every_op_is_in_a_group(seed: int) -> None:
    graph = random_graph(seed, 30)
    result = prepare(graph)
    verify(result)
    assert {node.op.name for node in result.nodes} <= {"fuse"}


def test_control_flow_stays_and_its_regions_are_fused() -> None:
    result = prepare(PROGRAMS["controlled"].graph())
    outside = [node for node in result.nodes if node.op.name != "fuse"]
    assert [node.op.name for node in outside] == ["cond", "while", "scan"]
    inside = [inner for node in outside for region in node.regions for inner in region.nodes]
    assert {node.op.name for node in inside} == {"fuse"}


def test_a_chain_is_one_group() -> None:
    assert groups(lambda x: scalar("tanh")(scalar("exp")(x) + 1.0) * x, ROWS) == [["exp", "add", "tanh", "mul"]]


def test_results_of_one_loop_are_one_group() -> None:
    def function(x: Any, y: Any) -> Any:
        z = scalar("exp")(x)
        return z, z + y, scalar("sin")(y)

    assert len(groups(function, ROWS, ROWS)) == 1


def test_strangers_are_not_joined() -> None:
    assert len(groups(lambda x, y: (scalar("sin")(x), scalar("sin")(y)), ROWS, ROWS)) == 2


def test_producers_join_a_sum_and_a_sum_joins_its_epilogue() -> None:
    found = groups(lambda x: reduction.reduce_sum(scalar("exp")(x), axes=(0,)) * 2.0, ROWS)
    assert found == [["exp", "reduce_sum", "mul"]]


def test_dear_values_are_computed_once() -> None:
    def function(x: Any) -> Any:
        y = scalar("exp")(x)
        return permute(y, (1, 0)) + 1.0, y + x

    found = groups(function, f32(64, 64))
    assert sum(names.count("exp") for names in found) == 1


def test_cheap_values_are_computed_again() -> None:
    def function(x: Any) -> Any:
        y = x + 1.0
        return permute(y, (1, 0)) * 2.0, reduction.reduce_sum(y, axes=(0, 1))

    found = groups(function, f32(64, 64))
    assert [names.count("add") for names in found] == [1, 1]


def test_views_join_a_contraction_and_so_does_its_layout() -> None:
    def function(x: Any, w: Any) -> Any:
        y = dot(structure.pad(x, low=(0, 0), high=(1, 0), interior=(0, 0), value=0) * 2.0, w)
        return reshape(permute(y, (1, 0)), (64 * (N + 1),))

    assert groups(function, ROWS, WEIGHTS) == [["pad", "mul", "dot", "permute", "reshape"]]


def test_dear_values_are_stored_before_a_contraction() -> None:
    found = groups(lambda x, w: dot(scalar("exp")(x), w), ROWS, WEIGHTS)
    assert found == [["exp"], ["dot"]]


def test_heads_are_split_by_the_contraction() -> None:
    (group,) = prepare(PROGRAMS["heads"].graph()).nodes
    assert ops(group) == ["reshape", "dot", "permute"]


def test_what_is_read_in_another_order_is_stored_in_it() -> None:
    def program(x: Any, w: Any) -> Any:
        rows = reshape(permute(x * x + x, perm=(1, 0, 2)), shape=(96, 64))
        return reduction.reduce_sum(rows, axes=(0,)), dot(rows, w), dot(rows + 1, w)

    assert groups(program, f32(4, 24, 64), f32(64, 64))[0] == ["mul", "add", "permute"]


def test_a_sum_joins_the_copy_that_moves_it() -> None:
    found = groups(lambda x: permute(reduction.reduce_sum(x, axes=(0,)), (1, 0)), f32(3, 40, 50))
    assert found == [["reduce_sum", "permute"]]


@pytest.mark.parametrize("name", ["softmax", "normalized"])
def test_rows_are_one_group(name: str) -> None:
    result = prepare(PROGRAMS[name].graph())
    assert [node.attributes.get("rows") for node in result.nodes] == [1]


def test_few_rows_are_not_gone_through_row_by_row() -> None:
    def function(x: Any) -> Any:
        y = scalar("exp")(x)
        return y / spread(reduction.reduce_sum(y, axes=(1,)), x.shape, (1,))

    assert len(groups(function, f32(64, 64))) == 1
    assert len(groups(function, f32(4, 1024))) > 1


def test_no_cycle_through_another_kernel() -> None:
    """x -> exp -> whole sum -> times exp: the product needs the sum of its own producer's kernel."""

    def function(x: Any) -> Any:
        y = scalar("exp")(x)
        return y * reduction.reduce_sum(y, axes=(0, 1))

    assert groups(function, ROWS) == [["exp"], ["reduce_sum"], ["mul"]]


def test_refusals_say_why() -> None:
    result = prepare(Program(lambda x, w: reduction.reduce_max(dot(x, w), axes=(1,)), (ROWS, WEIGHTS)).graph())
    groupings = [node.attached for node in result.walk() if isinstance(node.attached, Grouping)]
    reasons = [str(refusal) for grouping in groupings for refusal in grouping.refused]
    assert reasons == ["dot into reduce_max: a product's kernel only does arithmetic on its sums"]


def test_kernels_are_bounded_and_long_programs_are_quick() -> None:
    graph = Graph("long")
    builder = Builder(graph)
    x = y = builder.expr(builder.input(TensorType(F32, (N,)), "x"))
    for number in range(5000):
        y = scalar("sin")(y) + x if number % 3 else y * 0.5
    graph.outputs = (y.value,)
    result = prepare(graph)
    sizes = [sum(inner.op.name != "const" for inner in node.regions[0].nodes) for node in result.nodes]
    assert max(sizes) <= LARGEST
    assert len(sizes) <= 2 * (sum(sizes) // LARGEST + 1)
    array = np.linspace(-1, 1, 3, dtype=np.float32)
    expected = array
    for number in range(5000):
        expected = np.sin(expected) + array if number % 3 else expected * np.float32(0.5)
    (found,) = run(lower(result), [array])
    np.testing.assert_allclose(found, expected, 1e-4)


def test_groups_that_meet_in_one_consumer_become_one() -> None:
    def function(x: Any, y: Any) -> Any:
        left, right = scalar("exp")(x), scalar("tanh")(y)
        return left, right, left * right

    assert groups(function, *(TensorType(F32, (1000,)) for _ in range(2))) == [["exp", "tanh", "mul"]]
