"""Word functions that record a call: the node, its record and its saved values, as autograd's Python code makes them.

The parts that do not change from call to call are taken from a signature's template, which Python filled by looking at
a node that it had recorded itself.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import (
    Py_DecRef,
    Py_IncRef,
    PyEval_GetFrame,
    PyFrame_GetCode,
    PyFrame_GetLasti,
    PyIter_Next,
    PyObject_Vectorcall,
    PyTuple_GetItem,
    PyTuple_New,
    PyTuple_SetItem,
    PyType_GenericAlloc,
)
from adjit.compiler.entry.known import (
    EMPTY,
    FALSE,
    L_ATTRIBUTES,
    L_CUSTOM,
    L_INPUTS,
    L_NAME,
    L_OP,
    L_PULLBACK,
    L_REACHED,
    L_REGIONS,
    L_SAVED,
    L_SEEDED,
    LOCATE,
    LOCATIONS,
    M_VERSION,
    MARK_LEAF,
    N_ATTACHED,
    N_ATTRIBUTES,
    N_INPUTS,
    N_LOCATION,
    N_OP,
    N_OUTPUTS,
    N_REGIONS,
    NEEDS,
    NODE,
    NONE,
    PLACES,
    R_CUSTOM,
    R_FAULT,
    R_FREED,
    R_FULL,
    R_HOOKS,
    R_LEAVES,
    R_NAME,
    R_PULLBACK,
    R_REACHED,
    R_SAVED,
    R_SEEDED,
    R_SEQUENCE,
    RECORD,
    RECORDING,
    S_ARRAY,
    S_DTYPE,
    S_MEMORY,
    S_REQUIRES,
    S_VALUE,
    S_VERSION,
    SAVED,
    SAVED_WORDS,
    SEQUENCE,
    T_ARRAY,
    T_LEAF,
    T_MEMORY,
    T_REQUIRES,
    T_TYPE,
    T_VALUE,
    TRUE,
    V_ATTACHED,
    W_LEAF,
    ZERO,
)
from adjit.compiler.entry.operands import mixed
from adjit.compiler.entry.results import (
    hold,
    make_value,
)
from adjit.compiler.llvm.words import known, room, set_word, word


def location() -> int:
    """The line of the user's program: found among those seen before, else by Python code."""
    arguments = room(2)
    frame = PyEval_GetFrame()
    place = 0
    if frame != 0:
        code = PyFrame_GetCode(frame)
        Py_DecRef(code)  # the frame holds it
        offset = PyFrame_GetLasti(frame)
        place = known(LOCATIONS) + 24 * (mixed(code >> 4, offset) & (PLACES - 1))
        if word(place) == code and word(place + 8) == offset:
            Py_IncRef(word(place + 16))
            return word(place + 16)
    set_word(arguments, 0)
    return PyObject_Vectorcall(known(LOCATE), arguments + 8, 0, 0)


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


def input_values(recorded: int, operands: int, needs: int) -> int:
    """The tuple of a node's inputs: values of operands, and literals."""
    block = word(recorded + 8 * L_INPUTS)
    count = word(block)
    values = PyTuple_New(count)
    if values == 0:
        return 0
    k = 0
    while k < count:
        which = word(block + 8 + 16 * k)
        value = word(block + 16 + 16 * k)
        if which < 0:
            Py_IncRef(value)
        else:
            value = value_of(word(operands + 8 * which), value, (needs >> which) & 1)
            if value == 0:
                Py_DecRef(values)
                return 0
        PyTuple_SetItem(values, k, value)
        k += 1
    return values


def leaves(recorded: int, operands: int, needs: int) -> int:
    """The tuple of leaves among the operands that require grad."""
    block = word(recorded + 8 * L_INPUTS)
    inputs = word(block)
    count = 0
    k = 0
    while k < inputs:
        which = word(block + 8 + 16 * k)
        if which >= 0 and (needs >> which) & 1 and word(word(operands + 8 * which) + known(T_LEAF)) == known(TRUE):
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
        which = word(block + 8 + 16 * k)
        if which >= 0 and (needs >> which) & 1 and word(word(operands + 8 * which) + known(T_LEAF)) == known(TRUE):
            Py_IncRef(word(operands + 8 * which))
            PyTuple_SetItem(found, count, word(operands + 8 * which))
            count += 1
        k += 1
    return found


def saved_value(entry: int, tensor: int, value: int) -> int:
    """What is kept of a tensor for the backward pass, with the version of its memory."""
    kept = PyType_GenericAlloc(known(SAVED), 0)
    if kept != 0:
        memory = word(tensor + known(T_MEMORY))
        hold(kept + known(S_ARRAY), word(tensor + known(T_ARRAY)))
        hold(kept + known(S_DTYPE), word(entry + 16))
        hold(kept + known(S_VALUE), value)
        hold(kept + known(S_REQUIRES), word(entry + 24))
        hold(kept + known(S_MEMORY), memory)
        hold(kept + known(S_VERSION), word(memory + known(M_VERSION)))
    return kept


