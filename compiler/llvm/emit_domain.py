"""Walks over a reduction's domain: whole, or cut into pieces of a length, in row-major order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from adjit.compiler.llvm.emit_choice import extents_of, variables_of
from adjit.compiler.llvm.emit_index import greatest, least, uniform
from adjit.compiler.llvm.emit_loops import Body, is_spelled, scalar_loop, total_of
from adjit.compiler.llvm.emit_state import Slot, Uniform, Variable, Writer
from adjit.compiler.llvm.sequences import counted
from adjit.compiler.llvm.text import LLType
from adjit.ir.graph import Node
from adjit.ir.shape import Size
from adjit.ir.types import I64

Pairs: TypeAlias = "tuple[tuple[str, Size], ...]"


def whole_domain(w: Writer, node: Node, body: Body) -> None:
    """`body` for every index, in order."""
    names, extents = variables_of(node), extents_of(node)
    spelled = is_spelled(w, node)

    def nest(depth: int) -> None:
        if depth == len(names):
            body()
        else:
            scalar_loop(w, names[depth], "0", uniform(w, extents[depth]), lambda: nest(depth + 1), spelled)

    nest(0)


def each_written_out(w: Writer, node: Node, body: Body) -> None:
    """`body` for every index, in order, each time in code of its own."""
    names, extents = variables_of(node), extents_of(node)

    def nest(depth: int) -> None:
        if depth == len(names):
            body()
            return
        extent = extents[depth]
        assert isinstance(extent, int)
        for value in range(extent):
            with w.bound({names[depth]: Uniform(str(value))}):
                nest(depth + 1)

    nest(0)


def cut_domain(
    w: Writer, node: Node, length: str, begin: Body, walk: Callable[[str, str], None], end: Body
) -> None:
    """`walk(start, stop)` for flat positions, `length` at a time, between `begin` and `end`; once if there is none."""
    total = total_of(w, extents_of(node))
    mark = len(w.f.lines)
    with counted(w.f, "0", greatest(w, total, "1"), length) as start, w.scope(mark):
        stop = least(w, w.f.let(f"add nsw i64 {start}, {length}"), total)
        begin()
        walk(start, stop)
        end()


def between(w: Writer, node: Node, body: Body) -> Callable[[str, str], None]:
    """What emits `body` for the flat positions of a domain from one up to another, in order."""
    pairs = tuple(zip(variables_of(node), extents_of(node), strict=True))
    return lambda start, stop: walk_rows(w, pairs, start, stop, lambda _: body())


def walk_rows(w: Writer, pairs: Pairs, start: str, stop: str, body: Callable[[str], None]) -> None:
    """`body(flat)` for the flat positions start..stop-1 of a domain, by pieces of rows of its last variable."""
    f = w.f
    with walk_pieces(w, pairs, start, stop) as (shift, begin, end):
        mark = len(f.lines)
        with counted(f, begin, end, 1) as i, w.bound({name: Uniform(i) for name, _ in pairs[-1:]}, mark):
            body(i if len(pairs) <= 1 else f.let(f"add nsw i64 {shift}, {i}"))


@contextmanager
def walk_pieces(w: Writer, pairs: Pairs, start: str, stop: str) -> Iterator[tuple[str, str, str]]:
    """The pieces of rows of the last variable that make up the flat positions start..stop-1 of a domain.

    Yields what is added to that variable to get the flat position, and its values begin and end.
    """
    if len(pairs) <= 1:
        yield "0", start, stop
        return
    f = w.f
    *outer, (_, extent) = pairs
    length = greatest(w, uniform(w, extent), "1")
    at = w.slot(LLType(I64))
    w.write(at, start)
    with _until(w, at, stop) as piece, w.scope():
        row, column = f.let(f"udiv i64 {piece}, {length}"), f.let(f"urem i64 {piece}, {length}")
        end = least(w, length, f.let(f"add nsw i64 {column}, {f.let(f'sub nsw i64 {stop}, {piece}')}"))
        shift = f.let(f"sub nsw i64 {piece}, {column}")
        with w.bound(split_flat(w, outer, row)):
            yield shift, column, end
        w.write(at, f.let(f"add nsw i64 {shift}, {end}"))


def split_flat(w: Writer, pairs: Sequence[tuple[str, Size]], flat: str) -> dict[str, Variable]:
    """The values of variables whose flattened index is `flat`, the first being the outermost."""
    found: dict[str, Variable] = {}
    for number, (name, extent) in enumerate(reversed(pairs)):
        if number + 1 == len(pairs):
            found[name] = Uniform(flat)
            break
        size = greatest(w, uniform(w, extent), "1")
        found[name] = Uniform(w.f.let(f"urem i64 {flat}, {size}"))
        flat = w.f.let(f"udiv i64 {flat}, {size}")
    return found


@contextmanager
def _until(w: Writer, at: Slot, stop: str) -> Iterator[str]:
    """A loop while the slot's value is below `stop`."""
    f = w.f
    head, inside, after = f.label("head"), f.label("piece"), f.label("after")
    f.jump(head)
    f.start(head)
    place = w.read(at)
    f.branch(f.let(f"icmp slt i64 {place}, {stop}"), inside, after)
    f.start(inside)
    yield place
    f.jump(head)
    f.start(after)
