"""The signature of an operation that serves calls of all sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit.compiler.entry import known as k
from adjit.compiler.particular import with_carriers
from adjit.ir.errors import AdjitError
from adjit.ir.shape import Dim, Size, evaluate, product
from adjit.native.any_size import AnySize, at_any_size
from adjit.native.kernels import kernel_of, program_of_steps
from adjit.native.opening import sum_of_sizes
from adjit.native.operation import call_guards, is_servable, new_tensors, reads_by_stride
from adjit.native.program import Watched
from adjit.native.signature import Operand, Signature, operand_for
from adjit.native.view_words import view_blocks
from adjit.native.watching import example, unlikely
from adjit.native.words import address
from adjit.tensor import Tensor
from adjit.trees import flatten

if TYPE_CHECKING:
    from adjit.runtime.executable import Executable

# The most elements of an example.
_MOST_ELEMENTS = 1 << 20
# Sizes of examples, which are unlike those that functions mention.
_EXAMPLES = (37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149)


def open_signature(
    call: Callable[[Sequence[Any]], Any],
    operands: Sequence[Any],
    sizes: Sequence[tuple[Size, ...] | None],
    needs: int,
    *,
    fixed: bool,
) -> Signature | None:
    """The signature of calls with operands like these, open in `sizes`; None where Python serves them.

    `call` does what one does with leaves in their places; numbers are `fixed` to be these.
    """
    for hints in _hints(operands, sizes):
        if sum(prod(evaluate(size, hints) for size in own or ()) for own in sizes) > _MOST_ELEMENTS:
            continue
        examples = [
            unlikely(x, place, free=True) if type(x) is float and not fixed else _example(x, own, hints)
            for place, (x, own) in enumerate(zip(operands, sizes, strict=True))
        ]
        found = at_any_size(call, examples, sizes, hints)
        if found is not None:
            try:
                return _signature(found, examples, sizes, needs, fixed=fixed)
            except (AdjitError, KeyError, ValueError):  # a size that nothing tells, or that the backend needs
                return None
    return None


def _hints(operands: Sequence[Any], sizes: Sequence[tuple[Size, ...] | None]) -> list[dict[str, int]]:
    """Numbers for the open sizes: unlikely ones, and those of this call, if they differ."""
    present: dict[str, int] = {}
    for x, own in zip(operands, sizes, strict=True):
        extents = x._array.shape if isinstance(x, Tensor) else (x,)  # type: ignore[union-attr]
        present.update((size.single, extent) for size, extent in zip(own or (), extents, strict=False)
                       if isinstance(size, Dim))  # fmt: skip
    if len(present) > k.MOST_SIZES:
        return []
    taken = {size for own in sizes for size in own or () if isinstance(size, int)}
    unlikely = [number for number in _EXAMPLES if number not in taken]
    found = [dict(zip(present, unlikely, strict=False))] if len(present) <= len(unlikely) else []
    if len({*present.values()}) == len(present):
        found.append(present)
    return found


def _example(x: Any, own: tuple[Size, ...] | None, hints: dict[str, int]) -> Any:
    """An operand of the example."""
    if own is None:
        return x
    shape = tuple(evaluate(size, hints) for size in own)
    return example(x, shape=shape) if isinstance(x, Tensor) else shape[0]


def _signature(
    found: AnySize, examples: Sequence[Any], sizes: Sequence[tuple[Size, ...] | None], needs: int, *, fixed: bool
) -> Signature | None:
    seen, opening = found.seen, found.opening
    assert seen is not None
    returned, structure = flatten(seen.result)
    operands = tuple(examples)
    results = new_tensors(returned, operands, or_all=True)
    watched = Watched(
        operands, seen.steps, results, returned, structure, (), seen.literals, any_size=found, any_whole=not fixed
    )
    if not fixed and watched.converted():
        return None
    for guard in found.tracer.guards:
        opening.guard(guard)
    views = view_blocks(watched)
    if reads_by_stride(seen) or (not views and not is_servable(watched)):
        return None
    recorded = None
    if any(tensor.requires_grad for tensor in results) and seen.steps:
        recorded = watched.recorded()
        if recorded is None:
            return None
    plan = watched.plan()
    if plan is None:
        return None
    wanted = _wanted(operands, sizes, fixed=fixed or bool(views))
    opening.binding([
        own if isinstance(x, Tensor) or (own is not None and isinstance(own[0], Dim)) else None
        for x, own in zip(operands, sizes, strict=True)
    ])  # fmt: skip
    if views:
        views = [_open_view(watched, found, result, block) for result, block in zip(results, views, strict=True)]
        for operand, x in zip(wanted, operands, strict=True):
            operand.in_order = isinstance(x, Tensor)
        return Signature(
            wanted, needs, None, plan, recorded=recorded, views=views, kept=[watched.kept], opening=opening
        )
    made = _program(watched, found, fixed=fixed)
    if made is None:
        return None
    opening.executable, inputs, types = made
    return Signature(
        wanted, needs, opening.executable, plan, inputs, (), types, 0, recorded, call_guards(watched),
        tensors=len(results), kept=[watched.kept], opening=opening,
    )  # fmt: skip


def _wanted(operands: Sequence[Any], sizes: Sequence[tuple[Size, ...] | None], *, fixed: bool) -> list[Operand]:
    """What the signature wants of each operand."""
    wanted = []
    for x, own in zip(operands, sizes, strict=True):
        is_open = own is not None and isinstance(own[0] if own else 0, Dim)
        operand = operand_for(x, fixed=fixed or is_open)
        if isinstance(x, Tensor):
            assert own is not None
            assert x._array is not None
            operand.dims, operand.nbytes = own, product(own) * x._array.itemsize
        elif is_open and own is not None:
            operand.what = own[0]
        wanted.append(operand)
    return wanted


def _program(
    watched: Watched, found: AnySize, *, fixed: bool
) -> tuple[Executable, list[tuple[int, int]], list[Any]] | None:
    """The program for all sizes, its inputs, and the types of its results."""
    opening = found.opening
    (step, *rest) = watched.steps
    made = kernel_of(watched, fixed=(float, int) if fixed else ()) if not rest and step.op.family == "scalar" else None
    if made is not None:
        dims = max((found.type_of(x).dims for x in step.operands if isinstance(x, Tensor)), key=len)
        executable, inputs, _, _ = made
        opening.work = product(dims)
        opening.program = {name: opening.work for name in executable.layout.sizes}
        return executable, inputs, [found.type_of(result) for result in watched.results]
    if not fixed and any(type(x) in (int, float) for x in watched.operands):
        return None
    graph = watched.graph()
    if graph is None:
        return None
    graph.guards = tuple(found.tracer.guards)
    graph, carriers = with_carriers(graph)
    program = program_of_steps(watched, graph)
    if program is None:
        return None
    opening.work = sum_of_sizes(graph)
    inputs = [*program[1], *[(k.FROM_ADDRESS, address(opening.words))] * carriers]  # which nothing reads
    return program[0], inputs, [value.type for value in graph.outputs]


def _open_view(watched: Watched, found: AnySize, result: Tensor, block: np.ndarray) -> np.ndarray:
    """The block of a result that shows an operand in order, for all sizes.  Errors: ValueError for what has none."""
    if int(block[k.VIEW_RANK]) >= 1 << 63:  # the operand itself
        return block
    words: list[Any] = block.tolist()
    operand = watched.operands[int(block[k.VIEW_OPERAND])]
    words[k.VIEW_SIZES], words[k.VIEW_STRIDES], words[k.VIEW_OFFSET] = found.places_of(result, operand)
    words[k.VIEW_TYPE], words[k.VIEW_CHAIN] = id(None), found.opening.content(found.traced(result)._chain)
    return found.opening.block(words)
