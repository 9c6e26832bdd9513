"""The kernel or program of a watched call, with the inputs that the native entry gives it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from adjit.compiler.entry import known as k
from adjit.compiler.single import as_they_stand, program_of
from adjit.ir.graph import Graph
from adjit.native.program import Watched, number_dtype, number_operand
from adjit.native.signature import RELEASED_WORK, UNSERVED_TOGETHER, is_plain, number_input, work_of
from adjit.native.standing import as_operands_stand, orders_of
from adjit.native.watching import Written
from adjit.native.words import address
from adjit.runtime.executable import Executable
from adjit.runtime.host import CHECK_PREFIX
from adjit.state import STATE
from adjit.tensor import Tensor

# How many more programs may be looked for in vain; one that is found lets another one be missed.
_MOST_HOPE = 8
_hope = _MOST_HOPE

Made = tuple[Executable, list[tuple[int, int]], tuple[tuple[int, ...], ...], int]


def kernel_of(watched: Watched, *, fixed: Collection[type]) -> Made | None:
    """The kernel of the only step, which serves all sizes and numbers; None for more steps, or a composite."""
    (step, *rest) = watched.steps
    if rest or step.op.name == "call" or watched.written or watched.extra:
        return None
    if [*map(id, step.results)] != [*map(id, watched.results)]:
        return None
    inputs: list[tuple[int, int]] = []
    arrays: list[np.ndarray] = []
    for x in step.operands:
        position = watched.position(x)
        if isinstance(x, Tensor):
            if position is None or x._array is None:
                return None
            inputs.append((k.FROM_OPERAND, position))
            arrays.append(x._array)
            continue
        array = number_operand(step, x)
        source = None if position is None or type(x) in fixed else number_input(number_dtype(step), position)
        if source is None:
            if type(x) not in fixed and position is not None:
                return None
            watched.kept.append(array)
            source = (k.FROM_ADDRESS, address(array))
        inputs.append(source)
        arrays.append(array)
    standing, attributes = as_they_stand(step.op, arrays, step.attributes)
    for place, (array, stands) in enumerate(zip(arrays, standing, strict=True)):
        if not is_plain(array) and is_plain(stands):
            inputs[place] = k.AS_IT_STANDS, inputs[place][1]
    executable, shapes = program_of(step.op, standing, attributes)
    work = max(array.size for array in (*arrays, *map(array_of, watched.results)))
    return executable, inputs, shapes, work * (32 if step.op.name == "dot" else 1)


def program(watched: Watched, *, anew: bool = True) -> Made | None:
    """The steps as one program, for these sizes, with the bits of one step after another.

    Unless it may be made `anew`, None for one that the disk cache does not have.
    """
    graph = watched.graph()
    return None if graph is None else program_of_steps(watched, graph, anew=anew)


def program_of_steps(watched: Watched, graph: Graph, *, anew: bool = True) -> Made | None:
    """The steps as one program, which is this graph."""
    from adjit.compiler.compile import compile_graph, stored_executable
    from adjit.compiler.later import works_beside
    from adjit.compiler.legalize import legalize
    from adjit.runtime.linear_algebra import ALONE

    if not all(map(may_be_written, watched.written)):
        return None
    if any(value.dtype in UNSERVED_TOGETHER for node in graph.walk() for value in (*node.inputs, *node.outputs)):
        return None
    nodes = [*legalize(graph, strict=True).walk()]
    calls = (node for node in nodes if node.op.name == "host_call")
    if not all(str(call.attributes["function"]).startswith(CHECK_PREFIX) for call in calls):
        return None  # native code would call back into Python
    factorizations = (node for node in nodes if node.op.name == "lapack" and node.attributes["routine"] in ALONE)
    if any(len(node.outputs) == 2 for node in factorizations):
        return None  # values without vectors have other bits than those with them, which Python computes
    inputs = [(k.FROM_OPERAND, position) for position, x in enumerate(watched.operands) if isinstance(x, Tensor)]
    if watched.any_size is None and not graph.writes:
        watched.orders = orders_of(graph, [array_of(x) for x in watched.operands if isinstance(x, Tensor)])
        if any(watched.orders):
            graph = as_operands_stand(graph, watched.orders)
        for place, order in enumerate(watched.orders):
            if order:
                inputs[place] = k.AS_IT_STANDS, inputs[place][1]
    shapes = tuple(value.type.dims for value in graph.inputs)
    numbers = [number_input(dtype, position) for position, dtype in watched.numbers]
    if None in numbers:
        return None
    inputs += [(k.FROM_ADDRESS, address(array_of(key))) for key in (*watched.keys, *watched.literals)]
    inputs += [number for number in numbers if number is not None]
    watched.kept += watched.literals
    work = 0 if watched.any_size is not None else work_of(graph, {})
    if watched.keys and work >= RELEASED_WORK:  # another thread could draw from the generator meanwhile
        return None
    found: Executable | None
    if anew:
        found = compile_graph(graph, strict=True, quick=works_beside(), patient=True)
    else:
        found = stored_executable(graph, strict=True, quick=works_beside())
        _note_search(found is not None)
    return None if found is None else (found, inputs, shapes, work)  # type: ignore[return-value]


def _note_search(found: bool) -> None:
    global _hope
    _hope = min(_hope + (1 if found else -1), _MOST_HOPE)


def hopes_for_stored() -> bool:
    """Whether programs may be looked for in the disk cache before they would be made: so long as many were there."""
    return _hope > 0


def array_of(tensor: Tensor) -> np.ndarray:
    """A tensor's data."""
    assert tensor._array is not None
    return tensor._array


def fits_in(result: Tensor, target: Tensor) -> bool:
    """Whether a result has the type of what it is written to."""
    return result._tensor_type == target._tensor_type


def may_be_written(each: Written) -> bool:
    """Whether the native entry may overwrite a tensor: unrecorded, by what has its type."""
    recorded = STATE.recording and (each.target.requires_grad or each.value.requires_grad)
    return not recorded and fits_in(each.value, each.target)
