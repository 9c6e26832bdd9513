"""How attributes and literals are written: `[1, 0]`, `n + 1`, `"sum"`, `f32[n, 3]`, `-inf`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from adjit.ir.graph import Attribute, Graph
from adjit.ir.shape import Dim
from adjit.ir.types import DTYPES, DType, TensorType

# A size with one of these names could not be told from the literal or the dtype.
RESERVED = frozenset({"true", "false", "none", "nan", "inf", "return", *DTYPES})

# Of equal objects of these kinds, one is the other; a graph equals only itself.
_DISTINCT = frozenset({int, str, Dim, DType, TensorType, Graph, type(None)})

_OUTSIDE_NAMES = re.compile(r"[^\w.]")


def clean_name(name: str) -> str:
    """`name` with what the text format cannot hold replaced by `_`.

    >>> clean_name("weights['a']")
    'weights__a__'
    """
    return _OUTSIDE_NAMES.sub("_", name)


def is_size_name(name: str) -> bool:
    """Whether a named size may be called `name`."""
    return name.isidentifier() and name not in RESERVED


def format_literal(value: object, dtype: DType) -> str:
    """The 0-d constant `value` of `dtype`, as it stands among operands."""
    if isinstance(value, Dim):
        return str(value)
    if dtype.is_continuous:
        return repr(float(value))  # type: ignore[arg-type]
    if dtype.kind == "bool":
        return "true" if value else "false"
    return str(int(value))  # type: ignore[call-overload]


def format_attribute(value: Attribute, name_of: Callable[[Graph], str]) -> str:
    """The text of an attribute; `name_of` gives that of a graph."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case tuple():
            return f"[{', '.join([format_attribute(item, name_of) for item in value])}]"
        case Graph():
            return name_of(value)
        case int() | float() | Dim() | DType() | TensorType():
            return repr(value) if isinstance(value, float) else str(value)
    raise TypeError(f"a {type(value).__name__} cannot be an attribute")


def format_attributes(attributes: dict[str, Attribute], name_of: Callable[[Graph], str]) -> str:
    """`{axes=[0, 1], kind="sum"}`; empty for none."""
    if not attributes:
        return ""
    items = [f"{name}={format_attribute(value, name_of)}" for name, value in attributes.items()]
    return f"{{{', '.join(items)}}}"


def literal_key(attribute: Attribute) -> object:
    """What tells attributes apart: -0.0 equals 0.0, 1 equals 1.0 and True, and nan does not equal itself."""
    if isinstance(attribute, tuple):
        kinds = {*map(type, attribute)}
        if kinds <= _DISTINCT:
            return attribute
        nested = not kinds.isdisjoint((tuple, Graph))
        return tuple([literal_key(each) for each in attribute]) if nested else repr(attribute)
    return (type(attribute), repr(attribute)) if isinstance(attribute, (int, float)) else attribute


def literal_fault(value: object, dtype: DType) -> str | None:
    """Why `value` cannot be a constant of `dtype`, or None.

    >>> literal_fault(300, DTYPES["u8"])
    '300 is outside the range of u8, 0 to 255'
    """
    if dtype.kind == "bool":
        return None if isinstance(value, bool) else f"{value} is not true or false"
    if dtype.is_continuous:
        return None if isinstance(value, (int, float, Dim)) else f"{value!r} is not a number"
    if isinstance(value, Dim):
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        return f"{format_literal(value, DTYPES['f64'])} is not an integer, as {dtype} needs"
    low = 0 if dtype.kind == "uint" else -(2 ** (dtype.bits - 1))
    high = low + 2**dtype.bits - 1
    return None if low <= value <= high else f"{value} is outside the range of {dtype}, {low} to {high}"
