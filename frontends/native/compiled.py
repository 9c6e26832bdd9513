"""Calls of compiled functions served natively: arguments by position and by name, nested ones, and nested results.

The Python path finds the program for a call; when it has served a kind of call twice, the program, what its guards
compare and where its results go become a signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit import effects, trees
from adjit.autograd.record import Record, close
from adjit.call import Call
from adjit.compiler.entry import known as k
from adjit.effects import Effect, Refill
from adjit.entry import Entry, Output
from adjit.ir.graph import Graph
from adjit.ir.shape import evaluate
from adjit.ir.types import U16, TensorType
from adjit.native.entry import address, native_entry
from adjit.native.guards import guards_of, place_words
from adjit.native.install import install
from adjit.native.operation import put_into
from adjit.native.signature import Operand, Signature, is_plain, is_readable, number_input, operand_for, work_of
from adjit.native.structure import TakenApart, is_node, plan_of
from adjit.native.templates import Templates
from adjit.places import Place
from adjit.running import CompiledPullback
from adjit.runtime.executable import Executable
from adjit.runtime.interpreter import bind_sizes
from adjit.runtime.layout import DATA, word_at
from adjit.state import STATE
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.jit import CompiledFunction

# Kinds of call of one function, and attempts to serve one of them.
_LIMIT, _ATTEMPTS = 64, 4


class NativeCalls:
    """The signatures of one compiled function."""

    def __init__(self, compiled: CompiledFunction) -> None:
        entry = native_entry() if install() else None
        self.table = None if entry is None else entry.new_compiled_table()
        self._signatures: list[tuple[Signature, np.ndarray]] = []
        self._served: dict[int, list[np.ndarray]] = {}
        self._attempts: dict[Any, int] = {}
        self._lifted: list[Place] = []
        self._lifted_words: np.ndarray | None = None
        if self.table is not None:
            compiled._table = self.table

    def calls(self, entry: Entry) -> int:
        """How many calls a program served without Python."""
        return sum(int(words[k.CALLS]) for words in self._served.get(id(entry), ()))

    def learn(self, entry: Entry, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Make a signature of calls like this one, which gave `result`, if the native entry can serve them."""
        if self.table is None or len(self._signatures) >= _LIMIT:
            return
        if any(effect.owner >= 0 for effect in entry.effects):  # the arguments are no longer what they were
            return
        key = (id(entry), call.key, call.shapes)
        attempts = self._attempts.get(key, 0)
        if attempts == _ATTEMPTS or len(self._attempts) > 4 * _LIMIT:
            return
        self._attempts[key] = attempts + 1
        operands = Operands(call, args, kwargs, entry)
        if any(group.is_mixed for group in call.aliases):
            return
        if not operands.fit or not all(entry.layouts.values()) or not self._lift(call):
            return
        if entry.differentiable and STATE.recording:
            signature = _recorded_signature(entry, call, operands, result)
        else:
            signature = _signature(entry, call, operands)
        if signature is None:
            return
        signature.structure = operands.structure
        words = signature.words()
        if words is not None:
            signature.kept += [entry, operands]
            put_into(self.table, words, operands.values, signature.needs, fixed=False)
            self._signatures.append((signature, words))
            self._served.setdefault(id(entry), []).append(words)

    def _lift(self, call: Call) -> bool:
        """Whether the places that the table lifts are the call's; the first call that has some says which."""
        assert self.table is not None
        places = [place for place, _ in call.lifted]
        if places and not self._lifted:
            words = [place_words(place) for place in places]
            if None in words:
                return False
            flat = [len(words), *(word for triple in words if triple is not None for word in triple)]
            self._lifted = places
            self._lifted_words = np.array(flat, np.uint64)
            self.table[k.BUCKETS :] = 0  # signatures of calls without them
            self._signatures.clear()
            self.table[k.LIFTED] = address(self._lifted_words)
        return [place.identity for place in places] == [place.identity for place in self._lifted]


