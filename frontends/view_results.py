"""Results of compiled functions that are views of arguments or of captured tensors: made again after each call.

A trace keeps for each view the step that made it.  After a call the steps from the tensor that they begin at are taken
again in eager mode, on the memory as the call left it, with the history that eager mode records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adjit.autograd.record import detach
from adjit.autograd.tape import TraceNode, Watch
from adjit.computed_views import is_computed
from adjit.dispatch import apply
from adjit.ir.analysis import substitute_attribute
from adjit.ir.frozen import frozen
from adjit.ir.graph import Attribute
from adjit.ir.primitive import Primitive
from adjit.state import STATE
from adjit.tensor import Chain, Tensor
from adjit.views import strides, view, viewable_strides

if TYPE_CHECKING:
    from adjit.trace import Tracer

_MARKS = ("_several", "_made_in")  # of views that may not be written in place


@frozen
class Step:
    """One view of another tensor: its operation, PyTorch's name of it, and whether it was recorded."""

    op: Primitive
    attributes: dict[str, Attribute]
    name: str
    recording: bool
    marks: dict[str, Any]


def replayed(tensor: Tensor, steps: Sequence[Step], sizes: Mapping[str, int]) -> Tensor:
    """The view of `tensor` that the steps make, each recorded where it was in the trace."""
    before = STATE.recording
    try:
        for step in steps:
            STATE.recording = step.recording
            tensor = _applied(step, tensor, sizes)
    finally:
        STATE.recording = before
    return tensor


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


def steps_of(chain: Chain) -> tuple[Step, ...]:
    """The steps of a chain of views that is not recorded."""
    return tuple(Step(op, dict(items), "", False, {}) for op, items in chain)


def steps_from_outside(tracer: Tracer, leaf: Tensor) -> tuple[Tensor, tuple[Step, ...]] | None:
    """The argument's or captured tensor that a result is a view of, as the trace knows it, and the steps from there.

    None where the result is no such view, or its gradients go another way.
    """
    steps: list[Step] = []
    tensor, chain = leaf, leaf._chain
    while (made := tensor.__dict__.get("_made_by")) is not None:
        source, name, recording = made
        if not chain or tensor._chain != chain or _is_watched(tensor):
            return None
        op, items = chain[-1]
        if is_computed(chain[-1:]):
            return None
        maker = None if tensor._value is None or tensor._value.node is None else tensor._value.node.attached
        name = maker.name if isinstance(maker, TraceNode) else name  # several views may be named anew, together
        marks = {key: tensor.__dict__[key] for key in _MARKS if key in tensor.__dict__}
        steps.append(Step(op, dict(items), name, recording, marks))
        tensor, chain = source, chain[:-1]
    origin = _origin(tracer, tensor)
    if not steps or origin is None or tensor._chain != chain or chain != first_chain(tracer, tensor):
        return None  # computed in the trace, or changed in place into another view
    if leaf.requires_grad and not _keeps_history(tracer, origin, steps):
        return None
    return tensor, tuple(reversed(steps))


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


def _keeps_history(tracer: Tracer, origin: Tensor, steps: list[Step]) -> bool:
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
