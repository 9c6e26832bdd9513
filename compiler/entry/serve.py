"""Word functions that serve a call from the operands to the result, and the entries that Python calls."""

from __future__ import annotations

from adjit.compiler.entry.interpreter import (
    Py_DecRef,
    Py_IncRef,
    PyErr_Clear,
    PyErr_NoMemory,
    PyEval_RestoreThread,
    PyEval_SaveThread,
    PyMem_Free,
    PyMem_Malloc,
    PyObject_Vectorcall,
    PyThreadState_Get,
    PyThreadState_GetID,
    PyTuple_Size,
    memcpy,
)
from adjit.compiler.entry.known import (
    AFTERWARDS,
    AGAIN,
    ARENA,
    BUSY,
    BY_PYTHON,
    CALLS,
    COPIES,
    COPY_WORDS,
    FIRST_VERSION,
    FIXED_PLACE,
    FLAGS,
    GIVEN_ROOM,
    GRADIENT_WORDS,
    GRADIENTS,
    HELD,
    INPUTS,
    IS_RECORDING,
    IS_TRACING,
    LEAVES_ROOM,
    LIFTED,
    LONG_TABLE,
    MAIN,
    MISS,
    MODE,
    MOST_NUMBERS,
    MOST_OPERANDS,
    MOST_RESULTS,
    NONE,
    O_BUSY,
    OPENING,
    OPERAND_LIST,
    OWN_MEMORY,
    OWNER,
    PLAIN,
    RECORDING,
    REFRESH_MODE,
    RELEASE,
    RESULT_LIST,
    RESULTS,
    SHORT_TABLE,
    SIZES,
    SLOW,
    STRAIGHT,
    STRUCTURE_ROOM,
    T_GRAD,
    T_MEMORY,
    TABLES,
    TENSORS,
    UNKNOWN,
    UNTRACKED,
    VIEWS,
    WORKSPACE,
    WRITES,
    WRITTEN,
    WRITTEN_WORDS,
    ZERO,
)
from adjit.compiler.entry.making import drop, hold_all, make_arrays, make_tensors, replace, unmade, written
from adjit.compiler.entry.objects import array_of, integer, is_tensor
from adjit.compiler.entry.opening import opened
from adjit.compiler.entry.operands import fitting, needed, place_inputs
from adjit.compiler.entry.overlap import may_be_written, stand_clear
from adjit.compiler.entry.places import lifted
from adjit.compiler.entry.record import recorded
from adjit.compiler.entry.results import returned
from adjit.compiler.entry.shown import views_served
from adjit.compiler.entry.trees import any_nodes, arguments_taken_apart, mixed_words
from adjit.compiler.llvm.words import KNOWN, known, room, run, set_word, word
from adjit.runtime.layout import DATA

# The bit of the mode that says that a trace takes note of calls.
BY_STEPS = 2


def mode_is_known() -> int:
    """Whether the known mode is this thread's, after asking Python for it if need be; 0 with an error set."""
    arguments = room(2)
    thread = PyThreadState_GetID(PyThreadState_Get())
    if word(known(MODE) + OWNER) == thread:
        return 1
    set_word(arguments, 0)
    found = PyObject_Vectorcall(known(REFRESH_MODE), arguments + 8, 0, 0)
    if found == 0:
        return 0
    bits = integer(found)
    Py_DecRef(found)
    set_word(known(MODE) + IS_RECORDING, bits & 1)
    set_word(known(MODE) + IS_TRACING, (bits >> 1) & 3)
    version = known(ZERO)
    if bits & 8:
        version = known(UNTRACKED)
    set_word(known(FIRST_VERSION), version)
    set_word(known(MODE) + OWNER, thread)
    return 1


def hold_arrays(operands: int, count: int, arrays: int) -> int:
    """Note the arrays behind the operands, with references.

    Another thread may give a tensor other data wherever the GIL is released: while a program runs, an operand is
    copied, or Python makes a result's array or reads a number.
    """
    k = 0
    while k < count:
        array = array_of(word(operands + 8 * k))
        set_word(arrays + 8 * k, array)
        if array != 0:
            Py_IncRef(array)
        k += 1
    return 0


def place_data(place: int, arrays: int, count: int) -> int:
    """Put the addresses of arrays' elements into a program's table."""
    k = 0
    while k < count:
        set_word(place + 8 * k, word(word(arrays + 8 * k) + DATA))
        k += 1
    return 0


