"""Views at places that a trace computes: `y[i]` with an index that is known only when the program runs.

Such a view is a gather of the memory's current value, and a write to it scatters; its places are values of the program,
which the chain of the view keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from adjit.dims import shape_of
from adjit.dispatch import apply
from adjit.ir.graph import Value
from adjit.ir.ops.indexing import gather as gather_op
from adjit.ir.primitive import Primitive, primitive_named
from adjit.positions import index_error, positions
from adjit.state import STATE, user_location
from adjit.tensor import Chain, Tensor

if TYPE_CHECKING:
    from adjit.trace import Tracer

_NORMAL = ("add", "cast", "lt", "where")  # what makes the normal form of an index
PLACES = "places"  # the item of a chain's step that holds the values which say where


def shown_at(input: Tensor, at: Sequence[tuple[int, Tensor]]) -> Tensor:
    """The view of a traced tensor at one place of each of some axes, which are dropped."""
    places = tuple(positions(place, input, axis, index_error, negative=True) for axis, place in at)
    assert STATE.tracer is not None
    attributes: dict[str, Any] = {"axes": tuple(axis for axis, _ in at), PLACES: places}
    return STATE.tracer.view(gather_op, input, attributes, "Select")


def step_of(items: Sequence[tuple[str, Any]]) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """The attributes of a chain's step, and the values that say where."""
    attributes = dict(items)
    return attributes, attributes.pop(PLACES, ())


def along(tracer: Tracer, value: Value, chain: Chain) -> Value:
    """What a chain of views shows of a memory's value."""
    tracer.builder.location = user_location()
    for op, items in chain:
        attributes, places = step_of(items)
        (value,) = tracer.emit(op, [value, *places], attributes)
    return value


def applied(op: Primitive, tensor: Tensor, items: Sequence[tuple[str, Any]]) -> Tensor:
    """A step of a chain as an operation on a tensor."""
    attributes, places = step_of(items)
    found: Tensor = apply(op, (tensor, *_wrapped(places)), attributes)
    return found


def overwritten(outer: Tensor, new: Tensor, axes: Sequence[int], places: Sequence[Value]) -> Tensor:
    """`outer` after its view at these places was overwritten by `new`."""
    found: Tensor = apply(primitive_named("scatter_set"), (outer, new, *_wrapped(places)), {"axes": tuple(axes)})
    return found


def is_computed(chain: Chain) -> bool:
    """Whether a chain of views shows what lies at computed places."""
    return any(op is gather_op for op, _ in chain)


def is_at(value: Any, viewed: Tensor, at: Sequence[tuple[int, Tensor]]) -> bool:
    """Whether a tensor is the very view of another at these places: `y[i] += 1` ends in a write of `y[i]` to itself."""
    from adjit.one_memory import place_of

    if not isinstance(value, Tensor) or not is_computed(value._chain[-1:]):
        return False
    viewed = place_of(STATE.tracer, viewed)[1]
    if value._memory is not viewed._memory:
        return False
    attributes, places = step_of(value._chain[-1][1])
    if value._chain[:-1] != viewed._chain or attributes["axes"] != tuple(axis for axis, _ in at):
        return False
    assert STATE.tracer is not None
    wanted = [positions(place, viewed, axis, index_error, negative=True) for axis, place in at]
    return all(_is_same(STATE.tracer.value_of(one), other) for one, other in zip(wanted, places, strict=True))


def _is_same(one: Value, other: Value, depth: int = 4) -> bool:
    """Whether two values are computed alike, as far as the normal form of an index goes."""
    if one is other:
        return True
    if one.constant is not None or other.constant is not None:
        return one.constant == other.constant and one.type == other.type
    a, b = one.node, other.node
    if a is None or b is None or not depth or a.op is not b.op or a.attributes != b.attributes:
        return False
    if a.op.name not in _NORMAL:
        return False
    return all(_is_same(x, y, depth - 1) for x, y in zip(a.inputs, b.inputs, strict=True))


def _wrapped(places: Sequence[Value]) -> list[Tensor]:
    return [] if STATE.tracer is None else [STATE.tracer.wrap(place) for place in places]


def is_place(item: Any) -> TypeGuard[Tensor]:
    """Whether an index item is a tensor of one integer, which counts as an int."""
    return isinstance(item, Tensor) and item._dtype.is_integer and item._dtype.name != "u8" and not shape_of(item)


def are_places(at: Sequence[tuple[int, Tensor]]) -> bool:
    """Whether what a trace takes of some axes is one place of each."""
    return bool(at) and STATE.tracer is not None and all(is_place(item) for _, item in at)
