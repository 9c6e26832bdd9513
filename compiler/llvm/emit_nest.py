"""`for` nests in the way that suits what they fold; what few programs need is imported where one does."""

from __future__ import annotations

from adjit.compiler.llvm.emit_choice import (
    Choice,
    choose,
    column_stride,
    has_partials,
    is_regular,
    loop_dtype,
    variables_of,
)
from adjit.compiler.llvm.emit_loops import emit_for
from adjit.compiler.llvm.emit_state import Writer
from adjit.compiler.loops.ir import LOAD, REDUCE
from adjit.ir.graph import Node


def emit_nest(w: Writer, node: Node, span: tuple[str, str] | None = None) -> None:
    """A `for` in the way that suits its reductions; `span` restricts its first variable."""
    (region,) = node.regions
    if w.lanes > 1 or not variables_of(node):
        emit_for(w, node, span)
        return
    if has_partials(node):
        from adjit.compiler.llvm.emit_partial import emit_partials

        emit_partials(w, node, span)
        return
    choice = choose(node, w.dependence, w.native_lanes(loop_dtype(region)))
    reduces = any(inner.op is REDUCE for inner in region.nodes)
    if (reduces or node.attributes["sequential"] or choice.variable is None) and _folded(w, node, choice, span):
        return
    if (not reduces and _looked_up(w, node, choice, span)) or _crossed(w, node, choice, span):
        return
    if not (reduces and (span is None or len(variables_of(node)) > 2) and _abreast(w, node, choice, span)):
        emit_for(w, node, span)


def _folded(w: Writer, node: Node, choice: Choice, span: tuple[str, str] | None) -> bool:
    """Emit a `for` that folds by rows, split in two, along its rows, or with its rows in pairs; whether it does."""
    from adjit.compiler.llvm.emit_columns import emit_by_rows, goes_by_rows
    from adjit.compiler.llvm.emit_pairs import emit_rows
    from adjit.compiler.llvm.emit_running import emit_running, running
    from adjit.compiler.llvm.emit_split import emit_split, is_split

    if not node.attributes["sequential"] and goes_by_rows(node, choice, w.dependence):
        emit_by_rows(w, node, span, choice.lanes)
    elif is_split(w, node):
        emit_split(w, node, span)
    elif (how := running(w, node, choice)) is not None:
        emit_running(w, node, span, how)
    elif choice.variable is None:
        emit_rows(w, node, span)
    else:
        return False
    return True


def _looked_up(w: Writer, node: Node, choice: Choice, span: tuple[str, str] | None) -> bool:
    """Emit a `for` that does little but look elements up at positions; whether it does."""
    if all(inner.op is not LOAD or is_regular(inner) for inner in node.regions[0].nodes):
        return False
    from adjit.compiler.llvm.emit_looked_up import emit_looked_up, looks_up

    found = looks_up(node, choice, w.dependence)
    if found:
        emit_looked_up(w, node, span)
    return found


def _crossed(w: Writer, node: Node, choice: Choice, span: tuple[str, str] | None) -> bool:
    """Emit a `for` that reads across the direction in which it writes; whether it does."""
    along = choice.variable
    loads = [inner for inner in node.regions[0].nodes if inner.op is LOAD]
    if along is None or all(column_stride(load, along) in (0, 1) for load in loads):
        return False
    from adjit.compiler.llvm.emit_transposed import crossing, emit_crossing

    across = crossing(w, node, choice)
    if across is not None:
        emit_crossing(w, node, span, across)
    return across is not None


def _abreast(w: Writer, node: Node, choice: Choice, span: tuple[str, str] | None) -> bool:
    """Emit a `for` that sums over windows, row beside row; whether it does."""
    from adjit.compiler.llvm.emit_abreast import RowsAbreast, abreast_of

    beside = abreast_of(w, node, choice)
    if beside is not None:
        emit_for(w, node, span, RowsAbreast(w, node, beside))
    return beside is not None
