"""`matrices`: an algorithm on each small matrix of a batch, in row-major memory: LU, Cholesky, substitution.

Real numbers of a row are taken as vectors: every step changes rows by multiples of others.  Complex numbers lie
interleaved and are pairs of names here, one at a time; real ones have one name.  Larger matrices go to the host's
LAPACK (`adjit.compiler.legalize`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from adjit.compiler.llvm.emit_fold import fold_lanes
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_state import Slot, Writer, size_of
from adjit.compiler.llvm.sequences import below, counted, masked_load, masked_store, offset, splat, when
from adjit.compiler.llvm.text import LLType
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node
from adjit.ir.shape import Size
from adjit.ir.types import I32, I64, DType

# Shorter rows are changed number by number: a vector that was stored in part is slow to be loaded again.
_SHORT_ROW = 20
# Fewer sums are taken one by one.
_FEW_SUMS = 4
# A number: its parts.
Number: TypeAlias = "tuple[str, ...]"


class _Arithmetic:
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
class _Matrix:
    """Numbers at `pointer`, entry (i, j) at i*row + j*column; logical row i is row rows[i] where `rows` is given."""

    on: _Arithmetic
    pointer: str
    row: str
    column: str = "1"
    rows: str | None = None

    def transposed(self) -> _Matrix:
        return _Matrix(self.on, self.pointer, self.column, self.row)

    def _place(self, i: str, j: str) -> str:
        f = self.on.f
        if self.rows is not None:
            i = f.let(f"load i64, ptr {offset(f, 'i64', self.rows, i)}, align 8")
        at = f.let(f"add nsw i64 {_times(self.on.w, i, self.row)}, {_times(self.on.w, j, self.column)}")
        return offset(f, self.on.part.llvm, self.pointer, _times(self.on.w, at, str(self.on.count)))

    def load(self, i: str, j: str, on: _Arithmetic | None = None) -> Number:
        """Entry (i, j), and with `on` of several lanes those after it in the row."""
        on = on or self.on
        f, part = on.f, on.part
        place = self._place(i, j)
        if on.mask is not None:
            return (masked_load(f, part, place, on.mask, part.constant(0)),)
        places = [place, *(offset(f, part.llvm, place, 1) for _ in range(on.count - 1))]
        return tuple(f.let(f"load {part.llvm}, ptr {p}, align {part.dtype.itemsize}") for p in places)

    def store(self, i: str, j: str, value: Number, on: _Arithmetic | None = None) -> None:
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

    def change(self, i: str, j: str, function: Callable[[Number], Number], on: _Arithmetic | None = None) -> None:
        self.store(i, j, function(self.load(i, j, on)), on)


def _times(w: Writer, a: str, b: str) -> str:
    """a*b, of which literals are left out where they are 1."""
    if b == "1" or a == "1":
        return a if b == "1" else b
    return w.f.let(f"mul nsw i64 {a}, {b}")


def _plus(w: Writer, a: str, number: int) -> str:
    return w.f.let(f"add nsw i64 {a}, {number}")


@frozen
class _Batch:
    """What an algorithm works on: the operands and results, and the sizes of the matrices, as names and as they are."""

    w: Writer
    node: Node
    on: _Arithmetic
    m: str
    n: str
    rows: Size
    columns: Size

    def along(
        self,
        start: str,
        stop: str,
        body: Callable[[_Arithmetic, str], None],
        *,
        count: Size | None = None,
        short: int = _SHORT_ROW,
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
            body(_Arithmetic(w, self.on.dtype, lanes), j)
        with when(f, f.let(f"icmp slt i64 {whole}, {stop}")), w.scope():
            mask = below(f, lanes, f.let(f"sub nsw i64 {stop}, {whole}"))
            body(_Arithmetic(w, self.on.dtype, lanes, mask), whole)

    def lanes(self, count: Size, short: int = _SHORT_ROW, widest: int = 1) -> int:
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
            step = _times(self.w, step, size)
        if dtype is None:
            pointer, element = self.w.buffers[self.node.inputs[operand]], self.on.part.llvm
            return offset(f, element, pointer, _times(self.w, step, str(self.on.count)))
        return offset(f, LLType(dtype).llvm, self.w.buffers[self.node.inputs[operand]], step)


def emit_matrices(w: Writer, node: Node) -> None:
    """The matrices %begin..%end-1."""
    on = _Arithmetic(w, node.inputs[0].type.dtype)
    m, n = (uniform(w, size_of(node.attributes[name])) for name in ("rows", "columns"))
    batch = _Batch(w, node, on, m, n, *(size_of(node.attributes[name]) for name in ("rows", "columns")))
    one = _ALGORITHMS[str(node.attributes["algorithm"])](batch)
    with counted(w.f, "%begin", "%end", 1) as index, w.scope():
        one(index)


def _copied(batch: _Batch, source: _Matrix, target: _Matrix, rows: str, columns: str) -> None:
    with counted(batch.w.f, "0", rows, 1) as i, batch.w.scope():
        batch.along("0", columns, lambda on, j: target.store(i, j, source.load(i, j, on), on))


def _subtract(batch: _Batch, target: _Matrix, i: str, factor: Number, k: str, start: str, stop: str) -> None:
    """Row i of a matrix less `factor` times row k, from column `start` to before `stop`."""

    def change(on: _Arithmetic, j: str) -> None:
        row = target.load(k, j, on)
        target.change(i, j, lambda x: on.less_product(x, on.spread(factor), row), on)

    batch.along(start, stop, change)


# -- LU ----------------------------------------------------------------------------------------------------------------
def _lu(batch: _Batch) -> Callable[[str], None]:
    """Operands: a; factors, pivots, order, info: as in `adjit.ir.ops.factorization.lu`."""
    w, f, on, m, n = batch.w, batch.w.f, batch.on, batch.m, batch.n
    shorter = f.let(f"icmp slt i64 {m}, {n}")
    count = f.let(f"select i1 {shorter}, i64 {m}, i64 {n}")
    info, best, place = w.slot(LLType(I32)), w.slot(on.part), w.slot(LLType(I64))

    def exchange(a: _Matrix, order: str, step: str, other: str) -> None:
        def exchange_part(on: _Arithmetic, j: str) -> None:
            upper, lower = a.load(step, j, on), a.load(other, j, on)
            a.store(step, j, lower, on)
            a.store(other, j, upper, on)

        batch.along("0", n, exchange_part)
        places = [offset(f, "i64", order, i) for i in (step, other)]
        rows = [f.let(f"load i64, ptr {p}, align 8") for p in places]
        for p, row in zip(places, reversed(rows), strict=True):
            f.line(f"store i64 {row}, ptr {p}, align 8")

    def pivot(a: _Matrix, step: str) -> str:
        """The row of the greatest entry of the column from the diagonal on."""
        w.write(best, on.size(a.load(step, step)))
        w.write(place, step)
        with counted(f, _plus(w, step, 1), m, 1) as i:
            size = on.size(a.load(i, step))
            with when(f, on.compare("ogt", size, w.read(best))):
                w.write(best, size)
                w.write(place, i)
        return w.read(place)

    def eliminate(a: _Matrix, step: str) -> None:
        after = _plus(w, step, 1)
        value = a.load(step, step)
        with counted(f, after, m, 1) as i:
            factor = on.quotient(a.load(i, step), value)
            a.store(i, step, factor)
            _subtract(batch, a, i, factor, step, after, n)

    def one(index: str) -> None:
        a = _Matrix(on, batch.at(1, index, m, n), n)
        _copied(batch, _Matrix(on, batch.at(0, index, m, n), n), a, m, n)
        pivots, order = batch.at(2, index, count, dtype=I32), batch.at(3, index, m, dtype=I64)
        with counted(f, "0", m, 1) as i:
            f.line(f"store i64 {i}, ptr {offset(f, 'i64', order, i)}, align 8")
        w.write(info, "0")
        with counted(f, "0", count, 1) as step:
            other = pivot(a, step)
            number = f.let(f"trunc i64 {_plus(w, other, 1)} to i32")
            f.line(f"store i32 {number}, ptr {offset(f, 'i32', pivots, step)}, align 4")
            with when(f, f.let(f"icmp ne i64 {other}, {step}")):
                exchange(a, order, step, other)
            singular = on.is_zero(a.load(step, step))
            _note_first(w, info, singular, step)
            with when(f, f.let(f"xor i1 {singular}, true")):
                eliminate(a, step)
        f.line(f"store i32 {w.read(info)}, ptr {batch.at(4, index, dtype=I32)}, align 4")

    return one


def _note_first(w: Writer, info: Slot, wrong: str, step: str) -> None:
    """Let info be step + 1, if it is still 0."""
    f = w.f
    unset = f.let(f"icmp eq i32 {w.read(info)}, 0")
    with when(f, f.let(f"and i1 {wrong}, {unset}")):
        w.write(info, f.let(f"trunc i64 {_plus(w, step, 1)} to i32"))


# -- Cholesky ----------------------------------------------------------------------------------------------------------
def _cholesky(batch: _Batch) -> Callable[[str], None]:
    """Operands: a; factor, info: as in `adjit.ir.ops.factorization.cholesky`."""
    w, f, on, n = batch.w, batch.w.f, batch.on, batch.n
    info = w.slot(LLType(I32))
    upper = bool(batch.node.attributes["upper"])

    def one(index: str) -> None:
        source = _Matrix(on, batch.at(0, index, n, n), n)
        factor = _Matrix(on, batch.at(1, index, n, n), n)
        w.write(info, "0")

        def entry(i: str, j: str) -> Number:
            return on.conj(source.load(j, i)) if upper else source.load(i, j)

        with counted(f, "0", n, 1) as i, counted(f, "0", _plus(w, i, 1), 1) as j:
            factor.store(i, j, entry(i, j))
        with counted(f, "0", n, 1) as j, w.scope():
            square = factor.load(j, j)[0]
            good = on.compare("ogt", square, on.zero()[0])
            _note_first(w, info, f.let(f"xor i1 {good}, true"), j)
            root = on.call("sqrt", square)
            factor.store(j, j, (root, *on.zero()[1:]))
            after = _plus(w, j, 1)
            # The column stands in the row above the diagonal too, where the rows below find it as a vector.
            with counted(f, after, n, 1) as i:
                found = tuple(on.real("div", part, root) for part in factor.load(i, j))
                factor.store(i, j, found)
                factor.store(j, i, on.conj(found))
            with counted(f, after, n, 1) as i, w.scope():
                _subtract(batch, factor, i, factor.load(i, j), j, after, _plus(w, i, 1))
        with counted(f, "0", n, 1) as i, w.scope():
            batch.along(_plus(w, i, 1), n, lambda wide, j: factor.store(i, j, wide.zero(), wide))
        with when(f, f.let(f"icmp ne i32 {w.read(info)}, 0")), counted(f, "0", n, 1) as i, counted(f, "0", n, 1) as j:
            factor.store(i, j, on.nan())
        f.line(f"store i32 {w.read(info)}, ptr {batch.at(2, index, dtype=I32)}, align 4")

    return one


# -- substitution ------------------------------------------------------------------------------------------------------
def _substitute(batch: _Batch, a: _Matrix, x: _Matrix, *, lower: bool, unit: bool) -> None:
    """Overwrite x with the solution of a @ y = x; only a's triangle is read."""
    w, f, on, n = batch.w, batch.w.f, batch.on, batch.m
    with counted(f, "0", n, 1) as step, w.scope():
        i = step if lower else f.let(f"sub nsw i64 {f.let(f'sub nsw i64 {n}, 1')}, {step}")
        start, stop = ("0", i) if lower else (_plus(w, i, 1), n)

        def row(on: _Arithmetic, j: str) -> None:
            """x[i, j] less the sum of a[i, k] * x[k, j] over k, divided by a[i, i]."""
            slots = [w.slot(on.part) for _ in range(on.count)]
            for slot, part in zip(slots, x.load(i, j, on), strict=True):
                w.write(slot, part)
            with counted(f, start, stop, 1) as k, w.scope():
                factor = on.spread(a.load(i, k))
                rest = on.less_product(tuple(map(w.read, slots)), factor, x.load(k, j, on))
                for slot, part in zip(slots, rest, strict=True):
                    w.write(slot, part)
            found: Number = tuple(map(w.read, slots))
            x.store(i, j, found if unit else on.quotient(found, on.spread(a.load(i, i))), on)

        if _is_column(batch) and a.column == "1":
            _dot(batch, a, x, i, start, stop)
            if not unit:
                x.change(i, "0", lambda y: on.quotient(y, a.load(i, i)))
        elif _is_column(batch):
            if not unit:
                x.change(i, "0", lambda y: on.quotient(y, a.load(i, i)))
            _spread_out(batch, a, x, i, *((_plus(w, i, 1), n) if lower else ("0", i)))
        else:
            batch.along("0", batch.n, row, short=_FEW_SUMS, widest=4)


