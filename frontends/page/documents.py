"""The texts of a page, each line with its links: the user's source, the programs after each stage, LLVM, assembly."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adjit.inspection.source_map import Row, SourceMap
from adjit.page.links import Links, Spot, runs

# A file with more lines than this is shown from a little before the first line that matters to a little after the last.
MOST_SOURCE_LINES = 2000
AROUND = 60

_MACHINE = {"llvm": "LLVM", "asm": "assembly"}
# The texts in which the page counts what a line became.
_COUNTED = ("trace", "lower", "llvm", "asm")


@dataclass(frozen=True, slots=True)
class Document:
    """A text in a pane (source, program or machine), with the number of the set that each line links to.

    `group` names the program where there are two, `first` is the number of the first line.
    """

    pane: str
    title: str
    language: str
    lines: list[str]
    sets: list[int]
    group: str = ""
    first: int = 1
    path: str = ""
    counted: bool = False
    times: Mapping[int, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """What the page's scripts read."""
        found: dict[str, Any] = {
            "pane": self.pane, "title": self.title, "language": self.language, "group": self.group, "first": self.first,
            "counted": self.counted, "text": "\n".join(self.lines), "runs": runs(self.sets),
        }  # fmt: skip
        if self.times:
            found.update(times=self.times, total=sum(self.times.values()))
        return found


def stage_texts(
    found: SourceMap, links: Links, kernel_sets: dict[tuple[str, str], int], seconds: Mapping[tuple[str, str], float]
) -> Iterator[Document]:
    """Every stage of every program of a source map.

    `kernel_sets` gets the set of each kernel, by program and name; `seconds` are their times.
    """
    several = len({text.program for text in found.texts}) > 1
    for text in found.texts:
        backward = _directions(found, text.program)
        sets = [links.set_of(_places(row, links, backward(row)), row.kernels) for row in text.rows]
        times: dict[int, float] = {}
        if text.stage == "lower":
            for row, number in zip(text.rows, sets, strict=True):
                for name in row.kernels:  # the line of the kernel itself comes first
                    if (text.program, name) not in kernel_sets:
                        kernel_sets[text.program, name] = number
                        if (text.program, name) in seconds:
                            times[row.number] = seconds[text.program, name]
        pane = "machine" if text.stage in _MACHINE else "program"
        yield Document(
            pane,
            _MACHINE.get(text.stage, text.stage),
            text.stage if pane == "machine" else "program",
            [row.text for row in text.rows],
            sets,
            text.program if several else "",
            counted=text.stage in _COUNTED,
            times=times,
        )


def _places(row: Row, links: Links, backward: bool) -> Iterator[int]:
    """A row's own expression, then the other lines that it comes from."""
    for index, place in enumerate(row.places):
        columns = (row.column, row.end_column) if index == 0 else (0, 0)
        yield links.place(
            Spot(place.path, place.line, *columns), backward, row.made[-1] if row.made and index == 0 else ""
        )


def _directions(found: SourceMap, program: str) -> Callable[[Row], bool]:
    """Whether a row belongs to the backward pass.

    A machine instruction, whose row does not say so, does where the LLVM of its place does, or else its kernel.
    """
    instructions = {
        (row.kernels, row.places, row.column): row.origin for row in found.text("llvm", program).rows if row.places
    }
    kernels: dict[tuple[str, ...], str] = {}
    for row in found.text("lower", program).rows:
        kernels.setdefault(row.kernels, row.origin)

    def backward(row: Row) -> bool:
        if row.address is None:
            return "∂" in row.origin
        return "∂" in instructions.get((row.kernels, row.places, row.column), kernels.get(row.kernels, ""))

    return backward


def sources(links: Links, seconds: Mapping[tuple[str, int], float]) -> list[Document]:
    """The files that the program comes from, those with most of it first; `seconds` of lines, by path and number."""
    found = []
    for path in list(links.files):
        linked = links.sets_by_line(path)
        lines = [line.rstrip("\n") for line in linecache.getlines(path)]
        if not lines:  # the source cannot be read: its lines still have numbers
            lines = [""] * max(linked)
        first, stop = 1, len(lines)
        if len(lines) > MOST_SOURCE_LINES:
            first, stop = max(1, min(linked) - AROUND), min(stop, max(linked) + AROUND)
        sets = [linked.get(line, 0) for line in range(first, stop + 1)]
        own = {line: time for (file, line), time in seconds.items() if file == path}
        title = path.replace("\\", "/").rpartition("/")[2]
        found.append(
            Document("source", title, "python", lines[first - 1 : stop], sets, first=first, path=path, times=own)
        )
    return sorted(found, key=lambda document: -len(set(document.sets)))
