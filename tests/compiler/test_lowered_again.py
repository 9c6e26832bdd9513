"""Groups of one form are lowered once, and give the kernels that they would have by themselves."""

from __future__ import annotations

import re
from typing import Any

import pytest

import adjit as torch
from adjit.compiler.loops import again, lower
from adjit.compiler.pipeline import lowered, stages
from adjit.ir.graph import Graph
from adjit.ir.journal import recorded
from adjit.ir.verify import verify


def layers(x: Any, weights: Any) -> Any:
    for number, weight in enumerate(weights):
        x = torch.softmax(torch.tanh(x @ weight), dim=1) + x * (number // 2 + 1)
    return x.cumsum(0).sum()


def program(depth: int = 6) -> Graph:
    torch.manual_seed(0)
    x, weights = torch.randn(40, 24), [torch.randn(24, 24, requires_grad=True) for _ in range(depth)]

    def step(x: Any, weights: Any) -> Any:
        return torch.autograd.grad(layers(x, weights), weights)

    return torch.compile(step).graph(x, weights)


def without_names(graph: Graph) -> str:
    """The text with values numbered in the order in which they stand."""
    names: dict[str, str] = {}
    text = re.sub(r"%[\w.]+", lambda found: names.setdefault(found[0], f"%{len(names)}"), str(graph))
    return re.sub(" +", " ", text)  # columns are as wide as names


@pytest.mark.parametrize("strict", [False, True])
def test_kernels_are_those_of_groups_lowered_one_by_one(strict: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, calls, original = program(), [], lower.lower_group
    monkeypatch.setattr(lower, "lower_group", lambda *given: (calls.append(1), original(*given))[1])
    once = lowered(graph, strict=strict)
    few = len(calls)
    verify(once)
    monkeypatch.setattr(again, "_form", lambda node, used: None)
    singly = lowered(graph, strict=strict)
    assert without_names(once) == without_names(singly)
    assert few < len(calls) - few
    kernels = [node for node in once.walk() if node.op.name == "kernel"]
    assert len({id(node.regions[0]) for node in kernels}) == len(kernels) == len(calls) - few


def test_who_asks_for_places_gets_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, calls, original = program(), [], lower.lower_group
    monkeypatch.setattr(lower, "lower_group", lambda *given: (calls.append(1), original(*given))[1])
    with recorded():
        groups = [sum(node.op.name == "fuse" for node in shot.walk()) for name, shot in stages(graph) if name == "fuse"]
    assert len(calls) == groups[0]


def test_lines_of_the_user_stay_apart() -> None:
    def two(x: Any, y: Any) -> Any:
        a = torch.sin(x).cumsum(0)
        b = torch.sin(y).cumsum(0)
        return a, b

    shown = lowered(torch.compile(two).graph(torch.randn(9, 7), torch.randn(9, 7)))
    lines = {node.location.line for kernel in shown.nodes for node in kernel.regions[0].walk() if node.location.line}
    assert len(lines) == 2
