"""Word functions of a whole backward pass: the recorded nodes are compared with a plan, then its programs run.

A plan was made from a pass that Python did node by node.  A tape fits if its nodes have the plan's pullbacks, are wired
and ordered alike, nothing was freed or overwritten, and nobody watches: no hooks, no retained gradients.  Until the
programs have run nothing is changed, so that Python can start afresh whenever something differs.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import (
    Py_DecRef,
    Py_IncRef,
    PyObject_Vectorcall,
    PyTuple_GetItem,
    PyTuple_New,
    PyTuple_SetItem,
    PyTuple_Size,
)
from adjit.compiler.entry.known import (
    A_GRADIENT,
    ACCUMULATE,
    ARRAY,
    B_CUSTOM,
    B_FREED,
    B_INPUT_LIST,
    B_INPUTS,
    B_OUTPUTS,
    B_PULLBACK,
    B_SAVED,
    B_SAVED_LIST,
    EMPTY,
    EVERY_LEAF,
    FALSE,
    FILL_WORDS,
    M_VERSION,
    MOST_OPERANDS,
    N_INPUTS,
    N_RESULTS,
    NODE,
    NONE,
    OPERAND_WORDS,
    P_ARRAY_ROOM,
    P_BUSY,
    P_CALLS,
    P_LEAF_ROOM,
    P_LEAVES,
    P_MADE,
    P_NODE_ROOM,
    P_NODES,
    P_PROGRAMS,
    P_RESULT_LIST,
    P_RESULT_ROOM,
    P_SAVED,
    P_STEPS,
    P_TARGET_COUNT,
    P_TARGETS,
    PROGRAM_WORDS,
    R_CUSTOM,
    R_FAULT,
    R_FREED,
    R_HOOKS,
    R_KEPT,
    R_KEPT_FULL,
    R_PULLBACK,
    R_SEQUENCE,
    REFERENCE,
    RESULT_WORDS,
    STEP_WORDS,
    T_GRAD,
    TARGET_WORDS,
    TO_LEAF,
    TO_NODE,
    TRUE,
    TUPLE,
    V_ATTACHED,
    V_INDEX,
    V_NODE,
    W_HOOKS,
    W_LEAF,
    W_POST,
    W_RETAINED,
    WATCH,
)
from adjit.compiler.entry.making import copied, drop, hold_all, make_arrays, make_tensor, replace
from adjit.compiler.entry.objects import in_order, integer, is_shaped, is_tensor
from adjit.compiler.entry.serve import execute
from adjit.compiler.llvm.words import known, room, set_word, word
from adjit.runtime.layout import CONTENT, DATA, ITEMS, TYPE, USED

# More than any number of a record.
LAST = 2**62


def is_quiet(watch: int) -> int:
    """Whether a leaf's watch has only the leaf to tell."""
    if word(watch + TYPE) != known(WATCH) or word(watch + known(W_LEAF)) == known(NONE):
        return 0
    if word(word(watch + known(W_HOOKS)) + USED) != 0 or word(word(watch + known(W_POST)) + USED) != 0:
        return 0
    return word(watch + known(W_RETAINED)) == known(NONE)


def is_open(entry: int, step: int) -> int:
    """Whether a node has the pullback of a step, which can be run unseen."""
    if word(entry + TYPE) != known(NODE) or word(entry + known(R_PULLBACK)) != word(step + 8 * B_PULLBACK):
        return 0
    if word(entry + known(R_FREED)) != known(FALSE) or word(entry + known(R_FAULT)) != known(NONE):
        return 0
    return word(entry + known(R_HOOKS)) == known(NONE) and word(entry + known(R_CUSTOM)) == word(step + 8 * B_CUSTOM)


def nobody_watches(result: int) -> int:
    """Whether the value that a reference is to is gone, or has no watch; there may be no reference yet."""
    if result == known(NONE):
        return 1
    value = word(result + CONTENT)
    return value == known(NONE) or word(value + known(V_ATTACHED)) == known(NONE)


