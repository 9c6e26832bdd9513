"""PyTorch's `torch.nn.attention.flex_attention`: attention whose scores and mask a function gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from adjit.creation import zeros
from adjit.func import vmap
from adjit.joining import cat
from adjit.logic import logical_and, logical_or
from adjit.ranges import arange
from adjit.selecting import masked_fill
from adjit.tensor import Tensor

__all__ = ["BlockMask", "and_masks", "create_block_mask", "create_mask", "flex_attention", "noop_mask", "or_masks"]

Modification = Callable[..., Tensor]


def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """True everywhere: the mask that hides nothing."""
    found: Tensor = batch.new_ones((), dtype=bool)
    return found


def and_masks(*mask_mods: Modification) -> Modification:
    """Where all masks are true."""
    return _combined(logical_and, mask_mods)


def or_masks(*mask_mods: Modification) -> Modification:
    """Where any mask is true."""
    return _combined(logical_or, mask_mods)


def _combined(join: Callable[..., Tensor], masks: tuple[Modification, ...]) -> Modification:
    if not all(callable(mask) for mask in masks):
        raise RuntimeError(f"All inputs should be callable mask_mods: {masks}")

    def mask(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        found = masks[0](b, h, q_idx, kv_idx)
        for other in masks[1:]:
            found = join(found, other(b, h, q_idx, kv_idx))
        return found

    return mask


def _everywhere(function: Callable[..., Any], sizes: tuple[int, ...], scores: Tensor | None) -> Tensor:
    """function([score,] b, h, q, kv) at each place of [B, H, Q, KV]."""
    leading = () if scores is None else (0,)
    for axis in (3, 2, 1, 0):
        index = tuple(0 if place == axis else None for place in range(4))
        function = vmap(function, in_dims=(*leading, *index))
    given = () if scores is None else (scores,)
    found: Tensor = function(*given, *(arange(size) for size in sizes))
    return found


def create_mask(
    mod_fn: Modification, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None
) -> Tensor:
    """mod_fn(b, h, q_idx, kv_idx) as a tensor, bool[B, H, Q_LEN, KV_LEN]; None stands for 1."""
    return _everywhere(mod_fn, (B or 1, H or 1, Q_LEN, KV_LEN), None)


class BlockMask:
    """A mask of attention, made by `create_block_mask`."""

    def __init__(self, mask_mod: Modification, mask: Tensor, block: tuple[int, int]) -> None:
        self.mask_mod = mask_mod
        self.BLOCK_SIZE = block
        self._mask = mask
        self.seq_lengths = (int(mask.shape[-2]), int(mask.shape[-1]))

    @property
    def shape(self) -> tuple[int, ...]:
        """[B, H, Q_LEN, KV_LEN]."""
        return tuple(self._mask.shape)

    def to_dense(self) -> Tensor:
        """1 for each block of which something is seen, int32[B, H, blocks of queries, blocks of keys]."""
        found = self._mask
        for axis, size in zip((2, 3), self.BLOCK_SIZE, strict=True):
            lacking = -found.shape[axis] % size
            rest = zeros(*(lacking if place == axis else n for place, n in enumerate(found.shape)), dtype=found.dtype)
            found = cat([found, rest], axis) if lacking else found
            found = found.unflatten(axis, (-1, size)).any(axis + 1)
        blocks: Tensor = found.int()
        return blocks

    def sparsity(self) -> float:
        """How many blocks in a hundred are not seen."""
        return float(100 * (1 - self.to_dense().float().mean().item()))

    def __repr__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%)"


def create_block_mask(
    mask_mod: Modification,
    B: int | None,
    H: int | None,
    Q_LEN: int,
    KV_LEN: int,
    device: Any = None,
    BLOCK_SIZE: int | tuple[int, int] = 128,
    _compile: bool = False,
) -> BlockMask:
    """The mask that mask_mod(b, h, q_idx, kv_idx) gives, for `flex_attention`."""
    block = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
    return BlockMask(mask_mod, create_mask(mask_mod, B, H, Q_LEN, KV_LEN), block)


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: Modification | None = None,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    kernel_options: Any = None,
) -> Any:
    """softmax(score_mod(query @ key.T*scale, b, h, q_idx, kv_idx) where the mask is true) @ value.

    Shapes: query [B, H, L, E], key [B, Hkv, S, E], value [B, Hkv, S, F] -> [B, H, L, F], with `return_lse` also the
    logarithms of the sums of exponentials [B, H, L].  A row of which nothing is seen is 0.

    >>> import adjit as torch
    >>> from adjit.nn.attention.flex_attention import flex_attention
    >>> x = torch.ones(1, 1, 3, 2)
    >>> flex_attention(x, x, x, lambda score, b, h, q, kv: torch.where(q >= kv, score, -float("inf"))).shape
    torch.Size([1, 1, 3, 2])
    """
    if query.dim() != 4 or key.dim() != 4 or value.dim() != 4:
        raise NotImplementedError("NYI: query, key, and value must be 4D tensors")
    if not query._dtype is key._dtype is value._dtype:
        raise ValueError(
            f"Expected query, key, and value to have the same dtype, but got query.dtype: {query.dtype}, "
            f"key.dtype: {key.dtype}, and value.dtype: {value.dtype} instead."
        )
    if query.size(1) != key.size(1):
        if not enable_gqa:
            raise ValueError(
                f"Expect query and key/value to have the same number of heads but got Hq={query.size(1)} and "
                f"Hkv={key.size(1)}. Try setting enable_gqa=True for GQA."
            )
        repeats = query.size(1) // key.size(1)
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scores = query.matmul(key.transpose(-2, -1)) * (1 / math.sqrt(query.size(-1)) if scale is None else scale)
    if score_mod is not None:
        scores = _everywhere(score_mod, tuple(scores.shape), scores)
    if block_mask is not None:
        scores = masked_fill(scores, ~block_mask._mask, -math.inf)
    lse = scores.logsumexp(-1)
    seen = (lse != -math.inf).unsqueeze(-1)
    weights = masked_fill((scores - masked_fill(lse.unsqueeze(-1), ~seen, 0.0)).exp(), ~seen, 0.0)
    found = weights.to(value.dtype).matmul(value)
    return (found, lse) if return_lse else found
