"""Small matrices in row-major memory, as algorithms on them are written: numbers, entries, rows as vectors.

Complex numbers lie interleaved and are pairs of names here, one at a time; real ones have one name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from adjit.compiler.llvm.emit_state import Slot, Writer
from adjit.compiler.llvm.sequences import below, counted, masked_load, masked_store, offset, splat, when
from adjit.compiler.llvm.text import LLType
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node
from adjit.ir.shape import Size
from adjit.ir.types import DType

# Shorter rows are changed number by number: a vector that was stored in part is slow to be loaded again.
SHORT_ROW = 20
# A number: its parts.
Number: TypeAlias = "tuple[str, ...]"


class Arithmetic:
    """Operations on numbers of one dtype, `lanes` at a time, of which those in `mask` exist."""

    def __init__(self, w: Writer, dtype: DType, lanes: int = 1, mask: str | None = None) -> None:
        self.w, self.f, self.dtype, self.mask = w, w.f, dtype, mask
        self.part = LLType(dtype.part, lanes)
        self.count = 2 if dtype.is_complex else 1

    def zero(self) -> Number:
        return (self.part.constant(0.0),) * self.count

    def nan(self) -> Number:
        return (self.part.constant(float("nan")),) * self.count

    def spread(self, x: Number) -> Number:
        """One number in all lanes."""
        return x if self.part.lanes == 1 else tuple(splat(self.f, self.part, part) for part in x)

    def real(self, name: str, a: str, b: str) -> str:
        """a + b, a - b, ... of parts."""
        return self.f.let(f"f{name} {self.part.llvm} {a}, {b}")

    def call(self, name: str, a: str) -> str:
        """An intrinsic function of a part."""
        return self.f.intrinsic(name, self.part, a)

    def compare(self, relation: str, a: str, b: str) -> str:
        return self.f.let(f"fcmp {relation} {self.part.llvm} {a}, {b}")

    def choose(self, condition: str, a: str, b: str) -> str:
        return self.f.let(f"select i1 {condition}, {self.part.llvm} {a}, {self.part.llvm} {b}")

    def conj(self, x: Number) -> Number:
        return x if self.count == 1 else (x[0], self.f.let(f"fneg {self.part.llvm} {x[1]}"))

    def less_product(self, x: Number, y: Number, z: Number) -> Number:
        """x - y*z, of real numbers in one rounding where the target can."""
        if self.count == 1 and self.w.options.target.has_fma:
            return (self.f.intrinsic("fma", self.part, self.f.let(f"fneg {self.part.llvm} {y[0]}"), z[0], x[0]),)
        if self.count == 1:
            return (self.real("sub", x[0], self.real("mul", y[0], z[0])),)
        (a, b), (c, d) = y, z
        re = self.real("sub", self.real("mul", a, c), self.real("mul", b, d))
        im = self.real("add", self.real("mul", a, d), self.real("mul", b, c))
        return self.real("sub", x[0], re), self.real("sub", x[1], im)

    def quotient(self, x: Number, y: Number) -> Number:
        """x/y, complex ones by Smith's method (see `adjit.ir.ops.complex_parts`)."""
        if self.count == 1:
            return (self.real("div", x[0], y[0]),)
        (a, b), (c, d) = x, y
        flip = self.compare("olt", self.call("fabs", c), self.call("fabs", d))
        great, small = self.choose(flip, d, c), self.choose(flip, c, d)
        ratio = self.real("div", small, great)
        ratio = self.choose(self.compare("oeq", great, self.zero()[0]), self.zero()[0], ratio)
        size = self.real("add", great, self.real("mul", small, ratio))
        first, second = self.choose(flip, b, a), self.choose(flip, a, b)
        re = self.real("add", first, self.real("mul", second, ratio))
        difference = self.real("sub", second, self.real("mul", first, ratio))
        negative = self.f.let(f"fneg {self.part.llvm} {difference}")
        # b - a*ratio, or b*ratio - a where the parts of y are exchanged.
        im = self.choose(flip, negative, difference)
        return self.real("div", re, size), self.real("div", im, size)

    def size(self, x: Number) -> str:
        """|x|, of complex ones the sum of the sizes of the parts, as LAPACK measures."""
        sizes = [self.call("fabs", part) for part in x]
        return sizes[0] if self.count == 1 else self.real("add", *sizes)

    def is_zero(self, x: Number) -> str:
        return self.compare("oeq", self.size(x), self.zero()[0])


