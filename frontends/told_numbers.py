"""Numbers that differ from call to call: what is asked of one holds for the calls that a program for it serves.

In a compiled function these are the questions of adjit's own functions; the program asks what the user's code asks.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from adjit.capture.numbers import Number
from adjit.dispatch import numbers_needed
from adjit.heard_numbers import Heard
from adjit.ir.types import F64, DType
from adjit.state import is_user_frame
from adjit.tensor import Tensor


class Asked(NamedTuple):
    """A comparison of a call's number with a constant, and what came out."""

    place: int
    relation: Callable[[Any, Any], bool]
    bound: Any
    outcome: bool


def hold(asked: Sequence[Asked], numbers: Sequence[Any]) -> bool:
    """Whether what was asked of the numbers of one call has the same answers for those of another."""
    return all(each.relation(numbers[each.place], each.bound) == each.outcome for each in asked)


def heard(value: float, place: int, asked: Sequence[Asked]) -> Heard:
    """The number at a place of a call as one that knows for which others the answers are the same."""
    found = Heard(value)
    for each in asked:
        if each.place == place:
            each.relation(found, each.bound)
    return found


class Told(Number):
    """A number of a call in the trace of a body that serves others: comparisons with constants are noted."""

    __slots__ = ()
    _answers = True

    def _compared(self, relation: Callable[[Any, Any], bool], bound: Any) -> bool:
        place, value, asked, _ = self.__dict__["_told"]
        outcome = bool(relation(value, bound))
        asked.append(Asked(place, relation, bound, outcome))
        return outcome

    def __bool__(self) -> bool:
        return super().__bool__() if is_user_frame(sys._getframe(1)) else self._compared(operator.ne, 0)

    def as_power(self, dtype: DType) -> Told:
        """An exponent.  NumbersNeeded for one whose derivative takes it less 1 before it is rounded to the dtype."""
        *_, recorded = self.__dict__["_told"]
        if recorded and dtype is not F64:
            raise numbers_needed(self, "the derivative of a power")
        return self


def _comparison(name: str) -> Callable[[Any, Any], Any]:
    relation, unknown = getattr(operator, name), getattr(Number, f"__{name}__")

    def compare(self: Told, other: Any) -> Any:
        if type(other) not in (int, float) or is_user_frame(sys._getframe(1)):
            return unknown(self, other)
        return self._compared(relation, other)

    return compare


for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Told, f"__{_name}__", _comparison(_name))
Told.__hash__ = Tensor.__hash__  # type: ignore[method-assign]


def told(tensor: Tensor, place: int, value: Any, asked: list[Asked], *, recorded: bool) -> Told:
    """The traced tensor of a call's number, which has this value now; what is asked of it joins `asked`.

    `recorded` says that the body will be differentiated.  The value may be told itself, in the body around this one.
    """
    tensor.__class__ = Told
    assert isinstance(tensor, Told)
    if isinstance(value, Told):
        recorded = recorded or value.__dict__["_told"][3]
    tensor.__dict__["_told"] = place, value, asked, recorded
    return tensor
