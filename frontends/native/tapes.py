"""The programs of a backward pass: the pullbacks of a tape's nodes, in the order in which cotangents go through them.

Pullbacks of eager operations become one strict program, so that gradients have the same bits as node by node.  That of
a compiled function is the program that it has; before and after it others may run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from adjit.autograd.engine import nodes_leading_to
from adjit.autograd.tape import Recorded, Watch
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.ops.scalar import add
from adjit.ir.primitive import primitive_named
from adjit.ir.shape import evaluate
from adjit.ir.types import TensorType
from adjit.native.signature import UNSERVED_TOGETHER
from adjit.running import CompiledPullback
from adjit.runtime.executable import Executable
from adjit.runtime.interpreter import bind_sizes


@dataclass(slots=True, eq=False)
class Cotangent:
    """A cotangent on its way: `part` makes it, as `value` of its graph; the seed comes from none."""

    type: TensorType
    part: Part | None = None
    value: Value | None = None

    def leave(self) -> None:
        """Make it a result of its part."""
        if self.part is not None and self not in self.part.results:
            self.part.results.append(self)


@dataclass(slots=True, eq=False)
class Part:
    """One program: `inputs` are cotangents and numbers of saved values, `results` the cotangents that leave it.

    Without an `executable` it is one to be compiled, from `graph`.
    """

    executable: Executable | None = None
    inputs: list[Cotangent | int] = field(default_factory=list)
    types: list[TensorType] = field(default_factory=list)
    results: list[Cotangent] = field(default_factory=list)
    graph: Graph = field(default_factory=lambda: Graph("backward"))

    def take(self, item: Cotangent | int, type: TensorType) -> Value:
        """The value of a cotangent, or of a saved value, in the part's graph."""
        if isinstance(item, Cotangent):
            if item.part is self:
                assert item.value is not None
                return item.value
            item.leave()
        self.inputs.append(item)
        self.types.append(type)
        return Builder(self.graph).input(type)

    def zero(self, type: TensorType) -> Cotangent:
        """The cotangent of a result that nothing was made of."""
        builder = Builder(self.graph)
        value = builder.constant(0, type.dtype)
        if type.dims:
            value = builder.emit(primitive_named("expand"), [value], {"shape": type.dims}).outputs[0]
        return Cotangent(type, self, value)

    def emitted(self, values: Sequence[Value]) -> list[Cotangent]:
        """The cotangents that operations of the part's graph made."""
        return [Cotangent(value.type, self, value) for value in values]

    def compiled(self) -> Executable:
        """The program.  CompileError where the native backend has none."""
        if self.executable is None:
            from adjit.compiler.compile import compile_graph

            self.graph.outputs = tuple(cotangent.value for cotangent in self.results if cotangent.value is not None)
            self.executable = compile_graph(self.graph, strict=True, quick=False)
        assert self.executable is not None
        return self.executable


