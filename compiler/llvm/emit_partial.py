"""Loops that find sums of blocks on the way (`partial`): block after block, the sums in the order `lanes`."""

from __future__ import annotations

from adjit.compiler.llvm.emit_choice import blocks_of, choose, extents_of, loop_dtype, variables_of
from adjit.compiler.llvm.emit_clusters import clustered
from adjit.compiler.llvm.emit_fold import Partials
from adjit.compiler.llvm.emit_index import least, uniform
from adjit.compiler.llvm.emit_loops import vector_loop
from adjit.compiler.llvm.emit_state import Ramp, Uniform, Writer
from adjit.compiler.llvm.emit_stream import emit_streaming, streamed_buffers
from adjit.compiler.llvm.sequences import counted, offset
from adjit.compiler.llvm.text import LLType
from adjit.compiler.loops.ir import BLOCK, PARTIAL, lanes_of
from adjit.ir.graph import Node


def emit_partials(w: Writer, node: Node, span: tuple[str, str] | None) -> None:
    """The `for`; `span` restricts its blocks."""
    (region,), (name,), (extent,) = node.regions, variables_of(node), extents_of(node)
    w.bounds.declare(name, extent)
    choice = choose(node, w.dependence, w.native_lanes(loop_dtype(region)))
    streamed = streamed_buffers(w, node, choice)
    sums = {inner: _BlockSum(w, inner, choice.lanes) for inner in region.nodes if inner.op is PARTIAL}

    def body() -> None:
        place = w.variables[name]
        assert isinstance(place, Ramp | Uniform)
        start = place.base if isinstance(place, Ramp) else place.name
        with w.scope(), clustered(w, region, choice.variable):
            for inner in region.nodes:
                if inner in sums:
                    sums[inner].add(start)
                else:
                    w.emit_node(inner)

    begin, end = span or ("0", uniform(w, blocks_of(node)))
    with counted(w.f, begin, end, 1) as block, w.scope():
        start = w.f.let(f"mul nsw i64 {block}, {BLOCK}")
        stop = least(w, w.f.let(f"add nsw i64 {start}, {BLOCK}"), uniform(w, extent))
        for each in sums.values():
            each.parts.clear()

        def loop() -> None:
            vector_loop(w, name, start, stop, choice.lanes, body)

        if streamed:
            emit_streaming(w, streamed, start, loop)
        else:
            loop()
        for each in sums.values():
            each.finish(block)


class _BlockSum:
    """One `partial`, `lanes` terms at a time."""

    def __init__(self, w: Writer, node: Node, lanes: int) -> None:
        self.w, (self.buffer, self.term) = w, node.inputs
        self.type = LLType(self.term.dtype, lanes)
        self.count = lanes_of(self.term.dtype)
        self.parts = Partials(w, "sum", self.type, self.count // lanes, lanes)

    def add(self, start: str) -> None:
        """Take in the terms from position `start` on."""
        w, type = self.w, self.type
        term = w.spread(w.register(self.term))
        if w.mask is not None:
            exists = f"<{type.lanes} x i1> {w.mask}"
            term = w.f.let(f"select {exists}, {type.llvm} {term}, {type.llvm} {type.constant(0)}")
        self.parts.add(w.f.let(f"and i64 {start}, {self.count - 1}"), term)

    def finish(self, block: str) -> None:
        """Store what block number `block` amounts to."""
        f, one = self.w.f, LLType(self.type.dtype).llvm
        place = offset(f, one, self.w.buffers[self.buffer], block)
        f.line(f"store {one} {self.parts.total()}, ptr {place}")