def execute(signature: int, buffers: int) -> int:
    """Run the program on a table, which has all but its first three words; without the GIL where it takes long.

    0 where it met a fault.
    """
    status = room(1)
    main = word(signature + 8 * MAIN)
    sizes = word(signature + 8 * SIZES)
    set_word(status, 0)
    set_word(buffers, status)
    set_word(buffers + 8, word(signature + 8 * WORKSPACE))
    set_word(buffers + 16, word(signature + 8 * ARENA))
    if word(signature + 8 * FLAGS) & RELEASE:
        state = PyEval_SaveThread()
        run(main, buffers, sizes)
        PyEval_RestoreThread(state)
        if not mode_is_known():  # another thread may have had its own
            PyErr_Clear()
    else:
        run(main, buffers, sizes)
    return word(status) == 0


def copy_before(signature: int, held: int, arrays: int) -> int:
    """Copy what the program is going to write, for the backward pass."""
    block = word(signature + 8 * COPIES)
    if block != 0:
        count = word(block)
        k = 0
        while k < count:
            entry = block + 8 + 8 * COPY_WORDS * k
            source = word(entry + 8)
            if word(entry) != FIXED_PLACE:
                source = word(word(held + 8 * word(entry)) + DATA)
            memcpy(word(word(arrays + 8 * k) + DATA), source, word(entry + 16))
            k += 1
    return 0


def computed(signature: int, operands: int, held: int, arrays: int) -> int:
    """New arrays with the program's results: 1, or PLAIN where Python must compute them, or 0 for an error."""
    own = word(signature + 8 * FLAGS) & OWN_MEMORY
    # Readers of numbers, and other threads while the program runs, may come to the same signature.
    if own and word(signature + 8 * BUSY):
        return PLAIN
    set_word(signature + 8 * BUSY, own)
    done = computed_now(signature, operands, held, arrays)
    set_word(signature + 8 * BUSY, 0)
    return done


def computed_now(signature: int, operands: int, held: int, arrays: int) -> int:
    """The same where no other call uses the signature's memory."""
    buffers = room(SHORT_TABLE)
    cells = room(MOST_NUMBERS)
    copies = room(LEAVES_ROOM)
    set_word(copies, 0)
    if word(signature + 8 * LONG_TABLE) != 0:
        buffers = word(signature + 8 * LONG_TABLE)
    count = word(signature + 8 * RESULTS)
    new = count
    if word(signature + 8 * COPIES) != 0:
        new -= word(word(signature + 8 * COPIES))
    inputs = word(signature + 8 * INPUTS)
    writes = word(signature + 8 * WRITES)
    if not place_inputs(signature, operands, held, buffers + 24, cells, copies):
        drop(copies + 8, word(copies))
        return PLAIN
    if not make_arrays(word(signature + 8 * RESULT_LIST), count, arrays):
        drop(copies + 8, word(copies))
        return unmade(word(signature + 8 * RESULT_LIST))
    place = buffers + 24 + 8 * inputs
    copy_before(signature, held, arrays + 8 * new)
    place_data(place, arrays, new)
    if writes == STRAIGHT:
        set_word(place, word(word(held) + DATA))
    done = execute(signature, buffers)
    drop(copies + 8, word(copies))
    if not done:
        drop(arrays, count)
        return PLAIN
    if writes == AFTERWARDS:
        target = word(word(held) + DATA)
        memcpy(target, word(word(arrays) + DATA), word(signature + 8 * OPERAND_LIST + 56))
    return 1


def all_written(signature: int, operands: int) -> int:
    """Count the writes to memories outside; 0 with a Python error set."""
    block = word(signature + 8 * WRITTEN)
    count = word(block)
    place = block + 8
    while count > 0:
        memory = word(place + 8)
        if word(place) != FIXED_PLACE:
            target = word(operands + 8 * word(place))
            memory = 0  # an array counts nothing
            if is_tensor(target):
                memory = word(target + known(T_MEMORY))
        if memory != 0 and not written(memory, word(place + 32)):
            return 0
        place += 8 * WRITTEN_WORDS
        count -= 1
    return 1


