"""Forward mode as a pass: a graph's tangent program, emitted symbolically.

`@f.jvp` takes the inputs of `@f`, then the tangents of the inputs asked for; it returns the outputs of `@f`, then the
tangents of the floating outputs that they reach.  The tangent of `%4` is named `%t4`.

No op has a rule of its own for this.  A linear op is its own derivative, a scalar op has its partials, and where only
a pullback is written down (a maximum, a custom rule) the tangent is the transpose of that pullback, which is linear in
its cotangent: reverse mode applied twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.compiler.forward_control import BRANCHES_AND_LOOPS, Beside, Moving
from adjit.compiler.pullback import pull_back, pull_back_since, seed, zeros
from adjit.ir.analysis import invariants_of, varies_with
from adjit.ir.builder import Builder, Expr
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.errors import DifferentiationError
from adjit.ir.frozen import frozen
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.ops.scalar import scalar_jvp
from adjit.ir.printer import value_names
from adjit.ir.rewrite import copied, inline, inline_calls

Tangents = dict[Value, Expr]


@frozen
class Pushforward:
    """`graph` takes the inputs, then the tangents of those in `wrt`; it returns the outputs, then the tangents of the
    outputs listed in `reached`; the others do not vary."""

    graph: Graph
    wrt: tuple[int, ...]
    reached: tuple[int, ...]


def forward_mode(graph: Graph, inputs: Sequence[int] | None = None) -> Pushforward:
    """The tangents of all floating outputs along tangents of `inputs` (default: all floating ones).

    Shapes: a tangent has its value's type.  Errors: DifferentiationError where an op on the way has no derivative.
    """
    source = inline_calls(graph, keep_rules=True)
    wrt = tuple(i for i, v in enumerate(source.inputs) if v.dtype.is_continuous) if inputs is None else tuple(inputs)
    for index in wrt:
        if not source.inputs[index].dtype.is_continuous:
            raise DifferentiationError(f"input {index} of @{graph.name} is {source.inputs[index].type}: no tangent")
    names = value_names(source)
    result = Graph(f"{graph.name}.jvp", guards=graph.guards, writes=graph.writes, approximate=graph.approximate)
    builder = Builder(result)
    primals = [builder.input(value.type, names.get(value, value.name)) for value in source.inputs]
    taken = set(names.values())
    tangents = [
        builder.expr(builder.input(source.inputs[i].type, _free(f"t{names[source.inputs[i]]}", taken))) for i in wrt
    ]
    found = _push_region(builder, source, primals, dict(zip(wrt, tangents, strict=True)), names)
    reached = tuple(index for index, tangent in enumerate(found.tangents) if tangent is not None)
    result.outputs = (*found.outputs, *(t.value for t in found.tangents if t is not None))
    return Pushforward(eliminate_dead(result), wrt, reached)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


@frozen
class _Pushed:
    outputs: tuple[Value, ...]
    tangents: tuple[Expr | None, ...]


def _push_region(
    builder: Builder, region: Region, primals: Sequence[Value], tangents: dict[int, Expr], names: dict[Value, str]
) -> _Pushed:
    """Run `region` on `primals` in `builder` with tangents of some of them, by place."""
    mapping = dict(zip(region.inputs, primals, strict=True))
    known: Tangents = {region.inputs[index]: tangent for index, tangent in tangents.items()}
    wanted = _wanted(region)
    before = builder.location
    for node in region.nodes:
        if node.op.name == "const":
            builder.location = before
            mapping[node.output] = builder.constant(node.attributes["value"], node.output.dtype)  # type: ignore[arg-type]
            continue
        builder.location = node.location
        _push(builder, node, mapping, known, any(value in wanted for value in node.outputs), names)
    builder.location = before
    return _Pushed(
        tuple(mapping[value] for value in region.outputs), tuple(known.get(value) for value in region.outputs)
    )


def _wanted(region: Region) -> set[Value]:
    """The values on whose tangents those of the region's outputs depend."""
    found = set(region.outputs)
    for node in reversed(region.nodes):
        if any(value in found for value in node.outputs):
            found.update(varies_with(node))
    return found


def _push(
    builder: Builder,
    node: Node,
    mapping: dict[Value, Value],
    known: Tangents,
    wanted: bool,
    names: dict[Value, str],
) -> None:
    """Emit a node and, where they are wanted, the tangents of its results."""
    operands = [mapping[value] for value in node.inputs]
    tangents = [known.get(value) for value in node.inputs]
    flows = wanted and any(value in known for value in varies_with(node))
    rule = BRANCHES_AND_LOOPS.get(node.op.name) if flows else None
    found: Sequence[Expr | None]
    if rule is not None:
        outputs, beside = rule(_push_beside, builder, node, operands, [None if t is None else (t,) for t in tangents])
        found = [None if each is None else each[0] for each in beside]
    elif flows and node.op.name == "linear_solve":
        outputs, found = _linear_solve(builder, node, operands, tangents)
    elif flows and node.op.name == "host_call":
        raise DifferentiationError(f"host_call has no derivative ({node.location}); give it one with a custom rule")
    else:
        types = [value.type for value in node.outputs]
        copy = builder.emit(node.op, operands, node.attributes, node.regions, types)
        outputs = copy.outputs
        builder.location = node.location.derived("∂", "tangent")
        found = tangents_of(builder, copy, tangents) if flows else [None] * len(outputs)
    for value, output, tangent in zip(node.outputs, outputs, found, strict=True):
        mapping[value] = output
        output.name = output.name or names.get(value, value.name)
        if tangent is not None and value.dtype.is_continuous:
            known[value] = tangent
            if names.get(value) and tangent.value.name is None and tangent.value.constant is None:
                tangent.value.name = f"t{names[value]}"


