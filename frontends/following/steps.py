"""What tracers are asked for, as steps of a trace."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
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


class BySteps:
    """What a tracer is asked for, each as one step: `call` emits it, or looks it up."""

    by_steps = True

    @abstractmethod
    def call(self, function: Callable[..., Any], names: tuple[str, ...] | None, operands: Sequence[Any]) -> Any:
        """The result of a step, whose last operands have names."""

    def apply(self, op: Primitive, operands: Any, attributes: dict[str, Any], name: str, regions: Any = ()) -> Any:
        """As a tracer's, like the following."""
        return self.call(apply, None, (op, tuple(operands), tuple(attributes.items()), name, tuple(regions)))

    def view(self, op: Primitive, tensor: Tensor, attributes: dict[str, Any], name: str) -> Tensor:
        found: Tensor = self.call(view, None, (op, tensor, tuple(attributes.items()), name))
        return found

    def detach(self, tensor: Tensor) -> Tensor:
        found: Tensor = self.call(detach, None, (tensor,))
        return found

    def constant(self, value: Any, dtype: DType) -> Tensor:
        found: Tensor = self.call(constant, None, (value, dtype))
        return found
