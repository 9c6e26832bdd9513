"""Parts of a captured program: what they see, what they share, and how they are tried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adjit import trees
from adjit.capture.aliases import Origin, origins
from adjit.capture.gradients import GradPlace
from adjit.capture.values import Undefined, known, refuse
from adjit.effects import Changes
from adjit.inner_trace import InnerTracer, trace_inner
from adjit.ir.types import TensorType
from adjit.places import Place
from adjit.reach import spaces_of
from adjit.state import STATE
from adjit.tensor import Tensor

Part = Callable[[], Any]
Values = Callable[[], list[Any]]


def is_traced(value: Any) -> bool:
    """Whether a value is a tensor whose numbers are those of the call: it is computed, or comes from outside."""
    tracer = STATE.tracer
    if tracer is None or not isinstance(value, Tensor):
        return False
    memory = value._memory
    return value._array is None or memory.serial < tracer._serial or memory in tracer.cells


class Shared:
    """The objects that a part of a program may write to, beside the variables that it assigns.

    A part is traced more than once, and both ways of an `if` are: what it puts into attributes, lists and dicts is
    taken back each time, and belongs to its results.
    """

    def __init__(self, held: Sequence[Part]) -> None:
        self._spaces = list(_root_spaces())
        for look in held:
            try:
                item = look()
            except Exception:  # has no value yet: then it is made inside
                continue
            if isinstance(item, Undefined):
                continue
            self._spaces += [(space, None) for space in spaces_of(item)]
        self.places: list[Place] = []

    def run(self, part: Values) -> list[Any]:
        """The part's values, then what it leaves at the places."""
        changes = Changes(self._spaces)
        changes.begin()
        try:
            values = part()
            return [*values, *self._left()]
        finally:
            changes.undo()

    def _left(self) -> list[Any]:
        """What a part leaves at the places, gradients among them."""
        found = [place.read() for place in self.places]
        tracer = STATE.tracer
        if isinstance(tracer, InnerTracer):
            tracer.take_grads()
        return found

    def look(self, part: Values) -> list[Any]:
        """The part's values; the places that it writes to join the others."""
        changes = Changes(self._spaces)
        changes.begin()
        try:
            values = part()
            found = changes.places()
            if found is None:
                refuse(
                    "a list or set changes its length inside an `if` or a loop on a traced tensor",
                    "it has no size in a program: write into a tensor made before",
                )
            tracer = STATE.tracer
            if isinstance(tracer, InnerTracer):
                found += map(GradPlace, tracer.changed_grads())
            known = {place.identity for place in self.places}
            self.places += [place for place in found if place.identity not in known]
            return [*values, *self._left()]
        finally:
            changes.undo()

    def before(self) -> list[Any]:
        """What stands at the places."""
        return [place.read() for place in self.places]

    def put(self, values: Sequence[Any]) -> None:
        """Put values there."""
        for place, value in zip(self.places, values, strict=True):
            place.write(value)

    @property
    def names(self) -> list[str]:
        """What messages call the places."""
        return [str(place) for place in self.places]


def _root_spaces() -> Sequence[Any]:
    tracer = STATE.tracer
    while tracer is not None and not tracer.spaces:
        tracer = tracer.parent
    return () if tracer is None else tracer.spaces


@dataclass(slots=True)
class Seen:
    """A value at the end of a traced part: its leaves, tensors by their types, its structure, its leaves themselves."""

    leaves: list[Any]
    structure: Any
    objects: list[Any]
    stays: Sequence[bool] = ()  # which leaves are the objects that a loop's step was given
    origins: Sequence[Sequence[Origin]] = ()  # what each leaf may be another name of


def described(value: Any) -> Seen:
    """A value as it is seen at the end of a part."""
    leaves, structure = trees.flatten(value, none_is_leaf=True)
    return Seen([known(x) for x in leaves], structure, leaves)


def may_fail(part: Part) -> bool:
    """Whether what a part computes fails for some numbers: it reads at a computed place, or divides integers."""
    from adjit.ir.dead_code import may_fail as node_may_fail

    def run() -> tuple[()]:
        Shared(()).run(lambda: [part()])  # what it changes is taken back
        return ()

    return any(map(node_may_fail, trace_inner("probe", run, ()).graph.walk()))


def probed(
    part: Callable[..., list[Any]], types: Sequence[TensorType] = (), flags: Sequence[bool] = ()
) -> list[Seen]:
    """What a part's values are, found by tracing it for nothing, on tensors of these types."""
    seen: list[Seen] = []

    def run(*tensors: Tensor) -> tuple[()]:
        seen[:] = [described(value) for value in part(*tensors)]  # it may be traced more than once
        arguments = {tensor._memory: index for index, tensor in enumerate(tensors)}
        for each in seen:
            each.origins = [origins(leaf, arguments) for leaf in each.objects]
        return ()

    trace_inner("probe", run, types, flags)
    return seen
