"""Word functions that go back through any tape, node by node.

First the tape is explored, last recorded node first: nothing on it may be freed, overwritten or watched.  Then the
pullbacks run on the saved values, and cotangents add up: a pullback that has a step by its program, another by Python,
and so does one whose step does not fit, is at work in another thread, or meets a fault.  A node is freed as soon as it
has run, so that a pass needs no more memory than Python's; leaves get their gradients when all have.
"""

from __future__ import annotations

from adjit.compiler.entry.backward import clear, free_node, give
from adjit.compiler.entry.cotangents import arrive, asked_with, cell_of, forget, zeros_for
from adjit.compiler.entry.explore import (
    A_LEAF,
    explored,
    is_due,
    narrowed,
    place_of,
    place_to,
)
from adjit.compiler.entry.interpreter import (
    Py_DecRef,
    Py_IncRef,
    PyErr_NoMemory,
    PyMem_Free,
    PyTuple_GetItem,
    PyTuple_New,
    PyTuple_SetItem,
    PyTuple_Size,
    memset,
)
from adjit.compiler.entry.known import (
    BUSY,
    CALLS,
    E_FREED,
    E_GIVEN,
    E_GIVEN_LIST,
    E_OPENING,
    E_PULLBACK,
    E_RESULT_LIST,
    E_RESULTS,
    E_SAVED,
    E_SAVED_LIST,
    E_SIGNATURE,
    E_TABLE,
    E_TOLD,
    E_ZERO_LIST,
    EVERY_LEAF,
    G_ARRAYS,
    G_COTANGENTS,
    G_HEAP,
    G_HELD,
    G_LEAVES,
    G_MADE,
    G_MAP,
    G_ORDER,
    G_PLACES,
    GRADIENT_OF,
    N_INPUTS,
    NONE,
    O_SYMBOLS,
    O_VALUES,
    OPERAND_WORDS,
    PULL_BACK,
    R_PULLBACK,
    R_REACHED,
    R_SEEDED,
    R_SIZES,
    RELEASE_NODE,
    RESULT_WORDS,
    SEED_OF,
    STEPS,
    STEPS_HELD,
    T_VALUE,
    V_INDEX,
    WALK_WORDS,
)
from adjit.compiler.entry.lists import appended, more
from adjit.compiler.entry.making import drop, make_arrays, make_tensor
from adjit.compiler.entry.objects import integer, is_shaped, mixed
from adjit.compiler.entry.opening import set_for
from adjit.compiler.entry.operands import ordered
from adjit.compiler.entry.serve import execute, place_data
from adjit.compiler.llvm.words import known, room, set_word, word
from adjit.runtime.layout import DATA


def step_of(pullback: int) -> int:
    """The step of a pullback, or 0."""
    table = known(STEPS)
    mask = word(table)
    k = mixed(0, pullback >> 4) & mask
    step = word(table + 8 + 8 * k)
    while step != 0 and word(step + 8 * E_PULLBACK) != pullback:
        k = (k + 1) & mask
        step = word(table + 8 + 8 * k)
    return step


def place_given(walk: int, place: int, step: int, copies: int) -> int:
    """Put the cotangents that a step takes into its table: 1; 0 with a Python error, -1 where they do not fit."""
    node = word(place)
    seeded = word(node + known(R_SEEDED))
    count = word(step + 8 * E_GIVEN)
    wanted = word(step + 8 * E_GIVEN_LIST)
    zero = word(step + 8 * E_ZERO_LIST)
    table = word(step + 8 * E_TABLE) + 24
    k = 0
    while k < count:
        cell = cell_of(walk, place, integer(PyTuple_GetItem(seeded, k)))
        if word(cell) == 0 and not zeros_for(cell, zero, word(wanted + 56)):
            return 0
        if not is_shaped(wanted, word(cell)):
            return -1
        array = ordered(word(cell), copies)
        if array == 0:
            return -1
        set_word(table, word(array + DATA))
        table += 8
        wanted += 8 * OPERAND_WORDS
        zero += 8 * RESULT_WORDS
        k += 1
    return 1


