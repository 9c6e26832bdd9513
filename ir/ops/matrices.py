"""The words in which rules on batches of matrices are written, over NumPy arrays and IR expressions alike."""

from __future__ import annotations

from typing import Any

from adjit.ir.ops.arrays import Array, cast, counted, dtype_of, expand, full, permute, reshape, where, window_of, zeros
from adjit.ir.ops.complex import conjugate
from adjit.ir.primitive import primitive_named
from adjit.ir.types import I64

# Further from the diagonal than any entry.
FAR = 1 << 40


def transposed(x: Array) -> Array:
    """out[..., i, j] = x[..., j, i]."""
    return permute(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def adjoint(x: Array) -> Array:
    """out[..., i, j] = conj(x[..., j, i])."""
    return conjugate(transposed(x))


def as_numbers_of(x: Array, like: Array) -> Array:
    """Real numbers `x` in the dtype of `like`, which may be complex."""
    dtype = dtype_of(like)
    return x if dtype_of(x) is dtype else cast(x, dtype)


def product(x: Array, y: Array) -> Array:
    """out[..., i, j] = sum over k of x[..., i, k] * y[..., k, j]; the leading axes are the same."""
    lead = tuple(range(x.ndim - 2))
    return primitive_named("dot")(x, y, contract=((x.ndim - 1,), (x.ndim - 2,)), batch=(lead, lead))


def _entries_between(x: Array, low: int, high: int) -> Array:
    """Where low <= column - row <= high, as a bool array of the shape of `x`."""
    shape = tuple(x.shape)
    row, column = (counted(x, shape, axis) for axis in (x.ndim - 2, x.ndim - 1))
    offset = primitive_named("sub")(column, row)
    at_most, both = primitive_named("le"), primitive_named("and")
    return both(at_most(full(x, low, shape, I64), offset), at_most(offset, full(x, high, shape, I64)))


def lower_part(x: Array, diagonal: int = 0) -> Array:
    """The entries with column - row <= diagonal, 0 elsewhere."""
    return where(_entries_between(x, -FAR, diagonal), x, zeros(x))


def upper_part(x: Array, diagonal: int = 0) -> Array:
    """The entries with column - row >= diagonal, 0 elsewhere."""
    return where(_entries_between(x, diagonal, FAR), x, zeros(x))


def on_diagonal(d: Array) -> Array:
    """out[..., i, j] = d[..., i] where i = j, else 0."""
    count = d.shape[-1]
    spread = expand(reshape(d, (*d.shape, 1)), (*d.shape, count))
    return where(_entries_between(spread, 0, 0), spread, zeros(spread))


def with_diagonal(x: Array, value: Array) -> Array:
    """`x` with its main diagonal from `value`, of the same shape."""
    return where(_entries_between(x, 0, 0), value, x)


def columns(x: Array, start: Any, count: Any) -> Array:
    """x[..., start:start + count]."""
    return window_of(x, (*(0 for _ in x.shape[:-1]), start), (*x.shape[:-1], count))


def rows(x: Array, start: Any, count: Any) -> Array:
    """x[..., start:start + count, :]."""
    return window_of(x, (*(0 for _ in x.shape[:-2]), start, 0), (*x.shape[:-2], count, x.shape[-1]))


def as_rows(d: Array, count: Any) -> Array:
    """out[..., i, j] = d[..., j] for i < count."""
    return expand(reshape(d, (*d.shape[:-1], 1, d.shape[-1])), (*d.shape[:-1], count, d.shape[-1]))


def as_columns(d: Array, count: Any) -> Array:
    """out[..., i, j] = d[..., i] for j < count."""
    return expand(reshape(d, (*d.shape, 1)), (*d.shape, count))


def quotient(x: Array, y: Array) -> Array:
    """x / y, with 0 / 0 = 0: what nothing flows into has no influence, whatever it is divided by."""
    both = primitive_named("and")(primitive_named("eq")(x, zeros(x)), primitive_named("eq")(y, zeros(y)))
    one = zeros(y) + 1
    return x / where(both, one, y)
