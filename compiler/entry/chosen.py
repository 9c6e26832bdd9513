"""Word functions that look through small tensors: `x[mask]`, `x.nonzero()`, `x.equal(y)`."""

from __future__ import annotations

from adjit.compiler.entry.asked import UNANSWERED, own_array, said, truth
from adjit.compiler.entry.interpreter import Py_DecRef, PyObject_Vectorcall, memcpy
from adjit.compiler.entry.known import (
    ARRAY,
    D_F32,
    D_F64,
    D_I64,
    GETITEM,
    IS_RECORDING,
    IS_TRACING,
    MODE,
    MOST_AXES,
    N_F32,
    N_F64,
    N_I64,
    NEW_ARRAY,
    NONE,
    P_BOOL,
    P_F32,
    P_F64,
    P_I64,
    SLOW_EQUAL,
    SLOW_NONZERO,
    T_DTYPE,
)
from adjit.compiler.entry.making import make_memory, new_tensor
from adjit.compiler.entry.objects import array_of, in_order
from adjit.compiler.entry.parts import element_bytes, has_no_history
from adjit.compiler.entry.placed import MOST_MASKED, begins_with, span, trues
from adjit.compiler.entry.serve import mode_is_known, with_self
from adjit.compiler.llvm.words import byte, half, invoke, known, room, set_word, word
from adjit.runtime.layout import DATA, DESCRIPTION, DIMENSIONS, NDIM


def may_look(array: int) -> int:
    """Whether an array is one whose few elements, in order, are looked through here."""
    if array == 0 or not in_order(array) or span(array, 0) > MOST_MASKED:
        return 0
    return element_bytes(array) != 0 or word(array + DESCRIPTION) == known(P_BOOL)


def new_numbers(kind: int, rank: int, sizes: int) -> int:
    """A new tensor for numbers of the kind that one of NumPy's dtypes is; 0 with a Python error set."""
    dtype = known(D_F32)
    number = known(N_F32)
    if kind == known(P_F64):
        dtype = known(D_F64)
        number = known(N_F64)
    if kind == known(P_I64):
        dtype = known(D_I64)
        number = known(N_I64)
    array = invoke(known(NEW_ARRAY), known(ARRAY), rank, sizes, number, 0, 0, 0, 0, 0)
    if array == 0:
        return 0
    memory = make_memory(array, dtype)
    made = 0
    if memory != 0:
        made = new_tensor(dtype, known(NONE), array, memory)
        if made == 0:
            Py_DecRef(memory)
    if made == 0:
        Py_DecRef(array)
    return made


def take_where(mask: int, array: int, made: int, limit: int) -> int:
    """Copy the rows of an array where a mask is true, at most so many."""
    row = span(array, half(mask + NDIM)) * element_bytes(array)
    place = word(array + DATA)
    target = word(made + DATA)
    at = word(mask + DATA)
    last = at + span(mask, 0)
    while at < last and limit > 0:
        if byte(at):
            memcpy(target, place, row)
            target += row
            limit -= 1
        place += row
        at += 1
    return 0


def where_true(self: int, index: int) -> int:
    """`self[mask]`, a new reference; UNANSWERED where Python must make it, 0 for an error."""
    sizes = room(MOST_AXES)
    array = own_array(self)
    mask = own_array(index)
    if array == 0 or mask == 0 or word(mask + DESCRIPTION) != known(P_BOOL) or half(mask + NDIM) == 0:
        return UNANSWERED
    rank = half(mask + NDIM)
    if half(array + NDIM) > MOST_AXES or not may_look(array) or element_bytes(array) == 0 or not may_look(mask):
        return UNANSWERED
    if not begins_with(array, rank, word(mask + DIMENSIONS)):
        return UNANSWERED
    if not mode_is_known():
        return 0
    if word(known(MODE) + IS_TRACING) or not has_no_history(self, word(known(MODE) + IS_RECORDING)):
        return UNANSWERED
    count = trues(mask)
    set_word(sizes, count)
    axis = rank
    while axis < half(array + NDIM):
        set_word(sizes + 8 * (axis - rank + 1), word(word(array + DIMENSIONS) + 8 * axis))
        axis += 1
    made = new_numbers(word(array + DESCRIPTION), axis - rank + 1, sizes)
    if made != 0:
        take_where(mask, array, array_of(made), count)
    return made


def is_true(array: int, number: int) -> int:
    """Whether an element of an array in order is not 0."""
    place = word(array + DATA)
    if word(array + DESCRIPTION) == known(P_BOOL):
        return byte(place + number) != 0
    if word(array + DESCRIPTION) == known(P_F32):
        return half(place + 4 * number) & 0x7FFFFFFF != 0
    if word(array + DESCRIPTION) == known(P_F64):
        return word(place + 8 * number) << 1 != 0
    return word(place + 8 * number) != 0


