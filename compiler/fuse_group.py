"""Groups of ops that one kernel computes, while fusion makes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Value
from adjit.ir.shape import Size


@frozen
class Refusal:
    """Why `producer` and `consumer` are in different kernels."""

    producer: Node
    consumer: Node
    reason: str

    def __str__(self) -> str:
        return f"{self.producer.op.name} into {self.consumer.op.name}: {self.reason}"


@frozen
class Grouping:
    """Why a group is as it is: of each op whose result it stores the reason, and which ops did not join it."""

    stored: Mapping[Node, str]
    refused: tuple[Refusal, ...]


class Group:
    """Stored ops that one kernel computes; `nodes` are those and what is inlined for them."""

    __slots__ = ("block", "diagonal", "dims", "members", "nodes", "product", "refused", "rows", "sources", "tiles")

    def __init__(self, dims: tuple[Size, ...] | None) -> None:
        self.dims = dims  # None where nothing may join
        self.product = False  # whether its kernel is a packed product's, with arithmetic on complete sums after it
        self.rows = 0  # how many axes a kernel that goes row by row has in its outer loop
        self.block = 0  # how many rows a kernel that goes by blocks takes at a time
        self.diagonal: int | None = None  # how many columns beyond a block's last row it needs; None: all
        self.members: list[Node] = []
        self.tiles: dict[Node, int] = {}  # sums over tiles of rows, by each the number of rows
        self.nodes: set[Node] = set()
        self.refused: list[Refusal] = []
        self.sources: dict[int, bool] = {}  # the groups whose results it reads; whether at its own index only


@frozen
class Scores:
    """What a chain, of the nodes `inside`, stores of the size of its first product `dot` for others alone."""

    dot: Node
    values: Collection[Value]
    inside: Collection[Node]
