"""Word functions that serve `Tensor.backward` and `autograd.grad`: what a call asks for, and the plan that gives it."""

from __future__ import annotations

from adjit.compiler.entry.backward import follows, gone_back
from adjit.compiler.entry.interpreter import Py_IncRef, PyObject_Vectorcall, PyTuple_GetItem, PyTuple_Size
from adjit.compiler.entry.known import (
    ALLOW_NAME,
    B_PULLBACK,
    B_SLOW,
    CREATE_NAME,
    EVERY_LEAF,
    FALSE,
    G_SLOW,
    GRADIENT_NAME,
    IS_TRACING,
    LIST,
    MODE,
    MOST_OPERANDS,
    NODE,
    NONE,
    P_ARRAY_ROOM,
    P_BUSY,
    P_GONE,
    P_LEAF_ROOM,
    P_LEAVES,
    P_NEXT,
    P_ROOT,
    P_SAVED,
    P_SEEDED,
    P_STEPS,
    P_TARGET_COUNT,
    P_TARGETS,
    PLANS,
    R_PULLBACK,
    RETAIN_NAME,
    T_BASE,
    T_DTYPE,
    T_HISTORY,
    T_LEAF,
    T_REQUIRES,
    T_SEEN,
    T_VALUE,
    TARGET_WORDS,
    TRUE,
    TUPLE,
    V_NODE,
    WEIGHTS_NAME,
)
from adjit.compiler.entry.objects import array_of, is_shaped, is_tensor
from adjit.compiler.entry.serve import mode_is_known, spread
from adjit.compiler.entry.walk import walked
from adjit.compiler.llvm.words import known, room, set_word, word
from adjit.runtime.layout import ITEMS, TYPE, USED


def option(name: int, value: int, weights_name: int, asked: int) -> int:
    """Note a named argument: the weights, and whether the graph is kept; 0 where only Python knows what it means."""
    if name == weights_name:
        set_word(asked, value)
        return 1
    if name == known(RETAIN_NAME):
        set_word(asked + 8, value == known(TRUE))
        return value == known(TRUE) or value == known(FALSE) or value == known(NONE)
    if name == known(CREATE_NAME):
        return value == known(FALSE)
    # Whatever is said of unused tensors: the targets of a plan are used.
    return name == known(ALLOW_NAME) and weights_name == known(WEIGHTS_NAME)


def options(arguments: int, count: int, names: int, weights_name: int, asked: int) -> int:
    """Note the arguments after the tensors, of which the first may be given by position; 0 as `option`."""
    set_word(asked, known(NONE))
    set_word(asked + 8, 0)
    if count == 1:
        set_word(asked, word(arguments))
    total = 0
    if names != 0:
        total = PyTuple_Size(names)
    k = 0
    while k < total:
        if count == 1 and PyTuple_GetItem(names, k) == weights_name:
            return 0
        if not option(PyTuple_GetItem(names, k), word(arguments + 8 * (count + k)), weights_name, asked):
            return 0
        k += 1
    return count <= 1


def listed(value: int, place: int) -> int:
    """How many objects a tuple or list holds, which are put into a place; 1 for anything else, 0 for too many."""
    items = 0
    count = 0
    if word(value + TYPE) == known(TUPLE):
        count = PyTuple_Size(value)
        items = value + ITEMS
    elif word(value + TYPE) == known(LIST):
        count = word(value + USED)
        items = word(value + ITEMS)
    else:
        set_word(place, value)
        return 1
    if count > MOST_OPERANDS:
        return 0
    k = 0
    while k < count:
        set_word(place + 8 * k, word(items + 8 * k))
        k += 1
    return count


def may_fit(plan: int, pullback: int, seed: int, targets: int) -> int:
    """Whether a plan is for a tape with this last pullback, and for what is asked."""
    if word(plan + 8 * P_BUSY) or word(plan + 8 * P_GONE):
        return 0
    if word(word(plan + 8 * P_STEPS) + 8 * B_PULLBACK) != pullback:
        return 0
    return word(plan + 8 * P_TARGET_COUNT) == targets and word(plan + 8 * P_SEEDED) == (seed != 0)


def is_one_leaf(plan: int, number: int, value: int) -> int:
    """Whether a value is the leaf of this number, and no other leaf of the plan."""
    leaves = word(plan + 8 * P_LEAF_ROOM)
    k = word(plan + 8 * P_LEAVES)
    while k > 0:
        k -= 1
        if (word(leaves + 8 * k) == value) != (k == number):
            return 0
    return 1


