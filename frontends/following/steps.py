"""What tracers are asked for, as steps of a trace."""

from __future__ import annotations

from typing import Any

from adjit.ir.primitive import Primitive
from adjit.ir.types import DType
from adjit.state import STATE
from adjit.tensor import Tensor


def apply(op: Primitive, operands: Any, attributes: Any, name: str, regions: Any) -> Any:
    """An operation."""
    assert STATE.tracer is not None
    return STATE.tracer.apply(op, operands, dict(attributes), name, regions)


def view(op: Primitive, tensor: Tensor, attributes: Any, name: str) -> Tensor:
    """A view."""
    assert STATE.tracer is not None
    return STATE.tracer.view(op, tensor, dict(attributes), name)


def detach(tensor: Tensor) -> Tensor:
    """The same without history."""
    assert STATE.tracer is not None
    return STATE.tracer.detach(tensor)


def constant(value: Any, dtype: DType) -> Tensor:
    """A number as a tensor."""
    assert STATE.tracer is not None
    return STATE.tracer.constant(value, dtype)
