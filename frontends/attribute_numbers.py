"""Scalar operations whose attributes are numbers that differ from call to call: what they are defined by, with these as
operands."""

from __future__ import annotations

from typing import Any

from adjit.composite import composite
from adjit.dispatch import apply
from adjit.heard_numbers import Heard
from adjit.ir.builder import Expr
from adjit.ir.primitive import Primitive, primitive_named
from adjit.state import STATE
from adjit.tensor import Tensor


def apply_with_numbers(op: Primitive, input: Tensor, attributes: dict[str, Any], name: str) -> Tensor:
    """An operation with numbers as attributes.

    Where the native entry asks for what serves other numbers, too, and nothing is recorded, it is its definition: the
    derivative of the operation knows its attributes.
    """
    numbers = [*attributes.values()]
    if any(isinstance(x, Heard) for x in numbers) and not (STATE.recording and input.requires_grad):
        found: Tensor = _by_definition(op.name, input, *numbers, *[0.0] * (3 - len(numbers)))
        return found
    result: Tensor = apply(op, (input,), attributes, name=name)
    return result


@composite("", title="by_definition")
def _by_definition(op: str, input: Tensor, first: Any, second: Any, third: Any) -> Tensor:
    """The definition of an operation of at most three numbers."""
    primitive, tracer = primitive_named(op), STATE.tracer
    numbers = dict(zip(primitive.attributes, (first, second, third), strict=False))
    assert tracer is not None
    if not any(isinstance(x, Tensor) for x in numbers.values()):
        result: Tensor = apply(primitive, (input,), numbers)
        return result
    assert primitive.body is not None
    given = {
        key: Expr(tracer.builder, tracer.value_of(x.plain(input._dtype))) if isinstance(x, Tensor) else x
        for key, x in numbers.items()
    }
    return tracer._new(primitive.body(Expr(tracer.builder, tracer.value_of(input)), **given).value)
