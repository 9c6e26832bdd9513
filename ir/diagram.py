"""Graphs as text for other drawing tools: Graphviz's dot, and Mermaid."""

from __future__ import annotations

from adjit.ir.drawing import DERIVATIVE, PROGRAM, UPDATE, Box, picture
from adjit.ir.graph import Graph

_COLOURS = {PROGRAM: ("#0969da", "#eef5ff"), DERIVATIVE: ("#bc4c00", "#fff4ec"), UPDATE: ("#1a7f37", "#edf9f0")}
_MERMAID_SHAPES = {"input": ('(["', '"])'), "op": ('["', '"]'), "call": ('[["', '"]]'), "group": ('[["', '"]]')}


def to_dot(graph: Graph) -> str:
    """The graph in Graphviz's language: `dot -Tsvg` draws it.

    Source: the DOT language, graphviz.org/doc/info/lang.html (in quoted text the quote and backslash are special).
    """
    found = picture(graph)
    lines = [
        f"digraph {_dot_text(found.name)} {{",
        '  node [fontname="monospace" fontsize=11 shape=box style="rounded,filled"]',
        '  node [color="#8c959f" fillcolor="#f3f5f7"]',
        '  edge [color="#8c959f"]',
    ]
    for number, box in enumerate(found.boxes):
        colour, fill = _COLOURS[box.lane]
        look = " shape=ellipse" if box.kind == "input" else f' color="{colour}" fillcolor="{fill}"'
        look += " penwidth=2.5" if box.result else ""
        lines.append(f"  b{number} [label={_dot_text(box.title, box.text)}{look}]")
    lines += [f"  b{source} -> b{target}" for source, target in found.arrows]
    return "\n".join([*lines, "}"])


def _dot_text(*lines: str) -> str:
    return '"' + r"\n".join(line.replace("\\", r"\\").replace('"', r"\"") for line in lines) + '"'


def to_mermaid(graph: Graph) -> str:
    """The graph in Mermaid's language, as Markdown on many sites draws it.

    Source: mermaid.js.org/syntax/flowchart.html (labels in quotes, other signs as entity codes).
    """
    found = picture(graph)
    lines = ["flowchart TD"]
    lines += [f"  b{number}{_mermaid_box(box)}" for number, box in enumerate(found.boxes)]
    lines += [f"  b{source} --> b{target}" for source, target in found.arrows]
    for lane, name in ((DERIVATIVE, "derivative"), (UPDATE, "update")):
        inside = [f"b{number}" for number, box in enumerate(found.boxes) if box.lane == lane and box.kind != "input"]
        if inside:
            colour, fill = _COLOURS[lane]
            lines += [f"  classDef {name} stroke:{colour},fill:{fill}", f"  class {','.join(inside)} {name}"]
    return "\n".join(lines)


def _mermaid_box(box: Box) -> str:
    before, after = _MERMAID_SHAPES[box.kind]
    return f"{before}{_mermaid_text(box.title)}<br/>{_mermaid_text(box.text)}{after}"


def _mermaid_text(text: str) -> str:
    """Text with what Mermaid or HTML would read as markup written as entity codes."""
    return "".join(c if c.isalnum() or c in " .,:+_" else f"#{ord(c)};" for c in text)
