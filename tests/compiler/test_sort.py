"""Compiled sorts against NumPy's stable ones: rows short and long, every dtype, ties, zeros of both signs and NaN."""

from __future__ import annotations

import numpy as np
import pytest

import adjit as torch

RANDOM = np.random.default_rng(4)


def rows(dtype: str, length: int) -> np.ndarray:
    if dtype == "bool":
        return RANDOM.random((3, length)) < 0.5
    if dtype.startswith("float"):
        found = RANDOM.standard_normal((3, length)).round(1).astype(dtype)
        found[:, ::5] = 0.0
        found[:, 1::7] = -0.0
        found[1, 2::3] = np.nan
        found[2, ::2] = -np.inf
        return found
    limits = np.iinfo(dtype)
    found = RANDOM.integers(limits.min, limits.max, (3, length), dtype, endpoint=True)
    found[1] //= 5
    return found


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"])
def test_stable_order(dtype: str, descending: bool) -> None:
    program = torch.compile(lambda x: torch.sort(x, dim=1, descending=descending))
    for length in (0, 1, 5, 63, 64, 65, 1000, 9000):  # the longest by a kernel in eager mode too
        x = rows(dtype, length)
        values, indices = program(torch.from_numpy(x))
        order = torch.sort(torch.from_numpy(x), dim=1, descending=descending).indices.numpy()
        backwards = length - 1 - np.argsort(x[:, ::-1], 1, kind="stable")[:, ::-1]
        expected = backwards if descending else np.argsort(x, 1, kind="stable")
        for found in (indices.numpy(), order):
            assert np.array_equal(found, expected)
        assert values.numpy().tobytes() == np.take_along_axis(x, expected, 1).tobytes()
