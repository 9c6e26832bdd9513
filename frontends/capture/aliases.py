"""What the parts of a captured program leave that may be memory from outside, or another name of what they were given.

What comes out of an `if` or a loop has memory of its own.  Here is found of which tensors it may be another name or a
view, and it is tied to them: so both see what is written to either, or the program is refused (links.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from functools import partial, reduce
from operator import and_
from typing import Any

from adjit.capture.numbers import Number
from adjit.computed_views import PLACES, step_of
from adjit.dispatch import literal
from adjit.dtypes import public
from adjit.inner_trace import InnerTracer
from adjit.ir.frozen import frozen
from adjit.ir.types import BOOL, I64, TensorType
from adjit.links import Make, tie
from adjit.memory import Memory
from adjit.state import STATE
from adjit.tensor import Chain, Tensor


@frozen
class Origin:
    """What a leaf may be: what `chain` shows of an outer tensor, or of the part's argument `index`; `flag` says when,
    None where it is so always, or where not even the part itself knows."""

    tensor: Tensor | None
    index: int
    chain: Chain
    flag: Tensor | None = None
    known: bool = True

    @property
    def places(self) -> list[Any]:
        """The values that say where its views are."""
        return [place for op, items in self.chain for place in step_of(items)[1]]

    @property
    def is_told(self) -> bool:
        """Whether the part has to tell when it is so, or where."""
        return self.flag is not None or bool(self.places)

    @property
    def is_the_argument(self) -> bool:
        """Whether it is all of an argument, and always."""
        return self.tensor is None and not self.chain and self.flag is None and self.known

    def exported(self, steps: int) -> list[Tensor]:
        """What the part tells: the flag, and the places of the last `steps` of the chain."""
        tracer = STATE.tracer
        assert tracer is not None
        flag = literal(True, BOOL) if self.flag is None else self.flag
        places = [place for _, items in self.chain[len(self.chain) - steps :] for place in step_of(items)[1]]
        return [flag, *(tracer.wrap(place) for place in places)]

    def at(self, places: Sequence[Tensor]) -> Chain:
        """The chain with its places told."""
        tracer, rest = STATE.tracer, iter(places)
        assert tracer is not None
        steps: list[Any] = []
        for op, items in self.chain:
            attributes, own = step_of(items)
            told = tuple(tracer.value_of(next(rest)) for _ in own)
            steps.append((op, (*attributes.items(), *([(PLACES, told)] if told else []))))
        return tuple(steps)

    def absent(self) -> list[Tensor]:
        """The same of the part that did not run."""
        from adjit.creation import zeros

        return [literal(False, BOOL), *(zeros(place.dims, dtype=public(I64)) for place in self.places)]


def origins(leaf: Any, arguments: Mapping[Memory, int]) -> list[Origin]:
    """What a leaf may be that a part leaves, `arguments` being the memories that it was given; nothing for what it
    made itself."""
    tracer = STATE.tracer
    if not isinstance(tracer, InnerTracer) or not isinstance(leaf, Tensor) or isinstance(leaf, Number):
        return []
    memory, chain = leaf._memory, leaf._chain
    if memory in arguments:
        return [Origin(None, arguments[memory], chain), *_linked(tracer, leaf, arguments)]
    outer = tracer.outer_of(memory)
    if outer is not None:
        return [Origin(outer, -1, chain)]
    cell = tracer.cells.get(memory)
    if cell is None:
        return [Origin(leaf, -1, ())] if leaf._array is None or leaf._memory.serial < tracer._serial else []
    return _linked(tracer, leaf, arguments)


def is_written(argument: Tensor) -> bool:
    """Whether the part that is traced wrote to a tensor that it was given."""
    tracer = STATE.tracer
    return tracer is not None and not tracer.is_unwritten(argument)


def taken_here() -> Set[int]:
    """The identities of the memories from outside that the part that is traced took."""
    return STATE.tracer.meetings.places if isinstance(STATE.tracer, InnerTracer) else set()


def _linked(tracer: InnerTracer, leaf: Tensor, arguments: Mapping[Memory, int]) -> list[Origin]:
    """What a leaf may be by way of the links of its memory."""
    found: list[Origin] = []
    for link in tracer.cells[leaf._memory].links:
        if link.copy._memory is not leaf._memory:
            continue
        for origin in origins(link.source(), arguments):
            flags = [flag for flag in (link.flag and link.flag(), origin.flag) if flag is not None]
            flag = reduce(and_, flags) if flags else None
            chain, known = (*origin.chain, *leaf._chain), origin.known and link.flag is not None
            found.append(Origin(origin.tensor, origin.index, chain, flag, known))
    return found


def exports_of(
    name: str, type: Any, leaves: Sequence[Any], found: Sequence[Sequence[Origin]]
) -> Exports | None:
    """How a leaf of both branches is tied to what either makes of tensors from outside."""
    if not isinstance(type, TensorType):
        return None
    pairs = [(branch, origin) for branch, each in enumerate(found) if leaves[branch] == type for origin in each]
    return Exports(name, pairs) if pairs else None


class Exports:
    """How one leaf of a branch is tied to what it may be outside."""

    def __init__(self, name: str, found: Sequence[tuple[int, Origin]]) -> None:
        self._name, self._found = name, found

    def tensors(self, branch: int, leaf: Any) -> list[Tensor]:
        """What a branch tells beside the leaf: of each origin that it alone knows, whether it is so, and where."""
        tracer = STATE.tracer
        assert tracer is not None
        own = iter(origins(leaf, {}) if any(each == branch for each, _ in self._found) else ())
        found: list[Tensor] = []
        for each, origin in self._found:
            actual = next(own) if each == branch else None
            if origin.is_told:
                found += origin.absent() if actual is None else actual.exported(len(origin.chain))
        return found

    def tie(self, leaf: Tensor, told: Iterator[Tensor], flags: Sequence[Make]) -> None:
        """Tie the joined leaf to what it may be, given what the branches told."""
        tracer = STATE.tracer
        assert tracer is not None
        for branch, origin in self._found:
            flag, chain = flags[branch], origin.chain
            if origin.is_told:
                flag, chain = partial(_as_it_is, next(told)), origin.at([next(told) for _ in origin.places])
            assert origin.tensor is not None
            tie(tracer, leaf, origin.tensor, chain, flag if origin.known else None, self._name)


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
