"""Tensors on one memory that the functions of a region use: where one of them is written, all are views of the whole.

A region takes each outer tensor as an operand by its value.  That is wrong as soon as a write to one of them has to be
seen through another: then the memory itself is the operand, and the tensors are views of it inside the region.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from adjit.links import linked_with
from adjit.memory import Memory
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.trace_parts import Cell

if TYPE_CHECKING:
    from adjit.trace import Tracer

Place = Cell | Memory


def place_of(tracer: Tracer | None, tensor: Tensor) -> tuple[Place, Tensor]:
    """The memory of a tensor as the innermost trace knows it that does, and the tensor that stands for it there."""
    from adjit.inner_trace import InnerTracer

    while tracer is not None:
        tensor = tracer.stands_for(tensor) if isinstance(tracer, InnerTracer) else tracer.proxies.get(tensor, tensor)
        cell = tracer.cells.get(tensor._memory)
        if cell is not None:
            return cell, tensor
        tracer = tracer.parent
    return tensor._memory, tensor


def wholes(captured: Iterable[Tensor], written: Iterable[Tensor]) -> dict[int, Tensor]:
    """A tensor on the whole of each memory that is written and used by several tensors, by the memory's identity."""
    groups: dict[int, dict[int, tuple[Place, Tensor]]] = {}
    for tensor in captured:
        place = place_of(STATE.tracer, tensor)
        groups.setdefault(id(place[0]), {})[id(tensor)] = place
    changed = {id(place_of(STATE.tracer, tensor)[0]) for tensor in written}
    several = {key: [*group.values()] for key, group in groups.items() if len(group) > 1 and key in changed}
    return {key: _whole(group[0][0], [tensor for _, tensor in group]) for key, group in several.items()}


def _whole(place: Place, tensors: list[Tensor]) -> Tensor:
    """A tensor on all of the memory that these show: one of them or their base, where that does."""
    for tensor in (*tensors, *(tensor._base for tensor in tensors)):
        if tensor is not None and not tensor._chain and place_of(STATE.tracer, tensor)[0] is place:
            return tensor
    memory, tracer = tensors[0]._memory, tensors[0]._tracer
    if tracer is not None and isinstance(place, Cell):
        return tracer.tensor_in(place.value, memory, ())
    return Tensor._wrap(memory.array, memory.dtype, memory=memory)


def tied_among(written: Iterable[Tensor]) -> list[Tensor]:
    """Those of the tensors that may be one memory (links.py): all functions of a region must take them, to leave them
    alike."""
    places = {id(place_of(STATE.tracer, tensor)[0]): tensor for tensor in written}
    found: dict[int, Tensor] = {}
    for key, tensor in places.items():
        tied = linked_with(place_of(STATE.tracer, tensor)[0]).keys() - {key}
        if not tied.isdisjoint(places):
            found[key] = tensor
    return list(found.values())
