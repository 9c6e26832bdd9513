"""Pulling cotangents back through regions: `call`, `cond`, `scan`, `while`.

A branch or a loop body is run again in the backward pass, then pulled back: what crosses from forward to backward is
the operands of the control op, not the insides of its regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adjit.compiler.pullback import pull_back, zeros
from adjit.ir.builder import Builder, Expr
from adjit.ir.errors import DifferentiationError
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.rewrite import inline
from adjit.ir.types import I64, TensorType


def control_cotangents(
    builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]
) -> list[Expr | None]:
    """The cotangents of a control op's operands."""
    rule = {"call": _call, "cond": _cond, "scan": _scan, "while": _while}.get(node.op.name)
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
    location = builder.location
    builder.location = replace(location, origin=location.origin.removeprefix("∂"), note="run again")
    results = inline(builder, region, arguments)
    nodes = builder.region.nodes[start:]
    given = [(value, c) for value, c in zip(results, cotangents, strict=True) if c is not None]
    found = pull_back(builder, nodes, [v for v, _ in given], [c for _, c in given], arguments, {})
    builder.location = location
    return found


def _float_indices(types: Sequence[TensorType]) -> list[int]:
    return [index for index, type in enumerate(types) if type.dtype.is_float]


def _filled(builder: Builder, values: Sequence[Value], arriving: Sequence[Expr | None]) -> list[Expr | None]:
    """The cotangents, with zeros for floating results that none reached."""
    return [
        zeros(builder, value.type) if cotangent is None and value.dtype.is_float else cotangent
        for value, cotangent in zip(values, arriving, strict=True)
    ]


def _or_zeros(builder: Builder, values: Sequence[Value], found: Sequence[Expr | None]) -> list[Value]:
    return [
        (zeros(builder, v.type) if c is None else c).value
        for v, c in zip(values, found, strict=True)
        if v.dtype.is_float
    ]


def _call(builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]) -> list[Expr | None]:
    """The callee run again and pulled back."""
    callee = node.attributes["callee"]
    assert isinstance(callee, Graph)
    return pull_back_region(builder, callee, node.inputs, arriving)


def _cond(builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]) -> list[Expr | None]:
    """`cond` over the branches' pullbacks: the same predicate chooses."""
    operands = node.inputs[1:]
    given = [c for c in _filled(builder, node.outputs, arriving) if c is not None]
    regions = []
    for branch in node.regions:
        region = Region()
        inner = Builder(region, builder.location)
        arguments = [inner.input(v.type, v.name) for v in branch.inputs]
        incoming = iter([inner.expr(inner.input(c.type)) for c in given])
        cotangents = [next(incoming) if v.dtype.is_float else None for v in node.outputs]
        found = pull_back_region(inner, branch, arguments, cotangents)
        region.outputs = tuple(_or_zeros(inner, arguments, found))
        regions.append(region)
    inputs = (node.inputs[0], *operands, *(c.value for c in given))
    result = iter(builder.emit(primitive_named("cond"), inputs, {}, regions).outputs)
    return [None, *(builder.expr(next(result)) if v.dtype.is_float else None for v in operands)]


def _scan(builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]) -> list[Expr | None]:
    """A scan the other way: the carries on entry of each step are stacked by a second forward scan, then each step is
    pulled back, last first."""
    invariants, carries = int(node.attributes["invariants"]), int(node.attributes["carries"])  # type: ignore[arg-type]
    reverse, length = bool(node.attributes["reverse"]), node.attributes["length"]
    body = node.regions[0]
    fixed, start, slices = (
        node.inputs[:invariants],
        node.inputs[invariants : invariants + carries],
        node.inputs[invariants + carries :],
    )
    stacking = Region()
    inner = Builder(stacking, builder.location)
    arguments = [inner.input(v.type, v.name) for v in body.inputs]
    results = inline(inner, body, arguments)
    stacking.outputs = (*results[:carries], *arguments[invariants : invariants + carries])
    attributes = {"invariants": invariants, "carries": carries, "length": length, "reverse": reverse}
    stacked = builder.emit(primitive_named("scan"), node.inputs, attributes, [stacking]).outputs[carries:]

    given = _filled(builder, node.outputs, arriving)
    carried = [c for c in given[:carries] if c is not None]
    stepped = [c for c in given[carries:] if c is not None]
    step = Region()
    inner = Builder(step, builder.location)
    fixed_in = [inner.input(v.type) for v in body.inputs[:invariants]]
    incoming = [inner.expr(inner.input(c.type)) for c in carried]
    sums = [inner.expr(inner.input(v.type)) for v in fixed if v.dtype.is_float]
    entered = [inner.input(v.type) for v in body.inputs[invariants : invariants + carries]]
    sliced = [inner.input(v.type) for v in body.inputs[invariants + carries :]]
    outgoing = [inner.expr(inner.input(v.type)) for v in body.outputs[carries:] if v.dtype.is_float]
    seeds, arrived = iter(incoming), iter(outgoing)
    cotangents = [
        (next(seeds) if position < carries else next(arrived)) if v.dtype.is_float else None
        for position, v in enumerate(body.outputs)
    ]
    found = pull_back_region(inner, body, [*fixed_in, *entered, *sliced], cotangents)
    to_fixed = [
        total if c is None else total + c
        for total, c in zip(sums, [found[i] for i in _float_indices([v.type for v in fixed])], strict=True)
    ]
    step.outputs = (
        *_or_zeros(inner, entered, found[invariants : invariants + carries]),
        *(total.value for total in to_fixed),
        *_or_zeros(inner, sliced, found[invariants + carries :]),
    )
    initial = [*carried, *(zeros(builder, v.type) for v in fixed if v.dtype.is_float)]
    inputs = [*fixed, *(c.value for c in initial), *stacked, *slices, *(c.value for c in stepped)]
    attributes = {"invariants": invariants, "carries": len(initial), "length": length, "reverse": not reverse}
    outputs = builder.exprs(builder.emit(primitive_named("scan"), inputs, attributes, [step]).outputs)
    of_carries, rest = iter(outputs[: len(carried)]), outputs[len(carried) :]
    of_fixed, of_slices = iter(rest[: len(sums)]), iter(rest[len(sums) :])
    return [
        *(next(of_fixed) if v.dtype.is_float else None for v in fixed),
        *(next(of_carries) if v.dtype.is_float else None for v in start),
        *(next(of_slices) if v.dtype.is_float else None for v in slices),
    ]


