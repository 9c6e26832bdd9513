"""Graphs in notebooks: the text in colours, and the drawing on a click."""

from __future__ import annotations

from html import escape

from adjit.ir.drawing import graph_svg
from adjit.ir.graph import Graph
from adjit.ir.highlight import STYLE, highlighted

# A notebook keeps what it shows; `print(graph)` shows everything.
MOST_LINES = 400


def graph_html(graph: Graph, title: str = "") -> str:
    """The program's text and its drawing as one piece of HTML, everything escaped."""
    count = sum(1 for node in graph.nodes if node.op.name != "const")
    heading = title or f"@{graph.name}: {len(graph.inputs)} inputs, {count} operations"
    drawing = f'<details><summary>drawing</summary><div style="overflow:auto">{graph_svg(graph)}</div></details>'
    return text_html(str(graph), f"<div>{escape(heading)}</div>", drawing)


def text_html(text: str, before: str = "", after: str = "") -> str:
    """A program's text, or what is said of one, in colours; `before` and `after` are HTML around it."""
    lines = text.splitlines()
    more = f"\n... {len(lines) - MOST_LINES} more lines" if len(lines) > MOST_LINES else ""
    shown = highlighted("\n".join(lines[:MOST_LINES]))
    return f'<div class="adjit-program"><style>{STYLE}</style>{before}<pre>{shown}{more}</pre>{after}</div>'
