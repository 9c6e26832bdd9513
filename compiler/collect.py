"""Like terms of nested derivatives: what differentiating a derivative leaves is collected and factored.

Each differentiation by itself gives a sum of products for every use of a value, and the k-th one such sums of such
products: most of their terms are equal but for a number.  Here cotangents are read as polynomials over what is no sum
or product (sin(x), an operand, 1 - tanh(x)**2), like terms are added up, and the result is written with what its terms
share factored out.  It is used where that takes fewer operations.

This reassociates sums and products of derivatives of second and higher order, so it stays away from programs that are
compiled strictly.  Sums as the user wrote them, and those that stand in the formula of a partial derivative, are kept
whole: x - 1 and 1 - tanh(x)**2 are exact where their terms nearly cancel.  Powers of one base are joined, so that at a
removable singularity (x**3/x at 0) the limit comes out instead of NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

from adjit.compiler import polynomial
from adjit.compiler.horner import HALF, HIGHEST, Writer
from adjit.compiler.polynomial import ONE, Polynomial
from adjit.compiler.pullback import SUM_OF_USES
from adjit.compiler.simplify_rules import number_in
from adjit.ir.builder import Builder
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.rewrite import inline_calls
from adjit.ir.types import F32, F64, DType, TensorType

STAGE = "collect"
# Sums of more terms than this are kept as they are.
_LARGEST = 96
_EXPONENTS = {"square": Fraction(2), "cube": Fraction(3), "reciprocal": Fraction(-1), "sqrt": HALF, "rsqrt": -HALF}
# What counts not as one operation: a safe product's derivative has branches.
_COSTS = {"const": 0, "expand": 0, "reshape": 0, "safe_div": 4, "safe_mul": 4}
# Numbers beyond are left where they stand: their products could leave the range of f32.
_RANGE = 1e15
# Ops whose partial derivatives have no branches: where no operand is masked, no cotangent is.
SMOOTH = frozenset(
    ("acos", "acosh", "add", "asin", "asinh", "atan", "atanh", "cos", "cosh", "cube", "digamma", "div", "erf", "erfc",
     "exp", "exp2", "expand", "expm1", "lgamma", "log", "log10", "log1p", "log2", "mul", "neg", "permute", "pow",
     "reciprocal", "reduce_sum", "reshape", "rsqrt", "safe_div", "safe_mul", "sigmoid", "sin", "sinh", "softplus",
     "sqrt", "square", "sub", "tan", "tanh")
)  # fmt: skip


def collect(
    builder: Builder, nodes: Sequence[Node], start: int, inputs: Iterable[Value], outputs: Sequence[Value]
) -> list[Value]:
    """`outputs`, computed by the nodes of `builder` from `start` on, in fewer operations if there is a way.

    `nodes` come before and compute what those use from `inputs`.
    """
    fresh = _leading_to(builder.region.nodes[start:], outputs)
    return _collected(builder, [*nodes, *fresh], set(fresh), inputs, outputs)


def collected(graph: Graph, inputs: Iterable[Value], *, again: bool = False) -> Graph:
    """The program of a derivative with respect to `inputs`, like terms of what was differentiated twice collected.

    With `again` the program itself will be differentiated.
    """
    graph = inline_calls(graph, keep_rules=True)
    if not any(len(node.location.origin) > (0 if again else 1) for node in graph.nodes):
        return graph
    result = graph.with_parts(graph.inputs, graph.nodes, ())
    nodes = _leading_to(graph.nodes, graph.outputs)
    fresh: set[Node] = set()
    for node in nodes:
        if node.location.origin or any(value.node in fresh for value in node.inputs):
            fresh.add(node)
    result.outputs = tuple(_collected(Builder(result), nodes, fresh, inputs, graph.outputs))
    return eliminate_dead(result)


def _collected(
    builder: Builder, nodes: Sequence[Node], fresh: set[Node], inputs: Iterable[Value], outputs: Sequence[Value]
) -> list[Value]:
    collector = Collector(builder, inputs)
    try:
        for node in nodes:
            if node in fresh:
                collector.renew(node)
            else:
                collector.read(node)
        found = [collector.written(value) for value in outputs]
    except OverflowError:  # a coefficient that no float holds
        found = list(outputs)
    if _count(found) >= _count(outputs):
        return list(outputs)
    for old, new in zip(outputs, found, strict=True):
        if new.constant is None:
            new.name = new.name or old.name
    return found


def _leading_to(nodes: Sequence[Node], outputs: Sequence[Value]) -> list[Node]:
    wanted = set(outputs)
    found = []
    for node in reversed(nodes):
        if any(value in wanted for value in node.outputs):
            wanted.update(node.inputs)
            found.append(node)
    return found[::-1]


def _count(outputs: Sequence[Value]) -> int:
    """How many operations lead to some values."""
    seen: set[Node] = set()
    pending = [value.node for value in outputs]
    while pending:
        node = pending.pop()
        if node is not None and node not in seen:
            seen.add(node)
            pending.extend(value.node for value in node.inputs)
    return sum(_COSTS.get(node.op.name, 1) for node in seen)


class Collector:
    """Reads values as polynomials, and writes them again."""

    def __init__(self, builder: Builder, inputs: Iterable[Value]) -> None:
        self.builder = builder
        self._active = set(inputs)
        self._bases: list[Value] = []
        self._pure: list[bool] = []  # of each base: whether no mask has a part in it
        self._places: dict[object, int] = {}
        self._read: dict[Value, Polynomial] = {}
        self._writers: dict[DType, Writer] = {}
        self._again: dict[Value, Value] = {}
        for value in self._active:
            self._read[value] = self._base(value, value, True)

    # -- reading ------------------------------------------------------------------------------------------------------
    def read(self, node: Node) -> None:
        """Enter what a node computes that is there already, if it varies with the inputs."""
        if not any(value in self._active for value in node.inputs):
            return
        self._active.update(node.outputs)
        for value in node.outputs:
            if value not in self._read and value.dtype in (F32, F64):
                self._enter(node, value, lambda value: value)

    def renew(self, node: Node) -> None:
        """Enter what a new node computes; where it is no sum or product, on operands that are collected."""

        def emitted(value: Value) -> Value:
            self._emit(node)
            return self._again.get(value, value)

        for value in node.outputs:
            if value.dtype in (F32, F64) and node.op.name != "const":
                self._enter(node, value, emitted)
            elif node.op.name != "const":
                self._emit(node)

    def _emit(self, node: Node) -> None:
        """The node on collected operands, where those differ."""
        if node.outputs[0] in self._again:
            return
        operands = [self.written(value) for value in node.inputs]
        outputs = node.outputs
        if any(new is not old for new, old in zip(operands, node.inputs, strict=True)):
            self.builder.location = node.location
            types = [value.type for value in node.outputs]
            outputs = self.builder.emit(node.op, operands, node.attributes, node.regions, types).outputs
            for old, new in zip(node.outputs, outputs, strict=True):
                new.name = old.name
        self._again.update(zip(node.outputs, outputs, strict=True))

    def _enter(self, node: Node, value: Value, emitted: Callable[[Value], Value]) -> None:
        found = self._polynomial(node)
        if found is not None and (len(found) == 1 or self._is_open(node)):
            self._read[value] = found
            return
        operands = tuple((self._key(v), v.dims) for v in node.inputs)
        key: object = value
        if found is not None:
            key = ("sum", value.dtype, tuple(sorted(found.items())))
        elif len(node.outputs) == 1 and not node.regions and node.op.family != "control":
            key = (node.op, operands, tuple((name, repr(a)) for name, a in node.attributes.items()))
        place = self._places.get(key)
        if place is not None and self._bases[place].dims == value.dims:
            self._read[value] = polynomial.variable(place)
        else:
            self._read[value] = self._base(key, emitted(value), self._is_pure(node))

    def _key(self, value: Value) -> object:
        found = self._of(value)
        return value if found is None else tuple(sorted(found.items()))

    def _base(self, key: object, value: Value, pure: bool) -> Polynomial:
        place = self._places[key] = len(self._bases)
        self._bases.append(value)
        self._pure.append(pure)
        return polynomial.variable(place)

    def _of(self, value: Value) -> Polynomial | None:
        """A value as a polynomial; one from elsewhere is a number or a base."""
        known = self._read.get(value)
        if known is None and value.dtype in (F32, F64):
            number = number_in(value)
            if number is None or not _is_moderate(number):
                known = self._base(value, value, not value.dims)
            else:
                known = polynomial.number(number)
            self._read[value] = known
        return known

    def _polynomial(self, node: Node) -> Polynomial | None:
        """A node's result in terms of its operands', if it is a sum or product of them."""
        name = node.op.name
        if name == "reshape":
            return self._of(node.inputs[0]) if node.inputs[0].dims == node.output.dims else None
        if name == "expand":
            return self._of(node.inputs[0]) if not node.inputs[0].dims else None
        if name not in ("add", "sub", "neg", "mul", "div", "pow", "safe_mul", "safe_div", *_EXPONENTS):
            return None
        operands = [self._of(value) for value in node.inputs]
        x, y = (operands[0], operands[-1])
        if x is None or y is None:
            return None
        if name in ("add", "sub", "neg"):
            if len(x) + len(y) > _LARGEST:
                x, y = self._closed(node.inputs[0], x), self._closed(node.inputs[-1], y)
            sign = 1 if name == "add" else -1
            parts = [x, polynomial.scaled(y, sign)] if name != "neg" else [polynomial.scaled(x, -1)]
            found = polynomial.sum_of(parts)
            return found if found or self._is_open(node) else None
        if name == "pow" or name in _EXPONENTS:
            exponent = _EXPONENTS[name] if name in _EXPONENTS else _exponent(y)
            if exponent is None:
                return None
            if len(x) > 1 or exponent.denominator != 1:
                x = self._closed(node.inputs[0], x)
            return polynomial.raised(x, exponent)
        if name.startswith("safe") and not self._is_unmasked(x):
            return None
        if name in ("div", "safe_div"):
            inverse = polynomial.raised(self._closed(node.inputs[1], y) if len(y) > 1 else y, Fraction(-1))
            if inverse is None:
                return None
            y = inverse
        if not node.location.origin or len(x) * len(y) > _LARGEST:
            x, y = (self._closed(v, p) if len(p) > 1 else p for v, p in zip(node.inputs, (x, y), strict=True))
        return polynomial.product(x, y)

    def _is_open(self, node: Node) -> bool:
        """Whether a node is no sum, or one of the chain rule's, not one that somebody wrote."""
        if node.op.name not in ("add", "sub"):
            return True
        location = node.location
        if not location.origin:
            return False
        made = bool(location.steps) and location.steps[-1].by == STAGE
        return made or location.note == SUM_OF_USES or not any(ONE in (self._of(v) or ()) for v in node.inputs)

    def _closed(self, value: Value, found: Polynomial) -> Polynomial:
        """A value as a base."""
        if polynomial.is_variable(found):
            return found
        key = ("sum", value.dtype, tuple(sorted(found.items())))
        place = self._places.get(key)
        if place is not None and self._bases[place].dims == value.dims:
            return polynomial.variable(place)
        return self._base(key, self.written(value), self._is_unmasked(found))

    def _is_pure(self, node: Node) -> bool:
        if node.op.name not in SMOOTH:
            return False
        return all((found := self._of(value)) is not None and self._is_unmasked(found) for value in node.inputs)

    def _is_unmasked(self, found: Polynomial) -> bool:
        return all(self._pure[base] for monomial in found for base, _ in monomial)

    # -- writing ------------------------------------------------------------------------------------------------------
    def written(self, value: Value) -> Value:
        """A value in its collected form."""
        if value in self._again:
            return self._again[value]
        found = self._read.get(value)
        if found is None or value.constant is not None or value in self._active:
            return value
        node = value.node
        if node is not None:
            self.builder.location = node.location.made(STAGE, "like terms of a derivative's derivative")
        self._again[value] = self._writer(value.type).write(found, value.type)
        return self._again[value]

    def _writer(self, type: TensorType) -> Writer:
        writer = self._writers.get(type.dtype)
        if writer is None:
            writer = self._writers[type.dtype] = Writer(self.builder, type.dtype, self._bases.__getitem__)
            for value, found in self._read.items():
                if value in self._active and value.dtype is type.dtype and len(found) == 1:
                    ((monomial, coefficient),) = found.items()
                    if coefficient == 1 and len(monomial) == 1 and self._bases[monomial[0][0]].dims == value.dims:
                        writer.know(*monomial[0], value)
        return writer


def _exponent(found: Polynomial) -> Fraction | None:
    """The number that a polynomial is, if it is a half-integer of moderate size."""
    if any(monomial for monomial in found):
        return None
    value = found.get(ONE, Fraction(0))
    return value if value.denominator <= 2 and abs(value) <= HIGHEST else None


def _is_moderate(number: float) -> bool:
    return math.isfinite(number) and (number == 0 or 1 / _RANGE < abs(number) < _RANGE)
