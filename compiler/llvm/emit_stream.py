"""Stores of large results past the caches: memory is then not read before it is written, and other data stay cached.

The vectors must stand at whole cache lines, which is known when the program runs: code that streams stands beside code
that does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from adjit.compiler.llvm.emit_choice import Choice, column_stride, variables_of
from adjit.compiler.llvm.emit_state import Writer
from adjit.compiler.llvm.sequences import STREAMED
from adjit.compiler.llvm.text import LLType
from adjit.compiler.loops.ir import STORE, address
from adjit.compiler.memory import LINE
from adjit.ir.graph import Node, Value
from adjit.ir.shape import substitute

# Arrays of fewer bytes may still be in the last cache when they are read.
LEAST = 16 << 20


def streamed_buffers(w: Writer, node: Node, choice: Choice) -> list[Value]:
    """The large buffers that a `for` fills, and that nothing in the function reads."""
    if choice.lanes < 2 or variables_of(node)[-1:] != (choice.variable,):
        return []
    (region,) = node.regions
    stores = (inner for inner in region.nodes if inner.op is STORE and inner.inputs[0] not in w.sources)
    return [inner.inputs[0] for inner in stores if is_streamed(w, inner, str(choice.variable))]


def is_streamed(w: Writer, store: Node, name: str) -> bool:
    """Whether a `store` fills a large buffer, along `name` from cache lines on, if its buffer begins at one."""
    type = store.inputs[0].type
    size = type.size * type.dtype.itemsize if isinstance(type.size, int) else 0
    plain = w.options.target.architecture == "x86_64" and not store.attributes["masked"]
    return plain and size >= LEAST and _begins_at_lines(store, name)


def _begins_at_lines(store: Node, name: str) -> bool:
    type = store.inputs[0].type
    flat = address(type, store.attributes["at"])  # type: ignore[arg-type]
    if column_stride(store, name) != 1:
        return False
    rest = substitute(flat, {name: 0})
    coefficients = [rest] if isinstance(rest, int) else [coefficient for _, coefficient in rest.terms]
    return all(coefficient * type.dtype.itemsize % LINE == 0 for coefficient in coefficients)


def emit_streaming(w: Writer, buffers: Sequence[Value], begin: str, loop: Callable[[], None]) -> None:
    """The loop with stores past the caches where all buffers stand at cache lines, else as it is."""
    f = w.f
    bits = f.let(f"and i64 {begin}, {LINE - 1}")  # elements have a byte at least
    for buffer in buffers:
        bits = f.let(f"or i64 {bits}, {f.let(f'ptrtoint ptr {w.buffers[buffer]} to i64')}")
    aligned = f.let(f"icmp eq i64 {f.let(f'and i64 {bits}, {LINE - 1}')}, 0")
    past, through, done = f.label("past"), f.label("through"), f.label("done")
    f.branch(aligned, past, through)
    f.start(past)
    with w.scope(), _streaming(w, buffers):
        loop()
    f.jump(done)
    f.start(through)
    with w.scope():
        loop()
    f.jump(done)
    f.start(done)


@contextmanager
def _streaming(w: Writer, buffers: Sequence[Value]) -> Iterator[None]:
    w.streamed = {w.buffers[buffer]: None for buffer in buffers}
    w.streams = True
    try:
        yield
    finally:
        w.streamed = {}


def stream(w: Writer, type: LLType, value: str, at: str, condition: str | None) -> None:
    """Store a vector past the caches at a multiple of its size; a `condition` (i1) tells whether it stands at one."""
    f = w.f
    w.module.declare(STREAMED)
    align = min(LINE, type.lanes * type.dtype.itemsize)
    past = f"store {type.llvm} {value}, ptr {at}, align {align}, !nontemporal !772"
    if condition is None:
        f.line(past)
        return
    aligned, other, done = f.label("past"), f.label("through"), f.label("done")
    f.branch(condition, aligned, other)
    f.start(aligned)
    f.line(past)
    f.jump(done)
    f.start(other)
    f.line(f"store {type.llvm} {value}, ptr {at}, align {type.dtype.itemsize}")
    f.jump(done)
    f.start(done)
