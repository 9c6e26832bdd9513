"""What calls of an operation have in common with others of their kind."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

from adjit import dtypes
from adjit.autograd.tape import Recorded
from adjit.device import device, layout, memory_format
from adjit.heard_numbers import Heard
from adjit.ir.graph import Node
from adjit.native.any_size import is_size
from adjit.native.signature import UNSERVED, is_readable, lies_as_new
from adjit.native.templates import node_of
from adjit.native.watching import Step
from adjit.state import STATE
from adjit.tensor import Tensor

# What says how a call is made, each value one object.
_KNOWN_BY_IDENTITY = (bool, str, dtypes.dtype, device, layout, memory_format)


def takes_any_number(result: Any) -> bool:
    """Whether the node of a recorded operation on numbers would be the same for others, or there is none."""
    if isinstance(result, Tensor) and not result.requires_grad:
        return True
    node = result._value.node if isinstance(result, Tensor) and result._value is not None else None
    return node is not None and isinstance(node.attached, Recorded) and _is_of_any_number(node)


def records_any_number(step: Step) -> bool:
    """The same for a step of a call, whose numbers may be none of the call's."""
    node = node_of(step)
    return node is None or not any(isinstance(x, Heard) for x in step.operands) or _is_of_any_number(node)


def _is_of_any_number(node: Node) -> bool:
    if node.op.name == "call":
        return True
    from adjit.compiler.nodewise import ANY_NUMBER, literal_of, with_any_number

    literals = [literal_of(value.constant) for value in node.inputs]  # type: ignore[arg-type]
    return ANY_NUMBER in with_any_number(node.op, [value.type for value in node.inputs], literals)


def kind_of(operands: tuple[Any, ...], form: Any, *, fixed: Collection[type]) -> Any:
    """What operands have in common with those of calls of the same kind; None where the native entry takes none.

    `form` tells their names, or the structure that they are the leaves of; numbers of the types in `fixed` are these.
    """
    parts: list[Any] = [STATE.recording, form, dtypes.default_float()]
    for x in operands:
        if type(x) in (float, int):
            parts.append((type(x), x) if type(x) in fixed else type(x))
        elif isinstance(x, Tensor) and x._array is not None and x._dtype not in UNSERVED and is_readable(x):
            lying = None if lies_as_new(x._array) else x._array.strides
            parts.append((x._dtype, x._array.shape, x.requires_grad, lying))
        elif x is None or x is Ellipsis or type(x) in _KNOWN_BY_IDENTITY or _is_generator(x):
            parts.append((type(x), id(x)))
        else:
            return None
    return tuple(parts)


def form_of(operands: tuple[Any, ...], form: Any, *, free: bool, fixed: bool) -> Any:
    """What operands have in common with those of calls of the same kind but for their sizes."""
    parts: list[Any] = [STATE.recording, form, dtypes.default_float()]
    for x in operands:
        if isinstance(x, Tensor):
            assert x._array is not None
            parts.append((x._dtype, x._array.ndim, x.requires_grad))
        elif type(x) in (int, float) and (free or not is_size(x)):
            parts.append((type(x), x) if fixed else type(x))
        else:
            parts.append(int if type(x) is int else (type(x), id(x)))
    return tuple(parts)


def _is_generator(value: Any) -> bool:
    """Whether an operand is a source of random numbers; who has none has not loaded their module."""
    module = sys.modules.get("adjit.generator")
    return module is not None and isinstance(value, module.Generator)
