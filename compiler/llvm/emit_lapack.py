"""`matrices` by LAPACK: a program's own calls of the library that NumPy runs on, matrix after matrix.

LAPACK wants matrices by columns, so they are turned on their way in and out.  It is called as NumPy calls it, in the
same order of memory, with as much room to work in, for Cholesky and QR of single precision in double: results have the
bits of `adjit.runtime.linear_algebra`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from adjit.compiler.llvm.emit_state import Writer
from adjit.compiler.llvm.sequences import counted, offset, when
from adjit.compiler.llvm.text import LLType
from adjit.compiler.loops.kinds import LAPACK_PREFIX
from adjit.compiler.memory import LINE
from adjit.ir.graph import Node
from adjit.ir.types import F32, F64, I32, I64, U8
from adjit.runtime.lapack import SYMBOL, work_sizes

# Bytes of memory on the stack.
_MOST_ON_STACK = 1 << 15


class _Matrices:
    """What stands in the kernel: operands and results, sizes, memory to work in, and the matrix's number."""

    def __init__(self, w: Writer, node: Node) -> None:
        self.w, self.f, self.node = w, w.f, node
        self.outside = LLType(node.inputs[0].type.dtype)  # of operands and results
        is_double = node.attributes["routine"] in ("cholesky", "qr")
        self.type = LLType(F64) if is_double else self.outside
        self.letter = "s" if self.type.dtype is F32 else "d"
        self.m, self.n = self._shape()
        self.least = min(self.m, self.n)
        self.index = ""
        self.used = 0
        self.scratch = ""

    def _shape(self) -> tuple[int, int]:
        m, n = self.node.inputs[0].type.dims[-2:]
        assert isinstance(m, int) and isinstance(n, int)
        return m, n

    # -- memory -------------------------------------------------------------------------------------------------------
    def room(self, count: int, type: LLType | None = None) -> str:
        """Scratch memory for so many numbers."""
        place = self.used
        self.used += -(-count * (type or self.type).dtype.itemsize // LINE) * LINE
        return offset(self.f, "i8", self.scratch, place)

    def buffer(self, operand: int) -> str:
        """The operand's, or result's, part for this matrix."""
        value = self.node.inputs[operand]
        count = prod(value.type.dims[self.node.inputs[0].type.ndim - 2 :])
        place = self.f.let(f"mul nsw i64 {self.index}, {count}")
        return offset(self.f, LLType(value.type.dtype).llvm, self.w.buffers[value], place)

    def load(self, pointer: str, place: str | int) -> str:
        at = offset(self.f, self.type.llvm, pointer, place)
        return self.f.let(f"load {self.type.llvm}, ptr {at}, align {self.type.dtype.itemsize}")

    def store(self, value: str, pointer: str, place: str | int) -> None:
        at = offset(self.f, self.type.llvm, pointer, place)
        self.f.line(f"store {self.type.llvm} {value}, ptr {at}, align {self.type.dtype.itemsize}")

    def take(self, operand: str, place: str) -> str:
        """A number of an operand."""
        at, type = offset(self.f, self.outside.llvm, operand, place), self.outside
        found = self.f.let(f"load {type.llvm}, ptr {at}, align {type.dtype.itemsize}")
        return found if type == self.type else self.f.let(f"fpext {type.llvm} {found} to {self.type.llvm}")

    def give(self, value: str, result: str, place: str) -> None:
        """The counterpart of `take`."""
        at, type = offset(self.f, self.outside.llvm, result, place), self.outside
        value = value if type == self.type else self.f.let(f"fptrunc {self.type.llvm} {value} to {type.llvm}")
        self.f.line(f"store {type.llvm} {value}, ptr {at}, align {type.dtype.itemsize}")

    def at(self, i: str, j: str, row: int) -> str:
        return self.f.let(f"add nsw i64 {self.f.let(f'mul nsw i64 {i}, {row}')}, {j}")

    def copy(self, source: str, target: str, count: int) -> None:
        """Numbers of operands as they are."""
        self.f.copy(target, source, str(count * self.outside.dtype.itemsize))

    def take_columns(self, operand: str, target: str, rows: int, columns: int) -> None:
        """target[j, i] = operand[i, j]."""
        with counted(self.f, "0", str(columns), 1) as j, counted(self.f, "0", str(rows), 1) as i:
            self.store(self.take(operand, self.at(i, j, columns)), target, self.at(j, i, rows))

    def give_rows(self, source: str, result: str, rows: int, columns: int) -> None:
        """result[i, j] = source[j, i]."""
        with counted(self.f, "0", str(rows), 1) as i, counted(self.f, "0", str(columns), 1) as j:
            self.give(self.load(source, self.at(j, i, rows)), result, self.at(i, j, columns))

    def give_all(self, source: str, result: str, count: int) -> None:
        with counted(self.f, "0", str(count), 1) as i:
            self.give(self.load(source, i), result, i)

    # -- calls --------------------------------------------------------------------------------------------------------
    def number(self, value: int) -> str:
        """The address of an integer."""
        name = f"@lapack.integer.{value}"
        self.w.module.declare(f"{name} = internal constant i64 {value}, align 8")
        return name

    def letters(self, text: str) -> list[str]:
        """The addresses of letters."""
        names = []
        for letter in text:
            self.w.module.declare(f"@lapack.letter.{letter} = internal constant i8 {ord(letter)}")
            names.append(f"@lapack.letter.{letter}")
        return names

    def call(self, step: str, *arguments: str, letters: int = 0) -> None:
        """A function of Fortran: addresses of all arguments, then the lengths of the letters."""
        name = f"{SYMBOL}{self.letter}{step}"
        types = ", ".join(["ptr"] * len(arguments) + ["i64"] * letters)
        self.w.module.declare_outside(name, f"declare void @{name}({types})")
        given = ", ".join([*(f"ptr {argument}" for argument in arguments), *["i64 1"] * letters])
        self.f.line(f"call void @{name}({given})")

    def tell(self, info: str, wrong: str = "false") -> None:
        """LAPACK's info as the last result; 1 where something else is wrong."""
        f = self.f
        found = f.let(f"trunc i64 {f.let(f'load i64, ptr {info}, align 8')} to i32")
        found = f.let(f"select i1 {wrong}, i32 1, i32 {found}")
        f.line(f"store i32 {found}, ptr {self.buffer(len(self.node.inputs) - 1)}, align 4")

    def only_finite(self, matrix: str, m: int, n: int, upper: bool | None = None) -> tuple[str, str]:
        """Whether a matrix by columns, or a triangle of it, has infinity or NaN, and whether NaN; then it becomes 0.

        With infinity LAPACK's iterations need not come to an end.
        """
        f, seen, type = self.f, self.w.slot(LLType(U8)), self.type.llvm
        self.w.write(seen, "0")
        with counted(f, "0", str(n), 1) as j:
            first = j if upper is False else "0"
            last = f.let(f"add nsw i64 {j}, 1") if upper else str(m)
            with counted(f, first, last, 1) as i:
                x = self.load(matrix, self.at(j, i, m))
                # x - x is 0 for finite x alone.
                bad = f.let(f"fcmp une {type} {f.let(f'fsub {type} {x}, {x}')}, {self.type.constant(0.0)}")
                nan = f.let(f"fcmp uno {type} {x}, {x}")
                bits = f.let(f"select i1 {nan}, i8 3, i8 {f.let(f'zext i1 {bad} to i8')}")
                self.w.write(seen, f.let(f"or i8 {self.w.read(seen)}, {bits}"))
        found = self.w.read(seen)
        wrong, nan = f.let(f"icmp ne i8 {found}, 0"), f.let(f"icmp eq i8 {found}, 3")
        self.fill(wrong, matrix, m * n, 0.0)
        return wrong, nan

    def fill(self, condition: str, numbers: str, count: int, value: float) -> None:
        """The value for all the numbers, where the condition holds."""
        with when(self.f, condition), counted(self.f, "0", str(count), 1) as i:
            self.store(self.type.constant(value), numbers, i)


def emit_lapack(w: Writer, node: Node, workspace: str) -> int:
    """The matrices %begin..%end-1; how many bytes of `workspace` each of them has."""
    matrices = _Matrices(w, node)
    one = _ROUTINES[str(node.attributes["algorithm"]).removeprefix(LAPACK_PREFIX)]
    # What a routine works in is known when it stands there: its address is defined before, in this line's place.
    matrices.scratch = w.f.reserve()
    place = f"  ; {matrices.scratch}"
    w.f.lines.append(place)
    with counted(w.f, "%begin", "%end", 1) as index, w.scope():
        matrices.index = index
        one(matrices)
    if matrices.used <= _MOST_ON_STACK:
        w.f.lines.remove(place)
        w.f.lines.insert(1, f"  {matrices.scratch} = alloca [{matrices.used or 1} x i8], align {LINE}")
        return 0
    # The matrices of a call follow each other and share the memory of its first.
    first = w.f.reserve()
    w.f.lines[w.f.lines.index(place)] = (
        f"  {first} = mul nsw i64 %begin, {matrices.used}\n"
        f"  {matrices.scratch} = getelementptr i8, ptr {workspace}, i64 {first}"
    )
    return matrices.used


# -- factorizations ----------------------------------------------------------------------------------------------------
def _eigh(c: _Matrices) -> None:
    """Operands: a; values, vectors, info; without vectors for `eigvalsh`."""
    n, matrix, values = c.n, c.room(c.n * c.n), c.room(c.n)
    wanted = len(c.node.inputs) == 4
    c.take_columns(c.buffer(0), matrix, n, n)
    # A single number is its own eigenvalue, whatever it is.
    wrong, nan = c.only_finite(matrix, n, n, bool(c.node.attributes["upper"])) if n > 1 else ("false", "false")
    mode = "V" if wanted else "N"
    numbers, integers = work_sizes(c.letter, "syevd", n, n, mode)
    work, places, info = c.room(numbers), c.room(integers, LLType(I64)), c.room(1, LLType(I64))
    size, first = c.number(n), c.letters(mode + ("U" if c.node.attributes["upper"] else "L"))
    ends = (work, c.number(numbers), places, c.number(integers), info)
    c.call("syevd", *first, size, matrix, size, values, *ends, letters=2)
    c.fill(wrong, values, n, float("nan"))
    c.give_all(values, c.buffer(1), n)
    if wanted:
        c.fill(wrong, matrix, n * n, float("nan"))
        c.give_rows(matrix, c.buffer(2), n, n)
    c.tell(info, nan)


def _svd(c: _Matrices) -> None:
    """Operands: a; u, s, vh, info; of the results only s and info for `svdvals`."""
    m, n, least = c.m, c.n, c.least
    wanted = len(c.node.inputs) == 5
    full = bool(c.node.attributes["full"])
    mode = ("A" if full else "S") if wanted else "N"
    width, height = (m, n) if full else (least, least)
    matrix, values = c.room(m * n), c.room(least)
    c.take_columns(c.buffer(0), matrix, m, n)
    wrong, nan = c.only_finite(matrix, m, n)
    u, vh = (c.room(m * width), c.room(height * n)) if wanted else (matrix, matrix)
    numbers, _ = work_sizes(c.letter, "gesdd", m, n, mode)
    work, places, info = c.room(numbers), c.room(8 * least, LLType(I64)), c.room(1, LLType(I64))
    rows, columns = c.number(m), c.number(n)
    left = (*c.letters(mode), rows, columns, matrix, rows, values, u, rows, vh, c.number(height))
    c.call("gesdd", *left, work, c.number(numbers), places, info, letters=1)
    c.fill(wrong, values, least, float("nan"))
    c.give_all(values, c.buffer(2 if wanted else 1), least)
    if wanted:
        c.fill(wrong, u, m * width, float("nan"))
        c.give_rows(u, c.buffer(1), m, width)
        c.fill(wrong, vh, height * n, float("nan"))
        c.give_rows(vh, c.buffer(3), height, n)
    c.tell(info, nan)


def _qr(c: _Matrices) -> None:
    """Operands: a; q, r."""
    f, m, n, least = c.f, c.m, c.n, c.least
    width = m if c.node.attributes["complete"] else least
    matrix, tau = c.room(m * max(n, width)), c.room(least)
    c.take_columns(c.buffer(0), matrix, m, n)
    numbers = max(1, n, work_sizes(c.letter, "geqrf", m, n, "")[0])
    more = max(1, width, work_sizes(c.letter, "orgqr", m, n, str(width))[0])
    work, info = c.room(max(numbers, more)), c.room(1, LLType(I64))
    rows, columns = c.number(m), c.number(n)
    c.call("geqrf", rows, columns, matrix, rows, tau, work, c.number(numbers), info)
    r = c.buffer(2)
    with counted(f, "0", str(width), 1) as i, counted(f, "0", str(n), 1) as j:
        inside = f.let(f"icmp sge i64 {j}, {i}")
        entry = c.load(matrix, c.at(j, i, m))
        zero = c.type.constant(0.0)
        c.give(f.let(f"select i1 {inside}, {c.type.llvm} {entry}, {c.type.llvm} {zero}"), r, c.at(i, j, n))
    if width > n:
        f.clear(offset(f, c.type.llvm, matrix, m * n), m * (width - n) * c.type.dtype.itemsize)
    c.call("orgqr", rows, c.number(width), c.number(least), matrix, rows, tau, work, c.number(more), info)
    c.give_rows(matrix, c.buffer(1), m, width)


def _cholesky(c: _Matrices) -> None:
    """Operands: a; factor, info."""
    f, n, matrix = c.f, c.n, c.room(c.n * c.n)
    source, factor = c.buffer(0), c.buffer(1)
    upper = bool(c.node.attributes["upper"])
    with counted(f, "0", str(n), 1) as j, counted(f, "0", str(n), 1) as i:
        c.store(c.take(source, c.at(j, i, n) if upper else c.at(i, j, n)), matrix, c.at(j, i, n))
    info, size = c.room(1, LLType(I64)), c.number(n)
    c.call("potrf", *c.letters("L"), size, matrix, size, info, letters=1)
    _tell_nan(c, matrix, info)
    failed = f.let(f"icmp ne i64 {f.let(f'load i64, ptr {info}, align 8')}, 0")
    zero, nan = c.type.constant(0.0), c.type.constant(float("nan"))
    with counted(f, "0", str(n), 1) as i, counted(f, "0", str(n), 1) as j:
        above = f.let(f"icmp sgt i64 {j}, {i}")
        entry = c.load(matrix, c.at(j, i, n))
        entry = f.let(f"select i1 {above}, {c.type.llvm} {zero}, {c.type.llvm} {entry}")
        c.give(f.let(f"select i1 {failed}, {c.type.llvm} {nan}, {c.type.llvm} {entry}"), factor, c.at(i, j, n))
    c.tell(info)


def _tell_nan(c: _Matrices, matrix: str, info: str) -> None:
    """The order of the first minor whose pivot is NaN as `info`, which LAPACK takes for a positive one."""
    f, first = c.f, c.w.slot(LLType(I64))
    c.w.write(first, f.let(f"load i64, ptr {info}, align 8"))
    with counted(f, "0", str(c.n), 1) as i:
        pivot, before = c.load(matrix, c.at(i, i, c.n)), c.w.read(first)
        nan = f.let(f"fcmp uno {c.type.llvm} {pivot}, {pivot}")
        here = f.let(f"and i1 {nan}, {f.let(f'icmp eq i64 {before}, 0')}")
        c.w.write(first, f.let(f"select i1 {here}, i64 {f.let(f'add nsw i64 {i}, 1')}, i64 {before}"))
    f.line(f"store i64 {c.w.read(first)}, ptr {info}, align 8")


def _lu(c: _Matrices) -> None:
    """Operands: a; factors, pivots, order, info."""
    f, m, n, least = c.f, c.m, c.n, c.least
    matrix, exchanged, info = c.room(m * n), c.room(least, LLType(I64)), c.room(1, LLType(I64))
    c.take_columns(c.buffer(0), matrix, m, n)
    rows = c.number(m)
    c.call("getrf", rows, c.number(n), matrix, rows, exchanged, info)
    c.give_rows(matrix, c.buffer(1), m, n)
    pivots, order = c.buffer(2), c.buffer(3)
    with counted(f, "0", str(m), 1) as i:
        f.line(f"store i64 {i}, ptr {offset(f, 'i64', order, i)}, align 8")
    with counted(f, "0", str(least), 1) as step:
        number = f.let(f"load i64, ptr {offset(f, 'i64', exchanged, step)}, align 8")
        narrow = f.let(f"trunc i64 {number} to i32")
        f.line(f"store i32 {narrow}, ptr {offset(f, LLType(I32).llvm, pivots, step)}, align 4")
        places = [offset(f, "i64", order, at) for at in (step, f.let(f"sub nsw i64 {number}, 1"))]
        values = [f.let(f"load i64, ptr {place}, align 8") for place in places]
        for place, value in zip(places, reversed(values), strict=True):
            f.line(f"store i64 {value}, ptr {place}, align 8")
    c.tell(info)


# -- substitution ------------------------------------------------------------------------------------------------------
def _substitute(
    c: _Matrices, a: str, x: str, n: int, columns: int, *, lower: bool, transpose: bool, unit: bool
) -> None:
    """Overwrite x, [n, columns], with the solution of a @ y = x or a^T @ y = x.

    By columns the memory holds the transposes, so y^T a^T = x^T is solved: from the right, with the other triangle.
    """
    flags = "R" + ("U" if lower else "L") + ("T" if transpose else "N") + ("U" if unit else "N")
    width, count = c.number(columns), c.number(n)
    c.w.module.declare(f"@lapack.one.{c.letter} = internal constant {c.type.llvm} 1.0, align 8")
    c.call("trsm", *c.letters(flags), width, count, f"@lapack.one.{c.letter}", a, count, x, width, letters=4)


def _triangular_solve(c: _Matrices) -> None:
    """Operands: a, b; x."""
    attributes, (n, columns) = c.node.attributes, _sides(c, 1)
    x = c.buffer(2)
    c.copy(c.buffer(1), x, n * columns)
    lower, transpose, unit = (bool(attributes[name]) for name in ("lower", "transpose", "unit"))
    _substitute(c, c.buffer(0), x, n, columns, lower=lower, transpose=transpose, unit=unit)


def _lu_solve(c: _Matrices) -> None:
    """Operands: a, factors, order, b; x."""
    n, columns = _sides(c, 3)
    factors, order, b, x = (c.buffer(operand) for operand in (1, 2, 3, 4))
    if not c.node.attributes["transpose"]:
        _ordered(c, order, b, x, n, columns, taken=True)
        _substitute(c, factors, x, n, columns, lower=True, transpose=False, unit=True)
        _substitute(c, factors, x, n, columns, lower=False, transpose=False, unit=False)
        return
    found = c.room(n * columns)
    c.copy(b, found, n * columns)
    _substitute(c, factors, found, n, columns, lower=False, transpose=True, unit=False)
    _substitute(c, factors, found, n, columns, lower=True, transpose=True, unit=True)
    _ordered(c, order, found, x, n, columns, taken=False)


def _ordered(c: _Matrices, order: str, source: str, target: str, n: int, columns: int, *, taken: bool) -> None:
    """target[i] = source[order[i]] if the rows are `taken`, else target[order[i]] = source[i]."""
    f = c.f
    with counted(f, "0", str(n), 1) as i:
        other = f.let(f"load i64, ptr {offset(f, 'i64', order, i)}, align 8")
        rows = (other, i) if taken else (i, other)
        start, end = (
            offset(f, c.type.llvm, pointer, f.let(f"mul nsw i64 {row}, {columns}"))
            for pointer, row in zip((source, target), rows, strict=True)
        )
        c.copy(start, end, columns)


def _sides(c: _Matrices, operand: int) -> Sequence[int]:
    n, columns = c.node.inputs[operand].type.dims[-2:]
    assert isinstance(n, int) and isinstance(columns, int)
    return n, columns


_ROUTINES: dict[str, Callable[[_Matrices], None]] = {
    "eigh": _eigh, "svd": _svd, "qr": _qr, "cholesky": _cholesky, "lu": _lu, "triangular_solve": _triangular_solve,
    "lu_solve": _lu_solve,
}  # fmt: skip
