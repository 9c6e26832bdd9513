"""Which loop variable is cut into vectors: the one whose memory accesses cost least."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from adjit.compiler.llvm.fused import fused_products
from adjit.compiler.loops.ir import (
    BLOCK,
    FOR,
    INDEX,
    INSIDE,
    LOAD,
    MATRICES,
    PARTIAL,
    POSITION,
    REDUCE,
    SHORT,
    SORT_ROWS,
    STORE,
    TRANSFORM,
    UPDATE,
    address,
    lanes_of,
)
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Region, Value
from adjit.ir.shape import Dim, Size, product, size_names
from adjit.ir.types import BF16, BOOL, F16, F32, F64, U8, DType

# Time of a vector of accesses, in units of one plain vector access: all lanes one element, neighbours backwards; and,
# for each lane, elements at a constant distance and elements anywhere; the former cost at least a few lanes' time.
_SHARED, _BACKWARD, _STRIDED, _ANYWHERE = 0.3, 1.5, 0.6, 0.8
_LEAST_STRIDED = 4.0
# Elements so many bytes apart share sets of the first cache: beside places found at run time they push each other out.
_SETS = 2048
# Elements each for several lanes, or every second, third or fourth element: vectors of neighbours, rearranged.
_REPEATED = 1.5
# Elements that mostly stand near each other; see `emit_near`.
_NEAR = 4.0
WIDEST_STRIDE = 4
# What a term of the order `lanes` costs more where the partial results are vectors in memory.
_PARTIAL = 2.0
# What terms of sums side by side cost more than estimated, as each lane reads lines of its own.
_LINES_OF_LANES = 1.2
# The fold of a vector's lanes into one result.
_FOLD = 8.0
# A reduction of at most this many terms is written out, term by term.
UNROLLED = 16
_UNROLLED_NODES = 128
# Operations of such a term.
_CHEAP = 3


class Dependence:
    """The loop variables that each scalar of a kernel depends on, and the products that are `fused` with sums."""

    __slots__ = ("_of", "fused")

    def __init__(self, region: Region) -> None:
        self.fused = fused_products(region)
        self._of: dict[Value, frozenset[str]] = {}
        self._note(region)

    def of(self, value: Value) -> frozenset[str]:
        return self._of.get(value, frozenset())

    def extend(self, values: Mapping[Value, Value], nodes: Mapping[Node, Node], names: Mapping[str, str]) -> None:
        """Know copies of values and nodes, whose variables have other names."""
        self._of.update({new: frozenset(names.get(name, name) for name in self.of(old)) for old, new in values.items()})
        self.fused = self.fused.extended(nodes)

    def _note(self, region: Region) -> None:
        for node in region.nodes:
            found = {name for value in node.inputs for name in self.of(value)}
            found |= {name for size in _expressions(node) for name in size_names(size)}
            for inner in node.regions:
                for value in inner.inputs:  # the sum that a product's epilogue is given
                    pairs = (pair for kind in ("batch", "m", "n") for pair in node.attributes[kind])  # type: ignore[union-attr]
                    self._of[value] = frozenset(str(name) for name, _ in pairs)  # type: ignore[misc, str-unpack]
                self._note(inner)
                found |= {name for value in inner.outputs for name in self.of(value)}
            found -= set(variables_of(node))
            for value in node.outputs:
                self._of[value] = frozenset(found)


def _expressions(node: Node) -> Iterator[Size]:
    """The index expressions in a node's attributes, extents of loops left out."""
    pending: list[object] = [node.attributes.get(name) for name in ("at", "value", "of")]
    while pending:
        item = pending.pop()
        if isinstance(item, Dim):
            yield item
        elif isinstance(item, tuple):
            pending.extend(item)


def variables_of(node: Node) -> tuple[str, ...]:
    """The names of the variables that a `for` or `reduce` runs over."""
    return tuple(map(str, node.attributes.get("var", ())))  # type: ignore[arg-type]


