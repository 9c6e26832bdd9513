"""`sort_rows`: a stable sort of each row by keys that are ordered as numbers without sign (`sort_keys.py`).

With AVX-512 or AVX2 keys are sorted in vectors (`emit_sort_vectors.py`), elsewhere by digits (`emit_sort_digits.py`).
"""

from __future__ import annotations

from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_sort_digits import emit_by_digits
from adjit.compiler.llvm.emit_sort_vectors import emit_by_vectors, words_by_vectors
from adjit.compiler.llvm.emit_state import Writer, size_of
from adjit.compiler.llvm.sequences import counted, offset
from adjit.compiler.llvm.sort_keys import Keys, SortedRow
from adjit.compiler.llvm.sorting_lanes import vector_bits
from adjit.ir.graph import Node, Value
from adjit.ir.shape import Size


def scratch_bytes(w: Writer, node: Node) -> Size:
    """The scratch memory of a `sort_rows`."""
    rows, length = size_of(node.attributes["rows"]), size_of(node.attributes["length"])
    return rows * length * 8 * _scratch_words(w, node)


def _scratch_words(w: Writer, node: Node) -> Size:
    """Words of scratch memory for an element."""
    return words_by_vectors(node) if vector_bits(w.module) else 2 << is_wide(node)


def is_wide(node: Node) -> bool:
    """Whether key and index together do not surely fit a word."""
    length = node.attributes["length"]
    return node.inputs[0].type.dtype.itemsize == 8 or not (isinstance(length, int) and length < 1 << 32)


def results_of(node: Node) -> tuple[Value | None, Value | None]:
    """The buffers of values and of indices, as far as they are wanted."""
    wanted = node.attributes["results"]
    return (node.inputs[1] if wanted != "indices" else None, node.inputs[-1] if wanted != "values" else None)


def emit_sort_rows(w: Writer, node: Node, scratch: str) -> None:
    """The rows %begin..%end-1; `scratch` points to `scratch_bytes` bytes."""
    f, source, wide = w.f, node.inputs[0], is_wide(node)
    length, first, count = (uniform(w, size_of(node.attributes[name])) for name in ("length", "first", "count"))
    keys = Keys(f, source.type.dtype, bool(node.attributes["descending"]))
    values, indices = results_of(node)
    # The rows of a call follow each other and share the memory of its first.
    bytes = f.let(f"mul nsw i64 {length}, {uniform(w, 8 * _scratch_words(w, node))}")
    room = offset(f, "i8", scratch, f.let(f"mul nsw i64 %begin, {bytes}"))
    with counted(f, "%begin", "%end", 1) as number, w.scope():
        operands = ((source, keys.bits, length), (values, keys.bits, count), (indices, 64, count))
        start, to_values, to_indices = (
            offset(f, f"i{bits}", w.buffers[value], f.let(f"mul nsw i64 {number}, {extent}")) if value else ""
            for value, bits, extent in operands
        )
        row = SortedRow(w, keys, length, first, count, start, to_values, to_indices, room)
        if vector_bits(w.module):
            emit_by_vectors(row, wide)
        else:
            emit_by_digits(row, wide)
