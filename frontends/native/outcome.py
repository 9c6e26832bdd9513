"""What a traced program takes and what becomes of its results, as words of a signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import methodcaller
from typing import Any

import numpy as np

from adjit import effects, trees
from adjit.autograd.record import close
from adjit.compiler.entry import known as k
from adjit.effects import Effect, Refill
from adjit.entry import Entry, Output
from adjit.ir.frozen import changed
from adjit.ir.graph import Graph
from adjit.ir.shape import evaluate
from adjit.ir.types import BOOL, F32, F64, I64, DType
from adjit.native.operands import Operands
from adjit.native.signature import Copy, Operand, is_plain, number_input
from adjit.native.structure import plan_of
from adjit.native.view_words import placed_view_words, view_words
from adjit.native.words import address, words_of
from adjit.runtime.layout import DATA, word_at
from adjit.tensor import Tensor
from adjit.trace_parts import ItemReader
from adjit.view_results import PlacedViews, replayed

_ITEM = methodcaller("item")
_NUMBERS: dict[DType, int] = {F32: k.SINGLE, F64: k.DOUBLE, I64: k.WHOLE, BOOL: k.TRUTH}


def fresh_results(graph: Graph) -> dict[int, int]:
    """The program's outputs that are new arrays, not written to an input: by their index, their number."""
    targets = {output for _, output in graph.writes}
    return {index: n for n, index in enumerate(i for i in range(len(graph.outputs)) if i not in targets)}


def inputs_of(entry: Entry, operands: Operands, kept: list[Any]) -> list[tuple[int, int]] | None:
    """Where the program's inputs come from; what that points to joins `kept`."""
    found: list[tuple[int, int]] = []
    numbers = 0
    for source in entry.sources:
        place = operands.number_of(source)
        if place is not None:
            own: tuple[int, int] | None = (k.FROM_OPERAND, place)
            if place in operands.numbers:
                dtype = operands.types[place]
                own = None if dtype is None else number_input(dtype, place)
                numbers += 1
            if own is None:
                return None
            found.append(own)
            continue
        if source.kind == "scalar" and source.read is not None:
            numbers += 1
            found.append(_reader(source.read, kept))
            continue
        array = None if source.memory is None else source.memory.array
        if source.kind != "tensor" or array is None or not is_plain(array):
            return None
        found.append((k.FROM_ADDRESS, word_at(id(array) + DATA)))
    return found if numbers <= k.MOST_NUMBERS else None


def _reader(read: Callable[[], float], kept: list[Any]) -> tuple[int, int]:
    """The input of a number that is read at every call."""
    if not isinstance(read, ItemReader) or type(read.holder) is not dict:
        return k.FROM_READER, id(read)
    block = words_of([id(read.holder), id(read.key), id(read)])
    kept += [read, block]
    return k.FROM_ITEM, address(block)


# -- what is written ---------------------------------------------------------------------------------------------------
def written_words(entry: Entry, operands: Operands, wanted: Sequence[Operand]) -> np.ndarray | None:
    """The memories that the program writes, and where captured arrays stand.

    None where a captured one that is written shares its place with another input, or one cannot be told.
    """
    words: list[int] = [len(entry.graph.writes)]
    spans = [_span(source.memory.array) for source in entry.sources if source.memory is not None]
    for position, _ in entry.graph.writes:
        source = entry.sources[position]
        place = operands.number_of(source)
        if place is not None:
            if wanted[place].kind not in (k.IS_TENSOR, k.IS_ARRAY):
                return None
            words += [place, 0, 0, evaluate(wanted[place].nbytes, {}), source.writes]
            continue
        if source.kind != "tensor" or source.memory is None or source.memory.array is None:
            return None
        start, end = own = _span(source.memory.array)
        if sum(first < end and last > start for first, last in spans) != 1 or own not in spans:
            return None
        words += [k.FIXED_PLACE, id(source.memory), id(source.memory.array), source.memory.array.nbytes, source.writes]
    return words_of([*words, len(spans), *(word for span in spans for word in span)])


