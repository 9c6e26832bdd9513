"""Word functions that record a call: the node, its record and its saved values, as autograd's Python code makes them.

The parts that stay from call to call are those of a signature's template, which Python filled from a node of its own.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import (
    Py_DecRef,
    Py_IncRef,
    PyEval_GetFrame,
    PyFrame_GetBack,
    PyFrame_GetCode,
    PyFrame_GetLasti,
    PyIter_Next,
    PyLong_FromLongLong,
    PyObject_Vectorcall,
    PyTuple_New,
    PyTuple_SetItem,
    PyType_GenericAlloc,
    PyWeakref_NewRef,
)
from adjit.compiler.entry.known import (
    A_FRESH_VALUE,
    ANYWHERE,
    CAPTURED,
    EMPTY,
    FALSE,
    L_ATTRIBUTES,
    L_CUSTOM,
    L_INPUTS,
    L_KEPT,
    L_KEPT_FULL,
    L_NAME,
    L_OP,
    L_PULLBACK,
    L_REACHED,
    L_REGIONS,
    L_RESULTS,
    L_SEEDED,
    L_SIZES,
    L_TYPES,
    LINK_WORDS,
    LOCATE,
    LOCATIONS,
    M_VERSION,
    MADE_WORDS,
    MARK_LEAF,
    MOST_NODES,
    N_ATTRIBUTES,
    N_INPUTS,
    N_LOCATION,
    N_OP,
    N_REGIONS,
    N_RESULTS,
    N_TYPES,
    NEEDS,
    NODE,
    NONE,
    OF_CAPTURED,
    OF_CONSTANT,
    OF_LITERAL,
    OF_NODE,
    OF_NUMBER,
    OF_OPERAND,
    OF_RESULT,
    OF_TENSOR,
    PLACES,
    R_CUSTOM,
    R_FAULT,
    R_FREED,
    R_HOOKS,
    R_KEPT,
    R_KEPT_FULL,
    R_LEAVES,
    R_NAME,
    R_PULLBACK,
    R_REACHED,
    R_SEEDED,
    R_SEQUENCE,
    R_SIZES,
    RECORDING,
    SAVED_WORDS,
    SEQUENCE,
    T_ARRAY,
    T_HISTORY,
    T_LEAF,
    T_MEMORY,
    T_REQUIRES,
    T_VALUE,
    TRUE,
    UNTRACKED,
    V_ATTACHED,
    W_LEAF,
    WANTED,
    WRITES,
    ZERO,
)
from adjit.compiler.entry.making import drop, hold, make_value, may_be_kept
from adjit.compiler.entry.objects import in_order, integer, mixed
from adjit.compiler.entry.views import array_view
from adjit.compiler.llvm.words import known, room, set_word, word
from adjit.runtime.layout import ITEMS


def seen_at(code: int, offset: int) -> int:
    """Where the table of places holds what was seen at an instruction of some code; 0 for nothing."""
    place = known(LOCATIONS) + 24 * (mixed(code >> 4, offset) & (PLACES - 1))
    if word(place) == code and word(place + 8) == offset:
        return place
    return 0


def location() -> int:
    """The line of the user's program: found among those seen before, else by Python code."""
    arguments = room(2)
    frame = PyEval_GetFrame()
    found = 0
    if frame != 0:
        Py_IncRef(frame)
    while frame != 0:
        code = PyFrame_GetCode(frame)
        Py_DecRef(code)  # the frame holds it
        place = seen_at(code, PyFrame_GetLasti(frame))
        before = 0
        if place != 0:
            found = word(place + 16)
            Py_IncRef(found)
        elif seen_at(code, ANYWHERE) != 0:
            before = PyFrame_GetBack(frame)
        Py_DecRef(frame)
        frame = before
    if found == 0:
        set_word(arguments, 0)
        found = PyObject_Vectorcall(known(LOCATE), arguments + 8, 0, 0)
    return found


def knows_leaf(watch: int) -> int:
    """Whether a watch, or None, refers to the leaf whose value it is attached to."""
    return watch != known(NONE) and word(watch + known(W_LEAF)) != known(NONE)