def saved_values(recorded: int, operands: int, tensor: int, values: int, output: int) -> int:
    """The tuple of what the backward pass takes."""
    block = word(recorded + 8 * L_SAVED)
    inputs = word(recorded + 8 * L_INPUTS)
    count = word(block)
    found = PyTuple_New(count)
    if found == 0:
        return 0
    entry = block + 8
    k = 0
    while k < count:
        if word(entry) == 0:
            which = word(entry + 8)
            tensor_in = word(operands + 8 * word(inputs + 8 + 16 * which))
            kept = saved_value(entry, tensor_in, PyTuple_GetItem(values, which))
        else:
            kept = saved_value(entry, tensor, output)
        if kept == 0:
            Py_DecRef(found)
            return 0
        PyTuple_SetItem(found, k, kept)
        entry += 8 * SAVED_WORDS
        k += 1
    return found


def filled_record(recorded: int, saved: int, leaf_tensors: int) -> int:
    """Autograd's part of a node; the references to both tuples pass to it."""
    sequence = PyIter_Next(known(SEQUENCE))
    if sequence == 0:
        return 0
    entry = PyType_GenericAlloc(known(RECORD), 0)
    if entry == 0:
        Py_DecRef(sequence)
        return 0
    set_word(entry + known(R_SEQUENCE), sequence)
    set_word(entry + known(R_SAVED), saved)
    set_word(entry + known(R_LEAVES), leaf_tensors)
    hold(entry + known(R_NAME), word(recorded + 8 * L_NAME))
    hold(entry + known(R_PULLBACK), word(recorded + 8 * L_PULLBACK))
    hold(entry + known(R_SEEDED), word(recorded + 8 * L_SEEDED))
    hold(entry + known(R_REACHED), word(recorded + 8 * L_REACHED))
    hold(entry + known(R_CUSTOM), word(recorded + 8 * L_CUSTOM))
    hold(entry + known(R_FULL), known(EMPTY))
    hold(entry + known(R_FREED), known(FALSE))
    hold(entry + known(R_HOOKS), known(NONE))
    hold(entry + known(R_FAULT), known(NONE))
    return entry


def link(tensor: int, output: int) -> int:
    """Make a fresh tensor the output of its node."""
    Py_DecRef(word(tensor + known(T_VALUE)))
    Py_DecRef(word(tensor + known(T_REQUIRES)))
    Py_DecRef(word(tensor + known(T_LEAF)))
    hold(tensor + known(T_VALUE), output)
    hold(tensor + known(T_REQUIRES), known(TRUE))
    hold(tensor + known(T_LEAF), known(FALSE))
    return 0


def record(signature: int, operands: int, tensor: int) -> int:
    """Link a fresh result to its operands, as `adjit.autograd.record.record` does; 0 with a Python error set."""
    recorded = word(signature + 8 * RECORDING)
    needs = word(signature + 8 * NEEDS)
    where = location()
    if where == 0:
        return 0
    values = input_values(recorded, operands, needs)
    if values == 0:
        Py_DecRef(where)
        return 0
    node = PyType_GenericAlloc(known(NODE), 0)
    if node == 0:
        Py_DecRef(where)
        Py_DecRef(values)
        return 0
    set_word(node + known(N_LOCATION), where)
    set_word(node + known(N_INPUTS), values)
    hold(node + known(N_OP), word(recorded + 8 * L_OP))
    hold(node + known(N_ATTRIBUTES), word(recorded + 8 * L_ATTRIBUTES))
    hold(node + known(N_REGIONS), word(recorded + 8 * L_REGIONS))
    output = make_value(word(tensor + known(T_TYPE)), node, known(ZERO))
    found = 0
    if output != 0:
        found = finished(recorded, operands, tensor, needs, node, output)
        Py_DecRef(output)
    Py_DecRef(node)
    return found


def finished(recorded: int, operands: int, tensor: int, needs: int, node: int, output: int) -> int:
    """The rest of `record`, once the node and its output are there."""
    outputs = PyTuple_New(1)
    if outputs == 0:
        return 0
    Py_IncRef(output)
    PyTuple_SetItem(outputs, 0, output)
    set_word(node + known(N_OUTPUTS), outputs)
    saved = saved_values(recorded, operands, tensor, word(node + known(N_INPUTS)), output)
    if saved == 0:
        return 0
    leaf_tensors = leaves(recorded, operands, needs)
    if leaf_tensors == 0:
        Py_DecRef(saved)
        return 0
    entry = filled_record(recorded, saved, leaf_tensors)
    if entry == 0:
        Py_DecRef(saved)
        Py_DecRef(leaf_tensors)
        return 0
    set_word(node + known(N_ATTACHED), entry)
    link(tensor, output)
    return 1


FUNCTIONS = (
    location, knows_leaf, value_of, input_values, leaves, saved_value, saved_values, filled_record, link, record,
    finished,
)  # fmt: skip
