"""Gradients of weights that a scan multiplies with in every step: one product after the loop, equal to the sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit


def vector(w: Any, h: Any, x: Any) -> Any:
    return adjit.tanh(w @ h + x)


def batch(w: Any, h: Any, x: Any) -> Any:
    return adjit.tanh(h @ w.T + x)


def twice(w: Any, h: Any, x: Any) -> Any:
    return adjit.tanh(w @ h) * adjit.sigmoid(w.T @ x) + 0.1 * h


def products(w: Any, h: Any, x: Any) -> Any:
    """Not a sum of products: the weight's gradient is added up in the loop."""
    return adjit.tanh((w * w) @ h + x)


@pytest.mark.parametrize("step", [vector, batch, twice, products])
@pytest.mark.parametrize(("reverse", "checkpoint"), [(False, False), (True, False), (False, True)])
def test_gradients_are_those_of_the_steps_in_python(step: Callable[..., Any], reverse: bool, checkpoint: bool) -> None:
    random = np.random.default_rng(0)
    shape = (4, 6) if step is batch else (6,)
    w, h, xs = (adjit.from_numpy(random.standard_normal(s)).requires_grad_() for s in ((6, 6), shape, (5, *shape)))

    def stacked(w: Any, h: Any, xs: Any) -> Any:
        def turn(h: Any, x: Any) -> Any:
            new = step(w, h, x)
            return new, new

        return adjit.autograd.grad(
            (adjit.scan(turn, h, xs, reverse=reverse, checkpoint=checkpoint)[1] ** 2).sum(), (w, h, xs)
        )

    plain, state, total = w, h, 0
    for place in reversed(range(5)) if reverse else range(5):
        state = step(plain, state, xs[place])
        total = total + (state**2).sum()
    expected = adjit.autograd.grad(total, (w, h, xs))
    found = adjit.compile(stacked)(w, h, xs)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left.numpy(), right.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("step", [vector, batch, twice])
def test_no_matrix_is_carried_backwards(step: Callable[..., Any]) -> None:
    shape = (4, 6) if step is batch else (6,)
    operands = [adjit.ones(*s).requires_grad_() for s in ((6, 6), shape, (5, *shape))]

    def stacked(w: Any, h: Any, xs: Any) -> Any:
        def turn(h: Any, x: Any) -> Any:
            new = step(w, h, x)
            return new, new

        return adjit.autograd.grad(adjit.scan(turn, h, xs)[1].sum(), (w,))

    graph = adjit.compile(stacked).graph(*operands)
    backward = [node for node in graph.walk() if node.op.name == "scan"][-1]
    assert not any(value.dims == (6, 6) for value in backward.outputs)
    after = graph.nodes[graph.nodes.index(backward) :]
    assert any(node.op.name == "dot" and 0 in node.attributes["contract"][0] for node in after)
