"""Pulling cotangents back through regions: `call`, `cond`, `scan`, `while`, `linear_solve`.

A branch or a loop body is run again in the backward pass, then pulled back: what crosses from forward to backward is
the operands of the control op, not the insides of its regions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from adjit.compiler.pullback import pull_back, seed, zeros
from adjit.ir.builder import Builder, Expr
from adjit.ir.errors import DifferentiationError
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.rewrite import copied, inline
from adjit.ir.types import I64


def control_cotangents(
    builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]
) -> list[Expr | None]:
    """The cotangents of a control op's operands."""
    rules = {"call": _call, "cond": _cond, "scan": _scan, "while": _while, "linear_solve": _linear_solve}
    rule = rules.get(node.op.name)
    if rule is None:
        raise DifferentiationError(
            f"{node.op.name} has no derivative ({node.location}); give it one with a custom rule"
        )
    return rule(builder, node, arriving, active)


def pull_back_region(
    builder: Builder, region: Region, arguments: Sequence[Value], cotangents: Sequence[Expr | None]
) -> list[Expr | None]:
    """Run `region` on `arguments` in `builder`, and pull the cotangents of its outputs back to the arguments."""
    start = len(builder.region.nodes)
    results = _run_again(builder, region, arguments)
    nodes = builder.region.nodes[start:]
    given = [(value, c) for value, c in zip(results, cotangents, strict=True) if c is not None]
    location = builder.location
    found = pull_back(builder, nodes, [v for v, _ in given], [c for _, c in given], arguments, {})
    builder.location = location
    return found


def _run_again(builder: Builder, region: Region, arguments: Sequence[Value]) -> tuple[Value, ...]:
    """The results of a forward region on `arguments`; its copied lines say that they are run again."""
    start, location = len(builder.region.nodes), builder.location
    builder.location = replace(location, origin=location.origin.removeprefix("∂"))
    results = inline(builder, region, arguments)
    builder.location = location
    for node in Region(nodes=builder.region.nodes[start:]).walk():
        node.location = node.location.again()
    return results


def _filled(builder: Builder, values: Sequence[Value], arriving: Sequence[Expr | None]) -> list[Expr | None]:
    """The cotangents, with zeros for floating results that none reached."""
    return [
        zeros(builder, value.type) if cotangent is None and value.dtype.is_continuous else cotangent
        for value, cotangent in zip(values, arriving, strict=True)
    ]


def _dealt(items: Iterable[Expr], wanted: Sequence[bool]) -> list[Expr | None]:
    """`items` in turn where they are wanted, None elsewhere."""
    rest = iter(items)
    return [next(rest) if flag else None for flag in wanted]


def _floating(values: Sequence[Value]) -> list[bool]:
    return [value.dtype.is_continuous for value in values]


def _added(totals: Sequence[Expr | None], found: Sequence[Expr | None]) -> list[Value]:
    """Each total that there is, with what one step adds to it."""
    pairs = [(total, c) for total, c in zip(totals, found, strict=True) if total is not None]
    return [(total if c is None else total + c).value for total, c in pairs]


def _or_zeros(
    builder: Builder, values: Sequence[Value], found: Sequence[Expr | None], wanted: Sequence[bool]
) -> list[Value]:
    """The cotangents of the wanted values, zeros where nothing reached one."""
    return [
        (zeros(builder, v.type) if c is None else c).value
        for v, c, flag in zip(values, found, wanted, strict=True)
        if flag
    ]


def _call(builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]) -> list[Expr | None]:
    """The callee run again and pulled back, or the call's own rule."""
    callee, rule, pushing = node.attributes["callee"], node.attributes.get("vjp"), node.attributes.get("jvp")
    assert isinstance(callee, Graph)
    if isinstance(rule, Graph):
        given = [c.value for c in _filled(builder, node.outputs, arriving) if c is not None]
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
    floating = [c for c, flag in zip(arriving, _floating(node.outputs), strict=True) if flag]
    pairs = [(value, c) for value, c in zip(results, floating, strict=True) if c is not None]
    nodes = builder.region.nodes[start:]
    location = builder.location
    found = pull_back(builder, nodes, [v for v, _ in pairs], [c for _, c in pairs], seeds, {})
    builder.location = location
    return found


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
        found = pull_back_region(inner, branch, arguments, _dealt(incoming, [c is not None for c in arriving]))
        region.outputs = tuple(_or_zeros(inner, arguments, found, wanted))
        regions.append(region)
    inputs = (node.inputs[0], *operands, *(c.value for c in given))
    outputs = builder.emit(primitive_named("cond"), inputs, {}, regions).outputs
    return [None, *_dealt(builder.exprs(outputs), wanted)]