def give_gradients(signature: int, operands: int, tensors: int) -> int:
    """Hand results over as gradients."""
    block = word(signature + 8 * GRADIENTS)
    count = word(block)
    place = block + 8
    while count > 0:
        gradient = known(NONE)
        if word(place + 16) >= 0:
            gradient = word(tensors + 8 * word(place + 16))
        owner = word(place + 8)
        if word(place) != FIXED_PLACE:
            owner = word(operands + 8 * word(place))
        replace(owner + known(T_GRAD), gradient)
        place += 8 * GRADIENT_WORDS
        count -= 1
    return 0


def served(table: int, operands: int, count: int, names: int, words: int) -> int:
    """The result of a call, a new reference; UNKNOWN or PLAIN where Python must serve it; 0 for an error.

    UNKNOWN stands also for a call that a trace takes note of.
    `names` is the tuple of names that the last operands were given with, or 0; where the operands were taken from a
    structure, `words`, it is their hash.
    """
    if not mode_is_known():
        return 0
    if word(known(MODE) + IS_TRACING):
        if word(known(MODE) + IS_TRACING) & BY_STEPS:
            return UNKNOWN
        return PLAIN
    needs = needed(table, operands, count, word(known(MODE) + IS_RECORDING))
    if needs < 0:
        return PLAIN
    # Guards run Python, and so may other threads: signatures that are forgotten meanwhile live on in their list.
    held = word(table + 8 * HELD)
    Py_IncRef(held)
    found = served_by_signature(table, operands, count, needs, names, words)
    Py_DecRef(held)
    return found


def served_by_signature(table: int, operands: int, count: int, needs: int, names: int, words: int) -> int:
    """The same where native code may serve the call, by the signature that takes the operands, if there is one."""
    held = room(MOST_OPERANDS)
    signature = fitting(table, operands, count, needs, names, words)
    if signature == 0:
        return served_by_open(table, operands, count, needs, names, words)
    if word(signature + 8 * FLAGS) & BY_PYTHON:
        calls = word(signature + 8 * CALLS)
        if calls >= AGAIN and calls & (calls - 1) == 0:
            return UNKNOWN
        return PLAIN
    hold_arrays(operands, count, held)
    found = served_from(signature, operands, count, held, needs)
    drop(held, count)
    return found


def served_by_open(table: int, operands: int, count: int, needs: int, names: int, words: int) -> int:
    """The same by a signature that is open in its sizes."""
    held = room(MOST_OPERANDS)
    signature = opened(table, operands, count, needs, names, words)
    if signature == 0:
        return UNKNOWN
    set_word(signature + 8 * CALLS, word(signature + 8 * CALLS) + 1)
    hold_arrays(operands, count, held)
    found = served_from(signature, operands, count, held, needs)
    drop(held, count)
    set_word(word(signature + 8 * OPENING) + 8 * O_BUSY, 0)
    return found


def served_from(signature: int, operands: int, count: int, held: int, needs: int) -> int:
    """The same by a signature, from the operands' arrays, which are held."""
    arrays = room(MOST_RESULTS)
    tensors = room(MOST_RESULTS)
    if word(signature + 8 * VIEWS) != 0:
        found = views_served(signature, operands, held, needs)
        if found == -1:
            return PLAIN
        return found
    recording = word(known(MODE) + IS_RECORDING)
    writes = word(signature + 8 * WRITES)
    if writes and not may_be_written(signature, operands, count, recording):
        return PLAIN
    outside = word(signature + 8 * WRITTEN)
    if outside != 0 and not stand_clear(signature, operands, count):
        return PLAIN
    done = computed(signature, operands, held, arrays)
    if done != 1:
        return done
    counted = 1
    if writes:
        counted = written(word(word(operands) + known(T_MEMORY)), 1)
    if counted and outside != 0:
        counted = all_written(signature, operands)
    if not counted:
        drop(arrays, word(signature + 8 * RESULTS))
        return 0
    shown = word(signature + 8 * TENSORS)
    kept = word(signature + 8 * RESULTS) - shown
    if not make_tensors(signature, shown, arrays, tensors):
        drop(arrays + 8 * shown, kept)
        return 0
    if word(signature + 8 * GRADIENTS) != 0:
        give_gradients(signature, operands, tensors)
    found = 0
    if word(signature + 8 * RECORDING) == 0 or recorded(signature, operands, held, arrays, tensors):
        found = returned(signature, operands, tensors)
    drop(tensors, shown)
    drop(arrays + 8 * shown, kept)
    return found


