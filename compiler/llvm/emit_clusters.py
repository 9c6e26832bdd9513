"""Accesses whose elements stand between each other's, as those of the columns of a matrix of three: they share vectors.

An access to every third element takes three vectors and uses a third of them; three such accesses side by side take
the same three vectors and use all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from adjit.compiler.llvm.emit_choice import WIDEST_STRIDE
from adjit.compiler.llvm.emit_state import Cluster, Writer
from adjit.compiler.loops.ir import LOAD, STORE, UPDATE, address
from adjit.ir.graph import Node, Region, Value
from adjit.ir.primitive import Primitive
from adjit.ir.shape import Dim, Size


@contextmanager
def clustered(w: Writer, region: Region, name: str | None) -> Iterator[None]:
    """Code in which the accesses of a loop body that is cut into lanes along `name` share vectors."""
    before = w.clusters
    w.clusters = before if name is None else {**before, **clusters(w, region, name)}
    try:
        yield
    finally:
        w.clusters = before


def clusters(w: Writer, region: Region, name: str) -> Mapping[Node, tuple[Cluster, int]]:
    """The loads and stores of a loop body that belong together when `name` is cut into lanes, and their shifts."""
    alike: dict[tuple[Primitive, Value, Size, int], list[tuple[int, Node]]] = {}
    touched = Counter(w.memory_of(node.inputs[0]) for node in region.walk() if node.op in (LOAD, STORE, UPDATE))
    stored = {w.memory_of(node.inputs[0]) for node in region.walk() if node.op in (STORE, UPDATE)}
    for node in region.nodes:
        if node.op not in (LOAD, STORE) or len(node.inputs) != 1 + (node.op is STORE):
            continue
        flat = address(node.inputs[0].type, node.attributes["at"])  # type: ignore[arg-type]
        stride = flat.coefficient(name) if isinstance(flat, Dim) else 0
        if isinstance(stride, int) and 1 < stride <= WIDEST_STRIDE:
            constant = dict(flat.terms).get((), 0)  # type: ignore[union-attr]
            alike.setdefault((node.op, node.inputs[0], flat - constant, stride), []).append((constant, node))
    turn = {node: number for number, node in enumerate(region.nodes)}
    found: dict[Node, tuple[Cluster, int]] = {}
    for (op, buffer, rest, stride), members in alike.items():
        for group in _within(sorted(members, key=lambda member: member[0]), stride):
            least, nodes = group[0][0], tuple(node for _, node in group)
            shifts = [constant - least for constant, _ in group]
            whole = shifts == list(range(stride)) and touched[w.memory_of(buffer)] == stride
            # A vector that was loaded once does not see what is stored after.
            fixed = len(set(shifts)) > 1 and w.memory_of(buffer) not in stored
            if fixed if op is LOAD else whole:
                cluster = Cluster(rest + least, stride, shifts[-1], nodes, max(nodes, key=turn.__getitem__))
                found.update((node, (cluster, shift)) for node, shift in zip(nodes, shifts, strict=True))
    return found


def _within(members: Sequence[tuple[int, Node]], stride: int) -> list[list[tuple[int, Node]]]:
    """Members in order, cut into runs whose constants differ by less than `stride`."""
    runs: list[list[tuple[int, Node]]] = []
    for member in members:
        if runs and member[0] - runs[-1][0][0] < stride:
            runs[-1].append(member)
        else:
            runs.append([member])
    return runs
