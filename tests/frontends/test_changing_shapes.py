"""Eager operations whose shapes change at every call share bodies and pullbacks that are open in their sizes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import composite
from adjit.autograd import backward as node_wise
from adjit.compiler.nodewise import pullback_of
from adjit.compiler.particular import common_form
from adjit.nn import functional as F

PROGRAMS: dict[str, Any] = {
    "elementwise": lambda x, y: ((x * y + x.exp()).tanh() * 2 / (y * y + 1)).sum(),
    "softmax": lambda x, y: (x.softmax(0) * y.log_softmax(1)).sum(),
    "layer norm": lambda x, y: (F.layer_norm(x, x.shape[1:]) * y).sum(),
    "products": lambda x, y: ((x @ y.t()).sigmoid() @ y).sum(),
    "statistics": lambda x, y: (x.var(1) * y.logsumexp(1)).sum() + x.mean() * y.std(),
    "losses": lambda x, y: F.mse_loss(x, y) + F.cross_entropy(x, torch.arange(x.shape[0]) % x.shape[1]),
}


def operands(shape: tuple[int, int], seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.normal(size=shape).tolist(), dtype=torch.float64).requires_grad_() for _ in range(2)]


def gradients(program: Any, shape: tuple[int, int], seed: int) -> list[np.ndarray]:
    leaves = operands(shape, seed)
    loss = program(*leaves)
    node_wise(loss)
    return [loss.detach().numpy(), *(x.grad.numpy() for x in leaves)]


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_a_shape_has_the_same_bits_before_and_after_others_came(name: str) -> None:
    """Sizes of 1, equal sizes and sizes that are multiples of others go other ways than most."""
    rng = random.Random(0)
    shapes = [(rng.randint(2, 30), rng.randint(2, 30)) for _ in range(5)] + [(5, 5), (1, 3), (16, 8)]
    if name == "statistics":
        shapes = [shape for shape in shapes if min(shape) > 1]
    first = {}
    for shape in shapes:
        composite._cache.clear()
        composite._open.clear()
        composite._open_bodies.clear()
        first[shape] = gradients(PROGRAMS[name], shape, sum(shape))
    for _ in range(3):
        for shape in shapes:
            found = gradients(PROGRAMS[name], shape, sum(shape))
            assert [x.tobytes() for x in found] == [x.tobytes() for x in first[shape]]


def test_pullbacks_of_other_sizes_are_made_from_one() -> None:
    from adjit.ir.primitive import primitive_named
    from adjit.ir.types import F32, TensorType

    def pullback(rows: int) -> Any:
        type = TensorType(F32, (rows, 7))
        return pullback_of(primitive_named("mul"), [type, type], {}, [None, None], [True, True], [type])

    one, other = (common_form(pullback(rows).graph) for rows in (911, 912))
    assert one is not None
    assert other is not None
    assert one[0] is other[0]
    assert str(pullback(911).graph.outputs[0].type) == "f32[911, 7]"


def test_second_derivatives_of_changing_shapes() -> None:
    for rows in range(3, 14):
        (x, _) = operands((rows, 4), rows)
        (first,) = torch.autograd.grad((x.softmax(0) * x).sum(), [x], create_graph=True)
        (second,) = torch.autograd.grad(first.pow(2).sum(), [x])
        moved = x.detach().clone().requires_grad_()
        step = 1e-6
        with torch.no_grad():
            moved[0, 0] += step
        (after,) = torch.autograd.grad((moved.softmax(0) * moved).sum(), [moved])
        slope = (after.pow(2).sum() - first.detach().pow(2).sum()).item() / step
        assert slope == pytest.approx(second[0, 0].item(), rel=1e-3, abs=1e-4)


def test_a_recurrent_layer_has_one_body_for_texts_of_all_lengths() -> None:
    layer = torch.nn.LSTM(3, 5)
    composite._open.clear()
    composite._open_bodies.clear()
    for length in range(20, 32):
        x = torch.randn(length, 2, 3)
        whole, _ = layer(x)
        first, state = layer(x[:11])
        last, _ = layer(x[11:], state)
        assert torch.allclose(whole, torch.cat([first, last]), atol=1e-6)
    assert any(body is not None and "scan" in str(body[0]) for body in composite._open_bodies.values())


def test_a_body_whose_course_depends_on_sizes_is_traced_for_each() -> None:
    @composite.composite("Halves")
    def halves(x: Any) -> Any:
        return x * 2 if x.shape[0] % 2 == 0 else x * 3

    for rows in (*range(2, 12), 3, 2):
        assert halves(torch.ones(rows)).sum().item() == rows * (2 if rows % 2 == 0 else 3)
