"""The texts of a page: the user's source, the program after each stage, LLVM and assembly, each line with its links."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adjit.ir.graph import Graph, Location, Node
from adjit.ir.printer import format_lines
from adjit.page.links import Links, runs

# A file with more lines than this is shown from a little before the first line that matters to a little after the last.
MOST_SOURCE_LINES = 2000
AROUND = 60

_FUNCTION = {
    "llvm": re.compile(r'define [^@]*@"?(?P<name>[\w.$-]+)'),
    "asm": re.compile(r"(?P<name>[A-Za-z_][\w.$]*):"),
}
_KERNEL = re.compile(r"k(\d+)(?:\.|$)")


@dataclass(frozen=True, slots=True)
class Document:
    """A text in a pane (source, program or machine), with the number of the set that each line links to.

    `counted`: the page says how many lines of this text come from a line.
    """

    pane: str
    title: str
    language: str
    lines: list[str]
    sets: list[int]
    group: str = ""
    first: int = 1
    file: int = -1
    counted: bool = False
    times: dict[int, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """What the page's scripts read."""
        found: dict[str, Any] = {
            "pane": self.pane, "title": self.title, "language": self.language, "group": self.group, "first": self.first,
            "file": self.file, "counted": self.counted, "text": "\n".join(self.lines), "runs": runs(self.sets),
        }  # fmt: skip
        if self.times:
            found.update(times=self.times, total=sum(self.times.values()))
        return found


def program(stage: str, graph: Graph, links: Links, group: str) -> Document:
    """The text of a program after a stage; a node with regions links to all that is in it."""
    printed = list(format_lines(graph))
    sets = [links.set_of(_locations(node)) for _, node in printed]
    return Document("program", stage, "program", [line for line, _ in printed], sets, group, counted=stage in _COUNTED)


_COUNTED = ("trace", "lower")


def _locations(node: Node | None) -> Iterator[Location]:
    if node is not None:
        yield node.location
        for region in node.regions:
            yield from (inner.location for inner in region.walk())


def machine(title: str, language: str, text: str, lowered: Graph, links: Links, group: str) -> Document:
    """LLVM or assembly: the functions of a kernel link to all that the kernel computes."""
    kernels = [node for node in lowered.walk() if node.op.name == "kernel"]
    kernel_sets = [links.set_of(_locations(node)) for node in kernels]
    lines, sets, current = text.split("\n"), [], 0
    for line in lines:
        match = _FUNCTION[language].match(line)
        if match is not None:
            kernel = _KERNEL.match(match["name"])
            current = kernel_sets[int(kernel[1])] if kernel and int(kernel[1]) < len(kernel_sets) else 0
        sets.append(current)
        if language == "llvm" and line == "}":
            current = 0
    return Document("machine", title, language, lines, sets, group, counted=True)


def sources(links: Links, times: dict[tuple[str, int], float] | None = None) -> list[Document]:
    """The files that the program comes from, those with most of it first."""
    found = []
    for path, file in links.files.items():
        linked = links.lines_of(file)
        lines = [line.rstrip("\n") for line in linecache.getlines(path)] or _remembered(linked)
        first, stop = 1, len(lines)
        if len(lines) > MOST_SOURCE_LINES:
            first, stop = max(1, min(linked) - AROUND), min(stop, max(linked) + AROUND)
        sets = [linked.get(line, 0) for line in range(first, stop + 1)]
        own = {line: seconds for (name, line), seconds in (times or {}).items() if name == path}
        shown = Document("source", links.names[file], "python", lines[first - 1 : stop], sets, first=first, file=file)
        found.append(replace(shown, times=own or None))
    return sorted(found, key=lambda document: -len(set(document.sets)))


def _remembered(linked: Sequence[int] | dict[int, int]) -> list[str]:
    """Blank lines up to the last that is linked: a program whose source cannot be read still has its numbers."""
    return [""] * max(linked, default=0)