class Tape:
    """The recorded nodes of a pass that began at `root`, with a cotangent of 1 or, `seeded`, with a given one.

    Its gradients are those of all leaves, or of the targets, which are leaves.
    """

    def __init__(
        self, order: list[Node], root: Value, targets: Sequence[Value] | None = None, *, seeded: bool = False
    ) -> None:
        self.root = root
        self.order = order
        self.targets = targets
        self.seeded = seeded

    @cached_property
    def useful(self) -> set[Node]:
        """The nodes that lead to the gradients that are wanted."""
        return set(self.order) if self.targets is None else nodes_leading_to([self.root], set(self.targets))

    @cached_property
    def numbers(self) -> dict[Node, int]:
        """The places of the nodes in their order."""
        return {node: number for number, node in enumerate(self.order)}

    @cached_property
    def leaves(self) -> dict[Value, int]:
        """The leaves in the order in which they are first reached."""
        found: dict[Value, int] = {}
        for node in self.order:
            for index in record_of(node).reached:
                value = node.inputs[index]
                if value.node is None:
                    found.setdefault(value, len(found))
        return found

    def is_plain(self) -> bool:
        """Whether every node can be run unseen, in floats that the native entry makes results of."""
        for node in self.order:
            entry = record_of(node)
            if entry.sizes is not None or entry.pullback is None or entry.hooks or entry.fault is not None:
                return False
            if entry.custom is not None and executable_of(entry) is None:
                return False
            for index in entry.reached:
                producer = node.inputs[index].node
                if producer is not None and producer not in self.numbers:
                    return False
        values = [value for node in self.order for value in (*node.inputs, *node.outputs)]
        if any(value.dtype in UNSERVED_TOGETHER for value in values) or not self.leaves:
            return False
        return all(isinstance(value.attached, Watch) for value in self.leaves)

    def wanted(self) -> list[Value]:
        """The leaves whose gradients are wanted, each once."""
        return list(self.leaves if self.targets is None else dict.fromkeys(self.targets))

    def parts(self) -> tuple[list[Part], list[Cotangent]] | None:
        """The programs in order, and the leaves' gradients; None where a cotangent is missing."""
        parts: list[Part] = []
        cotangents: dict[Value, Cotangent] = {self.root: Cotangent(self.root.type)}
        saved = 0
        for node in self.order:
            entry = record_of(node)
            part = _part_for(entry, parts)
            given = [cotangents.pop(node.outputs[index], None) for index in entry.seeded]
            if None in given and part.executable is not None:
                return None
            given = [part.zero(node.outputs[i].type) if c is None else c
                     for i, c in zip(entry.seeded, given, strict=True)]  # fmt: skip
            types = saved_types(node)
            operands: list[Any] = [*given, *range(saved, saved + len(types))]
            saved += len(types)
            all_types = [*(node.outputs[index].type for index in entry.seeded), *types]
            values = [part.take(item, type) for item, type in zip(operands, all_types, strict=True)]
            if entry.custom is None:
                call = Builder(part.graph).emit(primitive_named("call"), values, {"callee": entry.pullback})
                found = part.emitted(call.outputs)
            else:
                found = part.results = [Cotangent(node.inputs[index].type, part) for index in entry.reached]
            for index, cotangent in zip(entry.reached, found, strict=True):
                value = node.inputs[index]
                present = cotangents.get(value)
                cotangents[value] = cotangent if present is None else _sum(present, cotangent, parts)
        if set(cotangents) != set(self.leaves):
            return None
        gradients = [cotangents[value] for value in self.wanted()]
        for cotangent in gradients:
            cotangent.leave()
        return parts, gradients


def _part_for(entry: Recorded | None, parts: list[Part]) -> Part:
    """The part that a node's pullback joins: one of its own for a compiled function, else the last."""
    custom = None if entry is None else executable_of(entry)
    if custom is not None or not parts or parts[-1].executable is not None:
        parts.append(Part(custom))
    return parts[-1]


def _sum(present: Cotangent, cotangent: Cotangent, parts: list[Part]) -> Cotangent:
    part = _part_for(None, parts)
    operands = [part.take(item, item.type) for item in (present, cotangent)]
    return part.emitted(Builder(part.graph).emit(add, operands, {}).outputs)[0]


def whole_tape(root: Value) -> list[Node]:
    """All recorded nodes behind a value, the last recorded first."""
    found: set[Node] = set()
    waiting = [root.node]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found and isinstance(node.attached, Recorded):
            found.add(node)
            waiting += [node.inputs[index].node for index in node.attached.reached]
    return sorted(found, key=lambda node: -record_of(node).sequence)


def record_of(node: Node) -> Recorded:
    """Autograd's part of a recorded node."""
    assert isinstance(node.attached, Recorded)
    return node.attached


def executable_of(entry: Recorded) -> Executable | None:
    """The program of a compiled function's pullback; None where only Python runs it."""
    custom = entry.custom
    if not isinstance(custom, CompiledPullback) or custom.hooked:
        return None
    found = custom.entry.executables.get(("backward", custom.needs))
    return found if isinstance(found, Executable) and not found.graph.writes else None


def saved_types(node: Node) -> list[TensorType]:
    """The types of what a node saved."""
    entry = record_of(node)
    assert entry.pullback is not None
    types = [value.type for value in entry.pullback.inputs[len(entry.seeded) :]]
    if not isinstance(entry.custom, CompiledPullback):
        return types
    sizes = bind_sizes(entry.custom.entry.graph, [tuple(evaluate(d, {}) for d in v.dims) for v in node.inputs])
    return [TensorType(type.dtype, tuple(evaluate(dim, sizes) for dim in type.dims)) for type in types]


def array_for(type: TensorType) -> np.ndarray:
    """An array that holds a cotangent between two programs."""
    return np.empty(tuple(evaluate(dim, {}) for dim in type.dims), type.dtype.storage)
