"""`assert_close` says what torch's says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import adjit  # noqa: E402

CASES: list[Any] = [
    lambda t: (t.ones(3), t.ones(3) + 0.1),
    lambda t: (t.ones(2, 3), t.tensor([[1, 1, 1], [1, 2, 1.0]])),
    lambda t: (t.ones(3), t.ones(4)),
    lambda t: (t.ones(3), t.ones(3, dtype=t.float64)),
    lambda t: (1.0, 1.1),
    lambda t: (1, 2),
    lambda t: (1, 1.0),
    lambda t: ([t.ones(2), t.ones(2)], [t.ones(2), t.zeros(2)]),
    lambda t: ([[t.ones(2)]], [[t.zeros(2)]]),
    lambda t: ({"a": t.ones(2)}, {"a": t.zeros(2)}),
    lambda t: ({"a": 1}, {"b": 1}),
    lambda t: ([1], [1, 2]),
    lambda t: ("a", "a"),
    lambda t: (t.tensor(float("nan")), t.tensor(float("nan"))),
    lambda t: (t.tensor(float("nan")), t.tensor(float("nan")), {"equal_nan": True}),
    lambda t: (t.ones(3), t.ones(3) * 2, {"rtol": 0}),
    lambda t: (t.ones(3), t.ones(3) * 2, {"rtol": 0, "atol": 0}),
    lambda t: (t.ones(3), t.ones(3) * 2, {"rtol": 0, "atol": 1.5}),
    lambda t: (t.tensor([1, 2]), t.tensor([1, 3])),
    lambda t: (t.tensor([True]), t.tensor([False])),
    lambda t: (t.tensor(1.0), t.tensor(2.0)),
    lambda t: (np.ones(3), np.ones(3) * 2),
    lambda t: (t.ones(3), t.ones(3) * 2, {"msg": "hello"}),
    lambda t: (t.ones(3), t.ones(3) * 2, {"msg": lambda m: "X " + m}),
    lambda t: (t.ones(3), None),
    lambda t: (None, None),
    lambda t: (True, False),
    lambda t: (t.ones(3, 2).T, t.ones(2, 3), {"check_stride": True}),
    lambda t: (t.ones(3, dtype=t.int32), t.ones(3), {"check_dtype": False}),
    lambda t: (t.ones(3).bfloat16(), t.ones(3).bfloat16() * 1.01),
    lambda t: (t.ones(3).bfloat16(), t.ones(3).bfloat16() * 1.1),
    lambda t: (float("inf"), 1.0),
    lambda t: (t.tensor([float("inf"), 1.0]), t.tensor([float("inf"), 2.0])),
    lambda t: (t.ones(2, requires_grad=True), t.ones(2)),
    lambda t: (t.zeros(0), t.zeros(0)),
]


def said(lib: Any, case: Any) -> str:
    """The class and message of what a comparison raises."""
    first, second, *options = case(lib)
    try:
        lib.testing.assert_close(first, second, **(options[0] if options else {}))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "close"


@pytest.mark.parametrize("number", range(len(CASES)))
def test_assert_close(number: int) -> None:
    assert said(adjit, CASES[number]) == said(torch, CASES[number])


@pytest.mark.parametrize("name", ["float32", "float64", "bfloat16", "int32", "uint8", "bool"])
def test_make_tensor(name: str) -> None:
    made = adjit.testing.make_tensor((40, 5), dtype=getattr(adjit, name), device="cpu")
    theirs = torch.testing.make_tensor((40, 5), dtype=getattr(torch, name), device="cpu")
    assert str(made.dtype) == str(theirs.dtype) and tuple(made.shape) == tuple(theirs.shape)
    low, high = {"bool": (0, 1), "uint8": (0, 9)}.get(name, (-9, 9))
    assert low <= made.min().item() and made.max().item() <= high and made.unique().numel() > 1
    gapped = adjit.testing.make_tensor(3, 4, dtype=getattr(adjit, name), noncontiguous=True, exclude_zero=True)
    assert not gapped.is_contiguous() and bool((gapped != 0).all())
