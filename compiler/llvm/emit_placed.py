"""Contractions that read their operands where they stand: convolutions and their gradients.

Where an operand's position in memory is a sum of what the batch, its own index and k say, each with a constant slope,
tables of these sums take the place of packing; see `gemm_placed`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from adjit.compiler.llvm.emit_domain import Pairs, split_flat, walk_rows
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_state import Writer
from adjit.compiler.llvm.gemm_grid import NO_GRID, Grid, Places
from adjit.compiler.llvm.sequences import offset
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.loops.ir import LOAD, address
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Region
from adjit.ir.shape import Dim, Size, size_names, substitute

# Less of a grid than this stored, and packing windows is faster than summing those that are none.
LEAST_STORED = 0.72
Attach = Callable[[Function], Writer]


@frozen
class Placed:
    """An operand loaded from the flat position `at`, a sum of constant slopes times variables."""

    load: Node
    at: Size
    batch: Pairs
    own: Pairs
    k: Pairs

    def slope(self, name: str) -> int:
        found = self.at.coefficient(name) if isinstance(self.at, Dim) else 0
        assert isinstance(found, int)
        return found

    def without(self, *kinds: Pairs) -> Size:
        """The position with the variables of these kinds at 0."""
        return substitute(self.at, {name: 0 for pairs in kinds for name, _ in pairs})


@frozen
class Direct:
    """What is read in place of a product: A, and B or not; and how its columns lie in C."""

    a: Placed
    b: Placed | None
    grid: Grid


def placed(region: Region, batch: Pairs, own: Pairs, k: Pairs, *, padded: bool = False) -> Placed | None:
    """The operand as `Placed`, or None where it is none; with `padded`, also one that is 0 outside of some bounds."""
    node = region.outputs[0].node
    if node is None or node.op is not LOAD or node.outputs[0] is not region.outputs[0]:
        return None
    if len(node.inputs) != (2 if padded and node.attributes["masked"] else 1):
        return None
    flat = address(node.inputs[0].type, node.attributes["at"])  # type: ignore[arg-type]
    names = {name for pairs in (batch, own, k) for name, _ in pairs}
    for name in names:
        if isinstance(flat, Dim) and not isinstance(flat.coefficient(name), int):
            return None
    constant = substitute(flat, dict.fromkeys(names, 0))
    return Placed(node, flat, batch, own, k) if not size_names(constant) else None


def grid_of(b: Placed, slope_in_c: Callable[[str], Size]) -> Grid | None:
    """The columns of B in place, where its windows stand in rows of memory, and those of a row at one step in C."""
    extents = [extent for _, extent in b.own if isinstance(extent, int)]
    steps = [slope for slope in (slope_in_c(name) for name, _ in b.own) if isinstance(slope, int)]
    if len(extents) != len(b.own) or len(steps) != len(b.own) or not 1 <= len(extents) <= 2:
        return None
    if b.slope(b.own[-1][0]) != 1 or min(extents) < 1:
        return None
    if len(extents) == 1:
        return Grid(extents[0], extents[0], extents[0], 0, steps[0])
    pitch = b.slope(b.own[0][0])
    columns = (extents[0] - 1) * pitch + extents[1]
    if pitch < extents[1] or extents[0] * extents[1] < LEAST_STORED * columns:
        return None
    return Grid(columns, pitch, extents[1], steps[0], steps[1])


def emit_places(module: Module, name: str, direct: Direct, rows: int, attach: Attach) -> Places:
    """The functions that tell where elements of A stand, and of B where it is not packed; tiles have so many `rows`."""
    a, b, grid = direct.a, direct.b, direct.grid
    _emit_place(module, f"{name}.a_place", a, attach)
    _emit_table(module, f"{name}.a_rows", a, a.own, attach)
    _emit_table(module, f"{name}.a_steps", a, a.k, attach)
    beside = 0 if b is not None or grid is NO_GRID else _beside(a, rows)
    windowed = (b.k if b is not None else a.own if grid is NO_GRID else a.k if beside else ())[1:]
    taps = prod(extent for _, extent in windowed if isinstance(extent, int))
    b_place = b_steps = None
    if b is not None:
        b_place, b_steps = f"{name}.b_place", f"{name}.b_steps"
        _emit_place(module, b_place, b, attach)
        _emit_table(module, b_steps, b, b.k, attach)
    names = f"{name}.a_place", f"{name}.a_rows", f"{name}.a_steps"
    return Places(*names, b_place, b_steps, grid, taps, beside)


def _beside(a: Placed, rows: int) -> int:
    """The elements of some rows for one value of the outermost variable of k, if that jumps further."""
    if not a.own or len(a.k) < 2:
        return 0
    row = a.slope(a.own[-1][0])
    return rows * row if 0 < rows * row <= abs(a.slope(a.k[0][0])) else 0


def _emit_place(module: Module, name: str, operand: Placed, attach: Attach) -> None:
    f = Function(module, name, "ptr %buffers, ptr %sizes, i64 %batch", result="ptr")
    w = attach(f)
    with w.bound(split_flat(w, operand.batch, "%batch")):
        at = uniform(w, operand.without(operand.own, operand.k))
    element = LLType(operand.load.inputs[0].type.dtype).llvm
    f.line(f"ret ptr {offset(f, element, w.buffers[operand.load.inputs[0]], at)}")
    f.finish()


def _emit_table(module: Module, name: str, operand: Placed, pairs: Pairs, attach: Attach) -> None:
    """What the variables of `pairs` add to the position, for a range of their flattened index."""
    f = Function(module, name, "ptr %buffers, ptr %sizes, i64 %first, i64 %count, ptr %table, i64 %pitch")
    w = attach(f)
    for variable, extent in pairs:
        w.bounds.declare(variable, extent)
    others = [kind for kind in (operand.batch, operand.own, operand.k) if kind is not pairs]
    part = operand.without(*others) - operand.without(operand.batch, operand.own, operand.k)

    def note(flat: str) -> None:
        number = f.let(f"sub nsw i64 {flat}, %first")
        place = offset(f, "i64", "%table", f.let(f"mul nsw i64 {number}, %pitch"))
        f.line(f"store i64 {uniform(w, part)}, ptr {place}, align 8")

    walk_rows(w, pairs, "%first", f.let("add nsw i64 %first, %count"), note)
    w.finish()
