"""Tensors made of numbers, fills, histograms and draws: the native entry gives what Python gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.native import install
from adjit.runtime import layout

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()
ROUNDS = 50
LARGE = 30_011

MAKING: dict[str, Callable[[], Any]] = {
    "zeros": lambda: torch.zeros(LARGE),
    "ones of integers": lambda: torch.ones(3, 10_007, dtype=torch.int64),
    "ones of bools": lambda: torch.ones(LARGE, dtype=torch.bool),
    "full": lambda: torch.full((LARGE,), -0.1),
    "full of infinity": lambda: torch.full((LARGE,), float("-inf"), dtype=torch.float64),
    "full of nothing": lambda: torch.full((0, 3), 2.0),
    "eye": lambda: torch.eye(171, 175),
    "arange": lambda: torch.arange(LARGE),
    "arange of floats": lambda: torch.arange(0.3, LARGE, 1.1),
    "arange downwards": lambda: torch.arange(7.5, -1e4, -0.7, dtype=torch.float64),
    "arange of one": lambda: torch.arange(2.0, 2.5),
    "arange of none": lambda: torch.arange(2.0, 2.0),
    "arange of halfs": lambda: torch.arange(0.0, 300.0, 0.5, dtype=torch.float16),
    "linspace": lambda: torch.linspace(-3.7, 11.1, LARGE),
    "linspace downwards": lambda: torch.linspace(1e30, -1e-30, LARGE, dtype=torch.float64),
    "linspace of two": lambda: torch.linspace(0.1, 0.7, 2),
    "linspace of one": lambda: torch.linspace(0.1, 0.7, 1),
    "linspace of none": lambda: torch.linspace(0.1, 0.7, 0),
    "linspace of integers": lambda: torch.linspace(0, 10, 7, dtype=torch.int64),
    "empty": lambda: torch.empty(3, 0, 2),
}
DATA = np.random.default_rng(2).standard_normal(5_003).astype(np.float32)
COUNTING: dict[str, Callable[[Any], Any]] = {
    "histc": lambda x: torch.histc(x, 10),
    "histc of a range": lambda x: torch.histc(x, 7, -1, 2),
    "histogram": lambda x: torch.histogram(x, 12),
    "histogram of edges": lambda x: torch.histogram(x, torch.tensor([-1.0, 0.5, 0.75]), density=True),
    "unique": lambda x: torch.unique((x * 3).round(), return_inverse=True, return_counts=True),
}


def _bytes(found: Any) -> list[bytes]:
    parts = found if isinstance(found, tuple) else (found,)
    return [part.numpy().tobytes() for part in parts]


@pytest.mark.parametrize("name", MAKING)
def test_made_of_numbers(name: str) -> None:
    call = MAKING[name]
    first = call()
    before = first.numpy().copy()
    for _ in range(ROUNDS):
        found = call()
        assert found.numpy().tobytes() == before.tobytes()
        assert found.dtype is first.dtype and found.shape == first.shape and found.is_contiguous()
        found.fill_(1)  # nobody else has its memory
    assert first.numpy().tobytes() == before.tobytes()


@pytest.mark.parametrize("name", COUNTING)
@pytest.mark.parametrize("size", [1, 17, 5_003])
def test_counted(name: str, size: int) -> None:
    x = torch.from_numpy(DATA[:size].copy())
    first = _bytes(COUNTING[name](x))
    for _ in range(ROUNDS):
        assert _bytes(COUNTING[name](x)) == first
    counts = COUNTING["histc"](x)
    assert counts.numpy().tolist() == np.histogram(DATA[:size], 10)[0].tolist() if size > 1 else counts.sum() == 1


def test_fills_and_copies() -> None:
    x, y = torch.rand(LARGE), torch.rand(LARGE)
    wide = torch.rand(LARGE, dtype=torch.float64)
    square = torch.rand(4, 4)
    for _ in range(12):
        version = x._version
        assert (x.fill_(2.5).numpy() == 2.5).all()
        assert x.copy_(y).numpy().tobytes() == y.numpy().tobytes()
        assert x.copy_(wide).numpy().tobytes() == wide.numpy().astype(np.float32).tobytes()
        assert x.copy_(x).numpy().tobytes() == wide.numpy().astype(np.float32).tobytes()
        assert x.copy_(torch.tensor([-0.0])).numpy().tobytes() == np.full(LARGE, -0.0, np.float32).tobytes()
        assert not x.zero_().numpy().any() and x._version == version + 6
        with pytest.raises(RuntimeError, match="refer to a single memory location"):
            y[1:].copy_(y[:-1])
        before = square.tolist()
        square.copy_(square.clone().t())
        assert square.t().tolist() == before
        bits = y.view(torch.int32).clone()
        y.view(torch.int32).copy_(y)  # the same memory as another dtype
        assert (y.view(torch.int32) == bits.view(torch.float32).to(torch.int32)).all()
        y = torch.rand(LARGE)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (7, 3), (3, 0), (9, 1)])
@pytest.mark.parametrize("wrap", [False, True])
def test_diagonals_filled(shape: tuple[int, int], wrap: bool) -> None:
    wanted = np.zeros(shape, np.float32)
    if wanted.size:
        np.fill_diagonal(wanted, 1.5, wrap=wrap)
    for _ in range(3):
        x = torch.zeros(shape)
        assert x.fill_diagonal_(1.5, wrap) is x and x._version == 1
        assert x.tolist() == wanted.tolist()
        turned = torch.zeros(shape[::-1]).t()
        assert turned.fill_diagonal_(1.5, wrap).tolist() == wanted.tolist()
        leaf = torch.ones(shape, requires_grad=True)
        y = leaf * 2
        y.fill_diagonal_(1.5, wrap)
        y.sum().backward()
        assert leaf.grad.tolist() == (2.0 * (wanted == 0)).tolist()


DRAWING: dict[str, Callable[[Any], Any]] = {
    "bernoulli": lambda p: torch.bernoulli(p),
    "bernoulli of a number": lambda p: torch.bernoulli(p, 0.3),
    "multinomial": lambda p: torch.multinomial(p, 4),
    "multinomial with replacement": lambda p: torch.multinomial(p, 9, replacement=True),
    "multinomial of rows": lambda p: torch.multinomial(p.reshape(2, 6), 3),
}


@pytest.mark.parametrize("name", DRAWING)
def test_drawn(name: str) -> None:
    """The draws of a seed are those of before the call was native; faults are found as ever."""
    p = torch.linspace(0.05, 0.95, 12)
    torch.manual_seed(3)
    first = [_bytes(DRAWING[name](p)) for _ in range(4)]
    for _ in range(120):
        DRAWING[name](p)
    torch.manual_seed(3)
    assert [_bytes(DRAWING[name](p)) for _ in range(4)] == first
    assert DRAWING[name](p.clone().requires_grad_()).shape == DRAWING[name](p).shape
    if "number" not in name:
        for wrong in (-0.5, float("nan")):
            faulty = p.clone()
            faulty[3] = wrong
            with pytest.raises(RuntimeError, match=r"Expected p_in|probability tensor|invalid multinomial"):
                DRAWING[name](faulty)


def test_numbers_become_tensors() -> None:
    """Those that the default dtype holds in part are rounded as ever, without a warning of NumPy."""
    for number in (0.0, -0.0, 0.1, 1e-40, 1e-46, 3.5e38, -1e300, float("inf"), float("nan"), 16777217.0):
        wanted = np.array(number, np.float64)
        with np.errstate(all="ignore"):
            wanted = wanted.astype(np.float32)
        with np.errstate(all="raise"):
            assert torch.tensor(number).numpy().tobytes() == wanted.tobytes()
            assert torch.tensor([number]).numpy().tobytes() == wanted.tobytes()
    assert torch.tensor([2**62, -1]).tolist() == [2**62, -1]
    with pytest.raises(ValueError, match="Overflow"):
        torch.tensor([2**63])
    with pytest.raises(ValueError, match="negative"):
        torch.from_numpy(np.arange(3)[::-1])
    assert torch.from_numpy(np.array(3)).item() == 3


def test_large_memory_stays_untouched() -> None:
    """What the system gives zeroed is not written, however often it was asked for."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for make in (torch.zeros, torch.empty):
        for _ in range(12):
            assert make(400_000_000).shape == (400_000_000,)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # of 1,600,000 KB


def test_sizes_that_no_memory_holds_are_errors_of_the_function() -> None:
    for n in range(1, 60):
        assert torch.zeros(n, 8).shape == (n, 8)
    for size in (2**62, 2**58):
        with pytest.raises(RuntimeError, match=r"Storage size calculation overflowed|allocate memory"):
            torch.zeros(size, 8)
    assert torch.zeros(3, 8).shape == (3, 8)
