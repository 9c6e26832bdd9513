"""`sort_rows`: a stable sort of each row by keys that are ordered as numbers without sign; a NaN is the greatest value.

Keys are made of the elements' bits, sorted with the indices (`sorting.py`), and the elements then taken by index: equal
keys may belong to different bits, such as those of 0 and -0.
"""

from __future__ import annotations

from adjit.compiler.llvm import sorting
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_state import Writer, size_of
from adjit.compiler.llvm.gemm_tile import counted, offset
from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.words import translate
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node
from adjit.ir.shape import Size
from adjit.ir.types import I64, DType

_LANES = 8
# Infinity's bits: greater ones, without the sign, are a NaN's.
_INFINITY = {"f16": 0x7C00, "bf16": 0x7F80, "f32": 0x7F800000, "f64": 0x7FF << 52}


def scratch_bytes(node: Node) -> Size:
    """The scratch memory of a `sort_rows`: each row's entries, twice."""
    rows, length = size_of(node.attributes["rows"]), size_of(node.attributes["length"])
    return rows * length * (2 * (8 << _is_wide(node)))


def _is_wide(node: Node) -> bool:
    """Whether key and index together do not surely fit a word."""
    length = node.attributes["length"]
    return node.inputs[0].type.dtype.itemsize == 8 or not (isinstance(length, int) and length < 1 << 32)


def emit_sort_rows(w: Writer, node: Node, scratch: str) -> None:
    """The rows %begin..%end-1; `scratch` points to `scratch_bytes` bytes."""
    f, dtype = w.f, node.inputs[0].type.dtype
    _define(w)
    length, wide = uniform(w, size_of(node.attributes["length"])), int(_is_wide(node))
    row = _Row(w, dtype, bool(node.attributes["descending"]), length, bool(wide))
    buckets = f.let(f"ptrtoint ptr {w.room(LLType(I64), sorting.BUCKETS)} to i64")
    bytes = f.let(f"mul nsw i64 {length}, {8 << wide}")
    low = 0 if wide else 32
    high = low + row.bits
    with counted(f, "%begin", "%end", 1) as number, w.scope():
        start = f.let(f"mul nsw i64 {number}, {length}")
        source, values, indices = (
            offset(f, f"i{bits}", w.buffers[value], start)
            for value, bits in zip(node.inputs, (row.bits, row.bits, 64), strict=True)
        )
        entries = offset(f, "i8", scratch, f.let(f"mul nsw i64 {start}, {16 << wide}"))
        spare = offset(f, "i8", entries, bytes)
        row.fill(source, entries)
        places = ", ".join(f"i64 {f.let(f'ptrtoint ptr {place} to i64')}" for place in (entries, spare))
        rest = ", ".join(f"i64 {item}" for item in (length, wide, low, high, buckets))
        found = f.let(f"call i64 @radix_sorted({places}, {rest})")
        row.take(source, f.let(f"inttoptr i64 {found} to ptr"), values, indices)


def _define(w: Writer) -> None:
    if not w.module.has("radix_sorted"):
        w.module.define("radix_sorted", translate(sorting.FUNCTIONS, {}, (), table=False))