def _is_column(batch: _Batch) -> bool:
    """Whether the right side is one column of real numbers, so that vectors go along it."""
    return batch.n == "1" and batch.lanes(batch.rows) > 1


def _dot(batch: _Batch, a: _Matrix, x: _Matrix, i: str, start: str, stop: str) -> None:
    """x[i, 0] -= sum of a[i, k] * x[k, 0] over k."""
    w, on, column = batch.w, batch.on, x.transposed()
    type = LLType(on.dtype, batch.lanes(batch.rows))
    total = w.slot(type)
    w.write(total, type.constant(0.0))

    def subtract(on: _Arithmetic, k: str) -> None:
        w.write(total, *on.less_product((w.read(total),), a.load(i, k, on), column.load("0", k, on)))

    batch.along(start, stop, subtract, count=batch.rows)
    found = fold_lanes(w, "sum", on.dtype, w.read(total), type.lanes)
    x.change(i, "0", lambda y: (on.real("add", y[0], found),))


def _spread_out(batch: _Batch, a: _Matrix, x: _Matrix, i: str, start: str, stop: str) -> None:
    """x[k, 0] -= a[k, i] * x[i, 0] for k from `start` to before `stop`, where column i of `a` is a row of memory."""
    row, column, factor = a.transposed(), x.transposed(), x.load(i, "0")

    def change(on: _Arithmetic, k: str) -> None:
        entries = row.load(i, k, on)
        column.change("0", k, lambda y: on.less_product(y, on.spread(factor), entries), on)

    batch.along(start, stop, change, count=batch.rows)


