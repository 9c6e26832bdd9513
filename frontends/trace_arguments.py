"""Arguments of a traced function that share memory with each other or with tensors it captures."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from adjit.computed_views import along, is_computed
from adjit.ir.errors import TraceError
from adjit.ir.frozen import frozen
from adjit.ir.shape import Size
from adjit.ir.types import TensorType
from adjit.memory import Memory
from adjit.tensor import Tensor
from adjit.trace_parts import Source
from adjit.view_strides import offset_of_chain
from adjit.views import fills, is_contiguous, moves, strides

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
    value = along(tracer, tracer.value_of(root), origin._chain)
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
            others = [tensor for tensor in tracer.captured.read if tensor._memory is origin]
            if _are_plain(tracer, tensors) and not any(tensor.requires_grad for tensor in others):
                raise Overlapping(origin)
            raise TraceError(
                "a compiled function writes to an argument that shares memory with another tensor it uses, and one of "
                "them requires grad\n  hint: pass one of them, and make the other from it inside the function"
            )


@frozen
class Window:
    """What a tensor shows of its memory, in elements."""

    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def meets_in_part(self, other: Window) -> bool:
        """Whether two tensors without gaps have some elements in common, and are not the same."""
        if self.start == other.start and self.shape == other.shape and moves(self) == moves(other):
            return False
        if not all(fills(window.shape, window.strides, 1) for window in (self, other)):
            return False
        return self.start < other.start + prod(other.shape) and other.start < self.start + prod(self.shape)


def overlap_in_part(tracer: Tracer, target: Tensor, operand: Tensor) -> bool:
    """Whether two tensors of a trace without gaps show some of the same memory, but not the same elements."""
    target, operand = tracer.inside(target), tracer.inside(operand)
    cell = tracer.cells.get(target._memory)
    if cell is None or target is operand or tracer.cells.get(operand._memory) is not cell:
        return False
    lent = [tensor for tensor in tracer.arguments if tracer.cells.get(tensor._memory) is cell and not tensor._chain]
    if not all(is_contiguous(tensor) for tensor in lent):
        return False
    one, other = (_window(cell.value.dims, tensor) for tensor in (target, operand))
    return one is not None and other is not None and one.meets_in_part(other)


def _window(dims: tuple[Size, ...], tensor: Tensor) -> Window | None:
    """What a tensor shows of memory of `dims`; None where sizes are open, or where it lies is computed."""
    if is_computed(tensor._chain):
        return None
    start, steps, shape = offset_of_chain(dims, tensor._dtype, tensor._chain), strides(tensor), tensor._tensor_type.dims
    if not all(isinstance(size, int) for size in (start, *steps, *shape)):
        return None
    return Window(start, shape, steps)  # type: ignore[arg-type]


def check_marked(tracer: Tracer, tensor: Tensor) -> None:
    """TraceError for an argument on the memory of another one, which is to require grad from here on."""
    origin = tracer.arguments[tensor][1] if tensor in tracer.arguments else tensor
    lent = tracer.lent.get(origin._memory, ())
    if origin._memory in tracer.shared or (len(lent) > 1 and _are_plain(tracer, lent)):
        raise TraceError(
            "a compiled function makes an argument require grad that shares memory with another argument\n"
            "  hint: clone() it, or let it require grad before the call"
        )


def _are_plain(tracer: Tracer, tensors: Sequence[Tensor]) -> bool:
    """Whether none of these arguments requires grad."""
    return not any(tracer.arguments[tensor][1].requires_grad for tensor in tensors)
