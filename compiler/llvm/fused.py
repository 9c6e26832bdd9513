"""a*b + c in one rounding: which products of a kernel are added or subtracted where they are made.

The choice is made here and not by LLVM (no instruction carries its `contract` flag), so the bits of a result depend on
the program and on whether the machine has the instruction, never on LLVM's version or on how hard it optimises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Region, Value
from adjit.ir.types import F32, F64


@frozen
class FusedProducts:
    """For each sum and difference computed with a product, the operand that is the product; and those products."""

    side: Mapping[Node, int]
    products: frozenset[Node]

    def extended(self, copies: Mapping[Node, Node]) -> FusedProducts:
        """The same with the copies of nodes."""
        side = {**self.side, **{copies[node]: index for node, index in self.side.items() if node in copies}}
        return FusedProducts(side, self.products | {copies[node] for node in self.products if node in copies})


def fused_products(kernel: Region) -> FusedProducts:
    """Products with a single use, which is an addition or subtraction.

    Of two that meet in one, the one that is computed from later results: the other is ready then; of equals the first.
    """
    uses = _count_uses(kernel)
    side: dict[Node, int] = {}
    height: dict[Value, int] = {}
    for node in kernel.walk():
        before = [height.get(value, 0) for value in node.inputs]
        if node.op.family == "scalar":
            height.update(dict.fromkeys(node.outputs, 1 + max(before, default=0)))
        if node.op.name in ("add", "sub") and node.output.type.dtype in (F32, F64):
            products = [
                index for index, value in enumerate(node.inputs)
                if value.node is not None and value.node.op.name == "mul" and uses[value] == 1
            ]  # fmt: skip
            if products:
                side[node] = max(products, key=before.__getitem__)
    made = (node.inputs[index].node for node, index in side.items())
    return FusedProducts(side, frozenset(product for product in made if product is not None))


def _count_uses(region: Region) -> Counter[Value]:
    uses = Counter(region.outputs)
    for node in region.walk():
        uses.update(node.inputs)
        for inner in node.regions:
            uses.update(inner.outputs)
    return uses
