"""`matrices`: an algorithm on each small matrix of a batch, in row-major memory: LU, Cholesky, substitution.

Real numbers of a row are taken as vectors: every step changes rows by multiples of others.  Larger matrices go to the
host's LAPACK (`adjit.compiler.legalize`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjit.compiler.llvm.emit_fold import fold_lanes
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_matrix import SHORT_ROW, Arithmetic, Batch, Matrix, Number, copied, note_first, plus
from adjit.compiler.llvm.emit_state import Writer, size_of
from adjit.compiler.llvm.sequences import counted, offset, when
from adjit.compiler.llvm.text import LLType
from adjit.ir.graph import Node
from adjit.ir.types import I32, I64

# Fewer sums are taken one by one.
_FEW_SUMS = 4
# Rows that products are subtracted from together, which read the other rows once: with many registers, and with few.
_ROWS, _FEW_ROWS, _MANY_REGISTERS = 8, 4, 32


def emit_matrices(w: Writer, node: Node) -> None:
    """The matrices %begin..%end-1."""
    on = Arithmetic(w, node.inputs[0].type.dtype)
    m, n = (uniform(w, size_of(node.attributes[name])) for name in ("rows", "columns"))
    batch = Batch(w, node, on, m, n, *(size_of(node.attributes[name]) for name in ("rows", "columns")))
    one = _ALGORITHMS[str(node.attributes["algorithm"])](batch)
    with counted(w.f, "%begin", "%end", 1) as index, w.scope():
        one(index)


def _subtract(batch: Batch, target: Matrix, i: str, factor: Number, k: str, start: str, stop: str) -> None:
    """Row i of a matrix less `factor` times row k, from column `start` to before `stop`."""

    def change(on: Arithmetic, j: str) -> None:
        row = target.load(k, j, on)
        target.change(i, j, lambda x: on.less_product(x, on.spread(factor), row), on)

    batch.along(start, stop, change)


def _less_products(
    batch: Batch, x: Matrix, rows: Sequence[str], factor: Callable[[str, str], Number], columns: tuple[str, str],
    terms: tuple[str, str], short: int,
) -> None:  # fmt: skip
    """Rows i of `rows`, in the columns given, less the sum of factor(i, k) * row k of x over the k of `terms`."""
    w = batch.w

    def subtract(on: Arithmetic, j: str) -> None:
        slots = [[w.slot(on.part) for _ in range(on.count)] for _ in rows]
        for i, row in zip(rows, slots, strict=True):
            for slot, part in zip(row, x.load(i, j, on), strict=True):
                w.write(slot, part)
        with counted(w.f, *terms, 1) as k, w.scope():
            other = x.load(k, j, on)
            for i, row in zip(rows, slots, strict=True):
                rest = on.less_product(tuple(map(w.read, row)), on.spread(factor(i, k)), other)
                for slot, part in zip(row, rest, strict=True):
                    w.write(slot, part)
        for i, row in zip(rows, slots, strict=True):
            x.store(i, j, tuple(map(w.read, row)), on)

    batch.along(*columns, subtract, short=short, widest=2)


def _rows_together(batch: Batch, step: str, count: str, subtract: Callable[[Sequence[int]], None]) -> str:
    """In a loop over `count` rows, `subtract` for the numbers of some together before the first of them, at `step`.

    What is left to each is the sum over the rows from the one that is given on.
    """
    w, f = batch.w, batch.w.f
    many = w.options.target.vector_registers >= _MANY_REGISTERS
    rows = _ROWS if many and batch.on.count == 1 else _FEW_ROWS
    if isinstance(batch.rows, int) and batch.rows < 2 * rows:
        return "0"
    whole = f.let(f"icmp slt i64 {step}, {f.let(f'and i64 {count}, {-rows}')}")
    first = f.let(f"select i1 {whole}, i64 {f.let(f'and i64 {step}, {-rows}')}, i64 0")
    with when(f, f.let(f"and i1 {whole}, {f.let(f'icmp eq i64 {first}, {step}')}")), w.scope():
        subtract(range(rows))
    return first


# -- LU ----------------------------------------------------------------------------------------------------------------
def _lu(batch: Batch) -> Callable[[str], None]:
    """Operands: a; factors, pivots, order, info: as in `adjit.ir.ops.factorization.lu`."""
    w, f, on, m, n = batch.w, batch.w.f, batch.on, batch.m, batch.n
    shorter = f.let(f"icmp slt i64 {m}, {n}")
    count = f.let(f"select i1 {shorter}, i64 {m}, i64 {n}")
    info, best, place = w.slot(LLType(I32)), w.slot(on.part), w.slot(LLType(I64))

    def exchange(a: Matrix, order: str, step: str, other: str) -> None:
        def exchange_part(on: Arithmetic, j: str) -> None:
            upper, lower = a.load(step, j, on), a.load(other, j, on)
            a.store(step, j, lower, on)
            a.store(other, j, upper, on)

        batch.along("0", n, exchange_part)
        places = [offset(f, "i64", order, i) for i in (step, other)]
        rows = [f.let(f"load i64, ptr {p}, align 8") for p in places]
        for p, row in zip(places, reversed(rows), strict=True):
            f.line(f"store i64 {row}, ptr {p}, align 8")

    def pivot(a: Matrix, step: str) -> str:
        """The row of the greatest entry of the column from the diagonal on."""
        w.write(best, on.size(a.load(step, step)))
        w.write(place, step)
        with counted(f, plus(w, step, 1), m, 1) as i:
            size = on.size(a.load(i, step))
            with when(f, on.compare("ogt", size, w.read(best))):
                w.write(best, size)
                w.write(place, i)
        return w.read(place)

    def eliminate(a: Matrix, step: str) -> None:
        after = plus(w, step, 1)
        value = a.load(step, step)
        with counted(f, after, m, 1) as i:
            factor = on.quotient(a.load(i, step), value)
            a.store(i, step, factor)
            _subtract(batch, a, i, factor, step, after, n)

    def one(index: str) -> None:
        a = Matrix(on, batch.at(1, index, m, n), n)
        copied(batch, Matrix(on, batch.at(0, index, m, n), n), a, m, n)
        pivots, order = batch.at(2, index, count, dtype=I32), batch.at(3, index, m, dtype=I64)
        with counted(f, "0", m, 1) as i:
            f.line(f"store i64 {i}, ptr {offset(f, 'i64', order, i)}, align 8")
        w.write(info, "0")
        with counted(f, "0", count, 1) as step:
            other = pivot(a, step)
            number = f.let(f"trunc i64 {plus(w, other, 1)} to i32")
            f.line(f"store i32 {number}, ptr {offset(f, 'i32', pivots, step)}, align 4")
            with when(f, f.let(f"icmp ne i64 {other}, {step}")):
                exchange(a, order, step, other)
            singular = on.is_zero(a.load(step, step))
            note_first(w, info, singular, step)
            with when(f, f.let(f"xor i1 {singular}, true")):
                eliminate(a, step)
        f.line(f"store i32 {w.read(info)}, ptr {batch.at(4, index, dtype=I32)}, align 4")

    return one


# -- Cholesky ----------------------------------------------------------------------------------------------------------
def _cholesky(batch: Batch) -> Callable[[str], None]:
    """Operands: a; factor, info: as in `adjit.ir.ops.factorization.cholesky`."""
    w, f, on, n = batch.w, batch.w.f, batch.on, batch.n
    info = w.slot(LLType(I32))
    upper = bool(batch.node.attributes["upper"])

    def one(index: str) -> None:
        source = Matrix(on, batch.at(0, index, n, n), n)
        factor = Matrix(on, batch.at(1, index, n, n), n)
        w.write(info, "0")

        def entry(i: str, j: str) -> Number:
            return on.conj(source.load(j, i)) if upper else source.load(i, j)

        # What is computed is the factor's transpose, whose rows are vectors.
        with counted(f, "0", n, 1) as i, counted(f, "0", plus(w, i, 1), 1) as j:
            factor.store(j, i, on.conj(entry(i, j)))

        def coefficient(i: str, k: str) -> Number:
            return on.conj(factor.load(k, i))

        def subtract(rows: Sequence[str], start: str, stop: str) -> None:
            _less_products(batch, factor, rows, coefficient, (rows[0], n), (start, stop), SHORT_ROW)

        with counted(f, "0", n, 1) as j, w.scope():
            first = _rows_together(batch, j, n, lambda rows: subtract([plus(w, j, i) for i in rows], "0", j))
            subtract([j], first, j)
            square = factor.load(j, j)[0]
            good = on.compare("ogt", square, on.zero()[0])
            note_first(w, info, f.let(f"xor i1 {good}, true"), j)
            root = on.call("sqrt", square)
            factor.store(j, j, (root, *on.zero()[1:]))

            def divide(on: Arithmetic, i: str) -> None:
                divisor = on.spread((root,))[0]
                factor.change(j, i, lambda x: tuple(on.real("div", part, divisor) for part in x), on)

            batch.along(plus(w, j, 1), n, divide)
        with counted(f, "0", n, 1) as i, w.scope():
            after = plus(w, i, 1)
            with counted(f, after, n, 1) as j:
                factor.store(j, i, on.conj(factor.load(i, j)))
            batch.along(after, n, lambda wide, j: factor.store(i, j, wide.zero(), wide))
        with when(f, f.let(f"icmp ne i32 {w.read(info)}, 0")), counted(f, "0", n, 1) as i, counted(f, "0", n, 1) as j:
            factor.store(i, j, on.nan())
        f.line(f"store i32 {w.read(info)}, ptr {batch.at(2, index, dtype=I32)}, align 4")

    return one


# -- substitution ------------------------------------------------------------------------------------------------------
def _substitute(batch: Batch, a: Matrix, x: Matrix, *, lower: bool, unit: bool) -> None:
    """Overwrite x with the solution of a @ y = x; only a's triangle is read."""
    w, f, on, n = batch.w, batch.w.f, batch.on, batch.m
    with counted(f, "0", n, 1) as step, w.scope():
        i = step if lower else f.let(f"sub nsw i64 {f.let(f'sub nsw i64 {n}, 1')}, {step}")
        start, stop = ("0", i) if lower else (plus(w, i, 1), n)

        if _is_column(batch) and a.column == "1":
            _dot(batch, a, x, i, start, stop)
            if not unit:
                x.change(i, "0", lambda y: on.quotient(y, a.load(i, i)))
        elif _is_column(batch):
            if not unit:
                x.change(i, "0", lambda y: on.quotient(y, a.load(i, i)))
            _spread_out(batch, a, x, i, *((plus(w, i, 1), n) if lower else ("0", i)))
        else:
            def subtract(rows: Sequence[str], terms: tuple[str, str]) -> None:
                _less_products(batch, x, rows, a.load, ("0", batch.n), terms, _FEW_SUMS)

            def together(rows: Sequence[int]) -> None:
                subtract([plus(w, i, row if lower else -row) for row in rows], (start, stop))

            first = _rows_together(batch, step, n, together)
            subtract([i], (first, stop) if lower else (start, f.let(f"sub nsw i64 {n}, {first}")))
            if not unit:
                divisor = a.load(i, i)

                def divide(on: Arithmetic, j: str) -> None:
                    x.change(i, j, lambda y: on.quotient(y, on.spread(divisor)), on)

                batch.along("0", batch.n, divide, short=_FEW_SUMS)