class Operands:
    """The operands of a call as the native entry sees them: the arguments, or the leaves of nested and named ones.

    What stands at lifted places follows them.

    `places` is the operand of each tensor of the call; `fit` whether all can be read where they stand; `gradients`
    whether the function takes what their gradients are.
    """

    def __init__(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], entry: Entry) -> None:
        self.gradients = entry.takes_gradients
        self.structure: list[int] | None = None
        self.values: tuple[Any, ...] = args
        order: Sequence[int] = range(len(args))
        self.fit = True
        self._kept: Any = None
        if kwargs or call.lifted or any(map(is_node, args)):
            self._kept = apart = TakenApart(args, kwargs, call.structure)
            self.structure, self.values, order = apart.words, tuple(apart.leaves), apart.order
            self.fit = apart.fits
        count = len(self.values)
        self.fit = self.fit and count == len(call.leaves) and count + len(call.lifted) <= k.MOST_OPERANDS
        if not self.fit:
            return
        lifted = [place.read() for place, _ in call.lifted]
        self.values += tuple(lifted)
        self.numbers = frozenset(place for place, leaf in enumerate(order) if leaf in call.numbers)
        self.numbers |= {count + n for n, found in enumerate(lifted) if type(found) in (int, float)}
        leaves = [*(call.leaves[leaf] for leaf in order), *(item for _, item in call.lifted)]
        pairs = enumerate(zip(self.values, leaves, strict=True))
        self.fit = all(self._can_be_read(value, leaf, place in self.numbers) for place, (value, leaf) in pairs)
        where = {leaf: place for place, leaf in enumerate(order)}
        self.places = [where[n] for n, leaf in enumerate(call.leaves) if isinstance(leaf, Tensor)]
        self.places += [count + n for n, (_, item) in enumerate(call.lifted) if isinstance(item, Tensor)]
        self.layouts = entry.layouts
        self.repeated = [group.members for group in call.aliases]
        self.types = [leaf._dtype if isinstance(leaf, Tensor) else None for leaf in leaves]

    def wanted(self) -> list[Operand]:
        """What a signature wants of each."""
        wanted = [_operand(x, n in self.numbers, self.gradients) for n, x in enumerate(self.values)]
        for first, *others in self.repeated:
            for index in others:
                wanted[self.places[index]] = Operand(k.IS_SAME, self.places[first])
        for index in self.layouts:
            wanted[self.places[index]].in_order = True
        return wanted

    def needs(self) -> int:
        """A bit for each operand whose gradient is wanted."""
        return sum((isinstance(x, Tensor) and x.requires_grad) << n for n, x in enumerate(self.values))

    def _can_be_read(self, value: Any, leaf: Any, is_number: bool) -> bool:
        if not isinstance(value, (Tensor, np.ndarray)):
            return value is leaf or is_number
        fresh = not self.gradients or not isinstance(value, Tensor) or value._grad is None
        return fresh and is_readable(value) and type(value) in _plain_types()


def _signature(entry: Entry, call: Call, operands: Operands) -> Signature | None:
    executable = entry.executables.get("forward")
    executable = getattr(executable, "native", executable)  # a checked program: Python serves the call that it refuses
    if not isinstance(executable, Executable) or entry.coinciding:
        return None
    fresh = _fresh(entry.graph)
    inputs = _inputs(entry, operands)
    kept: list[Any] = []
    plan = _plan(entry, operands, fresh, kept)
    guards = guards_of(entry)
    if inputs is None or plan is None or guards is None or len(fresh) > k.MOST_RESULTS:
        return None
    written, gradients = _written(entry), _gradients(entry, fresh)
    if written is None or gradients is None:
        return None
    shapes = _shapes(entry, call)
    native = executable.native_call(shapes)
    if native is None:
        return None
    values = [entry.graph.outputs[index] for index in fresh]
    if any(value.dtype is U16 for value in values):  # its arrays carry a mark that the native entry does not make
        return None
    results = [TensorType(v.dtype, shape) for v, (shape, _) in zip(values, native.results, strict=True)]
    needs = operands.needs() if STATE.recording else 0
    signature = Signature(
        operands.wanted(), needs + k.IN_RECORDING * STATE.recording, executable, inputs, plan, shapes, results,
        work_of(entry.graph, bind_sizes(entry.graph, shapes)), None, guards.block(), _apart(entry),
        kept=[guards.kept, guards.checks, entry.memories, kept],
    )  # fmt: skip
    signature.written = written if entry.graph.writes else None
    signature.gradients = gradients if entry.grads else None
    return signature


