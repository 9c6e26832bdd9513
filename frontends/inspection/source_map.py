"""`f.source_map(*args)`: from a Python line to nodes, kernels, LLVM and machine code, and back."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from adjit.compiler.build import LEVEL, emit_program
from adjit.compiler.llvm.debug_info import file_of
from adjit.compiler.llvm.listing import Instruction, listing
from adjit.inspection.snapshots import Kernels, merged_places, snapshots
from adjit.ir.analysis import callees, graphs_in
from adjit.ir.graph import Graph, Location, Node
from adjit.ir.printer import format_lines

_MARK = re.compile(r",? !dbg !(\d+)")
_DEFINITION = re.compile(r'define .*@"?([^\s"(]+)"?\(')
_OWNER = re.compile(r"(?:^|\.)(k\d+)(?=\.|$)")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of the user's program; `path` is the file's name where its path is not known."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path.replace(chr(92), '/').rpartition('/')[2]}:{self.line}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a stage's text.

    `places` are the user's lines that it comes from, the first one its own; `column`, `end_column` the expression there
    (0: unknown).  `origin` has a `∂` for each differentiation; `made` says which passes made it, and why.  `kernels`
    compute it; `address` is that of a machine instruction.  Where `exact` is False, the line table has no line for the
    instruction, and `places` has its kernel's.
    """

    number: int
    text: str
    places: tuple[Place, ...] = ()
    column: int = 0
    end_column: int = 0
    origin: str = ""
    made: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    address: int | None = None
    exact: bool = True


@dataclass(frozen=True, slots=True)
class StageText:
    """The text of `program` (forward, backward) after `stage`, line by line."""

    program: str
    stage: str
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        return "\n".join(row.text for row in self.rows)


