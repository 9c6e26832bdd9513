"""Tensors that a trace keeps apart though they may be one memory: results of branches and loops, and what they were.

What a branch or a loop leaves has memory of its own in the program.  Where it may be memory from outside (`k = x[0] if
t else y`), a link ties both: whichever is written, the other takes over what it holds as soon as that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from adjit.autograd.modes import set_grad_enabled
from adjit.computed_views import along
from adjit.errors import explained
from adjit.ir.errors import TraceError
from adjit.ir.graph import Location
from adjit.state import STATE, user_location
from adjit.tensor import Chain, Tensor
from adjit.trace_parts import Cell

if TYPE_CHECKING:
    from adjit.memory import Memory
    from adjit.trace import Tracer

Make = Callable[[], Tensor]


class Link:
    """`copy` holds apart what `source` shows wherever `flag` is true; without a flag the program cannot tell.

    It shows what `chain` makes of the second of the `tensors`.  `versions` are those of their memories when both were
    the same last.
    """

    __slots__ = ("cells", "chain", "flag", "location", "name", "source", "tensors", "versions")

    def __init__(
        self,
        cells: tuple[Cell, Cell],
        tensors: tuple[Tensor, Tensor],
        chain: Chain,
        source: Make,
        flag: Make | None,
        name: str,
    ) -> None:
        self.cells, self.tensors, self.chain, self.source = cells, tensors, chain, source
        self.flag, self.name = flag, name
        self.versions = [cell.version for cell in cells]
        self.location = user_location()
        for cell in cells:
            cell.links = (*cell.links, self)

    @property
    def copy(self) -> Tensor:
        """The tensor that is kept apart."""
        return self.tensors[0]

    def other(self, cell: Cell) -> Cell:
        """The other memory of the two."""
        return self.cells[0 if self.cells[1] is cell else 1]

    def is_behind(self, cell: Cell) -> bool:
        """Whether `cell`, one of the two, lacks what was written to the other."""
        other = self.other(cell)
        return other.version != self.versions[0 if self.cells[0] is other else 1]

    def since_start(self, tracer: Tracer) -> None:
        """Say that the two were the same when both were taken from outside, whatever was written since."""
        self.versions = [0, 0]
        tracer.linked.count += 1

    def leave_behind(self, tracer: Tracer) -> None:
        """Say that the source lacks what was written to the copy."""
        self.versions[0] -= 1
        tracer.linked.count += 1

    def take_over(self, tracer: Tracer, cell: Cell) -> None:
        """Take over for `cell` what was written to the other."""
        if self.flag is None:
            refuse(self.name, self.location)
        target, given = self.copy, self.source()
        if self.cells[1] is cell:
            target, given = given, target
        with set_grad_enabled(self.other(cell).history is None):
            flag = self.flag()
            tracer.write(target, _where(flag, given, target))
            cell.add_writes(flag.long() - 1)
            cell.unsure.add(cell.version - 1)


def refuse(name: str, location: Location) -> NoReturn:
    """TraceError for what may or may not have been written through another name."""
    raise explained(
        TraceError,
        f"{name} and another name may be the same memory in the loop on a traced tensor in line {location.line}, which "
        "is written through one of the two and read through the other: a program keeps them apart",
        operands={},
        hint=f"start the loop with {name}.clone() if they are meant to be apart, else use one name",
    )


class Writes:
    """How many writes to linked memory a trace has seen, and whether it is being brought up to date."""

    __slots__ = ("count", "is_busy")

    def __init__(self) -> None:
        self.count, self.is_busy = 0, False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Bring nothing up to date meanwhile."""
        before, self.is_busy = self.is_busy, True
        try:
            yield
        finally:
            self.is_busy = before


@contextmanager
def _within(tracer: Tracer) -> Iterator[None]:
    """Compute in a trace that is going on, perhaps around the innermost one."""
    before = STATE.tracer
    STATE.tracer = tracer
    try:
        yield
    finally:
        STATE.tracer = before


def agree(tracer: Tracer, cell: Cell) -> None:
    """Bring a memory up to date with those that it may be."""
    writes = tracer.linked
    if writes.is_busy or not writes.count or cell.agreed == writes.count:
        return
    with _within(tracer), writes.held():
        for each in _farthest_first(cell):
            behind = [link for link in each.links if link.is_behind(each)]
            for link in behind:
                link.take_over(tracer, each)
            for link in behind:
                link.versions = [side.version for side in link.cells]
        cell.agreed = writes.count


def _farthest_first(cell: Cell) -> list[Cell]:
    """All memories that links lead to from one, each after those that it is reached before."""
    found: list[Cell] = []
    met = {id(cell)}
    stack = [(cell, iter(cell.links))]
    while stack:
        here, rest = stack[-1]
        for link in rest:
            other = link.other(here)
            if id(other) not in met:
                met.add(id(other))
                stack.append((other, iter(other.links)))
                break
        else:
            found.append(here)
            stack.pop()
    return found


