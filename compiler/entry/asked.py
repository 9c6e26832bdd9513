"""Word functions that say what a tensor is: `x.size(0)`, `x.stride()`, `float(x)`, `x.is_leaf`.

Only plain questions about tensors with an array are answered here; all others are Python's.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import (
    Py_DecRef,
    Py_IncRef,
    PyFloat_FromDouble,
    PyLong_FromLongLong,
    PyTuple_New,
    PyType_GenericAlloc,
)
from adjit.compiler.entry.known import (
    FALSE,
    INTEGER,
    IS_TRACING,
    ITEM_SIZE,
    M_ARRAY,
    MODE,
    NONE,
    P_BOOL,
    P_F32,
    P_F64,
    P_I64,
    SHAPE,
    SLOW_BOOL,
    SLOW_DATA_PTR,
    SLOW_DIM,
    SLOW_FLOAT,
    SLOW_GRAD,
    SLOW_GRAD_FN,
    SLOW_INT,
    SLOW_IS_CONTIGUOUS,
    SLOW_IS_LEAF,
    SLOW_ITEM,
    SLOW_LEN,
    SLOW_NUMEL,
    SLOW_OFFSET,
    SLOW_REQUIRES,
    SLOW_SIZE,
    SLOW_STRIDE,
    T_ARRAY,
    T_BASE,
    T_GRAD,
    T_HISTORY,
    T_LEAF,
    T_MEMORY,
    T_REQUIRES,
    T_SEEN,
    TRUE,
)
from adjit.compiler.entry.objects import OUTSIDE, array_of, integer, is_tensor
from adjit.compiler.entry.serve import mode_is_known, spread
from adjit.compiler.llvm.words import byte, half, known, set_word, widened, word
from adjit.runtime.layout import ALIGNED, CONTIGUOUS, DATA, DESCRIPTION, DIMENSIONS, FLAGS, ITEMS, NDIM, STRIDES, TYPE

# What stands for an answer that is Python's.
UNANSWERED = -1


def own_array(self: int) -> int:
    """The array of a tensor whose class adds no behaviour, or 0."""
    if not is_tensor(self):
        return 0
    return array_of(self)


def said(self: int, arguments: int, count: int, names: int, found: int, slow: int) -> int:
    """An answer, or Python's."""
    if found == UNANSWERED:
        return spread(slow, self, arguments, count, names)
    return found


def truth(value: int) -> int:
    """True or False, a new reference."""
    found = known(FALSE)
    if value:
        found = known(TRUE)
    Py_IncRef(found)
    return found


def wrapped(axis: int, rank: int) -> int:
    """The number of an axis that an object names, or -1."""
    if word(axis + TYPE) != known(INTEGER):
        return -1
    place = integer(axis)
    if place == OUTSIDE:
        return -1
    if place < 0:
        place += rank
    if place >= rank:
        return -1
    return place


def counted(array: int) -> int:
    """How many elements an array has."""
    total = 1
    axis = half(array + NDIM)
    dims = word(array + DIMENSIONS)
    while axis > 0:
        axis -= 1
        total = total * word(dims + 8 * axis)
    return total


def item_size(array: int) -> int:
    """The bytes of an element, or 0 where they are not known."""
    if known(ITEM_SIZE) == 0:
        return 0
    return half(word(array + DESCRIPTION) + known(ITEM_SIZE))


