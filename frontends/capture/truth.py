"""`and`, `or` and `not` of values that may be traced tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.capture.parts import Part, is_traced, may_fail
from adjit.capture.values import refuse
from adjit.tensor import Tensor


def and_(*parts: Part, all_run: bool = False) -> Any:
    """`a and b and ...`: on traced tensors the logical product of truth values, of numbers one of them.

    With `all_run` operands whose place is not known to be reached are computed, also those that may fail.
    """
    return _logical(parts, is_and=True, all_run=all_run)


def or_(*parts: Part, all_run: bool = False) -> Any:
    """`a or b or ...`: on traced tensors the logical sum of truth values, of numbers one of them."""
    return _logical(parts, is_and=False, all_run=all_run)


def _logical(parts: Sequence[Part], *, is_and: bool, all_run: bool) -> Any:
    """The operands one after the other, until one that is known decides."""
    result: Any = is_and
    for place, part in enumerate(parts):
        value = _after(result, part, is_and=is_and) if not all_run and is_traced(result) else part()
        if is_traced(result) or is_traced(value):
            result = _joined(result, value, place, is_and=is_and)
        elif bool(value) is not is_and:
            return value
        else:
            result = value
    return result


def _after(result: Any, part: Part, *, is_and: bool) -> Any:
    """An operand that is looked at only where those before it do not decide: one that may fail runs only there."""
    if not may_fail(part):
        return part()
    from adjit.capture.flow import choose

    def operand() -> Any:
        value = part()
        return truth_of(value) if type(value) is Tensor else value

    test = truth_of(result)
    return choose(test if is_and else test.logical_not(), operand, lambda: not is_and)


def _joined(result: Any, value: Any, place: int, *, is_and: bool) -> Any:
    """What `and` or `or` gives for what it gave so far and the operand at a place."""
    plain = type(value) is Tensor or type(result) is Tensor
    if not plain:
        from adjit.capture.numbers import as_plain, kind_of, number

        kinds = kind_of(result), kind_of(value)
        if place == 0:
            return value if kinds[1] is not None else truth_of(value)
        if kinds[0] is not None and kinds[1] is not None:
            kind = kinds[0].joined(kinds[1])
            left, right = as_plain(result, kind.dtype), as_plain(value, kind.dtype)
            first, last = (right, left) if is_and else (left, right)
            return number(first.where(truth_of(result), last))
    if place == 0:
        return truth_of(value)
    return truth_of(result) & truth_of(value) if is_and else truth_of(result) | truth_of(value)


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
