"""`inspect`, `explain` and `profile`: what a function became, why, and how long it takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from adjit.command.calls import arguments_of
from adjit.command.failure import OK, UsageError
from adjit.command.programs import program_in
from adjit.command.target import find
from adjit.command.terminal import paint, paint_program
from adjit.inspection.explaining import profile as measured
from adjit.inspection.facts import Explanation, Profile
from adjit.inspection.printing import size_text
from adjit.inspection.stages import Stages, stages_of
from adjit.ir.graph import Graph
from adjit.page.making import Page

_MORE = "other stages: --stage simplify, fuse, lower, llvm, asm, all; --changes; --grad; --html FILE"


def inspect(
    name: str,
    given: Sequence[str],
    seed: int,
    *,
    stage: str,
    html: str | None,
    grad: bool,
    wrt: str,
    changes: bool,
    as_json: bool,
) -> int:
    """Print a function's program after a stage, or its backward program's; or write the page of all."""
    make: Callable[[], Page]
    if name.endswith(".adjit"):
        program = program_in(name)
        graph, make, strict = program.graph, program.html, program.strict
    else:
        target = find(name)
        args, kwargs = arguments_of(target, given, seed)
        graph, strict = target.compiled.graph(*args, **kwargs), target.compiled.strict
        make = partial(target.compiled.html, *args, **kwargs)
    if html:
        page = make()
        print(f"{page.save(html)}: {size_text(len(str(page).encode()))}")
        return OK
    if grad:
        graph = _backward(graph, wrt)
    if stage == "trace" and not changes and not as_json:
        print(paint_program(str(graph)))
    else:
        _print_stages(name, graph, stages_of(graph, strict=strict), stage, changes, as_json)
    if sys.stdout.isatty():
        print(paint(_MORE, "faint"))
    return OK


def _print_stages(name: str, graph: Graph, stages: Stages, stage: str, changes: bool, as_json: bool) -> None:
    if stage != "all" and stage not in stages:
        raise UsageError(f"no stage {stage!r}; there are {', '.join(stages)}, all")
    if as_json:
        made = {each: [asdict(change) for change in found] for each, found in stages.changes.items()}
        print(json.dumps({"function": name, **_facts(graph), "stages": dict(stages), "changes": made}, indent=1))
        return
    texts = {each: stages.difference(each) for each in stages.changes} if changes else dict(stages)
    if stage in texts:
        print(paint_program(texts[stage]))
        return
    for each, text in texts.items():
        print(paint(f"# {each}", "title"), paint_program(text), sep="\n", end="\n\n")


def _backward(graph: Graph, wrt: str) -> Graph:
    """The backward program, with respect to the inputs named in `wrt`, or all floating ones."""
    from adjit.compiler.differentiate import differentiate

    names = [name.strip() for name in wrt.split(",")] if wrt else []
    inputs = [value.name for value in graph.inputs]
    unknown = [name for name in names if name not in inputs]
    if unknown:
        raise UsageError(f"--wrt {', '.join(unknown)}: no such input; there are {', '.join(map(str, inputs))}")
    return differentiate(graph, [inputs.index(name) for name in names] or None).backward


def _facts(graph: Graph) -> dict[str, Any]:
    return {
        "inputs": [{"name": value.name, "type": str(value.type)} for value in graph.inputs],
        "outputs": [str(value.type) for value in graph.outputs],
        "operations": sum(1 for node in graph.walk() if node.op.name != "const"),
    }


def explain(name: str, given: Sequence[str], seed: int, *, as_json: bool) -> int:
    """Print why a function's programs were made, and what the compiler did with them."""
    target = find(name)
    args, kwargs = arguments_of(target, given, seed)
    _print_facts(target.compiled.explain(*args, **kwargs), as_json)
    return OK


def profile(name: str, given: Sequence[str], seed: int, *, calls: int, as_json: bool) -> int:
    """Print how long a function's call takes, kernel by kernel and line by line."""
    target = find(name)
    args, kwargs = arguments_of(target, given, seed)
    call, entry = target.compiled.served(tuple(args), kwargs)
    _print_facts(measured(target.compiled, entry, call, calls), as_json)
    return OK


def _print_facts(found: Explanation | Profile, as_json: bool) -> None:
    print(json.dumps(asdict(found), indent=1) if as_json else found)