@dataclass(frozen=True)
class SourceMap:
    """The texts of a compiled function's programs after each stage, every row with the user's lines it comes from.

    Stages are trace, legalize, simplify, fuse, lower, llvm and asm.  `sources` holds the user's files, as far as they
    are part of the program: by path, the text of each line by its number.
    """

    name: str
    texts: tuple[StageText, ...]
    sources: Mapping[str, Mapping[int, str]]

    def text(self, stage: str, program: str = "forward") -> StageText:
        """The rows of a stage.  Errors: KeyError for one that is not there."""
        for text in self.texts:
            if (text.program, text.stage) == (program, stage):
                return text
        raise KeyError(f"no stage {stage!r} of {program!r}; there are {', '.join(map(str, self.stages))}")

    @property
    def stages(self) -> tuple[tuple[str, str], ...]:
        """Program and name of each text."""
        return tuple((text.program, text.stage) for text in self.texts)

    @property
    def places(self) -> tuple[Place, ...]:
        """The user's lines, in order."""
        return tuple(Place(path, line) for path, lines in self.sources.items() for line in sorted(lines))

    def rows(self, line: int | Place, file: str | None = None) -> dict[tuple[str, str], tuple[Row, ...]]:
        """What a Python line became: by program and stage, its rows.  `file` is the end of a path."""
        found = {}
        for text in self.texts:
            rows = tuple(row for row in text.rows if any(_fits(place, line, file) for place in row.places))
            if rows:
                found[text.program, text.stage] = rows
        return found

    def lines(self, stage: str, number: int, program: str = "forward") -> tuple[Place, ...]:
        """The Python lines that line `number` of a stage's text comes from."""
        return self.text(stage, program).rows[number - 1].places

    def at_address(self, address: int, program: str = "forward") -> Row:
        """The machine instruction at an address, counted from the start of the program's code."""
        for row in self.text("asm", program).rows:
            if row.address == address:
                return row
        raise KeyError(f"no instruction begins at {address:#x}")

    def coverage(self, program: str = "forward", *, exact: bool = False) -> float:
        """The fraction of the kernels' instructions that have a Python line; of their own, if `exact`."""
        rows = [row for row in self.text("asm", program).rows if row.kernels and row.address is not None]
        return sum(1 for row in rows if row.places and (row.exact or not exact)) / max(1, len(rows))

    def as_dict(self) -> dict[str, Any]:
        """The map in plain lists and dictionaries, as JSON takes them."""
        sources = {path: {str(n): line for n, line in lines.items()} for path, lines in self.sources.items()}
        return {
            "name": self.name,
            "sources": sources,
            "texts": [asdict(text) for text in self.texts],
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        from adjit.ir.notebook import text_html

        return text_html(str(self))

    def _lines(self) -> Iterator[str]:
        """Each Python line, and under it what it became."""
        yield f"@{self.name}"
        for place in self.places:
            yield f"{place}    {self.sources[place.path][place.line]}"
            for (program, stage), rows in self.rows(place).items():
                yield f"  {program} {stage}: {_summary(stage, rows)}"


def _summary(stage: str, rows: tuple[Row, ...]) -> str:
    if stage == "asm":
        code = [row for row in rows if row.address is not None]
        spans = ", ".join(f"{first:#x}..{last:#x}" for first, last in _runs(code)[:3])
        return f"{len(code)} instructions in {_names(rows)}{', at ' + spans if spans else ''}"
    if stage == "llvm":
        return f"{len(rows)} lines in {_names(rows)}, from line {rows[0].number}"
    shown = "; ".join(row.text.partition("  #")[0].partition("{")[0].partition(" :")[0].strip() for row in rows[:3])
    more = f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
    kernels = _names(rows)
    return f"{shown}{more}{'  -> ' + kernels if kernels else ''}"


def _names(rows: Iterable[Row]) -> str:
    return ", ".join(dict.fromkeys(name for row in rows for name in row.kernels))


def _runs(rows: list[Row]) -> list[tuple[int, int]]:
    """First and last address of each run of rows that follow each other."""
    runs: list[tuple[int, int]] = []
    before = -2
    for row in rows:
        assert row.address is not None
        if row.number == before + 1:
            runs[-1] = (runs[-1][0], row.address)
        else:
            runs.append((row.address, row.address))
        before = row.number
    return runs


def _fits(place: Place, line: int | Place, file: str | None) -> bool:
    if isinstance(line, Place):
        return place == line
    return place.line == line and (file is None or place.path.endswith(file))


# -- making ------------------------------------------------------------------------------------------------------------
def source_map(
    name: str, programs: Mapping[str, Graph], *, strict: bool = False, threads: int | None = None
) -> SourceMap:
    """The map of some programs, by name; they are compiled once more, with debug information."""
    texts: list[StageText] = []
    for program, graph in programs.items():
        texts.extend(_texts(program, graph, strict, threads))
    places = sorted({place for text in texts for row in text.rows for place in row.places})
    sources: dict[str, dict[int, str]] = {}
    for place in places:
        line = linecache.getline(place.path, place.line).rstrip()
        sources.setdefault(place.path, {})[place.line] = line
    return SourceMap(name, tuple(texts), sources)


def _texts(program: str, graph: Graph, strict: bool, threads: int | None) -> Iterator[StageText]:
    shots = snapshots(graph, strict=strict)
    kernels = Kernels(shots)
    merged = merged_places(shots)
    for shot in shots:
        bodies, others = _of_bodies(shot.graph), merged[shot.name]
        lines = enumerate(format_lines(shot.graph), 1)
        rows = tuple(
            _node_row(number, text, shot.name, node, kernels, bodies, others) for number, (text, node) in lines
        )
        yield StageText(program, shot.name, rows)
    emitted = emit_program(shots[-1].graph, strict=strict, threads=threads, debug=True)
    assert emitted.debug is not None
    homes = {name: _place(node.location) for name, node in kernels.nodes.items()}
    text = emitted.text.removesuffix(str(emitted.debug))
    yield StageText(program, "llvm", tuple(_llvm_rows(text, emitted.debug.places)))
    found = listing(emitted.text, LEVEL)
    at = {instruction.number: instruction for instruction in found.instructions}
    known = {(file_of(each), each.line, each.column): each for each in emitted.debug.places.values()}
    yield StageText(program, "asm", tuple(_machine_rows(found.lines, at, known, homes)))


def _of_bodies(graph: Graph) -> dict[Node, tuple[Place, ...]]:
    """The places of nodes in bodies of calls, which have none of their own: those of all calls."""
    callers: dict[Graph, dict[Place, None]] = {graph: {}}
    for each in (graph, *reversed(callees(graph))):
        for node in each.walk():
            for callee in graphs_in(node.attributes.values()):
                own = [_place(node.location)] if node.location.line else callers.get(each, {})
                callers.setdefault(callee, {}).update(dict.fromkeys(own))
    return {node: tuple(places) for each, places in callers.items() if each is not graph for node in each.walk()}


def _node_row(
    number: int,
    text: str,
    stage: str,
    node: Node | None,
    kernels: Kernels,
    bodies: Mapping[Node, tuple[Place, ...]],
    others: Mapping[Node, set[Location]],
) -> Row:
    if node is None:
        return Row(number, text)
    if node in bodies and not node.location.line:
        return Row(number, text, bodies[node])
    inside = [node, *(each for region in node.regions for each in region.walk() if each.op.name != "const")]
    locations = [each.location for each in inside]
    locations += [location for each in inside for location in sorted(others.get(each, ()), key=_place)]
    places = dict.fromkeys(_place(location) for location in locations if location.line)
    location = node.location
    made = tuple(str(step) for step in location.steps)
    return Row(
        number, text, tuple(places), location.column, location.end_column, location.origin, made,
        kernels.of(stage, node),
    )  # fmt: skip


def _llvm_rows(text: str, places: Mapping[int, Location]) -> Iterator[Row]:
    """The LLVM text; each instruction with its place, whose mark is taken off its end."""
    owner: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if definition := _DEFINITION.match(line):
            owner = _owner(definition[1])
        mark = _MARK.search(line)
        location = None if mark is None or line.startswith("define") else places.get(int(mark[1]))
        bare = _MARK.sub("", line)
        if location is None or not location.line:
            yield Row(number, bare, kernels=owner if line.startswith(" ") or definition else ())
        else:
            yield Row(
                number, bare, (_place(location),), location.column, location.end_column, location.origin, (), owner
            )
        if line == "}":
            owner = ()


def _machine_rows(
    lines: tuple[str, ...],
    at: Mapping[int, Instruction],
    known: Mapping[tuple[str, int, int], Location],
    homes: Mapping[str, Place],
) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        instruction = at.get(number)
        if instruction is None:
            yield Row(number, line, kernels=_owner(line.rstrip(":")))
            continue
        owner = _owner(instruction.function)
        if not instruction.line:
            places = tuple(homes[name] for name in owner if homes[name].line)
            yield Row(number, line, places, kernels=owner, address=instruction.address, exact=False)
            continue
        location = known.get((instruction.path, instruction.line, instruction.column))
        end = 0 if location is None else location.end_column
        place = Place(instruction.path, instruction.line) if location is None else _place(location)
        yield Row(
            number, line, (place,), instruction.column, end, "", (), owner, instruction.address,
        )  # fmt: skip


def _owner(function: str) -> tuple[str, ...]:
    """The kernel whose code a function is."""
    found = _OWNER.findall(function)
    return (found[-1],) if found else ()


def _place(location: Location) -> Place:
    return Place(location.path or location.file, location.line)
