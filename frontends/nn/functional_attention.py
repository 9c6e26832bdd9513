"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

from adjit.composite import composite
from adjit.dispatch import apply
from adjit.dtypes import c_name
from adjit.heard_numbers import as_float
from adjit.ir.ops.scalar import where
from adjit.ir.ops.source import iota
from adjit.ir.types import I64
from adjit.nn.functional_selection import dropout
from adjit.nn.half_precision import in_single
from adjit.tensor import Tensor


@composite("ScaledDotProductAttention")
@in_single
def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, is_causal: bool, scale: float
) -> Tensor:
    """softmax(query @ key.T*scale + mask) @ value."""
    found: Tensor = weights_of(query, key, attn_mask, is_causal, scale).matmul(value)
    return found


def weights_of(query: Tensor, key: Tensor, attn_mask: Tensor | None, is_causal: bool, scale: float) -> Tensor:
    """softmax(query @ key.T*scale + mask); a row with nothing to attend to is 0."""
    scores = query.matmul(key.transpose(-2, -1)) * scale
    mask = attn_mask
    if is_causal:
        shape = (query.shape[-2], key.shape[-2])
        row = apply(iota, (), {"shape": shape, "axis": 0, "dtype": I64})
        mask = apply(iota, (), {"shape": shape, "axis": 1, "dtype": I64}) <= row
    found: Tensor
    if mask is None or mask._dtype.is_float:
        found = (scores if mask is None else scores + mask).softmax(-1)
        return found
    seen = mask.expand(scores.shape)
    weights = apply(where, (seen, scores, -math.inf)).softmax(-1)
    found = apply(where, (seen.any(-1, keepdim=True).expand(scores.shape), weights, 0))
    return found


@composite("Softmax")
@in_single
def attention_weights(
    query: Tensor, key: Tensor, attn_mask: Tensor | None, is_causal: bool, scale: float
) -> Tensor:
    """softmax(query @ key.T*scale + mask)."""
    return weights_of(query, key, attn_mask, is_causal, scale)


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """softmax(query @ key.T*scale + mask) @ value, with dropout on the weights; scale None: 1/sqrt(E).

    Shapes: query [*, L, E], key [*, S, E], value [*, S, F], mask [*, L, S] (bool, true to attend, or floating)
    -> [*, L, F].
    """
    if not query._dtype is key._dtype is value._dtype:
        names = [c_name(tensor._dtype) for tensor in (query, key, value)]
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: {} key.dtype: {} and "
            "value.dtype: {} instead.".format(*names)
        )
    if is_causal and attn_mask is not None:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else as_float(scale)
    if dropout_p > 0.0:
        weights = attention_weights(query, key, attn_mask, is_causal, factor)
        return dropout(weights, dropout_p).matmul(value)
    return attention(query, key, value, attn_mask, is_causal, factor)
