"""Quick code for a program's first calls, the best later on: LLVM's cost is paid where it buys speed.

LLVM spends most of its time on selecting and scheduling instructions and on registers.  Without these it makes code in
a fifth of the time, two to four times slower.  The inner loops of products are those of small tiles, of which one well
made function serves all: half as fast as the best, and LLVM has a tenth of the lines.  The bits of results are the
same.  A program that is called once never pays for the rest; the second call begins to make the best code, and calls go
on with the quick one until it is there.  Eager mode makes many programs, most of which are small: each waits until its
calls have lost as much time by quick code as the best takes to make.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from adjit.compiler.cost import Cost, cost_of, runs_of
from adjit.compiler.fuse_cost import TYPICAL
from adjit.compiler.llvm.jit import object_of, quick_object_of
from adjit.compiler.llvm.target import Target
from adjit.compiler.llvm.text import Module
from adjit.compiler.load import MAIN, load_library, load_program
from adjit.ir.graph import Graph
from adjit.runtime.executable import Executable, Layout

# Told of the code that a program has: its layout, its object's key in the disk cache, and, of quick code, how many
# calls lose what the best takes to make; 0 for the best.
Made: TypeAlias = "Callable[[Layout, bytes, int], None]"

# Of shorter programs the best code is made at once.
_LEAST_LINES = 250
# Those that quick code lacks, about, for each function that it has in a form of its own.
_LINES_LESS = 400
# Seconds, about: what quick code saves of LLVM's time on a line, and what it loses on an operation and on a byte.
_SAVED = 33e-6
_LOST_BY_OPERATION, _LOST_BY_BYTE = 2e-11, 5e-11
# And what a line of the best code takes to make, and loses in quick code by itself.
_MADE_BY_LINE, _LOST_BY_LINE = 45e-6, 1e-9
# Operations from which on other inner loops that are marked as hot, some ten times slower, cost more time than LLVM.
_LEAST_HOT = 3_000_000_000


def quick_or_best(
    lowered: Graph,
    module: Module,
    layout: Layout,
    target: Target | None,
    level: int,
    made: Made,
    wanted: bool,
    patient: bool,
) -> Executable:
    """The executable of a program's LLVM text, with quick code if that is `wanted` and pays for a first call; if it is
    `patient`, until the best does.
    """
    work = _work(lowered) if wanted else None
    quick = None
    if work is not None:
        text = module.text(quick=True)
        lines = text.count("\n") + module.waiting * _LINES_LESS
        if _pays(work, lines):
            quick = quick_object_of(text, target, hot=work.flops >= _LEAST_HOT)
            lost = _lost(work) + lines * _LOST_BY_LINE
            after = 2 + int(lines * _MADE_BY_LINE / lost)
    if quick is None:
        key, code = object_of(str(module), target, level)
        made(layout, key, 0)
        return load_program(lowered, code, key, layout)

    def better() -> tuple[object, int]:
        key, code = object_of(str(module), target, level)
        library = load_library(code, key, layout)
        made(layout, key, 0)
        return library, library.address(MAIN)

    key, code = quick
    made(layout, key, after)
    return load_program(lowered, code, key, layout, better=better, after=after if patient else 1)


def _pays(work: Cost, lines: int) -> bool:
    """Whether quick code saves more of LLVM's time than the first call loses."""
    return lines >= _LEAST_LINES and _lost(work) < lines * _SAVED


def _lost(work: Cost) -> float:
    """Seconds that a call loses by quick code."""
    return work.flops * _LOST_BY_OPERATION + work.bytes * _LOST_BY_BYTE


def _work(lowered: Graph) -> Cost | None:
    """What a call computes and moves, about; None with a loop of unknown length."""
    if any(node.op.name == "while" for node in lowered.walk()):
        return None
    sizes = dict.fromkeys(lowered.size_names, TYPICAL)
    runs = [(cost_of(kernel, sizes), times) for kernel, times in runs_of(lowered, sizes).items()]
    return Cost(sum(cost.flops * times for cost, times in runs), sum(cost.bytes * times for cost, times in runs))
