"""Sums over the turns of a loop that are one product after it: sum_t x[t] y[t]^T of a recurrent weight's gradient.

A turn then stores two rows instead of adding to a matrix, and the product runs at the speed of matrix products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Node, Region, Value
from adjit.ir.ops.contraction import dot
from adjit.ir.shape import Size

# How many times as large as the sum the rows may be that a turn stores for it.
_MOST = 2


class LaterSums:
    """The products in a loop's body whose sums over all turns are taken after it.

    `stacks` gives the stacks of the body's inputs that are rows, `rows` are the results of a turn that are stacked: at
    first those that are wanted anyway.
    """

    def __init__(self, step: Region, stacks: Mapping[Value, Value], rows: Sequence[Value], *, allowed: bool) -> None:
        self._nodes = set(step.nodes) if allowed else set()
        self._fixed = set(step.inputs) - set(stacks)
        self._stacks = stacks
        self.rows = list(rows)
        self._taken: set[Value] = set()

    def takes(self, value: Value) -> bool:
        """Whether the sum of `value` is taken after the loop; what it needs is among `rows` then."""
        if value not in self._taken:
            products = self._products(value)
            if products is None:
                return False
            missing = dict.fromkeys(v for each in products for v in each.inputs if not self._is_stacked(v))
            if not _is_at_most(_total(missing), value.type.size * _MOST):
                return False
            self.rows += missing
            self._taken.add(value)
        return True

    def _is_stacked(self, value: Value) -> bool:
        return value in self._stacks or value in self.rows

    def _products(self, value: Value) -> list[Node] | None:
        """The products that a term is the sum of, its axes in another order at most; None if it is something else."""
        node = value.node
        if node is None or node not in self._nodes:
            return None
        if node.op.name == "dot" and node.attributes["batch"] in (((), ()), [[], []]):
            return None if self._fixed.intersection(node.inputs) else [node]
        if node.op.name == "permute":
            return self._products(node.inputs[0])
        if node.op.name != "add":
            return None
        parts = [self._products(operand) for operand in node.inputs]
        return None if None in parts else [each for part in parts if part for each in part]

    def total(self, builder: Builder, value: Value, stacked: Sequence[Expr]) -> Expr:
        """The sum of `value` over all turns, given the stacks of `rows`."""
        return self._total(builder, value, dict(zip(self.rows, stacked, strict=True)))

    def _total(self, builder: Builder, value: Value, stacked: Mapping[Value, Expr]) -> Expr:
        node = value.node
        assert node is not None
        if node.op.name == "permute":
            found = node.op(self._total(builder, node.inputs[0], stacked), **node.attributes)
        elif node.op.name == "add":
            found = node.op(*(self._total(builder, operand, stacked) for operand in node.inputs))
        else:
            x, y = (stacked[v] if v in stacked else builder.expr(self._stacks[v]) for v in node.inputs)
            sides: Sequence[Sequence[int]] = node.attributes["contract"]  # type: ignore[assignment]
            contract = tuple((0, *(axis + 1 for axis in axes)) for axes in sides)
            found = dot(x, y, contract=contract, batch=((), ()))
        assert isinstance(found, Expr)
        return found


def _total(values: Mapping[Value, None]) -> Size:
    total: Size = 0
    for value in values:
        total = total + value.type.size
    return total


def _is_at_most(size: Size, limit: Size) -> bool:
    return isinstance(size, int) and isinstance(limit, int) and size <= limit
