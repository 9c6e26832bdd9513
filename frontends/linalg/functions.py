"""Functions of matrices: exponential, power, products, reflections."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from adjit import dtypes
from adjit.autocasting import lowered
from adjit.creation import ones_like, zeros_like
from adjit.dims import numpy_names, shape_of
from adjit.dispatch import apply, rename
from adjit.elementwise import where
from adjit.errors import explained
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BF16, BOOL, F16, F32, I64
from adjit.linalg.checks import identity, mH, require_continuous, require_square
from adjit.linalg.systems import by_triangle, inv
from adjit.products import matmul
from adjit.promotion import cast_to
from adjit.shaping import clone, expand, unsqueeze
from adjit.tensor import Tensor


def matrix_exp(input: Tensor) -> Tensor:
    """sum over k of input^k / k!.  Shapes: [*, n, n] -> [*, n, n]."""
    require_square("linalg.matrix_exp", input)
    if input._dtype in (F16, BF16):
        return cast_to(matrix_exp(cast_to(input, F32)), input._dtype)
    require_continuous("linalg.matrix_exp", input)
    return apply(PRIMITIVES["matrix_exp"], (input,), name="LinalgMatrixExp")  # type: ignore[no-any-return]


def matrix_power(A: Tensor, n: int) -> Tensor:
    """A @ A @ ..., n times; the unit matrix for 0, powers of the inverse below."""
    require_square("linalg.matrix_power", A)
    if n == 0:
        shape = tuple(shape_of(A))
        return where(zeros_like(A, dtype=dtypes.bool_), A, identity(A, shape[-1], shape[:-2]))  # type: ignore[no-any-return]
    if n < 0:
        A, n = inv(A), -n
    if n > 1:
        (A,) = lowered(A)
    result, square = None, A
    while n:
        if n & 1:
            result = square if result is None else matmul(result, square)
        n >>= 1
        square = matmul(square, square) if n else square
    assert result is not None
    return clone(result) if result is A else result


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of matrices, in the order of the least work; the first and the last may be vectors.

    Source: Cormen and others, Introduction to Algorithms, 15.2.
    """
    tensors = list(tensors)
    if len(tensors) < 2:
        raise RuntimeError("multi_dot(): expected at least 2 tensors but got " + str(len(tensors)))
    first, last = (len(shape_of(tensors[end])) for end in (0, -1))
    for end, rank, name in ((0, first, "first"), (-1, last, "last")):
        if rank not in (1, 2):
            raise RuntimeError(f"multi_dot(): the {name} tensor must be 1D or 2D but got {rank}D")
        if rank == 1:
            tensors[end] = unsqueeze(tensors[end], 0 if end == 0 else -1)
    for place, tensor in enumerate(tensors[1:-1], 1):
        if len(shape_of(tensor)) != 2:
            raise RuntimeError(f"multi_dot(): tensor {place} must be 2D but got {len(shape_of(tensor))}D")
    for place, (left, right) in enumerate(itertools.pairwise(tensors)):
        if left._dtype is not right._dtype:
            raise RuntimeError("multi_dot(): all tensors must have be the same dtype")
        if shape_of(left)[1] != shape_of(right)[0]:
            raise explained(
                RuntimeError,
                f"multi_dot(): tensors {place} and {place + 1} with shapes {list(shape_of(left))} and "
                f"{list(shape_of(right))} cannot be multiplied",
                "multi_dot",
                {"left": left, "right": right},
            )
    split = _splits([shape_of(tensors[0])[0], *(shape_of(t)[1] for t in tensors)])
    result = _chain(tensors, split, 0, len(tensors) - 1)
    if first == 1:
        result = result.squeeze(0)
    return result.squeeze(-1) if last == 1 else result


def _splits(sizes: Sequence[Any]) -> dict[tuple[int, int], int]:
    """Where to split the product of each run of matrices, matrix i being [sizes[i], sizes[i + 1]]."""
    count = len(sizes) - 1
    if not all(isinstance(size, int) for size in sizes):
        return {(i, j): j - 1 for i in range(count) for j in range(i + 1, count)}
    cost = {(i, i): 0 for i in range(count)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            options = {k: cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)}
            split[i, j] = min(options, key=options.__getitem__)
            cost[i, j] = options[split[i, j]]
    return split


