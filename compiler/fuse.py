"""Fusion: tensor ops are put in groups, each of which one kernel computes.

Every op either is *stored*, its result written to memory by the kernel of its group, or is *inlined*: computed again
inside each kernel that uses it.  Two passes decide, each over every op once:

1. Backwards, from users to operands: what is stored.  Results and operands of control flow are; so are ops with kernels
   of their own (packed dot, scatter, running reductions, sort, concat).  Of the rest, views are inlined; arithmetic is
   inlined where computing it as often as its users ask costs at most what a store and its loads would (`WORTH`);
   a reduction only where each element of it is used once.
2. Forwards: each stored op joins the kernel of an operand, or one that reads the same values, if both have the same
   dims, it needs that kernel's results only at its own index, and no other kernel stands between them.  It also joins
   the kernel of an operand where both have the same rows and it needs that kernel's results only in its own row: the
   kernel goes row by row then, as in softmax.  The sums of tiles of rows (`tile_sums`) join such a kernel too.  The
   kernel of a packed dot takes arithmetic on its sums, which it does before they leave the first cache.

Costs are counted in arithmetic instructions an element, named sizes as `TYPICAL`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from adjit.compiler.as_it_lies import as_it_lies
from adjit.compiler.fuse_cost import (
    Frame,
    chain_costs,
    contraction_ends,
    estimate,
    is_free,
    is_large,
    is_looked_through,
    is_pointwise,
    is_reduction,
    large_sources,
    needs_padding,
    operand_frames,
    small_first,
    stands_apart,
    sums_alike,
)
from adjit.compiler.fuse_group import Group, Grouping, Refusal, Scores
from adjit.compiler.loops.ir import FUSE
from adjit.compiler.loops.kinds import SPECIAL, WHOLE, WHOLE_READERS
from adjit.compiler.loops.rows import Reach, reads_of
from adjit.compiler.overwritten import early_reads, reads_first
from adjit.compiler.tile_sums import Tile, tile_of, tile_sums
from adjit.compiler.unpadded import computes, is_read_in_place
from adjit.ir.analysis import VIEWS
from adjit.ir.builder import Builder
from adjit.ir.graph import Attribute, Graph, Node, Region, Value
from adjit.ir.journal import note
from adjit.ir.shape import Size, product

# A store and a load that a recomputation saves, in instructions.
WORTH = 12.0
# The same for an array in memory, and one more load of such an array.
WORTH_LARGE = 18.0
LOAD_LARGE = 14.0
# The dearest arithmetic that is done while an operand is packed: packing may happen more than once.
PROLOGUE = 8.0
# How much more an element costs while an operand is packed than in a loop of its own: its place is worked out with it.
PACKED = 4.0
# A padded image whose windows are read more often than this is stored: they are plain memory then.
MOST_PADDED = 1.5
# Bytes of direct sums over windows from which on arithmetic joins them: their blocks are gone through by short rows,
# and a loop of its own over what the last cache still holds is as fast.
LEAST_WINDOWED = 4 << 20
# The most scalar ops in a kernel: LLVM's vectoriser takes quadratic time in a loop's body; and without loops.
LARGEST, LARGEST_STRAIGHT = 400, 1600
# The most places that compute a value again, and the longest chain of views that one kernel looks through.
MOST_USERS = 8
DEEPEST = 24
# Rows are what threads share out in a kernel that goes row by row.
FEWEST_ROWS = 16
# Families of ops that stand between kernels.
STEPS = ("control", "memory")
_READ = VIEWS | {"window", "as_strided", "pad"}


def _largest(dims: tuple[Size, ...] | None) -> int:
    return LARGEST if dims else LARGEST_STRAIGHT


def fuse(graph: Graph) -> Graph:
    """The graph with all ops but control flow in `fuse` nodes."""
    body = _fuse_region(tile_sums(as_it_lies(graph)))
    return graph.with_parts(body.inputs, body.nodes, body.outputs)


def _fuse_region(region: Region) -> Region:
    plan = _planned(region)
    if plan.scores:
        from adjit.compiler.fuse_again import computed_again

        again = _planned(*computed_again(plan.region, plan.scores))
        plan = plan if again.scores or again.chained <= plan.chained else again
    return plan.build()


def _planned(region: Region, copies: Container[Node] = ()) -> _Plan:
    """The decisions about a region; `copies` are ops of which others compute the same earlier."""
    plan = _Plan(Region(region.inputs, reads_first(small_first(region)), region.outputs))
    plan.decide()
    plan.group()
    plan.chain(copies)
    return plan


def _takes_epilogue(end: Node, nodes: Iterable[Node]) -> bool:
    """Whether the kernel of the contraction that ends in `end` does arithmetic on its sums; `nodes` compute it."""
    if end.op.name not in ("dot", "permute"):
        return False  # its sums have no plain index
    size = end.output.type.size
    small = isinstance(size, int) and size * end.output.dtype.itemsize < LEAST_WINDOWED
    windowed = small and any(node.op.name in ("window", "as_strided") for node in nodes)
    return not windowed or any(computes(node) for node in nodes)


class _Plan:
    """The decisions about one region."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.order = {node: place for place, node in enumerate(region.nodes)}
        self.users: dict[Value, list[Node]] = {}
        for node in region.nodes:
            for value in dict.fromkeys(node.inputs):
                self.users.setdefault(value, []).append(node)
        self.outputs = set(region.outputs)
        self.ends = contraction_ends(region, self.users, self.outputs)
        self.contractions = set(self.ends.values())
        self.early = early_reads(region)
        self.required = {node: reason for node in region.nodes if (reason := self._required(node))}
        self.costs = chain_costs(region, self.required)
        self.sources = large_sources(region, self.required)
        self.stored: dict[Node, str] = {}
        self.inlined: dict[Node, int] = {}  # by stored op: how many ops are inlined into it
        self.kernels: dict[Node, int] = {}  # in how many groups an op is computed
        self.groups: list[Group] = []
        self.moved: dict[int, int] = {}  # a group that became part of a later one
        self.group_of: dict[Node, int] = {}
        self.chained = 0  # how many products are in chains
        self.scores: list[Scores] = []  # what chains store for others

    # -- what is stored -----------------------------------------------------------------------------------------------
    def decide(self) -> None:
        """Fill `stored`, with the reasons."""
        frames: dict[Node, dict[Frame, None]] = {}
        for node in reversed(self.region.nodes):
            if node.op.family in STEPS:
                continue
            reached = list(frames.pop(node, {}))
            reason = self.required.get(node) or self._preferred(node, reached)
            if reason:
                self.stored[node] = reason
                self.inlined[node] = 1
                reached = [Frame(node, estimate(node.outputs[0].type.size), True, 0)]
            elif not reached:
                continue
            else:
                for root in {frame.root for frame in reached}:
                    self.inlined[root] += 1
            for frame in reached:
                for value, inner in operand_frames(node, frame):
                    if value.node is not None:
                        frames.setdefault(value.node, {})[inner] = None

    def _required(self, node: Node) -> str | None:
        """Why the result of `node` must be in memory, or None."""
        if node in self.contractions:
            return "a contraction is stored"
        if node in self.ends:
            return None
        if node in self.early:
            return "the array is overwritten"
        if tile_of(node):
            return "it is the first stage of a large sum"
        if any(value in self.outputs for value in node.outputs):
            return "it is a result"
        users = [user for value in node.outputs for user in self.users.get(value, ())]
        if any(user.op.family in STEPS or user.op.name in WHOLE_READERS for user in users):
            return "control flow, sort and algorithms on matrices read memory"
        if is_read_in_place(node, self.users):
            return "a convolution reads it where it stands"
        if users and node.op.name in SPECIAL and not is_looked_through(node, self.users):
            return f"{node.op.name} has a kernel of its own"
        return None

    def _preferred(self, node: Node, frames: Sequence[Frame]) -> str | None:
        """Why it is better to store `node` than to compute it in each of `frames`, or None."""
        if not frames or is_free(node) or node in self.ends:
            return None
        root = frames[0].root
        single = node.outputs[0].type.size == 1 and not is_reduction(node)
        if single and all(frame.root is root and frame.evaluations <= 1 for frame in frames):
            # A scalar among those of one array is computed once, whatever uses it: see llvm/emit_straight.py.
            full = self.inlined[root] >= LARGEST_STRAIGHT
            return f"the kernel has {LARGEST_STRAIGHT} ops" if full else None
        if len(frames) > MOST_USERS:
            return f"{len(frames)} places use it"
        if any(frame.depth > DEEPEST for frame in frames):
            return "the chain of views is long"
        if any(self.inlined[frame.root] >= LARGEST for frame in frames):
            return f"the kernel has {LARGEST} ops"
        if is_reduction(node):
            looped = root.op.name == "interleave" or (root.op.name not in SPECIAL and root not in self.contractions)
            alone = len(frames) == 1 and frames[0].once and looped and not stands_apart(node, 1, self.users)
            return None if alone else "a reduction is used more than once, or far apart"
        elements = max(1.0, estimate(node.outputs[0].type.size))
        packed = [frame.evaluations for frame in frames if frame.root in self.contractions]
        times = sum(frame.evaluations for frame in frames) / elements
        if node.op.name == "pad" and times > MOST_PADDED and needs_padding(node, packed, self.users):
            return f"its padding would be looked at {times:.3g} times"
        if node.op.name in _READ:
            return self._preferred_order(node, frames, times)
        cost = self.costs[node]
        if cost > PROLOGUE and packed:
            return "it is too dear to compute while packing"
        times += (PACKED - 1.0) * sum(packed) / elements
        worth = WORTH
        if is_large(node.outputs[0]):
            # Memory is far away: its traffic decides.
            worth, cost = WORTH_LARGE, cost + LOAD_LARGE * max(0, len(self.sources[node]) - 1)
        if (times - 1) * cost > worth:
            return f"it would be computed {times:.3g} times"
        return None

    def _preferred_order(self, node: Node, frames: Sequence[Frame], times: float) -> str | None:
        """Why what is better stored is stored in the order of the permute `node`, or None.

        Nothing else reads it, and rows of the last axis stay whole: sums and products then read memory as it lies.
        """
        perm: Sequence[int] = node.attributes.get("perm", ())  # type: ignore[assignment]
        source = node.inputs[0].node
        if stands_apart(node, times, self.users):
            return f"its elements would be read {times:.3g} times, far apart"
        if not perm or perm[-1] != len(perm) - 1 or source is None or source in self.required:
            return None
        if source.op.family != "scalar" or self.users[source.output] != [node]:
            return None
        inner = [each for frame in frames for _, each in operand_frames(node, frame)]
        return "its users read it in this order" if self._preferred(source, inner) else None

    # -- which stored ops share a kernel ------------------------------------------------------------------------------
    def group(self) -> None:
        """Fill `groups`; every edge between groups goes from an earlier one to a later one, so there is no cycle."""
        readers: dict[Value, int] = {}
        for node in self.region.nodes:
            if node.op.family in STEPS:
                opened = self._open(node, None)
                makers = [value.node for value in node.inputs if value.node is not None]
                self.groups[opened].sources = dict.fromkeys((self.group_of[maker] for maker in makers), False)
                continue
            if node not in self.stored:
                continue
            nodes, reads, place = self._tile(node, readers)
            if place is None:
                nodes, reads = reads_of(node, self._is_read)
                place = self._join(node, nodes, reads, readers)
            if place is None:
                joins = node.op.name not in SPECIAL
                if node in self.contractions:
                    joins = _takes_epilogue(node, nodes)
                place = self._open(node, node.output.dims if joins else None)
                self.groups[place].product = node in self.contractions
            group = self.groups[place]
            for inner in nodes - group.nodes:
                self.kernels[inner] = self.kernels.get(inner, 0) + 1
            group.nodes |= nodes
            for value, reach in reads.items():
                readers[value] = place
                source = place if value.node is None else self.group_of.get(value.node, place)
                if source != place:
                    group.sources[source] = group.sources.get(source, True) and reach.same
            if group.members[-1] is not node:
                group.members.append(node)
                self.group_of[node] = place

    def _tile(self, node: Node, readers: dict[Value, int]) -> tuple[set[Node], dict[Value, Reach], int | None]:
        """What a sum over tiles computes and reads, row by row or of a vector, and the group that it joins, or None."""
        tile = tile_of(node)
        if tile is None:
            return set(), {}, None
        nodes, reads = {node, *tile.views}, {tile.term: Reach(True, tuple(range(tile.term.type.ndim)))}
        if not self._is_read(tile.term):
            assert tile.term.node is not None
            inner, reads = reads_of(tile.term.node, self._is_read)
            nodes |= inner
        place = self._join(node, nodes, reads, readers, tile)
        if place is None and tile.is_flat:
            place = self._open(node, tile.term.dims)
        if place is not None:
            self.groups[place].tiles[node] = tile.rows
        return nodes, reads, place

    def _open(self, node: Node, dims: tuple[Size, ...] | None) -> int:
        group = Group(dims)
        group.members.append(node)
        self.groups.append(group)
        self.group_of[node] = len(self.groups) - 1
        return self.group_of[node]

    def _is_read(self, value: Value) -> bool:
        """Whether a kernel loads `value` rather than computing it."""
        producer = value.node
        return producer is None or producer in self.stored or producer.op.family in STEPS

    def _join(
        self,
        node: Node,
        nodes: set[Node],
        reads: dict[Value, Reach],
        readers: dict[Value, int],
        tile: Tile | None = None,
    ) -> int | None:
        """The group that `node` can join, or None; with `tile` it is a sum over tiles of the group's rows."""
        if node.op.name in SPECIAL or node in self.contractions:
            return None
        self._unite((tile.term if tile and tile.is_flat else node.output).dims, nodes, reads)
        made = [(self.group_of[v.node], v) for v in reads if v.node is not None]
        latest = max((place for place, _ in made), default=-1)
        candidates = [latest, *sorted({self._place(readers[v]) for v in reads if v in readers}, reverse=True)]
        for place in dict.fromkeys(candidates):
            if place < latest or place < 0:
                continue
            group = self.groups[place]
            reaches = [reads[value] for source, value in made if source == place]
            rows, reason = self._fits(group, node, nodes, reaches, tile)
            if reason is None:
                group.rows = rows
                return place
            if group.members and group.members[0].op.family not in STEPS and len(group.refused) < MOST_USERS:
                group.refused.append(Refusal(group.members[-1], node, reason))
        return None

    def _place(self, place: int) -> int:
        """Where the group that stood at `place` is."""
        while place in self.moved:
            place = self.moved[place]
        return place

    def _unite(self, dims: tuple[Size, ...], nodes: set[Node], reads: dict[Value, Reach]) -> None:
        """Make one group of those that `nodes` read at their own index `dims`, where nothing stands between them."""
        made = {self.group_of[value.node] for value, reach in reads.items() if value.node is not None and reach.same}
        *earlier, latest = sorted(made) or (0,)
        into = self.groups[latest] if self.groups else None
        if not earlier or into is None or into.rows or into.dims is None or into.dims != dims:
            return
        if into.product and not is_pointwise(nodes):
            return
        for place in reversed(earlier):
            group = self.groups[place]
            if group.rows or group.dims != into.dims or len(group.nodes | into.nodes | nodes) > _largest(group.dims):
                continue
            if group.product and (into.product or not is_pointwise(into.nodes | nodes)):
                continue
            if into.product and not is_pointwise(group.nodes):
                continue
            between = self.groups[place + 1 : latest]
            if not into.sources.get(place, True) or any(place in other.sources for other in between):
                continue
            self._merge(group, into)
            into.product |= group.product
            self.group_of.update(dict.fromkeys(group.members, latest))
            self.moved[place] = latest
            for other in self.groups[latest:]:
                if place in other.sources:
                    other.sources[latest] = other.sources.pop(place) and other.sources.get(latest, True)
            into.sources = {source: same for source, same in into.sources.items() if source != latest}
            for source, same in group.sources.items():
                into.sources[source] = same and into.sources.get(source, True)
            group.members, group.nodes, group.dims, group.sources = [], set(), None, {}

    def _merge(self, group: Group, into: Group) -> None:
        """Let what a group computes be computed by another one."""
        for inner in group.nodes & into.nodes:
            self.kernels[inner] -= 1
        into.members = sorted([*group.members, *into.members], key=self.order.__getitem__)
        into.nodes |= group.nodes
        into.refused += group.refused

    def _fits(
        self, group: Group, node: Node, nodes: set[Node], reaches: Sequence[Reach], tile: Tile | None
    ) -> tuple[int, str | None]:
        """How many axes are rows if `node`, which reads results of `group` so, joins it; and why it cannot, or None."""
        dims = tile.term.dims if tile else node.output.dims
        if group.dims is None:
            return 0, "its kernel is complete"
        if len(group.nodes | nodes) > _largest(dims):
            return 0, f"the kernel would have more than {_largest(dims)} ops"
        if tile and any(tile.rows % rows and rows % tile.rows for rows in group.tiles.values()):
            return 0, "its tiles do not fit those of other sums"
        if group.product and (tile or not reaches or not is_pointwise(nodes)):
            return 0, "a product's kernel only does arithmetic on its sums"
        plain = group.rows == 0 and (not tile or tile.is_flat)
        if group.dims == dims and not tile and not sums_alike(group.nodes | nodes):
            return 0, "its sums go along another axis"
        if plain and group.dims == dims and all(reach.same for reach in reaches):
            return 0, None
        if group.product or (tile and tile.is_flat) or (group.tiles and not group.rows):
            return 0, "the shapes differ" if group.dims != dims else "elements at other indices are needed"
        lead = min((reach.lead for reach in reaches), default=1 if tile else 0)
        rows = group.rows
        if rows == 0:
            common = [a == b for a, b in zip(group.dims, dims, strict=False)]
            rows = min(lead, common.index(False) if False in common else len(common))
            rows = min(rows, 1) if tile else rows
        if rows == 0 or lead < rows or group.dims[:rows] != dims[:rows]:
            return 0, "the shapes differ" if group.dims != dims else "elements at other indices are needed"
        if estimate(product(dims[:rows])) < FEWEST_ROWS:
            return 0, f"there are fewer than {FEWEST_ROWS} rows"
        return rows, None

    def chain(self, copies: Container[Node]) -> None:
        """Make one group of those that a kernel computes by blocks; what needs its results comes after it."""
        if not any(node.op.name == "dot" and node.attributes["batch"][0] for node in self.ends):  # type: ignore[index]
            return  # chains begin with products of several samples
        from adjit.compiler.fuse_blocks import Chains

        chains = Chains(self._is_read, self.outputs, copies)
        while (found := chains.next(self.groups)) is not None:
            *others, last = found.groups
            for other in others:
                self._merge(other, last)
            last.rows, last.block, last.diagonal = found.rows, found.block, found.diagonal
            self.chained += sum(member in self.contractions for member in last.members)
            if found.scores:
                self.scores.append(Scores(found.dot, found.scores, last.nodes))
            moved = set(map(id, (*others, *found.after)))
            groups = [group for group in self.groups if id(group) not in moved]
            place = groups.index(last) + 1
            self.groups = [*groups[:place], *found.after, *groups[place:]]

    # -- the new region -----------------------------------------------------------------------------------------------
    def build(self) -> Region:
        """The region with a `fuse` node for each group."""
        result = Region(self.region.inputs)
        mapping: dict[Value, Value] = {}
        for group in self.groups:
            if not group.members:  # it became part of a later one
                continue
            first = group.members[0]
            if first.op.family in STEPS:
                regions = [_fuse_region(inner) for inner in first.regions]
                types = [value.type for value in first.outputs]
                inputs = [mapping.get(value, value) for value in first.inputs]
                node = Node(first.op, inputs, first.attributes, types, first.location, regions)
                old: Sequence[Value] = first.outputs
            else:
                node, old = self._fused(group, mapping)
            for before, after in zip(old, node.outputs, strict=True):
                after.name = before.name
                mapping[before] = after
            result.nodes.append(node)
        note(mapping)
        result.outputs = tuple(mapping.get(value, value) for value in self.region.outputs)
        return result

    def _fused(self, group: Group, mapping: dict[Value, Value]) -> tuple[Node, list[Value]]:
        """The `fuse` node of a group and the values that its results stand for."""
        region = Region()
        builder = Builder(region)
        inner: dict[Value, Value] = {}
        operands: list[Value] = []
        for node in sorted(group.nodes, key=self.order.__getitem__):
            for value in node.inputs:
                if value not in inner:
                    inner[value] = builder.input(value.type, value.name)
                    operands.append(mapping.get(value, value))
            types = [value.type for value in node.outputs]
            copy = Node(node.op, [inner[v] for v in node.inputs], node.attributes, types, node.location)
            region.nodes.append(copy)
            for before, after in zip(node.outputs, copy.outputs, strict=True):
                after.name = before.name
                inner[before] = after
        note(inner)
        results = [value for member in group.members for value in member.outputs if self._leaves(value, group)]
        region.outputs = tuple(inner[value] for value in results)
        types = [value.type for value in results]
        attributes: dict[str, Attribute] = {"rows": group.rows} if group.rows else {}
        if group.block:
            attributes["block"] = group.block
        if group.diagonal is not None:
            attributes["diagonal"] = group.diagonal
        if group.tiles:
            attributes["tiles"] = tuple(0 if v.node is None else group.tiles.get(v.node, 0) for v in results)
        last = group.members[-1]
        location = last.location.made("fuse", f"{last.op.name} is stored: {self.stored[last]}")
        fused = Node(FUSE, operands, attributes, types, location, (region,))
        fused.attached = Grouping({member: self.stored[member] for member in group.members}, tuple(group.refused))
        return fused, results

    def _leaves(self, value: Value, group: Group) -> bool:
        """Whether a value is a result of its group: used outside, or perhaps read back by a kernel by rows."""
        node = value.node
        if group.rows or value in self.outputs or (node is not None and node.op.name in WHOLE):
            return True
        # An inlined user computes in kernels of other groups too.
        return any(user not in group.nodes or self.kernels[user] > 1 for user in self.users.get(value, ()))
