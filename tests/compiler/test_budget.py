"""The choice between saving and recomputing under a budget: fewer bytes kept, the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.budget import within
from adjit.compiler.differentiate import Derivative, differentiate
from adjit.ir.graph import Graph
from adjit.ir.verify import verify
from adjit.runtime.interpreter import run

F = Callable[..., Any]
X = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
W = torch.linspace(-0.5, 0.5, 36, dtype=torch.float64).reshape(6, 6)


def chain(x: Any, w: Any) -> Any:
    for _ in range(12):
        x = torch.sin(x)
    return (x**2).sum()


def layers(x: Any, w: Any) -> Any:
    for _ in range(4):
        x = torch.tanh(w @ x)
    return x


def recurrence(x: Any, w: Any) -> Any:
    h, ys = torch.scan(lambda h, row: (torch.tanh(h + row), torch.exp(h)), x, w)
    return h.sum() + (ys**2).sum()


def branch(x: Any, w: Any) -> Any:
    return torch.cond(x.sum() > 0, lambda x: torch.exp(torch.sin(x)), torch.cos, (torch.softmax(x * x, 0),)).sin()


PROGRAMS: dict[str, F] = {f.__name__: f for f in (chain, layers, recurrence, branch)}


def kept(derivative: Derivative) -> int:
    own = {*derivative.forward.inputs, *derivative.forward.outputs[: -len(derivative.residuals) or None]}
    return sum(8 * v.type.size for v in derivative.residuals if v not in own)  # type: ignore[misc]


def gradients(graph: Graph, derivative: Derivative) -> list[Any]:
    forward = run(derivative.forward, X.numpy(), W.numpy())
    count = len(graph.outputs)
    seeds = [np.ones_like(forward[index]) for index in derivative.seeded]
    return list(run(derivative.backward, *seeds, *forward[count:]))


@pytest.mark.parametrize("share", [1.0, 0.5, 0.2, 0.0])
@pytest.mark.parametrize("name", PROGRAMS)
def test_fewer_bytes_and_the_same_gradients(name: str, share: float) -> None:
    graph = torch.compile(PROGRAMS[name]).graph(X, W)
    whole = differentiate(graph)
    budget = int(share * kept(whole))
    found = within(whole, budget)
    verify(found.forward)
    verify(found.backward)
    assert kept(found) <= budget
    for left, right in zip(gradients(graph, found), gradients(graph, whole), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12)


def test_a_chain_is_cut_into_segments() -> None:
    """With half of its values kept, a chain runs again by single steps, not from the start."""
    graph = torch.compile(chain).graph(X, W)
    whole = differentiate(graph)
    found = within(whole, kept(whole) // 2)
    again = [node for node in found.backward.nodes if node.location.note == "run again" and node.op.name == "sin"]
    assert len(again) <= 6


@pytest.mark.parametrize("budget", [0, 100])
def test_compiled_calls(budget: int) -> None:
    for size in (3, 5, 7):  # the third program has open sizes
        x = torch.linspace(0.1, 0.9, size, dtype=torch.float64)
        plain, tight = (x.clone().requires_grad_() for _ in range(2))
        chain(plain, W).backward()
        compiled = torch.compile(chain, memory_budget=budget, dynamic=True)
        compiled(tight, W).backward()
        np.testing.assert_allclose(tight.grad.numpy(), plain.grad.numpy(), rtol=1e-12)
