"""Simplification: equal ops are computed once, constants are folded, and identities that hold bit for bit are applied.

Nothing is reassociated, and NaN, infinities and signed zeros come out as they would have (but for a NaN's payload).
Only some powers are rounded otherwise, and not in strict programs (`simplify_rules.rounding`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import adjit.compiler.simplify_masks
import adjit.compiler.simplify_structure
import adjit.compiler.simplify_written  # noqa: F401  (these enter their rules)
from adjit.compiler.simplify_rules import RULES, Site
from adjit.ir.analysis import LOOPS
from adjit.ir.builder import Builder, Expr
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.graph import Attribute, Graph, Node, Region, Value
from adjit.ir.halfs import round_bf16, widen_bf16
from adjit.ir.journal import note
from adjit.ir.literals import literal_key
from adjit.ir.primitive import Primitive
from adjit.ir.rewrite import inline
from adjit.ir.shape import Dim
from adjit.ir.types import BF16, DType, TensorType

COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum", "and", "or", "xor", "eq"})


def simplify(graph: Graph, *, strict: bool = False) -> Graph:
    """A program with the same results and fewer ops; with `strict`, with the same bits."""
    body = _simplified(graph, strict)
    found = eliminate_dead(graph.with_parts(body.inputs, body.nodes, body.outputs))
    names = {node.op.name for node in found.walk()}
    if not names.isdisjoint(LOOPS):
        return _simplified_loops(found)
    if names.isdisjoint(("gather", "scatter_add", "scatter_set", "scatter_max")):
        return found
    from adjit.compiler.turns import with_plain_indices  # what programs without computed places need not load

    return with_plain_indices(found)


def _simplified_loops(graph: Graph) -> Graph:
    from adjit.compiler.by_block import by_block  # what programs without loops need not load
    from adjit.compiler.handed_on import handed_on
    from adjit.compiler.last_carried import with_carries_last
    from adjit.compiler.turns import with_plain_indices

    return by_block(with_carries_last(handed_on(with_plain_indices(graph))))


def _simplified(region: Region, strict: bool) -> Region:
    result = Region(region.inputs)
    simplifier = Simplifier(result, strict)
    mapping: dict[Value, Value] = {}
    for node in region.nodes:
        simplifier.location = node.location
        operands = [mapping.get(value, value) for value in node.inputs]
        values = simplifier.renewed(node, operands)
        for old, new in zip(node.outputs, values, strict=True):
            if new.name is None and new.node is not None:
                new.name = old.name
            mapping[old] = new
    note(mapping)
    result.outputs = tuple(mapping.get(value, value) for value in region.outputs)
    return result


class Simplifier(Builder):
    """A builder that gives an op's simplest form instead of a node for it."""

    __slots__ = ("_known", "strict")

    def __init__(self, region: Region, strict: bool) -> None:
        super().__init__(region)
        self.strict = strict
        self._known: dict[object, tuple[Value, ...]] = {}

    def renewed(self, node: Node, operands: Sequence[Value]) -> Sequence[Value]:
        """The values of `node` on `operands`."""
        if node.op.name == "const":
            return (self.constant(node.attributes["value"], node.output.dtype),)  # type: ignore[arg-type]
        if not node.regions:
            return self.make(node.op, operands, node.attributes, [value.type for value in node.outputs])
        if node.op.name == "cond" and isinstance(operands[0].constant, bool):
            chosen = Region()
            taken = node.regions[0 if operands[0].constant else 1]
            flat = inline(Builder(chosen), taken, operands[1:])
            mapping: dict[Value, Value] = {}
            for inner in chosen.nodes:
                values = self.renewed(inner, [mapping.get(v, v) for v in inner.inputs])
                mapping.update(zip(inner.outputs, values, strict=True))
            return [mapping.get(value, value) for value in flat]
        regions = [_simplified(region, self.strict) for region in node.regions]
        return self.emit(node.op, operands, node.attributes, regions, [value.type for value in node.outputs]).outputs

    def make(
        self, op: Primitive, inputs: Sequence[Value], attributes: Mapping[str, Attribute], types: Sequence[TensorType]
    ) -> Sequence[Value]:
        """The results of `op`: of a rule, folded, known already, or of a new node."""
        if op.family == "control":
            return self.emit(op, inputs, dict(attributes), (), types).outputs
        site = Site(self, op, tuple(inputs), attributes, tuple(types))
        for rule in RULES.get(op.name, ()):
            start = len(self.region.nodes)
            found = rule(site)
            if found is not None:
                for node in self.region.nodes[start:]:
                    node.location = node.location.made("simplify", rule.__name__.replace("_", " "))
                return (found,)
        folded = self._folded(site)
        if folded is not None:
            return (folded,)
        key = _key(site)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self.emit(op, inputs, dict(attributes), (), types).outputs
        return known

    def apply(
        self, op: Primitive, operands: Sequence[object], attributes: dict[str, Attribute]
    ) -> Expr | tuple[Expr, ...]:
        values = self.values(op, operands)
        types = op.infer([value.type for value in values], attributes)
        results = self.exprs(self.make(op, values, attributes, types))
        return results[0] if len(results) == 1 else results

    def _folded(self, site: Site) -> Value | None:
        """The constant that a scalar op of constants is, where native code would give the same bits."""
        if site.op.family != "scalar" or not site.op.exact or site.types[0].dims or site.types[0].dtype.is_complex:
            return None
        literals = [value.constant for value in site.inputs]
        if not site.inputs or any(literal is None or isinstance(literal, Dim) for literal in literals):
            return None
        arrays = [_array(c, v.dtype) for c, v in zip(literals, site.inputs, strict=True)]  # type: ignore[arg-type]
        if site.op.name in ("div", "mod") and site.types[0].dtype.is_integer and arrays[1] == 0:
            return None
        dtype = site.types[0].dtype
        result = site.op.reference(*arrays, **site.attributes)
        return self.constant((widen_bf16(result) if dtype is BF16 else result).item(), dtype)


def _array(value: int | float | bool, dtype: DType) -> np.ndarray[tuple[()], np.dtype[np.generic]]:
    if dtype is BF16:
        return round_bf16(np.asarray(value, np.float32))
    with np.errstate(over="ignore"):
        return np.asarray(value, dtype.storage)


def _key(site: Site) -> object:
    """What two ops that compute the same have in common."""
    inputs = site.inputs
    if site.op.name in COMMUTATIVE:
        inputs = tuple(sorted(inputs, key=id))
    return (site.op, inputs, tuple((name, literal_key(value)) for name, value in site.attributes.items()))
