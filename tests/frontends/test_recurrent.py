"""Recurrent layers: their definition in NumPy, programs of one size for all lengths, packed sequences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import adjit
from adjit.nn.utils.rnn import (
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def rnn_step(x: np.ndarray, h: np.ndarray, states: list[np.ndarray]) -> list[np.ndarray]:
    return [np.tanh(x + h)]


def lstm_step(x: np.ndarray, h: np.ndarray, states: list[np.ndarray]) -> list[np.ndarray]:
    i, f, g, o = np.split(x + h, 4, -1)
    c = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def gru_step(x: np.ndarray, h: np.ndarray, states: list[np.ndarray]) -> list[np.ndarray]:
    (xr, xz, xn), (hr, hz, hn) = np.split(x, 3, -1), np.split(h, 3, -1)
    n = np.tanh(xn + sigmoid(xr + hr) * hn)
    z = sigmoid(xz + hz)
    return [(1 - z) * n + z * states[0]]


STEPS: dict[str, Callable[..., list[np.ndarray]]] = {"RNN": rnn_step, "LSTM": lstm_step, "GRU": gru_step}


def by_definition(layer: adjit.nn.Module, kind: str, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """All hidden states and the last states of a layer of one direction."""
    w_ih, w_hh, b_ih, b_hh = (weight.detach().numpy() for weight in layer.parameters())
    states = [np.zeros((x.shape[1], w_hh.shape[1]))] * (2 if kind == "LSTM" else 1)
    rows = []
    for step in x:
        states = STEPS[kind](step @ w_ih.T + b_ih, states[0] @ w_hh.T + b_hh, states)
        rows.append(states[0])
    return np.stack(rows), states


def flat(states: object) -> list[adjit.Tensor]:
    return list(states) if isinstance(states, tuple) else [states]  # type: ignore[list-item]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("kind", STEPS)
def test_definition(kind: str, compiled: bool) -> None:
    layer = getattr(adjit.nn, kind)(3, 4, dtype=adjit.float64)
    x = adjit.randn(6, 2, 3, dtype=adjit.float64)
    output, last = (adjit.compile(layer) if compiled else layer)(x)
    rows, states = by_definition(layer, kind, x.numpy())
    np.testing.assert_allclose(output.detach().numpy(), rows, rtol=1e-12)
    for mine, theirs in zip(flat(last), states, strict=True):
        np.testing.assert_allclose(mine.detach().numpy()[0], theirs, rtol=1e-12)


@pytest.mark.parametrize("kind", STEPS)
def test_gradients_are_differences(kind: str) -> None:
    layer = getattr(adjit.nn, kind)(2, 3, bidirectional=True, dtype=adjit.float64)
    x = adjit.randn(3, 2, 2, dtype=adjit.float64, requires_grad=True)

    def loss() -> adjit.Tensor:
        output, last = layer(x)
        return output.cos().sum() + sum(state.sin().sum() for state in flat(last))

    loss().backward()
    for tensor in (x, *layer.parameters()):
        direction = adjit.randn(tensor.shape, dtype=adjit.float64)
        step = 1e-6
        values = []
        for sign in (1, -2, 1):
            with adjit.no_grad():
                tensor.add_(direction, alpha=sign * step)
                values.append(float(loss()))
        slope = (values[0] - values[1]) / (2 * step)
        assert float((tensor.grad * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("kind", STEPS)
def test_the_program_does_not_grow_with_the_sequence(kind: str) -> None:
    layer = getattr(adjit.nn, kind)(3, 4)
    counts = set()
    for length in (2, 50):
        program = adjit.compile(lambda x: layer(x)[0].sum(), dynamic=False)
        x = adjit.randn(length, 2, 3)
        backward = program.backward_graph(x)
        counts.add((len(list(program.graph(x).walk())), len(list(backward.walk()))))
    assert len(counts) == 1


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("lengths", [[4, 4, 1], [1, 4, 2]], ids=["sorted", "unsorted"])
def test_packed_sequences_are_the_sequences_one_by_one(kind: str, lengths: list[int]) -> None:
    layer = getattr(adjit.nn, kind)(3, 4, bidirectional=True, num_layers=2, dtype=adjit.float64)
    rows = [adjit.randn(length, 3, dtype=adjit.float64) for length in lengths]
    packed = pack_sequence(rows, enforce_sorted=lengths == sorted(lengths, reverse=True))
    output, last = layer(packed)
    for index, (row, mine) in enumerate(zip(rows, unpack_sequence(output), strict=True)):
        alone, states = layer(row)
        np.testing.assert_allclose(mine.detach().numpy(), alone.detach().numpy(), rtol=1e-10)
        for one, other in zip(flat(last), flat(states), strict=True):
            np.testing.assert_allclose(one.detach().numpy()[:, index], other.detach().numpy(), rtol=1e-10)


def test_packing_and_padding_undo_each_other() -> None:
    rows = [adjit.arange(length) + 10 * length for length in (3, 1, 2)]
    padded = pad_sequence(rows, batch_first=True, padding_value=-1)
    assert padded.tolist() == [[30, 31, 32], [10, -1, -1], [20, 21, -1]]
    packed = pack_padded_sequence(padded, [3, 1, 2], batch_first=True, enforce_sorted=False)
    assert packed.data.tolist() == [30, 20, 10, 31, 21, 32]
    assert packed.batch_sizes.tolist() == [3, 2, 1]
    again, lengths = pad_packed_sequence(packed, batch_first=True, padding_value=-1, total_length=4)
    assert again.tolist() == [[30, 31, 32, -1], [10, -1, -1, -1], [20, 21, -1, -1]]
    assert lengths.tolist() == [3, 1, 2]
    assert [row.tolist() for row in unpad_sequence(again, lengths, batch_first=True)] == [row.tolist() for row in rows]
    left = pad_sequence(rows, padding_side="left")
    assert left.tolist() == [[30, 0, 0], [31, 0, 20], [32, 10, 21]]


def test_repeated_eager_calls_keep_their_bits() -> None:
    """From the fourth call on the loop runs as one native program."""
    layer = adjit.nn.LSTM(3, 4)
    x = adjit.randn(5, 2, 3)
    found = []
    for _ in range(6):
        layer.zero_grad()
        output, _ = layer(x)
        output.sin().sum().backward()
        found.append([output.detach(), *(weight.grad.clone() for weight in layer.parameters())])
    for later in found[1:]:
        assert all(adjit.equal(one, other) for one, other in zip(found[0], later, strict=True))
