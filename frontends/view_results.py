"""Results of compiled functions that are views of arguments or of captured tensors: made again after each call.

A trace keeps for each view the step that made it.  After a call the steps from the tensor that they begin at are taken
again in eager mode, on the memory as the call left it, with the history that eager mode records.  Where a branch chose
between tensors, the program tells which of them the result is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import and_
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit.autograd.record import detach
from adjit.autograd.tape import TraceNode, Watch
from adjit.computed_views import step_of
from adjit.dispatch import apply
from adjit.ir.analysis import substitute_attribute
from adjit.ir.frozen import frozen
from adjit.ir.graph import Attribute, Value
from adjit.ir.primitive import Primitive
from adjit.ir.types import I64
from adjit.state import STATE
from adjit.tensor import Chain, Tensor
from adjit.views import strides, view, viewable_strides

if TYPE_CHECKING:
    from adjit.trace import Tracer

_MARKS = ("_several", "_made_in")  # of views that may not be written in place
_MOST_CHAINS = 4096  # some megabytes


@frozen
class Step:
    """One view of another tensor: its operation, PyTorch's name of it, and whether it was recorded.

    `places` are the values of the trace that say where it is.
    """

    op: Primitive
    attributes: dict[str, Attribute]
    name: str
    recording: bool
    marks: dict[str, Any]
    places: tuple[Value, ...] = ()


def replayed(
    tensor: Tensor, *places: Tensor, steps: Sequence[Step], sizes: Mapping[str, int]
) -> Tensor:
    """The view of `tensor` that the steps make, each recorded where it was in the trace; `places` are what a call
    computed of theirs, in order."""
    before, rest = STATE.recording, iter(places)
    try:
        for step in steps:
            if STATE.recording is not step.recording:  # a change makes native calls ask for the mode
                STATE.recording = step.recording
            tensor = _taken(step, tensor, rest) if step.places else _applied(step, tensor, sizes)
    finally:
        if STATE.recording is not before:
            STATE.recording = before
    return tensor


def _taken(step: Step, tensor: Tensor, places: Iterator[Tensor]) -> Tensor:
    """The view at computed places: one of each of some axes, or all from the first to the last of one."""
    from adjit.assignment import part_at
    from adjit.shaping import permute

    axes, numbers = step.attributes["axes"], [next(places)._array for _ in step.places]
    assert isinstance(axes, tuple)
    index: list[Any] = [slice(None)] * len(tensor._tensor_type.dims)
    for axis, number in zip(axes, numbers, strict=True):
        assert number is not None
        index[axis] = _span(number) if number.ndim else int(number)  # type: ignore[index]
    found: Tensor = tensor[tuple(index)] if tensor.requires_grad else part_at(tensor, tuple(index))
    if numbers[0].ndim and axes[0]:  # type: ignore[union-attr]
        rest = [axis for axis in range(len(index)) if axis != axes[0]]
        found = permute(found, (axes[0], *rest))
    return found


def _span(places: np.ndarray) -> slice:
    """The slice that reaches places at equal distances, of which the trace knows that they lie within the axis."""
    if not places.size:
        return slice(0, 0)
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1, max(1, (last - first) // max(1, places.size - 1)))


@frozen
class PlacedAxis:
    """An axis of which a call computes the place: how many there are, how far apart in bytes; of a span, which goes on
    step by step, how far from its first place the last is."""

    size: int
    stride: int
    reach: int


class PlacedViews:
    """Makes the views of a tensor at computed places, and keeps the chains of those that native code makes, too.

    `lengths` are of each place nothing, or how many places stand for it; `first` is the view at the first places, None
    where native code makes none; the chains stand by the number of the places, counted along the axes.
    """

    def __init__(
        self, steps: Sequence[Step], sizes: Mapping[str, int], lengths: Sequence[Sequence[int]], root: Tensor
    ) -> None:
        self._steps, self._sizes = steps, sizes
        self.axes: list[PlacedAxis] = []
        self.chains: dict[int, Chain] = {}
        self.first: Tensor | None = None
        rest, tensor = iter(lengths), root
        for step in steps:
            spans = [next(rest) for _ in step.places]
            places = [np.arange(span[0], dtype=np.int64) if span else np.zeros((), np.int64) for span in spans]
            along: Any = step.attributes["axes"] if places else ()
            for axis, place in zip(along, places, strict=True):
                array = tensor._array
                if array is None or not place.size or place.size > array.shape[axis]:
                    return
                self.axes.append(PlacedAxis(array.shape[axis], array.strides[axis], place.size - 1))
            tensor = replayed(tensor, *_wrapped(places), steps=[step], sizes=sizes)
        self.first = tensor

    def __call__(self, tensor: Tensor, *places: np.ndarray) -> Tensor:
        """The view at what a call computed."""
        found = replayed(tensor, *_wrapped(places), steps=self._steps, sizes=self._sizes)
        number = 0
        for axis, place in zip(self.axes, places, strict=True):
            first, last = int(place.flat[0]), int(place.flat[-1])
            if last - first != axis.reach:
                return found
            number = number * axis.size + first
        if len(self.chains) >= _MOST_CHAINS:
            self.chains.clear()
        self.chains[number] = found._chain[len(tensor._chain) :]
        return found


def _wrapped(places: Sequence[np.ndarray]) -> list[Tensor]:
    return [Tensor._wrap(place, I64) for place in places]


def _applied(step: Step, tensor: Tensor, sizes: Mapping[str, int]) -> Tensor:
    if step.op.name == "detach":
        return detach(tensor)
    attributes = {key: substitute_attribute(value, sizes) for key, value in step.attributes.items()}
    if step.op.name == "reshape":
        dims, shape = tensor._tensor_type.dims, attributes["shape"]
        if viewable_strides(dims, strides(tensor), shape) is None:  # type: ignore[arg-type]
            copied: Tensor = apply(step.op, (tensor,), attributes, name=step.name)
            return copied
    result = view(step.op, tensor, attributes, step.name)
    result.__dict__.update(step.marks)
    return result


_NAMES = {"slice": "Slice", "permute": "Permute", "reshape": "View", "expand": "Expand", "gather": "Select"}


def steps_of(chain: Chain, recording: bool = False) -> tuple[Step, ...]:
    """The steps of a chain of views."""
    found: list[Step] = []
    for op, items in chain:
        attributes, places = step_of(items)
        name = _NAMES.get(op.name, "AsStrided")
        if op.name == "reshape" and found and found[-1].op.name == "slice":
            name = "Select"
        found.append(Step(op, attributes, name, recording, {}, places))
    return tuple(found)


def _steps_to(leaf: Tensor) -> tuple[Tensor, tuple[Step, ...]] | None:
    """The tensor at which the steps to a view begin, and these; None where its gradients go another way."""
    steps: list[Step] = []
    tensor, chain = leaf, leaf._chain
    while (made := tensor.__dict__.get("_made_by")) is not None:
        source, name, recording = made
        if not chain or tensor._chain != chain or _is_watched(tensor):
            return None
        op, items = chain[-1]
        maker = None if tensor._value is None or tensor._value.node is None else tensor._value.node.attached
        name = maker.name if isinstance(maker, TraceNode) else name  # several views may be named anew, together
        marks = {key: tensor.__dict__[key] for key in _MARKS if key in tensor.__dict__}
        attributes, places = step_of(items)
        steps.append(Step(op, attributes, name, recording, marks, places))
        tensor, chain = source, chain[:-1]
    return (tensor, tuple(reversed(steps))) if tensor._chain == chain else None


def steps_from_outside(tracer: Tracer, leaf: Tensor) -> tuple[Tensor, tuple[Step, ...]] | None:
    """The argument's or captured tensor that a result is a view of, as the trace knows it, and the steps from there.

    None where the result is no such view, or its gradients go another way.
    """
    found = _steps_to(leaf)
    if found is None:
        return None
    tensor, steps = found
    origin = _origin(tracer, tensor)
    if not steps or origin is None or tensor._chain != first_chain(tracer, tensor):
        return None  # computed in the trace, or changed in place into another view
    if leaf.requires_grad and not _keeps_history(tracer, origin, steps):
        return None
    return tensor, steps


def choices(tracer: Tracer, leaf: Tensor) -> list[tuple[Tensor, Tensor, tuple[Step, ...]]]:
    """What a result may be of what stands outside, as the trace knows it: when, of which tensor, by which steps."""
    found = _steps_to(leaf)
    return [] if found is None or _is_watched(leaf) else _choices(tracer, *found, None)


def _choices(
    tracer: Tracer, root: Tensor, steps: tuple[Step, ...], flag: Tensor | None
) -> list[tuple[Tensor, Tensor, tuple[Step, ...]]]:
    if flag is not None and _origin(tracer, root) is not None and root._chain == first_chain(tracer, root):
        return [(flag, root, steps)]
    cell = tracer.cells.get(root._memory)
    found: list[tuple[Tensor, Tensor, tuple[Step, ...]]] = []
    for link in () if cell is None or root._chain else cell.links:
        begin = _steps_to(link.tensors[1])
        if link.copy._memory is not root._memory or link.flag is None or begin is None:
            continue
        is_so = link.flag() if flag is None else and_(flag, link.flag())
        between = steps_of(link.chain, root.requires_grad)
        found += _choices(tracer, begin[0], (*begin[1], *between, *steps), is_so)
    return found


def first_chain(tracer: Tracer, root: Tensor) -> Chain:
    """The chain that an argument's traced tensor began with, before `t_()` and the like; a captured tensor's own."""
    if root._tracer is None:
        return root._chain
    return () if root._base is None else tracer.arguments[root][1]._chain  # one input serves those that share memory


def _origin(tracer: Tracer, root: Tensor) -> Tensor | None:
    """The tensor outside that a chain begins at."""
    if root._tracer is None:
        return root
    found = tracer.arguments.get(root)
    return None if found is None else found[1]


def _keeps_history(tracer: Tracer, origin: Tensor, steps: Sequence[Step]) -> bool:
    """Whether eager mode, too, gives a view made by these steps gradients that go to the origin."""
    base = origin if origin._base is None else origin._base
    written = any(tensor is base for tensor, _, _ in tracer._undo)
    return origin.requires_grad and not written and all(step.op.name != "detach" for step in steps)


def _is_watched(tensor: Tensor) -> bool:
    """Whether hooks in the traced function see the tensor's gradient."""
    value = tensor._value
    if value is None:
        return False
    if isinstance(value.attached, Watch) and (value.attached.hooks or value.attached.retained is not None):
        return True
    maker = None if value.node is None else value.node.attached
    return isinstance(maker, TraceNode) and bool(maker.hooks)
