"""Arrays, and long lists and dicts, that a compiled function reads and that change between its calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch

LONG = 5000
ARRAY = np.ones(LONG, np.float32)
PLACES = np.zeros(LONG, np.int64)
LIST, DICT, QUEUE = [1.0] * LONG, dict.fromkeys(range(LONG), 1.0), deque([1.0] * LONG)


class Holder:
    values = np.ones(LONG)
    numbers = [1.0] * LONG


HOLDER = Holder()
READERS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "tensor of an array": (ARRAY, lambda x: x + torch.tensor(ARRAY)),
    "number of an array": (ARRAY, lambda x: x + float(ARRAY[3])),
    "sum of an array": (ARRAY, lambda x: x + float(ARRAY.sum())),
    "array as index": (PLACES, lambda x: x + torch.arange(LONG)[PLACES]),
    "tensor of a list": (LIST, lambda x: x + torch.tensor(LIST)),
    "item of a list": (LIST, lambda x: x + LIST[3]),
    "sum of a list": (LIST, lambda x: x + sum(LIST)),
    "item of a dict": (DICT, lambda x: x + DICT[3]),
    "item of a deque": (QUEUE, lambda x: x + QUEUE[3]),
    "array in an attribute": (HOLDER.values, lambda x: x + float(HOLDER.values[3])),
    "list in an attribute": (HOLDER.numbers, lambda x: x + HOLDER.numbers[3]),
}


@pytest.mark.parametrize("name", READERS)
def test_changes_in_place_are_noticed(name: str) -> None:
    content, function = READERS[name]
    compiled, x = torch.compile(function), torch.zeros(LONG)
    for value in (1, 5, 5, 7, -2, 1):
        content[3] = type(content[3])(value)
        for _ in range(2):
            assert torch.equal(compiled(x), function(x))


def test_signs_of_zeros_and_kinds_of_numbers_count() -> None:
    numbers: list[Any] = [0.0] * LONG
    compiled, x = torch.compile(lambda x: x / numbers[2]), torch.ones(2)
    assert compiled(x).tolist() == [float("inf")] * 2
    numbers[2] = -0.0
    assert compiled(x).tolist() == [-float("inf")] * 2
    numbers[2] = 2
    assert compiled(x).tolist() == [0.5] * 2