def is_unwatched(outputs: int, count: int) -> int:
    """Whether a node has that many results, and nobody wants their gradients."""
    if word(outputs + TYPE) == known(REFERENCE):
        return count == 1 and nobody_watches(outputs)
    if PyTuple_Size(outputs) != count:
        return 0
    k = 0
    while k < count:
        if not nobody_watches(PyTuple_GetItem(outputs, k)):
            return 0
        k += 1
    return 1


def same_place(rooms: int, number: int, found: int) -> int:
    """Note what stands at a numbered place when it is first met; afterwards it must be the same."""
    if word(rooms + 8 * number) == 0:
        set_word(rooms + 8 * number, found)
        return 1
    return word(rooms + 8 * number) == found


def is_among(rooms: int, count: int, found: int) -> int:
    """Whether something stands at one of the first numbered places."""
    while count > 0:
        count -= 1
        if word(rooms + 8 * count) == found:
            return 1
    return 0


def is_same_leaf(leaves: int, number: int, value: int) -> int:
    """Whether a value can be the leaf of a number: none of those met before, whose gradient would come in two parts."""
    if word(leaves + 8 * number) == 0 and is_among(leaves, number, value):
        return 0
    return same_place(leaves, number, value)


def wired(plan: int, step: int, inputs: int) -> int:
    """Whether a node's operands come from where the plan says."""
    count = word(step + 8 * B_INPUTS)
    entry = word(step + 8 * B_INPUT_LIST)
    if PyTuple_Size(inputs) != count:
        return 0
    k = 0
    while k < count:
        kind = word(entry)
        value = PyTuple_GetItem(inputs, k)
        if kind == TO_NODE:
            node = word(value + known(V_NODE))
            if node == known(NONE) or integer(word(value + known(V_INDEX))) != word(entry + 16):
                return 0
            if not same_place(word(plan + 8 * P_NODE_ROOM), word(entry + 8), node):
                return 0
        elif kind == TO_LEAF:
            if word(value + known(V_NODE)) != known(NONE) or not is_quiet(word(value + known(V_ATTACHED))):
                return 0
            if not is_same_leaf(word(plan + 8 * P_LEAF_ROOM), word(entry + 8), value):
                return 0
        entry += 24
        k += 1
    return 1


def intact(kept: int) -> int:
    """The array of a kept value; 0 where it was overwritten, or is kept in another form."""
    memory = word(kept + 8)
    if memory != known(NONE) and integer(word(memory + known(M_VERSION))) != integer(word(kept + 16)):
        return 0
    array = word(kept)
    if word(array + TYPE) != known(ARRAY):
        return 0
    return array


def kept_intact(plan: int, step: int, saved: int, place: int) -> int:
    """Whether a node's saved values are as they were and as the plan wants them; their arrays are noted."""
    count = word(step + 8 * B_SAVED)
    wanted = word(step + 8 * B_SAVED_LIST)
    arrays = word(plan + 8 * P_ARRAY_ROOM)
    if count == 0:
        return saved == known(EMPTY)
    if PyTuple_Size(saved) != 3 * count + 1 or word(word(saved + ITEMS) + TYPE) != known(TUPLE):
        return 0  # in a form that a hook gave it, perhaps
    kept = saved + ITEMS + 8
    k = 0
    while k < count:
        array = intact(kept)
        if not is_shaped(wanted, array):
            return 0
        set_word(arrays + 8 * (place + k), array)
        wanted += 8 * OPERAND_WORDS
        kept += 24
        k += 1
    return 1


def clear(rooms: int, count: int) -> int:
    """Forget what was noted."""
    while count > 0:
        count -= 1
        set_word(rooms + 8 * count, 0)
    return 0


