"""Calls with a derivative of their own: values whose gradients go another way than they came."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adjit.ir.analysis import uses
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.types import TensorType

if TYPE_CHECKING:
    from adjit.trace import Tracer


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


def cut_off(tracer: Tracer, value: Value, apart: bool) -> Value:
    """`value`, which gradients do not pass.  Tangents pass what was computed under `no_grad` in a function that is
    pushed forward, but for values of tensors that stand `apart`."""
    keeps = not apart and tracer.keeps_rules > 0 and _may_move(tracer, value)
    return _unrecorded(tracer.builder, value, tracer.keeps_rules if keeps else 0)


def _may_move(tracer: Any, value: Value) -> bool:
    """Whether a value depends on more than constants and tensors from outside of all traces."""
    seen = {tracer.value_of(tensor) for tensor in tracer.closure if tensor._tracer is None}
    stack = [value]
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        if current.node is None:
            return True
        stack += uses(current.node)
    return False


def _unrecorded(builder: Builder, value: Value, orders: int) -> Value:
    """`value`, which tangents pass in so many derivatives of derivatives."""
    if not orders:
        return builder.emit(primitive_named("detach"), (value,)).output
    callee, jvp = _kept_tangent(value.type, orders)
    return builder.emit(primitive_named("call"), (value,), {"callee": callee, "jvp": jvp, "wrt": (0,)}).output


@lru_cache(maxsize=256)
def _kept_tangent(type: TensorType, orders: int) -> tuple[Graph, Graph]:
    """The identity, and what a tangent becomes: such an identity of its own, in the end one that is cut off."""
    whole, rule = Graph("unrecorded"), Graph("unrecorded.jvp")
    whole.outputs = (Builder(whole).input(type, "x"),)
    inner = Builder(rule)
    tangent, *_ = inner.input(type, "t"), inner.input(type, "x"), inner.input(type, "out")
    rule.outputs = (_unrecorded(inner, tangent, orders - 1),)
    return whole, rule