def _triangular_solve(batch: _Batch) -> Callable[[str], None]:
    """Operands: a, b; x: as in `adjit.ir.ops.solving.triangular_solve`."""
    attributes, n, columns = batch.node.attributes, batch.m, batch.n
    lower, transpose, unit = (bool(attributes[name]) for name in ("lower", "transpose", "unit"))

    def one(index: str) -> None:
        a = _Matrix(batch.on, batch.at(0, index, n, n), n)
        b, x = (_Matrix(batch.on, batch.at(operand, index, n, columns), columns) for operand in (1, 2))
        _copied(batch, b, x, n, columns)
        _substitute(batch, a.transposed() if transpose else a, x, lower=lower != transpose, unit=unit)

    return one


def _lu_solve(batch: _Batch) -> Callable[[str], None]:
    """Operands: a, factors, order, b; x: as in `adjit.ir.ops.solving.lu_solve`."""
    n, columns = batch.m, batch.n
    transpose = bool(batch.node.attributes["transpose"])
    # Vectors along a column want it to stand in order until it is complete.
    rows = batch.rows
    room = batch.w.room(batch.on.part, rows) if transpose and isinstance(rows, int) and _is_column(batch) else ""

    def one(index: str) -> None:
        factors = _Matrix(batch.on, batch.at(1, index, n, n), n)
        order = batch.at(2, index, n, dtype=I64)
        b, x = (_Matrix(batch.on, batch.at(operand, index, n, columns), columns) for operand in (3, 4))
        if transpose:  # a^T = (U^T L^T) P^T: the rows of x are the solution's in the order of the factors
            into = _Matrix(batch.on, x.pointer, columns, rows=order)
            x = _Matrix(batch.on, room, columns) if room else into
            _copied(batch, b, x, n, columns)
            _substitute(batch, factors.transposed(), x, lower=True, unit=False)
            _substitute(batch, factors.transposed(), x, lower=False, unit=True)
            if room:
                _copied(batch, x, into, n, columns)
            return
        _copied(batch, _Matrix(batch.on, b.pointer, columns, rows=order), x, n, columns)
        _substitute(batch, factors, x, lower=True, unit=True)
        _substitute(batch, factors, x, lower=False, unit=False)

    return one


_ALGORITHMS: dict[str, Callable[[_Batch], Callable[[str], None]]] = {
    "lu": _lu, "cholesky": _cholesky, "triangular_solve": _triangular_solve, "lu_solve": _lu_solve
}  # fmt: skip
