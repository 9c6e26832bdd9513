"""Pulling cotangents back through `scan`: a scan the other way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjit.compiler.keep import from_invariants, wanted
from adjit.compiler.later_sums import LaterSums
from adjit.compiler.pullback import zeros
from adjit.compiler.pullback_region import added, dealt, filled, flowing, or_zeros, pull_back_region, run_again
from adjit.ir.analysis import carries_of, invariants_of
from adjit.ir.builder import Builder, Expr
from adjit.ir.frozen import frozen
from adjit.ir.graph import Graph, Node, Region, Value, from_outputs
from adjit.ir.primitive import primitive_named
from adjit.ir.rewrite import inline

Cotangents = Sequence["Expr | None"]


@frozen
class _Step:
    """How one step is pulled back: `stacked` are the values that it gets row by row, and `pull` takes these rows, the
    fixed values and the cotangents of the step's results; it gives those of the body's inputs."""

    stacked: Sequence[Value]
    pull: Callable[[Builder, Sequence[Value], Sequence[Value], Cotangents], Cotangents]


def scan_cotangents(builder: Builder, node: Node, arriving: Cotangents, active: set[Value]) -> list[Expr | None]:
    """Each step is pulled back, last first.  What is carried: the carries' cotangents, and sums of those of the
    invariants.  A step reads what the forward scan kept of it; where that is not enough, it is run again."""
    first, carries = invariants_of(node), carries_of(node)
    second = first + carries
    body = node.regions[0]
    fixed, slices = node.inputs[:first], node.inputs[second:]
    moving = flowing(body, first, node.outputs[:carries], arriving)
    carried = [c for c in filled(builder, node.outputs[:carries], arriving[:carries], moving) if c is not None]
    stepped = [c for c in arriving[carries:] if c is not None]
    summed, sliced = [v in active for v in fixed], [v in active for v in slices]
    reached = [*moving, *(c is not None for c in arriving[carries:])]
    way = _from_kept(node, reached, active) or _from_entries(builder, node)

    step = Region()
    inner = Builder(step, builder.location)
    fixed_in = [inner.input(v.type) for v in body.inputs[:first]]
    incoming = inner.exprs([inner.input(c.type) for c in carried])
    rows = [inner.input(v.type.with_dims(v.type.dims[1:])) for v in way.stacked]
    of_rows = inner.exprs([inner.input(c.type.with_dims(c.shape[1:])) for c in stepped])
    cotangents = [
        *dealt(incoming, moving),
        *dealt(of_rows, [c is not None for c in arriving[carries:]]),
    ]
    found = way.pull(inner, fixed_in, rows, cotangents)
    of_slices = or_zeros(inner, body.inputs[second:], found[second:], sliced)
    stacks = dict(zip([*rows, *_values(of_rows)], [*way.stacked, *_values(stepped)], strict=True))
    later = LaterSums(step, stacks, of_slices, allowed=not node.attributes.get("checkpoint"))
    terms = zip(summed, found[:first], strict=True)
    at_once = [flag and term is not None and not later.takes(term.value) for flag, term in terms]
    totals = inner.exprs([inner.input(v.type) for v, flag in zip(fixed, at_once, strict=True) if flag])
    step.inputs = (*fixed_in, *_values([*incoming, *totals]), *stacks)
    step.outputs = (
        *or_zeros(inner, body.inputs[first:second], found[first:second], moving),
        *added(dealt(totals, at_once), found[:first]),
        *later.rows,
    )
    initial = [*carried, *(zeros(builder, v.type) for v, flag in zip(fixed, at_once, strict=True) if flag)]
    inputs = [*fixed, *(c.value for c in initial), *stacks.values()]
    attributes = {**node.attributes, "carries": len(initial), "reverse": not node.attributes["reverse"]}
    attributes.pop("checkpoint", None)
    outputs = builder.exprs(builder.emit(primitive_named("scan"), inputs, attributes, [step]).outputs)
    of_carries, of_fixed = outputs[: len(carried)], dealt(outputs[len(carried) : len(initial)], at_once)
    stacked = outputs[len(initial) :]
    for index, (term, flag) in enumerate(zip(found[:first], summed, strict=True)):
        if flag and not at_once[index]:
            value = zeros(builder, fixed[index].type) if term is None else later.total(builder, term.value, stacked)
            of_fixed[index] = value
    return [
        *of_fixed,
        *dealt(of_carries, moving),
        *dealt(stacked[: len(of_slices)], sliced),
    ]


def _values(items: Sequence[Expr]) -> list[Value]:
    return [item.value for item in items]


def _kept(node: Node) -> dict[Value, Value]:
    """The values of the body that are stacked, or sliced, with the stacks."""
    first, carries = invariants_of(node), carries_of(node)
    body = node.regions[0]
    results = dict(zip(body.outputs[carries:], node.outputs[carries:], strict=True))
    return results | dict(zip(body.inputs[first + carries :], node.inputs[first + carries :], strict=True))


def _from_kept(node: Node, reached: Sequence[bool], active: set[Value]) -> _Step | None:
    """Steps pulled back from what was kept of them, by the results that cotangents reach; None where that lacks."""
    from adjit.compiler.differentiate import backward_of

    if node.attributes.get("checkpoint"):
        return None
    first = invariants_of(node)
    body = node.regions[0]
    step = Graph("step", body.inputs, body.nodes, body.outputs)
    wrt = wanted(node, [value in active for value in node.inputs])
    every = [index for index, value in enumerate(body.outputs) if value.dtype.is_continuous]
    kept, same = _kept(node), from_invariants(body, first)
    for seeds in dict.fromkeys((tuple(index for index in every if reached[index]), tuple(every))):
        backward, residuals, targets = backward_of(step, wrt, seeds)
        if all(value in kept or value in same for value in residuals):
            break
    else:
        return None
    stacked = [value for value in residuals if value in kept and value not in same]
    fixed_part = from_outputs("fixed", body.inputs[:first], [value for value in residuals if value in same])

    def pull(inner: Builder, fixed: Sequence[Value], rows: Sequence[Value], cotangents: Cotangents) -> Cotangents:
        values = [body.outputs[index] for index in seeds]
        given = [c.value for c in filled(inner, values, [cotangents[index] for index in seeds]) if c is not None]
        saved = dict(zip(stacked, rows, strict=True))
        saved |= dict(zip(fixed_part.outputs, run_again(inner, fixed_part, fixed), strict=True))
        results = inline(inner, backward, [*given, *(saved[value] for value in residuals)])
        found = dict(zip(targets, inner.exprs(results), strict=True))
        return [found.get(index) for index in range(len(body.inputs))]

    return _Step([kept[value] for value in stacked], pull)


def _from_entries(builder: Builder, node: Node) -> _Step:
    """Steps run again from the carries on entry of each."""
    first, carries = invariants_of(node), carries_of(node)
    body = node.regions[0]
    kept = _kept(node)
    entries = body.inputs[first : first + carries]
    stacked = [kept[value] for value in entries] if all(v in kept for v in entries) else _entries(builder, node)

    def pull(inner: Builder, fixed: Sequence[Value], rows: Sequence[Value], cotangents: Cotangents) -> Cotangents:
        return pull_back_region(inner, body, [*fixed, *rows], cotangents)

    return _Step([*stacked, *node.inputs[first + carries :]], pull)


def _entries(builder: Builder, node: Node) -> Sequence[Value]:
    """The carries on entry of each step of a scan, stacked by a second scan."""
    first, carries = invariants_of(node), carries_of(node)
    region = Region()
    inner = Builder(region, builder.location)
    arguments = [inner.input(v.type, v.name) for v in node.regions[0].inputs]
    results = run_again(inner, node.regions[0], arguments)
    region.outputs = (*results[:carries], *arguments[first : first + carries])
    return builder.emit(primitive_named("scan"), node.inputs, node.attributes, [region]).outputs[carries:]
