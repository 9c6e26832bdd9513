"""Recurrent layers as functions: one time step, and a sequence as one `scan`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from adjit.autocasting import lowered, precision
from adjit.composite import composite
from adjit.dispatch import apply
from adjit.ir.ops import named
from adjit.ir.ops.scalar import tanh, where
from adjit.loops import scan
from adjit.nn.functional_activation import elementwise, sigmoid
from adjit.nn.functional_linear import linear
from adjit.state import STATE
from adjit.tensor import Tensor

State: TypeAlias = "tuple[Tensor, ...]"
# From the input's gates, the hidden state's gates and the state to the next state, hidden part first.
Cell: TypeAlias = "Callable[[Tensor, Tensor, State], State]"


def _tanh_cell(gates: Tensor, recurrent: Tensor, state: State) -> State:
    """h' = tanh(x + h)."""
    return (elementwise(tanh, gates + recurrent, "Tanh"),)


def _relu_cell(gates: Tensor, recurrent: Tensor, state: State) -> State:
    """h' = relu(x + h)."""
    return (elementwise(named.relu, gates + recurrent, "Relu"),)


def _lstm_cell(gates: Tensor, recurrent: Tensor, state: State) -> State:
    """c' = f*c + i*g, h' = o*tanh(c'), with i, f, o = sigmoid and g = tanh of the four parts of x + h.

    Source: Hochreiter and Schmidhuber, 1997; Gers, Schmidhuber and Cummins, 2000.
    """
    entry, forget, new, out = (gates + recurrent).chunk(4, -1)
    memory = sigmoid(forget) * state[1] + sigmoid(entry) * elementwise(tanh, new, "Tanh")
    return sigmoid(out) * elementwise(tanh, memory, "Tanh"), memory


def _gru_cell(gates: Tensor, recurrent: Tensor, state: State) -> State:
    """h' = (h - n)*z + n, with r, z = sigmoid and n = tanh(x_n + r*h_n).

    Source: Cho et al., 2014, with the reset after the product.
    """
    from_input, from_state = gates.chunk(3, -1), recurrent.chunk(3, -1)
    reset = sigmoid(from_input[0] + from_state[0])
    update = sigmoid(from_input[1] + from_state[1])
    new = elementwise(tanh, from_input[2] + reset * from_state[2], "Tanh")
    return ((state[0] - new) * update + new,)


CELLS: dict[str, Cell] = {"RNN_TANH": _tanh_cell, "RNN_RELU": _relu_cell, "LSTM": _lstm_cell, "GRU": _gru_cell}


def _step(
    mode: str,
    input: Tensor,
    state: tuple[Tensor, ...],
    weights: tuple[Tensor, Tensor],
    biases: tuple[Tensor, ...],
) -> State:
    bias_ih, bias_hh = biases or (None, None)
    return CELLS[mode](linear(input, weights[0], bias_ih), linear(state[0], weights[1], bias_hh), state)


_CELL_NAMES = {"RNN_TANH": "Tanh", "RNN_RELU": "Relu", "LSTM": "ThnnFusedLstmCell", "GRU": "Add"}
_STEPS = {mode: composite(name, f"{mode.lower()}_cell")(_step) for mode, name in _CELL_NAMES.items()}


def cell(
    mode: str, input: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> State:
    """One step of a recurrent layer.

    Shapes: input [N, inputs], states [N, hidden], weights [gates*hidden, inputs] and [gates*hidden, hidden].
    """
    if STATE.autocast is None:
        found: State = tuple(_STEPS[mode](mode, input, tuple(state), tuple(weights), tuple(biases)))
        return found
    # The products are in the lower precision, the rest in that of the states, as in PyTorch.
    entry, hidden, *own = lowered(input, state[0], *weights, *biases)
    with precision(None):
        bias_ih, bias_hh = own[2:] or (None, None)
        return CELLS[mode](linear(entry, own[0], bias_ih), linear(hidden, own[1], bias_hh), tuple(state))


def _sequence(
    mode: str,
    input: Tensor,
    state: tuple[Tensor, ...],
    weights: tuple[Tensor, ...],
    biases: tuple[Tensor, ...],
    present: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, ...]:
    """Hidden states of all steps, then the last state; `present` bool[T, N] says where a sequence has a step."""
    bias_ih, bias_hh = biases or (None, None)
    gates = input.matmul(weights[0].t())
    if bias_ih is not None:
        gates = gates + bias_ih
    fixed = [*weights[1:], *([] if bias_hh is None else [bias_hh])]

    def step(own: Sequence[Tensor], state: Sequence[Tensor], rows: Sequence[Tensor]) -> tuple[list[Tensor], State]:
        hidden = state[0] if state[0]._dtype is own[0]._dtype else state[0].to(own[0].dtype)
        recurrent = hidden.matmul(own[0].t())
        if bias_hh is not None:
            recurrent = recurrent + own[-1]
        found = list(CELLS[mode](rows[0], recurrent, tuple(state)))
        if len(weights) == 3:  # the projection
            found[0] = found[0].matmul(own[1].t())
        if present is not None:
            seen = rows[1].unsqueeze(1)
            found = [
                apply(where, (seen.expand(new.shape), new, old)) for new, old in zip(found, state, strict=True)
            ]
        return found, (found[0],)

    rows = [gates] if present is None else [gates, present]
    last, (outputs,) = scan(step, fixed, state, rows, reverse=reverse)
    return outputs, *last


_SEQUENCES = {mode: composite("Stack", mode.lower())(_sequence) for mode in CELLS}


def sequence(
    mode: str,
    input: Tensor,
    state: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    present: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """One layer in one direction over a sequence: the hidden state after each step, and the last state.

    Shapes: input [T, N, inputs], states [N, hidden] -> [T, N, hidden], and states as given.
    """
    if STATE.autocast is not None:
        (input, *own), count = lowered(input, *weights, *biases), len(weights)
        weights, biases = own[:count], own[count:]
        state = state if mode == "GRU" else lowered(*state)
        with precision(None):
            return sequence(mode, input, state, weights, biases, present, reverse)
    found: tuple[Tensor, ...] = tuple(
        _SEQUENCES[mode](mode, input, tuple(state), tuple(weights), tuple(biases), present, reverse)
    )
    return found
