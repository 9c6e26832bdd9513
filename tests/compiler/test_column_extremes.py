"""The places of extremes along another axis than the last: NaNs, ties, signs of zeros, dtypes, sizes."""

from __future__ import annotations

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.as_it_lies import LEAST_COLUMNS, LEAST_ROWS
from adjit.compiler.pipeline import lowered

SHAPES = (
    (LEAST_ROWS, LEAST_COLUMNS), (LEAST_ROWS - 1, LEAST_COLUMNS), (LEAST_ROWS, LEAST_COLUMNS - 1), (67, 101),
    (3, 40, 33), (40, 8, 9),
)  # fmt: skip


@pytest.mark.parametrize("name", ("argmax", "argmin"))
@pytest.mark.parametrize("dtype", ("float32", "float64", "int32", "int64", "uint8", "float16"))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_first_of_ties(shape: tuple[int, ...], dtype: str, name: str) -> None:
    x = np.random.default_rng(len(shape)).integers(0, 5, shape).astype(dtype)
    axis = len(shape) - 2
    found = torch.compile(lambda x: getattr(torch, name)(x, axis))(torch.tensor(x))
    assert found.dtype is torch.int64
    np.testing.assert_array_equal(found.numpy(), getattr(np, name)(x, axis))


@pytest.mark.parametrize("name", ("argmax", "argmin"))
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_special_values(dtype: str, name: str) -> None:
    random = np.random.default_rng(1)
    x = random.choice(np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0], dtype), (64, 50))
    x[:, 0], x[:, 1], x[:, 2] = -np.inf, np.inf, random.choice([0.0, -0.0], 64)
    x[:, 3] = random.choice([np.nan, 3.0], 64)
    given = torch.tensor(x)
    expected = getattr(np, name)(x, 0)
    np.testing.assert_array_equal(torch.compile(lambda x: getattr(torch, name)(x, 0))(given).numpy(), expected)
    values = getattr(torch, name[3:])
    found = torch.compile(lambda x: tuple(values(x, 0)))(given)
    np.testing.assert_array_equal(found[1].numpy(), expected)
    np.testing.assert_array_equal(found[0].numpy(), np.take_along_axis(x, expected[None], 0)[0])


def test_rows_are_gone_through_in_two_folds() -> None:
    program = torch.compile(lambda x: torch.argmax(x, 0)).graph(torch.ones(LEAST_ROWS, LEAST_COLUMNS))
    assert len([node for node in lowered(program).nodes if node.op.name == "kernel"]) == 2
