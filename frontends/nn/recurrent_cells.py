"""Recurrent cells: one time step as a layer."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from adjit.creation import zeros
from adjit.nn import init
from adjit.nn.functional_recurrent import cell
from adjit.nn.linear import new_parameter
from adjit.nn.module import Module
from adjit.nn.parameter import Parameter
from adjit.tensor import Tensor


class RNNCellBase(Module):
    """What cells share: weights of the input and of the hidden state."""

    kind: ClassVar[str] = "RNNCell"
    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        self.weight_ih = new_parameter(rows, input_size, device=device, dtype=dtype)
        self.weight_hh = new_parameter(rows, hidden_size, device=device, dtype=dtype)
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, new_parameter(rows, device=device, dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values, evenly from -1/sqrt(hidden_size)..1/sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        """The sizes, and what differs from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}" + ("" if self.bias is True else f", bias={self.bias}")
        nonlinearity = self.__dict__.get("nonlinearity", "tanh")
        return text if nonlinearity == "tanh" else f"{text}, nonlinearity={nonlinearity}"

    def _run(self, mode: str, input: Tensor, states: list[Tensor] | None, count: int) -> tuple[Tensor, ...]:
        if input.ndim not in (1, 2):
            raise ValueError(f"{self.kind}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        for index, state in enumerate(states or ()):
            if state.ndim not in (1, 2):
                what = "hidden" if count == 1 else f"hx[{index}]"
                raise ValueError(f"{self.kind}: Expected {what} to be 1D or 2D, got {state.ndim}D instead")
        batched = input.ndim == 2
        rows = input if batched else input.unsqueeze(0)
        if states is None:
            states = [zeros(rows.shape[0], self.hidden_size, dtype=input.dtype)] * count
        elif not batched:
            states = [state.unsqueeze(0) for state in states]
        self._check(rows, states)
        biases = [] if self.bias_ih is None or self.bias_hh is None else [self.bias_ih, self.bias_hh]
        found = cell(mode, rows, states, (self.weight_ih, self.weight_hh), biases)
        return found if batched else tuple(state.squeeze(0) for state in found)

    def _check(self, rows: Tensor, states: list[Tensor]) -> None:
        if rows.shape[1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {rows.shape[1]} expected {self.input_size}")
        for index, state in enumerate(states):
            if rows.shape[0] != state.shape[0]:
                raise RuntimeError(
                    f"Input batch size {rows.shape[0]} doesn't match hidden{index} batch size {state.shape[0]}"
                )
            if state.shape[1] != self.hidden_size:
                raise RuntimeError(
                    f"hidden{index} has inconsistent hidden_size: got {state.shape[1]}, expected {self.hidden_size}"
                )


class RNNCell(RNNCellBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu instead of tanh."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next hidden state."""
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._run(f"RNN_{self.nonlinearity.upper()}", input, None if hx is None else [hx], 1)[0]


class LSTMCell(RNNCellBase):
    """The next hidden state and memory of long short-term memory; see `LSTM`."""

    kind = "LSTMCell"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """The next hidden state and memory."""
        hidden, memory = self._run("LSTM", input, None if hx is None else list(hx), 2)
        return hidden, memory


class GRUCell(RNNCellBase):
    """The next hidden state of gated recurrent units; see `GRU`."""

    kind = "GRUCell"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next hidden state."""
        return self._run("GRU", input, None if hx is None else [hx], 1)[0]
