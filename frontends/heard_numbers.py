"""Numbers of a watched call: what is asked of them says for which others the call would do the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


def as_float(number: Any) -> Any:
    """A number as a float: itself where it is one that is watched or that a trace does not know; NumPy's are others."""
    if type(number) is float or is_heard(number):
        return number
    return number * 1.0 if getattr(number, "_is_number", False) else float(number)


def is_heard(number: Any) -> bool:
    """Whether it is a number that notes what is asked of it."""
    return isinstance(number, Heard) or getattr(number, "_answers", False)


class Heard(float):
    """A float that notes what it is compared with: it could be any from `low` to `high`, unless it `is_read`.

    The operand of an operation is not read; arithmetic, text and conversions are.  What asks in C unheard, as `math`
    does, shows where the call is watched again with another number.
    """

    __slots__ = ("high", "is_read", "low")

    def __init__(self, _: float) -> None:
        self.low, self.high, self.is_read = -math.inf, math.inf, False

    @property
    def is_bounded(self) -> bool:
        """Whether not all numbers would do."""
        return self.low != -math.inf or self.high != math.inf

    def another(self) -> float | None:
        """Another number for which the call would do the same; itself where it is the only one, None for none found."""
        value = float.__float__(self)
        if self.low == self.high:
            return value
        between = ((value + self.high) / 2, (value + self.low) / 2)
        for other in (value * 1.28125 + 0.0625, value * 0.71875 - 0.03125, *between):
            if self.low <= other <= self.high and other != value and math.isfinite(other):
                return other
        return None

    def _note(self, relation: str, bound: float, outcome: bool) -> None:
        if bound != bound:
            return
        bound += 0.0  # zeros of both signs are equal
        if relation in ("eq", "ne"):
            if (relation == "eq") == outcome:
                self.low = self.high = float.__float__(self)
            elif float.__lt__(self, bound):
                self.high = min(self.high, math.nextafter(bound, -math.inf))
            else:
                self.low = max(self.low, math.nextafter(bound, math.inf))
            return
        is_above = (relation in ("gt", "ge")) == outcome
        beside = bound
        if (relation in ("gt", "lt")) == outcome:  # not the bound itself
            beside = math.nextafter(bound, math.inf if is_above else -math.inf)
        if is_above:
            self.low = max(self.low, beside)
        else:
            self.high = min(self.high, beside)

    def __bool__(self) -> bool:
        return bool(self != 0.0)


def _comparison(name: str) -> Callable[[Any, Any], Any]:
    plain = getattr(float, f"__{name}__")

    def compare(self: Heard, other: Any) -> Any:
        outcome = plain(self, other)
        if outcome is NotImplemented:
            return outcome
        if (type(other) in (int, float, bool) and abs(other) <= 2**53) or type(other) is float:
            self._note(name, float(other), outcome)
        elif not isinstance(other, Heard):
            self.is_read = True
        elif not _note_order(name, self, other, outcome):
            self.is_read = other.is_read = True
        return outcome

    return compare


def _note_order(relation: str, one: Heard, other: Heard, outcome: bool) -> bool:
    """Note which of two numbers is the greater one as on which side of the middle each is; whether there is one."""
    low, high = sorted((float.__float__(one), float.__float__(other)))
    middle = low + (high - low) / 2
    if relation not in _TURNED or not low < middle < high:
        return False
    one._note(relation, middle, outcome)
    other._note(_TURNED[relation], middle, outcome)
    return True


_TURNED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


def _reading(name: str) -> Callable[..., Any]:
    plain = getattr(float, name)

    def read(self: Heard, *others: Any) -> Any:
        found = plain(self, *others)
        if found is not NotImplemented:
            self.is_read = True
            for other in others:
                if isinstance(other, Heard):
                    other.is_read = True
        return found

    return read


for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Heard, f"__{_name}__", _comparison(_name))
_READING = (
    *(f"__{side}{name}__" for side in ("", "r") for name in (
        "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "divmod",
    )),
    "__abs__", "__ceil__", "__float__", "__floor__", "__format__", "__getnewargs__", "__hash__", "__int__", "__neg__",
    "__pos__", "__repr__", "__round__", "__str__", "__trunc__", "as_integer_ratio", "conjugate", "hex", "is_integer",
)  # fmt: skip
for _name in _READING:
    setattr(Heard, _name, _reading(_name))
