"""Recurrent layers over sequences: `RNN`, `LSTM`, `GRU`."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

from adjit.creation import zeros
from adjit.errors import explained
from adjit.joining import cat, stack
from adjit.nn import functional, init
from adjit.nn.functional_recurrent import sequence
from adjit.nn.linear import new_parameter
from adjit.nn.module import Module
from adjit.nn.parameter import Parameter
from adjit.nn.utils.rnn import PackedSequence, layout, packed_rows, padded_from, sequence_count
from adjit.tensor import Tensor

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def _type_name(value: Any) -> str:
    return type(value).__name__


class RNNBase(Module):
    """What recurrent layers share: the weights of all layers and directions, and how layers follow each other."""

    kind: ClassVar[str] = "RNN"
    states: ClassVar[int] = 1

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_arguments(dropout)
        for name, shape in self._weight_shapes():
            self.register_parameter(name, new_parameter(*shape, device=device, dtype=dtype))
        self.reset_parameters()

    def _check_arguments(self, dropout: Any) -> None:
        if isinstance(dropout, bool) or not isinstance(dropout, numbers.Number) or not 0 <= dropout <= 1:  # type: ignore[operator]
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and self.num_layers == 1:  # type: ignore[operator]
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={self.num_layers}",
                stacklevel=4,
            )
        for name, kind in (("bias", bool), ("batch_first", bool), ("input_size", int), ("hidden_size", int)):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise TypeError(f"{name} should be of type {kind.__name__}, got: {_type_name(value)}")
            if kind is int and value <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if self.num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if self.proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if self.proj_size >= self.hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if self.mode not in _GATES:
            raise ValueError("Unrecognized RNN mode: " + self.mode)

    @property
    def _directions(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    @property
    def _out_size(self) -> int:
        """The size of the hidden state that is passed on."""
        return self.proj_size if self.proj_size > 0 else self.hidden_size

    def _names(self, layer: int, suffix: str) -> list[str]:
        """The weights of one layer in one direction, in PyTorch's order."""
        names = ["weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if self.bias else ())]
        return [f"{name}_l{layer}{suffix}" for name in [*names, *(("weight_hr",) if self.proj_size > 0 else ())]]

    def _weight_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        rows = _GATES[self.mode] * self.hidden_size
        found: list[tuple[str, tuple[int, ...]]] = []
        for layer in range(self.num_layers):
            columns = self.input_size if layer == 0 else self._out_size * len(self._directions)
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (rows, columns), "weight_hh": (rows, self._out_size), "bias_ih": (rows,),
                "bias_hh": (rows,), "weight_hr": (self.proj_size, self.hidden_size),
            }  # fmt: skip
            for suffix in self._directions:
                found += [(name, shapes[name.rpartition("_l")[0]]) for name in self._names(layer, suffix)]
        return found

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The weights by layer and direction."""
        return [
            [getattr(self, name) for name in self._names(layer, suffix)]
            for layer in range(self.num_layers)
            for suffix in self._directions
        ]

    @property
    def _flat_weights(self) -> list[Parameter]:
        return [weight for weights in self.all_weights for weight in weights]

    def flatten_parameters(self) -> None:
        """Nothing: there is no layout that a kernel would prefer."""

    def reset_parameters(self) -> None:
        """Draw new initial values, evenly from -1/sqrt(hidden_size)..1/sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    # -- checks -----------------------------------------------------------------------------------------------------
    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raise for an input of another dtype, rank or size."""
        first = self._flat_weights[0]
        if input.dtype != first.dtype:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({first.dtype}). Convert input: "
                f"input.to({first.dtype}), or convert model: model.to({input.dtype})"
            )
        wanted = 2 if batch_sizes is not None else 3
        if input.ndim != wanted:
            raise RuntimeError(f"input must have {wanted} dimensions, got {input.ndim}")
        if self.input_size != input.shape[-1]:
            raise explained(
                RuntimeError,
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.shape[-1]}",
                hint=f"a layer for such inputs is nn.{type(self).__name__}({input.shape[-1]}, {self.hidden_size})",
            )

    def get_expected_hidden_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """The shape of the hidden state for this input."""
        if batch_sizes is not None:
            count = int(batch_sizes[0])
        else:
            count = input.shape[0] if self.batch_first else input.shape[1]
        return self._state_shape(count)

    def _state_shape(self, count: int) -> tuple[int, int, int]:
        return self.num_layers * len(self._directions), count, self._out_size

    def check_hidden_size(
        self, hx: Tensor, expected_hidden_size: tuple[int, int, int], msg: str = "Expected hidden size {}, got {}"
    ) -> None:
        """Raise for a hidden state of another shape."""
        if tuple(hx.shape) != tuple(expected_hidden_size):
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.shape)))

    def _check_states(self, states: Sequence[Tensor], count: int) -> None:
        self.check_hidden_size(states[0], self._state_shape(count))

    def _unbatched_error(self, states: Sequence[Tensor], batched: bool) -> str:
        wanted, given = (3, "batched 3-D") if batched else (2, "unbatched 2-D")
        return f"For {given} input, hx should also be {wanted}-D but got {states[0].ndim}-D tensor"

    # -- running ----------------------------------------------------------------------------------------------------
    def _split(self, hx: Any) -> list[Tensor]:
        return [hx]

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The hidden states of all steps of the last layer, and the last states of all layers.

        Shapes: input [T, N, inputs] ([N, T, inputs] if `batch_first`), [T, inputs], or a `PackedSequence`; states
        [layers*directions, N, hidden].
        """
        states = None if hx is None else self._split(hx)
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, states)
        if input.ndim not in (2, 3):
            tail = "D tensor instead" if self.kind == "RNN" else "D instead"
            raise ValueError(f"{self.kind}: Expected input to be 2D or 3D, got {input.ndim}{tail}")
        batched = input.ndim == 3
        if states is not None and any(state.ndim != input.ndim for state in states):
            raise RuntimeError(self._unbatched_error(states, batched))
        axis = 0 if self.batch_first else 1
        if not batched:
            input = input.unsqueeze(axis)
            states = None if states is None else [state.unsqueeze(1) for state in states]
        self.check_input(input, None)
        states = self._first_states(input, states, input.shape[axis])
        rows = input.transpose(0, 1) if self.batch_first else input
        if rows.shape[0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        output, last = self._layers(rows, states, None)
        if self.batch_first:
            output = output.transpose(0, 1)
        if not batched:
            output, last = output.squeeze(axis), [state.squeeze(1) for state in last]
        return output, self._joined(last)

    def _first_states(self, input: Tensor, states: list[Tensor] | None, count: int) -> list[Tensor]:
        if states is not None:
            self._check_states(states, count)
            return states
        layers = self.num_layers * len(self._directions)
        sizes = (self._out_size, self.hidden_size)[: self.states]
        return [zeros(layers, count, size, dtype=input.dtype) for size in sizes]

    def _forward_packed(self, input: PackedSequence, states: list[Tensor] | None) -> Any:
        data, batch_sizes, order, inverse = input
        self.check_input(data, batch_sizes)
        if states is not None and order is not None:
            states = [state.index_select(1, order) for state in states]
        count = sequence_count(input) if states is None or order is not None else states[0].shape[1]
        if states is not None:
            self._check_states(states, sequence_count(input) if batch_sizes._array is not None else count)
        states = self._first_states(data, states, count)
        place, present = layout(batch_sizes, count)
        output, last = self._layers(padded_from(data, place, present, 0.0), states, present)
        rows = packed_rows(output, place, present, data.shape[0])
        if inverse is not None:
            last = [state.index_select(1, inverse) for state in last]
        return PackedSequence(rows, batch_sizes, order, inverse), self._joined(last)

    def _joined(self, last: list[Tensor]) -> Any:
        return last[0]

    def _layers(
        self, input: Tensor, states: Sequence[Tensor], present: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """All layers, one after another, over [T, N, inputs]."""
        found: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            outputs = []
            for suffix in self._directions:
                own = {name.partition("_l")[0]: getattr(self, name) for name in self._names(layer, suffix)}
                weights = [own[name] for name in ("weight_ih", "weight_hh", "weight_hr") if name in own]
                biases = [own[name] for name in ("bias_ih", "bias_hh") if name in own]
                first = [state[len(found)] for state in states]
                output, *last = sequence(self.mode, input, first, weights, biases, present, suffix != "")
                outputs.append(output)
                found.append(tuple(last))
            input = outputs[0] if len(outputs) == 1 else cat(outputs, -1)
            if self.dropout > 0 and self.training and layer < self.num_layers - 1:
                input = functional.dropout(input, self.dropout)
        return input, [stack(column) for column in zip(*found, strict=True)]

    def extra_repr(self) -> str:
        """The sizes, and what differs from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.batch_first is not False:
            text += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            text += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            text += f", bidirectional={self.bidirectional}"
        return text


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh) at each step, or relu instead of tanh.

    Source: Elman, 1990.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            nonlinearity, args = args[3], (*args[:3], *args[4:])
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory: a hidden state and a memory cell with gates for entry, forgetting and output.

    Source: Hochreiter and Schmidhuber, 1997; projections: Sak, Senior and Beaufays, 2014.
    """

    kind = "LSTM"
    states = 2

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def _split(self, hx: Any) -> list[Tensor]:
        return [hx[0], hx[1]]

    def _joined(self, last: list[Tensor]) -> Any:
        return last[0], last[1]

    def _unbatched_error(self, states: Sequence[Tensor], batched: bool) -> str:
        wanted, given = (3, "batched 3-D") if batched else (2, "unbatched 2-D")
        ranks = ", ".join(f"{state.ndim}-D" for state in states)
        return f"For {given} input, hx and cx should also be {wanted}-D but got ({ranks}) tensors"

    def get_expected_cell_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """The shape of the memory for this input."""
        layers, count, _ = self.get_expected_hidden_size(input, batch_sizes)
        return layers, count, self.hidden_size

    def _check_states(self, states: Sequence[Tensor], count: int) -> None:
        shape = self._state_shape(count)
        self.check_hidden_size(states[0], shape, "Expected hidden[0] size {}, got {}")
        self.check_hidden_size(states[1], (*shape[:2], self.hidden_size), "Expected hidden[1] size {}, got {}")


class GRU(RNNBase):
    """Gated recurrent units: gates for resetting and for updating the hidden state.

    Source: Cho et al., 2014.
    """

    kind = "GRU"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)
