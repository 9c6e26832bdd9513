"""Functions of numbers served natively: their tables, made once their programs are there."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from adjit.compiler.entry import known as k
from adjit.ir.shape import evaluate, product
from adjit.ir.types import TensorType
from adjit.native.entry import Entry
from adjit.native.install import served_entry
from adjit.native.words import LINE, address, aligned
from adjit.runtime.executable import Executable

# What a call returns: None for a float, the type of an array, or a tuple or list of such.
Result = Any


class NumberTable:
    """The table of a function of `count` numbers, whose program goes from an array of them to an array of results.

    `words` is None where the native entry cannot serve the function.
    """

    def __init__(self, executable: Executable, count: int, result: Result) -> None:
        self.words: np.ndarray | None = None
        self._kept: list[Any] = [executable]
        call = executable.native_call(((count,),))
        entry = served_entry()
        if call is None or entry is None:
            return
        if count > k.MOST_SCALARS or call.results[0][0][0] > k.MOST_SCALARS:
            return
        _serve(entry)
        sizes = np.frombuffer(call.sizes + bytes(8), np.uint64)
        arena, workspace = (np.empty(size + LINE, np.uint8) for size in (call.arena, call.workspace))
        self._kept += [sizes, arena, workspace]
        self.words = np.zeros(k.NUMBER_TABLE_WORDS, np.uint64)
        self.words[k.U_COUNT], self.words[k.U_MAIN], self.words[k.U_SIZES] = count, call.main, address(sizes)
        self.words[k.U_ARENA], self.words[k.U_WORKSPACE] = aligned(arena), aligned(workspace)
        self.words[k.U_RESULT] = self._block(self._plan(result))

    def _plan(self, result: Result) -> list[int]:
        if result is None:
            return [k.A_FLOAT]
        if isinstance(result, TensorType):
            dims, storage = result.dims, result.dtype.storage
            self._kept.append(result)
            words = [id(result.dtype), storage.num, len(dims), self._block(dims), id(result)]
            return [k.AN_ARRAY, evaluate(product(dims), {}), *words]
        kind = k.A_TUPLE if isinstance(result, tuple) else k.A_LIST
        return [kind, len(result), *(word for part in result for word in self._plan(part))]

    def _block(self, words: Any) -> int:
        block = np.array([*words, 0], np.uint64)
        self._kept.append(block)
        return address(block)


@functools.cache
def _serve(entry: Entry) -> None:
    """Let symbolic functions look for their tables."""
    from adjit.symbolic.functions import SymbolicFunction

    entry.serve_numbers(SymbolicFunction, "_table", SymbolicFunction.__call__)
