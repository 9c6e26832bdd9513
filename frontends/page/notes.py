"""Texts that say why: what each stage did to each operation, and what is known of kernels, memory and time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from adjit.inspection.facts import Explanation
from adjit.inspection.printing import explanation_lines
from adjit.inspection.snapshots import snapshots
from adjit.inspection.stages import differences
from adjit.ir.graph import Graph
from adjit.page.documents import Document
from adjit.page.links import Links, Spot

_PLACE = re.compile(r"(∂*) ?(.+):(\d+)$")
_KERNEL = re.compile(r"  (k\d+): ")


def changes(graph: Graph, links: Links, group: str, strict: bool) -> Document:
    """What each stage removed, merged, replaced, added, grouped and lowered; a change links to its line."""
    paths = {path.replace("\\", "/").rpartition("/")[2]: path for path in links.files}
    lines: list[str] = []
    sets: list[int] = []
    for stage, made in differences(snapshots(graph, strict=strict)).items():
        lines += ["", f"{stage}: {len(made)} changes"] if lines else [f"{stage}: {len(made)} changes"]
        sets += [0] * (len(lines) - len(sets))
        for change in made:
            lines.append(f"  {change}")
            sets.append(links.set_of(_place(change.place, paths, links)))
    return Document("program", "changes", "program", lines, sets, group)


def _place(text: str, paths: Mapping[str, str], links: Links) -> Iterator[int]:
    """The place of `∂ train.py:12`."""
    match = _PLACE.match(text)
    if match is not None and match[2] in paths:
        yield links.place(Spot(paths[match[2]], int(match[3])), bool(match[1]))


def explanation(
    found: Explanation, program: str, kernel_sets: Mapping[tuple[str, str], int], group: str
) -> Document | None:
    """What is known of a program: cache, kernels, reasons, memory, bounds, times; None if nothing is."""
    own = tuple(facts for facts in found.programs if facts.name == program)
    if not own:
        return None
    lines = list(explanation_lines(replace(found, programs=own)))
    sets, current = [], 0
    for line in lines:
        if match := _KERNEL.match(line):
            current = kernel_sets.get((program, match[1]), 0)
        elif not line.startswith("    "):
            current = 0
        sets.append(current)
    return Document("program", "explain", "program", lines, sets, group)
