"""Which integers a value can hold: bounds that follow from counters, sizes and clamps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from adjit.ir.graph import Node, Value

# The least and the greatest element of a value; truth values are 0 and 1.
Range: TypeAlias = "tuple[int, int]"
# How far back a value's operands are followed.
_DEEPEST = 24


class Ranges:
    """Bounds of integers and truth values, found where they are asked for.

    Inputs of regions have the bounds that they are given; what is not known has none.
    """

    def __init__(self) -> None:
        self._known: dict[Value, Range | None] = {}

    def learn(self, value: Value, found: Range | None) -> None:
        """Enter the bounds of a value, unless computing it may have wrapped around."""
        self._known[value] = found if found is not None and fits(value, found) else None

    def of(self, value: Value, depth: int = 0) -> Range | None:
        """The bounds of a value, or None."""
        if value in self._known:
            return self._known[value]
        found = None
        if value.dtype.kind in ("int", "uint", "bool") and depth < _DEEPEST:
            found = self._computed(value, depth)
        self.learn(value, found)
        return self._known[value]

    def _computed(self, value: Value, depth: int) -> Range | None:
        constant = value.constant
        if isinstance(constant, (bool, int)):
            return int(constant), int(constant)
        node = value.node
        if node is None:
            return None
        if node.op.name == "iota":
            extent = value.type.dims[int(node.attributes["axis"])]  # type: ignore[arg-type]
            return (0, extent - 1) if isinstance(extent, int) and extent > 0 else None
        rule = _RULES.get(node.op.name)
        if rule is None:
            return None
        places = range(1) if node.op.name in _FIRST else range(len(node.inputs))
        ranges = [self.of(node.inputs[place], depth + 1) for place in places]
        if node.op.name == "where":
            return _chosen(*ranges)
        if node.op.name in _LIMITS:
            ranges = [known or all_of(value) for value, known in zip(node.inputs, ranges, strict=True)]
        if None in ranges:
            return None
        return rule(node, *ranges)


def fits(value: Value, found: Range) -> bool:
    """Whether the dtype of a value holds all numbers of a range."""
    least, most = all_of(value)
    return least <= found[0] and found[1] <= most


def all_of(value: Value) -> Range:
    """The least and the greatest number of a value's dtype."""
    bits, signed = value.dtype.bits, value.dtype.kind == "int"
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


# Ops that bound what nothing is known of.
_LIMITS = frozenset({"minimum", "maximum", "mod"})
# Ops whose elements are elements of their first operand.
_FIRST = frozenset({"reshape", "expand", "permute", "slice", "gather", "window", "reduce_max", "reduce_min", "cast"})


def _same(node: Node, x: Range) -> Range | None:
    if node.output.dtype.kind == "bool" and node.inputs[0].dtype.kind != "bool":  # a cast: whether it is not 0
        return int(not x[0] <= 0 <= x[1]), int(x != (0, 0))
    return x


def _chosen(condition: Range | None, then: Range | None, other: Range | None) -> Range | None:
    if condition is not None and condition[0] == condition[1]:
        return then if condition[0] else other
    return None if then is None or other is None else (min(then[0], other[0]), max(then[1], other[1]))


def _product(node: Node, x: Range, y: Range) -> Range:
    ends = [a * b for a in x for b in y]
    return min(ends), max(ends)


def _quotient(node: Node, x: Range, y: Range) -> Range | None:
    """Rounded down or towards zero: both lie between the same ends."""
    return (min(0, x[0] // y[0]), max(0, x[1] // y[0])) if y[0] == y[1] > 0 else None


def _remainder(node: Node, x: Range, y: Range) -> Range | None:
    return (0, y[1] - 1) if y[0] > 0 else None


def _compared(holds: Callable[[Range, Range], bool], fails: Callable[[Range, Range], bool]) -> Callable[..., Range]:
    return lambda node, x, y: (1, 1) if holds(x, y) else (0, 0) if fails(x, y) else (0, 1)


_RULES: Mapping[str, Callable[..., Range | None]] = {
    **dict.fromkeys(_FIRST, _same),
    "where": lambda node, *ranges: _chosen(*ranges),
    "add": lambda node, x, y: (x[0] + y[0], x[1] + y[1]),
    "sub": lambda node, x, y: (x[0] - y[1], x[1] - y[0]),
    "neg": lambda node, x: (-x[1], -x[0]),
    "mul": _product,
    "div": _quotient,
    "mod": _remainder,
    "minimum": lambda node, x, y: (min(x[0], y[0]), min(x[1], y[1])),
    "maximum": lambda node, x, y: (max(x[0], y[0]), max(x[1], y[1])),
    "concat": lambda node, *parts: (min(low for low, _ in parts), max(high for _, high in parts)),
    "not": lambda node, x: (1 - x[1], 1 - x[0]) if node.output.dtype.kind == "bool" else None,
    "and": lambda node, x, y: (x[0] & y[0], x[1] & y[1]) if node.output.dtype.kind == "bool" else None,
    "or": lambda node, x, y: (x[0] | y[0], x[1] | y[1]) if node.output.dtype.kind == "bool" else None,
    "lt": _compared(lambda x, y: x[1] < y[0], lambda x, y: x[0] >= y[1]),
    "le": _compared(lambda x, y: x[1] <= y[0], lambda x, y: x[0] > y[1]),
    "eq": _compared(lambda x, y: x == y and x[0] == x[1], lambda x, y: x[1] < y[0] or y[1] < x[0]),
}
