"""Walks over a reduction's domain: whole, or cut into pieces of a length, in row-major order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adjit.compiler.llvm.emit_choice import extents_of, variables_of
from adjit.compiler.llvm.emit_index import greatest, least, uniform
from adjit.compiler.llvm.emit_loops import Body, scalar_loop, total_of
from adjit.compiler.llvm.emit_state import Slot, Uniform, Writer
from adjit.compiler.llvm.gemm_tile import counted
from adjit.compiler.llvm.text import LLType
from adjit.ir.graph import Node
from adjit.ir.types import I64


def whole_domain(w: Writer, node: Node, body: Body) -> None:
    """`body` for every index, in order."""
    names, extents = variables_of(node), extents_of(node)

    def nest(depth: int) -> None:
        if depth == len(names):
            body()
        else:
            scalar_loop(w, names[depth], "0", uniform(w, extents[depth]), lambda: nest(depth + 1))

    nest(0)


def cut_domain(w: Writer, node: Node, length: str, begin: Body, body: Body, end: Body) -> None:
    """`body` for every index, in order, with `begin` and `end` around every `length` of them; once if there is none."""
    total = total_of(w, extents_of(node))
    with counted(w.f, "0", greatest(w, total, "1"), length) as start, w.scope():
        stop = least(w, w.f.let(f"add nsw i64 {start}, {length}"), total)
        begin()
        if len(variables_of(node)) == 1:
            scalar_loop(w, variables_of(node)[0], start, stop, body)
        else:
            _rows(w, node, start, stop, body)
        end()


def _rows(w: Writer, node: Node, start: str, stop: str, body: Body) -> None:
    """The flat positions start..stop-1 of a domain of several variables, by pieces of rows of the last one."""
    f = w.f
    names, extents = variables_of(node), extents_of(node)
    length = greatest(w, uniform(w, extents[-1]), "1")
    at = w.slot(LLType(I64))
    w.write(at, start)
    with _until(w, at, stop) as flat, w.scope():
        row, column = f.let(f"udiv i64 {flat}, {length}"), f.let(f"urem i64 {flat}, {length}")
        end = least(w, length, f.let(f"add nsw i64 {column}, {f.let(f'sub nsw i64 {stop}, {flat}')}"))
        with w.bound({name: Uniform(value) for name, value in odometer(w, node, row).items()}):
            scalar_loop(w, names[-1], column, end, body)
        w.write(at, f.let(f"add nsw i64 {flat}, {f.let(f'sub nsw i64 {end}, {column}')}"))


def odometer(w: Writer, node: Node, row: str) -> dict[str, str]:
    """The values of all variables but the last in row number `row`."""
    outer = list(zip(variables_of(node), extents_of(node), strict=True))[:-1]
    found: dict[str, str] = {}
    for number, (name, extent) in enumerate(reversed(outer)):
        if number + 1 == len(outer):
            found[name] = row
            break
        size = greatest(w, uniform(w, extent), "1")
        found[name] = w.f.let(f"urem i64 {row}, {size}")
        row = w.f.let(f"udiv i64 {row}, {size}")
    return found


@contextmanager
def _until(w: Writer, at: Slot, stop: str) -> Iterator[str]:
    """A loop while the slot's value is below `stop`."""
    f = w.f
    head, inside, after = f.label("head"), f.label("piece"), f.label("after")
    f.jump(head)
    f.start(head)
    flat = w.read(at)
    f.branch(f.let(f"icmp slt i64 {flat}, {stop}"), inside, after)
    f.start(inside)
    yield flat
    f.jump(head)
    f.start(after)