def place_saved(walk: int, place: int, step: int, copies: int) -> int:
    """Put the saved values into a step's table; 0 where they are not what it takes, or memory ran out."""
    wanted = word(step + 8 * E_SAVED_LIST)
    table = word(step + 8 * E_TABLE) + 24 + 8 * word(step + 8 * E_GIVEN)
    arrays = word(walk + 8 * G_ARRAYS) + 8 * word(place + 24)
    count = word(step + 8 * E_SAVED)
    k = 0
    while k < count:
        if not is_shaped(wanted, word(arrays + 8 * k)):
            return 0
        array = ordered(word(arrays + 8 * k), copies)
        if array == 0:
            return 0
        set_word(table + 8 * k, word(array + DATA))
        wanted += 8 * OPERAND_WORDS
        k += 1
    return 1


def run_step(step: int, made: int) -> int:
    """Run a step's program for new arrays: 1; 0 with a Python error, -1 for a fault, which Python says in its words."""
    table = word(step + 8 * E_TABLE)
    count = word(step + 8 * E_RESULTS)
    place = table + 24 + 8 * (word(step + 8 * E_GIVEN) + word(step + 8 * E_SAVED) + word(step + 8 * E_TOLD))
    if not make_arrays(word(step + 8 * E_RESULT_LIST), count, made):
        return 0
    place_data(place, made, count)
    if not execute(word(step + 8 * E_SIGNATURE), table):
        drop(made, count)
        return -1
    return 1


def hold_steps(walk: int) -> int:
    """Keep the steps that there are until the walk ends, though they be forgotten meanwhile; 0 when memory ran out."""
    held = walk + 8 * G_HELD
    count = word(held + 8)
    if count > 0 and word(word(held) + 8 * (count - 1)) == known(STEPS_HELD):
        return 1
    if not appended(held, known(STEPS_HELD)):
        return 0
    Py_IncRef(known(STEPS_HELD))
    return 1


def set_for_node(step: int, node: int) -> int:
    """Make a step that is open in sizes one for those of a node; 0 where it is none for them."""
    opening = word(step + 8 * E_OPENING)
    if opening == 0:
        return 1
    sizes = word(node + known(R_SIZES))
    values = word(opening + 8 * O_VALUES)
    k = word(opening + 8 * O_SYMBOLS)
    while k > 0:
        k -= 1
        set_word(values + 8 * k, integer(PyTuple_GetItem(sizes, k)))
    return set_for(opening, word(step + 8 * E_SIGNATURE))


def stepped(walk: int, place: int, step: int, made: int) -> int:
    """The cotangents that a node sends back, by its step, as `run_step`."""
    copies = room(128)
    signature = word(step + 8 * E_SIGNATURE)
    set_word(copies, 0)
    if not hold_steps(walk):
        return PyErr_NoMemory()
    if word(signature + 8 * BUSY):  # another thread is at it
        return -1
    set_word(signature + 8 * BUSY, 1)
    set_word(signature + 8 * CALLS, word(signature + 8 * CALLS) + 1)
    done = -1
    if set_for_node(step, word(place)):
        done = place_given(walk, place, step, copies)
    if done == 1 and not place_saved(walk, place, step, copies):
        done = -1
    if done == 1:
        done = run_step(step, made)
    set_word(signature + 8 * BUSY, 0)
    drop(copies + 8, word(copies))
    return done


def by_interpreter(walk: int, place: int, made: int) -> int:
    """The same by Python, which is given a tuple of the cotangents, None for one that is 0; 0 with a Python error."""
    node = word(place)
    seeded = word(node + known(R_SEEDED))
    count = PyTuple_Size(seeded)
    given = PyTuple_New(count)
    k = 0
    while given != 0 and k < count:
        array = word(cell_of(walk, place, integer(PyTuple_GetItem(seeded, k))))
        if array == 0:
            array = known(NONE)
        Py_IncRef(array)
        PyTuple_SetItem(given, k, array)
        k += 1
    if given == 0:
        return 0
    found = asked_with(known(PULL_BACK), node, given)
    Py_DecRef(given)
    if found == 0:
        return 0
    count = PyTuple_Size(found)
    k = 0
    while k < count:
        set_word(made + 8 * k, PyTuple_GetItem(found, k))
        Py_IncRef(word(made + 8 * k))
        k += 1
    Py_DecRef(found)
    return 1