def _is_column(batch: Batch) -> bool:
    """Whether the right side is one column of real numbers, so that vectors go along it."""
    return batch.n == "1" and batch.lanes(batch.rows) > 1


def _dot(batch: Batch, a: Matrix, x: Matrix, i: str, start: str, stop: str) -> None:
    """x[i, 0] -= sum of a[i, k] * x[k, 0] over k."""
    w, on, column = batch.w, batch.on, x.transposed()
    type = LLType(on.dtype, batch.lanes(batch.rows))
    total = w.slot(type)
    w.write(total, type.constant(0.0))

    def subtract(on: Arithmetic, k: str) -> None:
        w.write(total, *on.less_product((w.read(total),), a.load(i, k, on), column.load("0", k, on)))

    batch.along(start, stop, subtract, count=batch.rows)
    found = fold_lanes(w, "sum", on.dtype, w.read(total), type.lanes)
    x.change(i, "0", lambda y: (on.real("add", y[0], found),))


def _spread_out(batch: Batch, a: Matrix, x: Matrix, i: str, start: str, stop: str) -> None:
    """x[k, 0] -= a[k, i] * x[i, 0] for k from `start` to before `stop`, where column i of `a` is a row of memory."""
    row, column, factor = a.transposed(), x.transposed(), x.load(i, "0")

    def change(on: Arithmetic, k: str) -> None:
        entries = row.load(i, k, on)
        column.change("0", k, lambda y: on.less_product(y, on.spread(factor), entries), on)

    batch.along(start, stop, change, count=batch.rows)


