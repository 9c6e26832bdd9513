"""The HTML file of a function."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adjit.inspection.facts import Explanation, KernelFacts
from adjit.inspection.source_map import source_map
from adjit.ir.drawing import Picture, picture, to_svg
from adjit.ir.errors import DifferentiationError
from adjit.ir.graph import Graph
from adjit.page.documents import Document, sources, stage_texts
from adjit.page.links import Links
from adjit.page.notes import changes, explanation

if TYPE_CHECKING:
    from adjit.call import Call
    from adjit.entry import Entry
    from adjit.jit import CompiledFunction

TIMED_CALLS = 10
SCRIPTS = ("links.js", "colours.js", "texts.js", "graph.js", "page.js")


class Page:
    """An HTML file as text; a notebook shows it in a frame."""

    def __init__(self, text: str) -> None:
        self.text = text

    def save(self, path: str | Path) -> Path:
        """Write the file; its path."""
        target = Path(path)
        target.write_text(self.text, encoding="utf-8")
        return target

    def _repr_html_(self) -> str:
        return f'<iframe style="width:100%;height:760px;border:1px solid #8888" srcdoc="{escape(self.text)}"></iframe>'

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Page of {len(self.text)} characters: .save(path) writes it>"


def page_of(compiled: CompiledFunction, entry: Entry, call: Call) -> Page:
    """The page of the programs that serve a call; their times are measured if they have not been."""
    from adjit.inspection import explaining
    from adjit.running import programs_of

    if not entry.profile:
        explaining.profile(compiled, entry, call, TIMED_CALLS)
    explained = explaining.explain(compiled, entry, call)
    programs = programs_of(entry, call)
    return make_page(entry.graph, programs, strict=compiled.strict, threads=compiled.threads, explained=explained)


def make_page(
    graph: Graph,
    programs: Mapping[str, Graph] | None = None,
    *,
    strict: bool = False,
    threads: int | None = None,
    explained: Explanation | None = None,
) -> Page:
    """The page of a traced program.

    `programs` are those that run for it (default: itself); a derivative that does not run is shown all the same.
    `explained` says what is known of kernels, and the times where they were measured.
    """
    drawn, shown = _with_derivative(graph, programs or {"forward": graph})
    explained = explained or Explanation(graph.name, ())
    kernels = {(program.name, kernel.name): kernel for program in explained.programs for kernel in program.kernels}
    seconds = {key: kernel.seconds for key, kernel in kernels.items() if kernel.seconds is not None}
    links, kernel_sets = Links(), dict[tuple[str, str], int]()
    texts = list(
        stage_texts(source_map(graph.name, shown, strict=strict, threads=threads), links, kernel_sets, seconds)
    )
    for name, program in shown.items():
        group = name if len(shown) > 1 else ""
        texts.append(changes(program, links, group, strict))
        texts += filter(None, [explanation(explained, name, kernel_sets, group)])
    svg = to_svg(drawn, lambda box: {"data-set": str(links.set_at(node.location for node in box.nodes))})
    files = sources(links, {(line.path, line.line): line.seconds for line in explained.lines})
    return Page(_filled(graph, [*files, *texts], links, svg, kernels))


def _with_derivative(graph: Graph, programs: Mapping[str, Graph]) -> tuple[Picture, Mapping[str, Graph]]:
    """The drawing, and the programs to show."""
    from adjit.compiler.differentiate import differentiate

    if "backward" in programs:
        saved = programs["forward"].outputs[len(graph.outputs) :]
        return picture(programs["forward"], programs["backward"], saved), programs
    if any("∂" in node.location.origin for node in graph.walk()):
        return picture(graph), programs
    try:
        derivative = differentiate(graph)
    except DifferentiationError:
        return picture(graph), programs
    if not derivative.reached:
        return picture(graph), programs
    drawn = picture(derivative.forward, derivative.backward, derivative.residuals)
    return drawn, {**programs, "backward": derivative.backward}


def _filled(
    graph: Graph,
    documents: Sequence[Document],
    links: Links,
    svg: str,
    kernels: Mapping[tuple[str, str], KernelFacts],
) -> str:
    data: dict[str, Any] = {
        "name": graph.name,
        "facts": _facts(graph, documents),
        "files": [path.replace("\\", "/").rpartition("/")[2] for path in links.files],
        "spots": list(links.spots),
        "places": list(links.places),
        "sets": list(links.sets),
        "kernels": {
            f"{program} {name}": [facts.seconds, facts.least, facts.bound] for (program, name), facts in kernels.items()
        },
        "documents": [{**document.as_json(), "file": links.files.get(document.path, -1)} for document in documents],
    }
    folder = resources.files("adjit.page")
    parts = {
        "title": escape(f"@{graph.name} · adjit"),
        "style": folder.joinpath("page.css").read_text(encoding="utf-8"),
        "drawing": svg,
        # In a script element only a tag could end the text.
        "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        "script": "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS),
    }
    template = folder.joinpath("page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _facts(graph: Graph, documents: Sequence[Document]) -> str:
    operations = sum(1 for node in graph.walk() if node.op.name != "const")
    parts = [f"{len(graph.inputs)} inputs", f"{operations} operations"]
    for title, what in (("LLVM", "lines of LLVM"), ("assembly", "of assembly")):
        count = sum(len(document.lines) for document in documents if document.title == title)
        parts.append(f"{count:,} {what}")
    return " · ".join(parts)