def follows(plan: int, root: int) -> int:
    """Whether the tape behind a node is the plan's; its nodes, leaves and saved arrays are noted in the plan."""
    nodes = word(plan + 8 * P_NODE_ROOM)
    count = word(plan + 8 * P_NODES)
    clear(nodes, count)
    clear(word(plan + 8 * P_LEAF_ROOM), word(plan + 8 * P_LEAVES))
    set_word(nodes, root)
    step = word(plan + 8 * P_STEPS)
    last = LAST
    place = 0
    k = 0
    while k < count:
        node = word(nodes + 8 * k)
        if node == 0:
            return 0
        if not is_open(node, step):
            return 0
        sequence = integer(word(node + known(R_SEQUENCE)))
        if sequence >= last or not is_unwatched(word(node + known(N_RESULTS)), word(step + 8 * B_OUTPUTS)):
            return 0
        if not wired(plan, step, word(node + known(N_INPUTS))):
            return 0
        if not kept_intact(plan, step, word(node + known(R_KEPT)), place):
            return 0
        last = sequence
        place += word(step + 8 * B_SAVED)
        step += 8 * STEP_WORDS
        k += 1
    return 1


def hold_in_order(arrays: int, count: int) -> int:
    """Take references to arrays, or to copies of those that are not in order; 0 with a Python error set.

    Another thread may free the tape while the GIL is released, as it is while an array is copied: all are held first.
    """
    hold_all(arrays, count)
    k = 0
    while k < count:
        array = word(arrays + 8 * k)
        if not in_order(array):
            copy = copied(array)
            if copy == 0:
                drop(arrays, count)
                return 0
            set_word(arrays + 8 * k, copy)
            Py_DecRef(array)
        k += 1
    return 1


def run_program(program: int, arrays: int, made: int) -> int:
    """Run one program of a plan on saved arrays and new gradients; 0 where it met a fault."""
    table = word(program + 8)
    fill = word(program + 16) + 8
    count = word(fill - 8)
    while count > 0:
        source = arrays
        if word(fill + 8) == A_GRADIENT:
            source = made
        set_word(table + 8 * word(fill), word(word(source + 8 * word(fill + 16)) + DATA))
        fill += 8 * FILL_WORDS
        count -= 1
    return execute(word(program), table)


def run_programs(plan: int) -> int:
    """Run the programs of a plan; 0 where one met a fault."""
    arrays = word(plan + 8 * P_ARRAY_ROOM)
    made = word(plan + 8 * P_RESULT_ROOM)
    program = word(plan + 8 * P_PROGRAMS) + 8
    count = word(program - 8)
    while count > 0:
        if not run_program(program, arrays, made):
            return 0
        program += 8 * PROGRAM_WORDS
        count -= 1
    return 1


def run_plan(plan: int) -> int:
    """The gradients as new arrays in the plan's room; 0 with a Python error, -1 where Python must find the fault."""
    arrays = word(plan + 8 * P_ARRAY_ROOM)
    made = word(plan + 8 * P_RESULT_ROOM)
    saved = word(plan + 8 * P_SAVED)
    count = word(plan + 8 * P_MADE)
    if not hold_in_order(arrays, saved):
        return 0
    if not make_arrays(word(plan + 8 * P_RESULT_LIST), count, made):
        drop(arrays, saved)
        return 0
    done = run_programs(plan)
    drop(arrays, saved)
    if not done:
        drop(made, count)
        return -1
    return 1


def give(value: int, tensor: int) -> int:
    """Make a tensor the gradient of a leaf, or add it to the one that is there; 0 with a Python error set."""
    arguments = room(4)
    set_word(arguments, 0)
    watch = word(value + known(V_ATTACHED))
    if word(watch + TYPE) != known(WATCH) or word(watch + known(W_LEAF)) == known(NONE):
        return 1  # another thread made it a leaf no more while the GIL was released
    leaf = PyObject_Vectorcall(word(watch + known(W_LEAF)), arguments + 8, 0, 0)
    if leaf == 0:
        return 0
    done = 1
    if is_tensor(leaf) and word(leaf + known(T_GRAD)) == known(NONE):
        Py_IncRef(tensor)
        set_word(leaf + known(T_GRAD), tensor)
        Py_DecRef(known(NONE))
    elif leaf != known(NONE):
        set_word(arguments + 8, leaf)
        set_word(arguments + 16, tensor)
        set_word(arguments + 24, known(FALSE))
        done = PyObject_Vectorcall(known(ACCUMULATE), arguments + 8, 3, 0)
        if done != 0:
            Py_DecRef(done)
    Py_DecRef(leaf)
    return done


