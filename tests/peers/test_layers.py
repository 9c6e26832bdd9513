"""Layers equal torch's in text, state, results and gradients; the whole table is `python -m tests.peers.layers`."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")

NAMES = [
    "Linear", "Conv2d", "BatchNorm2d", "LayerNorm", "RNN", "LSTM", "GRU", "GRUCell", "NLLLoss", "SmoothL1Loss",
    "MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", NAMES)
def test_layer(name: str, compiled: bool) -> None:
    """The first cases of a layer, in training and evaluation."""
    from itertools import islice

    from tests.peers.layers import cases, run

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(islice((case for case in cases() if case[0] == name), 3 if compiled else 12))
        assert found
        for _, training, given in found:
            run(name, given, training, compiled)
