"""From the user's lines to every stage of the compiler and back: locations of nodes, and `source_map`."""

from __future__ import annotations

import json
from typing import Any

import pytest

import adjit as torch
from adjit import nn
from adjit.compiler.pipeline import stages
from adjit.demo import Trainer
from adjit.inspection.source_map import Place, SourceMap
from adjit.ir.graph import Graph

BLOCK = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
LSTM = nn.LSTM(4, 5, batch_first=True)


def block_loss(x: Any) -> Any:
    normal = BLOCK(x)
    return (normal * normal).sum()


def small(x: Any, w: Any) -> Any:
    hidden = torch.tanh(x @ w)
    scaled = hidden.exp() / 2 + torch.relu(hidden)
    return scaled.sum()


@pytest.fixture(scope="module")
def digits_step() -> tuple[Any, Any, Any]:
    step = torch.compile(Trainer(0).step)
    return step, torch.randn(4, 1, 28, 28), torch.tensor([1, 2, 3, 0])


@pytest.fixture(scope="module")
def digits_map(digits_step: tuple[Any, Any, Any]) -> SourceMap:
    step, images, labels = digits_step
    found: SourceMap = step.source_map(images, labels)
    return found


@pytest.fixture(scope="module")
def block_map() -> SourceMap:
    found: SourceMap = torch.compile(block_loss).source_map(torch.randn(2, 3, 8, requires_grad=True))
    return found


def check_located(graph: Graph, names: set[str]) -> None:
    for stage, after in stages(graph):
        for node in after.walk():
            if node.op.name != "const":
                location = node.location
                assert location.file in names and location.line > 0, (stage, node)
                assert location.span and location.span in location.expression, (stage, node)


def test_every_op_of_the_digits_network_has_a_place_after_every_stage(digits_step: tuple[Any, Any, Any]) -> None:
    step, images, labels = digits_step
    graph = step.graph(images, labels)
    check_located(graph, {"demo.py"})
    assert any(node.location.origin == "∂" for node in graph.walk())


def test_every_op_of_a_transformer_block_has_a_place_after_every_stage() -> None:
    loss, x = torch.compile(block_loss), torch.randn(2, 3, 8, requires_grad=True)
    check_located(loss.graph(x), {"test_inspection_map.py"})
    check_located(loss.backward_graph(x), {"test_inspection_map.py"})


def lstm_loss(x: Any) -> Any:
    return LSTM(x)[0].sum()


def complex_loss(x: Any) -> Any:
    z = torch.complex(x, x * 2)
    return (z * z.conj()).real.sum()


def mapped(x: Any) -> Any:
    return torch.vmap(lambda row: row.softmax(0).sin())(x).sum()


@pytest.mark.parametrize("function", [lstm_loss, complex_loss, mapped])
def test_loops_complex_numbers_and_batches_keep_their_places(function: Any) -> None:
    x = torch.randn(2, 3, 4) if function is lstm_loss else torch.randn(3, 4)
    compiled = torch.compile(function)
    check_located(compiled.graph(x), {"test_inspection_map.py"})
    check_located(compiled.backward_graph(x, wrt=["x"]), {"test_inspection_map.py"})


@pytest.mark.parametrize("program", ["forward", "backward"])
def test_instructions_of_the_block_stand_at_lines(block_map: SourceMap, program: str) -> None:
    assert block_map.coverage(program) >= 0.95
    assert block_map.coverage(program, exact=True) >= 0.95


def test_instructions_of_the_digits_network_stand_at_lines(digits_map: SourceMap) -> None:
    assert digits_map.coverage() >= 0.95
    assert digits_map.coverage(exact=True) >= 0.95
    lines = {place.line for row in digits_map.text("asm").rows for place in row.places}
    assert len(lines) >= 6


def test_the_map_answers_both_ways(block_map: SourceMap, digits_map: SourceMap) -> None:
    for found in (block_map, digits_map):
        for place in found.places:
            for (program, stage), rows in found.rows(place).items():
                for row in rows:
                    assert place in found.lines(stage, row.number, program)
                    assert found.text(stage, program).rows[row.number - 1] is row
    addresses = [row.address for row in digits_map.text("asm").rows if row.address is not None]
    assert addresses == sorted(set(addresses))
    row = digits_map.at_address(addresses[len(addresses) // 2])
    assert row.places and row.kernels


def test_a_line_leads_to_its_kernels_and_machine_code() -> None:
    x, w = torch.randn(6, 5), torch.randn(5, 4, requires_grad=True)
    found = torch.compile(small).source_map(x, w)
    first = small.__code__.co_firstlineno
    place = next(place for place in found.places if place.line == first + 2)
    rows = found.rows(place)
    assert {program for program, _ in rows} == {"forward", "backward"}
    assert [row.text.split()[2] for row in rows["forward", "trace"]] == ["exp", "div", "relu", "add"]
    spans = [found.sources[place.path][place.line][row.column - 1 : row.end_column - 1]
             for row in rows["forward", "trace"]]  # fmt: skip
    assert spans == ["hidden.exp()", "hidden.exp() / 2", "torch.relu(hidden)", "hidden.exp() / 2 + torch.relu(hidden)"]
    for stage in ("legalize", "simplify", "fuse", "lower", "llvm", "asm"):
        assert any(row.kernels for row in rows["forward", stage]), stage
    backward = rows["backward", "trace"]
    assert all("differentiate" in row.made[0] for row in backward if row.origin)
    assert "small" in str(found) and f"test_inspection_map.py:{place.line}    " in str(found)
    assert found.rows(place.line, "test_inspection_map.py") == rows


def test_a_map_is_plain_data(block_map: SourceMap) -> None:
    again = json.loads(json.dumps(block_map.as_dict()))
    assert [text["stage"] for text in again["texts"]] == [stage for _, stage in block_map.stages]
    assert again["name"] == "block_loss"


def test_a_rule_that_made_a_node_is_named() -> None:
    def twice(x: Any) -> Any:
        return torch.nn.functional.gelu(x.reshape(6).reshape(3, 2)).half()

    found = torch.compile(twice).source_map(torch.randn(2, 3))
    legalized = {made for row in found.text("legalize").rows for made in row.made}
    assert any(made.startswith("legalize: gelu") for made in legalized)
    simplified = {made for row in found.text("simplify").rows for made in row.made}
    assert "simplify: reshape twice" in simplified


def test_captured_control_flow_keeps_its_columns() -> None:
    def branch(x: Any) -> Any:
        if x.sum() > 0:
            return x.exp() * 2
        return x

    graph = torch.compile(branch).graph(torch.ones(3))
    spans = {node.op.name: node.location.span for node in graph.walk()}
    assert spans["exp"] == "x.exp()"
    assert spans["reduce_sum"] == "x.sum()"


def test_a_program_from_text_maps_the_lines_it_names() -> None:
    text = "func @f(%x: f32[4]) -> (f32[4]) {\n  %0 = exp %x : f32[4]  # model.py:7\n  return %0\n}"
    found = torch.parse(text).source_map()
    assert found.places == (Place("model.py", 7),)
    assert found.rows(7)["forward", "asm"]


def test_equal_operations_of_two_lines_keep_both() -> None:
    def twice(x: Any) -> Any:
        first = x.exp()
        second = x.exp()
        return first * second

    found = torch.compile(twice).source_map(torch.ones(3))
    first = twice.__code__.co_firstlineno
    for stage in ("simplify", "fuse"):
        (row,) = [row for row in found.text(stage).rows if " = exp " in row.text]
        assert [place.line for place in row.places] == [first + 1, first + 2]
