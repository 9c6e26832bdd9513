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
    return array_at(view, array, word(view + 8 * VIEW_OFFSET))


def array_at(view: int, array: int, offset: int) -> int:
    """The same that begins so many bytes from the other's data."""
    start = word(array + DATA) + offset
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


def chain_of(steps: int, tensor: int) -> int:
    """The way from the memory to a view of a tensor, a new reference; 0 with a Python error set."""
    own = word(tensor + known(T_CHAIN))
    if own == known(EMPTY):
        Py_IncRef(steps)
        return steps
    return PySequence_Concat(own, steps)


def view_of(view: int, tensor: int) -> int:
    """A tensor that shows part of another's memory, as `adjit.views.view` makes it; 0 with a Python error set."""
    return view_at(view, tensor, word(view + 8 * VIEW_CHAIN), word(view + 8 * VIEW_OFFSET))


def view_at(view: int, tensor: int, steps: int, offset: int) -> int:
    """The same that these steps make, so many bytes from the other's data."""
    chain = chain_of(steps, tensor)
    if chain == 0:
        return 0
    array = array_at(view, word(tensor + known(T_ARRAY)), offset)
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


FUNCTIONS = (array_view, array_at, chain_of, view_of, view_at, detached)