def _chain(tensors: Sequence[Tensor], split: dict[tuple[int, int], int], i: int, j: int) -> Tensor:
    if i == j:
        return tensors[i]
    k = split[i, j]
    return matmul(_chain(tensors, split, i, k), _chain(tensors, split, k + 1, j))


# -- reflections ----------------------------------------------------------------------------------------------------
def householder_product(input: Tensor, tau: Tensor) -> Tensor:
    """The first n columns of H_1 @ H_2 @ ..., H_i = I - tau[i] v v^H, v = (0, ..., 0, 1, input[i+1:, i]).

    Shapes: [*, m, n], [*, k] -> [*, m, n], n >= k.
    """
    name = "torch.linalg.householder_product"
    a, t = tuple(shape_of(input)), tuple(shape_of(tau))
    if len(a) < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    if a[-2] < a[-1]:
        raise RuntimeError(f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]")
    if a[-1] < t[-1]:
        raise RuntimeError(f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    if len(a) - len(t) != 1:
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal to {len(t)} and "
            f"input.ndim is equal to {len(a)}"
        )
    if a[:-2] != t[:-1]:
        raise RuntimeError(
            f"{name}: Expected batch of tau to be equal to input.shape[:-2], but got {list(t[:-1])}"
        )
    if tau._dtype is not input._dtype:
        from adjit.dtypes import title_of

        raise RuntimeError(
            f"{name}: tau dtype {title_of(tau._dtype)} does not match input dtype {title_of(input._dtype)}"
        )
    vectors, inner = reflections(input, tau)
    units = _tall_unit(input, a[-2], a[-1])
    return rename(units - matmul(vectors, matmul(inner, matmul(mH(vectors), units))), "LinalgHouseholderProduct")


def reflections(input: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """V and T with H_1 @ H_2 @ ... = I - V @ T @ V^H.

    T = (I + D striu(V^H V))^-1 D with D = diag(tau).  Source: Puglisi, 1992.
    """
    from adjit.diagonals import tril, triu

    count = shape_of(tau)[-1]
    below = tril(input[..., :count], -1)
    vectors = below + _tall_unit(input, shape_of(input)[-2], count)
    scaled = unsqueeze(tau, -1) * triu(matmul(mH(vectors), vectors), 1)
    return vectors, by_triangle(scaled, tau.diag_embed(), lower=False, unit=True)


def _tall_unit(like: Tensor, rows: Any, columns: Any) -> Tensor:
    """1 where row = column, in [rows, columns], for each matrix of `like`."""
    lead = tuple(shape_of(like))[:-2]
    return identity(like, rows, lead)[..., :columns]


@numpy_names
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Sums of products along an axis."""
    if not x._dtype.is_continuous:
        from adjit.dtypes import title_of

        raise RuntimeError(
            f"linalg.vecdot: Expected a floating point or complex tensor as input. Got {title_of(x._dtype)}"
        )
    return (x.conj() * y).sum(dim)  # type: ignore[no-any-return]


def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """out[..., i, j] = x[..., i] ** j for j < N."""
    from adjit.joining import cat

    x = x if shape_of(x) else unsqueeze(x, 0)
    shape = tuple(shape_of(x))
    if x._dtype is BOOL:
        raise RuntimeError("linalg.vander: expected a tensor of numbers, not of bools")
    count = N if N is not None else shape[-1]
    if N is not None and N <= 1:
        raise RuntimeError("N must be greater than 1.")
    x = x if x._dtype.is_continuous else cast_to(x, I64)
    column = unsqueeze(x, -1)
    powers = expand(column, *shape, max(count - 1, 0)).cumprod(-1)
    return cat([ones_like(powers[..., :1]) if count > 1 else column.new_ones((*shape, count)), powers], -1)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices."""
    from adjit.diagonals import diagonal as view

    return view(A, offset, dim1, dim2)


@numpy_names
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vector products along an axis of size 3."""
    from adjit.products import cross as product

    return product(input, other, dim)
