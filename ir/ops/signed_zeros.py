"""Maxima and minima by NumPy with the zeros' signs settled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def extreme(x: Any, least: bool, combine: Callable[[Any], Any], signs: Callable[[Any], Any]) -> Any:
    """NumPy's `combine(x)`, a maximum (with `least` a minimum), with the zeros' signs that IEEE 754-2019 gives.

    NumPy says nothing of max(0.0, -0.0).  `signs` is `combine` for truth values: whether any of them is true.
    """
    result = np.asarray(combine(x))
    if result.dtype.kind != "f" or not (zero := result == 0).any():
        return result
    decisive = signs((np.asarray(x) == 0) & (np.signbit(x) == least))
    return np.where(zero, np.where(decisive == least, result.dtype.type(-0.0), result.dtype.type(0.0)), result)
