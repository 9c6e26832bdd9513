"""Plans of backward passes: a pass that came back several times becomes one program.

The program is the nodes' pullbacks in the order in which the engine ran them, strictly compiled, so that gradients have
the same bits.  The native entry compares each tape with the plans and runs the one that it follows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adjit.autograd.engine import saves_number
from adjit.autograd.record import Record, Watch
from adjit.compiler.entry import known as k
from adjit.ir.builder import Builder
from adjit.ir.errors import CompileError
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.ops.scalar import add
from adjit.ir.primitive import primitive_named
from adjit.ir.types import TensorType
from adjit.native.entry import Entry, address
from adjit.native.signature import UNSERVED, Signature, work_of

# A tape becomes a plan when it came this often, and once more for every few of its nodes: a larger one takes longer to
# compile.
_TIMES, _NODES_PER_TIME = 3, 8
_MOST_NODES, _MOST_PLANS = 400, 256


class Plans:
    """The plans of this process, and how often tapes came that have none."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._seen: dict[Any, int] = {}
        self._plans: list[Any] = []

    def watch(self, order: list[Node], root: Value) -> None:
        """Note a pass that was run node by node; its graph may have been freed."""
        if not 0 < len(order) <= _MOST_NODES or len(self._plans) >= _MOST_PLANS or root.type.size != 1:
            return
        entries = [node.attached for node in order]
        key = (root.type, *(id(entry.pullback) for entry in entries if isinstance(entry, Record)))
        if len(self._seen) > 1024:
            self._seen.clear()
        self._seen[key] = count = self._seen.get(key, 0) + 1
        if count == _TIMES + len(order) // _NODES_PER_TIME:
            self._add(order, root)

    def _add(self, order: list[Node], root: Value) -> None:
        tape = _Tape(order, root)
        if not tape.is_plain():
            return
        try:
            block = tape.plan()
        except CompileError:  # what the native backend cannot do is done node by node
            return
        if block is not None:
            block[k.P_NEXT] = self._entry.known[k.PLANS]
            self._entry.known[k.PLANS] = address(block)
            self._plans.append((tape, block))


class _Tape:
    """The recorded nodes of a pass, in the order in which cotangents went through them."""

    def __init__(self, order: list[Node], root: Value) -> None:
        self.root = root
        self.order = order
        self.kept: list[Any] = []
        self.numbers = {node: number for number, node in enumerate(order)}
        self.leaves: dict[Value, int] = {}
        for node in order:
            for index in self.record(node).reached:
                value = node.inputs[index]
                if value.node is None:
                    self.leaves.setdefault(value, len(self.leaves))

    def record(self, node: Node) -> Record:
        assert isinstance(node.attached, Record)
        return node.attached

    def is_plain(self) -> bool:
        """Whether every node can be run unseen, in floats that the native entry makes results of."""
        for node in self.order:
            entry = self.record(node)
            if entry.pullback is None or entry.custom is not None or entry.hooks or entry.fault is not None:
                return False
            for index in entry.reached:
                producer = node.inputs[index].node
                if producer is not None and producer not in self.numbers:
                    return False
        values = [value for node in self.order for value in (*node.inputs, *node.outputs)]
        if any(value.dtype in UNSERVED for value in values) or not self.leaves:
            return False
        return all(isinstance(value.attached, Watch) for value in self.leaves)

    def graph(self) -> tuple[Graph, list[TensorType]] | None:
        """The program: the seed and the saved values to the leaves' gradients; None where a cotangent is missing."""
        graph = Graph("backward")
        builder = Builder(graph)
        cotangents: dict[Value, Value] = {self.root: builder.input(self.root.type)}
        call = primitive_named("call")
        saved: list[TensorType] = []
        for node in self.order:
            entry = self.record(node)
            pullback = entry.pullback
            assert pullback is not None
            given = [cotangents.pop(node.outputs[index], None) for index in entry.seeded]
            types = [value.type for value in pullback.inputs[len(given) :]]
            saved += types
            operands = [*given, *(builder.input(type) for type in types)]
            if any(operand is None for operand in operands):
                return None
            found = builder.emit(call, operands, {"callee": pullback}).outputs  # type: ignore[arg-type]
            for index, cotangent in zip(entry.reached, found, strict=True):
                value = node.inputs[index]
                present = cotangents.get(value)
                total = cotangent if present is None else builder.emit(add, [present, cotangent], {}).output
                cotangents[value] = total
        if set(cotangents) != set(self.leaves):
            return None
        graph.outputs = tuple(cotangents[value] for value in self.leaves)
        return graph, saved

    def plan(self) -> np.ndarray | None:
        """The block that the native entry reads."""
        from adjit.compiler.compile import compile_graph

        made = self.graph()
        if made is None:
            return None
        graph, saved = made
        executable = compile_graph(graph, strict=True, quick=False)
        shapes = tuple(value.type.dims for value in graph.inputs)
        results = [value.type for value in graph.outputs]
        signature = Signature([], 0, executable, [], [], shapes, results, work_of(graph, {}))  # type: ignore[arg-type]
        words = signature.words()
        native = executable.native_call(shapes)  # type: ignore[arg-type]
        if words is None or native is None:
            return None
        seed = np.ones(1, self.root.dtype.storage)
        block = np.zeros(k.PLAN_WORDS, np.uint64)
        block[k.P_SIGNATURE], block[k.P_SEED] = address(words), address(seed)
        block[k.P_ROOT] = self._list(self._array_words([self.root.type]))
        block[k.P_NODES], block[k.P_LEAVES], block[k.P_SAVED] = len(self.order), len(self.leaves), len(saved)
        block[k.P_STEPS] = self._list([word for node in self.order for word in self._step(node)])
        for place, size in (
            (k.P_NODE_ROOM, len(self.order)), (k.P_LEAF_ROOM, len(self.leaves)), (k.P_ARRAY_ROOM, len(saved)),
            (k.P_TABLE, native.entries), (k.P_RESULT_ROOM, len(results)),
        ):  # fmt: skip
            block[place] = self._list([0] * size)
        self.kept += [signature, words, seed, block]
        self._forget_data()
        return block

    def _forget_data(self) -> None:
        """Keep pullbacks and types, but no tensor, of the tape that the plan was made from."""
        self.kept += [self.record(node).pullback for node in self.order]
        self.order, self.numbers, self.leaves = [], {}, {}
        self.root = Value(self.root.type)

    def _step(self, node: Node) -> list[int]:
        entry = self.record(node)
        pullback = entry.pullback
        assert pullback is not None
        operands: list[int] = []
        for index, value in enumerate(node.inputs):
            if index not in entry.reached:
                operands += [k.NOT_REACHED, 0, 0]
            elif value.node is None:
                operands += [k.TO_LEAF, self.leaves[value], 0]
            else:
                operands += [k.TO_NODE, self.numbers[value.node], value.index]
        types = [value.type for value in pullback.inputs[len(entry.seeded) :]]
        return [
            id(pullback), len(node.outputs), len(node.inputs), self._list(operands), len(types),
            self._list(self._array_words(types)), int(bool(types) or saves_number(node)),
        ]  # fmt: skip

    def _array_words(self, types: list[TensorType]) -> list[int]:
        """What arrays of these types look like, as operands of a signature do."""
        words: list[int] = []
        for type in types:
            self.kept.append(type.dtype.storage)
            words += [k.IS_ARRAY, 0, id(type.dtype.storage), len(type.dims), self._list(type.dims), 0, 0, 0]
        return words

    def _list(self, words: Any) -> int:
        block = np.array([int(word) for word in words] or [0], np.uint64)
        self.kept.append(block)
        return address(block)
