"""Attention with several heads: projections, masks, attention, and the projection of the joined heads."""

from __future__ import annotations

import math
from typing import Any

from adjit.creation import zeros, zeros_like
from adjit.joining import cat
from adjit.nn.functional_attention import scaled_dot_product_attention
from adjit.nn.functional_linear import linear
from adjit.nn.functional_padding import pad
from adjit.nn.functional_selection import dropout
from adjit.tensor import Tensor
from adjit.warning import warn


def _demand(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def check_shapes(
    query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None, attn_mask: Tensor | None, heads: int
) -> bool:
    """Whether there is a batch axis.  Errors: AssertionError for ranks that do not fit together."""
    if query.ndim not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.ndim}-D query tensor"
        )
    rank = query.ndim
    kind = f"{'batched (3-D)' if rank == 3 else 'unbatched (2-D)'} `query`"
    _demand(
        key.ndim == rank and value.ndim == rank,
        f"For {kind}, expected `key` and `value` to be {rank}-D but found {key.ndim}-D and {value.ndim}-D tensors "
        "respectively",
    )
    if key_padding_mask is not None:
        _demand(
            key_padding_mask.ndim == rank - 1,
            f"For {kind}, expected `key_padding_mask` to be `None` or {rank - 1}-D but found "
            f"{key_padding_mask.ndim}-D tensor instead",
        )
    if attn_mask is not None:
        _demand(
            attn_mask.ndim in (2, 3),
            f"For {kind}, expected `attn_mask` to be `None`, 2-D or 3-D but found {attn_mask.ndim}-D tensor instead",
        )
        if rank == 2 and attn_mask.ndim == 3:
            expected = (heads, query.shape[0], key.shape[0])
            _demand(
                tuple(attn_mask.shape) == expected,
                f"Expected `attn_mask` shape to be {expected} but got {attn_mask.shape}",
            )
    return bool(rank == 3)


def canonical_mask(mask: Tensor | None, name: str, other: Tensor | None, other_name: str, like: Tensor) -> Any:
    """A mask as numbers to add: of a bool one -inf where it is set, else 0."""
    if mask is None:
        return None
    floating = mask._dtype.is_float
    _demand(floating or mask._dtype.name == "bool", f"only bool and floating types of {name} are supported")
    if other is not None and other._dtype is not mask._dtype:
        warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    return mask if floating else zeros_like(mask, dtype=like.dtype).masked_fill(mask, -math.inf)


def _projected(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor | None, bias: Tensor | None,
    separate: tuple[Tensor | None, Tensor | None, Tensor | None] | None,
) -> list[Tensor]:  # fmt: skip
    """Query, key and value after their projections; one product where they are the same tensor."""
    size = query.shape[-1]
    biases = [None] * 3 if bias is None else list(bias.chunk(3))
    if separate is not None:
        weights = []
        for name, own, columns in zip("qkv", separate, (size, key.shape[-1], value.shape[-1]), strict=True):
            if own is None:
                raise AssertionError(f"use_separate_proj_weight is True but {name}_proj_weight is None")
            title = {"q": "query", "k": "key", "v": "value"}[name]
            _demand(
                tuple(own.shape) == (size, columns),
                f"expecting {title} weights shape of {(size, columns)}, but got {own.shape}",
            )
            weights.append(own)
    elif weight is None:
        raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
    elif query is key and key is value:
        return list(linear(query, weight, bias).chunk(3, -1))
    else:
        weights = list(weight.chunk(3))
    return [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]


def _check_sizes(query: Tensor, key: Tensor, value: Tensor, embed_dim: int, heads: int, separate: bool) -> None:
    size = query.shape[-1]
    _demand(size == embed_dim, f"was expecting embedding dimension of {embed_dim}, but got {size}")
    _demand(size // heads * heads == size, f"embed_dim {size} not divisible by num_heads {heads}")
    if separate:
        _demand(
            tuple(key.shape[:2]) == tuple(value.shape[:2]),
            f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}",
        )
    else:
        _demand(
            tuple(key.shape) == tuple(value.shape), f"key shape {key.shape} does not match value shape {value.shape}"
        )


def _check_mask(mask: Tensor, target: int, source: int, rows: int) -> Tensor:
    """The mask with an axis for batch and heads."""
    for rank, expected in ((2, (target, source)), (3, (rows, target, source))):
        if mask.ndim == rank:
            if tuple(mask.shape) != expected:
                raise RuntimeError(f"The shape of the {rank}D attn_mask is {mask.shape}, but should be {expected}.")
            return mask.unsqueeze(0) if rank == 2 else mask
    raise RuntimeError(f"attn_mask's dimension {mask.ndim} is not supported")


