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
    lines = str(graph).splitlines()
    more = f"\n... {len(lines) - MOST_LINES} more lines" if len(lines) > MOST_LINES else ""
    count = sum(1 for node in graph.nodes if node.op.name != "const")
    heading = title or f"@{graph.name}: {len(graph.inputs)} inputs, {count} operations"
    return (
        f'<div class="adjit-program"><style>{STYLE}</style><div>{escape(heading)}</div>'
        f"<pre>{highlighted(chr(10).join(lines[:MOST_LINES]))}{more}</pre>"
        f'<details><summary>drawing</summary><div style="overflow:auto">{graph_svg(graph)}</div></details></div>'
    )
