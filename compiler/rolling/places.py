"""Tables of numbers, and the indices of slices that lie anywhere, one slice for each turn."""

from __future__ import annotations

from collections.abc import Sequence

from adjit.ir.builder import Builder, Expr
from adjit.ir.ops.arrays import Array, cast, spread
from adjit.ir.ops.source import iota, table
from adjit.ir.types import F32, I64, DType


def listed(builder: Builder, numbers: Sequence[float | int], dtype: DType) -> Expr:
    """out[t] = numbers[t]."""
    # What halves hold f32 holds too.
    held = F32 if dtype.is_float and dtype.itemsize < F32.itemsize else dtype
    values = tuple(float(n) if dtype.is_float else n for n in numbers)
    found: Expr = cast(builder.apply(table, (), {"values": values, "dtype": held}), dtype)
    return found


def indices(
    builder: Builder, starts: Sequence[tuple[int, ...]], extents: Sequence[int], steps: Sequence[int] | None = None
) -> list[Array]:
    """out_k[t, i...] = starts[t][k] + i_k * steps[k], of each axis k.

    Shapes: -> i64[turns, *extents].
    """
    domain = (len(starts), *extents)
    found: list[Array] = []
    for axis, extent in enumerate(extents):
        index: Array = spread(listed(builder, [start[axis] for start in starts], I64), domain, range(1, len(domain)))
        if extent != 1:
            within: Array = builder.apply(iota, (), {"shape": domain, "axis": axis + 1, "dtype": I64})
            index = index + (within if steps is None else within * steps[axis])
        found.append(index)
    return found
