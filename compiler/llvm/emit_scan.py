"""Running folds that may go in any order, as `cummax` does: all lanes of a vector in a few steps.

Each step folds into a lane what stands 1, 2, 4, ... lanes before it; then the last lane goes on to the next vector.
Floats are compared as integers of their bits, by one instruction, with -0 below +0 and a NaN beyond all numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from adjit.compiler.llvm.emit_access import combine
from adjit.compiler.llvm.emit_choice import column_stride, extents_of, variables_of
from adjit.compiler.llvm.emit_loops import neutral, vector_loop
from adjit.compiler.llvm.emit_state import Register, Writer
from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.vecmath_lanes import FORMATS, Lanes
from adjit.compiler.loops.ir import INDEX, LOAD, STORE
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Region, Value
from adjit.ir.types import DType

# The ops that fold, and their kinds; sums of integers alone are the same in any order.
_KINDS: Mapping[str, str] = {"maximum": "max", "minimum": "min", "add": "sum"}


@frozen
class Scan:
    """A body that folds `term` into the result before it; `total` is the result, `left_out` what a scan has no use for.

    `lanes` are those of its vectors.
    """

    kind: str
    term: Value
    total: Value
    lanes: int
    left_out: frozenset[Node]


def scan_of(w: Writer, node: Node, carried: Mapping[Node, Node], conditions: Collection[Node]) -> Scan | None:
    """How the body of a sequential `for` is a scan, given the load of the result before and when there is one."""
    (region,), name, extent = node.regions, variables_of(node)[-1], extents_of(node)[-1]
    if len(carried) != 1 or not all(_is_plain(inner, name) for inner in region.nodes if inner not in conditions):
        return None
    ((load, store),) = carried.items()
    users = {inner.output: _users(region, inner.output) for inner in (load, *conditions)}
    if len(users[load.output]) != 1:
        return None
    (fold,) = users[load.output]
    chosen = _users(region, fold.output) if fold.op.name in _KINDS else []
    if len(chosen) != 1 or chosen[0].op.name != "where" or chosen[0].output is not store.inputs[1]:
        return None
    (where,) = chosen
    term = fold.inputs[1] if fold.inputs[0] is load.output else fold.inputs[0]
    if where.inputs[1:] != (fold.output, term) or where.inputs[0].node not in conditions:
        return None
    if any(user not in (load, where) for condition in conditions for user in users[condition.output]):
        return None
    lanes, dtype = w.native_lanes(term.type.dtype), term.type.dtype
    if lanes < 2 or not _has_words(dtype, fold.op.name) or (isinstance(extent, int) and extent < 2 * lanes):
        return None
    return Scan(_KINDS[fold.op.name], term, where.output, lanes, frozenset((load, fold, where, *conditions)))


def _is_plain(node: Node, name: str) -> bool:
    """Whether a node of a body can stand in vectors along a variable, with no element apart from its neighbours."""
    if node.op in (LOAD, STORE):
        return column_stride(node, name) in (0, 1, -1)
    return node.op is INDEX or node.op.name == "const" or (node.op.family == "scalar" and not node.regions)


def _users(region: Region, value: Value) -> list[Node]:
    return [inner for inner in region.nodes if value in inner.inputs]


def _has_words(dtype: DType, op: str) -> bool:
    """Whether elements fold in any order, as integers."""
    return (dtype in FORMATS and op != "add") or dtype.is_integer


def emit_scan(w: Writer, node: Node, begin: str, end: str, scan: Scan) -> None:
    """The iterations begin..end-1 of the last variable."""
    (region,), name, extent = node.regions, variables_of(node)[-1], extents_of(node)[-1]
    dtype = scan.term.type.dtype
    words = _Words(w, scan.kind, dtype)
    before = w.slot(LLType(words.dtype, scan.lanes))
    w.write(before, before.type.constant(neutral(scan.kind, words.dtype)))
    whole = isinstance(extent, int) and begin == "0" and end == str(extent)

    def body() -> None:
        for inner in region.nodes:
            if scan.total in inner.outputs:
                found = _scanned(w, before.type, scan.kind, words.of(scan.lanes, w.spread(w.register(scan.term))))
                old = w.read(before)
                total = combine(w, scan.kind, before.type, old, found)
                # What goes on waits for the vectors before it in one step alone.
                last = w.f.shuffle(before.type, [scan.lanes - 1] * scan.lanes, found)
                w.write(before, combine(w, scan.kind, before.type, old, last))
                w.registers[scan.total] = Register(words.back(scan.lanes, total), LLType(dtype, scan.lanes))
            elif inner not in scan.left_out:
                w.emit_node(inner)

    vector_loop(w, name, begin, end, scan.lanes, body, extent if whole and isinstance(extent, int) else None)


def _scanned(w: Writer, type: LLType, kind: str, found: str) -> str:
    """The fold of the lanes up to each one."""
    none, step = type.constant(neutral(kind, type.dtype)), 1
    while step < type.lanes:
        places = [*range(step), *range(type.lanes, 2 * type.lanes - step)]
        found = combine(w, kind, type, found, w.f.shuffle(type, places, none, found))
        step *= 2
    return found


class _Words:
    """Elements of a dtype as integers in the same order: those of floats are their bits, negative ones turned.

    A NaN becomes the greatest integer where the greatest element is looked for, and else the least.
    """

    def __init__(self, w: Writer, kind: str, dtype: DType) -> None:
        self.f, self.kind, self.element = w.f, kind, dtype
        self.dtype = FORMATS[dtype].integer if dtype.is_float else dtype

    def of(self, lanes: int, elements: str) -> str:
        if not self.element.is_float:
            return elements
        given = Lanes(self.f, LLType(self.element, lanes), elements)
        beyond = neutral("max" if self.kind == "min" else "min", self.dtype)
        return given.is_nan().choose(beyond, self._turned(given.bits())).text

    def back(self, lanes: int, words: str) -> str:
        if not self.element.is_float:
            return words
        return self._turned(Lanes(self.f, LLType(self.dtype, lanes), words)).as_float(self.element).text

    def _turned(self, bits: Lanes) -> Lanes:
        """The bits but the sign inverted where the sign is set, which undoes itself."""
        return bits ^ (bits >> self.dtype.bits - 1).shift_in_zeros(1)
