"""Tensors assembled from others: blocks, products and combinations of their elements."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations as _subsets
from itertools import combinations_with_replacement as _multisets
from typing import Any

from adjit.creation import constant, tensor
from adjit.dims import numpy_names, shape_of, wrap_dim
from adjit.dtypes import default_float
from adjit.elementwise import add, div, mul, where
from adjit.joining import cat, stack
from adjit.promotion import promote_dtypes
from adjit.reductions import norm
from adjit.shaping import expand, reshape, unsqueeze
from adjit.tensor import Tensor


def block_diag(*tensors: Tensor) -> Tensor:
    """The matrix with matrices along its diagonal, 0 elsewhere; vectors are rows, numbers 1 by 1."""
    if not tensors:
        return constant((1, 0), 0, default_float())
    blocks = []
    for place, block in enumerate(promote_dtypes(tensors)):
        rank = len(shape_of(block))
        if rank > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {place} has {rank} dimensions"
            )
        blocks.append(reshape(block, *(1,) * (2 - rank), *shape_of(block)))
    total = sum(shape_of(block)[1] for block in blocks)
    rows, before = [], 0
    for block in blocks:
        m, n = shape_of(block)
        rows.append(cat([block.new_zeros((m, before)), block, block.new_zeros((m, total - before - n))], 1))
        before = before + n
    return cat(rows, 0)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All tuples of one element of each vector, as rows, the last one's varying fastest."""
    for vector in tensors:
        if len(shape_of(vector)) != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(shape_of(vector))}")
    if len(tensors) == 1:
        return tensors[0]
    sizes = [shape_of(vector)[0] for vector in tensors]
    grids = [
        expand(reshape(vector, *(-1 if place == axis else 1 for place in range(len(sizes)))), *sizes)
        for axis, vector in enumerate(tensors)
    ]
    return reshape(stack(grids, -1), -1, len(sizes))


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of `r` elements of a vector, as rows in the order of their places."""
    if len(shape_of(input)) != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(shape_of(input))}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return input.new_empty((0,))  # type: ignore[no-any-return]
    choose: Callable[..., Any] = _multisets if with_replacement else _subsets
    rows = list(choose(range(int(shape_of(input)[0])), r))
    if not rows:
        return reshape(input[:0], 0, 1).expand(0, r)  # type: ignore[no-any-return]
    places = tensor([place for row in rows for place in row], dtype=None)
    return reshape(input.index_select(0, places), len(rows), r)


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """out[i, j] = x[i] ** (N - 1 - j), or x[i] ** j if `increasing`."""
    if len(shape_of(x)) != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    count = shape_of(x)[0] if N is None else N
    if count < 0:
        raise RuntimeError("N must be non-negative.")
    x = x if x._dtype.is_continuous else x.long()
    ones = x.new_ones((shape_of(x)[0], min(count, 1)))
    if count <= 1:
        return ones  # type: ignore[no-any-return]
    found = cat([ones, expand(unsqueeze(x, -1), shape_of(x)[0], count - 1).cumprod(-1)], -1)
    return found if increasing else found.flip(-1)


# -- norms of parts -------------------------------------------------------------------------------------------------
@numpy_names
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """`input` with each part along `dim` whose p-norm is over `maxnorm` scaled down to it."""
    rank = len(shape_of(input))
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm:g}")
    if rank <= 1:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {rank} dimensions")
    axis = wrap_dim(dim, rank)
    sizes = norm(input, p, [other for other in range(rank) if other != axis], True)
    over = sizes > maxnorm
    # 1e-7 in the divisor is PyTorch's.
    scale = where(over, div(maxnorm, add(where(over, sizes, 1.0), 1e-7)), 1.0)
    return mul(input, scale)


METHODS: dict[str, Callable[..., Any]] = {"renorm": renorm}
__all__ = ["block_diag", "cartesian_prod", "combinations", "renorm", "vander"]