def copies_of(entry: Entry, operands: Operands, before: Sequence[np.ndarray]) -> list[Copy]:
    """What the program writes, to be copied first; `before` has a copy of each of its inputs."""
    found: list[Copy] = []
    for position in dict.fromkeys(position for position, _ in entry.graph.writes):
        memory, place = entry.sources[position].memory, operands.number_of(entry.sources[position])
        start = 0 if memory is None or memory.array is None else address(memory.array)
        array = before[position]
        found.append(Copy(k.FIXED_PLACE if place is None else place, start, array.shape, array.dtype))
    return found


def gradient_words(entry: Entry, operands: Operands, fresh: dict[int, int]) -> np.ndarray | None:
    """The tensors that get gradients; None where one is none, or the gradient no new array."""
    words: list[int] = [len(entry.grads)]
    for owner, output in entry.grads:
        if output is not None and output not in fresh:
            return None
        if isinstance(owner, Tensor):
            words += [k.FIXED_PLACE, id(owner)]
        elif isinstance(operands.values[operands.places[owner]], Tensor):
            words += [operands.places[owner], 0]
        else:
            return None
        words.append(k.FIXED_PLACE if output is None else fresh[output])
    return words_of(words)


def _span(array: np.ndarray | None) -> tuple[int, int]:
    assert array is not None
    start = word_at(id(array) + DATA)
    return start, start + array.nbytes