def value_of(tensor: int, type: int, wanted: int) -> int:
    """An operand's value in the recorded graph, made at its first use; a leaf's knows the leaf."""
    arguments = room(2)
    value = word(tensor + known(T_VALUE))
    if wanted and word(tensor + known(T_LEAF)) == known(TRUE):
        if value != known(NONE) and knows_leaf(word(value + known(V_ATTACHED))):
            Py_IncRef(value)
            return value
        set_word(arguments, 0)
        set_word(arguments + 8, tensor)
        return PyObject_Vectorcall(known(MARK_LEAF), arguments + 8, 1, 0)
    if value == known(NONE):
        value = make_value(type, known(NONE), known(ZERO))
        if value == 0:
            return 0
        set_word(tensor + known(T_VALUE), value)
        Py_DecRef(known(NONE))
    Py_IncRef(value)
    return value


def input_value(entry: int, operands: int, needs: int, outputs: int, where: int) -> int:
    """One input of a node: a new reference."""
    arguments = room(3)
    kind = word(entry)
    which = word(entry + 8)
    if kind >= CAPTURED:
        return value_of(which, word(entry + 16), kind == WANTED)
    if kind == OF_OPERAND:
        return value_of(word(operands + 8 * which), word(entry + 16), (needs >> which) & 1)
    if kind == A_FRESH_VALUE:
        return make_value(word(entry + 16), known(NONE), known(ZERO))
    if kind == OF_LITERAL:
        set_word(arguments, 0)
        set_word(arguments + 8, word(operands + 8 * which))
        set_word(arguments + 16, where)
        return PyObject_Vectorcall(word(entry + 16), arguments + 8, 2, 0)
    value = word(entry + 16)
    if kind == OF_NODE:
        value = word(outputs + 8 * which)
    Py_IncRef(value)
    return value


def input_values(recorded: int, operands: int, needs: int, outputs: int, where: int) -> int:
    """The tuple of a node's inputs: values of operands and of earlier nodes, and literals, which stand at a line."""
    block = word(recorded + 8 * L_INPUTS)
    count = word(block)
    values = PyTuple_New(count)
    if values == 0:
        return 0
    k = 0
    while k < count:
        value = input_value(block + 8 + 8 * LINK_WORDS * k, operands, needs, outputs, where)
        if value == 0:
            Py_DecRef(values)
            return 0
        PyTuple_SetItem(values, k, value)
        k += 1
    return values


def leaf_at(entry: int, operands: int, needs: int) -> int:
    """The leaf that an input of a node is, if it is one that requires grad; else 0."""
    tensor = word(entry + 8)
    if word(entry) == OF_OPERAND and (needs >> tensor) & 1:
        tensor = word(operands + 8 * tensor)
    elif word(entry) != WANTED:
        return 0
    if word(tensor + known(T_LEAF)) == known(TRUE):
        return tensor
    return 0


def leaves(recorded: int, operands: int, needs: int) -> int:
    """The tuple of leaves among the operands that require grad."""
    block = word(recorded + 8 * L_INPUTS)
    inputs = word(block)
    count = 0
    k = 0
    while k < inputs:
        if leaf_at(block + 8 + 8 * LINK_WORDS * k, operands, needs) != 0:
            count += 1
        k += 1
    if count == 0:
        Py_IncRef(known(EMPTY))
        return known(EMPTY)
    found = PyTuple_New(count)
    if found == 0:
        return 0
    count = 0
    k = 0
    while k < inputs:
        leaf = leaf_at(block + 8 + 8 * LINK_WORDS * k, operands, needs)
        if leaf != 0:
            Py_IncRef(leaf)
            PyTuple_SetItem(found, count, leaf)
            count += 1
        k += 1
    return found


def viewed(entry: int, array: int) -> int:
    """The view of an array that is saved, or the array itself, or that of a number: a new reference."""
    arguments = room(2)
    function = word(entry + 16)
    if function == 0:
        Py_IncRef(array)
        return array
    if word(entry + 24) != 0 and in_order(array):
        return array_view(word(entry + 24), array)
    set_word(arguments, 0)
    set_word(arguments + 8, array)
    return PyObject_Vectorcall(function, arguments + 8, 1, 0)


def source_of(entry: int, operands: int, tensors: int) -> int:
    """The tensor whose array is kept, or 0 for an array of the program's."""
    source = word(entry)
    which = word(entry + 8)
    if source == OF_TENSOR:
        return word(operands + 8 * which)
    if source == OF_RESULT:
        return word(tensors + 8 * which)
    if source == OF_CAPTURED:
        return which
    return 0


