"""The HTML file of a function."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from adjit.ir.drawing import Picture, picture, to_svg
from adjit.ir.errors import DifferentiationError
from adjit.ir.graph import Graph
from adjit.page.documents import Document, machine, program, sources
from adjit.page.links import Links

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


def make_page(graph: Graph, *, strict: bool = False, threads: int | None = None) -> Page:
    """The page of a traced program, and of its backward program if it has one of its own."""
    links = Links()
    drawn, backward = _picture(graph)
    documents = [*_texts(graph, links, "forward" if backward else "", strict, threads)]
    if backward is not None:
        documents += _texts(backward, links, "backward", strict, threads)
    svg = to_svg(drawn, lambda box: {"data-set": str(links.set_of(node.location for node in box.nodes))})
    documents = [*sources(links), *documents]
    return Page(_filled(graph, documents, links, svg))


def _picture(graph: Graph) -> tuple[Picture, Graph | None]:
    """The drawing, with the backward program's boxes where there is one that the program does not hold already."""
    from adjit.compiler.differentiate import differentiate

    if any("∂" in node.location.origin for node in graph.walk()):
        return picture(graph), None
    try:
        derivative = differentiate(graph)
    except DifferentiationError:
        return picture(graph), None
    if not derivative.reached:
        return picture(graph), None
    return picture(derivative.forward, derivative.backward, derivative.residuals), derivative.backward


def _texts(graph: Graph, links: Links, group: str, strict: bool, threads: int | None) -> Iterator[Document]:
    from adjit.compiler.build import llvm_text
    from adjit.compiler.llvm import jit
    from adjit.compiler.pipeline import stages

    for name, lowered in stages(graph, strict=strict):
        yield program(name, lowered, links, group)
    text = llvm_text(lowered, strict=strict, threads=threads)
    yield machine("LLVM", "llvm", text, lowered, links, group)
    yield machine("assembly", "asm", jit.assembly(text), lowered, links, group)


def _filled(graph: Graph, documents: Sequence[Document], links: Links, svg: str) -> str:
    data: dict[str, Any] = {
        "name": graph.name,
        "facts": _facts(graph, documents),
        "files": links.names,
        "spots": list(links.spots),
        "places": list(links.places),
        "sets": list(links.sets),
        "documents": [document.as_json() for document in documents],
    }
    folder = files("adjit.page")
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
