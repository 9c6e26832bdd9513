"""A program's run as a list of steps, forwards and backwards at will: what a debugger moves in.

The program goes through the compiler's stages, and its kernels run as they are; each operation in a kernel is a step,
with the bits that the compiled run computed (see observe.py).  Loops are unrolled: a step in one says the turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjit.compiler.build import build
from adjit.compiler.loops.ir import FUSE
from adjit.compiler.loops.lower import lower
from adjit.compiler.observe import Observer, Values, same_bits
from adjit.compiler.prepare import prepare
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.printer import value_names

Array = NDArray[Any]
# The most turns of one loop that are kept.
MOST_TURNS = 1000


@dataclass(frozen=True, slots=True)
class Step:
    """One operation that ran: `kernel` counts kernels in program order (None for control flow), `turns` the loops
    around it, outermost first; `values` are those of its frame."""

    node: Node
    kernel: int | None
    turns: tuple[int, ...]
    values: Values


@dataclass(slots=True)
class Replay:
    """A program's steps in the order of its kernels.

    `graph` is the program with kernels opened, whose values the steps compute; `inexact` are the kernels for which
    storing what they compute on the way gave other bits than the compiled run has.
    """

    graph: Graph
    names: dict[Value, str]
    inputs: Values
    steps: list[Step]
    results: list[Array]
    inexact: list[int] = field(default_factory=list)


def replay(graph: Graph, arrays: Sequence[Array], *, strict: bool, threads: int | None = None) -> Replay:
    """The run of a traced graph on these inputs; nothing is written."""
    prepared = prepare(graph)
    reading = Graph(
        graph.name, prepared.inputs, prepared.nodes, prepared.outputs, prepared.guards, approximate=graph.approximate
    )
    run = build(lower(reading, strict=strict), strict=strict, threads=threads)
    recorder = _Recorder(Observer(prepared, strict=strict, threads=threads))
    recorder.observer.begin(arrays)
    flat = recorder.opened(prepared)
    steps: list[Step] = []
    stored = recorder.record(prepared, arrays, (), steps, {})
    found = [stored[value] if value.constant is None else _number(value) for value in prepared.outputs]
    wanted = run.run(arrays)
    if not all(same_bits(a, b) for a, b in zip(found, wanted, strict=True)):
        recorder.inexact.append(-1)
    whole = Graph(graph.name, flat.inputs, flat.nodes, flat.outputs, prepared.guards, graph.writes, graph.approximate)
    inputs = dict(zip(flat.inputs, arrays, strict=True))
    return Replay(whole, value_names(whole), inputs, steps, wanted, recorder.inexact)


def _number(value: Value) -> Array:
    return np.asarray(value.constant, value.dtype.storage)


class _Recorder:
    """Opens kernels, and runs them step by step."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.inexact: list[int] = []
        self.kernels: dict[Node, int] = {}
        self.copies: dict[Node, Node] = {}  # by a node inside a kernel or a region, that of the opened program
        self.values: dict[Value, Value] = {}

    # -- opening kernels ----------------------------------------------------------------------------------------------
    def opened(self, region: Region) -> Region:
        """The region with what its kernels compute in their place."""
        inputs = [self.fresh(value) for value in region.inputs]
        nodes: list[Node] = []
        for node in region.nodes:
            if node.op is FUSE:
                (group,) = node.regions
                self.kernels[node] = len(self.kernels)
                self.values.update(zip(group.inputs, (self.values[v] for v in node.inputs), strict=True))
                nodes += [self.copy(inner, ()) for inner in group.nodes]
                self.values.update(zip(node.outputs, (self.values[v] for v in group.outputs), strict=True))
            else:
                nodes.append(self.copy(node, [self.opened(inner) for inner in node.regions]))
        return Region(inputs, nodes, [self.values.get(value, value) for value in region.outputs])

    def fresh(self, value: Value) -> Value:
        made = self.values[value] = Value(value.type, value.name)
        return made

    def copy(self, node: Node, regions: Sequence[Region]) -> Node:
        inputs = [self.values.get(value, value) for value in node.inputs]
        made = Node(node.op, inputs, node.attributes, [v.type for v in node.outputs], node.location, regions)
        for old, new in zip(node.outputs, made.outputs, strict=True):
            new.name = old.name
            self.values[old] = new
        self.copies[node] = made
        return made

    # -- running ------------------------------------------------------------------------------------------------------
    def record(
        self, graph: Graph, arrays: Sequence[Array], turns: tuple[int, ...], steps: list[Step], outer: Values
    ) -> Values:
        """Run a graph, and note the steps; what it stores."""
        stored = self.observer.stored(graph, arrays)
        frame: Values = dict(outer)
        frame.update((self.values[value], array) for value, array in stored.items() if value in self.values)
        for node in graph.nodes:
            operands = [stored[v] if v.constant is None else _number(v) for v in node.inputs]
            if node.op is FUSE:
                (group,) = node.regions
                inside = self.observer.inside(group, operands)
                number = self.kernels[node]
                pairs = zip(group.outputs, node.outputs, strict=True)
                if number not in self.inexact and not all(same_bits(inside[a], stored[b]) for a, b in pairs):
                    self.inexact.append(number)
                for inner, value in zip(group.outputs, node.outputs, strict=True):
                    inside[inner] = stored[value]
                frame.update((self.values[value], array) for value, array in inside.items())
                nodes = [n for n in group.nodes if n.op.name != "const"]
                steps += [Step(self.copies[inner], number, turns, frame) for inner in nodes]
            elif node.op.name != "const":
                steps.append(Step(self.copies[node], None, turns, frame))
                if node.regions:
                    self.loop(node, operands, turns, steps, frame)
        return stored

    def loop(
        self, node: Node, operands: Sequence[Array], turns: tuple[int, ...], steps: list[Step], frame: Values
    ) -> None:
        """Note the steps inside a loop or a branch, turn after turn."""
        turn = [0]

        def program(region: Region) -> Callable[..., tuple[Array, ...]]:
            body = self.observer.body(region)

            def run(*given: Array) -> tuple[Array, ...]:
                inner = turns if node.op.name == "cond" else (*turns, turn[0])
                noted = steps if turn[0] < MOST_TURNS else []
                found = self.record(body, [np.asarray(array, order="C") for array in given], inner, noted, frame)
                turn[0] += region is node.regions[-1]
                return tuple(found[v] if v.constant is None else _number(v) for v in region.outputs)

            return run

        node.op.reference(*operands, regions=tuple(map(program, node.regions)), **self.observer.attributes(node))