@frozen
class _Row:
    """What is done with a row of `length` elements before and after its entries are sorted."""

    w: Writer
    dtype: DType
    descending: bool
    length: str
    wide: bool

    @property
    def bits(self) -> int:
        return 8 * self.dtype.itemsize

    def fill(self, source: str, entries: str) -> None:
        """The entries of the row's elements, several at a time."""
        f = self.w.f
        stop = f.let(f"and i64 {self.length}, {-_LANES}")
        with counted(f, "0", stop, _LANES) as i:
            self._fill(source, entries, i, _LANES)
        with counted(f, stop, self.length, 1) as i:
            self._fill(source, entries, i, 1)

    def _fill(self, source: str, entries: str, i: str, lanes: int) -> None:
        f, bits = self.w.f, self.bits
        at = offset(f, f"i{bits}", source, i)
        key = self._key(f.let(f"load {_integers(bits, lanes)}, ptr {at}, align {bits // 8}"), lanes)
        words, index = _integers(64, lanes), self._index(i, lanes)
        if bits < 64:
            key = f.let(f"zext {_integers(bits, lanes)} {key} to {words}")
        if not self.wide:
            above = f.let(f"shl {words} {key}, {_constant(32, 64, lanes)}")
            both = f.let(f"or {words} {above}, {index}")
            f.line(f"store {words} {both}, ptr {offset(f, 'i64', entries, i)}, align 8")
            return
        for lane in range(lanes):
            place = offset(f, "i64", entries, f.let(f"shl i64 {f.let(f'add i64 {i}, {lane}')}, 1"))
            for part, at in ((key, place), (index, offset(f, "i64", place, 1))):
                item = part if lanes == 1 else f.let(f"extractelement {words} {part}, i32 {lane}")
                f.line(f"store i64 {item}, ptr {at}, align 8")

    def _index(self, i: str, lanes: int) -> str:
        if lanes == 1:
            return i
        f, words = self.w.f, _integers(64, lanes)
        first = f.let(f"insertelement {words} poison, i64 {i}, i32 0")
        wide = f.let(f"shufflevector {words} {first}, {words} poison, <{lanes} x i32> zeroinitializer")
        numbers = "<" + ", ".join(f"i64 {lane}" for lane in range(lanes)) + ">"
        return f.let(f"add {words} {wide}, {numbers}")

    def _key(self, bits: str, lanes: int) -> str:
        """Bits that are ordered as numbers without sign as the elements are, and in reverse where that is wanted."""
        f, width = self.w.f, self.bits
        type, sign = _integers(width, lanes), _constant(-(1 << width - 1), width, lanes)
        key = bits
        if self.dtype.is_float:
            size = f.let(f"and {type} {bits}, {_constant((1 << width - 1) - 1, width, lanes)}")
            zero = f.let(f"icmp eq {type} {size}, {_constant(0, width, lanes)}")
            nan = f.let(f"icmp ugt {type} {size}, {_constant(_INFINITY[self.dtype.name], width, lanes)}")
            negative = f.let(f"ashr {type} {bits}, {_constant(width - 1, width, lanes)}")
            key = f.let(f"xor {type} {bits}, {f.let(f'or {type} {negative}, {sign}')}")
            mask = _integers(1, lanes)
            key = f.let(f"select {mask} {zero}, {type} {sign}, {type} {key}")
            key = f.let(f"select {mask} {nan}, {type} {_constant(-1, width, lanes)}, {type} {key}")
        elif self.dtype.kind == "int":
            key = f.let(f"xor {type} {bits}, {sign}")
        return f.let(f"xor {type} {key}, {_constant(-1, width, lanes)}") if self.descending else key

    def take(self, source: str, entries: str, values: str, indices: str) -> None:
        """The sorted row's elements and their indices."""
        f, bits = self.w.f, self.bits
        with counted(f, "0", self.length, 1) as i:
            if self.wide:
                entry = offset(f, "i64", entries, f.let(f"or disjoint i64 {f.let(f'shl i64 {i}, 1')}, 1"))
                index = f.let(f"load i64, ptr {entry}, align 8")
            else:
                entry = f.let(f"load i64, ptr {offset(f, 'i64', entries, i)}, align 8")
                index = f.let(f"and i64 {entry}, {0xFFFFFFFF}")
            value = f.let(f"load i{bits}, ptr {offset(f, f'i{bits}', source, index)}, align {bits // 8}")
            f.line(f"store i{bits} {value}, ptr {offset(f, f'i{bits}', values, i)}, align {bits // 8}")
            f.line(f"store i64 {index}, ptr {offset(f, 'i64', indices, i)}, align 8")


def _integers(bits: int, lanes: int) -> str:
    return f"i{bits}" if lanes == 1 else f"<{lanes} x i{bits}>"


def _constant(value: int, bits: int, lanes: int) -> str:
    return str(value) if lanes == 1 else f"splat (i{bits} {value})"


def copy_bytes(w: Writer, to: str, start: str, count: str) -> None:
    """Copy memory that does not overlap."""
    w.module.declare("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
    w.f.line(f"call void @llvm.memcpy.p0.p0.i64(ptr {to}, ptr {start}, i64 {count}, i1 false)")
