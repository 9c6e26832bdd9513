"""Running a traced program: inputs from where they stand, results, writes and gradients to where they belong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit import effects, trees
from adjit.autograd.record import close, link, mark_leaf, save, value_of
from adjit.autograd.tape import Recorded, Saved, result_of
from adjit.body_derivative import derivative_of
from adjit.call import Call
from adjit.captured import whole_of
from adjit.dispatch import DIVISION
from adjit.entry import Entry, Output
from adjit.errors import explained, standing_at
from adjit.ir.errors import IntegerDivisionError
from adjit.ir.graph import Graph, Value, from_outputs
from adjit.ir.primitive import primitive_named
from adjit.ir.types import TensorType
from adjit.runtime.interpreter import bind_sizes
from adjit.state import STATE, user_location
from adjit.tensor import Tensor
from adjit.views import write_history

if TYPE_CHECKING:
    from adjit.compiler.differentiate import Derivative
    from adjit.jit import CompiledFunction
    from adjit.view_results import Step


# -- running --------------------------------------------------------------------------------------------------------
def inputs_of(entry: Entry, call: Call) -> list[np.ndarray]:
    """The arrays behind the inputs of a program."""
    arrays: list[np.ndarray] = []
    for source in entry.sources:
        array: np.ndarray | None
        match source.kind:
            case "argument":
                array = call.arrays[source.index]
            case "memory":
                array = call.tensors[source.index]._memory.array
            case "tensor":
                assert source.memory is not None
                array = source.memory.array
            case "grad":
                tensor = call.tensors[source.index] if source.tensor is None else source.tensor
                assert tensor._grad is not None
                array = tensor._grad._array
            case _:
                assert source.read is not None
                array = np.asarray(source.read(), np.float64)
        assert array is not None
        arrays.append(array)
    return arrays


def run_entry(compiled: CompiledFunction, entry: Entry, call: Call) -> Any:
    """The result of a call by a traced program."""
    if entry.onward:
        _check_onward(entry, call)
    arrays = inputs_of(entry, call)
    for index, value in entry.marked:
        call.tensors[index]._requires_grad = value
    try:
        tensors = _tensors(compiled, entry, call, arrays)
    except BaseException as error:
        for index, value in entry.marked:
            call.tensors[index]._requires_grad = not value
        if isinstance(error, (IndexError, ZeroDivisionError)):
            raise explained_fault(entry, arrays, error) from error
        raise
    _after(entry, call, tensors)
    leaf = partial(_leaf, entry, call, arrays, tensors)
    result = trees.unflatten(entry.structure, [leaf(output) for output in entry.outputs])
    if entry.effects:
        effects.apply(entry.effects, call.arguments, lambda found: [leaf(item) for item in found])
    for index, steps in entry.turned:
        from adjit.autograd.modes import set_grad_enabled
        from adjit.inplace import become

        with set_grad_enabled(STATE.recording and steps[0].recording):
            become(call.tensors[index], partial(_replayed, entry, arrays, call.tensors[index], steps))
    return result


def _tensors(compiled: CompiledFunction, entry: Entry, call: Call, arrays: list[np.ndarray]) -> list[Tensor]:
    """The program's outputs, recorded where gradients may be asked of them."""
    if entry.differentiable and STATE.recording:
        return _run_recorded(compiled, entry, call, arrays)
    results = executable_of(compiled, entry).run(arrays)
    return [Tensor._wrap(array, value.dtype) for array, value in zip(results, entry.graph.outputs, strict=True)]


def explained_fault(entry: Entry, arrays: Sequence[np.ndarray], error: Exception) -> Exception:
    """The error in the words of the function that it comes from; a fault leaves the inputs as they were."""
    from adjit.runtime import interpreter

    inputs = entry.graph.inputs
    for known in entry.explanations:
        graph = from_outputs("fault", list(inputs), list(known.values))
        try:
            numbers = interpreter.run(graph, *arrays)
        except IndexError:  # an earlier fault stands in the way of these numbers
            continue
        with standing_at(known.location, _types_of(known.values)):
            found = known.explain(*numbers)
        if found is not None:
            return found
    try:
        interpreter.run(entry.graph, *arrays)
    except (IndexError, ZeroDivisionError) as fault:
        node = fault.__dict__.get("node")
        if node is not None:
            with standing_at(node.location, _types_of(node.inputs)):
                return explained(type(error), str(error), hint=_FAULTS.get(type(error), ""))
    return error


def _types_of(values: Sequence[Value]) -> dict[str, TensorType]:
    return {value.name or f"operand {number}": value.type for number, value in enumerate(values)}


_FAULTS: dict[type[Exception], str] = {
    IndexError: "indices lie between 0 and the size of the axis - 1",
    IntegerDivisionError: DIVISION,
}


