"""Loads of a sum that is written out, whose terms are neighbours in memory while its lanes stand apart.

A gather takes a step for each lane and term; here the terms of each lane are read as a row of memory, and the rows are
exchanged for the columns that the terms want, in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from adjit.compiler.llvm.emit_choice import WIDEST_STRIDE, extents_of, variables_of
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_state import VARYING, ZEROS, Ramp, Register, Uniform, Writer
from adjit.compiler.llvm.sequences import masked_load, offset
from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.transposition import transpose
from adjit.compiler.loops.ir import LOAD, address
from adjit.ir.graph import Node
from adjit.ir.shape import Dim, Size
from adjit.ir.types import F32, F64, I32, I64

# Elements that are exchanged as they stand in memory.
_EXCHANGED = (F32, F64, I32, I64)
# Two gathers take no longer.
_FEWEST_TERMS = 3


@contextmanager
def turned(w: Writer, node: Node) -> Iterator[Callable[[int], None]]:
    """Code for the terms of a `reduce` over one variable, written out; what is yielded is called before each with it.

    It gives the registers of the loads that are read by rows.
    """
    found: dict[Node, list[Register]] = {}
    names, extents = variables_of(node), extents_of(node)
    if len(names) == 1 and isinstance(extents[0], int) and extents[0] >= _FEWEST_TERMS:
        for load in node.regions[0].nodes:
            stride = _stride(w, load, names[0], extents[0])
            if stride:
                found[load] = _columns(w, load, names[0], extents[0], stride)

    def give(term: int) -> None:
        for load, columns in found.items():
            w.registers[load.output] = columns[term]

    with w.without({0: found}):
        yield give


def apart(w: Writer, node: Node, name: str) -> Size:
    """How far apart the lanes of a load stand if its terms, along `name`, are neighbours; 0 if rows do not pay."""
    if node.op is not LOAD or len(node.inputs) != 1 or node in w.clusters or w.buffers[node.inputs[0]] in w.stack:
        return 0
    flat = address(node.inputs[0].type, node.attributes["at"])  # type: ignore[arg-type]
    if not isinstance(flat, Dim) or flat.coefficient(name) != 1:
        return 0
    moving = [key for key in flat.names if isinstance(w.variables.get(key), VARYING)]
    if len(moving) != 1 or not isinstance(w.variables[moving[0]], Ramp):
        return 0
    stride = flat.coefficient(moving[0])
    return 0 if stride is None or (isinstance(stride, int) and stride <= WIDEST_STRIDE) else stride


def _stride(w: Writer, node: Node, name: str, terms: int) -> int:
    """`apart` where all terms of a lane are read as one vector; 0 elsewhere."""
    stride, width = apart(w, node, name), _width(terms)
    if not stride or not isinstance(stride, int):
        return 0
    dtype = node.inputs[0].type.dtype
    if dtype not in _EXCHANGED or max(width, w.lanes) > w.native_lanes(dtype):
        return 0
    return stride if width == terms or w.options.target.has_masks else 0


def _width(terms: int) -> int:
    """The least power of two that is not below `terms`."""
    return 1 << (terms - 1).bit_length()


def _columns(w: Writer, load: Node, name: str, terms: int, stride: int) -> list[Register]:
    """The load's vectors for all terms: `w.lanes` rows of `terms` elements, exchanged."""
    f, dtype = w.f, load.inputs[0].type.dtype
    row, vector = LLType(dtype, _width(terms)), LLType(dtype, w.lanes)
    with w.bound({name: Uniform("0")}):
        flat = address(load.inputs[0].type, load.attributes["at"])  # type: ignore[arg-type]
        first = offset(f, row.element, w.buffers[load.inputs[0]], uniform(w, flat))
    present = ", ".join(f"i1 {'true' if term < terms else 'false'}" for term in range(row.lanes))
    rows: list[str] = []
    for lane in range(w.lanes):
        place = offset(f, row.element, first, lane * stride)
        if w.mask is not None:
            w.module.declare(ZEROS)
            exists = f.let(f"extractelement <{w.lanes} x i1> {w.mask}, i32 {lane}")
            place = f.let(f"select i1 {exists}, ptr {place}, ptr @adjit.zeros")
        if row.lanes == terms:
            rows.append(f.let(f"load {row.llvm}, ptr {place}, align {dtype.itemsize}"))
        else:
            rows.append(masked_load(f, row, place, f"<{present}>", row.constant(0)))
    if row.lanes > vector.lanes:
        parts = transpose(f, row, rows)
        starts = range(0, row.lanes, vector.lanes)
        columns = [w.f.shuffle(row, range(at, at + vector.lanes), x) for at in starts for x in parts]
        return [Register(column, vector) for column in columns[:terms]]
    width = row.lanes
    while row.lanes < vector.lanes:
        firsts = [number for number in range(len(rows)) if number // width % 2 == 0]
        rows = [w.f.shuffle(row, range(2 * row.lanes), rows[i], rows[i + width]) for i in firsts]
        row = LLType(dtype, 2 * row.lanes)
    return [Register(column, vector) for column in transpose(f, vector, rows)[:terms]]
