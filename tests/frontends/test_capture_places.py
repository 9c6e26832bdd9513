"""Attributes and items that captured loops write: compiled they are what plain Python leaves there."""

from __future__ import annotations

import pytest

import adjit as torch
from tests.frontends.test_capture import F, agrees


def items_as_targets(x):
    table, row, i = {"k": x[0]}, [x[3]] * 4, 2
    items = (1, 3.0, (x[1], x[2], 0.1)), (0, x[0], (x[3], 1.0, 2.0)), (1, 4.0, row[:3])
    for i, row[i], (table["k"], *row[2:]) in items:
        if x.sum() > i:
            break
        x = x + table["k"]
    return x * table["k"] + i + torch.stack([torch.as_tensor(v, dtype=x.dtype) for v in row])


def attribute_as_target(x):
    box = Box()
    box.value = 7
    for box.value in range((x > 0).sum()):
        if x.sum() > 1:
            break
        x = x + 0.3
    else:
        x = x * 2
    return x * box.value


class Box:
    pass


def places_that_first_stay(x):
    table, row, box = {"x": x, "i": 0}, [0, x[0]], Box()
    box.value = x
    for i in range((x > 0).sum() + 1):
        table["x"], table["i"], row[0], box.value = x, i, row[0] + i, table["x"]
        x = x + 0.5
        row[1] = x[0] if i == 0 else row[1]
    return table["x"] * table["i"] + row[0] * box.value + row[1]


@pytest.mark.parametrize("function", [items_as_targets, attribute_as_target, places_that_first_stay])
def test_places_are_those_of_plain_python(function: F) -> None:
    agrees(torch.compile(function), function)
