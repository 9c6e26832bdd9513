"""Forward mode as a pass: a graph's tangent program, emitted symbolically.

`@f.jvp` takes the inputs of `@f`, then the tangents of the inputs asked for; it returns the outputs of `@f`, then the
tangents of the floating outputs that they reach.  The tangent of `%4` is named `%t4`.

No op has a rule of its own for this.  A linear op is its own derivative, a scalar op has its partials, and where only
a pullback is written down (a maximum, a custom rule) the tangent is the transpose of that pullback, which is linear in
its cotangent: reverse mode applied twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from adjit.compiler.pullback import active_values, pull_back, seed, zeros
from adjit.ir.analysis import varies_with
from adjit.ir.builder import Builder, Expr
from adjit.ir.errors import DifferentiationError
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.ops.scalar import scalar_jvp
from adjit.ir.primitive import primitive_named
from adjit.ir.printer import value_names
from adjit.ir.rewrite import copied, eliminate_dead, inline, inline_calls

Tangents = dict[Value, Expr]


@dataclass(frozen=True, slots=True)
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
    result = Graph(f"{graph.name}.jvp", guards=graph.guards, writes=graph.writes)
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


@dataclass(frozen=True, slots=True)
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
    rule = _CONTROL.get(node.op.name) if flows else None
    if rule is not None:
        outputs, found = rule(builder, node, operands, tangents, names)
    else:
        types = [value.type for value in node.outputs]
        copy = builder.emit(node.op, operands, node.attributes, node.regions, types)
        outputs = copy.outputs
        builder.location = node.location.derived("∂", "tangent")
        found = _tangents(builder, copy, tangents) if flows else [None] * len(outputs)
    for value, output, tangent in zip(node.outputs, outputs, found, strict=True):
        mapping[value] = output
        output.name = output.name or names.get(value, value.name)
        if tangent is not None and value.dtype.is_continuous:
            known[value] = tangent
            if names.get(value) and tangent.value.name is None and tangent.value.constant is None:
                tangent.value.name = f"t{names[value]}"


def _tangents(builder: Builder, node: Node, tangents: Sequence[Expr | None]) -> Sequence[Expr | None]:
    """The tangent of each result of a node that stands in `builder`."""
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
    builder.region.nodes[start:] = nodes = [node for node in builder.region.nodes[start:] if node.outputs]
    location = builder.location
    found = pull_back(builder, nodes, [v for v, _ in pairs], [t for _, t in pairs], seeds, {})
    builder.location = location
    of_value = dict(zip(marks, found, strict=True))
    return [of_value.get(value) for value in node.outputs]


# -- control ----
Rule = Callable[
    [Builder, Node, Sequence[Value], Sequence["Expr | None"], "dict[Value, str]"],
    tuple[Sequence[Value], Sequence["Expr | None"]],
]


def _varying(nodes: Sequence[Node], inputs: Iterable[Value]) -> set[Value]:
    return active_values(nodes, list(inputs))


def _pushed_body(
    builder: Builder, source: Region, flags: Sequence[bool], wanted: Sequence[bool], ordered: Callable[..., list[Any]]
) -> Region:
    """A region with tangents beside its inputs (those flagged) and outputs (those wanted, zeros where none arrives).

    `ordered(primals, tangents)` puts the two lists together.
    """
    region = Region()
    inner = Builder(region, builder.location)
    values = [Value(v.type, v.name) for v in source.inputs]
    moving = [Value(v.type) for v, flag in zip(source.inputs, flags, strict=True) if flag]
    region.inputs = tuple(ordered(values, moving))
    places = [i for i, flag in enumerate(flags) if flag]
    given = {place: inner.expr(value) for place, value in zip(places, moving, strict=True)}
    found = _push_region(inner, source, values, given, {})
    tangents = [
        (zeros(inner, value.type) if t is None else t).value
        for value, t, flag in zip(source.outputs, found.tangents, wanted, strict=True)
        if flag
    ]
    region.outputs = (*found.outputs, *tangents)
    return region


def _spread(found: Sequence[Expr], wanted: Sequence[bool]) -> list[Expr | None]:
    rest = iter(found)
    return [next(rest) if flag else None for flag in wanted]


def _cond(
    builder: Builder, node: Node, operands: Sequence[Value], tangents: Sequence[Expr | None], names: dict[Value, str]
) -> tuple[Sequence[Value], Sequence[Expr | None]]:
    flags = [t is not None for t in tangents[1:]]
    wanted = [False] * len(node.outputs)
    for branch in node.regions:
        varying = _varying(branch.nodes, (v for v, flag in zip(branch.inputs, flags, strict=True) if flag))
        wanted = [flag or value in varying for flag, value in zip(wanted, branch.outputs, strict=True)]
    regions = [_pushed_body(builder, branch, flags, wanted, lambda p, t: [*p, *t]) for branch in node.regions]
    inputs = [*operands, *(t.value for t in tangents[1:] if t is not None)]
    outputs = builder.emit(primitive_named("cond"), inputs, node.attributes, regions).outputs
    count = len(node.outputs)
    return outputs[:count], _spread(builder.exprs(outputs[count:]), wanted)


def _settled(body: Region, flags: list[bool], first: int, carries: int) -> list[bool]:
    """Which inputs of a loop's body vary: a carry does if it starts so, or if a step makes it so."""
    while True:
        varying = _varying(body.nodes, (v for v, flag in zip(body.inputs, flags, strict=True) if flag))
        grown = list(flags)
        for place in range(carries):
            value = body.outputs[place]
            grown[first + place] = flags[first + place] or (value in varying and value.dtype.is_continuous)
        if grown == flags:
            return flags
        flags = grown


