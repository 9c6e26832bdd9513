"""Python numbers whose value is known only when the program runs: a counter of a captured loop, a flag of an `if`.

A `Number` is a tensor of rank 0 that keeps Python's arithmetic: with other numbers it is int64 or float64, and beside a
tensor it is as weak as a Python number.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any

import numpy as np

from adjit.dispatch import apply, literal
from adjit.ir.frozen import frozen
from adjit.ir.primitive import primitive_named
from adjit.ir.types import BOOL, F64, I64, DType, TensorType
from adjit.promotion import cast_to
from adjit.state import STATE, is_user_frame
from adjit.tensor import Tensor

_KINDS = (bool, int, float)
_DTYPES = {bool: BOOL, int: I64, float: F64}


@frozen
class NumberKind:
    """What is known of a number while its program is traced: whether it is a bool, an int or a float."""

    python: type

    @property
    def dtype(self) -> DType:
        """The dtype that holds it."""
        return _DTYPES[self.python]

    def __str__(self) -> str:
        return f"a Python {self.python.__name__}"

    def joined(self, other: NumberKind) -> NumberKind:
        """The kind that holds both."""
        return max(self, other, key=lambda kind: _KINDS.index(kind.python))


def kind_of(value: Any) -> NumberKind | None:
    """The kind of a number, known or not; None for what is none."""
    if isinstance(value, NumberKind):
        return value
    if isinstance(value, Number):
        return NumberKind(next(python for python, dtype in _DTYPES.items() if dtype is value._dtype))
    return NumberKind(type(value)) if type(value) in _KINDS else None


class Number(Tensor):
    """A number that is not known yet."""

    __slots__ = ()
    _is_number = True

    def plain(self, dtype: DType) -> Tensor:
        """The number as an ordinary tensor."""
        result = apply(primitive_named("cast"), (self,), {"dtype": dtype})
        assert isinstance(result, Tensor)
        return result


def number(tensor: Tensor) -> Number:
    """A tensor of rank 0 seen as a Python number."""
    tensor.__class__ = Number
    assert isinstance(tensor, Number)
    return tensor


def number_of(tensor: Tensor) -> Number:
    """The only element of a traced tensor, as a Python number of its kind."""
    dtype = F64 if tensor._dtype.is_float else BOOL if tensor._dtype is BOOL else I64
    found = apply(primitive_named("cast"), (tensor.detach().reshape(()),), {"dtype": dtype})
    assert isinstance(found, Tensor)
    return number(found)


def asks_identity() -> bool:
    """Whether the user's code that is running compares something with True or False itself."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_user_frame(frame):
        frame = frame.f_back
    return frame is not None and _asks_identity(frame.f_code)


@lru_cache(maxsize=1024)
def _asks_identity(code: CodeType) -> bool:
    pairs = pairwise(dis.get_instructions(code))
    return any(isinstance(left.argval, bool) and right.opname == "IS_OP" for left, right in pairs)


def as_plain(value: Any, dtype: DType) -> Tensor:
    """A number, known or not, as an ordinary tensor; so is a tensor, in the dtype."""
    if isinstance(value, Tensor):
        return value.plain(dtype) if isinstance(value, Number) else cast_to(value, dtype)
    return literal(float(value) if dtype.is_continuous else value, dtype)


_REFLECTED = [f"__r{name}__" for name in ("add", "sub", "mul", "floordiv", "mod", "pow", "truediv")]


def _operator(name: str, result: str) -> Callable[[Any, Any], Any]:
    """Python's operator; `result` is "same", "float" for a quotient, or "bool" for a comparison."""
    plain: Callable[[Any, Any], Any] = getattr(Tensor, name)
    swapped = getattr(Tensor, f"__{name[3:]}") if name in _REFLECTED else None
    if name == "__truediv__":
        swapped = Tensor.__rtruediv__  # n / x is n times the reciprocal of x

    def operate(self: Number, other: Any) -> Any:
        own, its = kind_of(self), kind_of(other)
        assert own is not None
        if its is None:
            if not isinstance(other, Tensor):
                return NotImplemented
            return plain(self, other) if swapped is None else swapped(other, self)  # x / n is no product with 1 / n
        kind = own.joined(its).joined(NumberKind(int if result != "bool" else bool))
        if result == "float":
            kind = NumberKind(float)
        pair = as_plain(self, kind.dtype), as_plain(other, kind.dtype)
        found = plain(*pair)
        if "mod" in name and kind.dtype.is_float:
            found = _as_pythons_rest(found, pair[0 if swapped else 1])
        return number(found)

    return operate