def _recorded_signature(entry: Entry, call: Call, operands: Operands, result: Any) -> Signature | None:
    """The signature of calls that record a node, of which `result` is one's."""
    if entry.coinciding or entry.grads or entry.hooked is not None:
        return None
    results = _tensors_of(entry, result)
    node = next((t._value.node for t in results.values() if t.requires_grad and t._value is not None), None)
    record = None if node is None else node.attached
    if node is None or not isinstance(record, Record) or not isinstance(record.custom, CompiledPullback):
        return None
    executable = entry.executables.get(record.custom.needs)
    inputs, guards, written = _inputs(entry, operands), guards_of(entry), _written(entry)
    if not isinstance(executable, Executable) or inputs is None or guards is None or written is None:
        return None
    captured = [source.tensor for source in entry.sources if source.kind == "tensor" and source.tensor is not None]
    if any(tensor._base is not None for tensor in captured):
        return None
    for tensor in captured:
        guards.slot(tensor, "_leaf")
    shapes = _shapes(entry, call)
    native = executable.native_call(shapes)
    values = _fresh(executable.graph)
    shown = _fresh(entry.graph)
    kept: list[Any] = []
    plan = _plan(entry, operands, shown, kept)
    if native is None or plan is None or any(executable.graph.outputs[index].dtype is U16 for index in values):
        return None
    if set(results) != set(shown):
        return None
    types = [TensorType(executable.graph.outputs[index].dtype, shape)
             for index, (shape, _) in zip(values, native.results, strict=True)]  # fmt: skip
    overwritten = dict.fromkeys(position for position, _ in entry.graph.writes)
    copies = [(entry.sources[position].memory, record.full[position]) for position in overwritten]
    types += [TensorType(held.dtype, held.array.shape) for _, held in copies]
    if len(types) > k.MOST_RESULTS:
        return None
    count = len(entry.graph.outputs)
    arrays = [(held.array, len(values) + n) for n, (_, held) in enumerate(copies)]
    arrays += [(record.full[len(entry.sources) + index].array, number) for index, number in shown.items()]
    arrays += [(held.array, values[count + n]) for n, held in enumerate(record.saved) if count + n in values]
    templates = Templates(operands.values, [results[index] for index in shown], captured=captured, arrays=arrays)
    recorded = templates.block([node])
    if recorded is None:
        return None
    signature = Signature(
        operands.wanted(), operands.needs() + k.IN_RECORDING, executable, inputs, plan, shapes, types,
        work_of(entry.graph, bind_sizes(entry.graph, shapes)), recorded, guards.block(), _apart(entry),
        tensors=len(shown), kept=[guards.kept, guards.checks, entry.memories, kept, templates],
    )  # fmt: skip
    signature.written = written if entry.graph.writes else None
    signature.copies = [memory.array for memory, _ in copies if memory is not None and memory.array is not None]
    return signature


def _tensors_of(entry: Entry, result: Any) -> dict[int, Tensor]:
    """The tensors among a call's results that the program computed, by the number of its output."""
    leaves = trees.flatten(result, none_is_leaf=True)[0]
    pairs = zip(entry.outputs, leaves, strict=True)
    return {output.index: leaf for output, leaf in pairs if output.kind == "graph" and isinstance(leaf, Tensor)}


def _shapes(entry: Entry, call: Call) -> tuple[tuple[int, ...], ...]:
    """The shapes of the program's inputs."""
    return tuple(
        call.shapes[source.index] if source.kind == "argument" else tuple(evaluate(dim, {}) for dim in value.dims)
        for value, source in zip(entry.graph.inputs, entry.sources, strict=True)
    )


def _apart(entry: Entry) -> np.ndarray:
    """The memories that no operand may stand in."""
    return np.array([len(entry.memories), *map(id, entry.memories)], np.uint64)


def _fresh(graph: Graph) -> dict[int, int]:
    """The program's outputs that are new arrays, not written to an input: by their index, their number."""
    targets = {output for _, output in graph.writes}
    return {index: n for n, index in enumerate(i for i in range(len(graph.outputs)) if i not in targets)}


