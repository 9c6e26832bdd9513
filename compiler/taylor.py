"""Taylor mode as a pass: a graph's program on truncated power series, of cost k**2 in their order k.

`@f.taylor` takes the inputs of `@f`, then of each input asked for the coefficients x1 ... xk of the curve
x(t) = x + x1*t + ... + xk*t**k; it returns the outputs of `@f`, then the coefficients y1 ... yk of f(x(t)) for the
floating outputs that vary.

Few ops have a rule here.  A linear op acts on each coefficient, a bilinear one gives sums of products of coefficients.
For any other op its tangent is known as a program, y'(t) = df(x(t), y(t)) x'(t), and that program on power series gives
the next coefficient of y from those before: (j + 1) y[j + 1] = (y')[j].
Source: Griewank and Walther, Evaluating Derivatives, 2008, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.compiler.forward_control import BRANCHES_AND_LOOPS, Beside, Moving
from adjit.compiler.forward_mode import tangents_of
from adjit.compiler.pullback import zeros
from adjit.compiler.simplify_rules import number_in
from adjit.ir.analysis import invariants_of, varies_with
from adjit.ir.builder import Builder, Expr
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.errors import DifferentiationError
from adjit.ir.frozen import frozen
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.ops.chain import STRUCTURAL
from adjit.ir.primitive import primitive_named
from adjit.ir.printer import value_names
from adjit.ir.rewrite import copied, inline_calls

# Integer powers up to this one are products, which are right at 0 too.
_PRODUCTS = 64


@frozen
class Expansion:
    """`graph` takes the inputs, then `order` coefficients of each input in `wrt`; it returns the outputs, then `order`
    coefficients of each output listed in `reached`; the others do not vary."""

    graph: Graph
    wrt: tuple[int, ...]
    reached: tuple[int, ...]
    order: int


def expand_in_series(graph: Graph, inputs: Sequence[int], order: int) -> Expansion:
    """The Taylor coefficients of all floating outputs along curves of `inputs`, up to t**order.

    Shapes: a coefficient has its value's type.  Errors: DifferentiationError where an op on the way has no derivative.
    """
    source = inline_calls(graph, keep_rules=True)
    names = value_names(source)
    result = Graph(f"{graph.name}.taylor", guards=graph.guards, writes=graph.writes, approximate=graph.approximate)
    builder = Builder(result)
    primals = [builder.input(value.type, names[value]) for value in source.inputs]
    curves = {
        place: tuple(
            builder.expr(builder.input(source.inputs[place].type, f"{names[source.inputs[place]]}_{power}"))
            for power in range(1, order + 1)
        )
        for place in inputs
    }
    outputs, found = _push(order)(builder, source, primals, curves)
    reached = tuple(place for place, each in enumerate(found) if each is not None)
    result.outputs = (*outputs, *(x.value for each in found if each is not None for x in each))
    return Expansion(eliminate_dead(result), tuple(inputs), reached, order)


def _push(order: int) -> Callable[[Builder, Region, Sequence[Value], dict[int, Moving]], Beside]:
    """What runs a region on series: coefficients 1 ... order stand beside a value."""

    def push(builder: Builder, region: Region, primals: Sequence[Value], moving: dict[int, Moving]) -> Beside:
        taylor = _Taylor(builder, order)
        given = [Series([builder.expr(value), *moving.get(place, ())]) for place, value in enumerate(primals)]
        for place in moving:
            given[place].varies = True
        found = taylor.run(region, given)
        coefficients = [
            tuple(zeros(builder, y[0].type) if y[j] is None else y[j] for j in range(1, order + 1))
            if y.varies
            else None
            for y in found
        ]
        return [y[0].value for y in found], coefficients

    return push


class Series:
    """The coefficients of a value's power series; None is 0, and each is computed when it is first asked for."""

    __slots__ = ("coefficients", "rule", "varies")

    def __init__(self, coefficients: list[Any], rule: Callable[[int], Expr | None] | None = None) -> None:
        self.coefficients = coefficients
        self.rule = rule
        self.varies = rule is not None

    def __getitem__(self, power: int) -> Any:
        while self.rule is not None and len(self.coefficients) <= power:
            self.coefficients.append(self.rule(len(self.coefficients)))
        return self.coefficients[power] if power < len(self.coefficients) else None


