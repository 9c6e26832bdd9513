"""Running folds along rows, as in `cumsum`: what an iteration takes from the one before stays in a register.

Through memory, each element would wait for the store of the one before it.  Several rows run side by side, since the
additions of one row wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adjit.compiler.llvm.emit_choice import Choice, column_stride, cost, extents_of, variables_of
from adjit.compiler.llvm.emit_index import least, uniform
from adjit.compiler.llvm.emit_loops import scalar_loop
from adjit.compiler.llvm.emit_state import Register, Slot, Uniform, Writer
from adjit.compiler.llvm.emit_twin import Twin
from adjit.compiler.llvm.sequences import counted, when
from adjit.compiler.llvm.text import LLType
from adjit.compiler.loops.ir import INSIDE, LOAD, STORE, address
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Region
from adjit.ir.shape import Dim, Size, substitute
from adjit.ir.types import BOOL

# Rows side by side, and the operations of a body that is written so often.
_ROWS, _MOST = 4, 12


@frozen
class _Running:
    """Of a body: by each load the store of the iteration before that it reads; conditions that there is one."""

    carried: Mapping[Node, Node]
    conditions: tuple[Node, ...]


def running(w: Writer, node: Node, choice: Choice) -> _Running | None:
    """How a sequential `for` runs along rows, or None where it should run another way."""
    (region,), names = node.regions, variables_of(node)
    if not node.attributes["sequential"] or (len(names) == 1 and node.attributes["parallel"]):
        return None
    last = names[-1]
    if choice.variable is not None and all(
        column_stride(access, choice.variable) in (0, 1) for access in region.nodes if access.op in (LOAD, STORE)
    ):
        return None
    stores = {access.inputs[0]: access for access in region.nodes if access.op is STORE}
    if any(inner.regions or inner.op.name in ("update", "position") for inner in region.nodes):
        return None
    carried: dict[Node, Node] = {}
    for load in region.nodes:
        if load.op is not LOAD or w.memory_of(load.inputs[0]) not in map(w.memory_of, stores):
            continue
        store = stores.get(load.inputs[0])
        if store is None or _place(store, last, -1) != _place(load, last, 0) or load.inputs[0].type.dtype is BOOL:
            return None
        carried[load] = store
    extent = extents_of(node)[-1]
    conditions = tuple(inner for inner in region.nodes if inner.op is INSIDE and _says_later(inner, last, extent))
    masks = {condition.output for condition in conditions}
    if extent == 0 or len(stores) != sum(inner.op is STORE for inner in region.nodes):
        return None
    if not carried or any(store.attributes["masked"] or len(store.inputs) > 2 for store in stores.values()):
        return None
    return _Running(carried, conditions) if all({*load.inputs[1:]} & masks for load in carried) else None


def _place(access: Node, name: str, ahead: int) -> Size:
    """The place in memory, `ahead` iterations later."""
    flat = address(access.inputs[0].type, access.attributes["at"])  # type: ignore[arg-type]
    return substitute(flat, {name: Dim.named(name) + ahead})


def _says_later(inside: Node, name: str, extent: Size) -> bool:
    """Whether a condition is that an iteration has one before it: a place from which the first one falls off."""
    of: tuple[tuple[Size, Size], ...] = inside.attributes["of"]  # type: ignore[assignment]
    if inside.inputs or len(of) != 1 or of[0][1] != extent:
        return False
    i = Dim.named(name)
    return bool(of[0][0] == i - 1 or of[0][0] == extent - i)


def emit_running(w: Writer, node: Node, span: tuple[str, str] | None, how: _Running) -> None:
    """The `for`; `span` restricts its first variable."""
    from adjit.compiler.llvm.emit_scan import emit_scan, scan_of

    (region,), names, extents = node.regions, variables_of(node), extents_of(node)
    for name, extent in zip(names, extents, strict=True):
        w.bounds.declare(name, extent)
    length = uniform(w, extents[-1])
    scan = scan_of(w, node, how.carried, how.conditions)
    many = (len(names) > 2 or node.attributes["parallel"]) and _can_stand_side_by_side(w, region, how)

    def nest(depth: int) -> None:
        begin, end = span if span is not None and depth == 0 else ("0", uniform(w, extents[depth]))
        if depth + 1 == len(names) and scan is not None:
            emit_scan(w, node, begin, end, scan)
        elif depth + 1 == len(names):
            _along(w, names[-1], begin, end, [(region.nodes, how)])
        elif depth + 2 == len(names) and many and scan is None:
            _rows(w, node, begin, end, how)
        else:
            scalar_loop(w, names[depth], begin, end, lambda: nest(depth + 1))

    if isinstance(extents[-1], int):
        nest(0)
        return
    with when(w.f, w.f.let(f"icmp sgt i64 {length}, 0")), w.scope():
        nest(0)


def _can_stand_side_by_side(w: Writer, region: Region, how: _Running) -> bool:
    """Whether the last rows may be computed twice: nothing is read that is written, but by the row itself."""
    read = {w.memory_of(node.inputs[0]) for node in region.nodes if node.op is LOAD and node not in how.carried}
    written = {w.memory_of(node.inputs[0]) for node in region.nodes if node.op is STORE}
    own = any(node.op is STORE and node.inputs[0].node is not None for node in region.nodes)  # scratch memory
    return cost(region) <= _MOST and not own and not read & written


def _rows(w: Writer, node: Node, begin: str, end: str, how: _Running) -> None:
    """The rows begin..end-1, some side by side; where there are fewer left, the last one more than once."""
    f, (region,) = w.f, node.regions
    *_, row_name, name = variables_of(node)
    *_, count, length = extents_of(node)
    twins = [Twin(w, row_name, f"{row_name}'{number}", region.nodes) for number in range(1, _ROWS)]
    bodies = [(region.nodes, how)]
    for twin in twins:
        w.bounds.declare(twin.name, count)
        carried = {twin.nodes[load]: twin.nodes[store] for load, store in how.carried.items()}
        own = _Running(carried, tuple(twin.nodes[condition] for condition in how.conditions))
        bodies.append(([twin.nodes[inner] for inner in region.nodes], own))
    last = f.let(f"sub nsw i64 {end}, 1")
    mark = len(f.lines)
    with counted(f, begin, end, _ROWS) as row:
        rows = {row_name: Uniform(row)}
        for number, twin in enumerate(twins, 1):
            rows[twin.name] = Uniform(least(w, f.let(f"add nsw i64 {row}, {number}"), last))
        with w.bound(rows, mark):
            _along(w, name, "0", uniform(w, length), bodies)


def _along(w: Writer, name: str, begin: str, end: str, rows: Sequence[tuple[Sequence[Node], _Running]]) -> None:
    """The iterations of some rows, which there are; the first apart, since it has none before it."""
    slots: dict[Node, Slot] = {}
    for _, how in rows:
        for store in how.carried.values():
            if store not in slots:
                slots[store] = w.slot(LLType(store.inputs[0].type.dtype))

    def one(later: bool) -> None:
        for nodes, how in rows:
            for inner in nodes:
                if inner in how.conditions:
                    w.registers[inner.output] = Register("true" if later else "false", LLType(BOOL), later)
                elif inner in how.carried:
                    slot = slots[how.carried[inner]]
                    value = w.read(slot) if later else slot.type.constant(0)
                    w.registers[inner.output] = Register(value, slot.type)
                else:
                    w.emit_node(inner)
                    if inner in slots:
                        w.write(slots[inner], w.spread(w.register(inner.inputs[1])))

    with w.bound({name: Uniform(begin)}):
        one(later=False)
    mark = len(w.f.lines)
    with counted(w.f, w.f.let(f"add nsw i64 {begin}, 1"), end, 1) as i, w.bound({name: Uniform(i)}, mark):
        one(later=True)