def _executable(compiled: CompiledFunction, entry: Entry, key: Any, graph: Graph) -> Any:
    """The program of a graph; a program that looks for NaN is another one."""
    own = compiled.nan_checks or entry.nan_checks
    checks = own or STATE.checks
    if checks is None and STATE.anomaly == (True, True):
        from adjit.compiler.llvm.emit_finite import Checks

        checks = Checks(backward=True)
    if checks is not None and checks is not own:
        key = (key, checks)
    found = entry.executables.get(key)
    if found is None:
        found = entry.executables[key] = _compile(compiled, graph, checks)
    return found


def executable_of(compiled: CompiledFunction, entry: Entry) -> Any:
    """The program of calls that record nothing."""
    return _executable(compiled, entry, "forward", entry.graph)


def _compile(compiled: CompiledFunction, graph: Graph, checks: Any) -> Any:
    if checks is not None:
        from adjit.nan_checks import checked_executable

        return checked_executable(graph, checks, strict=compiled.strict, threads=compiled.threads)
    from adjit.compiler.compile import compile_graph

    return compile_graph(graph, strict=compiled.strict, threads=compiled.threads, debug=compiled.debug_info)


def _after(entry: Entry, call: Call, tensors: Sequence[Tensor]) -> None:
    """Count the writes, hand over the gradients."""
    for position, _ in entry.graph.writes:
        source = entry.sources[position]
        writes = source.writes + (0 if source.more_writes < 0 else tensors[source.more_writes].item())
        if source.kind in ("argument", "memory"):
            call.tensors[source.index]._memory.version += writes
        elif source.memory is not None:
            source.memory.version += writes
        elif source.kind == "grad":
            tensor = call.tensors[source.index] if source.tensor is None else source.tensor
            assert tensor._grad is not None
            tensor._grad._memory.version += writes
    for target, output in entry.grads:
        tensor = call.tensors[target] if isinstance(target, int) else target
        tensor._grad = None if output is None else tensors[output]
    if entry.onward:
        from adjit.autograd import backward

        roots = [call.tensors[target] if isinstance(target, int) else target for target, _ in entry.onward]
        backward(roots, [tensors[output] for _, output in entry.onward], entry.retain_graph)


def _check_onward(entry: Entry, call: Call) -> None:
    """Raise what the pass that goes on after the call would raise, before anything is written."""
    from adjit.autograd.onward import check_call

    def tensors(targets: Sequence[tuple[Tensor | int, int]]) -> list[Tensor]:
        return [call.tensors[target] if isinstance(target, int) else target for target, _ in targets]

    sources = [entry.sources[position] for position, _ in entry.graph.writes]
    inner = ("argument", "memory")
    written = [call.tensors[s.index]._memory if s.kind in inner else s.memory for s in sources]
    check_call(tensors(entry.onward), tensors(entry.histories), [memory for memory in written if memory is not None])


def _leaf(
    entry: Entry, call: Call, arrays: Sequence[np.ndarray], tensors: Sequence[Tensor], output: Output
) -> Any:
    """A leaf of the result of a call, which ran on these arrays and gave these tensors."""
    for flag, choice in output.choices:
        if tensors[flag]._array:
            return _leaf(entry, call, arrays, tensors, choice)
    match output.kind:
        case "graph":
            tensor = tensors[output.index]
            if output.fault is not None:
                needed = [o for o in operands_of(entry, call) if o is not None and o.requires_grad]
                close(tensor, output.name, output.fault, [_history_of(o) for o in needed])
            return tensor
        case "number":
            return tensors[output.index].item()
        case "argument":
            return call.tensors[output.index]
        case "tensor":
            return output.tensor
        case "view":
            root = call.tensors[output.index] if output.tensor is None else output.tensor
            return _replayed(entry, arrays, root, output.steps, [tensors[index] for index in output.places])
    return output.value


def _history_of(operand: Tensor) -> Value:
    """The value through which gradients go to an operand."""
    return mark_leaf(operand) if operand.requires_grad and operand._leaf else value_of(operand)


def _replayed(
    entry: Entry, arrays: Sequence[np.ndarray], tensor: Tensor, steps: Sequence[Step], places: Sequence[Tensor] = ()
) -> Tensor:
    from adjit.view_results import replayed

    sizes = bind_sizes(entry.graph, [array.shape for array in arrays])
    return replayed(tensor, *places, steps=steps, sizes=sizes)


def derivative_in(entry: Entry, needs: tuple[bool, ...]) -> Derivative:
    """The forward and backward programs of an entry whose inputs need gradients where `needs` says so."""
    if entry.hooked is not None:
        return entry.hooked
    # What the call writes is no result: gradients come through the open ones alone.
    found: Derivative = derivative_of(entry.graph, needs, tuple(entry.open_outputs()))
    if entry.memory_budget is None:
        return found
    from adjit.compiler.budget import within

    return within(found, entry.memory_budget)


def derivative_at(entry: Entry, call: Call) -> Derivative | None:
    """The forward and backward programs that serve a call, where gradients may be asked of its results."""
    if not (entry.differentiable and STATE.recording):
        return None
    return derivative_in(entry, tuple(o is not None and o.requires_grad for o in operands_of(entry, call)))