class _Taylor:
    """Runs nodes on series.  Equal applications are one, so that sin and cos can be known from each other."""

    def __init__(self, builder: Builder, order: int) -> None:
        self.builder = builder
        self.order = order
        self._known: dict[object, list[Series]] = {}
        self._constants: dict[Value, Series] = {}
        self._slopes: dict[Series, Series] = {}
        self._powers: dict[tuple[Series, int], Series] = {}

    def run(self, region: Region, inputs: Sequence[Series]) -> list[Series]:
        """The outputs of a region, all coefficients computed node by node."""
        before = self.builder.location
        mapping = dict(zip(region.inputs, inputs, strict=True))
        for node in region.nodes:
            self.builder.location = node.location
            mapping.update(zip(node.outputs, self.apply(node, mapping, self.order), strict=True))
            self.builder.location = node.location.derived("∂", "Taylor coefficient")
            for value in node.outputs:
                mapping[value][self.order]
        self.builder.location = before
        return [mapping[value] for value in region.outputs]

    def apply(self, node: Node, mapping: dict[Value, Series], order: int) -> list[Series]:
        """What a node computes from series, of which the first `order` coefficients matter."""
        if node.op.name == "const":
            value = self.builder.constant(node.attributes["value"], node.output.dtype)  # type: ignore[arg-type]
            return [self._constants.setdefault(value, Series([self.builder.expr(value)]))]
        operands = [mapping[value] for value in node.inputs]
        varying = any(mapping[value].varies for value in varies_with(node))
        if varying and node.op.name in BRANCHES_AND_LOOPS:
            return self._controlled(node, operands, order)
        key = (node.op, tuple(operands), tuple((name, repr(a)) for name, a in node.attributes.items()))
        if node.regions or key not in self._known:
            self._known[key] = self._applied(node, operands, varying)
        return self._known[key]

    def _applied(self, node: Node, operands: list[Series], varying: bool) -> list[Series]:
        inputs = [x[0].value for x in operands]
        types = [value.type for value in node.outputs]
        if not varying or node.op.name != "linear_solve":
            copy = self.builder.emit(node.op, inputs, node.attributes, [copied(r) for r in node.regions], types)
            results = [Series([self.builder.expr(value)]) for value in copy.outputs]
        if not varying or node.op.constant_result:
            return results
        if node.op.name == "linear_solve":
            return self._solved(node, operands)
        if node.op.name == "host_call":
            raise DifferentiationError(f"host_call has no derivative ({node.location}); give it one with a custom rule")
        rule = _RULES.get(node.op.name, _bilinear if node.op.multilinear else None)
        own = None if rule is None else rule(self, copy, operands, results[0])
        for place, result in enumerate(results):
            if copy.outputs[place].dtype.is_continuous:
                result.rule, result.varies = own or self._general(copy, operands, results, place), True
        return results

    def _general(
        self, node: Node, operands: list[Series], results: list[Series], place: int
    ) -> Callable[[int], Expr | None]:
        """The rule of a linear op: itself; of any other: its tangent program on series gives the derivative."""
        if node.op.name in STRUCTURAL or (node.op.transpose_rule is not None and not node.op.multilinear):
            return lambda k: tangents_of(self.builder, node, [x[k] if x.varies else None for x in operands])[place]
        slopes: list[list[Series | None]] = []

        def rule(k: int) -> Expr | None:
            if not slopes:
                slopes.append(self._slopes_of(node, operands, results))
            slope = slopes[0][place]
            return None if slope is None else _divided(slope[k - 1], k)

        return rule

    def _slopes_of(self, node: Node, operands: list[Series], results: list[Series]) -> list[Series | None]:
        """The derivatives of a node's results as series."""
        program = Region()
        builder = Builder(program, self.builder.location)
        inputs = [builder.input(value.type) for value in node.inputs]
        again = builder.emit(node.op, inputs, node.attributes, node.regions, [value.type for value in node.outputs])
        wrt = set(varies_with(again))
        moving = [x.varies and v in wrt and v.dtype.is_continuous for x, v in zip(operands, inputs, strict=True)]
        tangents = [builder.input(v.type) if flag else None for v, flag in zip(inputs, moving, strict=True)]
        found = tangents_of(builder, again, [None if t is None else builder.expr(t) for t in tangents])
        program.outputs = tuple(t.value for t in found if t is not None)
        slim = eliminate_dead(Graph("slope", program.inputs, program.nodes, program.outputs))
        mapping = dict(zip(inputs, operands, strict=True)) | dict(zip(again.outputs, results, strict=True))
        mapping |= {t: self._slope(x) for t, x in zip(tangents, operands, strict=True) if t is not None}
        for each in slim.nodes:
            if each is not again:
                mapping.update(zip(each.outputs, self.apply(each, mapping, self.order), strict=True))
        return [None if t is None else mapping[t.value] for t in found]

    def _slope(self, x: Series) -> Series:
        """x'(t)."""
        if x not in self._slopes:
            self._slopes[x] = Series([], lambda k: _scaled(x[k + 1], k + 1))
        return self._slopes[x]

    # -- branches, loops, systems -------------------------------------------------------------------------------------
    def _controlled(self, node: Node, operands: list[Series], order: int) -> list[Series]:
        moving = [
            tuple(x[j] or zeros(self.builder, x[0].type) for j in range(1, order + 1)) if x.varies else None
            for x in operands
        ]
        rule = BRANCHES_AND_LOOPS[node.op.name]
        outputs, beside = rule(_push(order), self.builder, node, [x[0].value for x in operands], moving)
        results = [Series([self.builder.expr(v), *(each or ())]) for v, each in zip(outputs, beside, strict=True)]
        for result, each in zip(results, beside, strict=True):
            result.varies = each is not None
        return results

    def _solved(self, node: Node, operands: list[Series]) -> list[Series]:
        """With A x = b: A x[k] = b[k] - (coefficient k of A x, with 0 for x[k])."""
        invariants = invariants_of(node)
        fixed, vectors = operands[:invariants], operands[invariants:]
        inputs = [x[0].value for x in fixed]

        def solved(right: Sequence[Value]) -> list[Expr]:
            regions = [copied(region) for region in node.regions]
            return list(
                self.builder.exprs(self.builder.emit(node.op, [*inputs, *right], node.attributes, regions).outputs)
            )

        columns = [[x] for x in solved([b[0].value for b in vectors])]
        for k in range(1, self.order + 1):
            given = [*fixed, *(Series(list(column)) for column in columns)]
            for x in given[invariants:]:
                x.varies = True
            products = _Taylor(self.builder, k).run(node.regions[0], given)
            right = [_difference(b[k], p[k]) for b, p in zip(vectors, products, strict=True)]
            filled = [r or zeros(self.builder, b[0].type) for r, b in zip(right, vectors, strict=True)]
            for column, found in zip(columns, solved([r.value for r in filled]), strict=True):
                column.append(found)
        results = [Series(column) for column in columns]
        for result in results:
            result.varies = True
        return results

    # -- products -----------------------------------------------------------------------------------------------------
    def product(self, x: Series, y: Series) -> Series:
        """x*y, elementwise."""
        mul = primitive_named("mul")
        return Series([mul(x[0], y[0])], lambda k: _convolved(mul, {}, x, y, k))

    def power(self, x: Series, exponent: int) -> Series:
        """x**exponent by products, for an exponent above 0."""
        if exponent == 1:
            return x
        if (x, exponent) not in self._powers:
            half = self.power(x, exponent // 2)
            square = self.product(half, half)
            self._powers[x, exponent] = self.product(square, x) if exponent % 2 else square
        return self._powers[x, exponent]


# -- rules ------------------------------------------------------------------------------------------------------------
Rule = Callable[[_Taylor, Node, "list[Series]", Series], "Callable[[int], Expr | None] | None"]


def _bilinear(taylor: _Taylor, node: Node, operands: list[Series], result: Series) -> Callable[[int], Expr | None]:
    x, y = operands
    return lambda k: _full(_convolved(node.op, dict(node.attributes), x, y, k), result[0])


def _quotient(taylor: _Taylor, node: Node, operands: list[Series], result: Series) -> Callable[[int], Expr | None]:
    """z = x/y: z[k] = (x[k] - sum of y[j]*z[k - j], j = 1 ... k) / y[0]."""
    x, y = operands
    mul = primitive_named("mul")

    def rule(k: int) -> Expr | None:
        above = x[k]
        for j in range(1, k + 1):
            above = _difference(above, _times(mul, {}, y[j], result[k - j]))
        return None if above is None else _full(node.op(above, y[0]), result[0])

    return rule


def _power(taylor: _Taylor, node: Node, operands: list[Series], result: Series) -> Callable[[int], Expr | None] | None:
    """z = x**p: k x[0] z[k] = sum of (p j - (k - j)) x[j] z[k - j], j = 1 ... k; by products for a natural p."""
    x, y = operands
    exponent = number_in(node.inputs[1])
    if y.varies or exponent is None or not x.varies:
        return None
    if exponent == int(exponent) and 1 <= exponent <= _PRODUCTS:
        found = taylor.power(x, int(exponent))
        return lambda k: found[k]
    mul = primitive_named("mul")

    def rule(k: int) -> Expr | None:
        total = None
        for j in range(1, k + 1):
            term = _times(mul, {}, x[j], result[k - j])
            total = _sum(total, _scaled(term, exponent * j - (k - j)))
        return None if total is None else _full(total / (x[0] * k), result[0])

    return rule


_RULES: dict[str, Rule] = {"div": _quotient, "pow": _power, "safe_div": _quotient, "safe_mul": _bilinear}


# -- arithmetic with None for 0 ---------------------------------------------------------------------------------------
def _convolved(op: Any, attributes: dict[str, Any], x: Series, y: Series, k: int) -> Expr | None:
    """The sum of op(x[j], y[k - j]), j = 0 ... k; of a square, each pair once."""
    total = None
    if x is y and op.name == "mul":
        for j in range((k + 1) // 2):
            total = _sum(total, _times(op, attributes, x[j], x[k - j]))
        total = _scaled(total, 2)
        return total if k % 2 else _sum(total, _times(op, attributes, x[k // 2], x[k // 2]))
    for j in range(k + 1):
        if (x.varies or j == 0) and (y.varies or j == k):
            total = _sum(total, _times(op, attributes, x[j], y[k - j]))
    return total


def _times(op: Any, attributes: dict[str, Any], x: Expr | None, y: Expr | None) -> Any:
    return None if x is None or y is None else op(x, y, **attributes)


def _sum(x: Expr | None, y: Expr | None) -> Expr | None:
    return y if x is None else x if y is None else x + y


def _difference(x: Expr | None, y: Expr | None) -> Expr | None:
    return x if y is None else -y if x is None else x - y


def _scaled(x: Expr | None, factor: float) -> Expr | None:
    return None if x is None or factor == 0 else x if factor == 1 else x * factor


def _divided(x: Expr | None, divisor: int) -> Expr | None:
    return x if x is None or divisor == 1 else x / divisor


def _full(x: Expr | None, like: Expr) -> Expr | None:
    """A coefficient in its value's shape: a product of numbers may be of rank 0."""
    if x is None or x.shape == like.shape:
        return x
    spread = primitive_named("expand")(x, shape=tuple(like.shape))
    assert isinstance(spread, Expr)
    return spread
