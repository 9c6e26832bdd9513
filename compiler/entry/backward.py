"""Word functions of a whole backward pass: the recorded nodes are compared with a plan, then its programs run.

A plan was made from a pass that Python did node by node.  A tape fits if its nodes have the plan's pullbacks, are wired
and ordered alike, nothing was freed or overwritten, and nobody watches: no hooks, no retained gradients.  Until the
programs have run nothing is changed, so that Python can start afresh whenever something differs.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import Py_DecRef, Py_IncRef, PyObject_Vectorcall, PyTuple_New
from adjit.compiler.entry.known import (
    A_GRADIENT,
    ACCUMULATE,
    ARENA,
    B_FREED,
    B_SLOW,
    EMPTY,
    FALSE,
    FILL_WORDS,
    IN_ORDER_COPY,
    N_ATTACHED,
    NONE,
    P_ARRAY_ROOM,
    P_BUSY,
    P_CALLS,
    P_LEAF_ROOM,
    P_LEAVES,
    P_NODE_ROOM,
    P_NODES,
    P_PROGRAMS,
    P_RESULT_LIST,
    P_RESULT_ROOM,
    P_SAVED,
    P_STEPS,
    P_TARGETS,
    PROGRAM_WORDS,
    R_FREED,
    R_FULL,
    R_SAVED,
    RESULT_WORDS,
    STEP_WORDS,
    T_GRAD,
    TRUE,
    TUPLE,
    V_ATTACHED,
    W_LEAF,
    WORKSPACE,
)
from adjit.compiler.entry.making import drop, hold_all, make_array, make_tensor, replace
from adjit.compiler.entry.objects import in_order, is_tensor
from adjit.compiler.entry.serve import execute, spread
from adjit.compiler.entry.tapes import plan_for
from adjit.compiler.llvm.words import known, room, set_word, word
from adjit.runtime.layout import DATA, ITEMS, TYPE, USED

# The arguments of `adjit_gradients`.
TWO = 2


def hold_in_order(arrays: int, count: int) -> int:
    """Take references to arrays, or to copies of those that are not in order; 0 with a Python error set.

    Another thread may free the tape while the GIL is released.
    """
    arguments = room(2)
    set_word(arguments, 0)
    k = 0
    while k < count:
        array = word(arrays + 8 * k)
        if in_order(array):
            Py_IncRef(array)
        else:
            set_word(arguments + 8, array)
            array = PyObject_Vectorcall(known(IN_ORDER_COPY), arguments + 8, 1, 0)
            if array == 0:
                drop(arrays, k)
                return 0
            set_word(arrays + 8 * k, array)
        k += 1
    return 1


def run_program(program: int, arrays: int, made: int) -> int:
    """Run one program of a plan on saved arrays and new gradients; 0 where it met a fault."""
    signature = word(program)
    table = word(program + 8)
    fill = word(program + 16) + 8
    count = word(fill - 8)
    status = room(1)
    set_word(status, 0)
    set_word(table, status)
    set_word(table + 8, word(signature + 8 * WORKSPACE))
    set_word(table + 16, word(signature + 8 * ARENA))
    while count > 0:
        source = arrays
        if word(fill + 8) == A_GRADIENT:
            source = made
        set_word(table + 8 * word(fill), word(word(source + 8 * word(fill + 16)) + DATA))
        fill += 8 * FILL_WORDS
        count -= 1
    execute(signature, 0, table)
    return word(status) == 0


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
    leaves = word(plan + 8 * P_LEAVES)
    if not hold_in_order(arrays, saved):
        return 0
    result = word(plan + 8 * P_RESULT_LIST)
    k = 0
    while k < leaves:
        array = make_array(result)
        if array == 0:
            drop(made, k)
            drop(arrays, saved)
            return 0
        set_word(made + 8 * k, array)
        result += 8 * RESULT_WORDS
        k += 1
    done = run_programs(plan)
    drop(arrays, saved)
    if not done:
        drop(made, leaves)
        return -1
    return 1


def give(value: int, tensor: int) -> int:
    """Make a tensor the gradient of a leaf, or add it to the one that is there; 0 with a Python error set."""
    arguments = room(4)
    set_word(arguments, 0)
    leaf = PyObject_Vectorcall(word(word(value + known(V_ATTACHED)) + known(W_LEAF)), arguments + 8, 0, 0)
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


def free_tape(plan: int) -> int:
    """Free what the nodes saved."""
    nodes = word(plan + 8 * P_NODE_ROOM)
    step = word(plan + 8 * P_STEPS)
    count = word(plan + 8 * P_NODES)
    k = 0
    while k < count:
        if word(step + 8 * B_FREED):
            entry = word(word(nodes + 8 * k) + known(N_ATTACHED))
            replace(entry + known(R_FREED), known(TRUE))
            replace(entry + known(R_SAVED), known(EMPTY))
            replace(entry + known(R_FULL), known(EMPTY))
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


def gradients(plan: int) -> int:
    """A tuple of a plan's new gradients; 0 with a Python error set."""
    made = word(plan + 8 * P_RESULT_ROOM)
    result = word(plan + 8 * P_RESULT_LIST)
    count = word(plan + 8 * P_LEAVES)
    found = PyTuple_New(count)
    k = 0
    while k < count:
        tensor = 0
        if found != 0:
            tensor = make_tensor(result, word(made + 8 * k))
        if tensor != 0:
            set_word(found + ITEMS + 8 * k, tensor)
        else:
            Py_DecRef(word(made + 8 * k))
            if found != 0:
                Py_DecRef(found)
            found = 0
        result += 8 * RESULT_WORDS
        k += 1
    return found


def gone_back(plan: int) -> int:
    """Run a plan that the tape follows: 1 when done, or the gradients that were asked for.

    0 with a Python error, -1 where Python must do it.
    """
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
        free_tape(plan)
        if word(plan + 8 * P_TARGETS) == 0:
            done = deliver(plan)
        if word(plan + 8 * P_TARGETS) != 0:
            done = gradients(plan)
    drop(nodes, count)
    drop(values, leaves)
    set_word(plan + 8 * P_BUSY, 0)
    return done


def adjit_backward(self: int, arguments: int, count: int, names: int) -> int:
    """The entry of `Tensor.backward`."""
    done = -1
    if count == 0 and names == 0:
        done = plan_for(self, 0)
    if done > 0:
        done = gone_back(done)
    if done < 0:
        return spread(known(B_SLOW), self, arguments, count, names)
    if done == 0:
        return 0
    Py_IncRef(known(NONE))
    return known(NONE)


def adjit_gradients(self: int, arguments: int, count: int, names: int) -> int:
    """The gradients of a scalar with respect to a tuple of leaves, as a tuple; None where Python must find them."""
    done = -1
    if count == TWO and word(word(arguments + 8) + TYPE) == known(TUPLE) and word(word(arguments + 8) + USED) > 0:
        done = plan_for(word(arguments), word(arguments + 8))
    if done > 0:
        done = gone_back(done)
    if done != -1:
        return done
    Py_IncRef(known(NONE))
    return known(NONE)


FUNCTIONS = (
    hold_in_order, run_program, run_programs, run_plan, give, free_tape, deliver, gradients, gone_back, adjit_backward,
    adjit_gradients,
)  # fmt: skip
