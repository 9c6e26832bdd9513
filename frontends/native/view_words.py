"""What a call gives that shows its operands' memory, as words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit.compiler.entry import known as k
from adjit.native.signature import UNSERVED
from adjit.native.words import address
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.native.program import Watched
    from adjit.view_results import PlacedViews

_WORDS = k.VIEW_OF_FIRST + 1


def view_blocks(watched: Watched) -> list[np.ndarray]:
    """The blocks of the results of a watched call; none where one is neither a view of an operand nor one itself."""
    blocks = [_block(watched, result) for result in watched.results]
    found = [block for block in blocks if block is not None]
    return found if len(found) == len(blocks) <= k.MOST_RESULTS else []


def _block(watched: Watched, result: Tensor) -> np.ndarray | None:
    position = watched.position(result)
    if position is not None:
        block = np.zeros(_WORDS, np.uint64)
        block[k.VIEW_OPERAND], block[k.VIEW_RANK] = position, k.ITSELF % 2**64
        return block
    (*_, last) = watched.steps
    if last.op.name == "detach" and last.results[0] is result:
        position = watched.position(last.operands[0])
        if position is not None:
            block = np.zeros(_WORDS, np.uint64)
            block[k.VIEW_OPERAND], block[k.VIEW_RANK] = position, k.DETACHED % 2**64
            return block
    position = None if result._base is None else watched.position(result._base)
    if position is None:
        return None
    operand = watched.operands[position]
    found = view_words(result, operand, watched.kept)
    if found is not None:
        found[k.VIEW_OPERAND] = position
        steps = result._chain[len(operand._chain) :]
        found[k.VIEW_OF_FIRST] = any(op.name == "as_strided" for op, _ in steps)  # its offset is the memory's
    return found


def view_words(result: Tensor, operand: Tensor, kept: list[Any]) -> np.ndarray | None:
    """The block of a view of an operand that stands in memory as this one does; None where it is none.

    What the block points to joins `kept`.
    """
    array, base, type, start = result._array, operand._array, result._tensor_type, len(operand._chain)
    if array is None or base is None or result._memory is not operand._memory or result._dtype in UNSERVED:
        return None
    if result._base is None or result._chain[:start] != operand._chain:
        return None
    block = array_words(array, base, kept)
    if block is None:
        return None
    chain = result._chain[start:]
    block[k.VIEW_DTYPE], block[k.VIEW_TYPE], block[k.VIEW_CHAIN] = id(result._dtype), id(type), id(chain)
    kept += [result._dtype, type, chain]
    return block


def placed_view_words(
    made: PlacedViews, numbers: Sequence[int], root: Tensor, kept: list[Any]
) -> np.ndarray | None:
    """The block of the views at computed places of a tensor; `numbers` are those of the results that say where."""
    block = None if made.first is None else view_words(made.first, root, kept)
    if block is None:
        return None
    words = [id(made.chains), id(made), len(numbers)]
    for number, axis in zip(numbers, made.axes, strict=True):
        words += number, axis.size, axis.stride, axis.reach, axis.reach
    kept += [made, found := np.concatenate([block, np.array(words, np.int64).view(np.uint64)])]
    return found


def array_words(array: np.ndarray, base: np.ndarray, kept: list[Any]) -> np.ndarray | None:
    """The block of a view of an array that stands in memory as `base` does; None for what reaches beyond it."""
    (first, last), (start, stop) = _reach(array), _reach(base)
    if first < start or last > stop:
        return None
    block = np.zeros(_WORDS, np.uint64)
    sizes, strides = (np.array(words or (0,), np.int64) for words in (array.shape, array.strides))
    block[k.VIEW_RANK], block[k.VIEW_SIZES], block[k.VIEW_STRIDES] = array.ndim, address(sizes), address(strides)
    block[k.VIEW_OFFSET] = (address(array) - address(base)) % 2**64
    block[k.VIEW_NUMBER], block[k.VIEW_WRITEABLE] = array.dtype.num, array.flags.writeable
    kept += [sizes, strides, block]
    return block


def _reach(array: np.ndarray) -> tuple[int, int]:
    """The addresses of an array's first byte, and of the first one behind it."""
    steps = [stride * (extent - 1) for extent, stride in zip(array.shape, array.strides, strict=True) if array.size]
    start = address(array)
    stop = start + sum(max(step, 0) for step in steps) + (array.itemsize if array.size else 0)
    return start + sum(min(step, 0) for step in steps), stop
