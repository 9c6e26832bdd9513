"""LAPACK's LU and BLAS's triangular solve, from the library that NumPy itself runs on.

NumPy offers neither.  Its compiled module for linear algebra is linked with an OpenBLAS, whose functions are found
through it under the names that NumPy's builds give them; a NumPy built otherwise leaves `getrf` and `trsm` None.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjit.runtime.host_library import path

Array = NDArray[Any]
# How a build decorates a name, and the integers that its functions take.
SPELLINGS = (("scipy_{}_64_", ctypes.c_int64), ("{}_64_", ctypes.c_int64), ("{}64_", ctypes.c_int64))
_LETTERS = {np.dtype(name): letter for name, letter in zip(("f4", "f8", "c8", "c16"), "sdcz", strict=True)}


@cache
def _library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(path()) if path() else None  # a look-up goes through what it is linked with
    except OSError:
        return None


@cache
def _function(name: str) -> tuple[Any, Any] | None:
    """A function of the library, and its type of integers."""
    for spelling, integer in SPELLINGS:
        found = getattr(_library(), spelling.format(name), None)
        if found is not None:
            found.restype = None
            return found, integer
    return None


def available() -> bool:
    """Whether this NumPy's library has what is wanted."""
    return all(_function(letter + name) is not None for letter in "sdcz" for name in ("getrf", "trsm"))


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def factorize(matrix: Array) -> tuple[Array, int]:
    """Overwrite a matrix in Fortran's order with its LU factors; the pivots, counted from 1, and LAPACK's info."""
    found = _function(f"{_LETTERS[matrix.dtype]}getrf")
    assert found is not None and matrix.flags.f_contiguous
    getrf, integer = found
    m, n = matrix.shape
    pivots = np.zeros(min(m, n), np.dtype(integer))
    info = integer(0)
    sizes = [ctypes.byref(integer(size)) for size in (m, n)]
    leading = ctypes.byref(integer(max(m, 1)))
    getrf(*sizes, _pointer(matrix), leading, _pointer(pivots), ctypes.byref(info))
    return pivots, int(info.value)


def triangle_solver(
    dtype: np.dtype[Any], count: int, columns: int, *, lower: bool, transpose: bool, unit: bool
) -> Callable[[Array, Array], None]:
    """solve(a, x) overwrites x, [count, columns] in C's order, with the solution of a @ y = x or a^T @ y = x.

    In Fortran's order the memory of `a` and `x` holds their transposes, so y^T a^T = x^T is what is solved: from the
    right, with the other triangle.
    """
    found = _function(f"{_LETTERS[dtype]}trsm")
    assert found is not None
    trsm, integer = found
    flags = [b"R", b"U" if lower else b"L", b"T" if transpose else b"N", b"U" if unit else b"N"]
    sizes = [ctypes.byref(integer(size)) for size in (columns, count)]
    one = np.ones((), dtype)
    leading = [ctypes.byref(integer(max(size, 1))) for size in (count, columns)]
    # Fortran passes the lengths of strings after all other arguments.
    lengths = [ctypes.c_size_t(1)] * 4

    def solve(a: Array, x: Array) -> None:
        trsm(*flags, *sizes, _pointer(one), _pointer(a), leading[0], _pointer(x), leading[1], *lengths)

    return solve


def _symmetric(dtype: np.dtype[Any], step: str, hermitian: bool) -> tuple[Any, Any]:
    """LAPACK's function for symmetric matrices, or the one for Hermitian complex ones, and its type of integers."""
    name = f"{_LETTERS[dtype]}{'he' if hermitian and dtype.kind == 'c' else 'sy'}{step}"
    found = _function(name)
    if found is None:
        raise NotImplementedError(f"this NumPy's library has no {name}, which factors of symmetric matrices need")
    return found


def factorize_symmetric(matrix: Array, hermitian: bool) -> tuple[Array, int]:
    """Overwrite the lower triangle of a matrix in Fortran's order with its factors by `sytrf`; pivots and info."""
    sytrf, integer = _symmetric(matrix.dtype, "trf", hermitian)
    count = matrix.shape[0]
    pivots = np.zeros(count, np.dtype(integer))
    room = max(64 * count, 1)
    work = np.empty(room, matrix.dtype)
    info = integer(0)
    n, leading, length = (ctypes.byref(integer(size)) for size in (count, max(count, 1), room))
    one = ctypes.c_size_t(1)
    sytrf(b"L", n, _pointer(matrix), leading, _pointer(pivots), _pointer(work), length, ctypes.byref(info), one)
    return pivots, int(info.value)


def solve_symmetric(factors: Array, pivots: Array, b: Array, hermitian: bool) -> None:
    """Overwrite b, in Fortran's order, with the solution by `sytrs`, given the factors in Fortran's order."""
    sytrs, integer = _symmetric(factors.dtype, "trs", hermitian)
    count, columns = b.shape
    exchanged = np.ascontiguousarray(pivots, np.dtype(integer))
    info = integer(0)
    n, k, leading = (ctypes.byref(integer(size)) for size in (count, columns, max(count, 1)))
    one = ctypes.c_size_t(1)
    sytrs(b"L", n, k, _pointer(factors), leading, _pointer(exchanged), _pointer(b), leading, ctypes.byref(info), one)


# -- for compiled programs ---------------------------------------------------------------------------------------------
# What the names begin with by which compiled programs call functions of the library.
SYMBOL = "lapack."


def address(symbol: str) -> int | None:
    """The address of what a program calls `lapack.dsyevd`, a function of 64-bit integers; None without it."""
    found = _function(symbol.removeprefix(SYMBOL))
    if found is None or found[1] is not ctypes.c_int64:
        return None
    return ctypes.cast(found[0], ctypes.c_void_p).value


@cache
def work_sizes(letter: str, step: str, m: int, n: int, mode: str) -> tuple[int, int]:
    """The numbers, and integers, of memory that `step` asks for to work fastest on m x n matrices.

    `mode` is its first argument, a letter, or for `orgqr` the number of columns wanted.
    """
    found = _function(letter + step)
    assert found is not None
    integer = ctypes.c_int64
    dtype = np.dtype({code: dtype for dtype, code in _LETTERS.items()}[letter])
    numbers, integers = np.zeros(1, dtype), np.zeros(1, np.int64)
    rows, columns, least, query = (ctypes.byref(integer(k)) for k in (m, n, max(1, min(m, n)), -1))
    most = ctypes.byref(integer(max(1, m)))
    info, one, nothing, work = ctypes.byref(integer(0)), ctypes.c_size_t(1), None, _pointer(numbers)
    match step:
        case "syevd":
            wanted = _pointer(integers)
            found[0](mode.encode(), b"L", rows, nothing, most, nothing, work, query, wanted, query, info, one, one)
        case "gesdd":
            height = columns if mode == "A" else least
            sides = (rows, columns, nothing, most, nothing, nothing, most, nothing, height)
            found[0](mode.encode(), *sides, work, query, nothing, info, one)
        case "geqrf":
            found[0](rows, columns, nothing, most, nothing, work, query, info)
        case "orgqr":
            width = ctypes.byref(integer(int(mode)))
            found[0](rows, width, ctypes.byref(integer(min(m, n))), nothing, most, nothing, work, query, info)
    return max(1, int(numbers[0].real)), max(1, int(integers[0]))