def extents_of(node: Node) -> tuple[Size, ...]:
    """The extents of a `for` or `reduce`."""
    return tuple(node.attributes["extent"])  # type: ignore[arg-type]


def in_lanes(node: Node) -> bool:
    """Whether a `reduce` is a floating sum or product in the order `lanes`."""
    return node.attributes["order"] == "lanes" and node.outputs[0].type.dtype.is_float


def in_order(node: Node) -> bool:
    """Whether a `reduce` is a floating sum or product term after term."""
    return node.attributes["order"] in ("sequential", "products") and node.outputs[0].type.dtype.is_float


def is_unrolled(node: Node) -> bool:
    """Whether a `reduce` is short enough to be written out."""
    terms = product(extents_of(node))
    size = sum(1 for _ in node.regions[0].walk())
    return isinstance(terms, int) and terms <= UNROLLED and terms * size <= _UNROLLED_NODES


def is_written_out(node: Node) -> bool:
    """Whether a `reduce` along no lanes is written out: a longer one too, if its terms are as cheap as products."""
    terms = product(extents_of(node))
    return is_unrolled(node) or (isinstance(terms, int) and terms <= SHORT and cost(node.regions[0]) <= _CHEAP)


def loop_dtype(region: Region) -> DType:
    """The dtype that decides how many lanes a loop has: its widest float, else the widest of what it moves."""
    floats = {value.type.dtype for node in region.walk() for value in node.outputs if value.type.dtype.is_float}
    if F64 in floats:
        return F64
    if floats - {F16, BF16}:
        return F32
    if floats:
        return F32 if any(node.op.family == "scalar" for node in region.walk()) else F16
    moved = [
        node.inputs[0].type.dtype for node in region.walk() if node.op in (LOAD, STORE, UPDATE)
    ] or [value.type.dtype for node in region.walk() for value in node.outputs]
    widest = max(moved, key=lambda dtype: dtype.itemsize, default=F32)
    return U8 if widest is BOOL else widest


@frozen
class Choice:
    """The variable that is cut into vectors of `lanes`, and whether several vectors run abreast.

    Where no variable is cut, it is None, and `reason` says why.
    """

    variable: str | None
    lanes: int = 1
    abreast: bool = False
    reason: str = ""


def choose(node: Node, dependence: Dependence, native: int) -> Choice:
    """The variable of a `for` to cut into vectors; `native` is the number of lanes of one vector."""
    (region,) = node.regions
    if native == 1:
        return Choice(None, reason="the target has no vectors of its elements")
    if not _can_stand_in_lanes(region):
        return Choice(None, reason="a loop inside is cut instead")
    reduces = [inner for inner in _direct(region) if inner.op is REDUCE]
    fixed = any(in_order(inner) for inner in reduces)
    side_by_side = fixed or any(str(inner.attributes["kind"]) in ("max", "min") for inner in reduces)
    best, best_time, terms_time = Choice(None, reason=_refusal(node)), float("inf"), float("inf")
    for name, extent in zip(_independent(node), extents_of(node), strict=True):
        if name is None:
            continue
        lanes = lanes_for(extent, native)
        partial = sum(_PARTIAL / lanes for inner in reduces if in_lanes(inner) and not is_unrolled(inner))
        time = time_along(region, name, extent, lanes, dependence) + partial
        if lanes > 1 and time < float("inf") and time <= best_time:  # of equals the innermost
            best, best_time = Choice(name, lanes, side_by_side), time
            terms_time = partial + sum(time_along(r.regions[0], name, extent, lanes, dependence) for r in reduces)
    if best.variable is not None and reduces and not fixed:
        own = sum(time_of_reduce(inner, dependence, native) + _fold_time(inner) for inner in reduces)
        if own < _LINES_OF_LANES * terms_time:  # what stands around terms is done once for many
            return Choice(None, reason="its reductions are cut instead")
    return best


