"""README's example: a loss, its traced program and its backward program."""

from __future__ import annotations

from typing import Any

import adjit as torch


def loss(x: Any, w: Any, b: Any, t: Any) -> Any:
    """Mean squared distance of a logistic unit's output from its target."""
    y = torch.sigmoid(x @ w + b)
    return ((y - t) ** 2).mean()


def main() -> int:
    """Print the traced program and its derivative with respect to the weights."""
    compiled = torch.compile(loss)
    data = torch.ones(4, 3), torch.zeros(3, 1), torch.zeros(1), torch.ones(4, 1)
    print(compiled.graph(*data))
    print(compiled.backward_graph(*data, wrt=["w", "b"]))
    return 0