def _scan(builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]) -> list[Expr | None]:
    """A scan the other way: the carries on entry of each step are stacked by a second forward scan, then each step is
    pulled back, last first.  What is carried: the carries' cotangents, and sums of those of the invariants."""
    first, carries = int(node.attributes["invariants"]), int(node.attributes["carries"])  # type: ignore[arg-type]
    second = first + carries
    attributes = dict(node.attributes)
    body = node.regions[0]
    fixed, start, slices = node.inputs[:first], node.inputs[first:second], node.inputs[second:]
    stacked = _entries(builder, node)

    carried = [c for c in _filled(builder, node.outputs[:carries], arriving[:carries]) if c is not None]
    stepped = [c for c in arriving[carries:] if c is not None]
    summed, sliced = [v in active for v in fixed], [v in active for v in slices]
    step = Region()
    inner = Builder(step, builder.location)
    fixed_in = [inner.input(v.type) for v in body.inputs[:first]]
    incoming = inner.exprs([inner.input(c.type) for c in carried])
    totals = inner.exprs([inner.input(v.type) for v, flag in zip(fixed, summed, strict=True) if flag])
    entered = [inner.input(v.type) for v in body.inputs[first:second]]
    slices_in = [inner.input(v.type) for v in body.inputs[second:]]
    of_rows = inner.exprs([inner.input(c.type.with_dims(c.shape[1:])) for c in stepped])
    cotangents = [
        *_dealt(incoming, _floating(node.outputs[:carries])),
        *_dealt(of_rows, [c is not None for c in arriving[carries:]]),
    ]
    found = pull_back_region(inner, body, [*fixed_in, *entered, *slices_in], cotangents)
    step.outputs = (
        *_or_zeros(inner, entered, found[first:second], _floating(entered)),
        *_added(_dealt(totals, summed), found[:first]),
        *_or_zeros(inner, slices_in, found[second:], sliced),
    )
    initial = [*carried, *(zeros(builder, v.type) for v, flag in zip(fixed, summed, strict=True) if flag)]
    inputs = [*fixed, *(c.value for c in initial), *stacked, *slices, *(c.value for c in stepped)]
    attributes |= {"carries": len(initial), "reverse": not node.attributes["reverse"]}
    outputs = builder.exprs(builder.emit(primitive_named("scan"), inputs, attributes, [step]).outputs)
    of_carries, of_fixed = outputs[: len(carried)], outputs[len(carried) : len(initial)]
    return [
        *_dealt(of_fixed, summed),
        *_dealt(of_carries, _floating(start)),
        *_dealt(outputs[len(initial) :], sliced),
    ]


def _entries(builder: Builder, node: Node) -> tuple[Value, ...]:
    """The carries on entry of each step of a scan, stacked."""
    first, carries = int(node.attributes["invariants"]), int(node.attributes["carries"])  # type: ignore[arg-type]
    region = Region()
    inner = Builder(region, builder.location)
    arguments = [inner.input(v.type, v.name) for v in node.regions[0].inputs]
    results = _run_again(inner, node.regions[0], arguments)
    region.outputs = (*results[:carries], *arguments[first : first + carries])
    return builder.emit(primitive_named("scan"), node.inputs, node.attributes, [region]).outputs[carries:]