def numbered(tuple: int, words: int, count: int, unit: int) -> int:
    """A new tuple with so many numbers in units; 0 with a Python error set."""
    k = 0
    while tuple != 0 and k < count:
        number = PyLong_FromLongLong(word(words + 8 * k) // unit)
        if number == 0:
            Py_DecRef(tuple)
            return 0
        set_word(tuple + ITEMS + 8 * k, number)
        k += 1
    return tuple


def sizes_asked(self: int, arguments: int, count: int, names: int) -> int:
    """The shape, or the size of an axis."""
    array = own_array(self)
    if array == 0 or count > 1 or names != 0:
        return UNANSWERED
    rank = half(array + NDIM)
    dims = word(array + DIMENSIONS)
    if count == 0:
        return numbered(PyType_GenericAlloc(known(SHAPE), rank), dims, rank, 1)
    axis = wrapped(word(arguments), rank)
    if axis < 0:
        return UNANSWERED
    return PyLong_FromLongLong(word(dims + 8 * axis))


def strides_asked(self: int, arguments: int, count: int, names: int) -> int:
    """The strides in elements, or that of an axis; not of a tensor without elements, or with negative strides."""
    array = own_array(self)
    if array == 0 or count > 1 or names != 0:
        return UNANSWERED
    rank = half(array + NDIM)
    strides = word(array + STRIDES)
    unit = item_size(array)
    k = 0
    while k < rank:
        if word(strides + 8 * k) < 0:
            return UNANSWERED
        k += 1
    if unit == 0 or counted(array) == 0:
        return UNANSWERED
    if count == 0:
        return numbered(PyTuple_New(rank), strides, rank, unit)
    axis = wrapped(word(arguments), rank)
    if axis < 0:
        return UNANSWERED
    return PyLong_FromLongLong(word(strides + 8 * axis) // unit)


def offset_asked(self: int, count: int, names: int) -> int:
    """How many elements of the memory lie before the first."""
    array = own_array(self)
    if array == 0 or count != 0 or names != 0:
        return UNANSWERED
    whole = array_of(word(word(self + known(T_MEMORY)) + known(M_ARRAY)))
    unit = item_size(array)
    if whole == 0 or unit == 0 or counted(array) == 0 or word(array + DATA) < word(whole + DATA):
        return UNANSWERED
    return PyLong_FromLongLong((word(array + DATA) - word(whole + DATA)) // unit)


def one_element(self: int, count: int, names: int) -> int:
    """The array of a tensor with one aligned element that may be told now; 0 where Python must, or -1 with an error."""
    array = own_array(self)
    if array == 0 or count != 0 or names != 0 or counted(array) != 1 or half(array + FLAGS) & ALIGNED == 0:
        return 0
    if not mode_is_known():
        return -1
    if word(known(MODE) + IS_TRACING):
        return 0
    return array


def float_told(array: int) -> int:
    """A float of the element of an array, or UNANSWERED."""
    if word(array + DESCRIPTION) == known(P_F32):
        return PyFloat_FromDouble(widened(half(word(array + DATA))))
    if word(array + DESCRIPTION) == known(P_F64):
        return PyFloat_FromDouble(word(word(array + DATA)))
    return UNANSWERED


def item_told(array: int) -> int:
    """The element of an array as a Python number, or UNANSWERED."""
    if word(array + DESCRIPTION) == known(P_I64):
        return PyLong_FromLongLong(word(word(array + DATA)))
    if word(array + DESCRIPTION) == known(P_BOOL):
        return truth(byte(word(array + DATA)))
    return float_told(array)


def truth_told(array: int) -> int:
    """Whether the element of an array is not 0, or UNANSWERED."""
    place = word(array + DATA)
    if word(array + DESCRIPTION) == known(P_BOOL):
        return truth(byte(place))
    if word(array + DESCRIPTION) == known(P_I64):
        return truth(word(place))
    if word(array + DESCRIPTION) == known(P_F32):
        return truth(half(place) & 0x7FFFFFFF)
    if word(array + DESCRIPTION) == known(P_F64):
        return truth(word(place) << 1)
    return UNANSWERED


def is_fresh(self: int) -> int:
    """Whether what a tensor knows of its history is so: no base of it was written since."""
    if own_array(self) == 0:
        return 0
    base = word(self + known(T_BASE))
    return base == known(NONE) or word(base + known(T_HISTORY)) == word(self + known(T_SEEN))


def is_leaf(self: int) -> int:
    """Whether a tensor that is fresh is no result of a recorded operation."""
    return word(self + known(T_REQUIRES)) != known(TRUE) or word(self + known(T_LEAF)) == known(TRUE)


# -- the entries, as METH_FASTCALL | METH_KEYWORDS ------------------------------------------------------------------
def adjit_size(self: int, arguments: int, count: int, names: int) -> int:
    """`x.size()`, `x.size(0)`, `x.shape`."""
    return said(self, arguments, count, names, sizes_asked(self, arguments, count, names), known(SLOW_SIZE))


def adjit_stride(self: int, arguments: int, count: int, names: int) -> int:
    """`x.stride()`, `x.stride(0)`."""
    return said(self, arguments, count, names, strides_asked(self, arguments, count, names), known(SLOW_STRIDE))


def adjit_offset(self: int, arguments: int, count: int, names: int) -> int:
    """`x.storage_offset()`."""
    return said(self, arguments, count, names, offset_asked(self, count, names), known(SLOW_OFFSET))


def adjit_data_ptr(self: int, arguments: int, count: int, names: int) -> int:
    """`x.data_ptr()`."""
    found = UNANSWERED
    if own_array(self) != 0 and count == 0 and names == 0:
        if not mode_is_known():
            return 0
        if not word(known(MODE) + IS_TRACING):
            found = PyLong_FromLongLong(word(word(self + known(T_ARRAY)) + DATA))
    return said(self, arguments, count, names, found, known(SLOW_DATA_PTR))


def adjit_dim(self: int, arguments: int, count: int, names: int) -> int:
    """`x.dim()`, `x.ndim`."""
    found = UNANSWERED
    if own_array(self) != 0 and count == 0 and names == 0:
        found = PyLong_FromLongLong(half(own_array(self) + NDIM))
    return said(self, arguments, count, names, found, known(SLOW_DIM))


def adjit_numel(self: int, arguments: int, count: int, names: int) -> int:
    """`x.numel()`."""
    found = UNANSWERED
    if own_array(self) != 0 and count == 0 and names == 0:
        found = PyLong_FromLongLong(counted(own_array(self)))
    return said(self, arguments, count, names, found, known(SLOW_NUMEL))


def adjit_is_contiguous(self: int, arguments: int, count: int, names: int) -> int:
    """`x.is_contiguous()`."""
    found = UNANSWERED
    if own_array(self) != 0 and count == 0 and names == 0:
        found = truth(half(own_array(self) + FLAGS) & CONTIGUOUS)
    return said(self, arguments, count, names, found, known(SLOW_IS_CONTIGUOUS))


def adjit_len(self: int, arguments: int, count: int, names: int) -> int:
    """`len(x)`."""
    found = UNANSWERED
    if own_array(self) != 0 and count == 0 and names == 0 and half(own_array(self) + NDIM) > 0:
        found = PyLong_FromLongLong(word(word(own_array(self) + DIMENSIONS)))
    return said(self, arguments, count, names, found, known(SLOW_LEN))


def adjit_item(self: int, arguments: int, count: int, names: int) -> int:
    """`x.item()`."""
    array = one_element(self, count, names)
    if array < 0:
        return 0
    found = UNANSWERED
    if array != 0:
        found = item_told(array)
    return said(self, arguments, count, names, found, known(SLOW_ITEM))


def adjit_float(self: int, arguments: int, count: int, names: int) -> int:
    """`float(x)`."""
    array = one_element(self, count, names)
    if array < 0:
        return 0
    found = UNANSWERED
    if array != 0:
        found = float_told(array)
    return said(self, arguments, count, names, found, known(SLOW_FLOAT))


def adjit_int(self: int, arguments: int, count: int, names: int) -> int:
    """`int(x)`."""
    array = one_element(self, count, names)
    if array < 0:
        return 0
    found = UNANSWERED
    if array != 0 and word(array + DESCRIPTION) == known(P_I64):
        found = item_told(array)
    return said(self, arguments, count, names, found, known(SLOW_INT))


def adjit_bool(self: int, arguments: int, count: int, names: int) -> int:
    """`bool(x)`."""
    array = one_element(self, count, names)
    if array < 0:
        return 0
    found = UNANSWERED
    if array != 0:
        found = truth_told(array)
    return said(self, arguments, count, names, found, known(SLOW_BOOL))


def adjit_requires(self: int, arguments: int, count: int, names: int) -> int:
    """`x.requires_grad`."""
    found = UNANSWERED
    if is_fresh(self) and count == 0 and names == 0:
        found = word(self + known(T_REQUIRES))
        Py_IncRef(found)
    return said(self, arguments, count, names, found, known(SLOW_REQUIRES))


def adjit_is_leaf(self: int, arguments: int, count: int, names: int) -> int:
    """`x.is_leaf`."""
    found = UNANSWERED
    if is_fresh(self) and count == 0 and names == 0:
        found = truth(is_leaf(self))
    return said(self, arguments, count, names, found, known(SLOW_IS_LEAF))


def adjit_grad_fn(self: int, arguments: int, count: int, names: int) -> int:
    """`x.grad_fn` of a leaf."""
    found = UNANSWERED
    if is_fresh(self) and is_leaf(self) and count == 0 and names == 0:
        found = known(NONE)
        Py_IncRef(found)
    return said(self, arguments, count, names, found, known(SLOW_GRAD_FN))


def adjit_gradient(self: int, arguments: int, count: int, names: int) -> int:
    """`x.grad` of a leaf, or one that is there."""
    found = UNANSWERED
    if is_fresh(self) and count == 0 and names == 0 and (is_leaf(self) or word(self + known(T_GRAD)) != known(NONE)):
        if not mode_is_known():
            return 0
        if not word(known(MODE) + IS_TRACING):
            found = word(self + known(T_GRAD))
            Py_IncRef(found)
    return said(self, arguments, count, names, found, known(SLOW_GRAD))


FUNCTIONS = (
    own_array, said, truth, wrapped, counted, item_size, numbered, sizes_asked, strides_asked, offset_asked,
    one_element, float_told, item_told, truth_told, is_fresh, is_leaf, adjit_size, adjit_stride, adjit_offset,
    adjit_data_ptr, adjit_dim, adjit_numel, adjit_is_contiguous, adjit_len, adjit_item, adjit_float, adjit_int,
    adjit_bool, adjit_requires, adjit_is_leaf, adjit_grad_fn, adjit_gradient,
)  # fmt: skip
