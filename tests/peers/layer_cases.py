"""Layers beyond torch's database of modules: name, constructor's arguments, and what makes the inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.testing._internal.common_modules import FunctionInput


def made(*args: Any, **kwargs: Any) -> FunctionInput:
    """The constructor's arguments."""
    return FunctionInput(*args, **kwargs)


def fed(*shapes: tuple[int, ...], **kwargs: Any) -> Callable[[], FunctionInput]:
    """Normally distributed inputs of these shapes that require grad."""
    return lambda: FunctionInput(*(torch.randn(shape, requires_grad=True) for shape in shapes), **kwargs)


def packed(*lengths: int, sort: bool = True, features: int = 3) -> Callable[[], FunctionInput]:
    """A packed sequence."""

    def make() -> FunctionInput:
        padded = torch.randn(max(lengths), len(lengths), features)
        return FunctionInput(torch.nn.utils.rnn.pack_padded_sequence(padded, list(lengths), enforce_sorted=sort))

    return make


CASES: list[tuple[str, FunctionInput, Callable[[], FunctionInput]]] = [
    *(
        (name, made(3, 4, **options), feed)
        for name in ("RNN", "LSTM", "GRU")
        for options, feed in (
            ({}, fed((5, 2, 3))),
            ({"num_layers": 2, "bidirectional": True}, fed((5, 2, 3))),
            ({"bias": False, "batch_first": True}, fed((2, 5, 3))),
            ({"num_layers": 3}, fed((5, 3))),
            ({"bidirectional": True}, packed(5, 4, 2)),
            ({}, packed(2, 5, 1, sort=False)),
            ({"num_layers": 2, "dropout": 0.5}, fed((5, 2, 3))),
        )
    ),
    ("RNN", made(3, 4, 1, "relu"), fed((5, 2, 3))),
    ("GRU", made(3, 4), fed((5, 2, 3), (1, 2, 4))),
    ("LSTM", made(3, 4, proj_size=2, num_layers=2, bidirectional=True), fed((5, 2, 3))),
    ("LSTM", made(3, 4, proj_size=2), packed(4, 3, 1)),
]
