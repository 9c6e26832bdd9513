"""`inspect`, `explain` and `profile`: what a function became, why, and how long it takes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from adjit.command.calls import arguments_of
from adjit.command.failure import OK, UsageError
from adjit.command.storage import size_text
from adjit.command.target import Target, find
from adjit.command.terminal import columns, paint, paint_program
from adjit.ir.graph import Graph
from adjit.program import Program


def inspect(
    name: str,
    given: Sequence[str],
    seed: int,
    *,
    stage: str,
    html: str | None,
    grad: bool,
    wrt: str,
    as_json: bool,
) -> int:
    """Print a function's program after a stage, or its backward program's; or write the page of all."""
    target = find(name)
    args, kwargs = arguments_of(target, given, seed)
    if html:
        page = target.compiled.html(*args, **kwargs)
        print(f"{page.save(html)}: {size_text(len(str(page).encode()))}")
        return OK
    graph = target.compiled.graph(*args, **kwargs)
    if grad:
        graph = _backward(target, graph, wrt, args, kwargs)
    texts = {"trace": str(graph)}
    if as_json or stage != "trace":
        texts = Program(graph, strict=target.compiled.strict).stages()
    if as_json:
        print(json.dumps({"function": target.name, **_facts(graph), "stages": texts}, indent=1))
        return OK
    if stage != "all" and stage not in texts:
        raise UsageError(f"no stage {stage!r}; there are {', '.join(texts)}, all")
    if stage != "all":
        print(paint_program(texts[stage]))
    else:
        for each, text in texts.items():
            print(paint(f"# {each}", "title"), paint_program(text), sep="\n", end="\n\n")
    if sys.stdout.isatty():
        print(paint("other stages: --stage simplify, fuse, lower, llvm, asm, all; --grad; --html FILE", "faint"))
    return OK


def _backward(target: Target, graph: Graph, wrt: str, args: list[Any], kwargs: dict[str, Any]) -> Graph:
    names = [name.strip() for name in wrt.split(",")] if wrt else None
    inputs = [value.name for value in graph.inputs]
    unknown = [name for name in names or () if name not in inputs]
    if unknown:
        raise UsageError(f"--wrt {', '.join(unknown)}: no such input; there are {', '.join(map(str, inputs))}")
    return target.compiled.backward_graph(*args, wrt=names, **kwargs)


def _facts(graph: Graph) -> dict[str, Any]:
    return {
        "inputs": [{"name": value.name, "type": str(value.type)} for value in graph.inputs],
        "outputs": [str(value.type) for value in graph.outputs],
        "operations": sum(1 for _ in graph.walk()),
    }


def explain(name: str, given: Sequence[str], seed: int) -> int:
    """Print why a function's programs were made, and what the compiler did with them."""
    target = find(name)
    args, kwargs = arguments_of(target, given, seed)
    target.compiled(*args, **kwargs)
    print(target.compiled.explain())
    return OK


def profile(name: str, given: Sequence[str], seed: int, *, calls: int, as_json: bool) -> int:
    """Print how long a function's first call and its warm calls take."""
    target = find(name)
    args, kwargs = arguments_of(target, given, seed)
    start = time.perf_counter()
    graph = target.compiled.graph(*args, **kwargs)
    traced = time.perf_counter() - start
    start = time.perf_counter()
    target.compiled(*args, **kwargs)
    first = time.perf_counter() - start
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        target.compiled(*args, **kwargs)
        times.append(time.perf_counter() - start)
    times.sort()
    found = {"trace": traced, "first call": first, "fastest call": times[0], "median call": times[len(times) // 2]}
    if as_json:
        print(json.dumps({"function": target.name, **_facts(graph), "calls": calls, "seconds": found}, indent=1))
        return OK
    print(f"{paint(target.name, 'title')}: {calls} calls after the first")
    print(columns([(what, seconds_text(value)) for what, value in found.items()]))
    return OK


def seconds_text(seconds: float) -> str:
    """A time with three digits and its unit.

    >>> seconds_text(0.00123)
    '1.23 ms'
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
