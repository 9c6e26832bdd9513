"""Random programs of views, in-place writes, hooks and backward passes do the same compiled strictly as eagerly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjit as torch
from tests.autograd_programs import draw, outcome


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.tobytes() == b.tobytes()
    return bool(type(a) is type(b) and a == b)


def without_memory(stages: list[Any]) -> list[Any]:
    """Results by their numbers and `requires_grad`: those of a compiled program stand in memory of their own."""
    if not isinstance(stages[0], list):
        return stages
    return [[(numbers, flag) for numbers, flag, _, _ in stages[0]], *stages[1:]]


@pytest.mark.parametrize("seed", range(24))
def test_a_random_program_compiled(seed: int) -> None:
    program = draw(seed, length=6 + seed % 5)
    eager = without_memory(outcome(torch, program))
    compiled = without_memory(outcome(torch, program, lambda f: torch.compile(f, strict=True)))
    for ours, theirs in zip(compiled[:-1], eager[:-1], strict=True):
        assert same(ours, theirs), program
    last = compiled[-1], eager[-1]  # one backward pass sums in another order than several
    if isinstance(last[1], list):
        for ours, theirs in zip(*last, strict=True):
            assert (ours is None) == (theirs is None), program
            if ours is not None:
                np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6, err_msg=str(program))
    else:
        assert last[0] == last[1], program
