"""Which tensors that a captured loop carries may be other names of memory outside, or of one another.

In each turn a carried tensor has memory of its own.  What it was before the loop, and what earlier turns made of it,
may be memory that the loop also reaches by another name.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from functools import cache, partial
from itertools import combinations
from typing import Any

from adjit.capture.aliases import Origin
from adjit.capture.numbers import Number
from adjit.inner_trace import InnerTracer
from adjit.ir.rewrite import inline
from adjit.links import Make, linked_with, tie
from adjit.one_memory import place_of
from adjit.state import STATE
from adjit.tensor import Tensor


def is_tensor(leaf: Any) -> bool:
    """Whether a leaf is a tensor that can be written in place."""
    return isinstance(leaf, Tensor) and not isinstance(leaf, Number)


class LoopNames:
    """What is known of a loop's carried tensors: their names, what they are before it, and what a turn makes of them.

    `ends` are the leaves after a turn with what they may be, `written` says which of those given a turn writes to,
    `taken` are the identities of the memories outside that it takes.
    """

    def __init__(
        self,
        names: Sequence[str],
        start: Sequence[Tensor],
        ends: Sequence[tuple[Any, Sequence[Origin]]],
        written: Sequence[bool],
        taken: Set[int],
    ) -> None:
        self._names, self._start, self._ends, self._written = names, start, ends, written
        self._tensors = [place for place, (end, _) in enumerate(ends) if is_tensor(end)]
        self._outer = self._reached()
        self._pairs = self._shared()
        self._cycles = self._turned()
        # Those that are what they were before the loop in the first turn only.
        self._new = {place for place in self._tensors if not ends[place][1]}
        first = any(written[place] or not taken.isdisjoint(self._outer[place]) for place in self._new)
        self.counts = bool(self._cycles) or first

    def _place(self, tensor: Tensor) -> Any:
        return place_of(STATE.tracer, tensor)[0]

    def _at(self, tensor: Tensor) -> dict[int, Tensor]:
        """A tensor from outside, and what it may be there, by the identities of their memories."""
        place = self._place(tensor)
        return {**linked_with(place), id(place): tensor}

    def _reached(self) -> list[dict[int, Tensor]]:
        """For each tensor those outside that it may be in some turn, by the identities of their memories."""
        found = [self._at(tensor) for tensor in self._start]
        changed = True
        while changed:
            before = sum(map(len, found))
            for place in self._tensors:
                for origin in self._ends[place][1]:
                    found[place] |= found[origin.index] if origin.tensor is None else self._at(origin.tensor)
            changed = sum(map(len, found)) != before
        return found

    def _shared(self) -> set[tuple[int, int]]:
        """The pairs that may be one memory in some turn."""
        found: set[tuple[int, int]] = set()
        while True:
            more = {pair for pair in combinations(self._tensors, 2) if pair in found or self._meet(*pair, found)}
            if more == found:
                return found
            found = more

    def _meet(self, one: int, other: int, known: set[tuple[int, int]]) -> bool:
        if not self._at(self._start[one]).keys().isdisjoint(self._at(self._start[other])):
            return True
        (left, origins), (right, others) = self._ends[one], self._ends[other]
        if left._memory is right._memory and left._memory.array is None:
            return True
        return any(self._may_be_one(a, b, known) for a in origins for b in others)

    def _may_be_one(self, a: Origin, b: Origin, known: set[tuple[int, int]]) -> bool:
        if a.tensor is None and b.tensor is None:
            return a.index == b.index or (min(a.index, b.index), max(a.index, b.index)) in known
        if a.tensor is not None and b.tensor is not None:
            return not self._at(a.tensor).keys().isdisjoint(self._at(b.tensor))
        outer, index = (a.tensor, b.index) if a.tensor is not None else (b.tensor, a.index)
        assert outer is not None
        return not self._at(outer).keys().isdisjoint(self._outer[index])

    def _turned(self) -> list[list[int]]:
        """Tensors that take one another's places in every turn, each list in the order in which they do."""
        follows = {
            place: origins[0].index
            for place in self._tensors
            for _, origins in [self._ends[place]]
            if len(origins) == 1 and origins[0].is_the_argument and origins[0].index != place
        }
        found: list[list[int]] = []
        for place in follows:
            cycle = [place]
            while (after := follows.get(cycle[-1])) is not None and after not in cycle:
                cycle.append(after)
            starts = [self._at(self._start[each]).keys() for each in cycle]
            apart = not any(a & b for a, b in combinations(starts, 2))
            if after == place and place == min(cycle) and apart:
                found.append(cycle)
        return found

    def watch(self, given: Sequence[Tensor], *, later: bool = False) -> None:
        """In the trace of a turn, or (`later`) of the test after it: refuse what is read of memory that another name
        may have written to."""
        tracer = STATE.tracer
        assert isinstance(tracer, InnerTracer) and tracer.parent is not None
        for place in self._tensors:
            if later and (place in self._new or not self._written[place]):
                continue
            if place in self._new:
                if self.counts:
                    self._watch_first(tracer, place, given)
                continue
            meet = partial(_tied, tracer, given[place], self._names[place], later)
            for tensor in self._outer[place].values():
                tracer.meetings.wait(place_of(tracer.parent, tensor)[0], meet)
        for one, other in () if later else self._pairs:
            tie(tracer, given[one], given[other], (), None, self._names[one])

    def _watch_first(self, tracer: InnerTracer, place: int, given: Sequence[Tensor]) -> None:
        """Tie a tensor to what it is in the first turn, once that is taken, or at once where it is written."""
        start, first = self._start[place], partial(_counts, given[-1], 0)
        assert tracer.parent is not None

        def meet(_: Tensor) -> None:
            if start not in met:
                met.append(start)
                link = tie(tracer, given[place], start, (), first, self._names[place])
                if link is not None:
                    link.since_start(tracer)

        met: list[Tensor] = []
        if self._written[place]:
            meet(start)
        else:
            for tensor in self._outer[place].values():
                tracer.meetings.wait(place_of(tracer.parent, tensor)[0], meet)

    def finish(self, found: Sequence[Tensor]) -> None:
        """Tie what the loop leaves to what it may be; where turns are counted, their number is the last result."""
        tracer = STATE.tracer
        assert tracer is not None
        never = _never_ran(found)
        turned = {place for cycle in self._cycles for place in cycle}
        for place in self._tensors:
            if place in turned:
                continue
            new = place in self._new
            for tensor in [self._start[place]] if new else self._outer[place].values():
                link = tie(tracer, found[place], tensor, (), never if new else None, self._names[place])
                if link is not None and self._written[place] and not new:
                    link.leave_behind(tracer)
        for cycle in self._cycles:
            self._finish_cycle(cycle, found)
        for one, other in self._pairs:
            tie(tracer, found[one], found[other], (), None, self._names[one])

    def _finish_cycle(self, cycle: list[int], found: Sequence[Tensor]) -> None:
        tracer = STATE.tracer
        assert tracer is not None
        for at, place in enumerate(cycle):
            for turns in range(len(cycle)):  # after that many, and whole rounds
                origin = self._start[cycle[(at + turns) % len(cycle)]]
                flag = partial(_counts, found[-1] % len(cycle), turns)
                link = tie(tracer, found[place], origin, (), flag, self._names[place])
                if link is not None and any(self._written[each] for each in cycle):
                    link.leave_behind(tracer)


def _tied(tracer: InnerTracer, tensor: Tensor, name: str, later: bool, operand: Tensor) -> None:
    link = tie(tracer, tensor, operand, (), None, name)
    if link is not None:
        link.since_start(tracer)
        if later:
            link.leave_behind(tracer)


def _counts(turns: Tensor, wanted: int) -> Tensor:
    found: Tensor = turns == wanted
    return found


def _never_ran(found: Sequence[Tensor]) -> Make | None:
    """Whether a loop with these results did not turn once."""
    value = found[0]._value if found else None
    node = None if value is None else value.node
    if node is None or node.op.name != "while":
        return None

    @cache
    def never() -> Tensor:
        tracer = STATE.tracer
        assert tracer is not None
        (ran,) = inline(tracer.builder, node.regions[0], node.inputs)
        flag: Tensor = tracer.wrap(ran).logical_not()
        return flag

    return never
