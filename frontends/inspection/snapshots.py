"""A program after each stage of the compiler, with what became of its values from one stage to the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from adjit.compiler.loops.ir import FUSE, KERNEL
from adjit.compiler.pipeline import stages
from adjit.ir.graph import Graph, Location, Node
from adjit.ir.journal import Journal, recorded


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The graph after the stage `name`; `journal` tells what the stage made of the values before it."""

    name: str
    graph: Graph
    journal: Journal


def snapshots(graph: Graph, *, strict: bool = False) -> list[Snapshot]:
    """The program as it was traced, and after each stage."""
    found: list[Snapshot] = []
    running: Iterator[tuple[str, Graph]] = stages(graph, strict=strict)
    while True:
        with recorded() as journal:
            following = next(running, None)
        if following is None:
            return found
        found.append(Snapshot(*following, journal))


def merged_places(shots: list[Snapshot]) -> dict[str, dict[Node, set[Location]]]:
    """Up to fusion, by stage: the further places of nodes that stand for equal ones written elsewhere."""
    found: dict[str, dict[Node, set[Location]]] = {shots[0].name: {}}
    for before, after in pairwise(shots):
        known, places = found[before.name], found.setdefault(after.name, {})
        for node in before.graph.walk():
            for image in {v.node for output in node.outputs for v in after.journal.became(output)}:
                if image is None or image.op is not node.op:
                    continue
                own = known.get(node, set()) | {node.location}
                others = {place for place in own if place.line and _line(place) != _line(image.location)}
                if others:
                    places.setdefault(image, set()).update(others)
    return found


class Kernels:
    """Which kernels compute a node of any stage; kernels are called `k0`, `k1`, ... in the order in which they run."""

    def __init__(self, shots: list[Snapshot]) -> None:
        self.shots = shots
        self._at = {shot.name: index for index, shot in enumerate(shots)}

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """The kernels by name."""
        found = [node for node in self.shots[-1].graph.walk() if node.op is KERNEL]
        return {f"k{index}": node for index, node in enumerate(found)}

    @cached_property
    def groups(self) -> dict[str, Node]:
        """The groups that fusion made, by the names of their kernels."""
        shot = self.shots[self._at["fuse"]]
        found = [node for node in shot.graph.walk() if node.op is FUSE]
        return {f"k{index}": node for index, node in enumerate(found)}

    @cached_property
    def _owners(self) -> dict[str, dict[Node, str]]:
        owners: dict[str, dict[Node, str]] = {}
        for stage, named in (("fuse", self.groups), ("lower", self.nodes)):
            owners[stage] = {}
            for name, node in named.items():
                inside = (inner for region in node.regions for inner in region.walk())
                owners[stage].update(dict.fromkeys((node, *inside), name))
        return owners

    @cached_property
    def _at_places(self) -> dict[tuple[object, ...], set[str]]:
        """The kernels that compute something at an expression."""
        found: dict[tuple[object, ...], set[str]] = {}
        for node, name in self._owners["fuse"].items():
            if node.op is not FUSE and node.op.name != "const":
                found.setdefault(_expression(node.location), set()).add(name)
        return found

    def of(self, stage: str, node: Node) -> tuple[str, ...]:
        """The kernels in which `node` of a stage is computed, in order."""
        if stage in self._owners:
            owner = self._owners[stage].get(node)
            return () if owner is None else (owner,)
        values = list(node.outputs)
        first, last = self._at[stage] + 1, self._at["fuse"]
        for shot in self.shots[first : last + 1]:
            values = [new for value in values for new in shot.journal.became(value)]
        owners = self._owners["fuse"]
        found = {owners[value.node] for value in values if value.node in owners}
        if node.op.name == "call":  # its body's nodes stand at the same place
            found |= self._at_places.get(_expression(node.location), set())
        return tuple(sorted(found, key=lambda name: int(name[1:])))


def _line(location: Location) -> tuple[str, int]:
    return location.path or location.file, location.line


def _expression(location: Location) -> tuple[object, ...]:
    return location.path, location.line, location.column, location.end_column, location.origin
