"""Calls of compiled functions served natively: arguments by position and by name, nested ones, and nested results.

The Python path finds the program for a call; when it has served a kind of call twice, the program, what its guards
compare and where its results go become a signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit import trees
from adjit.autograd.tape import Recorded
from adjit.call import Call, captured_are_as_traced
from adjit.compiler.entry import known as k
from adjit.entry import Entry
from adjit.ir.graph import Node
from adjit.ir.shape import evaluate
from adjit.ir.types import U16, TensorType
from adjit.native.guards import guards_of
from adjit.native.install import served_entry
from adjit.native.operands import Lifted, Operands, plain_number
from adjit.native.outcome import Outcome, copies_of, fresh_results, gradient_words, inputs_of, written_words
from adjit.native.signature import Signature, work_of
from adjit.native.table import FEW, Table
from adjit.native.tapes import record_of
from adjit.native.templates import Templates
from adjit.native.words import address, mixed
from adjit.running import CompiledPullback
from adjit.runtime.executable import Executable
from adjit.runtime.interpreter import bind_sizes
from adjit.state import STATE
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.jit import CompiledFunction

# Kinds of call of one function, and attempts to serve one of them.
_LIMIT, _ATTEMPTS = 1024, 4


class NativeCalls:
    """The signatures of one compiled function."""

    def __init__(self, compiled: CompiledFunction) -> None:
        entry = served_entry()
        self._signatures = None if entry is None else Table(entry.new_compiled_table(), _LIMIT)
        self._lifted: list[Lifted] = []
        self._lifted_words: np.ndarray | None = None
        if entry is not None and self._signatures is not None:
            compiled._table = self._signatures.words
            entry.serve_calls(compiled)

    def calls(self, entry: Entry) -> int:
        """How many calls the signatures that are there served by a program."""
        return 0 if self._signatures is None else self._signatures.calls(entry)

    def learn(self, entry: Entry, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Make a signature of calls like this one, which gave `result`, if the native entry can serve them."""
        table = self._signatures
        if table is None or not (lock := table.lock).acquire(blocking=False):
            return
        try:
            self._learn(table, entry, call, args, kwargs, result)
        finally:
            lock.release()

    def _learn(
        self, table: Table, entry: Entry, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        if entry.onward:  # autograd's Python code goes on after the call
            return
        if any(effect.owner >= 0 for effect in entry.effects):  # the arguments are no longer what they were
            return
        if _is_quick(entry, result):
            return
        attempts = table.times((id(entry), call.key, call.shapes))
        # The first few kinds are served when they come first, others when they come again.
        if attempts > _ATTEMPTS or (attempts == 1 and len(table) >= FEW):
            return
        if entry.aliases or not all(entry.layouts.values()):
            return
        given = tuple(map(plain_number, args)), {name: plain_number(value) for name, value in kwargs.items()}
        operands = Operands(call, *given, entry)
        # Guards compare with what stands there now: that must be what the trace relied on.
        if not operands.fit or not entry.environment.holds() or not captured_are_as_traced(entry):
            return
        self._lift(table, operands.lifted)
        hashed = operands.values
        if not operands.take(self._lifted) or not table.has_room():
            return
        if _is_recorded(entry):
            signature = _recorded_signature(entry, call, operands, result)
        else:
            signature = _signature(entry, call, operands, result)
        if signature is not None:
            signature.structure, signature.owner = operands.structure, entry
            signature.kept.append(operands)
            table.put(signature, hashed, signature.needs)

    def _lift(self, table: Table, places: Sequence[Lifted]) -> None:
        """Let the table lift these places, too; signatures of calls without them are learnt again."""
        known = {lifted.words for lifted in self._lifted}
        fresh = [lifted for lifted in places if lifted.words not in known]
        if fresh:
            self._lifted += fresh
            flat = [len(self._lifted), *(word for lifted in self._lifted for word in lifted.words)]
            table.forget()
            words = np.array(flat, np.uint64)
            table.words[k.LIFTED] = address(words)
            self._lifted_words = words  # the ones before go when nothing points at them


def _is_recorded(entry: Entry) -> bool:
    return entry.differentiable and STATE.recording


def _is_quick(entry: Entry, result: Any) -> bool:
    """Whether the program that gave `result` runs quick code still, whose address native calls are not to keep."""
    if not any(isinstance(each, Executable) and each.is_quick for each in entry.executables.values()):
        return False
    found = _program_of(entry, _node_of(_tensors_of(entry, result)) if _is_recorded(entry) else None)
    return found is not None and found.is_quick


def _node_of(results: dict[int, Tensor]) -> Node | None:
    """The node that a call recorded, of which `results` are those that are tensors."""
    node = next((t._value.node for t in results.values() if t.requires_grad and t._value is not None), None)
    record = None if node is None else node.attached
    return node if isinstance(record, Recorded) and isinstance(record.custom, CompiledPullback) else None


def _program_of(entry: Entry, node: Node | None) -> Executable | None:
    """The program that served a call which recorded `node`, or nothing."""
    if node is None:
        found = entry.executables.get("forward")
        found = getattr(found, "native", found)  # a checked program: Python serves the call that it refuses
    else:
        custom = record_of(node).custom
        found = entry.executables.get(custom.needs) if isinstance(custom, CompiledPullback) else None
    return found if isinstance(found, Executable) else None


def _signature(entry: Entry, call: Call, operands: Operands, result: Any) -> Signature | None:
    executable = _program_of(entry, None)
    if executable is None or entry.coinciding:
        return None
    shapes = _shapes(entry, call)
    sizes = bind_sizes(entry.graph, shapes)
    fresh = fresh_results(entry.graph)
    outcome = Outcome(entry, operands, fresh, sizes)
    inputs, plan, guards = inputs_of(entry, operands, outcome.kept), outcome.plan(result), guards_of(entry)
    if inputs is None or plan is None or guards is None or len(fresh) > k.MOST_RESULTS:
        return None
    wanted = operands.wanted()
    written, gradients = written_words(entry, operands, wanted), gradient_words(entry, operands, fresh)
    if written is None or gradients is None:
        return None
    native = executable.native_call(shapes)
    if native is None:
        return None
    values = [entry.graph.outputs[index] for index in fresh]
    if any(value.dtype is U16 for value in values):  # its arrays carry a mark that the native entry does not make
        return None
    results = [TensorType(v.dtype, shape) for v, (shape, _) in zip(values, native.results, strict=True)]
    needs = operands.needs() if STATE.recording else 0
    signature = Signature(
        wanted, needs + k.IN_RECORDING * STATE.recording, executable, plan, inputs, shapes, results,
        work_of(entry.graph, sizes), None, guards.block(), _apart(entry),
        kept=[guards, entry.memories, outcome.kept],
    )  # fmt: skip
    signature.written = written if entry.graph.writes else None
    signature.gradients = gradients if entry.grads else None
    given = {fresh[output] for _, output in entry.grads if output is not None}
    signature.bare = {*range(len(results))} - outcome.tensors - given
    return signature


def _recorded_signature(entry: Entry, call: Call, operands: Operands, result: Any) -> Signature | None:
    """The signature of calls that record a node, of which `result` is one's."""
    if entry.coinciding or entry.grads or entry.histories or entry.hooked is not None or not operands.all_marked:
        return None
    results = _tensors_of(entry, result)
    if any(output.choices and output.requires_grad and output.index not in results for output in entry.all_outputs()):
        return None  # this call did not return what the program computed
    node = _node_of(results)
    executable = None if node is None else _program_of(entry, node)
    if node is None or executable is None:
        return None
    record = record_of(node)
    shapes = _shapes(entry, call)
    sizes = bind_sizes(entry.graph, shapes)
    values, shown = fresh_results(executable.graph), fresh_results(entry.graph)
    outcome = Outcome(entry, operands, shown, sizes)
    inputs, plan, guards = inputs_of(entry, operands, outcome.kept), outcome.plan(result), guards_of(entry)
    wanted = operands.wanted()
    written = written_words(entry, operands, wanted)
    if inputs is None or plan is None or guards is None or written is None:
        return None
    captured = [source.tensor for source in entry.sources if source.kind == "tensor" and source.tensor is not None]
    if any(tensor._base is not None or tensor._chain for tensor in captured):
        return None
    for tensor in captured:
        guards.slot(tensor, "_leaf")
    native = executable.native_call(shapes)
    if native is None or any(executable.graph.outputs[index].dtype is U16 for index in values):
        return None
    types = [TensorType(executable.graph.outputs[index].dtype, shape)
             for index, (shape, _) in zip(values, native.results, strict=True)]  # fmt: skip
    overwritten = dict.fromkeys(position for position, _ in entry.graph.writes)
    types += [TensorType(record.full[n].dtype, record.full[n].array.shape) for n in overwritten]
    if len(types) > k.MOST_RESULTS:
        return None
    count = len(entry.graph.outputs)
    made = {index: record.full[len(entry.sources) + index] for index in shown}
    arrays = [(record.full[position].array, len(values) + n) for n, position in enumerate(overwritten)]
    arrays += [(made[index].array, number) for index, number in shown.items()]
    arrays += [(held.array, values[count + n]) for n, held in enumerate(record.saved) if count + n in values]
    # A result that the call gave as a number has no tensor: one without history stands for it.
    tensors = [results[n] if n in results else Tensor._wrap(held.array, held.dtype) for n, held in made.items()]
    templates = Templates(operands.values, tensors, captured=captured, arrays=arrays)
    recorded = templates.block([node])
    if recorded is None:
        return None
    signature = Signature(
        wanted, operands.needs() + k.IN_RECORDING, executable, plan, inputs, shapes, types,
        work_of(entry.graph, sizes), recorded, guards.block(), _apart(entry),
        tensors=len(shown), kept=[guards, entry.memories, outcome.kept, templates],
    )  # fmt: skip
    signature.written = written if entry.graph.writes else None
    signature.copies = copies_of(entry, operands, [held.array for held in record.full])
    return signature


def _tensors_of(entry: Entry, result: Any) -> dict[int, Tensor]:
    """The tensors among a call's results that the program computed, by the number of its output."""
    leaves = trees.flatten(result, none_is_leaf=True)[0]
    pairs = zip(entry.outputs, leaves, strict=True)
    found = {output.index: leaf for output, leaf in pairs if output.kind == "graph" and isinstance(leaf, Tensor)}
    chosen = {output.index for output in entry.outputs if output.choices}
    return {index: leaf for index, leaf in found.items() if index not in chosen or _is_made(entry, leaf)}


def _is_made(entry: Entry, tensor: Tensor) -> bool:
    """Whether a recorded result is one that the program computed, not another tensor that it is instead."""
    node = None if tensor._value is None else tensor._value.node
    record = None if node is None else node.attached
    custom = record.custom if isinstance(record, Recorded) else None
    return isinstance(custom, CompiledPullback) and custom.entry is entry and not tensor._chain


def _shapes(entry: Entry, call: Call) -> tuple[tuple[int, ...], ...]:
    """The shapes of the program's inputs."""
    return tuple(
        call.shapes[source.index] if source.kind == "argument" else tuple(evaluate(dim, {}) for dim in value.dims)
        for value, source in zip(entry.graph.inputs, entry.sources, strict=True)
    )


def _apart(entry: Entry) -> np.ndarray:
    """Whether different operands must not share memory; then a hash table of the memories that none may stand in, half
    full at most, after its mask."""
    mask = (1 << (2 * len(entry.memories)).bit_length()) - 1
    table = [0] * (mask + 1)
    for memory in entry.memories:
        place = mixed(1, id(memory) >> 4) & mask
        while table[place]:
            place = (place + 1) & mask
        table[place] = id(memory)
    return np.array([bool(entry.changed), mask, *table], np.uint64)
