"""A warm training step that updates in place takes no memory for arrays, and keeps none of the C library's."""

from __future__ import annotations

import ctypes
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

import adjit


class _Figures(ctypes.Structure):
    """glibc's mallinfo2: `uordblks` bytes are given out on its heap, `hblkhd` by maps of their own."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    )


def heap_bytes() -> int | None:
    """The bytes that the C library has given out; None where it does not tell."""
    count = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if count is None:
        return None
    count.restype = _Figures
    figures = count()
    return int(figures.uordblks + figures.hblkhd)


def training_step(width: int) -> tuple[Callable[..., Any], list[Any]]:
    """Logistic regression with momentum: the weights and the momentum are changed in place."""
    features = adjit.randn(64, width)
    target, weights, momentum = adjit.rand(64), adjit.zeros(width), adjit.zeros(width)

    def step(x: Any, t: Any, w: Any, m: Any) -> None:
        error = adjit.sigmoid(x @ w) - t
        m.mul_(0.9).add_(error @ x / 64)
        w.sub_(0.1 * m)

    return step, [features, target, weights, momentum]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_warm_step_allocates_nothing(threads: int) -> None:
    width = 1 << 16
    step, given = training_step(width)
    compiled = adjit.compile(step, threads=threads)
    for _ in range(5):
        compiled(*given)
    before = given[2].clone()
    tracemalloc.start()
    try:
        compiled(*given)
        tracemalloc.reset_peak()
        start, heap = tracemalloc.get_traced_memory()[0], heap_bytes()
        for _ in range(10):
            compiled(*given)
        peak, after = tracemalloc.get_traced_memory()[1], heap_bytes()
    finally:
        tracemalloc.stop()
    assert not adjit.equal(before, given[2])
    # Far less than one vector; what Python makes for a call is among it.
    vector = 4 * width
    assert peak - start < vector // 8
    assert heap is None or after is None or after - heap < vector // 8
