"""Word functions that make tensors on other tensors' memory: views, and tensors without history."""

from __future__ import annotations

from adjit.compiler.entry.interpreter import Py_DecRef, Py_IncRef, PySequence_Concat
from adjit.compiler.entry.known import (
    ARRAY,
    EMPTY,
    NEW_ARRAY,
    NONE,
    SET_BASE,
    T_ARRAY,
    T_BASE,
    T_CHAIN,
    T_DTYPE,
    T_HISTORY,
    T_MEMORY,
    T_SEEN,
    T_TYPE,
    VIEW_CHAIN,
    VIEW_DTYPE,
    VIEW_NUMBER,
    VIEW_OFFSET,
    VIEW_RANK,
    VIEW_SIZES,
    VIEW_STRIDES,
    VIEW_TYPE,
    VIEW_WRITEABLE,
)
from adjit.compiler.entry.making import new_tensor, replace
from adjit.compiler.llvm.words import half, invoke, known, word
from adjit.runtime.layout import DATA, FLAGS, WRITEABLE

# The bits of a C int.
INT = 0xFFFFFFFF


def array_view(view: int, array: int) -> int:
    """A new array on the data of another; 0 with a Python error set."""
    start = word(array + DATA) + word(view + 8 * VIEW_OFFSET)
    flags = 0
    if word(view + 8 * VIEW_WRITEABLE):
        flags = half(array + FLAGS) & WRITEABLE
    made = invoke(
        known(NEW_ARRAY),
        known(ARRAY),
        word(view + 8 * VIEW_RANK),
        word(view + 8 * VIEW_SIZES),
        word(view + 8 * VIEW_NUMBER),
        word(view + 8 * VIEW_STRIDES),
        start,
        0,
        flags,
        0,
    )
    if made == 0:
        return 0
    Py_IncRef(array)
    if invoke(known(SET_BASE), made, array) & INT != 0:
        Py_DecRef(made)
        return 0
    return made


def chain_of(view: int, tensor: int) -> int:
    """The way from the memory to a view of a tensor, a new reference; 0 with a Python error set."""
    own = word(tensor + known(T_CHAIN))
    if own == known(EMPTY):
        Py_IncRef(word(view + 8 * VIEW_CHAIN))
        return word(view + 8 * VIEW_CHAIN)
    return PySequence_Concat(own, word(view + 8 * VIEW_CHAIN))


def view_of(view: int, tensor: int) -> int:
    """A tensor that shows part of another's memory, as `adjit.views.view` makes it; 0 with a Python error set."""
    chain = chain_of(view, tensor)
    if chain == 0:
        return 0
    array = array_view(view, word(tensor + known(T_ARRAY)))
    if array == 0:
        Py_DecRef(chain)
        return 0
    memory = word(tensor + known(T_MEMORY))
    Py_IncRef(memory)
    made = new_tensor(word(view + 8 * VIEW_DTYPE), word(view + 8 * VIEW_TYPE), array, memory)
    if made == 0:
        Py_DecRef(memory)
        Py_DecRef(array)
    else:
        base = word(tensor + known(T_BASE))
        if base == known(NONE):
            base = tensor
        replace(made + known(T_CHAIN), chain)
        replace(made + known(T_BASE), base)
        replace(made + known(T_SEEN), word(base + known(T_HISTORY)))
    Py_DecRef(chain)
    return made


def detached(tensor: int) -> int:
    """A tensor on the same memory without history, as `adjit.autograd.record.detach` makes it; 0 with an error set."""
    array = word(tensor + known(T_ARRAY))
    memory = word(tensor + known(T_MEMORY))
    Py_IncRef(array)
    Py_IncRef(memory)
    made = new_tensor(word(tensor + known(T_DTYPE)), word(tensor + known(T_TYPE)), array, memory)
    if made == 0:
        Py_DecRef(array)
        Py_DecRef(memory)
    else:
        replace(made + known(T_CHAIN), word(tensor + known(T_CHAIN)))
    return made


FUNCTIONS = (array_view, chain_of, view_of, detached)
