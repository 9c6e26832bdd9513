"""Steps of passes that go node by node natively: the pullbacks that have programs of their own.

The native entry goes through any tape, whatever its length, and however it is wired: nodes whose pullbacks have a step
run by it, the others by Python.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from adjit.autograd.engine import OVERWRITES, freed, owned_cotangent, release, saves_number
from adjit.autograd.tape import Open, Recorded
from adjit.bodies import run_open_pullback, run_pullback
from adjit.compiler.entry import known as k
from adjit.compiler.single import program_of
from adjit.execute import add_arrays
from adjit.ir.graph import Graph, Value
from adjit.ir.halfs import storage_dtype
from adjit.ir.ops.scalar import add
from adjit.ir.shape import evaluate
from adjit.ir.types import F32, F64, DType, TensorType
from adjit.native.entry import Entry
from adjit.native.opening import Opening, sum_of_sizes
from adjit.native.signature import UNSERVED, Signature, result_words, work_of
from adjit.native.words import address, mixed, words_of
from adjit.runtime.executable import Executable
from adjit.tensor import Tensor

# The most steps, and bytes that steps hold for their programs' temporaries; then all are forgotten, and learnt again.
_MOST, _MOST_BYTES = 4096, 1 << 27
# The dtypes of cotangents that the native entry adds up.
_SUMMED = (F32, F64)


class Steps:
    """The steps of this process."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._lock = Lock()
        self._tried: set[Graph | Open] = set()
        self._steps: list[np.ndarray] = []
        self._kept: list[Any] = []
        self._nbytes = 0
        self._sums: dict[DType, Executable] = {}
        for place, function in (
            (k.PULL_BACK, self._pull_back), (k.RELEASE_NODE, _release_node), (k.SUM_OF, self._sum_of),
            (k.GRADIENT_OF, _gradient_of), (k.SEED_OF, _seed_of),
        ):  # fmt: skip
            entry.known[place] = entry.keep(function)
        self._serve_sums()
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        """Free the steps that were being run by threads which a forked child does not have."""
        self._lock = Lock()
        for item in self._kept:
            if isinstance(item, _Step):
                item.own[k.BUSY] = 0

    def _forget(self) -> None:
        """Begin without steps; those in use live on in the list, which passes hold that ran some of them."""
        before = self._kept  # until the native entry knows of the new ones
        self._tried, self._steps, self._kept, self._nbytes = set(), [], [], 0
        self._put_all(1024)
        self._entry.known[k.STEPS_HELD] = id(self._kept)
        del before

    def learn(self, node: Recorded, graph: Graph | Open, executable: Executable) -> None:
        """Make a step of a node's pullback, which has become a program.

        The program for the sizes of one node is none for a pullback that is open in them.
        """
        if isinstance(graph, Graph) and node.open_pullback is not None:
            return
        if graph in self._tried or not self._lock.acquire(blocking=False):
            return
        try:
            self._learn(node, graph, executable)
        finally:
            self._lock.release()

    def _learn(self, node: Recorded, graph: Graph | Open, executable: Executable) -> None:
        if len(self._tried) >= _MOST:
            self._forget()
        self._tried.add(graph)
        if node.name in OVERWRITES or not _is_plain(node, graph, executable):
            return
        step = _Step.of(node, graph, executable)
        if step is not None:
            if self._steps and self._nbytes + step.nbytes > _MOST_BYTES:
                self._forget()
                self._tried.add(graph)
            self._nbytes += step.nbytes
            self._kept.append(step)
            self._steps.append(step.words)
            if 4 * len(self._steps) > len(self._table):
                self._put_all(2 * (len(self._table) - 1))
            else:
                self._put(step.words)

    def _pull_back(self, node: Recorded, given: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """The cotangents that a node sends back whose step does not, or that has none."""
        if node.freed:  # by another thread, since the pass began
            raise freed(node)
        assert node.pullback is not None
        pairs = zip(node.seeded, given, strict=True)
        seeds = [_zeros(node, index) if array is None else array for index, array in pairs]
        arrays = [*seeds, *(kept.array for kept in node.saved)]
        common = node.open_pullback
        if common is not None:
            return self._pull_back_open(node, common, arrays)
        found, program = run_pullback(node.pullback, arrays)
        if program is not None:
            self.learn(node, node.pullback, program)
        return tuple(found)

    def _pull_back_open(
        self, node: Recorded, common: Open, arrays: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, ...]:
        """The same for a node whose pullback is open in its sizes."""
        assert node.sizes is not None
        sizes = dict(zip(common.names, node.sizes, strict=True))
        found, program = run_open_pullback(common.content, lambda: common.particular(node), sizes, arrays)
        if program is not None:
            self.learn(node, common, program)
        return tuple(found)

    def _sum_of(self, present: np.ndarray, array: np.ndarray) -> np.ndarray:
        """The sum of two cotangents; later ones of their dtype are added up natively."""
        dtype = storage_dtype(array)
        if dtype in _SUMMED and dtype not in self._sums:
            example = np.zeros(1, dtype.storage)
            self._sums[dtype] = program_of(add, [example, example], {})[0]
            self._sums[dtype].improve()  # whose address is kept
            self._serve_sums()
        return add_arrays(present, array, dtype)

    def _put_all(self, size: int) -> None:
        """A table of so many places, a power of two, with all steps."""
        self._table = np.zeros(1 + size, np.uint64)
        self._table[0] = size - 1
        for words in self._steps:
            self._put(words)
        self._kept.append(self._table)
        self._entry.known[k.STEPS] = address(self._table)

    def _put(self, words: np.ndarray) -> None:
        mask = int(self._table[0])
        place = mixed(0, int(words[k.E_PULLBACK]) >> 4) & mask
        while self._table[1 + place]:
            place = (place + 1) & mask
        self._table[1 + place] = address(words)

    def _serve_sums(self) -> None:
        """Let the native entry add up arrays of the dtypes whose programs there are."""
        words: list[int] = []
        for dtype, executable in self._sums.items():
            call = executable.native_call(((1,), (1,)))
            assert call is not None
            words += [id(dtype.storage), call.main]
        block = words_of([*words, 0, 0])
        self._entry.known[k.SUMS] = self._entry.keep(block) and address(block)


def _zeros(node: Recorded, index: int) -> np.ndarray:
    type = node.types[index]
    return np.zeros(tuple(evaluate(dim, {}) for dim in type.dims), type.dtype.storage)


def _release_node(node: Recorded, _: Any) -> None:
    release(node)


def _gradient_of(leaf: Value, array: np.ndarray) -> Tensor:
    """The gradient that arrived at a leaf, as a tensor."""
    return owned_cotangent(Tensor._wrap(array, leaf.dtype, type=leaf.type))


def _seed_of(tensor: Tensor, weights: Tensor | None) -> np.ndarray | None:
    """The cotangent of a pass's root; None where the general way must see to it."""
    given = tensor._array if weights is None else weights._array
    if given is None or tensor._array is None or (weights is not None and weights._dtype is not tensor._dtype):
        return None
    if given.shape != tensor._array.shape:
        return None
    if weights is None and (given.size != 1 or given.dtype.kind != "f"):  # NumPy has no one of bfloat16
        return None
    return np.ones(given.shape, given.dtype) if weights is None else given


def _is_plain(node: Recorded, pullback: Graph | Open, executable: Executable) -> bool:
    """Whether all that goes in and out has sizes that are told, in floats that the native entry adds up."""
    graph: Graph = pullback.content if isinstance(pullback, Open) else pullback
    given = graph.inputs[: len(node.seeded)]
    if node.custom is not None or max(len(graph.inputs), len(graph.outputs)) > k.MOST_GIVEN:
        return False
    if graph is pullback and any(value.type.names for value in (*graph.inputs, *graph.outputs)):
        return False
    if executable.graph.writes:
        return False
    return all(value.dtype in _SUMMED for value in (*given, *graph.outputs)) and all(
        value.dtype not in UNSERVED for value in graph.inputs
    )


class _Step:
    """The words of a step, and all that they point to."""

    def __init__(self, words: np.ndarray, own: np.ndarray, nbytes: int, kept: list[Any]) -> None:
        self.words = words
        self.own = own
        self.nbytes = nbytes
        self.kept = kept

    @classmethod
    def of(cls, node: Recorded, pullback: Graph | Open, executable: Executable) -> _Step | None:
        """The step of a node's pullback; None for a program that cannot be called natively."""
        opening = None
        if isinstance(pullback, Open):
            assert node.sizes is not None
            opening = Opening(dict(zip(pullback.names, node.sizes, strict=True)))
            opening.executable = executable
        graph: Graph = pullback.content if isinstance(pullback, Open) else pullback
        kept: list[Any] = [pullback, executable, opening]
        types = [value.type for value in graph.inputs]
        results = [value.type for value in graph.outputs]
        count = len(node.seeded)
        words = np.zeros(k.NODE_STEP_WORDS, np.uint64)
        lists = [_array_words(part, kept, opening) for part in (types[:count], types[count:])]
        lists += [_new_words(part, kept, opening) for part in (types[:count], results)]
        shapes = () if opening else tuple(tuple(evaluate(dim, {}) for dim in type.dims) for type in types)
        work = work_of(graph, {}) if opening is None else 0
        if opening is not None:
            opening.work = sum_of_sizes(graph)
        signature = Signature([], 0, executable, [], [], shapes, results, work, opening=opening)
        own = signature.words()
        if own is None:
            return None
        entries = executable.layout.entries
        table = np.zeros(entries, np.uint64)
        told = len(executable.graph.inputs) - len(types)
        table[3 + len(types) : 3 + len(types) + told] = address(table)  # nothing reads what only tells sizes
        words[k.E_PULLBACK], words[k.E_SIGNATURE], words[k.E_TABLE] = id(pullback), address(own), address(table)
        words[k.E_GIVEN], words[k.E_SAVED], words[k.E_RESULTS] = count, len(types) - count, len(results)
        for place, block in zip((k.E_GIVEN_LIST, k.E_SAVED_LIST, k.E_ZERO_LIST, k.E_RESULT_LIST), lists, strict=True):
            words[place] = address(block)
        words[k.E_FREED] = len(types) > count or saves_number(node)
        words[k.E_TOLD], words[k.E_OPENING] = told, 0 if opening is None else address(opening.words)
        return cls(words, own, signature.nbytes, [*kept, signature, table, lists])


def _array_words(types: Sequence[TensorType], kept: list[Any], opening: Opening | None) -> np.ndarray:
    """What arrays of these types look like, as operands of a signature do."""
    words: list[Any] = []
    for type in types:
        kept.append(type)
        storage = type.dtype.storage
        if opening is None:
            dims = np.array(type.dims or (0,), np.int64)
            kept.append(dims)
            where = address(dims)
        else:
            where = opening.sizes(type.dims)
        nbytes = type.size * storage.itemsize
        words += [k.IS_ARRAY, 0, id(storage), len(type.dims), where, 0, 0, nbytes, 0, 0]
    return words_of(words or [0]) if opening is None else opening.block(words or [0])


def _new_words(types: Sequence[TensorType], kept: list[Any], opening: Opening | None) -> np.ndarray:
    """What new arrays of these types are made from."""
    words: list[Any] = []
    for type in types:
        storage = type.dtype.storage
        words += result_words(type, storage, kept) if opening is None else opening.result_words(type, storage)
    return words_of(words or [0]) if opening is None else opening.block(words or [0])
