"""Tensors and compiled functions as notebooks show them: HTML tables, everything escaped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit.ir.graph import Graph
from adjit.ir.notebook import graph_html
from adjit.printing import printed_elements
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.jit import CompiledFunction

# Longer axes are cut in the middle, and of a tensor with more than two axes the first few matrices are shown.
MOST_ROWS, MOST_COLUMNS, MOST_MATRICES = 20, 12, 4

_STYLE = """
.adjit-tensor table{border-collapse:collapse;margin:.3em 0;font-family:ui-monospace,Menlo,Consolas,monospace;
font-size:12px}
.adjit-tensor td,.adjit-tensor th{text-align:right;padding:2px 8px;border:1px solid #8884;background:none}
.adjit-tensor th{font-weight:400;opacity:.55}
.adjit-tensor td.text{text-align:left}
.adjit-tensor th.text{text-align:left}
.adjit-tensor .facts{opacity:.75}
""".strip().replace("\n", "")


def _framed(heading: str, facts: Sequence[str], body: str) -> str:
    text = " · ".join(escape(fact) for fact in facts)
    return (
        f'<div class="adjit-tensor"><style>{_STYLE}</style>'
        f'<div><b>{escape(heading)}</b> <span class="facts">{text}</span></div>{body}</div>'
    )


def tensor_html(tensor: Tensor) -> str:
    """A tensor's type, where its gradient comes from, and its numbers in a table."""
    facts = [str(tensor._tensor_type)]
    if tensor._array is None:
        return _framed("traced tensor", facts, "")
    function = tensor.grad_fn
    if function is not None:
        facts.append(f"grad_fn=<{function.name()}>")
    elif tensor.requires_grad:
        facts.append("requires_grad")
    array, write = printed_elements(tensor)
    if array.size == 0:
        return _framed(type(tensor).__name__, [*facts, "no elements"], "")
    if array.ndim < 2:
        tables = [_table(array.reshape(1, -1), write, rows=False, columns=array.ndim == 1)]
    else:
        places = list(islice(product(*map(range, array.shape[:-2])), MOST_MATRICES))
        tables = []
        for place in places:
            caption = f"<div>[{', '.join(map(str, place))}, :, :]</div>" if place else ""
            tables.append(caption + _table(array[place], write))
        rest = int(np.prod(array.shape[:-2])) - len(places)
        if rest:
            tables.append(f"<div>... {rest} more</div>")
    return _framed(type(tensor).__name__, facts, "".join(tables))


def _table(matrix: np.ndarray, write: Callable[[Any], str], rows: bool = True, columns: bool = True) -> str:
    """A matrix with its indices at the borders; `write` says how a number looks."""
    down, across = _kept(matrix.shape[0], MOST_ROWS), _kept(matrix.shape[1], MOST_COLUMNS)
    lines = []
    if columns:
        head = "".join(f"<th>{'⋯' if column is None else column}</th>" for column in across)
        lines.append(f"<tr>{'<th></th>' if rows else ''}{head}</tr>")
    for row in down:
        side = f"<th>{'⋮' if row is None else row}</th>" if rows else ""
        numbers = [
            "" if row is None or column is None else escape(write(matrix[row, column].item()).strip())
            for column in across
        ]
        lines.append(f"<tr>{side}{''.join(f'<td>{number}</td>' for number in numbers)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _kept(extent: int, most: int) -> list[int | None]:
    """The indices of an axis that are shown; None stands for those left out."""
    if extent <= most:
        return list(range(extent))
    return [*range(most // 2), None, *range(extent - most // 2, extent)]


def function_html(function: CompiledFunction) -> str:
    """A compiled function's programs: why each was made, how often it was called, its text on a click."""
    entries = [entry for own in function._entries.values() for entry in own]
    rows = []
    for entry in entries:
        types = ", ".join(f"{value.name}: {value.type}" for value in entry.graph.inputs)
        guards = ", ".join(map(str, entry.graph.guards))
        cells = (types, guards, entry.reason, str(function._calls(entry)))
        rows.append("<tr>" + "".join(f'<td class="text">{escape(cell)}</td>' for cell in cells) + "</tr>")
    name = getattr(function, "__name__", type(function.function).__name__)
    if not entries:
        return _framed(f"compiled function {name}", ["not called yet"], "")
    titles = ("inputs", "guards", "made because", "calls")
    head = "<tr>" + "".join(f'<th class="text">{title}</th>' for title in titles) + "</tr>"
    body = f"<table>{head}{''.join(rows)}</table>{''.join(_folded(entry.graph) for entry in entries)}"
    return _framed(f"compiled function {name}", [f"{len(entries)} program{'s' if len(entries) > 1 else ''}"], body)


def _folded(graph: Graph) -> str:
    types = ", ".join(str(value.type) for value in graph.inputs)
    return f"<details><summary>{escape(f'@{graph.name}({types})')}</summary>{graph_html(graph)}</details>"
