"""Multi-head attention and transformers: their definition in NumPy, masks, gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest

import adjit
from adjit.nn import MultiheadAttention, Transformer, TransformerEncoder, TransformerEncoderLayer


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def by_definition(layer: MultiheadAttention, x: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Attention of x [L, E] to itself, and the weights [heads, L, L]."""
    weight, bias = layer.in_proj_weight.detach().numpy(), layer.in_proj_bias.detach().numpy()
    q, k, v = np.split(x @ weight.T + bias, 3, -1)
    size = layer.head_dim
    rows, weights = [], []
    for head in range(layer.num_heads):
        part = slice(head * size, (head + 1) * size)
        weights.append(softmax(q[:, part] @ k[:, part].T / math.sqrt(size) + mask))
        rows.append(weights[-1] @ v[:, part])
    out = layer.out_proj
    return np.concatenate(rows, -1) @ out.weight.detach().numpy().T + out.bias.detach().numpy(), np.stack(weights)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("need_weights", [False, True])
def test_definition(need_weights: bool, compiled: bool) -> None:
    layer = MultiheadAttention(6, 2, dtype=adjit.float64)
    x = adjit.randn(5, 3, 6, dtype=adjit.float64)
    mask = Transformer.generate_square_subsequent_mask(5, dtype=adjit.float64)
    run = adjit.compile(layer) if compiled else layer
    output, weights = run(x, x, x, attn_mask=mask, need_weights=need_weights, average_attn_weights=False)
    for index in range(3):
        expected, expected_weights = by_definition(layer, x.numpy()[:, index], mask.numpy())
        np.testing.assert_allclose(output.detach().numpy()[:, index], expected, rtol=1e-9)
        if need_weights:
            np.testing.assert_allclose(weights.detach().numpy()[index], expected_weights, rtol=1e-9)
    assert need_weights or weights is None


def test_padded_steps_do_not_matter() -> None:
    layer = TransformerEncoder(TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), 2).double()
    x = adjit.randn(2, 5, 4, dtype=adjit.float64)
    padding = adjit.tensor([[False] * 5, [False] * 3 + [True] * 2])
    whole = layer(x, src_key_padding_mask=padding)
    alone = layer(x[1:, :3])
    np.testing.assert_allclose(whole[1, :3].detach().numpy(), alone[0].detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize("norm_first", [False, True])
def test_gradients_are_differences(norm_first: bool) -> None:
    model = Transformer(4, 2, 1, 1, 6, 0.0, "gelu", norm_first=norm_first, batch_first=True).double()
    src = adjit.randn(2, 3, 4, dtype=adjit.float64, requires_grad=True)
    tgt = adjit.randn(2, 2, 4, dtype=adjit.float64, requires_grad=True)
    mask = Transformer.generate_square_subsequent_mask(2, dtype=adjit.float64)

    def loss() -> adjit.Tensor:
        return model(src, tgt, tgt_mask=mask, tgt_is_causal=True).sin().sum()

    loss().backward()
    for tensor in (src, tgt, *model.parameters()):
        direction = adjit.randn(tensor.shape, dtype=adjit.float64)
        values = []
        for sign in (1, -2, 1):
            with adjit.no_grad():
                tensor.add_(direction, alpha=sign * 1e-6)
                values.append(float(loss()))
        slope = (values[0] - values[1]) / 2e-6
        assert float((tensor.grad * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-6)
