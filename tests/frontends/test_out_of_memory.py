"""Tensors that no memory has room for: PyTorch's error, whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch

FEW, MANY = torch.ones(1), 10**15
MAKERS: dict[str, tuple[Callable[[], Any], int | None]] = {
    "ones": (lambda: torch.ones(10**18), 4 * 10**18),
    "zeros": (lambda: torch.zeros(MANY, dtype=torch.float64), 8 * MANY),
    "empty": (lambda: torch.empty(MANY), 4 * MANY),
    "full": (lambda: torch.full((10**9, 10**9), 2.5), 4 * 10**18),
    "eye": (lambda: torch.eye(10**8), 4 * 10**16),
    "arange": (lambda: torch.arange(MANY), 8 * MANY),
    "clone": (lambda: FEW.expand(MANY).clone(), 4 * MANY),
    "add": (lambda: FEW.expand(MANY) + 1, 4 * MANY),
    "repeat": (lambda: torch.ones(10).repeat(MANY), 40 * MANY),
    "product": (lambda: torch.ones(10**7, 1) @ FEW.expand(1, 10**9), 4 * 10**16),
    "resize_": (lambda: torch.ones(1).resize_(MANY), 4 * MANY),
    "compiled": (lambda: torch.compile(lambda x: x.expand(MANY) + 1)(FEW), 4 * MANY),
    "tril_indices": (lambda: torch.tril_indices(10**8, 10**8), None),
    "linspace": (lambda: torch.linspace(0, 1, MANY), None),
    "rand": (lambda: torch.rand(MANY), None),
    "randn": (lambda: torch.randn(MANY), None),
    "randint": (lambda: torch.randint(0, 3, (MANY,)), None),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_error_is_that_of_pytorch(name: str) -> None:
    make, size = MAKERS[name]
    with pytest.raises(RuntimeError, match="can't allocate memory: you tried to allocate") as caught:
        make()
    assert isinstance(caught.value, MemoryError)
    if size is not None:
        assert str(caught.value).splitlines()[0] == (
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
            f"allocate {size} bytes. Error code 12 (Cannot allocate memory)"
        )
