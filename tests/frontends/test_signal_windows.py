"""torch.signal.windows: values from the definitions, symmetric and periodic forms, errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit.signal import windows

FORMULAS: dict[str, tuple[dict[str, Any], Callable[[int, int], float]]] = {
    "bartlett": ({}, lambda n, size: 1 - abs(2 * n / (size - 1) - 1)),
    "blackman": ({}, lambda n, size: 0.42 - 0.5 * _wave(n, size, 1) + 0.08 * _wave(n, size, 2)),
    "cosine": ({}, lambda n, size: math.sin(math.pi * (n + 0.5) / size)),
    "exponential": ({"tau": 2.0}, lambda n, size: math.exp(-abs(n - (size - 1) / 2) / 2.0)),
    "gaussian": ({"std": 1.5}, lambda n, size: math.exp(-(((n - (size - 1) / 2) / 1.5) ** 2) / 2)),
    "general_cosine": ({"a": [0.5, 0.3, 0.2]}, lambda n, size: 0.5 - 0.3 * _wave(n, size, 1) + 0.2 * _wave(n, size, 2)),
    "general_hamming": ({"alpha": 0.6}, lambda n, size: 0.6 - 0.4 * _wave(n, size, 1)),
    "hamming": ({}, lambda n, size: 0.54 - 0.46 * _wave(n, size, 1)),
    "hann": ({}, lambda n, size: math.sin(math.pi * n / (size - 1)) ** 2),
    "kaiser": ({"beta": 3.0}, lambda n, size: _bessel(3 * math.sqrt(1 - (2 * n / (size - 1) - 1) ** 2)) / _bessel(3)),
    "nuttall": (
        {},
        lambda n, size: 0.3635819 - 0.4891775 * _wave(n, size, 1) + 0.1365995 * _wave(n, size, 2)
        - 0.0106411 * _wave(n, size, 3),
    ),
}  # fmt: skip


def _wave(n: int, size: int, times: int) -> float:
    return math.cos(2 * math.pi * times * n / (size - 1))


def _bessel(x: float) -> float:
    """I0(x) by its series."""
    return sum((x / 2) ** (2 * k) / math.factorial(k) ** 2 for k in range(30))


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("sym", [True, False])
def test_windows_are_their_definitions(name: str, sym: bool) -> None:
    parameters, formula = FORMULAS[name]
    found = getattr(windows, name)(7, sym=sym, dtype=torch.float64, **parameters)
    expected = [formula(n, 7 if sym else 8) for n in range(7)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("name", FORMULAS)
def test_short_windows(name: str) -> None:
    window, (parameters, _) = getattr(windows, name), FORMULAS[name]
    assert window(0, **parameters).shape == (0,)
    torch.testing.assert_close(window(1, **parameters), torch.ones(1))


@pytest.mark.parametrize("name", FORMULAS)
def test_bad_arguments(name: str) -> None:
    window, (parameters, _) = getattr(windows, name), FORMULAS[name]
    with pytest.raises(ValueError, match="requires non-negative window length, got M=-1"):
        window(-1, **parameters)
    with pytest.raises(ValueError, match=r"expects float32 or float64 dtypes, got: torch\.int64"):
        window(3, dtype=torch.int64, **parameters)
