"""Loops that read across the direction in which they write: squares, their edges, arithmetic around, every layout."""

from __future__ import annotations

import numpy as np
import pytest

import adjit as torch

RANDOM = np.random.default_rng(7)
PROGRAMS = {
    "transposed": ((70, 53), lambda x: x.T.contiguous()),
    "whole squares": ((64, 128), lambda x: x.T.contiguous()),
    "wider than a block": ((300, 301), lambda x: x.T * 2 + 1),
    "both ways": ((65, 65), lambda x: x + x.T),
    "twice across": ((65, 65), lambda x: x.T * x.T.tanh() + x),
    "channels last": ((2, 33, 9, 8), lambda x: x.permute(0, 2, 3, 1).contiguous()),
    "channels first": ((2, 9, 8, 40), lambda x: x.permute(0, 3, 1, 2) * 3),
    "inside out": ((18, 3, 17, 20), lambda x: x.permute(3, 1, 0, 2).contiguous()),
    "turned": ((70, 53), lambda x: torch.rot90(x)),
    "turned the other way": ((33, 70), lambda x: torch.rot90(x, 3) + 1),
    "backwards across and along": ((40, 65), lambda x: torch.flip(x.T, (0, 1)) * 2),
    "part": ((70, 90), lambda x: x[3:40, 1:60].T.contiguous()),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_equals_eager(name: str, dtype: str) -> None:
    shape, program = PROGRAMS[name]
    x = torch.from_numpy((8 * RANDOM.standard_normal(shape)).astype(dtype))
    compiled = torch.compile(program)
    expected = program(x).numpy()
    for _ in range(2):  # code made quickly, and the best
        assert np.allclose(compiled(x).numpy(), expected, rtol=1e-6, atol=1e-5)


def test_squares_are_exchanged() -> None:
    x = torch.ones(64, 64)
    for program in (lambda x: x.T.contiguous(), lambda x: torch.rot90(x)):
        assert "transpose." in str(torch.compile(program).llvm(x))


@pytest.mark.parametrize("threads", [1, 2])
def test_large_results_go_past_the_caches(threads: int) -> None:
    x = torch.from_numpy(RANDOM.standard_normal((2048, 2048)).astype("float32"))
    compiled = torch.compile(lambda x: x.T.contiguous(), threads=threads)
    for _ in range(2):
        assert (compiled(x).numpy() == x.numpy().T).all()
    assert "nontemporal" in str(compiled.llvm(x))