# -- what is returned --------------------------------------------------------------------------------------------------
class Outcome:
    """What a call returns: `fresh` are the program's results, `sizes` those of the call; all that is pointed to is
    `kept`, and `tensors` are the numbers of the results that are given as such."""

    def __init__(self, entry: Entry, operands: Operands, fresh: dict[int, int], sizes: dict[str, int]) -> None:
        self._entry = entry
        self._operands = operands
        self._fresh = fresh
        self._sizes = sizes
        self.kept: list[Any] = []
        self.tensors: set[int] = set()

    def plan(self, result: Any) -> list[int] | None:
        """The plan of `result`, which a call gave, and of the changes of Python; None where only Python makes them."""
        entry = self._entry
        count = len(entry.outputs)
        if trees.flatten(result, none_is_leaf=True)[1] != entry.structure:  # of results that stand in texts
            return None
        found: list[Sequence[int]] = []
        for output in entry.all_outputs():
            part = self._part(output)
            if part is None:
                return None
            found.append(part)
        plan = plan_of(entry.structure, found[:count], self.kept)
        plan = None if plan is None else self._counting(plan)
        if plan is None or not entry.effects:
            return plan
        if len(found) - count >= k.MOST_PARTS:
            return None
        finish = self._keep(partial(_finish, entry.effects))
        return [k.MADE_BY, 1 + len(found) - count, finish, *plan, *(word for part in found[count:] for word in part)]

    def _part(self, output: Output) -> Sequence[int] | None:
        """The plan of one leaf of the result; None where only Python has it."""
        if output.choices:
            return self._chosen(output)
        fresh, operands = self._fresh.get(output.index), self._operands
        match output.kind:
            case "graph" if fresh is not None:
                told = 0
                if output.fault is not None:  # the result cannot be gone back from, and says why
                    told = self._keep(partial(close, name=output.name, fault=output.fault))
                return self._result(fresh, told)
            case "number" if fresh is not None:
                kind = _NUMBERS.get(self._entry.graph.outputs[output.index].dtype)
                if kind is not None:
                    return k.A_NUMBER, fresh, kind
                return k.MADE_BY, 1, self._keep(_ITEM), *self._result(fresh)
            case "argument" if isinstance(operands.values[operands.places[output.index]], Tensor):
                return k.AN_OPERAND, operands.places[output.index], 0
            case "tensor":
                return k.AN_OBJECT, id(output.tensor), 0
            case "static":
                return k.AN_OBJECT, id(output.value), 0
            case "view":
                return self._view(output)
        return None

    def _view(self, output: Output) -> Sequence[int] | None:
        """The plan of a view: of a tensor without history its place and strides, of others the steps to it."""
        place, root = k.FIXED_PLACE, output.tensor
        if root is None:
            place = self._operands.places[output.index]
            root = self._operands.values[place]
        numbers = [self._fresh.get(place, -1) for place in output.places]
        if not isinstance(root, Tensor) or -1 in numbers or len(numbers) + 1 > k.MOST_PARTS:
            return None
        block = self._view_block(output, root, numbers)
        if block is not None:
            if place != k.FIXED_PLACE:
                self._stands_so(place, root)
            return k.A_PLACED_VIEW if numbers else k.A_VIEW, place, self._keep(root), address(block)
        source = (k.AN_OBJECT, self._keep(root), 0) if place == k.FIXED_PLACE else (k.AN_OPERAND, place, 0)
        make = self._keep(partial(replayed, steps=output.steps, sizes=self._sizes))
        rest = [word for number in numbers for word in self._result(number)]
        return [k.MADE_BY, 1 + len(numbers), make, *source, *rest]

    def _view_block(self, output: Output, root: Tensor, numbers: Sequence[int]) -> np.ndarray | None:
        """The block of a view of a tensor that has no history and stands in order; None where Python makes the view."""
        array, known = root._array, (source.tensor for source in self._entry.sources)
        stays = output.tensor is None or any(tensor is root for tensor in known)
        if not stays or root.requires_grad or array is None or not is_plain(array):
            return None
        values = [self._entry.graph.outputs[place] for place in output.places]
        if any(value.dtype is not I64 for value in values):
            return None
        lengths = [tuple(evaluate(dim, self._sizes) for dim in value.dims) for value in values]
        made = PlacedViews(output.steps, self._sizes, lengths, root)
        if made.first is None or made.first.__dict__:
            return None
        if numbers:
            return placed_view_words(made, numbers, root, self.kept)
        return view_words(made.first, root, self.kept)

    def _stands_so(self, place: int, root: Tensor) -> None:
        """An operand stands in memory as `root` does."""
        self._operands.in_order.add(place)
        assert root._array is not None
        if 1 in root._array.shape:  # along such an axis an array in order has any stride, and so its views
            self._operands.strides[place] = root._array.strides

    def _chosen(self, output: Output) -> Sequence[int] | None:
        """The plan of a computed tensor that may be another one instead, as the flags say."""
        words: list[int] = []
        for flag, choice in output.choices:
            number, part = self._fresh.get(flag), self._part(choice)
            if number is None or part is None:
                return None
            words += [number, len(part), *part]
        part = self._part(changed(output, choices=()))
        if part is None:
            return None
        return [k.A_CHOICE, len(output.choices), len(words) + len(part), *words, *part]

    def _counting(self, plan: list[int]) -> list[int] | None:
        """The plan of a result, after which the writes that the program counts are added."""
        words: list[int] = []
        written = [source for source in self._entry.sources if source.more_writes >= 0]
        for source in written:
            place = self._operands.number_of(source)
            counted = self._entry.graph.outputs[source.more_writes]
            if (place is None and source.tensor is None) or counted.dtype is not I64:
                return None
            owner = (k.FIXED_PLACE, self._keep(source.tensor)) if place is None else (place, 0)
            words += self._fresh[source.more_writes], *owner
        return [k.A_COUNTED, len(written), *words, *plan] if written else plan

    def _result(self, number: int, told: int = 0) -> tuple[int, int, int]:
        self.tensors.add(number)
        return k.A_RESULT, number, told

    def _keep(self, item: Any) -> int:
        self.kept.append(item)
        return id(item)


def _finish(changes: Sequence[Effect | Refill], result: Any, *parts: Any) -> Any:
    """The result of a call, after its changes of Python were made."""
    leaves = iter(parts)
    effects.apply(changes, (), lambda wanted: [next(leaves) for _ in wanted])
    return result
