"""`sort_rows`: a stable merge sort of each row, bottom up, of pairs (value, index).

Pairs go to and fro between the result buffers and scratch memory of the same size; a NaN is the greatest value.
"""

from __future__ import annotations

from adjit.compiler.llvm.emit_index import least, uniform
from adjit.compiler.llvm.emit_state import Writer, memory_type, size_of
from adjit.compiler.llvm.gemm_tile import counted, offset, when
from adjit.compiler.llvm.text import LLType
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node
from adjit.ir.shape import Size
from adjit.ir.types import BOOL, I64, DType


@frozen
class _Row:
    """Where a row of pairs stands."""

    values: str
    indices: str


def scratch_bytes(node: Node) -> Size:
    """The scratch memory of a `sort_rows`: a second copy of all pairs, the values rounded up to whole cache lines."""
    elements = size_of(node.attributes["rows"]) * size_of(node.attributes["length"])
    return _value_bytes(elements, node.inputs[0].type.dtype) + elements * I64.itemsize


def _value_bytes(elements: Size, dtype: DType) -> Size:
    return (elements * dtype.itemsize + 63) // 64 * 64


def emit_sort_rows(w: Writer, node: Node, scratch: str) -> None:
    """The rows %begin..%end-1; `scratch` points to `scratch_bytes` bytes."""
    f = w.f
    source, values, indices = (w.buffers[value] for value in node.inputs)
    rows, length_size = size_of(node.attributes["rows"]), size_of(node.attributes["length"])
    dtype = node.inputs[0].type.dtype
    element = memory_type(LLType(dtype))
    length = uniform(w, length_size)
    more = offset(f, "i8", scratch, uniform(w, _value_bytes(rows * length_size, dtype)))
    merger = _Merger(w, element, dtype, bool(node.attributes["descending"]), length)
    with counted(f, "%begin", "%end", 1) as row, w.scope():
        start = f.let(f"mul nsw i64 {row}, {length}")
        place = _Row(offset(f, element.llvm, values, start), offset(f, "i64", indices, start))
        spare = _Row(offset(f, element.llvm, scratch, start), offset(f, "i64", more, start))
        with counted(f, "0", length, 1) as i:
            at = offset(f, element.llvm, source, f.let(f"add nsw i64 {start}, {i}"))
            value = f.let(f"load {element.llvm}, ptr {at}, align {dtype.itemsize}")
            to = offset(f, element.llvm, place.values, i)
            f.line(f"store {element.llvm} {value}, ptr {to}, align {dtype.itemsize}")
            f.line(f"store i64 {i}, ptr {offset(f, 'i64', place.indices, i)}, align 8")
        merger.sort(place, spare)