def _refusal(node: Node) -> str:
    """Why no variable of a `for` can be cut, as far as that is so."""
    extents = extents_of(node)
    if all(extent == 1 for extent in extents):
        return "it computes one element"
    if all(name is None for name in _independent(node)):
        return "each iteration depends on the one before"
    return "neighbouring iterations write one element, or elements anywhere"


def _fold_time(node: Node) -> float:
    """What a term costs more where the lanes of a `reduce` are folded at the end."""
    terms = product(extents_of(node))
    return _FOLD / max(1, terms) if isinstance(terms, int) else 0.0


def lanes_for(extent: Size, native: int) -> int:
    """Lanes for a loop of this extent: fewer than `native` where that many never exist."""
    if isinstance(extent, int) and extent < native:
        return 1 << max(0, extent - 1).bit_length()
    return native


def _direct(region: Region) -> Iterator[Node]:
    """The nodes of a loop's body and of `for`s in it, but not of its reductions."""
    for node in region.nodes:
        yield node
        if node.op is FOR:
            yield from _direct(node.regions[0])


def _can_stand_in_lanes(region: Region) -> bool:
    """Whether no loop inside would rather be cut into vectors itself."""
    for node in _direct(region):
        if node.op in (SORT_ROWS, MATRICES, TRANSFORM):
            return False
        if node.op is FOR and variables_of(node) and not node.attributes["sequential"]:
            return False
    return True


def _independent(node: Node) -> list[str | None]:
    """The variables whose iterations do not depend on each other, None for the others."""
    names: list[str | None] = list(variables_of(node))
    if node.attributes["sequential"] and not node.attributes["parallel"]:
        return [None] * len(names)
    if names and not node.attributes["parallel"]:
        names[0] = None
    if names and node.attributes["sequential"]:
        names[-1] = None
    return names


def time_of_reduce(node: Node, dependence: Dependence, native: int) -> float:
    """The estimated time for a term of a `reduce` that is cut into vectors along its last variable.

    In the order `lanes` a vector may straddle rows of the last variable: its elements can then be anywhere.
    """
    names, extents = variables_of(node), extents_of(node)
    region, lanes = node.regions[0], lanes_for(extents[-1], native)
    if in_lanes(node) and len(names) > 1 and isinstance(extents[-1], int) and extents[-1] < native:
        moved = sum(inner.op in (LOAD, INSIDE, INDEX) for inner in region.walk())
        return cost(region) / native + moved * (_ANYWHERE + 4.0 / native)
    return time_along(region, names[-1], extents[-1], lanes, dependence)


