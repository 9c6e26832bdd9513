"""Derivatives of functions with a rule of their own, and of composites, are the same to any order once learnt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit.native import install
from adjit.runtime import layout

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()
OFTEN, ORDER = 12, 2
MATRIX = [[2.0, 1.0], [0.5, 3.0]]
linalg = torch.linalg

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "det": linalg.det,
    "inv": linalg.inv,
    "lstsq": lambda a: linalg.lstsq(a, a[:, :1] * a[:, :1])[0],
    "pinv": linalg.pinv,
    "softmax": lambda a: torch.softmax(a, -1),
}


def derivatives(function: Callable[[Any], Any]) -> list[Any]:
    """Gradients of order 1, 2, ..., each of the sum of squares of the one before."""
    a = torch.tensor(MATRIX, dtype=torch.float64, requires_grad=True)
    result, found = function(a), []
    for _ in range(ORDER):
        (result,) = torch.autograd.grad((result * result).sum(), a, create_graph=True)
        found.append(result)
    return [x.tolist() for x in found]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_of_any_order_stay(name: str) -> None:
    wanted = derivatives(FUNCTIONS[name])
    for _ in range(OFTEN):
        for row, first in zip(derivatives(FUNCTIONS[name]), wanted, strict=True):
            for got, expected in zip(row, first, strict=True):
                assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)