def _as_pythons_rest(rest: Tensor, divisor: Tensor) -> Tensor:
    """A remainder whose zeros, too, have the sign of the divisor."""
    from adjit.elementwise import where

    found: Tensor = where(rest == 0, rest.copysign(divisor), rest)
    return found


for _name in ("add", "sub", "mul", "floordiv", "mod", "pow"):
    for _form in (f"__{_name}__", f"__r{_name}__"):
        setattr(Number, _form, _operator(_form, "same"))
for _form in ("__truediv__", "__rtruediv__"):
    setattr(Number, _form, _operator(_form, "float"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Number, f"__{_name}__", _operator(f"__{_name}__", "bool"))
Number.__hash__ = Tensor.__hash__  # type: ignore[method-assign]
for _name in ("add", "sub", "mul", "floordiv", "mod", "pow", "truediv"):
    # Numbers are values: `count += 1` makes another one.
    setattr(Number, f"__i{_name}__", getattr(Number, f"__{_name}__"))


def _negative(self: Number) -> Number:
    return number(Tensor.__neg__(as_plain(self, I64 if self._dtype is BOOL else self._dtype)))


def _magnitude(self: Number) -> Number:
    return number(abs(as_plain(self, I64 if self._dtype is BOOL else self._dtype)))


setattr(Number, "__neg__", _negative)  # noqa: B010 - the class is filled from tables
setattr(Number, "__abs__", _magnitude)  # noqa: B010


def _rounded(self: Number, digits: int | None = None) -> Number:
    """round(x, digits), exact in decimal as Python's is; an integer to at least its ones."""
    if self._dtype is not F64 and (digits is None or digits >= 0):
        return number(self.plain(I64 if self._dtype is BOOL else self._dtype))
    from adjit.runtime.host import host_function, register_host_function

    name = f"adjit.round.{digits}"
    try:
        host_function(name)
    except KeyError:
        register_host_function(name, lambda x: (np.array(round(x.item(), digits)),))
    type = TensorType(F64 if self._dtype is F64 and digits is not None else I64, ())
    found = apply(primitive_named("host_call"), (self,), {"function": name, "types": (type,)})
    assert isinstance(found, Tensor)
    return number(found)


setattr(Number, "__round__", _rounded)  # noqa: B010


def whole(value: Tensor) -> Number:
    """The int that Python makes of a number that is not known yet, of 64 bits; a fraction is cut off.

    Errors: ValueError for NaN, OverflowError for infinities and what 64 bits do not hold, when the program runs.
    """
    cast = apply(primitive_named("cast"), (value,), {"dtype": I64})
    if value._dtype.is_continuous:
        held = apply(primitive_named("lt"), (apply(primitive_named("abs"), (value,)), 2.0**63))
        one = apply(primitive_named("where"), (held, literal(1, I64), literal(0, I64)))
        if STATE.tracer is not None:
            STATE.tracer.on_fault((value,), _no_int)
        cast = apply(primitive_named("div"), (cast, one))  # a fault where there is no such int
    assert isinstance(cast, Tensor)
    return number(cast)


def _no_int(value: np.ndarray) -> Exception | None:
    """Python's error for a float that is no int of 64 bits."""
    given = value.item()
    try:
        return None if abs(int(given)) < 2**63 else OverflowError("int too big to convert")
    except (ValueError, OverflowError) as error:
        return error


setattr(Number, "__trunc__", whole)  # noqa: B010