def served_apart(table: int, arguments: int, count: int, names: int) -> int:
    """The same for arguments with nodes or names among them, which are taken apart, or with lifted places."""
    words = room(STRUCTURE_ROOM)
    leaves = room(LEAVES_ROOM)
    if not arguments_taken_apart(arguments, count, names, words, leaves):
        return PLAIN
    if word(table + 8 * LIFTED) != 0 and not lifted(table, leaves):
        return PLAIN
    # A guard, or another thread, may change what holds them.
    hold_all(leaves + 8, word(leaves))
    found = served(table, leaves + 8, word(leaves), mixed_words(words), words)
    drop(leaves + 8, word(leaves))
    return found


def by_python(table: int, found: int, operands: int, count: int, names: int) -> int:
    """Let Python serve a call; one that no signature fitted goes, after the names, to the function that learns."""
    given = room(GIVEN_ROOM)
    if found == PLAIN:
        positional = count
        if names != 0:
            positional = count - PyTuple_Size(names)
        return PyObject_Vectorcall(word(table + 8 * SLOW), operands, positional, names)
    set_word(given + 8, names)
    if names == 0:
        set_word(given + 8, known(NONE))
    k = 0
    while k < count:
        set_word(given + 16 + 8 * k, word(operands + 8 * k))
        k += 1
    return PyObject_Vectorcall(word(table + 8 * MISS), given + 8, count + 1, 0)


def served_function(table: int, operands: int, count: int, positional: int, names: int) -> int:
    """Serve a call of an operation, natively or by Python."""
    found = PLAIN
    if any_nodes(operands, count):
        found = served_apart(table, operands, positional, names)
    else:
        found = served(table, operands, count, names, 0)
    if found < 0 and found >= PLAIN:
        return by_python(table, found, operands, count, names)
    return found


def with_self(table: int, self: int, arguments: int, positional: int, names: int) -> int:
    """Serve a method's call."""
    operands = room(GIVEN_ROOM)
    count = positional
    if names != 0:
        count += PyTuple_Size(names)
    if count >= MOST_OPERANDS:
        return spread(word(table + 8 * SLOW), self, arguments, positional, names)
    set_word(operands + 8, self)
    k = 0
    while k < count:
        set_word(operands + 16 + 8 * k, word(arguments + 8 * k))
        k += 1
    return served_function(table, operands + 8, count + 1, positional + 1, names)


def spread(function: int, self: int, arguments: int, count: int, names: int) -> int:
    """Let a Python function serve a method's call with named, or with many, arguments."""
    total = count
    if names != 0:
        total += PyTuple_Size(names)
    given = PyMem_Malloc(8 * (total + 2))
    if given == 0:
        return PyErr_NoMemory()
    set_word(given + 8, self)
    k = 0
    while k < total:
        set_word(given + 16 + 8 * k, word(arguments + 8 * k))
        k += 1
    found = PyObject_Vectorcall(function, given + 8, count + 1, names)
    PyMem_Free(given)
    return found


def adjit_function(self: int, arguments: int, positional: int, names: int) -> int:
    """The entry of a builtin function whose `self` is the array that holds its table."""
    table = word(self + DATA)
    count = positional
    if names != 0:
        count += PyTuple_Size(names)
    if count > MOST_OPERANDS or count == 0:
        return PyObject_Vectorcall(word(table + 8 * SLOW), arguments, positional, names)
    return served_function(table, arguments, count, positional, names)


FUNCTIONS = (
    mode_is_known, hold_arrays, place_data, execute, copy_before, computed, computed_now, all_written,
    give_gradients, served, served_by_signature, served_by_open, served_from, served_apart, by_python, served_function,
    with_self, spread, adjit_function,
)  # fmt: skip


def method_text(number: int) -> str:
    """LLVM text of the entry of method `number`, whose table stands in the known table."""
    return f"""
define i64 @adjit_method{number}(i64 %self, i64 %arguments, i64 %count, i64 %names) nounwind {{
  %place = getelementptr i64, ptr @{KNOWN}, i64 {TABLES + number}
  %table = load i64, ptr %place
  %found = call i64 @with_self(i64 %table, i64 %self, i64 %arguments, i64 %count, i64 %names)
  ret i64 %found
}}
"""
