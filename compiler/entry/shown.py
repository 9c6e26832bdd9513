"""Word functions that serve calls whose results show operands' memory, where no program runs."""

from __future__ import annotations

from adjit.compiler.entry.interpreter import Py_IncRef
from adjit.compiler.entry.known import (
    ARRAY,
    DETACHED,
    ITSELF,
    M_ARRAY,
    MOST_RESULTS,
    RECORDING,
    T_ARRAY,
    T_MEMORY,
    T_REQUIRES,
    TRUE,
    VIEW_OF_FIRST,
    VIEW_OPERAND,
    VIEW_RANK,
    VIEWS,
)
from adjit.compiler.entry.making import drop
from adjit.compiler.entry.record import record
from adjit.compiler.entry.results import returned
from adjit.compiler.entry.views import detached, view_of
from adjit.compiler.llvm.words import known, room, set_word, word
from adjit.runtime.layout import DATA, TYPE


def begins_memory(tensor: int) -> int:
    """Whether a tensor's first element is its memory's."""
    whole = word(word(tensor + known(T_MEMORY)) + known(M_ARRAY))
    return word(whole + TYPE) == known(ARRAY) and word(whole + DATA) == word(word(tensor + known(T_ARRAY)) + DATA)


def is_shown(view: int, operands: int, needs: int) -> int:
    """Whether a view can be made here, with the history that was asked for."""
    tensor = word(operands + 8 * word(view + 8 * VIEW_OPERAND))
    rank = word(view + 8 * VIEW_RANK)
    if rank == DETACHED:
        return 1
    if word(view + 8 * VIEW_OF_FIRST) and not begins_memory(tensor):
        return 0
    # Of a view that is not recorded, Python notes so.
    return needs != 0 or rank == ITSELF or word(tensor + known(T_REQUIRES)) != known(TRUE)


def shown(view: int, operands: int) -> int:
    """The tensor that a view's block describes, a new reference; 0 with a Python error set."""
    tensor = word(operands + 8 * word(view + 8 * VIEW_OPERAND))
    rank = word(view + 8 * VIEW_RANK)
    if rank == DETACHED:
        return detached(tensor)
    if rank == ITSELF:
        Py_IncRef(tensor)
        return tensor
    return view_of(view, tensor)


def views_served(signature: int, operands: int, held: int, needs: int) -> int:
    """What a call gives that shows operands' memory, a new reference; -1 where Python must make it, 0 for an error."""
    tensors = room(MOST_RESULTS)
    views = word(signature + 8 * VIEWS)
    count = word(views)
    k = 0
    while k < count:
        k += 1
        if not is_shown(word(views + 8 * k), operands, needs):
            return -1
    k = 0
    while k < count:
        made = shown(word(views + 8 + 8 * k), operands)
        if made == 0:
            drop(tensors, k)
            return 0
        set_word(tensors + 8 * k, made)
        k += 1
    found = 0
    if word(signature + 8 * RECORDING) == 0 or record(signature, operands, held, tensors, tensors):
        found = returned(signature, operands, tensors)
    drop(tensors, count)
    return found


FUNCTIONS = (begins_memory, is_shown, shown, views_served)
