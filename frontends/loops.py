"""Loops over rows: a step is traced once and becomes the body of one `scan`, however many rows there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.composite import trace_function
from adjit.dispatch import apply
from adjit.ir.graph import Region
from adjit.ir.primitive import primitive_named
from adjit.state import user_location
from adjit.tensor import Tensor


def scan(
    step: Callable[..., tuple[Sequence[Tensor], Sequence[Tensor]]],
    fixed: Sequence[Tensor],
    carries: Sequence[Tensor],
    rows: Sequence[Tensor],
    *,
    reverse: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """carries, y[i] = step(fixed, carries, [x[i] for x in rows]) for each i, or from the last down in `reverse`.

    The last carries, and the ys stacked.  `step` must be pure and see its arguments only.
    """
    operands = [*fixed, *carries, *rows]
    first, second = len(fixed), len(fixed) + len(carries)
    types = [tensor._tensor_type for tensor in operands]
    types[second:] = [type.with_dims(type.dims[1:]) for type in types[second:]]

    def body(*values: Tensor) -> tuple[Tensor, ...]:
        kept, stacked = step(values[:first], values[first:second], values[second:])
        return (*kept, *stacked)

    traced = trace_function(body, "step", types)
    where = user_location()
    for node in traced.walk():
        node.location = where
    attributes: dict[str, Any] = {
        "invariants": first, "carries": len(carries), "length": rows[0].shape[0], "reverse": reverse
    }  # fmt: skip
    region = Region(traced.inputs, traced.nodes, traced.outputs)
    found = apply(primitive_named("scan"), operands, attributes, regions=(region,), name="Scan")
    results = [found] if isinstance(found, Tensor) else list(found)
    return results[: len(carries)], results[len(carries) :]
