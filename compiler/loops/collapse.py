"""Merging of loop variables: `for i, j` over contiguous buffers is one loop over `3*i + j`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adjit.compiler.loops.affine import collapsed, rejoin
from adjit.compiler.loops.ir import INDEX, INSIDE, LOAD, STORE, UPDATE, address
from adjit.ir.graph import Attribute, Node, Region
from adjit.ir.shape import Dim, Size, map_sizes, size_names, substitute


def accesses(region: Region) -> Iterator[tuple[Node, tuple[Size, ...]]]:
    """The nodes with index expressions, with these; those of memory accesses as flat positions."""
    for node in region.walk():
        if node.op in (LOAD, STORE, UPDATE):
            yield node, (rejoin(address(node.inputs[0].type, node.attributes["at"])),)  # type: ignore[arg-type]
        elif node.op is INDEX:
            yield node, (node.attributes["value"],)  # type: ignore[misc]
        elif node.op is INSIDE:
            yield node, tuple(part for pair in node.attributes["of"] for part in pair)  # type: ignore[union-attr, misc]


def collapse(attributes: dict[str, Attribute], region: Region) -> None:
    """Merge adjacent variables of a `for` or `reduce` wherever every index expression stays a polynomial."""
    variables: list[Dim] = list(attributes["var"])  # type: ignore[arg-type]
    extents: list[Size] = list(attributes["extent"])  # type: ignore[arg-type]
    if len(variables) < 2:
        return
    merge(variables, extents, (region,), [])
    attributes["var"], attributes["extent"] = tuple(variables), tuple(extents)


def merge(variables: list[Dim], extents: list[Size], regions: Sequence[Region], others: list[Size]) -> None:
    """Shorten `variables` and `extents` by merging neighbours, in the regions and in the expressions `others` too."""
    used = [e for region in regions for _, expressions in accesses(region) for e in expressions] + others
    merged: set[str] = set()
    replace: dict[str, Size] = {}
    for position in range(len(variables) - 1, 0, -1):
        outer, inner = variables[position - 1], variables[position]
        if collapsed(outer, inner, extents[position], used):
            # With these coefficients, the merged variable takes the place of the inner one, with the outer at 0.
            step: dict[str, Size] = {str(outer): 0, str(inner): outer}
            replace = {**step, **{name: substitute(e, step) for name, e in replace.items()}}
            merged |= step.keys()
            used = [substitute(e, step) for e in used]
            extents[position - 1 : position + 1] = [extents[position - 1] * extents[position]]
            variables[position - 1 : position + 1] = [outer]
    if not merged:
        return
    others[:] = [substitute(e, replace) for e in others]
    for region in regions:
        for node, expressions in accesses(region):
            if any(merged & size_names(e) for e in (*expressions, *_given(node))):
                _rename(node, expressions, replace)


def _given(node: Node) -> tuple[Size, ...]:
    """The indices as they stand: at a stride of 0, one may be missing from the flat position."""
    return node.attributes.get("at", ())  # type: ignore[return-value]


def _rename(node: Node, expressions: tuple[Size, ...], replace: dict[str, Size]) -> None:
    if "at" in node.attributes:
        node.attributes["at"] = (substitute(expressions[0], replace),)
        return
    for name in ("value", "of"):
        if name in node.attributes:
            changed = map_sizes(node.attributes[name], lambda size: substitute(size, replace))
            node.attributes[name] = changed  # type: ignore[assignment]
