"""Calls of compiled functions served natively: positional arguments, none of them nested, results one or a tuple.

Around nested arguments and results, and named ones, Python takes the leaves apart and puts them together.

The Python path finds the program for a call; when it has served a kind of call twice, the program, what its guards
compare and where its results go become a signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit import trees
from adjit.autograd.record import Record, close
from adjit.call import Call
from adjit.compiler.entry import known as k
from adjit.entry import Entry
from adjit.ir.shape import evaluate
from adjit.ir.types import U16, TensorType
from adjit.native.entry import native_entry
from adjit.native.guards import guards_of
from adjit.native.install import install
from adjit.native.operation import put_into
from adjit.native.program import Watched
from adjit.native.signature import Operand, Signature, is_plain, operand_for, work_of
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
        self._entry = entry = native_entry() if install() else None
        self.table = None if entry is None else entry.new_compiled_table()
        self.nested: dict[Any, Any] = {}  # by the arguments' structure: a builtin function of the leaves
        self._tables: dict[Any, np.ndarray] = {}
        self._signatures: list[tuple[Signature, np.ndarray]] = []
        self._served: dict[int, list[np.ndarray]] = {}
        self._attempts: dict[Any, int] = {}
        if self.table is not None:
            compiled._table = self.table

    def calls(self, entry: Entry) -> int:
        """How many calls a program served without Python."""
        return sum(int(words[k.CALLS]) for words in self._served.get(id(entry), ()))

    def call_nested(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a call by way of its leaves; NotImplemented where no signature fits."""
        leaves, structure = trees.flatten((args, kwargs), none_is_leaf=True)
        function = self.nested.get(structure)
        found = NotImplemented if function is None else function(*leaves)
        return found if found is NotImplemented else trees.unflatten(found[0], found[1:])

    def _table_of(self, structure: Any) -> np.ndarray:
        """The table for leaves of nested arguments."""
        table = self._tables.get(structure)
        if table is None:
            assert self._entry is not None
            table = self._tables[structure] = self._entry.new_compiled_table()
            table[k.SLOW] = table[k.MISS] = id(_decline)
            self.nested[structure] = self._entry.function("leaves", "", table)
        return table

    def learn(self, entry: Entry, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Make a signature of calls like this one, which gave `result`, if the native entry can serve them."""
        if self.table is None or len(self._signatures) >= _LIMIT:
            return
        flat = not kwargs and len(args) == len(call.leaves) and _is_flat_result(entry)
        if not flat:
            args = tuple(trees.leaves_of((args, kwargs), none_is_leaf=True))
        key = (id(entry), call.key, call.shapes)
        attempts = self._attempts.get(key, 0)
        if attempts == _ATTEMPTS or len(self._attempts) > 4 * _LIMIT:
            return
        self._attempts[key] = attempts + 1
        if entry.differentiable and STATE.recording:
            signature = _recorded_signature(entry, call, args, result) if flat else None
        else:
            signature = _signature(entry, call, args, flat=flat)
        words = None if signature is None else signature.words()
        if words is not None and signature is not None:
            signature.kept.append(entry)
            table = self.table if flat else self._table_of(call.structure)
            put_into(table, words, args, signature.needs, None, fixed=True)
            self._signatures.append((signature, words))
            self._served.setdefault(id(entry), []).append(words)


def _decline(*_: Any) -> Any:
    return NotImplemented


def _is_flat_result(entry: Entry) -> bool:
    structure = entry.structure
    return structure.is_leaf() or (structure.type is tuple and all(child.is_leaf() for child in structure.children()))


def _signature(entry: Entry, call: Call, args: tuple[Any, ...], *, flat: bool) -> Signature | None:
    executable = entry.executables.get("forward")
    executable = getattr(executable, "native", executable)  # a checked program: Python serves the call that it refuses
    if not isinstance(executable, Executable) or not _is_flat(call, args) or call.aliases or entry.coinciding:
        return None
    fresh = _fresh(entry)
    inputs = _inputs(entry, call)
    outputs = _outputs(entry, call, args, fresh, flat=flat)
    guards = guards_of(entry)
    if inputs is None or outputs is None or guards is None or len(fresh) > k.MOST_RESULTS:
        return None
    written, gradients = _written(entry), _gradients(entry, fresh)
    if written is None or gradients is None:
        return None
    shapes = tuple(
        call.shapes[source.index] if source.kind == "argument" else tuple(evaluate(dim, {}) for dim in value.dims)
        for value, source in zip(entry.graph.inputs, entry.sources, strict=True)
    )
    native = executable.native_call(shapes)
    if native is None:
        return None
    values = [entry.graph.outputs[index] for index in fresh]
    if any(value.dtype is U16 for value in values):  # its arrays carry a mark that the native entry does not make
        return None
    results = [TensorType(v.dtype, shape) for v, (shape, _) in zip(values, native.results, strict=True)]
    needs = sum((isinstance(x, Tensor) and x.requires_grad) << i for i, x in enumerate(args)) if STATE.recording else 0
    apart = np.array([len(entry.memories), *map(id, entry.memories)], np.uint64)
    signature = Signature(
        [_operand(x) for x in args], needs + k.IN_RECORDING * STATE.recording, executable, inputs, outputs[0], shapes,
        results, work_of(entry.graph, bind_sizes(entry.graph, shapes)), None, guards.block(), apart,
        kept=[guards.kept, guards.checks, entry.memories, outputs[1]],
    )  # fmt: skip
    signature.written = written if entry.graph.writes else None
    signature.gradients = gradients if entry.grads else None
    return signature


def _recorded_signature(entry: Entry, call: Call, args: tuple[Any, ...], result: Any) -> Signature | None:
    """The signature of calls that record a node: functions of their arguments alone with one tensor as result."""
    graph = entry.graph
    if not _is_flat(call, args) or call.aliases or graph.writes or entry.grads or entry.hooked is not None:
        return None
    is_function = all(source.kind == "argument" for source in entry.sources)
    if not is_function or len(graph.outputs) > 1 or not entry.structure.is_leaf() or not isinstance(result, Tensor):
        return None
    node = None if result._value is None else result._value.node
    record = None if node is None else node.attached
    if node is None or not isinstance(record, Record) or not isinstance(record.custom, CompiledPullback):
        return None
    executable = entry.executables.get(record.custom.needs)
    inputs, guards = _inputs(entry, call), guards_of(entry)
    if not isinstance(executable, Executable) or inputs is None or guards is None:
        return None
    shapes = tuple(call.shapes[source.index] for source in entry.sources)
    native = executable.native_call(shapes)
    values = executable.graph.outputs
    if native is None or len(values) > k.MOST_RESULTS or any(value.dtype is U16 for value in values):
        return None
    results = [TensorType(v.dtype, shape) for v, (shape, _) in zip(values, native.results, strict=True)]
    # What the backward program takes is a result of the forward program, or an operand; no operand is taken for one.
    saved = [(item.array if item.memory is None else _NONE, type)
             for item, type in zip(record.saved, results[1:], strict=True)]  # fmt: skip
    made = Watched(args, [], result, extra=saved)
    recorded = made.templates([node])
    if recorded is None or len(made.extra) > len(saved):
        return None
    needs = sum((isinstance(x, Tensor) and x.requires_grad) << i for i, x in enumerate(args))
    return Signature(
        [_operand(x) for x in args], needs + k.IN_RECORDING, executable, inputs, (k.A_RESULT, 0, 0), shapes, results,
        work_of(graph, bind_sizes(graph, shapes)), recorded, guards.block(), tensors=1,
        kept=[guards.kept, guards.checks, made.kept],
    )  # fmt: skip


_NONE = np.empty(0)


def _fresh(entry: Entry) -> dict[int, int]:
    """The program's outputs that are new arrays, not written to an input: by their index, their number."""
    targets = {output for _, output in entry.graph.writes}
    return {index: n for n, index in enumerate(i for i in range(len(entry.graph.outputs)) if i not in targets)}


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


def _is_flat(call: Call, args: tuple[Any, ...]) -> bool:
    """Whether the arguments are the leaves, and all arrays can be read where they stand."""
    if len(args) != len(call.leaves) or len(args) > k.MOST_OPERANDS:
        return False
    for arg, leaf in zip(args, call.leaves, strict=True):
        if isinstance(arg, (Tensor, np.ndarray)):
            if not is_plain(arg) or type(arg) not in _plain_types():
                return False
            if isinstance(arg, Tensor) and arg._grad is not None:
                return False
        elif arg is not leaf:
            return False
    return True


def _plain_types() -> tuple[type, ...]:
    from adjit.nn.parameter import Parameter

    return (Tensor, Parameter, np.ndarray)


def _operand(value: Any) -> Operand:
    operand = operand_for(value, fixed=True)
    if isinstance(value, Tensor):
        operand.requires_grad, operand.leaf = id(bool(value.requires_grad)), id(bool(value._leaf))
    return operand


def _inputs(entry: Entry, call: Call) -> list[tuple[int, int]] | None:
    """Where the program's inputs come from."""
    places = [place for place, leaf in enumerate(call.leaves) if isinstance(leaf, Tensor)]
    found: list[tuple[int, int]] = []
    readers = 0
    for source in entry.sources:
        if source.kind == "argument":
            found.append((k.FROM_OPERAND, places[source.index]))
            continue
        if source.kind == "scalar" and source.read is not None:
            readers += 1
            found.append((k.FROM_READER, id(source.read)))
            continue
        array = None if source.memory is None else source.memory.array
        if source.kind != "tensor" or array is None or not is_plain(array):
            return None
        found.append((k.FROM_ADDRESS, word_at(id(array) + DATA)))
    return found if readers <= k.MOST_NUMBERS else None


Output = tuple[int, int, int]


def _outputs(
    entry: Entry, call: Call, args: Sequence[Any], fresh: dict[int, int], *, flat: bool
) -> tuple[list[Output] | Output, list[Any]] | None:
    """What the call returns, and what must be kept for it; around leaves the structure comes first."""
    places = [place for place, leaf in enumerate(call.leaves) if isinstance(leaf, Tensor)]
    found: list[Output] = []
    kept: list[Any] = []
    for output in entry.outputs:
        told = 0
        if output.fault is not None:  # the result cannot be gone back from, and says why
            kept.append(partial(close, name=output.name, fault=output.fault))
            told = id(kept[-1])
        match output.kind:
            case "graph" if output.index in fresh:
                found.append((k.A_RESULT, fresh[output.index], told))
            case "argument" if isinstance(args[places[output.index]], Tensor):
                found.append((k.AN_OPERAND, places[output.index], 0))
            case "tensor":
                found.append((k.AN_OBJECT, id(output.tensor), 0))
            case "static":
                found.append((k.AN_OBJECT, id(output.value), 0))
            case _:
                return None
    if not flat:
        return [(k.AN_OBJECT, id(entry.structure), 0), *found], [*kept, entry.structure]
    return (found[0] if entry.structure.is_leaf() else found), kept
