"""The operands of a compiled function's call as the native entry sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from adjit.call import Call
from adjit.compiler.entry import known as k
from adjit.entry import Entry
from adjit.ir.frozen import frozen
from adjit.ir.shape import evaluate
from adjit.ir.types import DType, TensorType
from adjit.native.guards import place_words
from adjit.native.signature import UNSERVED_TOGETHER, Operand, is_readable, operand_for
from adjit.native.structure import TakenApart, is_instance, is_node
from adjit.places import ABSENT, Place
from adjit.runtime.layout import slot_offset
from adjit.tensor import Tensor
from adjit.told_numbers import heard
from adjit.trace_parts import GradientType, Source


@frozen
class Lifted:
    """A place whose content is an operand after the arguments; without a `place` the gradient of an argument."""

    words: tuple[int, int, int]
    place: Place | None = None

    def read(self, arguments: Sequence[Any]) -> Any:
        """What stands there now; ABSENT where nothing does."""
        if self.place is not None:
            return self.place.read()
        place = self.words[1]  # of calls of another kind, perhaps, which have more arguments
        owner = arguments[place] if place < len(arguments) else None
        return owner._grad if isinstance(owner, Tensor) else None


class Operands:
    """The leaves of a call's arguments, then what stands at lifted places, as they were when the call began.

    `fit` says whether all can be read where they stand, `places` is the operand of each tensor of the call, `in_order`
    are the operands that must stand in order, those of `strides` just so; `lifted` are the places that the call needs:
    what the function reads anew, and gradients that it relies on.
    """

    def __init__(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], entry: Entry) -> None:
        self._call = call
        self._entry = entry
        self._apart = apart = TakenApart(args, kwargs, call.structure)
        self._nested = bool(kwargs) or any(is_node(value) or is_instance(value) for value in args)
        self.structure: list[int] | None = None
        self.values: tuple[Any, ...] = tuple(apart.leaves)
        self.fit = apart.fits and len(self.values) == len(call.leaves)
        if not self.fit:
            return
        leaves = [call.leaves[leaf] for leaf in apart.order]
        self._facts = [call.own_key.arguments[leaf] for leaf in apart.order]
        self.numbers = {place for place, leaf in enumerate(apart.order) if leaf in call.numbers}
        pairs = enumerate(zip(self.values, leaves, strict=True))
        self.fit = all(_can_be_read(value, leaf, place in self.numbers) for place, (value, leaf) in pairs)
        where = {leaf: place for place, leaf in enumerate(apart.order)}
        self.places = [where[n] for n, leaf in enumerate(call.leaves) if isinstance(leaf, Tensor)]
        self.types: list[DType | None] = [leaf._dtype if isinstance(leaf, Tensor) else None for leaf in leaves]
        words = [place_words(place) for place, _ in call.lifted]
        self.in_order = {self.places[index] for index in entry.layouts}
        self.strides: dict[int, tuple[int, ...]] = {}
        self._own = [found for found in words if found is not None]
        self._gradients = list(self._gradient_places()) if self.fit else []
        self.fit &= len(self._own) == len(words)
        self.lifted = [Lifted(found, place) for found, (place, _) in zip(self._own, call.lifted, strict=False)]
        self.lifted += [lifted for _, _, lifted in self._gradients]

    def _gradient_places(self) -> Iterator[tuple[int, TensorType, Lifted]]:
        """The gradients that the trace relied on: whose (a captured tensor's identity, or the number of a tensor of the
        call), of which type, and where they stand."""
        for check in self._entry.checks:
            if isinstance(check, GradientType) and check.type is not None:
                place = Place(check.tensor, "_grad")
                words = place_words(place)
                assert words is not None
                yield id(check.tensor), check.type, Lifted(words, place)
        if self._entry.takes_gradients:
            offset = slot_offset(Tensor, "_grad")
            for index, number in enumerate(self.places):
                if self._facts[number].gradient is not None:
                    yield index, self._facts[number].gradient, Lifted((k.IN_LEAF, number, offset))

    def take(self, places: Sequence[Lifted]) -> bool:
        """Let what stands at a table's places follow the arguments; False where it cannot be read."""
        count = len(self.values)
        if places or self._nested:
            self.structure = self._apart.words
        found = [lifted.read(self.values) for lifted in places]
        if count + len(places) > k.MOST_OPERANDS or any(value is ABSENT for value in found):
            return False
        numbered = {lifted.words: number for number, lifted in enumerate(places, count)}
        self.values += tuple(found)
        self.types += [None] * len(found)
        self._facts += [()] * len(found)
        known = self._call.key.lifted or ()
        for words, (_, item), (_, _, facts) in zip(self._own, self._call.lifted, known, strict=False):
            number = numbered[words]
            if type(self.values[number]) in (int, float):
                self.numbers.add(number)
            else:  # the call may have put another one there
                self.values = (*self.values[:number], item, *self.values[number + 1 :])
            if not _can_be_read(item, item, False):
                return False
            self._facts[number] = facts
            if isinstance(item, Tensor):
                self.places.append(number)
                self.types[number] = item._dtype
        self.gradients = {owner: numbered[lifted.words] for owner, _, lifted in self._gradients}
        self._gradient_types = {numbered[lifted.words]: type for _, type, lifted in self._gradients}
        own = {numbered[words] for words in self._own} | self._gradient_types.keys()
        self._ignored = {*range(count, len(self.values))} - own
        return self._are_as_before()

    def _are_as_before(self) -> bool:
        """Whether the call left the tensors' shapes as it found them, and all gradients can be read."""
        for place, shape in zip(self.places, self._call.shapes, strict=True):
            value = self.values[place]
            array = value._array if isinstance(value, Tensor) else value
            if place not in self.numbers and (not isinstance(array, np.ndarray) or array.shape != shape):
                return False
        return not any(type.dtype in UNSERVED_TOGETHER for type in self._gradient_types.values())

    def wanted(self) -> list[Operand]:
        """What a signature wants of each."""
        wanted = [self._operand(number, value) for number, value in enumerate(self.values)]
        for index, first in self._call.repeats:
            wanted[self.places[index]] = Operand(k.IS_SAME, self.places[first])
        for place in self.in_order:
            wanted[place].in_order = True
        for place, strides in self.strides.items():
            wanted[place].strides = strides
        return wanted

    def _operand(self, number: int, value: Any) -> Operand:
        if number in self._ignored:
            return Operand(k.IS_ANYTHING)
        if number in self._gradient_types:
            return _gradient_operand(self._gradient_types[number])
        if type(value) is float and self._entry.asked and number in self.numbers:
            value = heard(value, self.places.index(number), self._entry.asked)
        operand = operand_for(value, fixed=number not in self.numbers)
        if isinstance(value, Tensor):
            facts = self._facts[number]
            operand.requires_grad, operand.leaf = id(bool(facts.requires_grad)), id(bool(facts.is_leaf))
            operand.gradient = id(None) * (self._entry.takes_gradients and facts.gradient is None)
        return operand

    def needs(self) -> int:
        """A bit for each operand whose gradient is wanted."""
        return sum(self._requires_grad(number) << number for number in range(min(len(self.values), k.MOST_MARKED)))

    @property
    def all_marked(self) -> bool:
        """Whether there is a bit for every operand whose gradient is wanted."""
        return not any(map(self._requires_grad, range(k.MOST_MARKED, len(self.values))))

    def _requires_grad(self, number: int) -> bool:
        value = self.values[number]
        if not isinstance(value, Tensor):
            return False
        return bool(self._facts[number].requires_grad) if self._facts[number] else value.requires_grad

    def number_of(self, source: Source) -> int | None:
        """The operand that a program's input is; None for a captured tensor, and for a scalar."""
        if source.kind == "argument":
            return self.places[source.index]
        if source.kind == "grad":
            return self.gradients.get(source.index if source.tensor is None else id(source.tensor))
        return None


def plain_number(value: Any) -> Any:
    """An argument as the native entry sees it: a Python number for one of NumPy's scalars."""
    return value.item() if type(value) in (np.float32, np.float64, np.int64) else value


def _gradient_operand(type: TensorType) -> Operand:
    """What takes a gradient of a type."""
    dims = tuple(evaluate(dim, {}) for dim in type.dims)
    storage = type.dtype.storage
    return Operand(
        k.IS_TENSOR, id(type.dtype), id(storage), dims, (type.dtype, storage), id(False), id(True),
        nbytes=prod(dims) * storage.itemsize,
    )  # fmt: skip


def _can_be_read(value: Any, leaf: Any, is_number: bool) -> bool:
    if not isinstance(value, (Tensor, np.ndarray)):
        return value is leaf or (type(value) in (int, float) and (is_number or type(leaf) is type(value)))
    return is_readable(value) and type(value) in _plain_types()


def _plain_types() -> tuple[type, ...]:
    from adjit.nn.parameter import Parameter

    return (Tensor, Parameter, np.ndarray)
