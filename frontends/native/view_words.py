"""What a call gives that is a view of an operand, or the operand itself, as words."""

from __future__ import annotations

import numpy as np

from adjit.compiler.entry import known as k
from adjit.native.entry import address
from adjit.native.program import Watched
from adjit.native.signature import UNSERVED
from adjit.tensor import Tensor

_WORDS = k.VIEW_WRITEABLE + 1


def view_block(watched: Watched) -> np.ndarray | None:
    """The block of the result of a watched call; None where it is neither a view of an operand nor one itself."""
    result = watched.result
    block = np.zeros(_WORDS, np.uint64)
    position = watched.position(result)
    if position is not None:
        block[k.VIEW_OPERAND], block[k.VIEW_RANK] = position, 2**64 - 1
        return block
    position = None if result._base is None else watched.position(result._base)
    if position is None or result._dtype in UNSERVED or "_several" in result.__dict__:
        return None
    operand: Tensor = watched.operands[position]
    assert result._array is not None and operand._array is not None
    array, type = result._array, result._tensor_type
    start, end = (x.__array_interface__["data"][0] for x in (operand._array, array))
    sizes, strides = (np.array(words or (0,), np.int64) for words in (array.shape, array.strides))
    block[k.VIEW_OPERAND], block[k.VIEW_RANK] = position, array.ndim
    block[k.VIEW_SIZES], block[k.VIEW_STRIDES] = address(sizes), address(strides)
    block[k.VIEW_OFFSET] = (end - start) % 2**64
    block[k.VIEW_NUMBER], block[k.VIEW_DTYPE], block[k.VIEW_TYPE] = array.dtype.num, id(result._dtype), id(type)
    block[k.VIEW_CHAIN], block[k.VIEW_WRITEABLE] = id(result._chain), array.flags.writeable
    watched.kept += [sizes, strides, result._dtype, type, result._chain, block]
    return block
