"""Which columns of a chain's scores a causal mask hides from all that follows.

Beyond a diagonal, such scores are -inf, their exponentials 0, and what these are multiplied with is not looked at, as
attention kernels have it: sums and products over the columns may stop at the diagonal.  What is not a number there
would make the whole result so where it is multiplied by 0; then as well it is not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from adjit.compiler.loops.blocks import Alignment, Roles, Sides
from adjit.ir.graph import Node, Value
from adjit.ir.shape import Size

Number = float | int | bool
# What a term beyond the diagonal must be to make no difference to a reduction.
_NEUTRAL: Mapping[str, Number] = {
    "reduce_sum": 0, "reduce_prod": 1, "reduce_max": -math.inf, "reduce_min": math.inf, "reduce_any": False,
    "reduce_all": True,
}  # fmt: skip


def diagonal_of(
    nodes: Iterable[Node],
    results: Iterable[Roles | None],
    sides: Mapping[Node, Sides],
    alignment: Alignment,
    lead: Sequence[Size],
    columns: Size,
) -> int | None:
    """columns - rows if nothing depends on the columns more than that beyond a row, else None.

    `results` are the roles of the axes of what is used outside the chain; `sides` the products.
    """
    rows = lead[-1]
    if not isinstance(rows, int) or not isinstance(columns, int) or columns < rows:
        return None
    beyond = Beyond(columns - rows)
    place = len(lead) - 1, len(lead)

    def is_hidden(value: Value, wanted: Number) -> bool:
        return beyond.constant(value, *place) == wanted

    found = False
    for node in nodes:
        out = node.outputs[0]
        if node in sides:
            if not _product_is_hidden(node, sides[node], alignment, beyond):
                return None
        elif node.op.family == "reduction":
            axes: Any = node.attributes.get("axes")
            if axes != (place[1],) or node.inputs[0].dims != (*lead, columns):
                return None
            if node.op.name not in _NEUTRAL or not is_hidden(node.inputs[0], _NEUTRAL[node.op.name]):
                return None
            found = True
        elif alignment.roles(out) is None:
            return None
    whole = any(roles is None or {len(lead) - 1, len(lead)} <= set(roles) for roles in results)
    return columns - rows if found and not whole else None


def _product_is_hidden(dot: Node, sides: Sides, alignment: Alignment, beyond: Beyond) -> bool:
    """Whether the terms beyond the diagonal of a product that sums over columns, or over rows, are 0."""
    last, column = alignment.rows - 1, alignment.rows
    contract: Any = dot.attributes["contract"]
    over_columns = column in [sides.x[axis] for axis in contract[0]]
    if not (over_columns or (sides.summed and column in sides.out)):
        return True
    for value in dot.inputs:
        roles = alignment.roles(value) or ()
        if last in roles and column in roles:
            return beyond.constant(value, roles.index(last), roles.index(column)) == 0
    return False


class Beyond:
    """The constants that values hold where column > row + `diagonal`."""

    def __init__(self, diagonal: int) -> None:
        self.diagonal = diagonal
        self._known: dict[tuple[Value, int, int], Number | None] = {}

    def constant(self, value: Value, row: int, column: int) -> Number | None:
        """What all elements beyond the diagonal of the axes `row` and `column` are; None where that is not known."""
        key = (value, row, column)
        if key not in self._known:
            self._known[key] = self._find(value, row, column)
        return self._known[key]

    def _find(self, value: Value, row: int, column: int) -> Number | None:
        node = value.node
        if node is None:
            return None
        if node.op.name == "const":
            literal = value.constant
            return literal if isinstance(literal, (int, float, bool)) else None
        if node.op.family == "scalar":
            return self._scalar(node, row, column)
        source = node.inputs[0] if node.inputs else value
        axes = _axes_before(node, (row, column))
        return None if axes is None or -1 in axes else self.constant(source, *axes)

    def _scalar(self, node: Node, row: int, column: int) -> Number | None:
        values = [self.constant(v, row, column) for v in node.inputs]
        name = node.op.name
        if name in ("le", "lt"):
            known = self._comparison(node, row, column)
            if known is not None:
                return known
        if name == "where" and values[0] is not None:
            return values[1] if values[0] else values[2]
        if name == "where" and values[1] == values[2]:
            return values[1]
        if all(v is not None for v in values):
            with np.errstate(all="ignore"):
                dtypes = [operand.dtype.storage for operand in node.inputs]
                numbers = [np.asarray(v, dtype) for v, dtype in zip(values, dtypes, strict=True)]
                return node.op.reference(*numbers, **node.attributes).item()  # type: ignore[no-any-return]
        if name in ("mul", "and") and 0 in values:
            return 0
        if name == "div" and values[0] == 0:
            return 0
        if name in ("add", "sub") and values[0] == -math.inf:  # of finite numbers
            return -math.inf
        if name == "add" and values[1] == -math.inf:
            return -math.inf
        return None

    def _comparison(self, node: Node, row: int, column: int) -> bool | None:
        """The value of a comparison of positions, where it is the same everywhere beyond the diagonal."""
        left, right = (_linear(operand, (row, column)) for operand in node.inputs)
        if left is None or right is None:
            return None
        i, j, c = (a - b for a, b in zip(left, right, strict=True))
        if i + j != 0 or j == 0:
            return None
        # left - right is at least `extreme` if j > 0, else at most.
        extreme = j * (self.diagonal + 1) + c
        if extreme == 0:
            return {("lt", True): False, ("le", False): True}.get((node.op.name, j > 0))
        return j < 0 if extreme * j > 0 else None


def _axes_before(node: Node, axes: Sequence[int]) -> tuple[int, ...] | None:
    """The axes of the operand that become `axes` of a view, -1 for one that is made up; None if it is no such view."""
    if not node.inputs:
        return None
    dims, out = node.inputs[0].dims, node.outputs[0].dims
    match node.op.name:
        case "permute":
            perm: Any = node.attributes["perm"]
            origin = list(perm)
        case "expand":
            new = len(out) - len(dims)
            origin = [axis if axis >= 0 and dims[axis] == out[axis + new] else -1 for axis in range(-new, len(dims))]
        case "reshape":
            kept = [axis for axis, dim in enumerate(dims) if dim != 1]
            if [dims[axis] for axis in kept] != [dim for dim in out if dim != 1]:
                return None
            names = iter(kept)
            origin = [-1 if dim == 1 else next(names) for dim in out]
        case _:
            return None
    return tuple(-1 if axis < 0 else origin[axis] for axis in axes)


def _linear(value: Value, axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """(a, b, c) where the integer `value` is a*i + b*j + c at the index i, j of `axes`, of which -1 is none."""
    node = value.node
    if node is None or not value.dtype.is_integer:
        return None
    constant = value.constant
    if isinstance(constant, int):
        return (*[0] * len(axes), constant)
    if node.op.name == "iota":
        return (*(int(node.attributes["axis"] == axis) for axis in axes), 0)
    if node.op.name == "cast":
        return _linear(node.inputs[0], axes)
    if node.op.name in ("add", "sub"):
        left, right = (_linear(operand, axes) for operand in node.inputs)
        if left is None or right is None:
            return None
        sign = 1 if node.op.name == "add" else -1
        return tuple(a + sign * b for a, b in zip(left, right, strict=True))
    before = _axes_before(node, axes)
    return None if before is None else _linear(node.inputs[0], before)
