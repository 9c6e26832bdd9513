"""Word functions that put together what a call returns, by a plan.

Each answers a new reference, or 0 with a Python error set.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import (
    Py_DecRef,
    Py_IncRef,
    PyDict_GetItemWithError,
    PyDict_New,
    PyDict_SetItem,
    PyFloat_FromDouble,
    PyList_New,
    PyLong_FromLongLong,
    PyObject_Vectorcall,
    PyTuple_New,
    memcpy,
)
from adjit.compiler.entry.known import (
    A_CHOICE,
    A_DICT,
    A_FLOAT,
    A_LIST,
    A_NUMBER,
    A_PLACED_VIEW,
    A_RESULT,
    A_VIEW,
    AN_ARRAY,
    AN_OBJECT,
    AN_OPERAND,
    DOUBLE,
    FALSE,
    FIXED_PLACE,
    MADE_BY,
    OUTPUTS,
    PARTS_ROOM,
    PLACE_AT_WORDS,
    PLACED_WORDS,
    RESULT_WORDS,
    SINGLE,
    T_MEMORY,
    TRUE,
    VIEW_CHAINS,
    VIEW_MAKER,
    VIEW_OFFSET,
    VIEW_PLACES,
    WHOLE,
)
from adjit.compiler.entry.making import drop, make_array, written
from adjit.compiler.entry.objects import array_of, is_tensor
from adjit.compiler.entry.views import view_at, view_of
from adjit.compiler.llvm.words import byte, half, known, room, set_word, widened, word
from adjit.runtime.layout import DATA, ITEMS


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


def data_of(cursor: int, number: int) -> int:
    """The address of a result's first element."""
    return word(array_of(word(word(cursor + 24) + 8 * number)) + DATA)


def number_made(cursor: int) -> int:
    """The next result as a Python number."""
    place = data_of(cursor, next_word(cursor))
    kind = next_word(cursor)
    if kind == DOUBLE:
        return PyFloat_FromDouble(word(place))
    if kind == SINGLE:
        return PyFloat_FromDouble(widened(half(place)))
    if kind == WHOLE:
        return PyLong_FromLongLong(word(place))
    found = known(FALSE)
    if byte(place):
        found = known(TRUE)
    Py_IncRef(found)
    return found


def tensor_named(cursor: int) -> int:
    """The next tensor: an operand or one that stays."""
    operand = next_word(cursor)
    tensor = next_word(cursor)
    if operand != FIXED_PLACE:
        tensor = word(word(cursor + 16) + 8 * operand)
    return tensor


def view_made(cursor: int) -> int:
    """The next view of an operand or of a tensor that stays."""
    tensor = tensor_named(cursor)
    return view_of(next_word(cursor), tensor)


def placed_view_made(cursor: int) -> int:
    """The next view at places that the program computed."""
    tensor = tensor_named(cursor)
    view = next_word(cursor)
    offset = word(view + 8 * VIEW_OFFSET)
    place = view + 8 * PLACED_WORDS
    count = word(view + 8 * VIEW_PLACES)
    number = 0
    while count > 0:
        first = word(data_of(cursor, word(place)))
        reach = word(data_of(cursor, word(place)) + 8 * word(place + 24)) - first
        size = word(place + 8)
        if first < 0 or first >= size or reach != word(place + 32) or first + reach >= size:
            return placed_by_python(cursor, view, tensor)
        offset += first * word(place + 16)
        number = number * size + first
        place += 8 * PLACE_AT_WORDS
        count -= 1
    key = PyLong_FromLongLong(number)
    if key == 0:
        return 0
    chain = PyDict_GetItemWithError(word(view + 8 * VIEW_CHAINS), key)
    Py_DecRef(key)
    if chain == 0:
        return placed_by_python(cursor, view, tensor)
    Py_IncRef(chain)
    found = view_at(view, tensor, chain, offset)
    Py_DecRef(chain)
    return found


def placed_by_python(cursor: int, view: int, tensor: int) -> int:
    """A view at computed places that Python makes, and keeps the chain of."""
    parts = room(PARTS_ROOM)
    count = word(view + 8 * VIEW_PLACES)
    place = view + 8 * PLACED_WORDS
    set_word(parts, 0)
    set_word(parts + 8, tensor)
    k = 0
    while k < count:
        set_word(parts + 16 + 8 * k, array_of(word(word(cursor + 24) + 8 * word(place))))
        place += 8 * PLACE_AT_WORDS
        k += 1
    return PyObject_Vectorcall(word(view + 8 * VIEW_MAKER), parts + 8, count + 1, 0)


def choice_made(cursor: int) -> int:
    """The first of the next objects whose flag is set; the last where none is."""
    count = next_word(cursor)
    length = next_word(cursor)
    end = word(cursor) + 8 * length
    while count > 0:
        flag = byte(data_of(cursor, next_word(cursor)))
        length = next_word(cursor)
        if flag:
            count = 0
        else:
            set_word(cursor, word(cursor) + 8 * length)
            count -= 1
    found = built(cursor)
    set_word(cursor, end)
    return found


def counted_made(cursor: int) -> int:
    """The next object, and writes counted, as many as the program says."""
    count = next_word(cursor)
    writes = room(4)
    memcpy(writes, cursor, 32)
    set_word(cursor, word(cursor) + 24 * count)
    found = built(cursor)
    while found != 0 and count > 0:
        times = word(data_of(writes, next_word(writes)))
        target = tensor_named(writes)
        # An array counts nothing.
        if times != 0 and is_tensor(target) and not written(word(target + known(T_MEMORY)), times):
            Py_DecRef(found)
            found = 0
        count -= 1
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
    if kind == A_NUMBER:
        return number_made(cursor)
    if kind == A_VIEW:
        return view_made(cursor)
    if kind >= A_PLACED_VIEW:
        return made_for_call(cursor, kind)
    count = next_word(cursor)
    if kind == A_DICT:
        return built_dict(cursor, count)
    if kind == MADE_BY:
        return made_by(cursor, count)
    if kind == A_LIST:
        return built_list(cursor, count)
    return built_tuple(cursor, count)


def made_for_call(cursor: int, kind: int) -> int:
    """The next object, of a kind that hangs on what the program computed."""
    if kind == A_PLACED_VIEW:
        return placed_view_made(cursor)
    if kind == A_CHOICE:
        return choice_made(cursor)
    return counted_made(cursor)


def built_tuple(cursor: int, count: int) -> int:
    """A new tuple of the next objects."""
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
    told, chosen, array_of_numbers, next_word, data_of, number_made, tensor_named, view_made, placed_view_made,
    placed_by_python, choice_made, counted_made, built, made_for_call, built_tuple, built_list, built_dict, made_by,
    all_built, returned,
)  # fmt: skip