def linked_with(place: Any) -> dict[int, Tensor]:
    """A tensor on each memory that one may be, by the memory's identity."""
    cells = _farthest_first(place) if isinstance(place, Cell) and place.links else ()
    links = [link for cell in cells for link in cell.links]
    return {id(side): tensor for link in links for side, tensor in zip(link.cells, link.tensors, strict=True)}


def wrote(tracer: Tracer, cell: Cell, adopted: bool) -> None:
    """Count a write to linked memory; one that gradients go through is handed on at once: tensors must know that they
    require grad."""
    if tracer.linked.is_busy:
        return
    tracer.linked.count += 1
    for link in cell.links if adopted else ():
        if link.flag is not None:
            agree(tracer, link.other(cell))


def agree_outside(tracer: Tracer, memories: Iterable[Memory]) -> None:
    """Bring memories up to date that are seen outside of the trace."""
    for memory in memories:
        cell = tracer.cells[memory]
        if cell.links:
            agree(tracer, cell)


def tie(tracer: Tracer, copy: Tensor, source: Tensor, chain: Chain, flag: Make | None, name: str) -> Link | None:
    """Say that `copy`, which has memory of its own, is what `chain` shows of `source` where `flag` is true.

    Without a flag the two may be one, or one a view of the other.  None where they are on one memory as it is.
    """
    source = here(tracer, source)
    cells = tracer.cell_of(copy), tracer.cell_of(source)
    if cells[0] is cells[1]:
        return None
    return Link(cells, (copy, source), chain, partial(_shown, tracer, source, chain), flag, name)


def here(tracer: Tracer, tensor: Tensor) -> Tensor:
    """The tensor of a trace that stands for one from outside."""
    from adjit.inner_trace import InnerTracer

    found: Tensor = tracer.local(tensor) if isinstance(tracer, InnerTracer) else tracer.inside(tensor)
    return found


def _shown(tracer: Tracer, tensor: Tensor, chain: Chain) -> Tensor:
    """The view of a tensor that a chain makes."""
    if not chain:
        return tensor
    whole = (*tensor._chain, *chain)
    found = tracer.tensor_in(along(tracer, tracer.cell_of(tensor).value, whole), tensor._memory, whole)
    base = tensor if tensor._base is None else tensor._base
    found._base, found._seen = base, base._history
    found._requires_grad, found._leaf = tensor.requires_grad, not tensor.requires_grad
    return found


def _where(flag: Tensor, given: Tensor, target: Tensor) -> Tensor:
    from adjit.elementwise import where

    found: Tensor = where(flag, given, target)
    return found


class Meetings:
    """What a trace takes from outside, and the links that come of it once two tensors have been taken."""

    def __init__(self) -> None:
        self._taken: dict[int, list[Tensor]] = {}  # the tensors taken, by the identity of their memory
        self._awaited: dict[int, list[Callable[[Tensor], None]]] = {}
        self._inherited: set[int] = set()

    @property
    def places(self) -> Set[int]:
        """The identities of the memories that tensors were taken from."""
        return self._taken.keys()

    def wait(self, place: Any, meet: Callable[[Tensor], None]) -> None:
        """Call `meet` with each tensor taken from a memory."""
        self._awaited.setdefault(id(place), []).append(meet)
        for tensor in self._taken.get(id(place), ()):
            meet(tensor)

    def take(self, tracer: Tracer, place: Any, operand: Tensor) -> None:
        """Say that a tensor on a memory is taken: the links of a trace around this one hold in it, too."""
        self._taken.setdefault(id(place), []).append(operand)
        for meet in self._awaited.get(id(place), ()):
            meet(operand)
        links = place.links if isinstance(place, Cell) else ()
        met = [link for link in links if all(id(cell) in self._taken for cell in link.cells)]
        with tracer.linked.held():  # until all are made
            for link in met:
                self._inherit(tracer, link)

    def _inherit(self, tracer: Tracer, link: Link) -> None:
        """Tie what stands for the two tensors of a link in a trace inside its own."""
        if id(link) in self._inherited:
            return
        self._inherited.add(id(link))
        assert tracer.parent is not None
        flag = None if link.flag is None else partial(_flag_here, tracer, link.flag)
        with _within(tracer.parent):
            source = link.source()
        found = tie(tracer, here(tracer, link.copy), source, (), flag, link.name)
        if found is not None:
            found.since_start(tracer)


def _flag_here(tracer: Tracer, flag: Make) -> Tensor:
    assert tracer.parent is not None
    with _within(tracer.parent):
        found = flag()
    return here(tracer, found)
