"""`masked`: reductions of what a mask lets through are those of the elements taken out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch

X = np.array([[1.5, -2.0, 3.0, 0.5], [4.0, 5.0, -6.0, 2.0], [0.25, 1.0, 2.0, 3.0]])
MASK = np.array([[True, False, True, True], [True, True, False, True], [False, True, False, False]])
REDUCTIONS: dict[str, Callable[[np.ndarray], Any]] = {
    "sum": np.sum, "prod": np.prod, "amax": np.max, "amin": np.min, "mean": np.mean, "var": lambda row: np.var(row),
    "std": lambda row: np.std(row), "norm": np.linalg.norm, "logsumexp": lambda row: np.log(np.exp(row).sum()),
    "median": lambda row: np.sort(row)[(len(row) - 1) // 2],
}  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str) -> None:
    options: dict[str, Any] = {"correction": 0} if name in ("var", "std") else {}
    found = getattr(torch.masked, name)(torch.tensor(X), dim=1, mask=torch.tensor(MASK), **options)
    expected = [REDUCTIONS[name](row[mask]) for row, mask in zip(X, MASK, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-14)
    if name != "median":
        whole = getattr(torch.masked, name)(torch.tensor(X), mask=torch.tensor(MASK), **options)
        np.testing.assert_allclose(whole.item(), REDUCTIONS[name](X[MASK]), rtol=1e-14)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_normalisations(name: str) -> None:
    found = getattr(torch.masked, name)(torch.tensor(X), 1, mask=torch.tensor(MASK)).numpy()
    for row, mask, line in zip(X, MASK, found, strict=True):
        weights = np.exp(-row[mask] if name == "softmin" else row[mask])
        expected = weights / weights.sum()
        np.testing.assert_allclose(line[mask], np.log(expected) if name == "log_softmax" else expected, atol=1e-15)
        assert set(line[~mask]) <= {-np.inf if name == "log_softmax" else 0.0}


def test_nothing_counts() -> None:
    none = torch.zeros(3, dtype=torch.bool)
    x = torch.ones(3)
    assert torch.masked.sum(x, mask=none).item() == 0
    assert torch.masked.prod(x, mask=none).item() == 1
    assert torch.masked.amax(x, mask=none).item() == -np.inf
    assert np.isnan(torch.masked.mean(x, mask=none).item())
    assert torch.masked.amin(torch.ones(3, dtype=torch.int32), mask=none).item() == 2**31 - 1


def test_what_is_masked_has_no_gradient() -> None:
    x = torch.tensor(X, requires_grad=True)
    torch.masked.mean(x, 1, mask=torch.tensor(MASK)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), MASK / MASK.sum(1, keepdims=True), rtol=1e-15)
    function = torch.compile(lambda x: torch.masked.var(x, 1, mask=torch.tensor(MASK[:2])))
    assert torch.equal(
        function(torch.tensor(X[:2])), torch.masked.var(torch.tensor(X[:2]), 1, mask=torch.tensor(MASK[:2]))
    )


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"^mean\(\): Could not infer output dtype\. Input dtype must be either a"):
        torch.masked.mean(torch.ones(2, dtype=torch.long))
    with pytest.raises(IndexError, match=r"^_input_mask expected broadcastable mask"):
        torch.masked.sum(torch.ones(2), mask=torch.ones(2, 2) > 0)
