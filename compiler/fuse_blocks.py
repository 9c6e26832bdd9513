"""Chains of products and loops over rows that one kernel computes block by block, so that what stands between them
never is an array in memory: attention is two products with a softmax between, which share samples and rows."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence

from adjit.compiler.fuse_cost import estimate
from adjit.compiler.fuse_diagonal import diagonal_of
from adjit.compiler.fuse_group import Group
from adjit.compiler.loops.blocks import Alignment, Roles, Sides, contraction_of
from adjit.compiler.loops.rows import reads_of
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Value
from adjit.ir.shape import Size, product

# Bytes of the first product from which on it does not stay in a core's own cache.
LEAST = 1 << 20
# More terms than this in each element of the first product: its time is so long that memory does not matter.
MOST_TERMS = 160
# Bytes of a block of the first product, and the most rows of a block: it stays near the core, and what all blocks of a
# sample read is packed not too often.
BLOCK_BYTES, MOST_BLOCK = 1 << 20, 128
# Under a diagonal: into how many blocks the rows are cut at least, so that what is beyond it is soon left out, and the
# fewest rows of these.
STEPS, FEWEST = 16, 64


@frozen
class Chain:
    """Groups that one kernel computes by blocks of `block` rows, the last of `rows` leading axes.

    `after` are the groups before the last of these that need their results.  Columns that are more than `diagonal`
    beyond the last row of a block need not be computed (None: all are needed).  `scores` are those results of the size
    of the first product, `dot`, that are only stored for other groups.
    """

    groups: tuple[Group, ...]
    after: tuple[Group, ...]
    rows: int
    block: int
    diagonal: int | None
    dot: Node
    scores: frozenset[Value]


class Chains:
    """The search for chains.

    `is_read` tells what kernels load rather than compute, `outputs` are the program's; `copies`, which compute again
    what an earlier chain has found, go to a chain of their own.
    """

    def __init__(
        self, is_read: Callable[[Value], bool], outputs: Container[Value], copies: Container[Node]
    ) -> None:
        self.is_read, self.outputs, self.copies = is_read, outputs, copies
        self._tried: set[Node] = set()
        self._reads: dict[Node, dict[Value, int]] = {}
        self._dots: dict[Node, Node | None] = {}
        self._makers: dict[Node, tuple[Node, ...]] = {}

    def next(self, groups: Sequence[Group]) -> Chain | None:
        """A chain that pays and that was not found before; groups may have been put together since."""
        seeds = [(dot, place) for place, group in enumerate(groups) if (dot := self.product_of(group)) is not None]
        for dot, place in sorted(seeds, key=lambda seed: seed[0] not in self.copies):
            if dot in self._tried:
                continue
            self._tried.add(dot)
            found = _Search(groups, self).from_seed(place, dot) if _is_worth(dot) else None
            if found is not None:
                return found
        return None

    def product_of(self, group: Group) -> Node | None:
        """The packed product that the kernel of a group computes."""
        if group.block:
            return None
        return next((dot for member in group.members if (dot := self._dot(member)) is not None), None)

    def _dot(self, member: Node) -> Node | None:
        if member not in self._dots:
            self._dots[member] = contraction_of(member.outputs[0], self.is_read) if member.outputs else None
        return self._dots[member]

    def makers(self, member: Node) -> tuple[Node, ...]:
        """The nodes that compute what a member of a group reads."""
        if member not in self._makers:
            self._makers[member] = tuple([value.node for value in self.reads(member) if value.node is not None])
        return self._makers[member]

    def reads(self, member: Node) -> dict[Value, int]:
        """What a member of a group reads, and with how many of its own first indices."""
        if member not in self._reads:
            if member.op.family in ("control", "memory"):
                self._reads[member] = dict.fromkeys(member.inputs, 0)
            else:
                found = reads_of(member, self.is_read)[1]
                self._reads[member] = {value: reach.lead for value, reach in found.items()}
        return self._reads[member]


def _is_worth(dot: Node) -> bool:
    """Whether a product is large, with few terms for each element, and of several samples."""
    output = dot.output
    contract: tuple[tuple[int, ...], ...] = dot.attributes["contract"]  # type: ignore[assignment]
    batch: tuple[tuple[int, ...], ...] = dot.attributes["batch"]  # type: ignore[assignment]
    terms = estimate(product(dot.inputs[0].dims[axis] for axis in contract[0]))
    large = estimate(output.type.size) * output.dtype.itemsize >= LEAST
    return large and bool(batch[0]) and terms <= MOST_TERMS and output.dtype.is_float


class _Search:
    """The chain that begins with one product."""

    def __init__(self, groups: Sequence[Group], chains: Chains) -> None:
        self.groups, self.chains = groups, chains
        self.place_of = {member: place for place, group in enumerate(groups) for member in group.members}
        self.chain: set[int] = set()
        self.after: set[int] = set()  # groups outside that need results of the chain
        self.sides: dict[Node, Sides] = {}

    def from_seed(self, seed: int, dot: Node) -> Chain | None:
        """The chain from the product `dot` in group `seed` on, if there is one that pays."""
        batch: tuple[tuple[int, ...], ...] = dot.attributes["batch"]  # type: ignore[assignment]
        rows = len(batch[0]) + 1
        self.lead = dot.output.dims[:rows]
        self.is_copy = dot in self.chains.copies
        self.alignment = Alignment(rows, self.chains.is_read)
        if not self._add(seed):
            return None
        last = seed
        for place in range(seed + 1, len(self.groups)):
            sources = self._sources(place)
            if sources & self.after or (sources & self.chain and not self._join(place)):
                self.after.add(place)
            elif place in self.chain:
                last = place
        members = [member for place in self.chain for member in self.groups[place].members]
        if len(members) < 3 or len(self.sides) < 2:
            return None
        columns = dot.output.dims[rows:]
        results = self._results()
        diagonal = self._diagonal(columns, results)
        length = _block_length(dot, self.lead[-1], product(columns), diagonal)
        if length is None:
            return None
        chain = tuple(self.groups[place] for place in sorted(self.chain))
        after = tuple(self.groups[place] for place in sorted(self.after) if place < last)
        stored = (v for v, outside in results.items() if outside and v not in self.chains.outputs)
        scores = frozenset(v for v in stored if v.dims == dot.output.dims and self.alignment.roles(v) is not None)
        return Chain(chain, after, rows, length, diagonal, dot, scores)

    def _results(self) -> dict[Value, bool]:
        """What the stages store, and whether it is used outside the chain."""
        inside = [self.groups[place] for place in sorted(self.chain)]
        outside = [group for place, group in enumerate(self.groups) if place not in self.chain]
        elsewhere = {value for group in outside for member in group.members for value in self.chains.reads(member)}
        values = [member.output for group in inside for member in group.members]
        return {value: value in elsewhere or value in self.chains.outputs for value in values}

    def _diagonal(self, columns: tuple[Size, ...], results: Mapping[Value, bool]) -> int | None:
        if len(columns) != 1:
            return None
        nodes = dict.fromkeys(node for place in sorted(self.chain) for node in self.groups[place].nodes)
        outside = [value for value, is_outside in results.items() if is_outside]
        products: dict[Value, Roles] = {}
        for value in results:
            dot = contraction_of(value, self.chains.is_read)
            if dot is not None:
                products[value] = self.sides[dot].out
                while value.node is not dot and value.node is not None:  # the product's layout
                    del nodes[value.node]
                    value = value.node.inputs[0]
        roles = [products.get(value) or self.alignment.roles(value) for value in outside]
        return diagonal_of(nodes, roles, self.sides, self.alignment, self.lead, columns[0])

    def _source(self, value: Value) -> int | None:
        """The group that computes a value."""
        return None if value.node is None else self.place_of.get(value.node)

    def _sources(self, place: int) -> set[int | None]:
        """The groups whose results a group reads."""
        makers, place_of = self.chains.makers, self.place_of
        return {place_of.get(maker) for member in self.groups[place].members for maker in makers(member)}

    def _join(self, place: int) -> bool:
        """Take a group, and the products that only it and later ones need, into the chain if it can be."""
        group = self.groups[place]
        if not self.is_copy and any(member in self.chains.copies for member in group.members):
            return False
        if self.chains.product_of(group) is not None:
            return self._add(place)
        if group.dims is None or group.tiles or group.block or not self._goes_by_rows(place, group.members):
            return False
        for source in self._beside(place):
            self._add(source)
        if not self._goes_by_rows(place, group.members):
            return False
        self._take(place, group.members)
        return True

    def _goes_by_rows(self, place: int, members: Sequence[Node]) -> bool:
        """Whether members start with the leading axes and read what the chain has of their own rows only."""
        count = len(self.lead)
        if any(member.outputs[0].dims[:count] != self.lead for member in members):
            return False
        return all(
            value in self.alignment.aligned and lead >= count
            for member in members
            for value, lead in self.chains.reads(member).items()
            if self._source(value) in self.chain and self._source(value) != place
        )

    def _take(self, place: int, members: Sequence[Node]) -> None:
        self.chain.add(place)
        for member in members:
            self.alignment.align(member.output)

    def _beside(self, place: int) -> list[int]:
        """Products outside the chain, of the same form, that group `place` reads, and none before it."""
        group = self.groups[place]
        found: list[int] = []
        for value in (value for member in group.members for value in self.chains.reads(member)):
            source = self._source(value)
            if source is None or source in self.chain or source in self.after or source in found or source == place:
                continue
            if self.chains.product_of(self.groups[source]) is None or value.dims[: len(self.lead)] != self.lead:
                continue
            if not any(source in self._sources(other) for other in range(source + 1, place)):
                found.append(source)
        return found

    def _add(self, place: int) -> bool:
        """Take a product, and the arithmetic on its sums, into the chain if it can be computed by blocks."""
        dot = self.chains.product_of(self.groups[place])
        assert dot is not None
        sides = self.alignment.sides(dot)
        first, *others = self.groups[place].members
        if sides is None or contraction_of(first.output, self.chains.is_read) is not dot:
            return False
        self.alignment.align_product(first.output, dot, sides)
        if others and (first.output not in self.alignment.aligned or not self._goes_by_rows(place, others)):
            self.alignment.aligned.pop(first.output, None)
            return False
        self.sides[dot] = sides
        self._take(place, others)
        return True


def _block_length(dot: Node, rows: Size, columns: Size, diagonal: int | None) -> int | None:
    """How many rows a block has: a divisor of all, few under a diagonal, else as many as the cache holds."""
    if not isinstance(rows, int) or not isinstance(columns, int):
        return None
    row = columns * dot.output.dtype.itemsize
    most = max(1, min(MOST_BLOCK, BLOCK_BYTES // row))
    if diagonal is not None:
        most = min(most, max(FEWEST, columns // STEPS))
    length = next(length for length in range(min(most, rows), 0, -1) if rows % length == 0)
    if 2 * length >= most:
        return length
    return rows if rows * row <= BLOCK_BYTES else None
