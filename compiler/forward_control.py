"""Branches and loops in forward mode: values travel beside each value that varies.

In a tangent program one value travels, the tangent; in a Taylor program, the coefficients.  A branch takes and returns
them beside its operands and results, a loop carries them beside its carries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from adjit.compiler.pullback import active_values, zeros
from adjit.ir.analysis import carries_of, invariants_of
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Node, Region, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.rewrite import inline

# What travels beside a value; in its place None where the value does not vary.
Moving: TypeAlias = tuple[Expr, ...]
Beside: TypeAlias = "tuple[Sequence[Value], Sequence[Moving | None]]"
# Runs a region on values, some of which move, and gives its outputs and what moves beside them.
Push: TypeAlias = "Callable[[Builder, Region, Sequence[Value], dict[int, Moving]], Beside]"
Rule: TypeAlias = "Callable[[Push, Builder, Node, Sequence[Value], Sequence[Moving | None]], Beside]"


def _cond(
    push: Push, builder: Builder, node: Node, operands: Sequence[Value], moving: Sequence[Moving | None]
) -> Beside:
    width = _width(moving)
    flags = [each is not None for each in moving[1:]]
    wanted = [False] * len(node.outputs)
    for branch in node.regions:
        varying = _varying(branch.nodes, (v for v, flag in zip(branch.inputs, flags, strict=True) if flag))
        wanted = [flag or value in varying for flag, value in zip(wanted, branch.outputs, strict=True)]
    regions = [
        _pushed_body(push, builder, branch, width, flags, wanted, lambda p, m: [*p, *m]) for branch in node.regions
    ]
    inputs = [*operands, *(x.value for each in moving[1:] if each is not None for x in each)]
    outputs = builder.emit(primitive_named("cond"), inputs, node.attributes, regions).outputs
    count = len(node.outputs)
    return outputs[:count], _spread(builder.exprs(outputs[count:]), width, wanted)


def _scan(
    push: Push, builder: Builder, node: Node, operands: Sequence[Value], moving: Sequence[Moving | None]
) -> Beside:
    width = _width(moving)
    first, carries = invariants_of(node), carries_of(node)
    second = first + carries
    body = node.regions[0]
    flags = _settled(body, [each is not None for each in moving], first, carries)
    varying = _varying(body.nodes, (v for v, flag in zip(body.inputs, flags, strict=True) if flag))
    wanted = [*flags[first:second], *(v in varying for v in body.outputs[carries:])]
    a = width * sum(flags[:first])
    b = a + width * sum(flags[first:second])

    def ordered(primals: Sequence[Any], beside: Sequence[Any]) -> list[Any]:
        return [*primals[:first], *beside[:a], *primals[first:second], *beside[a:b], *primals[second:], *beside[b:]]

    region = _pushed_body(push, builder, body, width, flags, wanted, ordered)
    count = len(body.outputs)
    moved = width * sum(wanted[:carries])
    region.outputs = (
        *region.outputs[:carries],
        *region.outputs[count : count + moved],
        *region.outputs[carries:count],
        *region.outputs[count + moved :],
    )
    attributes = {**node.attributes, "invariants": first + a, "carries": carries + b - a}
    given = ordered(operands, _filled(builder, operands, moving, flags, width))
    outputs = builder.emit(primitive_named("scan"), given, attributes, [region]).outputs
    rows = carries + moved
    results = [*outputs[:carries], *outputs[rows : rows + count - carries]]
    found = builder.exprs([*outputs[carries:rows], *outputs[rows + count - carries :]])
    return results, _spread(found, width, wanted)


def _while(
    push: Push, builder: Builder, node: Node, operands: Sequence[Value], moving: Sequence[Moving | None]
) -> Beside:
    width = _width(moving)
    first = invariants_of(node)
    condition, body = node.regions
    carries = len(body.outputs)
    flags = _settled(body, [each is not None for each in moving], first, carries)
    fixed = width * sum(flags[:first])

    def ordered(primals: Sequence[Any], beside: Sequence[Any]) -> list[Any]:
        return [*primals[:first], *beside[:fixed], *primals[first:], *beside[fixed:]]

    test = Region()
    inner = Builder(test, builder.location)
    values = [Value(v.type, v.name) for v in condition.inputs]
    beside = [Value(v.type) for v, flag in zip(condition.inputs, flags, strict=True) if flag for _ in range(width)]
    test.inputs = tuple(ordered(values, beside))
    test.outputs = inline(inner, condition, values)
    region = _pushed_body(push, builder, body, width, flags, flags[first:], ordered)
    attributes = {**node.attributes, "invariants": first + fixed}
    given = ordered(operands, _filled(builder, operands, moving, flags, width))
    outputs = builder.emit(primitive_named("while"), given, attributes, [test, region]).outputs
    return outputs[:carries], _spread(builder.exprs(outputs[carries:]), width, flags[first:])


BRANCHES_AND_LOOPS: dict[str, Rule] = {"cond": _cond, "scan": _scan, "while": _while}


# -- parts ------------------------------------------------------------------------------------------------------------
def _width(moving: Sequence[Moving | None]) -> int:
    return next(len(each) for each in moving if each is not None)


def _varying(nodes: Sequence[Node], inputs: Iterable[Value]) -> set[Value]:
    return active_values(nodes, list(inputs))


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


def _pushed_body(
    push: Push,
    builder: Builder,
    source: Region,
    width: int,
    flags: Sequence[bool],
    wanted: Sequence[bool],
    ordered: Callable[[Sequence[Any], Sequence[Any]], list[Any]],
) -> Region:
    """A region with what moves beside its inputs (those flagged) and outputs (those wanted, zeros where none arrives).

    `ordered(primals, moving)` puts the two lists together.
    """
    region = Region()
    inner = Builder(region, builder.location)
    values = [Value(v.type, v.name) for v in source.inputs]
    places = [place for place, flag in enumerate(flags) if flag]
    beside = {place: [Value(source.inputs[place].type) for _ in range(width)] for place in places}
    region.inputs = tuple(ordered(values, [value for place in places for value in beside[place]]))
    outputs, found = push(inner, source, values, {place: inner.exprs(beside[place]) for place in places})
    moving = [
        x.value
        for value, each, flag in zip(source.outputs, found, wanted, strict=True)
        if flag
        for x in each or (zeros(inner, value.type),) * width
    ]
    region.outputs = (*outputs, *moving)
    return region


def _filled(
    builder: Builder, operands: Sequence[Value], moving: Sequence[Moving | None], flags: Sequence[bool], width: int
) -> list[Value]:
    """What moves beside the flagged operands: zeros where nothing does."""
    return [
        x.value
        for operand, each, flag in zip(operands, moving, flags, strict=True)
        if flag
        for x in each or (zeros(builder, operand.type),) * width
    ]


def _spread(found: Sequence[Expr], width: int, wanted: Sequence[bool]) -> list[Moving | None]:
    starts = iter(range(0, len(found), width))
    return [tuple(found[(start := next(starts)) : start + width]) if flag else None for flag in wanted]