def time_along(region: Region, name: str, extent: Size, lanes: int, dependence: Dependence) -> float:
    """The estimated time for an element when `name` is cut into vectors; infinite where that is wrong."""
    total = 0.0
    for node in region.walk():
        total += 0.5
        if node.op in (LOAD, STORE, UPDATE):
            time = _access_time(node, name, lanes, dependence)
            if node.op is not LOAD and time == _SHARED:
                return float("inf")
            if node.op is UPDATE and time == lanes * _ANYWHERE:
                return float("inf")
            total += time if node.op is LOAD else 1.5 * time
        elif node.op in (INDEX, INSIDE):
            divided = [atom for size in _expressions(node) for atom in _atoms(size) if name in _atom_names(atom)]
            total += 4.0 * len(divided)
    if isinstance(extent, int):
        groups = -(-extent // lanes)
        return total * groups / max(1, extent)
    return total / lanes


def _access_time(node: Node, name: str, lanes: int, dependence: Dependence) -> float:
    flat = address(node.inputs[0].type, node.attributes["at"])  # type: ignore[arg-type]
    positions = node.inputs[1 if node.op is LOAD else 2 :]
    if node.attributes["masked"]:
        positions = positions[:-1]
    if any(name in dependence.of(value) for value in positions):
        return _NEAR if node.op is LOAD and is_regular(node) else lanes * _ANYWHERE
    coefficient: Size | None = flat.coefficient(name) if isinstance(flat, Dim) else 0
    if coefficient is None:
        return _REPEATED if node.op is LOAD and repeats(flat, name) else lanes * _ANYWHERE
    if isinstance(coefficient, int):
        known = {0: _SHARED, 1: 1.0, -1: _BACKWARD}
        if coefficient in known:
            return known[coefficient]
        if 1 < coefficient <= WIDEST_STRIDE:
            return min(lanes * _STRIDED, coefficient * _REPEATED)
    if positions and isinstance(coefficient, int) and coefficient * node.inputs[0].type.dtype.itemsize % _SETS == 0:
        return lanes * _ANYWHERE * (2 if node.op is LOAD else 1)
    return max(lanes * _STRIDED, _LEAST_STRIDED)


def is_regular(node: Node) -> bool:
    """Whether a load's places follow the program's own order in one axis at most, not what the user's indices say.

    Those are checked; positions that the program clamps, as resampling does, are certain to be inside.
    """
    positions = node.inputs[1 : len(node.inputs) - bool(node.attributes["masked"])]
    return len(positions) <= 1 and all(
        value.node is not None and value.node.op is POSITION and bool(value.node.attributes["certain"])
        for value in positions
    )


def column_stride(node: Node, name: str) -> Size | None:
    """How far apart in memory an access's elements are for neighbouring values of a variable; None: not equally."""
    flat = address(node.inputs[0].type, node.attributes["at"])  # type: ignore[arg-type]
    return flat.coefficient(name) if isinstance(flat, Dim) else 0


def repeats(size: Size, name: str) -> int | None:
    """The number q if an index expression depends on the variable by the single term `name // q`, else None."""
    terms = [(m, c) for m, c in size.terms if name in Dim({m: c}).names] if isinstance(size, Dim) else []
    if len(terms) != 1 or terms[0][1] != 1 or len(terms[0][0]) != 1:
        return None
    atom = terms[0][0][0]
    if isinstance(atom, str) or atom[0] != "//" or atom[1] + 0 != Dim.named(name):
        return None
    divisor = atom[2] + 0
    return divisor if isinstance(divisor, int) and divisor > 1 else None


def _atoms(size: Size) -> Iterable[tuple[str, Dim, Dim]]:
    if isinstance(size, int):
        return ()
    return [atom for monomial, _ in size.terms for atom in monomial if not isinstance(atom, str)]


def _atom_names(atom: tuple[str, Dim, Dim]) -> frozenset[str]:
    return atom[1].names | atom[2].names


def partials(node: Node) -> int:
    """The partial results of a `reduce` in the order `lanes` that can differ from its neutral element."""
    count = lanes_of(node.outputs[0].type.dtype)
    terms = product(extents_of(node))
    return min(count, 1 << max(0, terms - 1).bit_length()) if isinstance(terms, int) else count


def cost(region: Region) -> int:
    """A rough count of the operations in a body, nested loops not repeated."""
    return sum(8 if node.op.name in HEAVY else 1 for node in region.walk())


HEAVY = frozenset({
    "exp", "exp2", "log", "log1p", "expm1", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh",
    "tanh", "erf", "pow", "div", "mod", "sqrt", "random_word",
})  # fmt: skip


def weight(nodes: Sequence[Node]) -> int:
    """`cost` of some nodes."""
    return sum((8 if n.op.name in HEAVY else 1) + sum(cost(r) for r in n.regions) for n in nodes)


def has_partials(node: Node) -> bool:
    """Whether a `for` finds sums of blocks."""
    return any(inner.op is PARTIAL for inner in node.regions[0].nodes)


def blocks_of(node: Node) -> Size:
    """How many blocks such a `for` goes through; these are what threads share out."""
    (extent,) = extents_of(node)
    return -(-extent // BLOCK)