def _while(builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]) -> list[Expr | None]:
    """Reverse through an unknown number of steps: a forward loop counts them; then a loop goes down from the last step,
    running forward again to each step's entry.  Time is quadratic in the count, memory does not grow with it."""
    invariants = int(node.attributes["invariants"])  # type: ignore[arg-type]
    condition, body = node.regions
    fixed, start = node.inputs[:invariants], node.inputs[invariants:]
    carried = [c for c in _filled(builder, node.outputs, arriving) if c is not None]
    count = _count(builder, node, condition, body, invariants)
    sums = [zeros(builder, v.type) for v in fixed if v.dtype.is_float]

    test = Region()
    inner = Builder(test, builder.location)
    types = [v.type for v in node.inputs] + [count.type] + [c.type for c in (*carried, *sums)]
    seen = [inner.input(type) for type in types]
    remaining = inner.expr(seen[len(node.inputs)])
    test.outputs = ((remaining > 0).value,)

    step = Region()
    inner = Builder(step, builder.location)
    seen = [inner.input(type) for type in types]
    fixed_in, start_in = seen[:invariants], seen[invariants : len(node.inputs)]
    left = inner.expr(seen[len(node.inputs)]) - 1
    cotangents = iter(inner.exprs(seen[len(node.inputs) + 1 :][: len(carried)]))
    totals = inner.exprs(seen[len(node.inputs) + 1 + len(carried) :])
    entered = _advance(inner, body, fixed_in, start_in, left)
    seeds = [next(cotangents) if v.dtype.is_float else None for v in node.outputs]
    found = pull_back_region(inner, body, [*fixed_in, *entered], seeds)
    to_fixed = [
        total if c is None else total + c
        for total, c in zip(totals, [found[i] for i in _float_indices([v.type for v in fixed])], strict=True)
    ]
    step.outputs = (left.value, *_or_zeros(inner, entered, found[invariants:]), *(t.value for t in to_fixed))
    inputs = [*node.inputs, count.value, *(c.value for c in (*carried, *sums))]
    attributes = {"invariants": len(node.inputs)}
    outputs = builder.exprs(builder.emit(primitive_named("while"), inputs, attributes, [test, step]).outputs)[1:]
    of_carries, of_fixed = iter(outputs[: len(carried)]), iter(outputs[len(carried) :])
    return [
        *(next(of_fixed) if v.dtype.is_float else None for v in fixed),
        *(next(of_carries) if v.dtype.is_float else None for v in start),
    ]


def _count(builder: Builder, node: Node, condition: Region, body: Region, invariants: int) -> Expr:
    """The number of steps that the loop makes."""
    counter = builder.constant(0, I64)
    test, step = Region(), Region()
    for region, source in ((test, condition), (step, body)):
        inner = Builder(region, builder.location)
        fixed = [inner.input(v.type) for v in source.inputs[:invariants]]
        steps = inner.input(counter.type)
        carries = [inner.input(v.type) for v in source.inputs[invariants:]]
        results = inline(inner, source, [*fixed, *carries])
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
            region.outputs = ((done + 1).value, *inline(inner, body, [*outer, *carries]))
    inputs = [*fixed, steps.value, builder.constant(0, I64), *start]
    loop = builder.emit(primitive_named("while"), inputs, {"invariants": len(fixed) + 1}, [test, step])
    return list(loop.outputs[1:])
