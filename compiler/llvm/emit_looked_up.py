"""Loops that do little but look elements up at positions, as `x[index]` does: one by one, a few in a turn.

A processor's gather takes each lane's element by itself, and longer than plain loads do: vectors pay where there is
arithmetic on what was found, or where the elements stand near each other (`emit_near`).
"""

from __future__ import annotations

from adjit.compiler.llvm.emit_choice import HEAVY, Choice, Dependence, extents_of, is_regular, variables_of
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_loops import scalar_loop
from adjit.compiler.llvm.emit_state import Uniform, Writer
from adjit.compiler.llvm.emit_twin import Twin
from adjit.compiler.llvm.sequences import counted
from adjit.compiler.loops.ir import INDEX, INSIDE, LOAD, POSITION, STORE
from adjit.ir.graph import Node

# Elements in a turn, and the operations on what is found for each.
_ABREAST, _MOST = 4, 4
_PLACES = (LOAD, STORE, POSITION, INDEX)


def looks_up(node: Node, choice: Choice, dependence: Dependence) -> bool:
    """Whether a `for` whose vectors would go along `choice.variable` finds elements anywhere, and does little more."""
    (region,), name = node.regions, choice.variable
    if name is None or node.attributes["sequential"]:
        return False
    operations = [inner for inner in region.nodes if inner.op not in _PLACES and inner.op.name != "const"]
    if len(operations) > _MOST or any(not _is_cheap(inner) for inner in operations):
        return False
    loads = [inner for inner in region.nodes if inner.op is LOAD and not is_regular(inner)]
    places = [value for load in loads for value in load.inputs[1:] if value.type.dtype.is_integer]
    return any(name in dependence.of(value) for value in places)


def _is_cheap(node: Node) -> bool:
    return node.op is INSIDE or (node.op.family == "scalar" and node.op.name not in HEAVY)


def emit_looked_up(w: Writer, node: Node, span: tuple[str, str] | None) -> None:
    """The `for`, element by element; `span` restricts its first variable."""
    names, extents = variables_of(node), extents_of(node)
    for name, extent in zip(names, extents, strict=True):
        w.bounds.declare(name, extent)

    def nest(depth: int) -> None:
        begin, end = span if span is not None and depth == 0 else ("0", uniform(w, extents[depth]))
        if depth + 1 == len(names):
            _along(w, node, begin, end)
        else:
            scalar_loop(w, names[depth], begin, end, lambda: nest(depth + 1))

    nest(0)


def _along(w: Writer, node: Node, begin: str, end: str) -> None:
    """The elements begin..end-1 of the last variable."""
    f, (region,) = w.f, node.regions
    name, extent = variables_of(node)[-1], extents_of(node)[-1]
    rest = begin
    if not isinstance(extent, int) or extent >= _ABREAST:
        twins = [Twin(w, name, f"{name}'{number}", region.nodes) for number in range(1, _ABREAST)]
        length = f.let(f"sub nsw i64 {end}, {begin}")
        rest = f.let(f"add nsw i64 {begin}, {f.let(f'and i64 {length}, {-_ABREAST}')}")
        mark = len(f.lines)
        with counted(f, begin, rest, _ABREAST) as i:
            places = {name: Uniform(i)}
            for number, twin in enumerate(twins, 1):
                w.bounds.declare(twin.name, extent)
                places[twin.name] = Uniform(f.let(f"add nsw i64 {i}, {number}"))
            with w.bound(places, mark):
                for inner in region.nodes:
                    for each in (inner, *(twin.nodes[inner] for twin in twins)):
                        w.emit_node(each)
    scalar_loop(w, name, rest, end, lambda: w.run(region))
