"""Calls with a derivative of their own: values whose gradients go another way than they came."""

from __future__ import annotations

from functools import lru_cache

from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.types import TensorType


def with_gradient_of(builder: Builder, history: Value, value: Value) -> Value:
    """`value`, whose cotangent is that of `history`: what a tensor holds after a write outside autograd."""
    callee, vjp = _overwrite(value.type)
    call = primitive_named("call")
    return builder.emit(call, (history, value), {"callee": callee, "vjp": vjp, "wrt": (0,)}).output


@lru_cache(maxsize=256)
def _overwrite(type: TensorType) -> tuple[Graph, Graph]:
    before, after = Value(type, "before"), Value(type, "after")
    given = Value(type, "g")
    vjp_inputs = (given, Value(type, "before"), Value(type, "after"), Value(type, "out"))
    return Graph("overwrite", (before, after), (), (after,)), Graph("overwrite.vjp", vjp_inputs, (), (given,))