def send(walk: int, place: int, made: int, result: int) -> int:
    """Let a node's cotangents go where they are wanted, and forget the one that it had; 0 with a Python error set.

    `result` are the words of these results, or 0.
    """
    node = word(place)
    reached = word(node + known(R_REACHED))
    count = PyTuple_Size(reached)
    done = 1
    k = 0
    while k < count:
        target = place_to(walk, node, k)
        which = 0
        if word(target + 8) != A_LEAF:
            value = PyTuple_GetItem(word(node + known(N_INPUTS)), integer(PyTuple_GetItem(reached, k)))
            which = integer(word(value + known(V_INDEX)))
        if done and word(target + 32):
            done = arrive(cell_of(walk, target, which), word(made + 8 * k), result)
        else:
            Py_DecRef(word(made + 8 * k))
        if result != 0:
            result += 8 * RESULT_WORDS
        k += 1
    forget(walk, place)
    return done


def release_node(node: int, step: int) -> int:
    """Free what a node saved that its step ran, or Python, where `step` is 0; 0 with a Python error set."""
    if step != 0:
        if word(step + 8 * E_FREED):
            free_node(node)
        return 1
    done = asked_with(known(RELEASE_NODE), node, node)
    if done == 0:
        return 0
    Py_DecRef(done)
    return 1


def gone_through(walk: int, place: int, retain: int) -> int:
    """Run a node's pullback, send on what it makes, and free the node unless it is retained; 0 with a Python error."""
    node = word(place)
    step = step_of(word(node + known(R_PULLBACK)))
    result = 0
    set_word(walk + 8 * G_MADE + 8, 0)
    made = more(walk + 8 * G_MADE, PyTuple_Size(word(node + known(R_REACHED))))
    if made == 0:
        return PyErr_NoMemory()
    done = -1
    if step != 0:
        done = stepped(walk, place, step, made)
        result = word(step + 8 * E_RESULT_LIST)
    if done == -1:
        step = 0
        result = 0
        done = by_interpreter(walk, place, made)
    if done == 0 or not send(walk, place, made, result):
        return 0
    return retain or release_node(node, step)


def let_go(walk: int, begin: int, end: int) -> int:
    """Give back the saved arrays from one place in their list to another."""
    arrays = word(walk + 8 * G_ARRAYS)
    drop(arrays + 8 * begin, end - begin)
    clear(arrays + 8 * begin, end - begin)
    return 0


def went_back(walk: int, retain: int) -> int:
    """Go through all wanted nodes; 0 with a Python error set."""
    count = word(walk + 8 * G_ORDER + 8)
    k = 0
    while k < count:
        place = place_of(walk, word(word(walk + 8 * G_ORDER) + 8 * k))
        k += 1
        if word(place + 32) and not gone_through(walk, place, retain):
            return 0
        end = word(walk + 8 * G_ARRAYS + 8)
        if k < count:
            end = word(place_of(walk, word(word(walk + 8 * G_ORDER) + 8 * k)) + 24)
        let_go(walk, word(place + 24), end)
    return 1


def seed_root(walk: int, tensor: int, weights: int) -> int:
    """Give the root, the first place, its cotangent: 1; 0 with a Python error, -1 as `walked`."""
    index = integer(word(word(tensor + known(T_VALUE)) + known(V_INDEX)))
    seed = asked_with(known(SEED_OF), tensor, weights)
    if seed == 0:
        return 0
    if seed == known(NONE):
        Py_DecRef(seed)
        return -1
    set_word(cell_of(walk, place_of(walk, 1), index), seed)
    return 1