def _triangular_solve(batch: Batch) -> Callable[[str], None]:
    """Operands: a, b; x: as in `adjit.ir.ops.solving.triangular_solve`."""
    attributes, n, columns = batch.node.attributes, batch.m, batch.n
    lower, transpose, unit = (bool(attributes[name]) for name in ("lower", "transpose", "unit"))

    def one(index: str) -> None:
        a = Matrix(batch.on, batch.at(0, index, n, n), n)
        b, x = (Matrix(batch.on, batch.at(operand, index, n, columns), columns) for operand in (1, 2))
        copied(batch, b, x, n, columns)
        _substitute(batch, a.transposed() if transpose else a, x, lower=lower != transpose, unit=unit)

    return one


def _lu_solve(batch: Batch) -> Callable[[str], None]:
    """Operands: a, factors, order, b; x: as in `adjit.ir.ops.solving.lu_solve`."""
    n, columns = batch.m, batch.n
    transpose = bool(batch.node.attributes["transpose"])
    # Vectors along a column want it to stand in order until it is complete.
    rows = batch.rows
    room = batch.w.room(batch.on.part, rows) if transpose and isinstance(rows, int) and _is_column(batch) else ""

    def one(index: str) -> None:
        factors = Matrix(batch.on, batch.at(1, index, n, n), n)
        order = batch.at(2, index, n, dtype=I64)
        b, x = (Matrix(batch.on, batch.at(operand, index, n, columns), columns) for operand in (3, 4))
        if transpose:  # a^T = (U^T L^T) P^T: the rows of x are the solution's in the order of the factors
            into = Matrix(batch.on, x.pointer, columns, rows=order)
            x = Matrix(batch.on, room, columns) if room else into
            copied(batch, b, x, n, columns)
            _substitute(batch, factors.transposed(), x, lower=True, unit=False)
            _substitute(batch, factors.transposed(), x, lower=False, unit=True)
            if room:
                copied(batch, x, into, n, columns)
            return
        copied(batch, Matrix(batch.on, b.pointer, columns, rows=order), x, n, columns)
        _substitute(batch, factors, x, lower=True, unit=True)
        _substitute(batch, factors, x, lower=False, unit=False)

    return one


_ALGORITHMS: dict[str, Callable[[Batch], Callable[[str], None]]] = {
    "lu": _lu, "cholesky": _cholesky, "triangular_solve": _triangular_solve, "lu_solve": _lu_solve
}  # fmt: skip