def _split_heads(tensor: Tensor, rows: int, size: int, static: Tensor | None, name: str) -> Tensor:
    """[length, batch, features] as [batch*heads, length, size]; or what is given in its place."""
    if static is None:
        found: Tensor = tensor.reshape(tensor.shape[0], rows, size).transpose(0, 1)
        return found
    for axis, expected in ((0, rows), (2, size)):
        _demand(
            static.shape[axis] == expected,
            f"expecting {name}.size({axis}) of {expected}, but got {static.shape[axis]}",
        )
    return static


def multi_head_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int, in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None, bias_k: Tensor | None, bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float,
    out_proj_weight: Tensor, out_proj_bias: Tensor | None, training: bool = True,
    key_padding_mask: Tensor | None = None, need_weights: bool = True, attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Tensor | None = None, k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None, static_k: Tensor | None = None, static_v: Tensor | None = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """softmax(Q K^T/sqrt(size) + mask) V for each head, joined and projected; and the weights, if `need_weights`.

    Shapes: query [L, N, E], key [S, N, K], value [S, N, V] (or without N); `key_padding_mask` [N, S] and `attn_mask`
    [L, S] or [N*heads, L, S] are true, or -inf, where nothing is attended to.
    Source: Vaswani et al., 2017.
    """
    batched = check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        same = query is key and key is value
        query = query.unsqueeze(1)
        key, value = (query, query) if same else (key.unsqueeze(1), value.unsqueeze(1))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    target, batch, embed_dim = query.shape
    padding = canonical_mask(key_padding_mask, "key_padding_mask", attn_mask, "attn_mask", query)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    is_causal = is_causal and padding is None and not need_weights
    mask = None if is_causal else canonical_mask(attn_mask, "attn_mask", None, "", query)
    _check_sizes(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)
    rows, size = batch * num_heads, embed_dim // num_heads
    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _projected(query, key, value, in_proj_weight, in_proj_bias, separate)
    if mask is not None:
        mask = _check_mask(mask, target, key.shape[0], rows)
    extra = 0
    if bias_k is not None and bias_v is not None:
        _demand(static_k is None, "bias cannot be added to static key.")
        _demand(static_v is None, "bias cannot be added to static value.")
        k, v = (cat([own, bias.expand(1, batch, embed_dim)]) for own, bias in ((k, bias_k), (v, bias_v)))
        extra += 1
    else:
        _demand(bias_k is None, "bias_k is set but bias_v is None")
        _demand(bias_v is None, "bias_v is set but bias_k is None")
    q = _split_heads(q, rows, size, None, "")
    k, v = _split_heads(k, rows, size, static_k, "static_k"), _split_heads(v, rows, size, static_v, "static_v")
    if add_zero_attn:
        nothing = zeros(rows, 1, size, dtype=k.dtype)
        k, v = cat([k, nothing], 1), cat([v, nothing], 1)
        extra += 1
    source = k.shape[1]
    mask = pad(mask, (0, extra)) if extra and mask is not None else mask
    if padding is not None:
        padding = pad(padding, (0, extra)) if extra else padding
        _demand(
            padding.shape[1] == source,
            f"Expected key_padded_mask.shape[1] to be {source}, but got {padding.shape[1]}",
        )
        spread = padding.reshape(batch, 1, 1, source).expand(batch, num_heads, 1, source).reshape(rows, 1, source)
        mask = spread if mask is None else mask + spread
    dropout_p = dropout_p if training else 0.0
    weights = None
    if need_weights:
        scores = (q * math.sqrt(1.0 / size)).matmul(k.transpose(-2, -1))
        weights = (scores if mask is None else mask + scores).softmax(-1)
        weights = dropout(weights, dropout_p) if dropout_p > 0.0 else weights
        joined = weights.matmul(v)
        weights = weights.reshape(batch, num_heads, target, source)
        weights = weights.mean(1) if average_attn_weights else weights
        joined = joined.transpose(0, 1)
    else:
        q, k, v = (x.reshape(batch, num_heads, x.shape[1], size) for x in (q, k, v))
        if mask is not None:
            mask = mask.unsqueeze(0) if mask.shape[0] == 1 else mask.reshape(batch, num_heads, -1, source)
        joined = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal).permute(2, 0, 1, 3)
    output = linear(joined.reshape(target * batch, embed_dim), out_proj_weight, out_proj_bias)
    output = output.reshape(target, batch, output.shape[1])
    if not batched:
        output = output.squeeze(1)
        weights = None if weights is None else weights.squeeze(0)
    return output, weights
