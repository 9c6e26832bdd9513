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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "others", "size"), [(40, 16, 8), (40, 8, 3), (7, 16, 16), (40, 32, 5), (40, 5, 8)])
def test_columns_of_a_small_operand_are_put_together_once(dtype: str, rows: int, others: int, size: int) -> None:
    """Squares of distances, where the small operand is new in each turn of a loop around."""
    random = np.random.default_rng(0)
    x, y = random.standard_normal((rows, size)).astype(dtype), random.standard_normal((others, size)).astype(dtype)

    def turn(_: int, state: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        y, total = state
        distances = ((x_[:, None, :] - y[None]) ** 2).sum(-1)
        return y * 0.5 + distances[0, :, None] * 0.01, total + distances

    x_ = torch.from_numpy(x)
    program = torch.compile(lambda y: torch.fori_loop(0, 3, turn, (y, torch.zeros(rows, others, dtype=y.dtype))))
    found = [each.numpy() for each in program(torch.from_numpy(y))]
    total = np.zeros((rows, others))
    wide = y.astype(np.float64)
    for _ in range(3):
        distances = ((x[:, None, :] - wide[None]) ** 2).sum(-1)
        wide, total = wide * 0.5 + distances[0, :, None] * 0.01, total + distances
    for left, right in zip(found, (wide, total), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4 if dtype == "float32" else 1e-12)
