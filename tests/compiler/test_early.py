"""What a nest of loops computes outside its inner loops, and what it may not."""

from __future__ import annotations

import numpy as np
import pytest

import adjit as torch

COLUMN, ROW, SCALAR = (torch.linspace(-2, 2, n) for n in (37, 70, 1))
PROGRAMS = {
    "dear along the rows": lambda: COLUMN.sin()[:, None] * ROW + COLUMN[:, None],
    "dear along the columns": lambda: ROW.exp() - COLUMN[:, None],
    "dear everywhere": lambda: (SCALAR * 2).tanh() * COLUMN[:, None] / ROW,
    "three axes": lambda: COLUMN.exp()[:, None, None] + ROW.cos()[:, None] * COLUMN[:20],
    "products added": lambda: (COLUMN * COLUMN)[:, None] + ROW * ROW,
    "integers": lambda: (COLUMN * 10).to(torch.int64)[:, None] // ((ROW * 3).to(torch.int64).abs() + 1),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_values(name: str) -> None:
    expected = PROGRAMS[name]().numpy()
    assert np.allclose(torch.compile(PROGRAMS[name])().numpy(), expected, rtol=1e-6, atol=1e-6)


def test_written_arrays_are_read_where_they_stand() -> None:
    def step(x: torch.Tensor) -> torch.Tensor:
        x += x[0].clone()
        return x

    x = torch.arange(12.0).reshape(3, 4)
    expected = (x + x[0]).tolist()
    assert torch.compile(step)(x.clone()).tolist() == expected


def test_sines_stand_outside_the_inner_loop() -> None:
    text = str(torch.compile(PROGRAMS["dear along the rows"]).llvm()).split("@k0", 1)[1]
    outer, inner = [place for place in range(len(text)) if text.startswith("\nhead", place)][:2]
    assert outer < text.index("@adjit.sin") < inner
