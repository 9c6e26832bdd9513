"""Loops over axes that are looked at in parts: two loops with plain indices, the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.loops.affine import Bounds
from adjit.ir.shape import Dim, substitute

RANDOM = np.random.default_rng(9)
PROGRAMS = {
    "tiled": ((20, 30), lambda x: x.repeat(3, 3)),
    "patches": ((2, 3, 32, 32), lambda x: x.reshape(2, 3, 2, 16, 2, 16).permute(0, 2, 4, 1, 3, 5).reshape(2, 4, 768)),
    "shuffled": ((2, 16, 20, 24), lambda x: torch.nn.functional.pixel_shuffle(x, 2)),
    "kron": ((20, 24), lambda x: torch.kron(x[:3, :4], x)),
    "groups": ((2, 8, 6, 8), lambda x: torch.nn.functional.group_norm(x, 2)),
    "sum of parts": ((6, 64), lambda x: x.reshape(6, 4, 16).permute(1, 0, 2).reshape(4, 96).sum(1)),
    "greatest of parts": ((6, 64), lambda x: x.reshape(6, 4, 16).permute(1, 0, 2).reshape(4, 96).amax(1)),
    "enlarged": ((2, 3, 20, 40), lambda x: torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_equals_eager(name: str) -> None:
    shape, program = PROGRAMS[name]
    x = torch.from_numpy(RANDOM.standard_normal(shape).astype(np.float32)).requires_grad_()
    expected = program(x)
    (gradient,) = torch.autograd.grad((expected * expected).sum(), [x])

    @torch.compile
    def both(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = program(x)
        return found.detach(), torch.autograd.grad((found * found).sum(), [x])[0]

    for _ in range(2):
        found, slope = both(x)
        assert np.allclose(found.numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-5)
        assert np.allclose(slope.numpy(), gradient.numpy(), rtol=1e-4, atol=1e-4)


def test_remainders_are_gone() -> None:
    compiled = torch.compile(lambda x: x.repeat(3, 3))
    x = torch.ones(20, 30)
    compiled(x)
    assert "% 30" not in str(compiled.executable(x).graph)


def test_quotients_of_digits() -> None:
    bounds = Bounds()
    bounds.declare("q", 48)
    bounds.declare("r", 16)
    q, r = Dim.named("q"), Dim.named("r")
    for size in ((16 * q + r) // 256, (16 * q + r) % 256, (16 * q + r) // 64 % 3):
        simple = bounds.simplify(size)
        pairs = [(a, b) for a in range(48) for b in range(16)]
        for a, b in pairs:
            place = {"q": a, "r": b}
            assert substitute(simple, place) == substitute(size, place)
    assert str(bounds.simplify((16 * q + r) // 256)) == "((q) // 16)"