def kept_array(entry: int, operands: int, arrays: int) -> int:
    """The array that is kept and no tensor's, or the number that it is made of."""
    source = word(entry)
    if source == OF_CONSTANT:
        return word(entry + 8)
    if source == OF_NUMBER:
        return word(operands + 8 * word(entry + 8))
    return word(arrays + 8 * word(entry + 8))


def keep(entry: int, operands: int, held: int, arrays: int, tensors: int, place: int, unkept: int) -> int:
    """Keep a value for the backward pass: its array (of an operand the one that the program read: the tensor may have
    another one since), its memory and that one's version, which may not be `unkept`; 0 with a Python error set."""
    memory = known(NONE)
    version = known(ZERO)
    tensor = source_of(entry, operands, tensors)
    if tensor == 0:
        array = kept_array(entry, operands, arrays)
    else:
        array = word(tensor + known(T_ARRAY))
        if word(entry) == OF_TENSOR:
            array = word(held + 8 * word(entry + 8))
        memory = word(tensor + known(T_MEMORY))
        version = word(memory + known(M_VERSION))
        if version == unkept and not may_be_kept(tensor):
            return 0
    array = viewed(entry, array)
    if array == 0:
        return 0
    set_word(place, array)
    hold(place + 8, memory)
    hold(place + 16, version)
    return 1


def kept_values(block: int, operands: int, held: int, arrays: int, tensors: int, unkept: int) -> int:
    """The tuple of what a node keeps, as `adjit.autograd.tape` folds it; 0 with a Python error set."""
    count = word(block)
    if count == 0:
        Py_IncRef(known(EMPTY))
        return known(EMPTY)
    found = PyTuple_New(3 * count + 1)
    if found == 0:
        return 0
    hold(found + ITEMS, word(block + 8))
    entry = block + 16
    place = found + ITEMS + 8
    while count > 0:
        if not keep(entry, operands, held, arrays, tensors, place, unkept):
            Py_DecRef(found)
            return 0
        entry += 8 * SAVED_WORDS
        place += 24
        count -= 1
    return found


def link(tensor: int, output: int) -> int:
    """Make a fresh tensor the output of its node."""
    Py_DecRef(word(tensor + known(T_VALUE)))
    Py_DecRef(word(tensor + known(T_REQUIRES)))
    Py_DecRef(word(tensor + known(T_LEAF)))
    hold(tensor + known(T_VALUE), output)
    hold(tensor + known(T_REQUIRES), known(TRUE))
    hold(tensor + known(T_LEAF), known(FALSE))
    return 0


def record(signature: int, operands: int, held: int, arrays: int, tensors: int) -> int:
    """Link fresh results to the operands, as `adjit.autograd.record.record` does; 0 with a Python error set.

    `held` are the operands' arrays as the program read them, `arrays` those of all its results; `tensors` stand around
    the first of these.
    """
    made = room(MOST_NODES)
    block = word(signature + 8 * RECORDING)
    needs = word(signature + 8 * NEEDS)
    count = word(block)
    where = location()
    if where == 0:
        return 0
    k = 0
    while k < count:
        found = recorded_node(word(block + 8 + 8 * k), operands, held, arrays, tensors, needs, where, made)
        if found == 0:
            drop(made, k)
            Py_DecRef(where)
            return 0
        set_word(made + 8 * k, found)
        k += 1
    drop(made, count)
    Py_DecRef(where)
    return 1


def recorded(signature: int, operands: int, held: int, arrays: int, tensors: int) -> int:
    """Record a call; one that overwrote its first operand gave that one another history; 0 with a Python error set."""
    if word(signature + 8 * WRITES) == 0:
        return record(signature, operands, held, arrays, tensors)
    target = word(operands)
    set_word(tensors, target)
    if not record(signature, operands, held, arrays, tensors):
        return 0
    before = word(target + known(T_HISTORY))
    after = PyLong_FromLongLong(integer(before) + 1)
    if after == 0:
        return 0
    set_word(target + known(T_HISTORY), after)
    Py_DecRef(before)
    return 1


def recorded_node(
    recorded: int, operands: int, held: int, arrays: int, tensors: int, needs: int, where: int, outputs: int
) -> int:
    """The only output of a new node with its record, or the node where it has several; a new reference."""
    node = PyType_GenericAlloc(known(NODE), 0)
    if node == 0:
        return 0
    hold(node + known(N_LOCATION), where)
    found = 0
    if filled(recorded, operands, held, arrays, tensors, needs, outputs, node):
        results = word(recorded + 8 * L_RESULTS)
        if word(results) == 1:
            found = only_output(results + 8, tensors, node)
        elif all_outputs(results, tensors, node):
            Py_IncRef(node)
            found = node
    Py_DecRef(node)
    return found


