"""`and`, `or` and `not` of values that may be traced tensors."""

from __future__ import annotations

from typing import Any

from adjit.capture.parts import Part, is_traced
from adjit.capture.values import refuse
from adjit.tensor import Tensor


def and_(*parts: Part) -> Any:
    """`a and b and ...`: on traced tensors the logical product of truth values."""
    result: Any = True
    for place, part in enumerate(parts):
        value = part()
        if is_traced(result) or (is_traced(value) and place < len(parts) - 1) or (place and is_traced(value)):
            result = truth_of(value) if result is True else truth_of(result) & truth_of(value)
            continue
        result = value
        if not is_traced(value) and not value:
            return value
    return result


def or_(*parts: Part) -> Any:
    """`a or b or ...`: on traced tensors the logical sum of truth values."""
    result: Any = False
    for place, part in enumerate(parts):
        value = part()
        if is_traced(result) or (is_traced(value) and place < len(parts) - 1) or (place and is_traced(value)):
            result = truth_of(value) if result is False else truth_of(result) | truth_of(value)
            continue
        result = value
        if not is_traced(value) and value:
            return value
    return result


def not_(value: Any) -> Any:
    """`not value`: of a number that is not known yet another one."""
    if not is_traced(value):
        return not value
    found = truth_of(value).logical_not()
    if type(value) is Tensor:
        return found
    from adjit.capture.numbers import Number, number

    return number(found) if isinstance(value, Number) else found


def truth_of(value: Any) -> Any:
    """A truth value as a tensor of rank 0."""
    if not isinstance(value, Tensor):
        from adjit.dispatch import literal
        from adjit.ir.types import BOOL

        return literal(bool(value), BOOL)
    if value._tensor_type.size != 1:
        refuse(
            "Boolean value of Tensor with more than one value is ambiguous",
            "use .all() or .any(), or & and | for element-wise logic",
        )
    return value.reshape(()).bool()
