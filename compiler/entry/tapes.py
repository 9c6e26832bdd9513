"""Word functions that compare a recorded tape with the plans of backward passes."""

from __future__ import annotations

from adjit.compiler.entry.interpreter import PyTuple_GetItem, PyTuple_Size
from adjit.compiler.entry.known import (
    ARRAY,
    B_CUSTOM,
    B_INPUT_LIST,
    B_INPUTS,
    B_OUTPUTS,
    B_PULLBACK,
    B_SAVED,
    B_SAVED_LIST,
    FALSE,
    IS_TRACING,
    M_VERSION,
    MODE,
    N_ATTACHED,
    N_INPUTS,
    N_OUTPUTS,
    NONE,
    OPERAND_WORDS,
    P_ARRAY_ROOM,
    P_BUSY,
    P_LEAF_ROOM,
    P_LEAVES,
    P_NEXT,
    P_NODE_ROOM,
    P_NODES,
    P_ROOT,
    P_STEPS,
    P_TARGETS,
    PLANS,
    R_CUSTOM,
    R_FAULT,
    R_FREED,
    R_HOOKS,
    R_PULLBACK,
    R_SAVED,
    R_SEQUENCE,
    RECORD,
    REFERENCE,
    S_ARRAY,
    S_MEMORY,
    S_VERSION,
    SAVED,
    STEP_WORDS,
    T_BASE,
    T_HISTORY,
    T_LEAF,
    T_REQUIRES,
    T_SEEN,
    T_VALUE,
    TO_LEAF,
    TO_NODE,
    TRUE,
    V_ATTACHED,
    V_INDEX,
    V_NODE,
    W_HOOKS,
    W_LEAF,
    W_POST,
    W_RETAINED,
    WATCH,
)
from adjit.compiler.entry.objects import array_of, integer, is_shaped, is_tensor
from adjit.compiler.entry.serve import mode_is_known
from adjit.compiler.llvm.words import known, set_word, word
from adjit.runtime.layout import CONTENT, ITEMS, TYPE, USED

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
    """Whether a record has the pullback of a step, which can be run unseen."""
    if word(entry + TYPE) != known(RECORD) or word(entry + known(R_PULLBACK)) != word(step + 8 * B_PULLBACK):
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
            if not same_place(word(plan + 8 * P_LEAF_ROOM), word(entry + 8), value):
                return 0
        entry += 24
        k += 1
    return 1


def kept_intact(plan: int, step: int, saved: int, place: int) -> int:
    """Whether a node's saved values are as they were and as the plan wants them; their arrays are noted."""
    count = word(step + 8 * B_SAVED)
    wanted = word(step + 8 * B_SAVED_LIST)
    arrays = word(plan + 8 * P_ARRAY_ROOM)
    if PyTuple_Size(saved) != count:
        return 0
    k = 0
    while k < count:
        kept = PyTuple_GetItem(saved, k)
        if word(kept + TYPE) != known(SAVED):  # in a form that a hook gave it
            return 0
        memory = word(kept + known(S_MEMORY))
        if memory != known(NONE) and integer(word(memory + known(M_VERSION))) != integer(word(kept + known(S_VERSION))):
            return 0
        array = word(kept + known(S_ARRAY))
        if word(array + TYPE) != known(ARRAY) or not is_shaped(wanted, array):
            return 0
        set_word(arrays + 8 * (place + k), array)
        wanted += 8 * OPERAND_WORDS
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
        entry = word(node + known(N_ATTACHED))
        if not is_open(entry, step):
            return 0
        sequence = integer(word(entry + known(R_SEQUENCE)))
        if sequence >= last or not is_unwatched(word(node + known(N_OUTPUTS)), word(step + 8 * B_OUTPUTS)):
            return 0
        if not wired(plan, step, word(node + known(N_INPUTS))):
            return 0
        if not kept_intact(plan, step, word(entry + known(R_SAVED)), place):
            return 0
        last = sequence
        place += word(step + 8 * B_SAVED)
        step += 8 * STEP_WORDS
        k += 1
    return 1


def are_targets(plan: int, targets: int) -> int:
    """Whether the tensors in a tuple are the leaves of a plan that was followed."""
    values = word(plan + 8 * P_LEAF_ROOM)
    k = 0
    while k < word(targets + USED):
        target = word(targets + ITEMS + 8 * k)
        if not is_tensor(target) or word(target + known(T_VALUE)) != word(values + 8 * k):
            return 0
        k += 1
    return 1


def plan_for(tensor: int, targets: int) -> int:
    """The plan that leads back from a scalar, to the tensors in a tuple or, without one, to all leaves.

    0 with a Python error, -1 where Python must do it.
    """
    if not mode_is_known():
        return 0
    if word(known(MODE) + IS_TRACING) or not is_tensor(tensor):
        return -1
    base = word(tensor + known(T_BASE))
    if base != known(NONE) and word(base + known(T_HISTORY)) != word(tensor + known(T_SEEN)):
        return -1
    if word(tensor + known(T_REQUIRES)) != known(TRUE) or word(tensor + known(T_LEAF)) != known(FALSE):
        return -1
    node = word(word(tensor + known(T_VALUE)) + known(V_NODE))
    if node == known(NONE) or word(word(node + known(N_ATTACHED)) + TYPE) != known(RECORD):
        return -1
    pullback = word(word(node + known(N_ATTACHED)) + known(R_PULLBACK))
    array = array_of(tensor)
    count = 0
    if targets != 0:
        count = word(targets + USED)
    plan = known(PLANS)
    while plan != 0:
        likely = word(word(plan + 8 * P_STEPS) + 8 * B_PULLBACK) == pullback and not word(plan + 8 * P_BUSY)
        alike = likely and word(plan + 8 * P_TARGETS) == count and is_shaped(word(plan + 8 * P_ROOT), array)
        if alike and follows(plan, node) and (targets == 0 or are_targets(plan, targets)):
            return plan
        plan = word(plan + 8 * P_NEXT)
    return -1


FUNCTIONS = (
    is_quiet, is_open, nobody_watches, is_unwatched, same_place, wired, kept_intact, clear,
    follows, are_targets, plan_for,
)  # fmt: skip