def reaches(plan: int, targets: int) -> int:
    """Whether the targets are the leaves that a plan has the gradients of, after the tape followed it."""
    wanted = word(plan + 8 * P_TARGETS)
    count = word(plan + 8 * P_TARGET_COUNT)
    k = 0
    while k < count:
        target = word(targets + 8 * k)
        if not is_tensor(target) or word(target + known(T_BASE)) != known(NONE):
            return 0
        if not is_one_leaf(plan, word(wanted), word(target + known(T_VALUE))):
            return 0
        wanted += 8 * TARGET_WORDS
        k += 1
    return 1


def last_node(tensor: int) -> int:
    """The recorded node that a tensor comes from; 0 where Python must look."""
    if not is_tensor(tensor):
        return 0
    base = word(tensor + known(T_BASE))
    if base != known(NONE) and word(base + known(T_HISTORY)) != word(tensor + known(T_SEEN)):
        return 0
    if word(tensor + known(T_REQUIRES)) != known(TRUE) or word(tensor + known(T_LEAF)) != known(FALSE):
        return 0
    node = word(word(tensor + known(T_VALUE)) + known(V_NODE))
    if node == known(NONE) or word(node + TYPE) != known(NODE):
        return 0
    return node


def plan_for(tensor: int, weights: int, targets: int, count: int) -> int:
    """The plan that the tape behind a tensor follows; 0 where there is none, or more is asked than plans give."""
    node = last_node(tensor)
    seed = 0
    if node == 0:
        return 0
    if weights != known(NONE):
        if not is_tensor(weights) or word(weights + known(T_DTYPE)) != word(tensor + known(T_DTYPE)):
            return 0
        seed = array_of(weights)
        if seed == 0:
            return 0
    pullback = word(node + known(R_PULLBACK))
    array = array_of(tensor)
    plan = known(PLANS)
    while plan != 0:
        root = word(plan + 8 * P_ROOT)
        if may_fit(plan, pullback, seed, count) and is_shaped(root, array):
            weighted = seed == 0 or is_shaped(root, seed)
            if weighted and follows(plan, node) and reaches(plan, targets):
                if seed != 0:
                    set_word(word(plan + 8 * P_ARRAY_ROOM) + 8 * word(plan + 8 * P_SAVED) - 8, seed)
                return plan
        plan = word(plan + 8 * P_NEXT)
    return 0


def by_plan(tensor: int, asked: int, targets: int, count: int) -> int:
    """Go back by a plan, or node by node: 1, or the targets' gradients; 0 with an error, -1 where Python must do it."""
    if not mode_is_known():
        return 0
    if word(known(MODE) + IS_TRACING):
        return -1
    plan = plan_for(tensor, word(asked), targets, count)
    if plan != 0:
        return gone_back(plan, word(asked + 8))
    return step_by_step(tensor, word(asked), word(asked + 8), targets, count)


def step_by_step(tensor: int, weights: int, retain: int, targets: int, count: int) -> int:
    """Go back node by node, as `by_plan`."""
    node = last_node(tensor)
    if node == 0:
        return -1
    if weights != known(NONE) and not is_tensor(weights):
        return -1
    return walked(node, tensor, weights, retain, targets, count)


def adjit_backward(self: int, arguments: int, count: int, names: int) -> int:
    """The entry of `Tensor.backward`."""
    asked = room(2)
    done = -1
    if options(arguments, count, names, known(GRADIENT_NAME), asked):
        done = by_plan(self, asked, 0, EVERY_LEAF)
    if done < 0:
        return spread(known(B_SLOW), self, arguments, count, names)
    if done == 0:
        return 0
    Py_IncRef(known(NONE))
    return known(NONE)


def adjit_grad(self: int, arguments: int, count: int, names: int) -> int:
    """The entry of `autograd.grad`, whose first two arguments are the outputs and the targets."""
    asked = room(2)
    one = room(MOST_OPERANDS)
    targets = room(MOST_OPERANDS)
    done = -1
    if count >= 2 and options(arguments + 16, count - 2, names, known(WEIGHTS_NAME), asked):
        given = 1
        if word(asked) != known(NONE):
            given = listed(word(asked), one)
            set_word(asked, word(one))
        wanted = listed(word(arguments + 8), targets)
        if given == 1 and wanted > 0 and listed(word(arguments), one) == 1:
            done = by_plan(word(one), asked, targets, wanted)
    if done == -1:
        return PyObject_Vectorcall(known(G_SLOW), arguments, count, names)
    return done


FUNCTIONS = (
    option, options, listed, may_fit, is_one_leaf, reaches, last_node, plan_for, by_plan, step_by_step, adjit_backward,
    adjit_grad,
)  # fmt: skip
