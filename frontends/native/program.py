"""The program of a watched call: its steps as one graph, or the kernel of its only step; and what it records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from adjit.autograd.record import Record, Recorded, Saved
from adjit.compiler.entry import known as k
from adjit.composite import derivative_of
from adjit.dispatch import _number
from adjit.ir.builder import Builder, literal_dtype
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.types import DType, TensorType
from adjit.native.entry import address
from adjit.native.watching import Step
from adjit.tensor import Tensor


@dataclass(slots=True)
class Watched:
    """A call that was watched on examples: its operands, its steps, its result.

    `arrays` finds the program's result for an array, by identity: the call's result first, then what is saved.
    """

    operands: tuple[Any, ...]
    steps: list[Step]
    result: Tensor
    kept: list[Any] = field(default_factory=list)
    extra: list[tuple[np.ndarray, TensorType]] = field(default_factory=list)

    def position(self, value: Any) -> int | None:
        """Which operand of the call an object is."""
        return next((i for i, x in enumerate(self.operands) if x is value), None)

    # -- the program ------------------------------------------------------------------------------------------------
    def graph(self) -> tuple[Graph, list[int]] | None:
        """All steps as a graph over the tensors of the call, and which operands those are; None if one is foreign."""
        graph = Graph("eager")
        builder = Builder(graph)
        positions = [i for i, x in enumerate(self.operands) if isinstance(x, Tensor)]
        tensors = [self.operands[i] for i in positions]
        values: dict[int, Value] = {id(x): builder.input(x._tensor_type) for x in tensors}
        arrays: dict[int, Value] = {}
        for step in self.steps:
            found = self._emit(builder, step, values)
            if found is None:
                return None
            results = step.result if isinstance(step.result, tuple) else (step.result,)
            for tensor, value in zip(results, found, strict=False):
                values[id(tensor)] = arrays[id(tensor._array)] = value
            arrays.update(self._residuals(step, found[len(results) :]))
        outputs = [arrays.get(id(self.result._array)), *(arrays.get(id(array)) for array, _ in self.extra)]
        if any(value is None for value in outputs):
            return None
        graph.outputs = tuple(outputs)  # type: ignore[arg-type]
        return graph, positions

    def _emit(self, builder: Builder, step: Step, values: dict[int, Value]) -> tuple[Value, ...] | None:
        operands: list[Value] = []
        for x in step.operands:
            if isinstance(x, Tensor):
                if id(x) not in values:
                    return None
                operands.append(values[id(x)])
            else:
                operands.append(builder.constant(x, _number_dtype(step)))
        attributes = step.attributes
        entry = self._record(step)
        if step.op.name == "call" and entry is not None:  # with what its backward takes
            needs = tuple(x.requires_grad for x in step.operands)
            attributes = {"callee": derivative_of(attributes["callee"], needs).forward}
        return tuple(builder.emit(step.op, operands, attributes).outputs)

    def _residuals(self, step: Step, found: Sequence[Value]) -> dict[int, Value]:
        """The results of a composite that only its backward pass takes, by the array that is saved."""
        entry = self._record(step)
        if entry is None or not found:
            return {}
        needs = tuple(x.requires_grad for x in step.operands)
        by_value = dict(zip(derivative_of(step.attributes["callee"], needs).residuals, found, strict=True))
        return {id(item.array): by_value[item.value] for item in entry.saved if item.memory is None}

    def _record(self, step: Step) -> Record | None:
        node = _node_of(step)
        return None if node is None else node.attached  # type: ignore[return-value]

    # -- what is recorded -------------------------------------------------------------------------------------------
    def recorded(self) -> np.ndarray | None:
        """The templates of the nodes that were recorded; None where they are not of the native entry's kind."""
        nodes = [node for node in map(_node_of, self.steps) if node is not None]
        if any(node.attached.custom is not None for node in nodes):  # type: ignore[attr-defined]
            return None
        return self.templates(nodes)

    def templates(self, nodes: Sequence[Node]) -> np.ndarray | None:
        """The templates of nodes, the last of which has the result."""
        if not nodes or len(nodes) > k.MOST_NODES or self.result._value not in nodes[-1].outputs:
            return None
        outputs = {node.outputs[0]: number for number, node in enumerate(nodes)}
        templates = []
        for node in nodes:
            words = self._template(node, outputs)
            if words is None:
                return None
            templates.append(words)
        return self._block([len(templates), *map(address, templates)])

    def _template(self, node: Node, outputs: dict[Value, int]) -> np.ndarray | None:
        entry = node.attached
        assert isinstance(entry, Record) and isinstance(node, Recorded)
        if entry.hooks or entry.fault is not None or node.regions or len(node.outputs) > 1:
            return None
        inputs: list[int] = [len(node.inputs)]
        for value in node.inputs:
            inputs += self._input(value, outputs)
        lists = [self._saved(node, items) for items in (entry.saved, entry.full)]
        if any(found is None for found in lists):
            return None
        words = np.zeros(k.RECORD_LIST, np.uint64)
        parts = (node.op, node.attributes, entry.name, entry.pullback, entry.seeded, entry.reached, entry.custom)
        words[: len(parts)] = [id(part) for part in parts]
        words[k.L_INPUTS] = address(self._block(inputs))
        words[k.L_SAVED], words[k.L_FULL] = (address(found) for found in lists if found is not None)
        words[k.L_REGIONS], words[k.L_TYPE] = id(node.regions), id(node.types[0])
        words[k.L_TYPES] = id(node.types)
        self.kept += [words, *parts, node.regions, node.types]
        return words

    def _input(self, value: Value, outputs: dict[Value, int]) -> list[int]:
        self.kept.append(value.type)
        if value.constant is not None:
            self.kept.append(value)
            return [k.A_LITERAL, 0, id(value)]
        if value in outputs:
            return [k.OF_NODE, outputs[value], 0]
        for position, x in enumerate(self.operands):
            if isinstance(x, Tensor) and x._value is value:
                return [k.OF_OPERAND, position, id(value.type)]
        return [k.A_FRESH_VALUE, 0, id(value.type)]

    def _saved(self, node: Node, items: Sequence[Saved]) -> np.ndarray | None:
        words: list[int] = [len(items)]
        for item in items:
            source = self._array_source(item)
            if source is None:
                return None
            if item.value in node.inputs:
                value = [k.AN_INPUT, node.inputs.index(item.value)]
            elif item.value in node.outputs:
                value = [k.THE_OUTPUT, 0]
            else:
                value = [k.A_VALUE, id(item.value)]
                self.kept.append(item.value)
            words += [*source[:2], *value, id(item.dtype), id(item.requires_grad), source[2]]
            self.kept.append(item.dtype)
        return self._block(words)

    def _array_source(self, item: Saved) -> list[int] | None:
        """Where the array of a saved value comes from; one that is no operand's becomes a result of the program."""
        for position, x in enumerate(self.operands):
            if isinstance(x, Tensor) and x._array is item.array:
                return [k.OF_TENSOR, position, 0]
        if item.array is self.result._array:
            return [k.OF_RESULT, 0, 0]
        for number, (array, _) in enumerate(self.extra):
            if array is item.array:
                return [k.OF_ARRAY, 1 + number, 0]
        seen = self._view(item.array)
        if seen is not None:
            position, makers = seen
            self.kept.append(partial(_view_of, tuple(makers)))
            return [k.OF_TENSOR, position, id(self.kept[-1])]
        if item.array.base is not None or len(self.extra) + 1 == k.MOST_RESULTS:
            return None
        self.extra.append((item.array, TensorType(item.dtype, item.array.shape)))
        return [k.OF_ARRAY, len(self.extra), 0]

    def _view(self, array: np.ndarray) -> tuple[int, list[Callable[..., Any]]] | None:
        """The operand that an array is a view of, and the functions that made it so."""
        for step in self.steps:
            if isinstance(step.result, Tensor) and step.result._array is array and step.result._base is not None:
                (source,) = step.operands
                maker = partial(step.op.reference, **step.attributes)
                position = self.position(source)
                if position is not None:
                    return position, [maker]
                before = self._view(source._array)
                return None if before is None else (before[0], [*before[1], maker])
        return None

    def _block(self, words: Sequence[int]) -> np.ndarray:
        block = np.array([word % 2**64 for word in words], np.uint64)
        self.kept.append(block)
        return block


def _node_of(step: Step) -> Node | None:
    """The node that a step recorded."""
    result = step.result
    if not isinstance(result, Tensor) or not result.requires_grad or result._value is None:
        return None
    node = result._value.node
    return node if node is not None and isinstance(node.attached, Record) else None


def _view_of(makers: tuple[Callable[..., Any], ...], array: np.ndarray) -> np.ndarray:
    """A view of a view of ... an array."""
    for maker in makers:
        array = maker(array)
    return array


def number_array(step: Step, x: Any) -> np.ndarray:
    """A number among a step's operands as the kernel takes it."""
    return _number(x, _number_dtype(step))


def _number_dtype(step: Step) -> DType:
    found = literal_dtype(step.op, [x._dtype if isinstance(x, Tensor) else None for x in step.operands])
    assert found is not None
    return found