def _push_beside(builder: Builder, region: Region, primals: Sequence[Value], moving: dict[int, Moving]) -> Beside:
    """`_push_region` for branches and loops: one tangent stands beside a value."""
    found = _push_region(builder, region, primals, {place: t for place, (t,) in moving.items()}, {})
    return found.outputs, [None if t is None else (t,) for t in found.tangents]


def tangents_of(builder: Builder, node: Node, tangents: Sequence[Expr | None]) -> Sequence[Expr | None]:
    """The tangent of each result of a node that stands in `builder`; None stands for 0."""
    op = node.op
    operands = builder.exprs(node.inputs)
    attributes: dict[str, Any] = dict(node.attributes)
    if isinstance(pushing := attributes.get("jvp"), Graph):
        wrt: tuple[int, ...] = attributes["wrt"]
        moving = [_or_zero(builder, tangents[index], operands[index]).value for index in wrt]
        found = iter(builder.exprs(inline(builder, pushing, [*moving, *node.inputs, *node.outputs])))
        return [next(found) if value.dtype.is_continuous else None for value in node.outputs]
    if op.family == "scalar":
        return [scalar_jvp(op, tangents, builder.expr(node.outputs[0]), *operands, **attributes)]
    if op.transpose_rule is None:
        return _transposed(builder, node, tangents)
    if op.name == "pad":
        attributes["value"] = 0  # what is put around does not vary
    if op.multilinear:
        parts = [
            op(*(tangent if place == chosen else x for place, x in enumerate(operands)), **attributes)
            for chosen, tangent in enumerate(tangents)
            if tangent is not None
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return [total]
    given = [
        _or_zero(builder, tangent, x) if x.dtype.is_continuous else x
        for x, tangent in zip(operands, tangents, strict=True)
    ]
    return [op(*given, **attributes)]


def _or_zero(builder: Builder, tangent: Expr | None, operand: Expr) -> Expr:
    return zeros(builder, operand.type) if tangent is None else tangent


def _transposed(builder: Builder, node: Node, tangents: Sequence[Expr | None]) -> list[Expr | None]:
    """The tangents by transposing the node's pullback.

    The pullback is emitted at a cotangent of zeros, whose own value never matters: it is linear in it.  What only it
    needs is dead afterwards.
    """
    marks = [value for value in node.outputs if value.dtype.is_continuous]
    seeds = [seed(builder, value.type) for value in marks]
    start = len(builder.region.nodes)
    moving = {value: t for value, t in zip(node.inputs, tangents, strict=True) if t is not None}
    back = pull_back(builder, [node], marks, builder.exprs(seeds), list(moving), {})
    pairs = [(c.value, t) for c, t in zip(back, moving.values(), strict=True) if c is not None]
    # A check of what arrives has nothing to say of zeros.
    builder.region.nodes[start:] = [node for node in builder.region.nodes[start:] if node.outputs]
    found = pull_back_since(builder, start, [v for v, _ in pairs], [t for _, t in pairs], seeds)
    of_value = dict(zip(marks, found, strict=True))
    return [of_value.get(value) for value in node.outputs]


def _linear_solve(
    builder: Builder, node: Node, operands: Sequence[Value], tangents: Sequence[Expr | None]
) -> tuple[Sequence[Value], Sequence[Expr | None]]:
    """With A x = b: A dx = db - dA x."""
    invariants = invariants_of(node)
    outputs = builder.emit(node.op, operands, node.attributes, [copied(region) for region in node.regions]).outputs
    given = {place: t for place, t in enumerate(tangents[:invariants]) if t is not None}
    pushed = _push_region(builder, node.regions[0], [*operands[:invariants], *outputs], given, {}).tangents
    right = []
    for value, of_vector, of_product in zip(outputs, tangents[invariants:], pushed, strict=True):
        tangent = _or_zero(builder, of_vector, builder.expr(value))
        right.append((tangent if of_product is None else tangent - of_product).value)
    regions = [copied(region) for region in node.regions]
    found = builder.emit(node.op, [*operands[:invariants], *right], node.attributes, regions).outputs
    return outputs, builder.exprs(found)
