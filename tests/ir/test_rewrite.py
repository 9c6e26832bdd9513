"""Copies and rewrites: sound results, same meaning, names and locations kept, and no more changed than asked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given

from adjit.ir.analysis import (
    bound_sizes,
    callees,
    captured,
    count_ops,
    last_uses,
    match_sizes,
    size_names_used,
    users,
)
from adjit.ir.builder import Builder
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.errors import ShapeError, VerifyError
from adjit.ir.graph import Graph, Location, Node, Value
from adjit.ir.hashing import structural_hash
from adjit.ir.ops import control, named, scalar, structure
from adjit.ir.parser import parse
from adjit.ir.printer import format_graph
from adjit.ir.rewrite import clone, inline, inline_calls, rewrite, substitute_sizes
from adjit.ir.shape import Dim
from adjit.ir.types import F32, TensorType
from adjit.ir.verify import verify
from tests.ir.random_graphs import graphs

N, M = Dim.named("n"), Dim.named("m")

assert named.scalar is not None and structure.expand is not None

NESTED = """\
func @f(%p: bool[], %x: f32[n, m]) -> (f32[n, m]) where n >= 2 {
  %y = square %x                 : f32[n, m]  # user.py:1
  %dead = exp %x                 : f32[n, m]  # user.py:2
  %c, %unused = cond %p, %y      : f32[n, m], f32[n, m]  # user.py:3
    region(%a: f32[n, m]) {
      %dead_1 = log %a   : f32[n, m]  # user.py:4
      %0 = square %a     : f32[n, m]  # user.py:5
      return %0, %a
    }
    region(%b: f32[n, m]) {
      %1 = call %b {callee=@g} : f32[n, m]  # user.py:6
      return %1, %b
    }
  return %c
}
func @g(%z: f32[k, l]) -> (f32[k, l]) {
  %s = square %z                    : f32[k, l]  # user.py:9
  %e = expand 1.0:f32 {shape=[k, l]} : f32[k, l]
  %t = mul %s, %e                   : f32[k, l]
  %u = mul %t, l                    : f32[k, l]
  return %u
}"""


def nested() -> Graph:
    graph = parse(NESTED)
    verify(graph)
    return graph


def expand_square(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    """square(x) = x*x."""
    if node.op.name != "square":
        return None
    x = builder.expr(operands[0])
    return [(x * x).value]


# -- copies -----------------------------------------------------------------------------------------------------------
@given(graphs())
def test_a_clone_is_equal_and_shares_nothing(graph: Graph) -> None:
    copy = clone(graph)
    verify(copy)
    assert structural_hash(copy) == structural_hash(graph)
    assert format_graph(copy) == format_graph(graph)
    assert not {node for node in copy.walk()} & {node for node in graph.walk()}
    assert not set(copy.inputs) & set(graph.inputs)


@given(graphs())
def test_named_sizes_become_others(graph: Graph) -> None:
    graph.guards = graph.guards[:1]
    fixed = substitute_sizes(graph, {"n": 5, "m": M + 1})
    verify(fixed)
    assert fixed.guards == ()
    assert "n" not in size_names_used(fixed)
    assert [str(v.type) for v in fixed.inputs] == ["f32[5, m + 1]", "f64[5]", "i64[m + 1]", "bool[]"]


def test_sizes_that_break_a_guard_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"@f needs sizes that it does not get: 1 >= 2 does not hold"):
        substitute_sizes(nested(), {"n": 1})


def test_a_region_is_inlined_at_other_sizes() -> None:
    (callee,) = callees(nested())
    graph = Graph("h")
    builder = Builder(graph, Location("here.py", 1))
    x = builder.input(TensorType(F32, (3, N)), "x")
    graph.outputs = inline(builder, callee, (x,))
    verify(graph)
    assert format_graph(graph) == (
        "func @h(%x: f32[3, n]) -> (f32[3, n]) {\n"
        "  %s = square %x                     : f32[3, n]  # user.py:9\n"
        "  %e = expand 1.0:f32 {shape=[3, n]} : f32[3, n]  # here.py:1\n"
        "  %t = mul %s, %e                    : f32[3, n]  # here.py:1\n"
        "  %u = mul %t, n                     : f32[3, n]  # here.py:1\n"
        "  return %u\n}"
    )
    assert inline(builder, callee, (x,), location=Location("one.py", 2))
    assert {node.location.file for node in graph.nodes[-3:]} == {"one.py"}


def test_inlining_checks_the_number_of_arguments() -> None:
    with pytest.raises(VerifyError, match="a region of 1 inputs is given 0 arguments"):
        inline(Builder(Graph("h")), callees(nested())[0], ())


def test_calls_are_inlined_everywhere() -> None:
    flat = inline_calls(nested())
    verify(flat)
    assert count_ops(flat)["call"] == 0
    assert "%u = mul %t, m" in format_graph(flat)
    assert structural_hash(inline_calls(flat)) == structural_hash(flat)
    assert inline_calls(flat) is flat


# -- rewriting --------------------------------------------------------------------------------------------------------
def test_a_rule_reaches_regions_and_callees() -> None:
    graph = nested()
    text = format_graph(graph)
    result = rewrite(graph, expand_square)
    verify(result)
    assert format_graph(graph) == text
    assert count_ops(result)["square"] == sum(count_ops(each)["square"] for each in callees(result)) == 0
    printed = format_graph(result)
    assert "%y = mul %x, %x" in printed and "# user.py:1" in printed
    assert "%0 = mul %a, %a" in printed and "# user.py:5" in printed
    assert "%s = mul %z, %z" in printed and "# user.py:9" in printed


def test_a_rule_may_leave_callees_alone() -> None:
    result = rewrite(nested(), expand_square, follow_calls=False)
    assert [count_ops(each)["square"] for each in callees(result)] == [1]


@given(graphs())
def test_keeping_everything_gives_the_same_graph(graph: Graph) -> None:
    assert rewrite(graph, lambda builder, node, operands: None) is graph


@given(graphs())
def test_replacing_nodes_by_equal_ones_changes_nothing(graph: Graph) -> None:
    def again(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.regions or node.op.name == "const":
            return None
        return builder.emit(node.op, operands, node.attributes).outputs

    result = rewrite(graph, again, follow_calls=False)
    verify(result)
    assert format_graph(result) == format_graph(graph)


def test_values_may_be_replaced_by_older_ones() -> None:
    graph = parse(
        "func @f(%x: f32[n]) -> (f32[n]) {\n  %a = neg %x : f32[n]\n  %b = neg %a : f32[n]\n"
        "  %c = exp %b : f32[n]\n  return %c\n}"
    )

    def cancel(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        inner = operands[0].node
        double = node.op is scalar.neg and inner is not None and inner.op is scalar.neg
        return [inner.inputs[0]] if double and inner is not None else None

    result = eliminate_dead(rewrite(graph, cancel))
    verify(result)
    assert result.outputs[0].name == "c"
    assert [node.op.name for node in result.nodes] == ["exp"]
    assert graph.nodes[2].inputs[0] is graph.nodes[1].output


def test_constants_are_shared_with_those_that_stay() -> None:
    graph = parse(
        "func @f(%x: f32[n]) -> (f32[n]) {\n  %0 = mul %x, 2.0 : f32[n]\n  %1 = neg %0 : f32[n]\n  return %1\n}"
    )

    def double(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        return [(builder.expr(operands[0]) * 2.0).value] if node.op is scalar.neg else None

    assert count_ops(rewrite(graph, double)) == {"const": 1, "mul": 2}


def test_replacements_must_have_the_types() -> None:
    def wrong(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        return [builder.constant(0, F32)] if node.op.name == "square" else None

    with pytest.raises(VerifyError, match=r"square of \(f32\[k, l\]\) is replaced by values of \(f32\[\]\)"):
        rewrite(nested(), wrong)


# -- what is dead -----------------------------------------------------------------------------------------------------
def test_dead_nodes_go_in_regions_too() -> None:
    graph = nested()
    result = eliminate_dead(graph)
    verify(result)
    assert "%dead" not in format_graph(result)
    assert "%dead" in format_graph(graph)
    assert "%unused" not in format_graph(result)
    assert result.inputs == graph.inputs
    assert eliminate_dead(result) is result


@given(graphs())
def test_what_stays_is_live(graph: Graph) -> None:
    result = eliminate_dead(graph)
    verify(result)
    assert eliminate_dead(result) is result
    assert [v.type for v in result.outputs] == [v.type for v in graph.outputs]


def test_calls_of_the_host_stay() -> None:
    graph = parse(
        "func @f(%p: bool[]) -> () {\n  %0 = host_call %p {function=\"log\", types=[bool[]]} : bool[]\n"
        "  %1 = cond %p : bool[]\n    region() {\n      %2 = call true {callee=@g} : bool[]\n      return %2\n    }\n"
        "    region() {\n      return false\n    }\n  %3 = not %p : bool[]\n}\n"
        "func @g(%q: bool[]) -> (bool[]) {\n  %0 = host_call %q {function=\"log\", types=[bool[]]} : bool[]\n"
        "  return %q\n}"
    )
    verify(graph)
    assert [node.op.name for node in eliminate_dead(graph).nodes] == ["host_call", "cond"]


# -- questions --------------------------------------------------------------------------------------------------------
@given(graphs())
def test_users_and_lifetimes_agree(graph: Graph) -> None:
    for value, uses in users(graph).items():
        assert all(node.inputs[index] is value for node, index in uses)
    assert sum(map(len, users(graph).values())) == sum(len(node.inputs) for node in graph.walk())
    alive: set[Value] = set(graph.inputs)
    for node, ending in zip(graph.nodes, last_uses(graph), strict=True):
        assert alive.issuperset(node.inputs)
        alive.update(node.outputs)
        assert alive.issuperset(ending)
        alive.difference_update(ending)
    assert alive.issuperset(graph.outputs)


def test_isolated_regions_capture_nothing() -> None:
    (branch,) = [node for node in nested().nodes if node.op is control.cond]
    assert captured(branch) == ()


def test_sizes_are_read_off_shapes() -> None:
    assert match_sizes([(N, 2 * M + 1)], [(4, 7)]) == {"n": 4, "m": 3}
    assert match_sizes([(N + M, N)], [(9, 4)]) == {"n": 4, "m": 5}
    assert match_sizes([(2 * N,)], [(7,)]) == {}
    assert match_sizes([(N,)], [(M + 1,)]) == {"n": M + 1}
    assert bound_sizes([Value(TensorType(F32, (N * M, N)))]) == {"n"} | {"m"} - {"m"}


def test_a_long_chain_is_rewritten() -> None:
    graph = Graph("chain")
    builder = Builder(graph)
    y = builder.expr(builder.input(TensorType(F32, ()), "x"))
    for _ in range(20_000):
        y = named.square(y)  # type: ignore[attr-defined]
    graph.outputs = (y.value,)
    result = eliminate_dead(rewrite(clone(graph), expand_square))
    assert count_ops(result) == {"mul": 20_000}


@pytest.mark.parametrize("inner_first", [False, True])
def test_a_rule_sees_regions_before_or_after_it_went_through_them(inner_first: bool) -> None:
    graph = parse(NESTED)
    before, seen = format_graph(graph), []

    def rule(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.regions:
            seen.append([inner.op.name for inner in node.regions[0].nodes])
            return builder.emit(node.op, operands, node.attributes, node.regions).outputs if inner_first else None
        if node.op.name != "square":
            return None
        return builder.emit(scalar.mul, (operands[0], operands[0])).outputs

    found = rewrite(graph, rule, follow_calls=False, inner_first=inner_first)
    verify(found)
    assert seen == [["log", "mul" if inner_first else "square"]]
    assert count_ops(found)["square"] == 0 and count_ops(found)["mul"] == 2
    assert format_graph(graph) == before