def _scan(
    builder: Builder, node: Node, operands: Sequence[Value], tangents: Sequence[Expr | None], names: dict[Value, str]
) -> tuple[Sequence[Value], Sequence[Expr | None]]:
    first, carries = int(node.attributes["invariants"]), int(node.attributes["carries"])  # type: ignore[arg-type]
    second = first + carries
    body = node.regions[0]
    flags = _settled(body, [t is not None for t in tangents], first, carries)
    varying = _varying(body.nodes, (v for v, flag in zip(body.inputs, flags, strict=True) if flag))
    wanted = [*flags[first:second], *(v in varying for v in body.outputs[carries:])]
    counts = [sum(flags[:first]), sum(flags[first:second])]

    def ordered(primals: Sequence[Any], moving: Sequence[Any]) -> list[Any]:
        a, b = counts[0], counts[0] + counts[1]
        return [*primals[:first], *moving[:a], *primals[first:second], *moving[a:b], *primals[second:], *moving[b:]]

    region = _pushed_body(builder, body, flags, wanted, ordered)
    count = len(body.outputs)
    moved = sum(wanted[:carries])
    region.outputs = (
        *region.outputs[:carries],
        *region.outputs[count : count + moved],
        *region.outputs[carries:count],
        *region.outputs[count + moved :],
    )
    moving = [
        _or_zero(builder, t, builder.expr(x)).value
        for x, t, flag in zip(operands, tangents, flags, strict=True)
        if flag
    ]
    attributes = {**node.attributes, "invariants": first + counts[0], "carries": carries + counts[1]}
    outputs = builder.emit(primitive_named("scan"), ordered(operands, moving), attributes, [region]).outputs
    rows = carries + moved
    results = [*outputs[:carries], *outputs[rows : rows + count - carries]]
    found = builder.exprs([*outputs[carries:rows], *outputs[rows + count - carries :]])
    return results, _spread(found, wanted)


def _while(
    builder: Builder, node: Node, operands: Sequence[Value], tangents: Sequence[Expr | None], names: dict[Value, str]
) -> tuple[Sequence[Value], Sequence[Expr | None]]:
    first = int(node.attributes["invariants"])  # type: ignore[arg-type]
    condition, body = node.regions
    carries = len(body.outputs)
    flags = _settled(body, [t is not None for t in tangents], first, carries)
    wanted = flags[first:]
    fixed = sum(flags[:first])

    def ordered(primals: Sequence[Any], moving: Sequence[Any]) -> list[Any]:
        return [*primals[:first], *moving[:fixed], *primals[first:], *moving[fixed:]]

    test = Region()
    inner = Builder(test, builder.location)
    values = [Value(v.type, v.name) for v in condition.inputs]
    test.inputs = tuple(
        ordered(values, [Value(v.type) for v, flag in zip(condition.inputs, flags, strict=True) if flag])
    )
    test.outputs = inline(inner, condition, values)
    region = _pushed_body(builder, body, flags, wanted, ordered)
    moving = [
        _or_zero(builder, t, builder.expr(x)).value
        for x, t, flag in zip(operands, tangents, flags, strict=True)
        if flag
    ]
    attributes = {**node.attributes, "invariants": first + fixed}
    outputs = builder.emit(primitive_named("while"), ordered(operands, moving), attributes, [test, region]).outputs
    return outputs[:carries], _spread(builder.exprs(outputs[carries:]), wanted)


def _linear_solve(
    builder: Builder, node: Node, operands: Sequence[Value], tangents: Sequence[Expr | None], names: dict[Value, str]
) -> tuple[Sequence[Value], Sequence[Expr | None]]:
    """With A x = b: A dx = db - dA x."""
    invariants = int(node.attributes["invariants"])  # type: ignore[arg-type]
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


def _refused(
    builder: Builder, node: Node, operands: Sequence[Value], tangents: Sequence[Expr | None], names: dict[Value, str]
) -> tuple[Sequence[Value], Sequence[Expr | None]]:
    raise DifferentiationError(f"{node.op.name} has no derivative ({node.location}); give it one with a custom rule")


_CONTROL: dict[str, Rule] = {
    "cond": _cond, "scan": _scan, "while": _while, "linear_solve": _linear_solve, "host_call": _refused
}  # fmt: skip