class _Merger:
    """The passes over one row: runs of width 1, 2, 4, ... are merged two by two."""

    def __init__(self, w: Writer, element: LLType, dtype: DType, descending: bool, length: str) -> None:
        self.w, self.f, self.element, self.dtype = w, w.f, element, dtype
        self.descending, self.length = descending, length
        word = LLType(I64)
        self.left, self.right, self.width = w.slot(word), w.slot(word), w.slot(word)
        self.swapped = w.slot(LLType(BOOL))

    def sort(self, place: _Row, spare: _Row) -> None:
        f, w = self.f, self.w
        w.write(self.width, "1")
        w.write(self.swapped, "false")
        head, merge, after = f.label("pass"), f.label("merge"), f.label("sorted")
        f.jump(head)
        f.start(head)
        width, swapped = w.read(self.width), w.read(self.swapped)
        f.branch(f.let(f"icmp slt i64 {width}, {self.length}"), merge, after)
        f.start(merge)
        source = _Row(*(f.let(f"select i1 {swapped}, ptr {b}, ptr {a}") for a, b in _pairs(place, spare)))
        target = _Row(*(f.let(f"select i1 {swapped}, ptr {a}, ptr {b}") for a, b in _pairs(place, spare)))
        double = f.let(f"shl nsw i64 {width}, 1")
        with counted(f, "0", self.length, double) as low:
            middle = least(w, f.let(f"add nsw i64 {low}, {width}"), self.length)
            high = least(w, f.let(f"add nsw i64 {low}, {double}"), self.length)
            self._merge(source, target, low, middle, high)
        w.write(self.width, double)
        w.write(self.swapped, f.let(f"xor i1 {swapped}, true"))
        f.jump(head)
        f.start(after)
        with when(f, swapped):
            for (to, start), size in zip(_pairs(place, spare), (self.dtype.itemsize, 8), strict=True):
                copy_bytes(w, to, start, f.let(f"mul nsw i64 {self.length}, {size}"))

    def _merge(self, source: _Row, target: _Row, low: str, middle: str, high: str) -> None:
        """One merge: the next element is the right run's if the left is used up, or must come after it."""
        f, w, element = self.f, self.w, self.element
        w.write(self.left, low)
        w.write(self.right, middle)
        with counted(f, low, high, 1) as out:
            left, right = w.read(self.left), w.read(self.right)
            has_left, has_right = f.let(f"icmp slt i64 {left}, {middle}"), f.let(f"icmp slt i64 {right}, {high}")
            # A run that is used up is not read: its element would lie behind the row.
            safe = [f.let(f"select i1 {has}, i64 {i}, i64 {low}") for has, i in ((has_left, left), (has_right, right))]
            places = [offset(f, element.llvm, source.values, i) for i in safe]
            a, b = (f.let(f"load {element.llvm}, ptr {at}, align {self.dtype.itemsize}") for at in places)
            wins = f.let(f"and i1 {has_right}, {self._before(b, a)}")
            gone = f.let(f"xor i1 {has_left}, true")
            take = f.let(f"or i1 {gone}, {wins}")
            value = f.let(f"select i1 {take}, {element.llvm} {b}, {element.llvm} {a}")
            place = f.let(f"select i1 {take}, i64 {safe[1]}, i64 {safe[0]}")
            index = f.let(f"load i64, ptr {offset(f, 'i64', source.indices, place)}, align 8")
            to = offset(f, element.llvm, target.values, out)
            f.line(f"store {element.llvm} {value}, ptr {to}, align {self.dtype.itemsize}")
            f.line(f"store i64 {index}, ptr {offset(f, 'i64', target.indices, out)}, align 8")
            step = f.let(f"zext i1 {take} to i64")
            w.write(self.right, f.let(f"add nsw i64 {right}, {step}"))
            w.write(self.left, f.let(f"add nsw i64 {left}, {f.let(f'sub nsw i64 1, {step}')}"))

    def _before(self, b: str, a: str) -> str:
        """Whether `b` must stand before `a`."""
        f, element = self.f, self.element
        if not self.dtype.is_float:
            sign = "u" if self.dtype.kind in ("uint", "bool") else "s"
            return f.let(f"icmp {sign}{'gt' if self.descending else 'lt'} {element.llvm} {b}, {a}")
        less = f.let(f"fcmp {'ogt' if self.descending else 'olt'} {element.llvm} {b}, {a}")
        first, second = (b, a) if self.descending else (a, b)
        nan = f.let(f"fcmp uno {element.llvm} {first}, {first}")
        number = f.let(f"fcmp ord {element.llvm} {second}, {second}")
        return f.let(f"or i1 {less}, {f.let(f'and i1 {nan}, {number}')}")


def _pairs(place: _Row, spare: _Row) -> tuple[tuple[str, str], tuple[str, str]]:
    return (place.values, spare.values), (place.indices, spare.indices)


def copy_bytes(w: Writer, to: str, start: str, count: str) -> None:
    """Copy memory that does not overlap."""
    w.module.declare("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
    w.f.line(f"call void @llvm.memcpy.p0.p0.i64(ptr {to}, ptr {start}, i64 {count}, i1 false)")