@frozen
class Matrix:
    """Numbers at `pointer`, entry (i, j) at i*row + j*column; logical row i is row rows[i] where `rows` is given."""

    on: Arithmetic
    pointer: str
    row: str
    column: str = "1"
    rows: str | None = None

    def transposed(self) -> Matrix:
        return Matrix(self.on, self.pointer, self.column, self.row)

    def _place(self, i: str, j: str) -> str:
        f = self.on.f
        if self.rows is not None:
            i = f.let(f"load i64, ptr {offset(f, 'i64', self.rows, i)}, align 8")
        at = f.let(f"add nsw i64 {times(self.on.w, i, self.row)}, {times(self.on.w, j, self.column)}")
        return offset(f, self.on.part.llvm, self.pointer, times(self.on.w, at, str(self.on.count)))

    def load(self, i: str, j: str, on: Arithmetic | None = None) -> Number:
        """Entry (i, j), and with `on` of several lanes those after it in the row."""
        on = on or self.on
        f, part = on.f, on.part
        place = self._place(i, j)
        if on.mask is not None:
            return (masked_load(f, part, place, on.mask, part.constant(0)),)
        places = [place, *(offset(f, part.llvm, place, 1) for _ in range(on.count - 1))]
        return tuple(f.let(f"load {part.llvm}, ptr {p}, align {part.dtype.itemsize}") for p in places)

    def store(self, i: str, j: str, value: Number, on: Arithmetic | None = None) -> None:
        """The counterpart of `load`."""
        on = on or self.on
        f, part = on.f, on.part
        place = self._place(i, j)
        if on.mask is not None:
            masked_store(f, part, value[0], place, on.mask)
            return
        for number, name in enumerate(value):
            at = place if number == 0 else offset(f, part.llvm, place, 1)
            f.line(f"store {part.llvm} {name}, ptr {at}, align {part.dtype.itemsize}")

    def change(self, i: str, j: str, function: Callable[[Number], Number], on: Arithmetic | None = None) -> None:
        self.store(i, j, function(self.load(i, j, on)), on)


def times(w: Writer, a: str, b: str) -> str:
    """a*b, of which literals are left out where they are 1."""
    if b == "1" or a == "1":
        return a if b == "1" else b
    return w.f.let(f"mul nsw i64 {a}, {b}")


def plus(w: Writer, a: str, number: int) -> str:
    """An index and a number more."""
    return w.f.let(f"add nsw i64 {a}, {number}")


@frozen
class Batch:
    """What an algorithm works on: the operands and results, and the sizes of the matrices, as names and as they are."""

    w: Writer
    node: Node
    on: Arithmetic
    m: str
    n: str
    rows: Size
    columns: Size

    def along(
        self,
        start: str,
        stop: str,
        body: Callable[[Arithmetic, str], None],
        *,
        count: Size | None = None,
        short: int = SHORT_ROW,
        widest: int = 1,
    ) -> None:
        """`body(on, j)` for start..stop-1, of `count` (as a rule the columns), as vectors of up to `widest` registers.

        Complex numbers, and fewer than `short`, come one at a time.
        """
        w, f = self.w, self.w.f
        lanes = self.lanes(self.columns if count is None else count, short, widest)
        if lanes == 1:
            with counted(f, start, stop, 1) as j:
                body(self.on, j)
            return
        length = f.let(f"sub nsw i64 {stop}, {start}")
        whole = f.let(f"add nsw i64 {start}, {f.let(f'and i64 {length}, {-lanes}')}")
        with counted(f, start, whole, lanes) as j, w.scope():
            body(Arithmetic(w, self.on.dtype, lanes), j)
        with when(f, f.let(f"icmp slt i64 {whole}, {stop}")), w.scope():
            mask = below(f, lanes, f.let(f"sub nsw i64 {stop}, {whole}"))
            body(Arithmetic(w, self.on.dtype, lanes, mask), whole)

    def lanes(self, count: Size, short: int = SHORT_ROW, widest: int = 1) -> int:
        """Lanes of vectors along `count` numbers."""
        most = widest * self.w.native_lanes(self.on.dtype.part)
        least = min(count, most) if isinstance(count, int) else most
        is_short = isinstance(count, int) and count < short
        return 1 if self.on.count == 2 or is_short else 1 << least.bit_length() - 1

    def at(self, operand: int, index: str, *sizes: str, dtype: DType | None = None) -> str:
        """The address of element `index` of the batch in a buffer, with elements of `sizes`."""
        f = self.w.f
        step = index
        for size in sizes:
            step = times(self.w, step, size)
        if dtype is None:
            pointer, element = self.w.buffers[self.node.inputs[operand]], self.on.part.llvm
            return offset(f, element, pointer, times(self.w, step, str(self.on.count)))
        return offset(f, LLType(dtype).llvm, self.w.buffers[self.node.inputs[operand]], step)


def copied(batch: Batch, source: Matrix, target: Matrix, rows: str, columns: str) -> None:
    """Copy a matrix, row after row."""
    with counted(batch.w.f, "0", rows, 1) as i, batch.w.scope():
        batch.along("0", columns, lambda on, j: target.store(i, j, source.load(i, j, on), on))


def note_first(w: Writer, info: Slot, wrong: str, step: str) -> None:
    """Let info be step + 1, if it is still 0."""
    f = w.f
    unset = f.let(f"icmp eq i32 {w.read(info)}, 0")
    with when(f, f.let(f"and i1 {wrong}, {unset}")):
        w.write(info, f.let(f"trunc i64 {plus(w, step, 1)} to i32"))
