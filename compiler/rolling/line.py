"""A straight program as arrays of numbers: of each node a label, of each operand the node that makes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjit.ir.graph import Graph, Node, Value
from adjit.ir.hashing import structural_hash
from adjit.ir.literals import literal_key

Numbers = NDArray[np.int64]

# What `made` says of a constant; inputs of the program have numbers below it.
CONSTANT = -1


class Line:
    """The nodes of a graph but its constants, in their order.

    `labels[i]` is equal for nodes of equal op, attributes and types; where a slice starts does not count.  Node i has
    the operands `first[i]` to `first[i + 1]`; `made` is the node that makes an operand, CONSTANT, or a number below
    that for an input, `place` which of the node's results it is, and `owner` the node whose operand it is.
    """

    def __init__(self, graph: Graph) -> None:
        self.nodes: list[Node] = [node for node in graph.nodes if node.op.name != "const"]
        number: dict[Value, int] = {value: CONSTANT - 1 - i for i, value in enumerate(graph.inputs)}
        known: dict[object, int] = {}
        labels: list[int] = []
        counts: list[int] = []
        made: list[int] = []
        place: list[int] = []
        for index, node in enumerate(self.nodes):
            labels.append(known.setdefault(_label(node), len(known)))
            counts.append(len(node.inputs))
            for value in node.inputs:
                made.append(number.get(value, CONSTANT))
                place.append(value.index)
            for value in node.outputs:
                number[value] = index
        self.labels: Numbers = np.array(labels, np.int64)
        self.first: Numbers = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.array(counts, np.int64))])
        self.made: Numbers = np.array(made, np.int64)
        self.place: Numbers = np.array(place, np.int64)
        self.owner: Numbers = np.repeat(np.arange(len(self.nodes)), np.array(counts, np.int64))

    def operands(self, node: int) -> range:
        """The places of a node's operands in `made`."""
        return range(int(self.first[node]), int(self.first[node + 1]))

    def column(self, start: int, period: int, turns: int, operand: int) -> Numbers:
        """Who makes one operand of the first turn, and the same operand of the others; see `made`."""
        stride = int(self.first[start + period] - self.first[start])
        return self.made[operand : operand + stride * (turns - 1) + 1 : stride]

    def values(self, period: int, turns: int, operand: int) -> list[Value]:
        """The values of one operand in all turns."""
        node = int(self.owner[operand])
        slot = operand - int(self.first[node])
        return [self.nodes[node + turn * period].inputs[slot] for turn in range(turns)]


def _label(node: Node) -> tuple[object, ...]:
    skipped = "start" if node.op.name == "slice" else ""
    attributes: Sequence[Any] = [(n, literal_key(v)) for n, v in node.attributes.items() if n != skipped]
    regions = [structural_hash(Graph("", r.inputs, r.nodes, r.outputs)) for r in node.regions]
    types = (tuple([value.type for value in node.inputs]), tuple([value.type for value in node.outputs]))
    return node.op.name, *attributes, *regions, *types
