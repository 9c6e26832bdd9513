"""Word functions for `x[index] = value`.

No signature is needed: every call is served alike.  Whatever is not plain is Python's.
"""

from __future__ import annotations

from adjit.compiler.entry.interpreter import Py_IncRef, PyTuple_Size
from adjit.compiler.entry.known import (
    A_SET_SLOW,
    ASK_WRITE,
    IS_RECORDING,
    IS_TRACING,
    LIST,
    M_VERSION,
    MODE,
    NONE,
    T_MEMORY,
    TUPLE,
    UNTRACKED,
)
from adjit.compiler.entry.making import is_allowed, written
from adjit.compiler.entry.objects import array_of, in_order, is_tensor
from adjit.compiler.entry.parts import assigned_part, element_bytes, has_no_history
from adjit.compiler.entry.placed import assigned_at
from adjit.compiler.entry.serve import mode_is_known, spread
from adjit.compiler.llvm.words import half, known, word
from adjit.runtime.layout import FLAGS, ITEMS, TYPE, WRITEABLE


def names_places(index: int) -> int:
    """Whether an index is a tensor or a list, or begins with a tensor."""
    if word(index + TYPE) == known(TUPLE):
        return PyTuple_Size(index) > 0 and is_tensor(word(index + ITEMS))
    return word(index + TYPE) == known(LIST) or is_tensor(index)


def assigned(target: int, index: int, value: int) -> int:
    """Write a value to a part of a tensor: 1, or 0 where Python must, or -1 with a Python error set."""
    if not mode_is_known():
        return -1
    recording = word(known(MODE) + IS_RECORDING)
    if word(known(MODE) + IS_TRACING) or not is_tensor(target) or not has_no_history(target, recording):
        return 0
    array = array_of(target)
    if array == 0 or half(array + FLAGS) & WRITEABLE == 0 or not in_order(array) or element_bytes(array) == 0:
        return 0
    if word(word(target + known(T_MEMORY)) + known(M_VERSION)) == known(UNTRACKED) and not is_allowed(known(ASK_WRITE)):
        return -1
    done = 0
    if names_places(index):
        done = assigned_at(target, index, value, recording)
    else:
        done = assigned_part(target, index, value, recording)
    if not done:
        return 0
    if not written(word(target + known(T_MEMORY)), 1):
        return -1
    return 1


def adjit_setitem(self: int, arguments: int, count: int, names: int) -> int:
    """`self[index] = value`, as METH_FASTCALL | METH_KEYWORDS."""
    if count == 2 and names == 0:
        done = assigned(self, word(arguments), word(arguments + 8))
        if done == 1:
            Py_IncRef(known(NONE))
            return known(NONE)
        if done < 0:
            return 0
    return spread(known(A_SET_SLOW), self, arguments, count, names)


FUNCTIONS = (names_places, assigned, adjit_setitem)