def programs_of(entry: Entry, call: Call) -> dict[str, Graph]:
    """The programs that serve a call: `forward`, and `backward` where gradients may be asked of its results."""
    derivative = derivative_at(entry, call)
    if derivative is None:
        return {"forward": entry.graph}
    return {"forward": derivative.forward, "backward": derivative.backward}


def _run_recorded(
    compiled: CompiledFunction, entry: Entry, call: Call, arrays: list[np.ndarray]
) -> list[Tensor]:
    """Run the forward program with its residuals, and record one node whose pullback is the compiled backward."""
    operands = operands_of(entry, call)
    needs = tuple(operand is not None and operand.requires_grad for operand in operands)
    derivative = derivative_in(entry, needs)
    executable = _executable(compiled, entry, needs, derivative.forward)
    written = {position for position, _ in entry.graph.writes}
    before = [array.copy() if index in written else array for index, array in enumerate(arrays)]
    found = executable.run(arrays)
    count = len(entry.graph.outputs)
    results = [Tensor._wrap(a, v.dtype) for a, v in zip(found[:count], entry.graph.outputs, strict=True)]
    given = zip(operands, entry.graph.inputs, strict=True)
    values = [Value(v.type) if o is None else _history_of(o) for o, v in given]
    node = Recorded(
        "Compiled",
        primitive_named("call"),
        values,
        {"callee": entry.graph},
        [tensor._tensor_type for tensor in results],
        user_location(),
    )
    node.leaves = tuple(o for o in operands if o is not None and o.requires_grad and o._leaf)
    node.pullback, node.seeded, node.reached = derivative.backward, derivative.seeded, derivative.reached
    node.custom = entry.pullbacks.get(needs)
    if node.custom is None:
        node.custom = entry.pullbacks[needs] = CompiledPullback(compiled, entry, needs)
    link(node, results)
    place = {value: index for index, value in enumerate(entry.graph.inputs)}
    saved: list[Saved] = []
    for value, array in zip(derivative.residuals, found[count:], strict=True):
        index = place.get(value)
        operand = None if index is None else operands[index]
        if index is None or operand is None or index in written:
            kept = array if index is None else before[index]
            saved.append(Saved(kept, value.dtype, value if index is None else values[index], False, None, 0))
        else:
            saved.append(save(operand, values[index], needs[index]))
    node.saved = tuple(saved)
    taken = {output for _, output in entry.histories}  # their arrays may be written again
    node.full = tuple(
        Saved(array, dtype, held, need, None, 0)
        for array, dtype, held, need in [
            *((array, v.dtype, v, need) for array, v, need in zip(before, values, needs, strict=True)),
            *((array.copy() if i in taken else array, results[i]._dtype, result_of(node, i), True)
              for i, array in enumerate(found[:count])),
        ]
    )
    for output in entry.all_outputs():
        if output.kind in ("graph", "number") and not output.requires_grad:
            tensor = results[output.index]
            tensor._requires_grad, tensor._value, tensor._leaf = False, None, True
    for target, written_output in entry.histories:
        history = results[written_output]._value
        assert history is not None
        write_history(call.tensors[target] if isinstance(target, int) else target, history)
    for index in (i for _, i in (*entry.graph.writes, *entry.grads, *entry.onward)):
        if index is not None and index not in taken:
            results[index]._requires_grad, results[index]._value, results[index]._leaf = False, None, True
    return results


class CompiledPullback:
    """The native backward program of a compiled function."""

    __slots__ = ("__weakref__", "compiled", "entry", "hooked", "needs")

    def __init__(self, compiled: CompiledFunction, entry: Entry, needs: tuple[bool, ...]) -> None:
        self.compiled = compiled
        self.entry = entry
        self.hooked = entry.hooked is not None
        self.needs = needs

    def run(self, graph: Graph, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The backward program's results."""
        executable = _executable(self.compiled, self.entry, ("backward", self.needs), graph)
        found: Sequence[np.ndarray] = executable.run(list(arrays))
        return found

    def depends(self, arriving: Sequence[Tensor | None]) -> tuple[bool, ...]:
        """Whether each input is one that a result with a cotangent varies with: the others have no gradient."""
        forward = derivative_in(self.entry, self.needs).forward
        return _varying(forward, tuple(index for index, cotangent in enumerate(arriving) if cotangent is not None))


@lru_cache(maxsize=256)
def _varying(graph: Graph, outputs: tuple[int, ...]) -> tuple[bool, ...]:
    """Whether one of these outputs varies with each input of the graph."""
    from adjit.compiler.pullback import values_behind

    found = values_behind(graph.nodes, [graph.outputs[index] for index in outputs])
    return tuple(value in found for value in graph.inputs)


def operands_of(entry: Entry, call: Call) -> list[Tensor | None]:
    """The tensors behind the inputs, as autograd sees them."""
    found: list[Tensor | None] = []
    for source in entry.sources:
        if source.kind == "argument":
            found.append(call.tensors[source.index])
        else:
            found.append(whole_of(source) if source.kind == "tensor" else None)
    return found
