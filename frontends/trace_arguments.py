"""Arguments of a traced function that share memory with each other or with tensors it captures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adjit.ir.errors import TraceError
from adjit.ir.types import TensorType
from adjit.memory import Memory
from adjit.tensor import Tensor
from adjit.trace_parts import Source
from adjit.views import strides

if TYPE_CHECKING:
    from adjit.trace import Tracer


class Overlapping(Exception):
    """Arguments without gradients on one memory were traced as if each had its own, and it is written: the trace starts
    again, with the memory as their input."""

    def __init__(self, memory: Memory) -> None:
        super().__init__("a write to an argument is seen through another one")
        self.memory = memory


def shared_argument(tracer: Tracer, origin: Tensor, name: str, index: int) -> Tensor:
    """A traced tensor for an argument that shares memory with another one: the memory is the input."""
    root = tracer.shared.get(origin._memory)
    if root is None:
        array = origin._memory.array
        assert array is not None
        tracer.sources.append(Source("memory", index))
        value = tracer.builder.input(TensorType(origin._memory.dtype, array.shape), name)
        root = tracer.shared[origin._memory] = tracer.wrap(value, origin=True)
        tracer.cells[origin._memory] = tracer.cells[root._memory]
    value = tracer.value_of(root)
    for op, items in origin._chain:
        value = tracer.emit(op, [value], dict(items))[0]
    tensor = tracer.tensor_in(value, root._memory, origin._chain)
    if origin._chain:
        tensor._base, tensor._seen, tensor._strides = root, root._history, strides(origin)
    tracer.arguments[tensor] = (index, origin)
    tracer.proxies[origin] = tensor
    return tensor


def check_aliases(tracer: Tracer) -> None:
    """Overlapping or TraceError where a write to one argument would have to be seen through another tensor."""
    for origin, tensors in tracer.lent.items():
        captured = tracer.cells.get(origin)
        cells = [tracer.cells[tensor._memory] for tensor in tensors]
        cells += [] if captured is None or captured in cells else [captured]
        if len(cells) > 1 and any(cell.value is not cell.original for cell in cells):
            if _are_plain(tracer, tensors):
                raise Overlapping(origin)
            raise TraceError(
                "a compiled function writes to an argument that shares memory with another tensor it uses, and one of "
                "them requires grad\n  hint: pass one of them, and make the other from it inside the function"
            )


def check_marked(tracer: Tracer, tensor: Tensor) -> None:
    """TraceError for an argument on the memory of another one, which is to require grad from here on."""
    origin = tracer.arguments[tensor][1] if tensor in tracer.arguments else tensor
    if origin._memory in tracer.shared or _are_plain(tracer, tracer.lent.get(origin._memory, ())):
        raise TraceError(
            "a compiled function makes an argument require grad that shares memory with another argument\n"
            "  hint: clone() it, or let it require grad before the call"
        )


def _are_plain(tracer: Tracer, tensors: Sequence[Tensor]) -> bool:
    """Whether several arguments share a memory, and none of them requires grad."""
    return len(tensors) > 1 and not any(tracer.arguments[tensor][1].requires_grad for tensor in tensors)
