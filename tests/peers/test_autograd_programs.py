"""Random programs of views, in-place writes, hooks and backward passes, beside PyTorch: eager and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjit
from tests.autograd_programs import draw, outcome
from tests.frontends.test_autograd_programs import without_memory

torch = pytest.importorskip("torch")


def close(a: Any, b: Any) -> bool:
    """Equal, arrays up to rounding."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-4, atol=1e-4))
    return bool(type(a) is type(b) and a == b)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("block", range(6))
def test_eager_programs(block: int) -> None:
    for seed in range(100 * block, 100 * (block + 1)):
        program = draw(seed)
        assert close(outcome(adjit, program), outcome(torch, program)), (seed, program)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("block", range(4))
def test_compiled_programs(block: int) -> None:
    for seed in range(1000 + 10 * block, 1010 + 10 * block):
        program = draw(seed)
        compiled = outcome(adjit, program, lambda f: adjit.compile(f, strict=True))
        assert close(without_memory(compiled), without_memory(outcome(torch, program))), (seed, program)
