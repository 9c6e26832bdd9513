"""Word functions that make Python objects: arrays, memories, tensors, values of the recorded graph.

Each answers a new reference, or 0 with a Python error set.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import (
    Py_DecRef,
    Py_IncRef,
    PyErr_Clear,
    PyLong_FromLongLong,
    PyObject_Vectorcall,
    PyType_GenericAlloc,
)
from adjit.compiler.entry.known import (
    ARRAY,
    ASK_KEEP,
    ASK_WRITE,
    EMPTY,
    FALSE,
    FIRST_VERSION,
    M_ARRAY,
    M_DTYPE,
    M_SERIAL,
    M_VERSION,
    MEMORY,
    NEW_ARRAY,
    NEW_COPY,
    NONE,
    PERIOD,
    PLAIN,
    POOLED,
    RESULT_LIST,
    RESULT_WORDS,
    STANDING,
    T_ARRAY,
    T_BASE,
    T_CHAIN,
    T_DTYPE,
    T_EPOCH,
    T_GRAD,
    T_HISTORY,
    T_LEAF,
    T_MEMORY,
    T_REQUIRES,
    T_SEEN,
    T_STRIDES,
    T_TRACER,
    T_TYPE,
    T_VALUE,
    TENSOR,
    TRUE,
    UNTRACKED,
    V_ATTACHED,
    V_INDEX,
    V_NAME,
    V_NODE,
    V_TYPE,
    VALUE,
    ZERO,
)
from adjit.compiler.entry.objects import integer
from adjit.compiler.llvm.words import invoke, known, room, set_word, word


def hold(place: int, value: int) -> int:
    """Store an object in an empty slot, with a reference of its own."""
    Py_IncRef(value)
    set_word(place, value)
    return 0


def replace(place: int, value: int) -> int:
    """Put another object into a slot."""
    before = word(place)
    Py_IncRef(value)
    set_word(place, value)
    Py_DecRef(before)
    return 0


def drop(objects: int, count: int) -> int:
    """Give back the references in a list of objects, some of which may be missing."""
    while count > 0:
        count -= 1
        if word(objects + 8 * count) != 0:
            Py_DecRef(word(objects + 8 * count))
    return 0


def hold_all(objects: int, count: int) -> int:
    """Take references to a list of objects."""
    while count > 0:
        count -= 1
        Py_IncRef(word(objects + 8 * count))
    return 0


def pooled(function: int) -> int:
    """The array that a Python function gives."""
    arguments = room(1)
    set_word(arguments, 0)
    return PyObject_Vectorcall(function, arguments + 8, 0, 0)


def is_allowed(function: int) -> int:
    """Whether a Python function that takes nothing raised nothing."""
    arguments = room(1)
    set_word(arguments, 0)
    done = PyObject_Vectorcall(function, arguments + 8, 0, 0)
    if done == 0:
        return 0
    Py_DecRef(done)
    return 1


def may_be_kept(tensor: int) -> int:
    """Whether a backward pass may keep a tensor made in inference mode: a leaf that requires grad; 0 with a Python
    error set."""
    if word(tensor + known(T_LEAF)) == known(TRUE) and word(tensor + known(T_REQUIRES)) == known(TRUE):
        return 1
    return is_allowed(known(ASK_KEEP))


def written(memory: int, times: int) -> int:
    """Count writes to a memory; 0 with a Python error set."""
    before = word(memory + known(M_VERSION))
    if before == known(UNTRACKED):
        return is_allowed(known(ASK_WRITE))
    after = PyLong_FromLongLong(integer(before) + times)
    if after == 0:
        return 0
    set_word(memory + known(M_VERSION), after)
    Py_DecRef(before)
    return 1


def make_array(result: int) -> int:
    """A new array for a result."""
    if word(result + 16) == POOLED:
        return pooled(word(result + 24))
    if word(result + 16) == STANDING:
        return standing(result)
    return invoke(known(NEW_ARRAY), known(ARRAY), word(result + 16), word(result + 24), word(result + 8), 0, 0, 0, 0, 0)


def standing(result: int) -> int:
    """The array that stands for a number, or a new one while another call, inside this one, say, is at that."""
    array = word(result + 24)
    if word(array) == 1:
        Py_IncRef(array)
        return array
    return invoke(known(NEW_ARRAY), known(ARRAY), 0, 0, word(result + 8), 0, 0, 0, 0, 0)


def copied(array: int) -> int:
    """A copy of an array whose elements stand in order."""
    return invoke(known(NEW_COPY), array, 0)


def make_memory(array: int, dtype: int) -> int:
    """The memory of a new array."""
    memory = PyType_GenericAlloc(known(MEMORY), 0)
    if memory == 0:
        return 0
    hold(memory + known(M_ARRAY), array)
    hold(memory + known(M_DTYPE), dtype)
    hold(memory + known(M_VERSION), word(known(FIRST_VERSION)))
    hold(memory + known(M_SERIAL), word(known(PERIOD)))
    return memory


def make_tensor(result: int, array: int) -> int:
    """A tensor around the array of a result; the reference to the array passes to it."""
    memory = make_memory(array, word(result))
    if memory == 0:
        return 0
    tensor = new_tensor(word(result), word(result + 32), array, memory)
    if tensor == 0:
        Py_DecRef(memory)
    return tensor


def new_tensor(dtype: int, type: int, array: int, memory: int) -> int:
    """A tensor without history; the references to its array and memory pass to it."""
    tensor = PyType_GenericAlloc(known(TENSOR), 0)
    if tensor == 0:
        return 0
    none = known(NONE)
    zero = known(ZERO)
    set_word(tensor + known(T_ARRAY), array)
    set_word(tensor + known(T_MEMORY), memory)
    hold(tensor + known(T_DTYPE), dtype)
    hold(tensor + known(T_TYPE), type)
    hold(tensor + known(T_CHAIN), known(EMPTY))
    hold(tensor + known(T_LEAF), known(TRUE))
    hold(tensor + known(T_REQUIRES), known(FALSE))
    hold(tensor + known(T_BASE), none)
    hold(tensor + known(T_VALUE), none)
    hold(tensor + known(T_GRAD), none)
    hold(tensor + known(T_TRACER), none)
    hold(tensor + known(T_STRIDES), none)
    hold(tensor + known(T_SEEN), zero)
    hold(tensor + known(T_HISTORY), zero)
    hold(tensor + known(T_EPOCH), zero)
    return tensor


def make_value(type: int, node: int, index: int) -> int:
    """A value of the recorded graph: result `index` (an int object) of a node, or a value without a producer."""
    value = PyType_GenericAlloc(known(VALUE), 0)
    if value != 0:
        hold(value + known(V_TYPE), type)
        hold(value + known(V_NAME), known(NONE))
        hold(value + known(V_NODE), node)
        hold(value + known(V_INDEX), index)
        hold(value + known(V_ATTACHED), known(NONE))
    return value


def make_arrays(result: int, count: int, arrays: int) -> int:
    """New arrays for results, whose words stand one after another; 0 when memory ran out."""
    k = 0
    while k < count:
        array = make_array(result)
        set_word(arrays + 8 * k, array)
        if array == 0:
            drop(arrays, k)
            return 0
        result += 8 * RESULT_WORDS
        k += 1
    return 1


def unmade(result: int) -> int:
    """What follows where arrays for results could not be made: the Python path says what is wrong with their sizes, or
    that there is no memory; 0 where Python made them, whose error is set."""
    if word(result + 16) == POOLED:
        return 0
    PyErr_Clear()
    return PLAIN


def make_tensors(signature: int, count: int, arrays: int, tensors: int) -> int:
    """Tensors around the arrays, whose references pass to them; 0 when memory ran out.

    An array of which only numbers are read stands for itself.
    """
    result = word(signature + 8 * RESULT_LIST)
    k = 0
    while k < count:
        tensor = word(arrays + 8 * k)
        if word(result + 32) != 0:
            tensor = make_tensor(result, tensor)
        set_word(tensors + 8 * k, tensor)
        if tensor == 0:
            drop(tensors, k)
            drop(arrays + 8 * k, count - k)
            return 0
        result += 8 * RESULT_WORDS
        k += 1
    return 1


FUNCTIONS = (
    hold, replace, drop, hold_all, pooled, is_allowed, may_be_kept, written, make_array, standing, copied, make_memory,
    make_tensor, new_tensor, make_value, make_arrays, unmade, make_tensors,
)  # fmt: skip
