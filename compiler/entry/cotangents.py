"""Word functions over the cotangents of a walk: they arrive at places, add up, and are forgotten."""

from __future__ import annotations

from adjit.compiler.entry.explore import A_LEAF
from adjit.compiler.entry.interpreter import Py_DecRef, PyObject_Vectorcall, PyTuple_Size, memset
from adjit.compiler.entry.known import G_COTANGENTS, N_TYPES, SUM_OF, SUMS
from adjit.compiler.entry.making import make_array
from adjit.compiler.entry.objects import in_order
from adjit.compiler.llvm.words import half, known, room, run, set_word, word
from adjit.runtime.layout import DATA, DESCRIPTION, DIMENSIONS, NDIM


def cell_of(walk: int, place: int, which: int) -> int:
    """Where the cotangent of a place's result stands."""
    return word(walk + 8 * G_COTANGENTS) + 8 * word(place + 16) + 16 * which


def size_of(array: int) -> int:
    """How many elements an array has."""
    axis = half(array + NDIM)
    count = 1
    while axis > 0:
        axis -= 1
        count = count * word(word(array + DIMENSIONS) + 8 * axis)
    return count


def sum_program(array: int) -> int:
    """The program that adds up arrays of a dtype, or 0."""
    program = known(SUMS)
    while word(program) != 0 and word(program) != word(array + DESCRIPTION):
        program += 16
    return word(program + 8)


def asked_with(function: int, first: int, second: int) -> int:
    """What a Python function gives for two objects."""
    arguments = room(3)
    set_word(arguments, 0)
    set_word(arguments + 8, first)
    set_word(arguments + 16, second)
    return PyObject_Vectorcall(function, arguments + 8, 2, 0)


def add_to(program: int, present: int, array: int) -> int:
    """Add an array to one of its shape."""
    table = room(6)
    status = room(1)
    size = room(1)
    set_word(status, 0)
    set_word(size, size_of(array))
    set_word(table, status)
    set_word(table + 8, 0)
    set_word(table + 16, 0)
    set_word(table + 24, word(present + DATA))
    set_word(table + 32, word(array + DATA))
    set_word(table + 40, word(present + DATA))
    run(program, table, size)
    return 0


def arrive(cell: int, array: int, result: int) -> int:
    """Let a cotangent join those of its value; the reference to it passes; 0 with a Python error set."""
    present = word(cell)
    if present == 0:
        set_word(cell, array)
        set_word(cell + 8, result)
        return 1
    program = sum_program(array)
    if program != 0 and in_order(array):
        add_to(program, present, array)
        Py_DecRef(array)
        return 1
    total = asked_with(known(SUM_OF), present, array)
    Py_DecRef(array)
    if total == 0:
        return 0
    set_word(cell, total)
    set_word(cell + 8, 0)
    Py_DecRef(present)
    return 1


def zeros_for(cell: int, zero: int, size: int) -> int:
    """Give a result that nothing was made of its cotangent; 0 with a Python error set."""
    array = make_array(zero)
    if array == 0:
        return 0
    memset(word(array + DATA), 0, size)
    set_word(cell, array)
    return 1


def forget(walk: int, place: int) -> int:
    """Free the cotangents of a place."""
    count = 1
    if word(place + 8) != A_LEAF:
        count = PyTuple_Size(word(word(place) + known(N_TYPES)))
    while count > 0:
        count -= 1
        cell = cell_of(walk, place, count)
        array = word(cell)
        set_word(cell, 0)
        if array != 0:
            Py_DecRef(array)
    return 0


FUNCTIONS = (
    cell_of, size_of, sum_program, asked_with, add_to, arrive, zeros_for, forget,
)  # fmt: skip
