"""Pulling cotangents back through a region of a control op, and lists of cotangents with gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from adjit.compiler.keep import keeping
from adjit.compiler.pullback import pull_back_since, zeros
from adjit.ir.builder import Builder, Expr
from adjit.ir.dead_code import carries_behind
from adjit.ir.graph import Graph, Region, Value
from adjit.ir.rewrite import inline


def pull_back_region(
    builder: Builder, region: Region, arguments: Sequence[Value], cotangents: Sequence[Expr | None]
) -> list[Expr | None]:
    """Run `region` on `arguments` in `builder`, and pull the cotangents of its outputs back to the arguments."""
    start = len(builder.region.nodes)
    region = keeping(Graph("region", region.inputs, region.nodes, region.outputs), region.inputs)
    results = run_again(builder, region, arguments)
    return pull_back_since(builder, start, results, cotangents, arguments)


def run_again(builder: Builder, region: Region, arguments: Sequence[Value]) -> tuple[Value, ...]:
    """The results of a forward region on `arguments`; its copied lines say that they are run again."""
    start, location = len(builder.region.nodes), builder.location
    builder.location = replace(location, origin=location.origin.removeprefix("∂"))
    results = inline(builder, region, arguments)
    builder.location = location
    for node in Region(nodes=builder.region.nodes[start:]).walk():
        node.location = node.location.again()
    return results


def filled(
    builder: Builder,
    values: Sequence[Value],
    arriving: Sequence[Expr | None],
    wanted: Sequence[bool] | None = None,
) -> list[Expr | None]:
    """The cotangents, with zeros for wanted values (by default all floating ones) that none reached."""
    flags = floating(values) if wanted is None else wanted
    return [
        zeros(builder, value.type) if cotangent is None and flag else cotangent
        for value, cotangent, flag in zip(values, arriving, flags, strict=True)
    ]


def flowing(body: Region, first: int, carries: Sequence[Value], arriving: Sequence[Expr | None]) -> list[bool]:
    """Through which carries of a loop cotangents come: floating ones that a result with a cotangent depends on."""
    behind = carries_behind(body, first, len(carries), [cotangent is not None for cotangent in arriving])
    return [each and flag for each, flag in zip(behind, floating(carries), strict=True)]


def dealt(items: Iterable[Expr], wanted: Sequence[bool]) -> list[Expr | None]:
    """`items` in turn where they are wanted, None elsewhere."""
    rest = iter(items)
    return [next(rest) if flag else None for flag in wanted]


def floating(values: Sequence[Value]) -> list[bool]:
    """Which values can have a cotangent."""
    return [value.dtype.is_continuous for value in values]


def added(totals: Sequence[Expr | None], found: Sequence[Expr | None]) -> list[Value]:
    """Each total that there is, with what one step adds to it."""
    pairs = [(total, c) for total, c in zip(totals, found, strict=True) if total is not None]
    return [(total if c is None else total + c).value for total, c in pairs]


def or_zeros(
    builder: Builder, values: Sequence[Value], found: Sequence[Expr | None], wanted: Sequence[bool]
) -> list[Value]:
    """The cotangents of the wanted values, zeros where nothing reached one."""
    return [
        (zeros(builder, v.type) if c is None else c).value
        for v, c, flag in zip(values, found, wanted, strict=True)
        if flag
    ]
