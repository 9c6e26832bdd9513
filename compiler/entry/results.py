"""Word functions that make Python objects: arrays, tensors, values, and what a call returns.

Each answers a new reference, or 0 with a Python error set.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import (
    Py_DecRef,
    Py_IncRef,
    PyDict_New,
    PyDict_SetItem,
    PyFloat_FromDouble,
    PyIter_Next,
    PyList_New,
    PyObject_Vectorcall,
    PyTuple_New,
    PyType_GenericAlloc,
    memcpy,
)
from adjit.compiler.entry.known import (
    A_DICT,
    A_FLOAT,
    A_LIST,
    A_RESULT,
    AN_ARRAY,
    AN_OBJECT,
    AN_OPERAND,
    ARRAY,
    EMPTY,
    FALSE,
    M_ARRAY,
    M_DTYPE,
    M_SERIAL,
    M_VERSION,
    MADE_BY,
    MEMORY,
    NEW_ARRAY,
    NONE,
    OUTPUTS,
    PARTS_ROOM,
    POOLED,
    RESULT_LIST,
    RESULT_WORDS,
    SERIALS,
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
    V_ATTACHED,
    V_INDEX,
    V_NAME,
    V_NODE,
    V_TYPE,
    VALUE,
    ZERO,
)
from adjit.compiler.llvm.words import invoke, known, room, set_word, word
from adjit.runtime.layout import DATA, ITEMS


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


def make_array(result: int) -> int:
    """A new array for a result."""
    if word(result + 16) == POOLED:
        return pooled(word(result + 24))
    return invoke(known(NEW_ARRAY), known(ARRAY), word(result + 16), word(result + 24), word(result + 8), 0, 0, 0, 0, 0)


def make_memory(array: int, dtype: int) -> int:
    """The memory of a new array."""
    serial = PyIter_Next(known(SERIALS))
    if serial == 0:
        return 0
    memory = PyType_GenericAlloc(known(MEMORY), 0)
    if memory == 0:
        Py_DecRef(serial)
        return 0
    hold(memory + known(M_ARRAY), array)
    hold(memory + known(M_DTYPE), dtype)
    hold(memory + known(M_VERSION), known(ZERO))
    set_word(memory + known(M_SERIAL), serial)
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


def make_arrays(signature: int, count: int, arrays: int) -> int:
    """New arrays for all results; 0 when memory ran out."""
    result = word(signature + 8 * RESULT_LIST)
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


def make_tensors(signature: int, count: int, arrays: int, tensors: int) -> int:
    """Tensors around the arrays, whose references pass to them; 0 when memory ran out."""
    result = word(signature + 8 * RESULT_LIST)
    k = 0
    while k < count:
        tensor = make_tensor(result, word(arrays + 8 * k))
        set_word(tensors + 8 * k, tensor)
        if tensor == 0:
            drop(tensors, k)
            drop(arrays + 8 * k, count - k)
            return 0
        result += 8 * RESULT_WORDS
        k += 1
    return 1


def told(function: int, value: int) -> int:
    """Call a Python function with an object; 0 with a Python error set."""
    arguments = room(2)
    set_word(arguments, 0)
    set_word(arguments + 8, value)
    done = PyObject_Vectorcall(function, arguments + 8, 1, 0)
    if done == 0:
        return 0
    Py_DecRef(done)
    return 1


def chosen(cursor: int, kind: int) -> int:
    """The object that a plan names, a new reference; 0 with a Python error set."""
    plan = word(cursor)
    found = word(plan)
    if kind == A_RESULT:
        found = word(word(cursor + 24) + 8 * found)
    elif kind == AN_OPERAND:
        found = word(word(cursor + 16) + 8 * found)
    set_word(cursor, plan + 16)
    if word(plan + 8) != 0 and not told(word(plan + 8), found):
        return 0
    Py_IncRef(found)
    return found


def array_of_numbers(cursor: int) -> int:
    """A new array of the next numbers."""
    plan = word(cursor)
    array = make_array(plan + 8)
    if array != 0:
        memcpy(word(array + DATA), word(cursor + 8), 8 * word(plan))
    set_word(cursor, plan + 8 + 8 * RESULT_WORDS)
    set_word(cursor + 8, word(cursor + 8) + 8 * word(plan))
    return array


def next_word(cursor: int) -> int:
    """The word at which a cursor stands, and one further."""
    found = word(word(cursor))
    set_word(cursor, word(cursor) + 8)
    return found


def built(cursor: int) -> int:
    """The next object of a result, a new reference; 0 with a Python error set.

    `cursor` holds what is left of the plan and of the numbers, then where operands and tensors stand.
    """
    kind = next_word(cursor)
    if kind <= AN_OBJECT:
        return chosen(cursor, kind)
    if kind == A_FLOAT:
        set_word(cursor + 8, word(cursor + 8) + 8)
        return PyFloat_FromDouble(word(word(cursor + 8) - 8))
    if kind == AN_ARRAY:
        return array_of_numbers(cursor)
    count = next_word(cursor)
    if kind == A_DICT:
        return built_dict(cursor, count)
    if kind == MADE_BY:
        return made_by(cursor, count)
    if kind == A_LIST:
        return built_list(cursor, count)
    found = PyTuple_New(count)
    if found != 0 and not all_built(cursor, count, found + ITEMS):
        Py_DecRef(found)
        return 0
    return found


def built_list(cursor: int, count: int) -> int:
    """A new list of the next objects."""
    found = PyList_New(count)
    if found != 0 and not all_built(cursor, count, word(found + ITEMS)):
        Py_DecRef(found)
        return 0
    return found


def built_dict(cursor: int, count: int) -> int:
    """A new dict of the next keys and objects."""
    found = PyDict_New()
    if found == 0:
        return 0
    while count > 0:
        key = next_word(cursor)
        item = built(cursor)
        if item == 0:
            Py_DecRef(found)
            return 0
        failed = PyDict_SetItem(found, key, item)
        Py_DecRef(item)
        if failed:
            Py_DecRef(found)
            return 0
        count -= 1
    return found


def made_by(cursor: int, count: int) -> int:
    """What the next function makes of the next objects."""
    parts = room(PARTS_ROOM)
    function = next_word(cursor)
    k = 0
    while k < count:
        set_word(parts + 8 + 8 * k, 0)
        k += 1
    found = 0
    if all_built(cursor, count, parts + 8):
        found = PyObject_Vectorcall(function, parts + 8, count, 0)
    drop(parts + 8, count)
    return found


def all_built(cursor: int, count: int, place: int) -> int:
    """Put the next objects into places; 0 with a Python error set."""
    k = 0
    while k < count:
        item = built(cursor)
        if item == 0:
            return 0
        set_word(place + 8 * k, item)
        k += 1
    return 1


def returned(signature: int, operands: int, tensors: int) -> int:
    """What the call returns."""
    cursor = room(4)
    set_word(cursor, word(signature + 8 * OUTPUTS))
    set_word(cursor + 16, operands)
    set_word(cursor + 24, tensors)
    return built(cursor)


FUNCTIONS = (
    hold, replace, drop, hold_all, pooled, make_array, make_memory, make_tensor, new_tensor, make_value, make_arrays,
    make_tensors, told, chosen, array_of_numbers, next_word, built, built_list, built_dict, made_by, all_built,
    returned,
)  # fmt: skip
