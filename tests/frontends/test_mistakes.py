"""What a mistake's error says: PyTorch's first line, the user's line with a caret, the operands, a way out."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from tests.conftest import Golden
from tests.frontends import mistakes_traced as _traced  # noqa: F401 - adds to MISTAKES
from tests.frontends.mistakes import COMPILED_ALONE, MISTAKES

# Errors about the whole of a call: no caret, since it would mark the line from end to end.
_MOST_LINES = 15
# Python's own words, or the places that it marks, are others from 3.13 on.
_OTHERWISE = {"unknown_keyword", "iteration_over_a_number"} if sys.version_info >= (3, 13) else set[str]()


def raised(mistake: Callable[..., Any], run: Callable[..., Any]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception) as caught:
            mistake(run)
    assert isinstance(caught.value, (RuntimeError, TypeError, ValueError, LookupError, ArithmeticError, AssertionError,
                                     AttributeError, NameError))  # fmt: skip
    return "\n".join(line.rstrip() for line in f"{type(caught.value).__name__}: {caught.value}".splitlines())


def eager(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def compiled(function: Callable[..., Any], *arguments: Any) -> Any:
    return torch.compile(function)(*arguments)


@pytest.mark.parametrize("name", MISTAKES)
def test_message(name: str, golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    ways = (compiled,) if name in COMPILED_ALONE else (eager, compiled)
    texts = {way.__name__: raised(MISTAKES[name], way) for way in ways}
    for text in texts.values():
        lines = text.splitlines()
        assert len(lines) <= _MOST_LINES
        assert any(line.startswith(("  in ", "  saved by ")) for line in lines), text
        assert any(line.startswith("  hint: ") for line in lines), text
        assert "adjit/" not in text
    if len(set(texts.values())) == 1:
        texts = {" and ".join(texts): text for text in texts.values()}
    if name not in _OTHERWISE:
        golden(f"errors/{name}.txt", "\n\n".join(f"# {way}\n{text}" for way, text in texts.items()))


def test_enough() -> None:
    assert len(MISTAKES) >= 60


def overwritten_by_a_step(run: Callable[..., Any]) -> None:
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    first, second = (weight * weight).sum(), (weight * weight).sum()
    first.backward()
    optimizer.step()  # overwrites
    second.backward()


def test_overwriting_step_of_an_optimizer() -> None:
    text = raised(overwritten_by_a_step, eager)
    assert "saved by mul, test_mistakes.py" in text and "overwritten in test_mistakes.py" in text
    assert "optimizer.step()  # overwrites" in text
