"""Diagonals and triangles of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.creation import constant
from adjit.dims import raw, shape_of, wrap_dim
from adjit.dispatch import apply, rename
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BOOL, I64
from adjit.reductions import reduced, summed
from adjit.shaping import movedim, part, reshape
from adjit.tensor import Tensor
from adjit.views import strides, viewable_strides


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The entries input[i, i + offset] of two axes, along a new last axis, as a view."""
    rank = len(shape_of(input))
    first, second = wrap_dim(dim1, rank), wrap_dim(dim2, rank)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    if (first, second) != (rank - 2, rank - 1):
        input = movedim(input, (first, second), (-2, -1))
    *lead, rows, columns = shape_of(input)
    columns = int(columns)  # a slice has a step that is known
    start = offset if offset >= 0 else -offset * columns
    right, below = columns - max(offset, 0), rows - max(-offset, 0)
    count = max(right if right < below else below, 0)
    if viewable_strides(input._tensor_type.dims, strides(input), raw((*lead, rows * columns))) is None:
        from adjit.strided_views import as_strided, offset_of

        *outer, down, across = strides(input)
        place = offset_of(input) + (0 if count == 0 else offset * across if offset >= 0 else -offset * down)
        return rename(as_strided(input, (*lead, count), (*outer, down + across), place), "Diagonal")  # type: ignore[arg-type]
    flat = reshape(input, *lead, rows * columns)
    cut = (start if count != 0 else 0, count, columns + 1)
    return rename(part(flat, {len(lead): cut}, "Diagonal"), "Diagonal")


@composite("DiagEmbed")
def _diag_embed(input: Tensor, offset: int) -> Tensor:
    *lead, count = shape_of(input)
    size = count + abs(offset)
    if count == 0:
        return constant((*lead, size, size), 0, input._dtype)
    low = offset if offset >= 0 else -offset * size
    # In the flat order of the matrix the diagonal is every (size + 1)-th entry.
    high = size * size - low - ((count - 1) * (size + 1) + 1)
    padding: dict[str, Any] = {
        "low": (*(0 for _ in lead), low),
        "high": (*(0 for _ in lead), high),
        "interior": (*(0 for _ in lead), size),
        "value": False if input._dtype is BOOL else 0,
    }
    return reshape(apply(PRIMITIVES["pad"], (input,), padding), *lead, size, size)


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices with the entries of the last axis on a diagonal, 0 elsewhere."""
    found = _diag_embed(input, offset)
    rank = len(shape_of(found))
    first, second = wrap_dim(dim1, rank), wrap_dim(dim2, rank)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    if (first, second) == (rank - 2, rank - 1):
        return found  # type: ignore[no-any-return]
    return movedim(found, (-2, -1), (first, second))


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, as a copy; or the matrix with a vector on its diagonal."""
    from adjit.shaping import clone

    rank = len(shape_of(input))
    if rank not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {rank}D")
    return diag_embed(input, diagonal) if rank == 1 else rename(clone(_diagonal(input, diagonal)), "DiagonalBackward0")


_diagonal = diagonal


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements of `input` on a diagonal."""
    return diag_embed(reshape(input, -1), offset)


@composite("Trace")
def _trace(input: Tensor) -> Tensor:
    return reduced("reduce_sum", diagonal(input), None, False, "")


def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    if (rank := len(shape_of(input))) != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {rank}")
    return _trace(summed(input, None))  # type: ignore[no-any-return]


# -- triangles ------------------------------------------------------------------------------------------------------
def _triangle(input: Tensor, diagonal: int, lower: bool) -> Tensor:
    """`input` on one side of a diagonal, 0 on the other."""
    shape = tuple(shape_of(input))
    if len(shape) < 2:
        raise RuntimeError(f"{'tril' if lower else 'triu'}: input tensor must have at least 2 dimensions")
    row = apply(PRIMITIVES["iota"], (), {"shape": shape, "axis": len(shape) - 2, "dtype": I64})
    column = apply(PRIMITIVES["iota"], (), {"shape": shape, "axis": len(shape) - 1, "dtype": I64})
    edge = apply(PRIMITIVES["add"], (row, diagonal))
    kept = apply(PRIMITIVES["le"], (column, edge) if lower else (edge, column))
    zero = False if input._dtype is BOOL else 0
    return apply(PRIMITIVES["where"], (kept, input, zero), name="Tril" if lower else "Triu")  # type: ignore[no-any-return]


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements on and below a diagonal, 0 above."""
    return _triangle(input, diagonal, True)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements on and above a diagonal, 0 below."""
    return _triangle(input, diagonal, False)


_FUNCTIONS: tuple[Callable[..., Any], ...] = (diag, diag_embed, diagflat, diagonal, trace, tril, triu)
METHODS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _FUNCTIONS}
__all__ = ["diag", "diag_embed", "diagflat", "diagonal", "trace", "tril", "triu"]
