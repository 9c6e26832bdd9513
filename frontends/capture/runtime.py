"""What rewritten functions call in place of Python's statements, operators and functions.

On ordinary values each does what Python does; on a traced tensor it emits ops.
"""

from __future__ import annotations

import builtins
import operator
from collections import deque
from collections.abc import Callable, Set
from functools import partial
from typing import Any

from adjit.capture.flow import choose, for_, given, if_, range_, while_
from adjit.capture.masks import augmented
from adjit.capture.numbers import Number
from adjit.capture.parts import is_traced
from adjit.capture.raising import assert_, raise_if
from adjit.capture.text import joined, made
from adjit.capture.truth import and_, not_, or_, truth_of
from adjit.capture.values import Undefined, as_type, common_type, from_type, known, refuse, shown
from adjit.ir.types import BOOL
from adjit.tensor import Tensor

__all__ = [
    "Undefined",
    "all_",
    "and_",
    "any_",
    "assert_",
    "augmented",
    "bool_",
    "choose",
    "compared",
    "float_",
    "for_",
    "format_",
    "given",
    "if_",
    "in_",
    "int_",
    "is_",
    "joined",
    "math_",
    "max_",
    "min_",
    "not_",
    "or_",
    "percent",
    "raise_if",
    "range_",
    "repr_",
    "slice_",
    "str_",
    "template",
    "while_",
]


def any_(items: Any) -> Any:
    """Python's `any`."""
    return _joined(or_, builtins.any, items)


def all_(items: Any) -> Any:
    """Python's `all`."""
    return _joined(and_, builtins.all, items)


def _joined(join: Callable[..., Any], plain: Callable[..., bool], items: Any) -> Any:
    """`any` or `all`: where truth values are not known, all of the items are looked at."""
    if isinstance(items, Tensor):
        return plain(items)
    values = iter(items)
    found: list[Any] = []
    for value in values:
        found.append(value)
        if not is_traced(value) and bool(value) is (join is or_):
            break  # it decides
    if not builtins.any(map(is_traced, found)):
        return plain(found)
    return bool_(join(*(partial(lambda value: value, value) for value in found), all_run=True))


def compared(names: tuple[str, ...], *sides: Callable[[], Any]) -> Any:
    """`a < b < c`, where each side is computed once, and only if those before it compare."""
    values = [sides[0]()]

    def pair(name: str, side: Callable[[], Any]) -> Any:
        values.append(side())
        return getattr(operator, name)(*values[-2:])

    return and_(*(partial(pair, name, side) for name, side in zip(names, sides[1:], strict=True)), all_run=True)


def in_(item: Any, items: Any) -> Any:
    """`item in items`."""
    if not isinstance(items, (tuple, list, Set, deque, dict)) or not builtins.any(map(is_traced, (item, *items))):
        return item in items
    return any_([each is item or each == item for each in items])


def is_(value: Any, constant: bool | None) -> Any:
    """Whether a `case` of True, False or None matches."""
    if is_traced(value) and isinstance(value, Number) and value._dtype is BOOL and constant is not None:
        return truth_of(value) if constant else not_(value)
    return value is constant


def min_(*arguments: Any, **options: Any) -> Any:
    """Python's `min`."""
    return _extreme(builtins.min, "minimum", arguments, options)


def max_(*arguments: Any, **options: Any) -> Any:
    """Python's `max`."""
    return _extreme(builtins.max, "maximum", arguments, options)


def _extreme(plain: Callable[..., Any], name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    values = arguments if len(arguments) > 1 else tuple(arguments[0])
    if options or not any(is_traced(value) for value in values):
        return plain(*arguments, **options)
    from adjit import elementwise

    result = values[0]
    for value in values[1:]:
        type = common_type(known(result), known(value))
        if type is None:
            refuse(f"{name} of {shown(known(result))} and {shown(known(value))}", "compare values of one shape")
        found = getattr(elementwise, name)(as_type(result, type), as_type(value, type))
        result = from_type(found, type)
    return result


def slice_(*ends: Any) -> slice:
    """What `start:stop:step` in an index's brackets is."""
    return slice(*ends)


# -- numbers ----------------------------------------------------------------------------------------------------------
def float_(*arguments: Any) -> Any:
    """Python's `float`."""
    return _converted(float, arguments)


def int_(*arguments: Any, **options: Any) -> Any:
    """Python's `int`; a fraction is cut off."""
    return int(*arguments, **options) if options else _converted(int, arguments)


def bool_(*arguments: Any) -> Any:
    """Python's `bool`."""
    return _converted(bool, arguments)


def _converted(kind: type, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 1 or not is_traced(arguments[0]):
        return kind(*arguments)
    from adjit.capture.numbers import NumberKind, number, number_of, whole
    from adjit.dispatch import apply
    from adjit.ir.primitive import primitive_named

    (value,) = arguments
    if value._tensor_type.size != 1 or value._dtype.is_complex:
        return kind(value)  # raises what it should
    found = number_of(value)
    if kind is bool:
        return number(truth_of(found))
    if kind is int:
        return whole(found)
    cast = apply(primitive_named("cast"), (found,), {"dtype": NumberKind(kind).dtype})
    assert isinstance(cast, Tensor)
    return number(cast)


def math_(name: str, *arguments: Any) -> Any:
    """A function of Python's `math`; of a number that is not known yet the tensor function of that name, in float64."""
    import math

    if name not in _MATH or not any(is_traced(argument) for argument in arguments):
        return getattr(math, name)(*arguments)
    import adjit

    known_or_float = (float_(argument) if is_traced(argument) else argument for argument in arguments)
    found = getattr(adjit, _MATH[name])(*known_or_float)
    return int_(found) if name in ("floor", "ceil", "trunc") else _converted(float, (found,))


_ALIKE = "sqrt exp expm1 log log1p log2 log10 sin cos tan sinh cosh tanh erf erfc atan2 hypot floor ceil trunc copysign"
_MATH = {name: name for name in _ALIKE.split()} | {
    "fabs": "abs", "asin": "asin", "acos": "acos", "atan": "atan", "pow": "pow", "asinh": "asinh", "acosh": "acosh",
    "atanh": "atanh",
}  # fmt: skip


# -- text -------------------------------------------------------------------------------------------------------------
def str_(*arguments: Any, **options: Any) -> Any:
    """Python's `str`."""
    return made(str, *arguments) if len(arguments) == 1 and not options else str(*arguments, **options)


def repr_(value: Any) -> Any:
    """Python's `repr`."""
    return made(repr, value)


def format_(*arguments: Any) -> Any:
    """Python's `format`."""
    return made(format, *arguments)


def percent(text: str, values: Any) -> Any:
    """`text % values`."""
    return made(lambda given: text % given, values)


def template(text: str, *values: Any, **named: Any) -> Any:
    """`text.format(...)`."""
    return made(lambda values, named: text.format(*values, **named), values, named)