def only_output(result: int, tensors: int, node: int) -> int:
    """The output of a node that has one, a new reference; a tensor may have it."""
    output = make_value(word(result), node, known(ZERO))
    if output == 0:
        return 0
    made = PyWeakref_NewRef(output, 0)
    if made == 0:
        Py_DecRef(output)
        return 0
    set_word(node + known(N_RESULTS), made)
    if word(result + 8) >= 0:
        link(word(tensors + 8 * word(result + 8)), output)
    return output


def all_outputs(results: int, tensors: int, node: int) -> int:
    """Give tensors the outputs of a node that has several; 0 with a Python error set."""
    count = word(results)
    references = PyTuple_New(count)
    if references == 0:
        return 0
    set_word(node + known(N_RESULTS), references)
    k = 0
    while k < count:
        result = results + 8 + 8 * MADE_WORDS * k
        found = known(NONE)
        if word(result + 8) < 0:
            Py_IncRef(found)
        else:
            found = numbered_output(word(result), word(tensors + 8 * word(result + 8)), node, k)
            if found == 0:
                return 0
        PyTuple_SetItem(references, k, found)
        k += 1
    return 1


def numbered_output(type: int, tensor: int, node: int, number: int) -> int:
    """A reference to a node's output that a tensor has; 0 with a Python error set."""
    index = PyLong_FromLongLong(number)
    if index == 0:
        return 0
    output = make_value(type, node, index)
    Py_DecRef(index)
    if output == 0:
        return 0
    found = PyWeakref_NewRef(output, 0)
    if found != 0:
        link(tensor, output)
    Py_DecRef(output)
    return found


def put(node: int, slot: int, made: int) -> int:
    """Let a new object, or 0 where there is none, pass to a node; whether there is one."""
    if made == 0:
        return 0
    set_word(node + slot, made)
    return 1


def filled(
    recorded: int, operands: int, held: int, arrays: int, tensors: int, needs: int, outputs: int, node: int
) -> int:
    """Fill a node's slots; 0 with a Python error set."""
    kept = word(recorded + 8 * L_KEPT)
    full = word(recorded + 8 * L_KEPT_FULL)
    hold(node + known(N_OP), word(recorded + 8 * L_OP))
    hold(node + known(N_ATTRIBUTES), word(recorded + 8 * L_ATTRIBUTES))
    hold(node + known(N_REGIONS), word(recorded + 8 * L_REGIONS))
    hold(node + known(N_TYPES), word(recorded + 8 * L_TYPES))
    hold(node + known(R_NAME), word(recorded + 8 * L_NAME))
    hold(node + known(R_PULLBACK), word(recorded + 8 * L_PULLBACK))
    hold(node + known(R_SEEDED), word(recorded + 8 * L_SEEDED))
    hold(node + known(R_REACHED), word(recorded + 8 * L_REACHED))
    hold(node + known(R_CUSTOM), word(recorded + 8 * L_CUSTOM))
    hold(node + known(R_SIZES), word(recorded + 8 * L_SIZES))
    hold(node + known(R_FREED), known(FALSE))
    hold(node + known(R_HOOKS), known(NONE))
    hold(node + known(R_FAULT), known(NONE))
    where = word(node + known(N_LOCATION))
    if not put(node, known(N_INPUTS), input_values(recorded, operands, needs, outputs, where)):
        return 0
    if not put(node, known(R_KEPT), kept_values(kept, operands, held, arrays, tensors, known(UNTRACKED))):
        return 0
    if not put(node, known(R_KEPT_FULL), kept_values(full, operands, held, arrays, tensors, 0)):
        return 0
    if not put(node, known(R_LEAVES), leaves(recorded, operands, needs)):
        return 0
    return put(node, known(R_SEQUENCE), PyIter_Next(known(SEQUENCE)))


FUNCTIONS = (
    seen_at, location, knows_leaf, value_of, input_value, input_values, leaf_at, leaves, viewed, source_of, kept_array,
    keep, kept_values, link, record, recorded, recorded_node, only_output, all_outputs, numbered_output, put, filled,
)  # fmt: skip