def put_place(target: int, number: int, rank: int, dims: int) -> int:
    """Write where an element stands, one number for each axis."""
    rest = number
    axis = rank
    while axis > 0:
        axis -= 1
        set_word(target + 8 * axis, rest % word(dims + 8 * axis))
        rest = rest // word(dims + 8 * axis)
    return 0


def places_true(self: int, count: int, names: int) -> int:
    """`self.nonzero()`, a new reference; UNANSWERED where Python must make it, 0 for an error."""
    sizes = room(2)
    array = own_array(self)
    if count != 0 or names != 0 or not may_look(array) or half(array + NDIM) == 0:
        return UNANSWERED
    if not mode_is_known():
        return 0
    if word(known(MODE) + IS_TRACING):
        return UNANSWERED
    rank = half(array + NDIM)
    total = span(array, 0)
    found = 0
    k = 0
    while k < total:
        if is_true(array, k):
            found += 1
        k += 1
    set_word(sizes, found)
    set_word(sizes + 8, rank)
    made = new_numbers(known(P_I64), 2, sizes)
    if made == 0:
        return 0
    target = word(array_of(made) + DATA)
    k = 0
    while k < total and found > 0:
        if is_true(array, k):
            put_place(target, k, rank, word(array + DIMENSIONS))
            target += 8 * rank
            found -= 1
        k += 1
    return made


def same_element(array: int, other: int, number: int) -> int:
    """Whether two arrays of one dtype, in order, have equal numbers at a place; NaN equals none."""
    kind = word(array + DESCRIPTION)
    first = word(array + DATA)
    second = word(other + DATA)
    if kind == known(P_BOOL):
        return (byte(first + number) != 0) == (byte(second + number) != 0)
    if kind == known(P_F32):
        bits = half(first + 4 * number) & 0x7FFFFFFF
        if half(first + 4 * number) != half(second + 4 * number):
            return bits == 0 and half(second + 4 * number) & 0x7FFFFFFF == 0
        return bits <= 0x7F800000
    bits = word(first + 8 * number)
    if bits != word(second + 8 * number):
        return kind == known(P_F64) and bits << 1 == 0 and word(second + 8 * number) << 1 == 0
    return kind != known(P_F64) or bits & 0x7FFFFFFFFFFFFFFF <= 0x7FF0000000000000


def are_equal(self: int, value: int) -> int:
    """`self.equal(value)`, a new reference; UNANSWERED where Python must tell, 0 for an error."""
    array = own_array(self)
    other = own_array(value)
    if other == 0 or not may_look(array) or word(self + known(T_DTYPE)) != word(value + known(T_DTYPE)):
        return UNANSWERED
    if not in_order(other) or word(other + DESCRIPTION) != word(array + DESCRIPTION):
        return UNANSWERED
    if not mode_is_known():
        return 0
    if word(known(MODE) + IS_TRACING):
        return UNANSWERED
    if half(other + NDIM) != half(array + NDIM) or not begins_with(other, half(array + NDIM), word(array + DIMENSIONS)):
        return truth(0)
    total = span(array, 0)
    k = 0
    while k < total:
        if not same_element(array, other, k):
            return truth(0)
        k += 1
    return truth(1)


# -- the entries, as METH_FASTCALL | METH_KEYWORDS ------------------------------------------------------------------
def adjit_getitem(self: int, arguments: int, count: int, names: int) -> int:
    """`self[index]`."""
    found = UNANSWERED
    if count == 1 and names == 0:
        found = where_true(self, word(arguments))
    if found == UNANSWERED:
        return with_self(known(GETITEM), self, arguments, count, names)
    return found


def adjit_nonzero(self: int, arguments: int, count: int, names: int) -> int:
    """`x.nonzero()`."""
    return said(self, arguments, count, names, places_true(self, count, names), known(SLOW_NONZERO))


def adjit_equal(self: int, arguments: int, count: int, names: int) -> int:
    """`x.equal(y)`."""
    found = UNANSWERED
    if count == 1 and names == 0:
        found = are_equal(self, word(arguments))
    return said(self, arguments, count, names, found, known(SLOW_EQUAL))


def adjit_equal_function(self: int, arguments: int, count: int, names: int) -> int:
    """`equal(x, y)`."""
    found = UNANSWERED
    if count == 2 and names == 0:
        found = are_equal(word(arguments), word(arguments + 8))
    if found == UNANSWERED:
        return PyObject_Vectorcall(known(SLOW_EQUAL), arguments, count, names)
    return found


FUNCTIONS = (
    may_look, new_numbers, take_where, where_true, is_true, put_place, places_true, same_element, are_equal,
    adjit_getitem, adjit_nonzero, adjit_equal, adjit_equal_function,
)  # fmt: skip
