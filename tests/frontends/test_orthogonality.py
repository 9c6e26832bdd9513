"""Weights that stay orthogonal under training, by each map."""

from __future__ import annotations

import numpy as np
import pytest

import adjit as torch
from adjit import nn
from adjit.nn.utils.parametrizations import orthogonal

MAPS = ("matrix_exp", "cayley", "householder")


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)], ids=str)
@pytest.mark.parametrize("orthogonal_map", MAPS)
@pytest.mark.parametrize("moved", [True, False])
def test_a_training_step_leaves_the_weight_orthogonal(shape: tuple[int, int], orthogonal_map: str, moved: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(shape[1], shape[0], bias=False).to(torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(shape, dtype=torch.float64))
    orthogonal(layer, orthogonal_map=orthogonal_map, use_trivialization=moved)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.005)
    goal = torch.randn(shape, dtype=torch.float64)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (layer.weight - goal).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    first = float(step())
    compiled = torch.compile(step)
    losses = [float(compiled()) for _ in range(3)]
    assert first > losses[0] > losses[-1]
    weight = layer.weight.detach()
    weight = weight if shape[0] >= shape[1] else weight.mT
    np.testing.assert_allclose((weight.mT @ weight).numpy(), np.eye(min(shape)), atol=1e-12)


@pytest.mark.parametrize("orthogonal_map", MAPS)
def test_an_orthogonal_matrix_can_be_assigned(orthogonal_map: str) -> None:
    layer = orthogonal(nn.Linear(3, 5, bias=False), orthogonal_map=orthogonal_map)
    given = np.linalg.qr(np.arange(15.0).reshape(5, 3) ** 2 % 7)[0].astype(np.float32)
    layer.weight = torch.from_numpy(given.copy())
    np.testing.assert_allclose(layer.weight.detach().numpy(), given, atol=1e-6)
    with pytest.raises(ValueError, match="Expected a matrix or batch of matrices of shape"):
        layer.weight = torch.zeros(3, 3)


def test_errors() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"Expected a matrix or batch of matrices\. Got a tensor of 1 dim"):
        orthogonal(layer, "bias")
    with pytest.raises(ValueError, match="orthogonal_map has to be one of"):
        orthogonal(layer, orthogonal_map="qr")
    with pytest.raises(ValueError, match="has no parameter or buffer with name 'other'"):
        orthogonal(layer, "other")
    orthogonal(layer, orthogonal_map="cayley", use_trivialization=False)
    with pytest.raises(NotImplementedError, match="It is not possible to assign"):
        layer.weight = torch.eye(2)
