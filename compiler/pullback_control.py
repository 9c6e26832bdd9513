"""Pulling cotangents back through control flow: `call`, `cond`, `linear_solve`; loops have files of their own.

A branch is run again in the backward pass, then pulled back: what crosses from forward to backward is the operands of
the op, not the insides of its regions.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.pullback import pull_back_since, seed
from adjit.compiler.pullback_region import dealt, filled, floating, or_zeros, pull_back_region
from adjit.compiler.pullback_scan import scan_cotangents
from adjit.compiler.pullback_while import while_cotangents
from adjit.ir.analysis import invariants_of
from adjit.ir.builder import Builder, Expr
from adjit.ir.errors import DifferentiationError
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.rewrite import copied, inline


def control_cotangents(
    builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]
) -> list[Expr | None]:
    """The cotangents of a control op's operands."""
    rules = {
        "call": _call, "cond": _cond, "linear_solve": _linear_solve, "scan": scan_cotangents, "while": while_cotangents
    }  # fmt: skip
    rule = rules.get(node.op.name)
    if rule is None:
        raise DifferentiationError(
            f"{node.op.name} has no derivative ({node.location}); give it one with a custom rule"
        )
    return rule(builder, node, arriving, active)


def _call(builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]) -> list[Expr | None]:
    """The callee run again and pulled back, or the call's own rule."""
    callee, rule, pushing = node.attributes["callee"], node.attributes.get("vjp"), node.attributes.get("jvp")
    assert isinstance(callee, Graph)
    if isinstance(rule, Graph):
        given = [c.value for c in filled(builder, node.outputs, arriving) if c is not None]
        return _placed(node, builder.exprs(inline(builder, rule, [*given, *node.inputs, *node.outputs])))
    if isinstance(pushing, Graph):
        return _placed(node, _transposed(builder, node, pushing, arriving))
    return pull_back_region(builder, callee, node.inputs, arriving)


def _placed(node: Node, found: Sequence[Expr | None]) -> list[Expr | None]:
    """A cotangent for each operand of a call with a rule, which gives those of the operands in `wrt`."""
    of_operand = dict(zip(node.attributes["wrt"], found, strict=True))  # type: ignore[arg-type]
    return [of_operand.get(index) for index in range(len(node.inputs))]


def _transposed(builder: Builder, node: Node, rule: Graph, arriving: Sequence[Expr | None]) -> list[Expr | None]:
    """The cotangents of the tangents that `rule` takes: it is linear in them, so zeros stand for them."""
    seeds = [seed(builder, rule.inputs[place].type) for place, _ in enumerate(node.attributes["wrt"])]  # type: ignore[arg-type]
    start = len(builder.region.nodes)
    results = inline(builder, rule, [*seeds, *node.inputs, *node.outputs])
    incoming = [c for c, flag in zip(arriving, floating(node.outputs), strict=True) if flag]
    return pull_back_since(builder, start, results, incoming, seeds)


def _cond(builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]) -> list[Expr | None]:
    """`cond` over the branches' pullbacks: the same predicate chooses."""
    operands = node.inputs[1:]
    wanted = [value in active for value in operands]
    given = [c for c in arriving if c is not None]
    regions = []
    for branch in node.regions:
        region = Region()
        inner = Builder(region, builder.location)
        arguments = [inner.input(v.type, v.name) for v in branch.inputs]
        incoming = inner.exprs([inner.input(c.type) for c in given])
        found = pull_back_region(inner, branch, arguments, dealt(incoming, [c is not None for c in arriving]))
        region.outputs = tuple(or_zeros(inner, arguments, found, wanted))
        regions.append(region)
    inputs = (node.inputs[0], *operands, *(c.value for c in given))
    outputs = builder.emit(primitive_named("cond"), inputs, {}, regions).outputs
    return [None, *dealt(builder.exprs(outputs), wanted)]


def _linear_solve(
    builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]
) -> list[Expr | None]:
    """With A x = b: the cotangent of b solves A^T y = g, and that of what A is made of is -(d(A x))^T y."""
    invariants = invariants_of(node)
    product, solution, transposed = node.regions
    fixed = node.inputs[:invariants]
    given = [c.value for c in filled(builder, node.outputs, arriving) if c is not None]
    regions = [transposed_product(product, invariants, builder), _again(transposed), _again(solution)]
    solved = builder.emit(node.op, [*fixed, *given], node.attributes, regions).outputs
    of_vector = builder.exprs(solved)
    if not any(value in active for value in fixed):
        return [*(None for _ in fixed), *of_vector]
    found = pull_back_region(builder, product, [*fixed, *node.outputs], [-y for y in of_vector])
    return [*found[:invariants], *of_vector]


def _again(region: Region) -> Region:
    """A copy whose lines say that they are run again."""
    copy = copied(region)
    for node in copy.walk():
        node.location = node.location.again()
    return copy


def transposed_product(product: Region, invariants: int, builder: Builder) -> Region:
    """y -> A^T y with the same fixed values, for the region x -> A x."""
    region = Region()
    inner = Builder(region, builder.location)
    fixed = [inner.input(value.type, value.name) for value in product.inputs[:invariants]]
    given = inner.exprs([inner.input(value.type) for value in product.inputs[invariants:]])
    seeds = [seed(inner, value.type) for value in product.inputs[invariants:]]
    found = pull_back_region(inner, product, [*fixed, *seeds], given)[invariants:]
    region.outputs = tuple(or_zeros(inner, seeds, found, [True for _ in seeds]))
    return region
