"""Recurrent layers."""

from __future__ import annotations

from adjit.nn.recurrent import GRU, LSTM, RNN, RNNBase
from adjit.nn.recurrent_cells import GRUCell, LSTMCell, RNNCell, RNNCellBase

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]