def gradient_of(walk: int, place: int) -> int:
    """The gradient that arrived at a leaf as a tensor, a new reference; 0 with a Python error set."""
    cell = cell_of(walk, place, 0)
    array = word(cell)
    if word(cell + 8) == 0:
        return asked_with(known(GRADIENT_OF), word(place), array)
    set_word(cell, 0)
    tensor = make_tensor(word(cell + 8), array)
    if tensor == 0:
        Py_DecRef(array)
    return tensor


def give_leaves(walk: int) -> int:
    """Give the leaves their gradients; 0 with a Python error set."""
    count = word(walk + 8 * G_LEAVES + 8)
    k = 0
    while k < count:
        place = place_of(walk, word(word(walk + 8 * G_LEAVES) + 8 * k))
        tensor = gradient_of(walk, place)
        if tensor == 0:
            return 0
        done = give(word(place), tensor)
        Py_DecRef(tensor)
        if not done:
            return 0
        k += 1
    return 1


def give_targets(walk: int) -> int:
    """A tuple of the targets' gradients; 0 with a Python error set."""
    count = word(walk + 8 * G_LEAVES + 8)
    found = PyTuple_New(count)
    k = 0
    while found != 0 and k < count:
        tensor = gradient_of(walk, place_of(walk, word(word(walk + 8 * G_LEAVES) + 8 * k)))
        if tensor == 0:
            Py_DecRef(found)
            return 0
        PyTuple_SetItem(found, k, tensor)
        k += 1
    return found


def leave(walk: int) -> int:
    """Give back all that a walk holds."""
    count = word(walk + 8 * G_MAP + 16)
    while count > 0:
        forget(walk, place_of(walk, count))
        count -= 1
    drop(word(walk + 8 * G_ARRAYS), word(walk + 8 * G_ARRAYS + 8))
    drop(word(walk + 8 * G_HELD), word(walk + 8 * G_HELD + 8))
    order = word(walk + 8 * G_ORDER)
    count = word(walk + 8 * G_ORDER + 8)
    while count > 0:  # a node may be the last that holds those recorded before it: the last recorded go last
        count -= 1
        Py_DecRef(word(place_of(walk, word(order + 8 * count))))
    PyMem_Free(word(walk + 8 * G_MAP))
    PyMem_Free(word(walk + 8 * G_PLACES))
    PyMem_Free(word(walk + 8 * G_HEAP))
    PyMem_Free(order)
    PyMem_Free(word(walk + 8 * G_ARRAYS))
    PyMem_Free(word(walk + 8 * G_COTANGENTS))
    PyMem_Free(word(walk + 8 * G_LEAVES))
    PyMem_Free(word(walk + 8 * G_MADE))
    PyMem_Free(word(walk + 8 * G_HELD))
    return 0


def ready(walk: int, node: int, weights: int, targets: int, count: int) -> int:
    """Whether the tape behind a node can be gone through for the targets, and no plan of it is due."""
    if not explored(walk, node):
        return 0
    if count != EVERY_LEAF and not narrowed(walk, targets, count):
        return 0
    return not is_due(walk, weights, count)


def walked(node: int, tensor: int, weights: int, retain: int, targets: int, count: int) -> int:
    """Go back from a tensor: 1, or the targets' gradients; 0 with a Python error, -1 where Python must do it."""
    walk = room(WALK_WORDS)
    done = -1
    if known(STEPS) == 0:
        return -1
    memset(walk, 0, 8 * WALK_WORDS)
    if ready(walk, node, weights, targets, count):
        done = seed_root(walk, tensor, weights)
        if done == 1:
            done = went_back(walk, retain)
        if done == 1 and count == EVERY_LEAF:
            done = give_leaves(walk)
        elif done == 1:
            done = give_targets(walk)
    leave(walk)
    return done


FUNCTIONS = (
    step_of, place_given, place_saved, run_step, hold_steps, set_for_node, stepped, by_interpreter, send, release_node,
    gone_through, let_go, went_back, seed_root, gradient_of, give_leaves, give_targets, leave, ready, walked,
)  # fmt: skip