def free_node(node: int) -> int:
    """Free what a node saved."""
    replace(node + known(R_FREED), known(TRUE))
    replace(node + known(R_KEPT), known(EMPTY))
    replace(node + known(R_KEPT_FULL), known(EMPTY))
    return 0


def free_tape(plan: int) -> int:
    """Free what the nodes saved."""
    nodes = word(plan + 8 * P_NODE_ROOM)
    step = word(plan + 8 * P_STEPS)
    count = word(plan + 8 * P_NODES)
    k = 0
    while k < count:
        if word(step + 8 * B_FREED):
            free_node(word(nodes + 8 * k))
        step += 8 * STEP_WORDS
        k += 1
    return 0


def deliver(plan: int) -> int:
    """Give the leaves their gradients; 0 with a Python error set."""
    made = word(plan + 8 * P_RESULT_ROOM)
    values = word(plan + 8 * P_LEAF_ROOM)
    result = word(plan + 8 * P_RESULT_LIST)
    leaves = word(plan + 8 * P_LEAVES)
    done = 1
    k = 0
    while k < leaves:
        tensor = 0
        if done:
            tensor = make_tensor(result, word(made + 8 * k))
        if tensor == 0:
            Py_DecRef(word(made + 8 * k))
            done = 0
        else:
            if not give(word(values + 8 * k), tensor):
                done = 0
            Py_DecRef(tensor)
        result += 8 * RESULT_WORDS
        k += 1
    return done


def gradients_of(plan: int) -> int:
    """A tuple of the targets' gradients, a new reference; 0 with a Python error set."""
    made = word(plan + 8 * P_RESULT_ROOM)
    result = word(plan + 8 * P_RESULT_LIST)
    target = word(plan + 8 * P_TARGETS)
    count = word(plan + 8 * P_MADE)
    tensors = room(MOST_OPERANDS)
    k = 0
    while k < count:
        tensor = make_tensor(result, word(made + 8 * k))
        if tensor == 0:
            drop(tensors, k)
            drop(made + 8 * k, count - k)
            return 0
        set_word(tensors + 8 * k, tensor)
        result += 8 * RESULT_WORDS
        k += 1
    targets = word(plan + 8 * P_TARGET_COUNT)
    found = PyTuple_New(targets)
    k = 0
    while found != 0 and k < targets:
        tensor = word(tensors + 8 * word(target + 8))
        Py_IncRef(tensor)
        PyTuple_SetItem(found, k, tensor)
        target += 8 * TARGET_WORDS
        k += 1
    drop(tensors, count)
    return found


def delivered(plan: int) -> int:
    """1 when the leaves have their gradients, or the targets' gradients; 0 with a Python error set."""
    if word(plan + 8 * P_TARGET_COUNT) == EVERY_LEAF:
        return deliver(plan)
    return gradients_of(plan)


def gone_back(plan: int, retain: int) -> int:
    """Run a plan that the tape follows: 1, or the targets' gradients; 0 with a Python error, -1 for a fault."""
    nodes = word(plan + 8 * P_NODE_ROOM)
    count = word(plan + 8 * P_NODES)
    leaves = word(plan + 8 * P_LEAVES)
    values = word(plan + 8 * P_LEAF_ROOM)
    set_word(plan + 8 * P_BUSY, 1)
    hold_all(nodes, count)
    hold_all(values, leaves)
    done = run_plan(plan)
    if done == 1:
        set_word(plan + 8 * P_CALLS, word(plan + 8 * P_CALLS) + 1)
        if not retain:
            free_tape(plan)
        done = delivered(plan)
    drop(nodes, count)
    drop(values, leaves)
    set_word(plan + 8 * P_BUSY, 0)
    return done


FUNCTIONS = (
    is_quiet, is_open, nobody_watches, is_unwatched, same_place, is_among, is_same_leaf, wired, intact, kept_intact,
    clear, follows, hold_in_order, run_program, run_programs, run_plan, give, free_node, free_tape, deliver,
    gradients_of, delivered, gone_back,
)  # fmt: skip
