"""Sums in the order that kernels have, written out."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adjit.compiler.loops.ir import RUN

Array: TypeAlias = NDArray[Any]


def in_order(terms: Array) -> Array:
    """The sum over axis 0 in the order `sequential`."""
    runs = max(1, -(-len(terms) // RUN))
    length = max(1, -(-len(terms) // runs))
    total: Array | None = None
    for start in range(0, max(1, len(terms)), length):
        run = np.zeros(terms.shape[1:], terms.dtype)
        for term in terms[start : start + length]:
            run = run + term
        total = run if total is None else total + run
    assert total is not None
    return total
