"""Drawings: boxes apart, arrows that go on, gradients in their lane; text for other tools; names are never markup."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adjit.compiler.differentiate import differentiate
from adjit.ir import ops as _ops  # noqa: F401 - the registry
from adjit.ir.drawing import DERIVATIVE, PROGRAM, UPDATE, graph_svg, picture, to_svg
from adjit.ir.graph import Graph
from adjit.ir.layout import layout
from adjit.ir.parser import parse

CHAIN = """\
func @chain(%x: f32[4, 3], %w: f32[3, 1], %t: f32[4, 1]) -> (f32[4, 1]) {
  %0 = dot %x, %w {contract=[[1], [0]], batch=[[], []]} : f32[4, 1]  # train.py:3
  %1 = sigmoid %0                                       : f32[4, 1]  # train.py:4
  %2 = sub %1, %t                                       : f32[4, 1]  # train.py:5
  %3 = square %2                                        : f32[4, 1]  # train.py:5
  return %3
}"""
STEP = """\
func @step(%x: f32[3], %w: f32[3], %lr: f32[]) -> (f32[3], f32[3]) writes(%w <- 1) {
  %0 = mul %x, %w          : f32[3]  # train.py:3
  %1 = exp %0              : f32[3]  # train.py:3
  %2 = mul %1, %x          : f32[3]  # ∂ train.py:3
  %3 = expand %lr {shape=[3]} : f32[3]  # train.py:9
  %4 = mul %2, %3          : f32[3]  # train.py:9
  %5 = sub %w, %4          : f32[3]  # train.py:9
  return %1, %5
}"""


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[tuple[float, float]], list[tuple[int, int]], list[int]]:
    count = draw(st.integers(1, 30))
    sizes = [(draw(st.floats(20, 200)), draw(st.floats(20, 50))) for _ in range(count)]
    edges = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=60))
    lanes = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    return sizes, sorted({(min(e), max(e)) for e in edges if e[0] != e[1]}), lanes


@given(networks())
def test_boxes_stand_apart_and_arrows_run_on(
    network: tuple[list[tuple[float, float]], list[tuple[int, int]], list[int]],
) -> None:
    sizes, edges, lanes = network
    found = layout(sizes, edges, lanes, frozenset({1}))
    boxes = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in zip(found.centres, sizes, strict=True)]
    for left, top, right, bottom in boxes:
        assert -0.01 <= left < right <= found.width + 0.01
        assert -0.01 <= top < bottom <= found.height + 0.01
    for a, b in combinations(boxes, 2):
        assert a[2] < b[0] + 0.01 or b[2] < a[0] + 0.01 or a[3] < b[1] + 0.01 or b[3] < a[1] + 0.01
    for (source, target), route in zip(edges, found.routes, strict=True):
        if lanes[source] == lanes[target]:
            ys = [y for _, y in route]
            assert ys == sorted(ys, reverse=lanes[source] == 1)
            assert len(route) >= 2


def test_an_edge_bends_around_the_box_between() -> None:
    found = layout([(60, 20)] * 3, [(0, 1), (1, 2), (0, 2)])
    (_, middle, _) = found.routes[2]
    assert abs(middle[0] - found.centres[1][0]) > 30


def test_many_boxes_are_placed_quickly_enough_to_look_at() -> None:
    edges = [(i, i + 1) for i in range(999)] + [(i, min(999, i * 7 % 999 + i)) for i in range(0, 900, 3)]
    found = layout([(80, 30)] * 1000, sorted({e for e in edges if e[0] < e[1]}))
    assert len(found.centres) == 1000


def test_forward_backward_and_update_have_lanes() -> None:
    lanes = {box.title: box.lane for box in picture(parse(STEP)).boxes}
    assert lanes == {
        "%x": PROGRAM, "%w": PROGRAM, "mul": UPDATE, "exp": PROGRAM, "%lr": UPDATE, "expand": UPDATE, "sub": UPDATE,
    }  # fmt: skip
    muls = [box.lane for box in picture(parse(STEP)).boxes if box.title == "mul"]
    assert muls == [PROGRAM, DERIVATIVE, UPDATE]
    svg = graph_svg(parse(STEP))
    assert all(f">{name}</text>" in svg for name in ("forward", "backward", "update"))


def test_a_function_and_its_derivative_in_one_picture() -> None:
    derivative = differentiate(parse(CHAIN))
    found = picture(derivative.forward, derivative.backward, derivative.residuals)
    boxes = {box.text.partition(":")[0]: n for n, box in enumerate(found.boxes)}
    assert found.boxes[boxes["%d0"]].lane == DERIVATIVE
    crossing = [(found.boxes[s], found.boxes[t]) for s, t in found.arrows if found.boxes[s].lane < found.boxes[t].lane]
    assert "sigmoid" in {source.title for source, _ in crossing}
    assert [box.title for box in found.boxes if box.kind == "input"].count("%g") == 1
    assert {box.text.split(":")[0] for box in found.boxes if box.result} == {"%3", "%dx", "%dw", "%dt"}
    assert all(box.lane == PROGRAM for box in picture(derivative.backward).boxes)


def test_every_box_and_arrow_is_in_the_svg() -> None:
    found = picture(parse(CHAIN))
    root = ElementTree.fromstring(to_svg(found, lambda box: {"data-kind": box.kind}))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{space}g[@data-kind]")) == len(found.boxes) == 7
    assert len(root.findall(f".//{space}path")) == len(found.arrows) == 6
    texts = [text.text for text in root.iter(f"{space}text")]
    assert "dot" in texts
    assert "%0: f32[4, 1]" in texts


def test_large_graphs_are_drawn_by_line() -> None:
    body = "".join(f"  %{i + 1} = mul %{i or 'x'}, 2.0 : f32[3]  # train.py:{i // 50}\n" for i in range(700))
    text = f"func @long(%x: f32[3]) -> (f32[3]) {{\n{body}  return %700\n}}"
    found = picture(parse(text))
    groups = [box for box in found.boxes if box.kind != "input"]
    assert sum(len(box.nodes) for box in groups) == 700
    assert 14 <= len(groups) < 350
    assert all(len({node.location.line for node in box.nodes}) == 1 for box in groups)
    assert groups[0].title == "train.py:0"
    assert groups[0].text == f"{len(groups[0].nodes)} operations"
    assert len(found.arrows) == len(groups)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'a"b\\c', "x & y", "](javascript:1)"])
def test_names_never_become_markup(name: str) -> None:
    graph = parse(CHAIN)
    graph = Graph(name, graph.inputs, graph.nodes, graph.outputs)
    graph.inputs[0].name = name
    for text in (graph.to_svg(), graph._repr_html_()):
        assert "<script" not in text
    ElementTree.fromstring(graph.to_svg())
    for line in graph.to_dot().splitlines():
        assert len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) % 2 == 0
    assert "<script" not in graph.to_mermaid()
    assert "](" not in graph.to_mermaid()


def test_dot_and_mermaid_have_every_box_and_arrow() -> None:
    graph = parse(CHAIN)
    dot, mermaid = graph.to_dot(), graph.to_mermaid()
    assert dot.startswith('digraph "chain" {')
    assert (dot.count("[label="), dot.count(" -> ")) == (7, 6)
    assert mermaid.startswith("flowchart TD\n")
    assert (mermaid.count("<br/>"), mermaid.count("-->")) == (7, 6)
    assert 'b2["dot<br/>#37;0: f32#91;4, 1#93;"]' in mermaid


def test_a_graph_in_a_notebook_shows_its_text_and_drawing() -> None:
    html = parse(CHAIN)._repr_html_()
    assert '<span class="adjit-op">sigmoid</span>' in html
    assert "<summary>drawing</summary>" in html
    assert "@chain: 3 inputs, 4 operations" in html