def _while(builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]) -> list[Expr | None]:
    """Reverse through an unknown number of steps: a forward loop counts them; then a loop goes down from the last step,
    running forward again to each step's entry.  Time is quadratic in the count, memory does not grow with it."""
    invariants, count = int(node.attributes["invariants"]), len(node.inputs)  # type: ignore[arg-type]
    body = node.regions[1]
    fixed, start = node.inputs[:invariants], node.inputs[invariants:]
    carried = [c for c in _filled(builder, node.outputs, arriving) if c is not None]
    summed = [v in active for v in fixed]
    steps = _count(builder, node)
    sums = [zeros(builder, v.type) for v, flag in zip(fixed, summed, strict=True) if flag]
    types = [v.type for v in node.inputs] + [steps.type] + [c.type for c in (*carried, *sums)]

    test = Region()
    inner = Builder(test, builder.location)
    seen = [inner.input(type) for type in types]
    test.outputs = ((inner.expr(seen[count]) > 0).value,)

    step = Region()
    inner = Builder(step, builder.location)
    seen = [inner.input(type) for type in types]
    fixed_in, start_in = seen[:invariants], seen[invariants:count]
    left = inner.expr(seen[count]) - 1
    cotangents = inner.exprs(seen[count + 1 :][: len(carried)])
    totals = inner.exprs(seen[count + 1 + len(carried) :])
    entered = _advance(inner, body, fixed_in, start_in, left)
    found = pull_back_region(inner, body, [*fixed_in, *entered], _dealt(cotangents, _floating(node.outputs)))
    step.outputs = (
        left.value,
        *_or_zeros(inner, entered, found[invariants:], _floating(entered)),
        *_added(_dealt(totals, summed), found[:invariants]),
    )
    inputs = [*node.inputs, steps.value, *(c.value for c in (*carried, *sums))]
    loop = builder.emit(primitive_named("while"), inputs, {"invariants": count}, [test, step])
    outputs = builder.exprs(loop.outputs[1:])
    return [
        *_dealt(outputs[len(carried) :], summed),
        *_dealt(outputs[: len(carried)], _floating(start)),
    ]


def _count(builder: Builder, node: Node) -> Expr:
    """The number of steps that the loop makes."""
    invariants = int(node.attributes["invariants"])  # type: ignore[arg-type]
    condition, body = node.regions
    counter = builder.constant(0, I64)
    test, step = Region(), Region()
    for region, source in ((test, condition), (step, body)):
        inner = Builder(region, builder.location)
        fixed = [inner.input(v.type) for v in source.inputs[:invariants]]
        steps = inner.input(counter.type)
        carries = [inner.input(v.type) for v in source.inputs[invariants:]]
        results = _run_again(inner, source, [*fixed, *carries])
        region.outputs = tuple(results) if region is test else ((inner.expr(steps) + 1).value, *results)
    inputs = [*node.inputs[:invariants], counter, *node.inputs[invariants:]]
    loop = builder.emit(primitive_named("while"), inputs, {"invariants": invariants}, [test, step])
    return builder.expr(loop.outputs[0])


def _advance(
    builder: Builder, body: Region, fixed: Sequence[Value], start: Sequence[Value], steps: Expr
) -> list[Value]:
    """The carries after `steps` steps from `start`."""
    test, step = Region(), Region()
    for region in (test, step):
        inner = Builder(region, builder.location)
        outer = [inner.input(v.type) for v in fixed]
        goal, done = inner.expr(inner.input(steps.type)), inner.expr(inner.input(steps.type))
        carries = [inner.input(v.type) for v in start]
        if region is test:
            region.outputs = ((done < goal).value,)
        else:
            region.outputs = ((done + 1).value, *_run_again(inner, body, [*outer, *carries]))
    inputs = [*fixed, steps.value, builder.constant(0, I64), *start]
    loop = builder.emit(primitive_named("while"), inputs, {"invariants": len(fixed) + 1}, [test, step])
    return list(loop.outputs[1:])


def _linear_solve(
    builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]
) -> list[Expr | None]:
    """With A x = b: the cotangent of b solves A^T y = g, and that of what A is made of is -(d(A x))^T y."""
    invariants = int(node.attributes["invariants"])  # type: ignore[arg-type]
    product, solution, transposed = node.regions
    fixed = node.inputs[:invariants]
    given = [c.value for c in _filled(builder, node.outputs, arriving) if c is not None]
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
        node.location = replace(node.location, note="run again")
    return copy


def transposed_product(product: Region, invariants: int, builder: Builder) -> Region:
    """y -> A^T y with the same fixed values, for the region x -> A x."""
    region = Region()
    inner = Builder(region, builder.location)
    fixed = [inner.input(value.type, value.name) for value in product.inputs[:invariants]]
    given = inner.exprs([inner.input(value.type) for value in product.inputs[invariants:]])
    seeds = [seed(inner, value.type) for value in product.inputs[invariants:]]
    found = pull_back_region(inner, product, [*fixed, *seeds], given)[invariants:]
    region.outputs = tuple(_or_zeros(inner, seeds, found, [True for _ in seeds]))
    return region
