"""Word functions that read Python's objects: tensors, arrays, integers."""

from __future__ import annotations

from adjit.compiler.entry.interpreter import (
    Py_IncRef,
    PyFloat_FromDouble,
    PyLong_AsLongLongAndOverflow,
    PyLong_FromLongLong,
)
from adjit.compiler.entry.known import (
    ARRAY,
    MIX,
    NUMPY_FLOAT,
    NUMPY_INTEGER,
    NUMPY_SINGLE,
    PARAMETER,
    T_ARRAY,
    TENSOR,
)
from adjit.compiler.llvm.words import half, known, room, set_word, widened, word
from adjit.runtime.layout import CONTENT, DESCRIPTION, DIMENSIONS, FLAGS, IN_ORDER, NDIM, TYPE

# What `integer` answers for one beyond 64 bits.
OUTSIDE = -(2**63)


def is_tensor(value: int) -> int:
    """Whether an object is a tensor whose class adds no behaviour."""
    return word(value + TYPE) == known(TENSOR) or word(value + TYPE) == known(PARAMETER)


def array_of(value: int) -> int:
    """The array behind an operand, or 0."""
    array = value
    if is_tensor(value):
        array = word(value + known(T_ARRAY))
    if word(array + TYPE) == known(ARRAY):
        return array
    return 0


def integer(number: int) -> int:
    """The value of an int object."""
    overflow = room(1)
    set_word(overflow, 0)
    value = PyLong_AsLongLongAndOverflow(number, overflow)
    if half(overflow) != 0:
        return OUTSIDE
    return value


def plain_number(value: int) -> int:
    """Python's number for one of NumPy's scalars, other objects as they are: a new reference; 0 with an error set."""
    type = word(value + TYPE)
    if type == known(NUMPY_FLOAT):
        return PyFloat_FromDouble(word(value + CONTENT))
    if type == known(NUMPY_SINGLE):
        return PyFloat_FromDouble(widened(half(value + CONTENT)))
    if type == known(NUMPY_INTEGER):
        return PyLong_FromLongLong(word(value + CONTENT))
    Py_IncRef(value)
    return value


def mixed(code: int, part: int) -> int:
    """A hash with one more part."""
    code = (code ^ part) * MIX
    return code ^ (code >> 29)


def in_order(array: int) -> int:
    """Whether an array's elements stand aligned, one after another."""
    return half(array + FLAGS) & IN_ORDER == IN_ORDER


def is_ranked(wanted: int, array: int) -> int:
    """Whether there is an array, and it has the dtype and rank that a signature wants."""
    return array != 0 and word(array + DESCRIPTION) == word(wanted + 16) and half(array + NDIM) == word(wanted + 24)


def is_shaped(wanted: int, array: int) -> int:
    """Whether there is an array, and it has the dtype and sizes that a signature wants."""
    if not is_ranked(wanted, array):
        return 0
    rank = word(wanted + 24)
    dims = word(array + DIMENSIONS)
    sizes = word(wanted + 32)
    axis = 0
    while axis < rank:
        if word(dims + 8 * axis) != word(sizes + 8 * axis):
            return 0
        axis += 1
    return 1


FUNCTIONS = (is_tensor, array_of, integer, plain_number, mixed, in_order, is_ranked, is_shaped)