def _written(entry: Entry) -> np.ndarray | None:
    """The memories that the program writes; None where one is an argument's, or shares its place with another input."""
    words: list[int] = [len(entry.graph.writes)]
    spans = [_span(source.memory.array) for source in entry.sources if source.memory is not None]
    for position, _ in entry.graph.writes:
        source = entry.sources[position]
        if source.kind != "tensor" or source.memory is None or source.memory.array is None:
            return None
        start, end = own = _span(source.memory.array)
        if sum(first < end and last > start for first, last in spans) != 1 or own not in spans:
            return None
        words += [id(source.memory), id(source.memory.array), source.memory.array.nbytes, source.writes]
    return np.array(words, np.uint64)


def _span(array: np.ndarray | None) -> tuple[int, int]:
    assert array is not None
    start = word_at(id(array) + DATA)
    return start, start + array.nbytes


def _gradients(entry: Entry, fresh: dict[int, int]) -> np.ndarray | None:
    """The tensors that get gradients; None where one is an argument, or the gradient no new array."""
    words: list[int] = [len(entry.grads)]
    for tensor, output in entry.grads:
        if not isinstance(tensor, Tensor) or (output is not None and output not in fresh):
            return None
        words += [id(tensor), 2**64 - 1 if output is None else fresh[output]]
    return np.array(words, np.uint64)


def _plain_types() -> tuple[type, ...]:
    from adjit.nn.parameter import Parameter

    return (Tensor, Parameter, np.ndarray)


def _operand(value: Any, is_number: bool, gradients: bool) -> Operand:
    operand = operand_for(value, fixed=not is_number)
    if isinstance(value, Tensor):
        operand.requires_grad, operand.leaf = id(bool(value.requires_grad)), id(bool(value._leaf))
        operand.gradient = id(None) * gradients
    return operand


def _inputs(entry: Entry, operands: Operands) -> list[tuple[int, int]] | None:
    """Where the program's inputs come from."""
    found: list[tuple[int, int]] = []
    numbers = 0
    for source in entry.sources:
        if source.kind == "argument":
            place = operands.places[source.index]
            own: tuple[int, int] | None = (k.FROM_OPERAND, place)
            if place in operands.numbers:
                dtype = operands.types[place]
                own = None if dtype is None else number_input(dtype, place)
                numbers += 1
            if own is None:
                return None
            found.append(own)
            continue
        if source.kind == "scalar" and source.read is not None:
            numbers += 1
            found.append((k.FROM_READER, id(source.read)))
            continue
        array = None if source.memory is None else source.memory.array
        if source.kind != "tensor" or array is None or not is_plain(array):
            return None
        found.append((k.FROM_ADDRESS, word_at(id(array) + DATA)))
    return found if numbers <= k.MOST_NUMBERS else None


def _plan(entry: Entry, operands: Operands, fresh: dict[int, int], kept: list[Any]) -> list[int] | None:
    """The plan of what the call returns; what it points to joins `kept`."""
    found: list[tuple[int, int, int]] = []
    count = len(entry.outputs)
    for output in entry.all_outputs():
        told = 0
        if output.fault is not None:  # the result cannot be gone back from, and says why
            kept.append(partial(close, name=output.name, fault=output.fault))
            told = id(kept[-1])
        match output.kind:
            case "graph" if output.index in fresh:
                found.append((k.A_RESULT, fresh[output.index], told))
            case "number" if output.index in fresh and len(found) >= count:
                found.append((k.A_RESULT, fresh[output.index], told))
            case "argument" if isinstance(operands.values[operands.places[output.index]], Tensor):
                found.append((k.AN_OPERAND, operands.places[output.index], 0))
            case "tensor":
                found.append((k.AN_OBJECT, id(output.tensor), 0))
            case "static":
                found.append((k.AN_OBJECT, id(output.value), 0))
            case _:
                return None
    result = plan_of(entry.structure, found[:count], kept)
    if result is None or not entry.effects:
        return result
    if len(found) - count >= k.MOST_PARTS:
        return None
    kept.append(partial(_finish, entry.effects, entry.all_outputs()[count:]))
    return [k.MADE_BY, 1 + len(found) - count, id(kept[-1]), *result, *(w for part in found[count:] for w in part)]


def _finish(changes: Sequence[Effect | Refill], outputs: Sequence[Output], result: Any, *parts: Any) -> Any:
    """The result of a call, after its changes of Python were made."""
    pairs = zip(outputs, parts, strict=True)
    leaves = iter([part.item() if output.kind == "number" else part for output, part in pairs])
    effects.apply(changes, (), lambda wanted: [next(leaves) for _ in wanted])
    return result
