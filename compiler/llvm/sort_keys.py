"""Keys of elements: integers without sign that are ordered as the elements are, a NaN as the greatest value.

Zeros of both signs have one key, and so have all NaNs: elements of equal keys keep their order.
"""

from __future__ import annotations

from adjit.compiler.llvm.emit_state import Writer
from adjit.compiler.llvm.sequences import offset, splat
from adjit.compiler.llvm.text import Function, LLType
from adjit.ir.frozen import frozen
from adjit.ir.types import I64, DType

# Infinity's bits: greater ones, without the sign, are a NaN's.
_INFINITY = {"f16": 0x7C00, "bf16": 0x7F80, "f32": 0x7F800000, "f64": 0x7FF << 52}


@frozen
class Keys:
    """The keys of the elements of a dtype, all bits inverted where the order is `descending`."""

    f: Function
    dtype: DType
    descending: bool

    @property
    def bits(self) -> int:
        return 8 * self.dtype.itemsize

    @property
    def zero(self) -> int:
        """The key of a floating zero."""
        return self._turned(1 << self.bits - 1)

    @property
    def nan(self) -> int:
        """The key of a NaN."""
        return self._turned((1 << self.bits) - 1)

    def _turned(self, key: int) -> int:
        key ^= (1 << self.bits) - 1 if self.descending else 0
        return key - (1 << self.bits) if key >> self.bits - 1 else key

    def of(self, elements: str, lanes: int) -> str:
        """The keys of elements, which are given as their bits."""
        f, width = self.f, self.bits
        type, sign = integers(width, lanes), constant(-(1 << width - 1), width, lanes)
        key = elements
        if self.dtype.is_float:
            mask = integers(1, lanes)
            size = self._size(elements, lanes)
            zero = f.let(f"icmp eq {type} {size}, {constant(0, width, lanes)}")
            nan = self._is_nan(size, lanes)
            negative = f.let(f"ashr {type} {elements}, {constant(width - 1, width, lanes)}")
            key = f.let(f"xor {type} {elements}, {f.let(f'or {type} {negative}, {sign}')}")
            key = f.let(f"select {mask} {zero}, {type} {sign}, {type} {key}")
            key = f.let(f"select {mask} {nan}, {type} {constant(-1, width, lanes)}, {type} {key}")
        elif self.dtype.kind == "int":
            key = f.let(f"xor {type} {elements}, {sign}")
        return self._inverted(key, lanes)

    def back(self, key: str, lanes: int) -> str:
        """The bits of an element that has a key: of +0 and of a NaN where there are others."""
        f, width = self.f, self.bits
        type, sign = integers(width, lanes), constant(-(1 << width - 1), width, lanes)
        key = self._inverted(key, lanes)
        if self.dtype.is_float:
            positive = f.let(f"ashr {type} {key}, {constant(width - 1, width, lanes)}")
            inverted = f.let(f"xor {type} {positive}, {constant(-1, width, lanes)}")
            return f.let(f"xor {type} {key}, {f.let(f'or {type} {inverted}, {sign}')}")
        return f.let(f"xor {type} {key}, {sign}") if self.dtype.kind == "int" else key

    def is_shared(self, elements: str, lanes: int) -> str:
        """Whether elements, floats, are not what their keys give back: -0 or a NaN."""
        f, type = self.f, integers(self.bits, lanes)
        minus = f.let(f"icmp eq {type} {elements}, {constant(-(1 << self.bits - 1), self.bits, lanes)}")
        return f.let(f"or {integers(1, lanes)} {minus}, {self._is_nan(self._size(elements, lanes), lanes)}")

    def _size(self, elements: str, lanes: int) -> str:
        most = constant((1 << self.bits - 1) - 1, self.bits, lanes)
        return self.f.let(f"and {integers(self.bits, lanes)} {elements}, {most}")

    def _is_nan(self, size: str, lanes: int) -> str:
        infinity = constant(_INFINITY[self.dtype.name], self.bits, lanes)
        return self.f.let(f"icmp ugt {integers(self.bits, lanes)} {size}, {infinity}")

    def _inverted(self, key: str, lanes: int) -> str:
        if not self.descending:
            return key
        return self.f.let(f"xor {integers(self.bits, lanes)} {key}, {constant(-1, self.bits, lanes)}")


def integers(bits: int, lanes: int) -> str:
    """LLVM's type of so many integers."""
    return f"i{bits}" if lanes == 1 else f"<{lanes} x i{bits}>"


def constant(value: int, bits: int, lanes: int) -> str:
    """An integer in all lanes."""
    return str(value) if lanes == 1 else f"splat (i{bits} {value})"


def lane_numbers(f: Function, first: str, lanes: int) -> str:
    """The words first, first + 1, ..."""
    if lanes == 1:
        return first
    type = LLType(I64, lanes)
    return f.let(f"add {type.llvm} {splat(f, type, first)}, {type.numbers()}")


@frozen
class SortedRow:
    """A row of `length` elements at `source`, of whose order the places from `first` on, `count` of them, are wanted.

    They go to `values`, their indices to `indices`, where these are given; `room` is scratch memory.
    """

    w: Writer
    keys: Keys
    length: str
    first: str
    count: str
    source: str
    values: str
    indices: str
    room: str

    @property
    def f(self) -> Function:
        return self.w.f

    def store_element(self, place: str, index: str) -> None:
        """Store the element at `index` as the value at `place`, if values are wanted."""
        if self.values:
            bits = self.keys.bits
            element, align = f"i{bits}", bits // 8
            at = offset(self.f, element, self.source, index)
            value = self.f.let(f"load {element}, ptr {at}, align {align}")
            self.f.line(f"store {element} {value}, ptr {offset(self.f, element, self.values, place)}, align {align}")
