"""Elements of an array that a loop overwrites are read before the write, which then needs no copy of the array.

In `x, y = p[i], p[j]; p[i] = y; p[j] = x` the second write would take p[i] from the array as it was before both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adjit.ir.analysis import VIEWS, has_effect, uses
from adjit.ir.graph import Node, Region, Value

# Tables up to which each write is looked at for what it reads of the others.
_MOST = 16


def reads_first(nodes: Sequence[Node]) -> list[Node]:
    """The nodes, those that read a region's input after a write to it, and what they need, before all such writes.

    What has an effect, and what comes after a write or an effect, stays where it is.
    """
    tables = _written(nodes)
    if not tables:
        return list(nodes)
    after = _after_writes(nodes)
    reading: dict[Value, set[Value]] = {table: {table} for table in tables}  # each value, and of which tables it is
    written: set[Value] = set()
    late: set[Node] = set()
    for node in nodes:
        if _overwrites(node):
            written.add(node.inputs[0])
        if node in after:
            continue
        read = set().union(*(reading.get(value, ()) for value in uses(node)))
        if not read.isdisjoint(written) and not _overwrites(node):
            late.add(node)
        if read and _reads_elements(node):
            reading.update(dict.fromkeys(node.outputs, read))
    moved = _movable(nodes, late, after) if late else set()
    if not moved:
        return list(nodes)
    first = next(place for place, node in enumerate(nodes) if _overwrites(node))
    rest = nodes[first:]
    return [*nodes[:first], *(n for n in rest if n in moved), *(n for n in rest if n not in moved)]


def _movable(nodes: Sequence[Node], late: set[Node], after: set[Node]) -> set[Node]:
    """Those of `late` that need nothing with an effect and no write, and what they need."""
    makers = {value: node for node in nodes for value in node.outputs}
    fixed: set[Value] = set()  # what cannot be there before the writes
    begun = False
    for node in nodes:
        begun |= _overwrites(node)
        stays = node in after or _overwrites(node) or (begun and has_effect(node))
        if stays or not fixed.isdisjoint(uses(node)):
            fixed.update(node.outputs)
    moved: set[Node] = set()
    stack = [node for node in late if not has_effect(node) and fixed.isdisjoint(uses(node))]
    while stack:
        node = stack.pop()
        if node not in moved:
            moved.add(node)
            stack += [makers[value] for value in uses(node) if value in makers]
    return moved


def early_reads(region: Region) -> set[Node]:
    """The elements of such inputs that something uses after the write, or another write: they are stored before it."""
    written = _written(region.nodes)
    if not written:
        return set()
    after = _after_writes(region.nodes)
    writes = [node for node in region.nodes if _overwrites(node) and node not in after]
    found = _read_by(after, written, after)
    for node in writes if 1 < len(written) <= _MOST else ():
        found |= _read_by([node], written - {node.inputs[0]}, after)
    return found


def _read_by(users: Iterable[Node], tables: set[Value], after: set[Node]) -> set[Node]:
    """The single elements of `tables` that the kernels of `users` would read, but for what comes `after` writes."""
    found: set[Node] = set()
    seen: set[Node] = set()
    stack = [value.node for node in users for value in node.inputs]
    while stack:
        node = stack.pop()
        if node is None or node in seen or node in after:
            continue
        seen.add(node)
        if node.op.name == "gather" and node.inputs[0] in tables and node.output.type.size == 1:
            found.add(node)
        if _reads_elements(node):
            stack += [value.node for value in node.inputs]
    return found


def _reads_elements(node: Node) -> bool:
    """Whether the kernels that use a node may compute it, from what it reads."""
    return node.op.family == "scalar" or node.op.name in VIEWS or node.op.name == "gather"


def _overwrites(node: Node) -> bool:
    return node.op.name.startswith("scatter_") and node.inputs[0].node is None


def _written(nodes: Sequence[Node]) -> set[Value]:
    """The inputs that writes begin from."""
    return {node.inputs[0] for node in nodes if _overwrites(node)}


def _after_writes(nodes: Sequence[Node]) -> set[Node]:
    """The nodes that depend on such a write."""
    values: set[Value] = set()
    found: set[Node] = set()
    for node in nodes:
        if not values.isdisjoint(uses(node)):
            found.add(node)
            values.update(node.outputs)
        elif _overwrites(node):
            values.update(node.outputs)
    return found
