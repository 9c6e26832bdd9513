"""The program of a watched call: its steps as one graph, or the kernel of its only step; and what it records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from adjit.autograd.tape import Recorded
from adjit.body_derivative import bare_derivative, derivative_of
from adjit.compiler.entry import known as k
from adjit.execute import number_array
from adjit.heard_numbers import Heard
from adjit.ir.builder import Builder, literal_dtype
from adjit.ir.frozen import record
from adjit.ir.graph import Graph, Value
from adjit.ir.types import F64, DType, TensorType
from adjit.native.any_size import AnySize
from adjit.native.structure import plan_of
from adjit.native.templates import Templates, node_of
from adjit.native.watching import Step, Written, is_composite
from adjit.tensor import Tensor
from adjit.views import several


@record
class Watched:
    """A call that was watched on examples: its operands, its steps, its new tensors, and what it returned.

    `returned` are the leaves of `structure`, new tensors and operands; `extra` are arrays that are saved, which become
    further results of the program, as are `copies` of what is overwritten.  `any_size` is the same call with open
    sizes; `orders` are those of the operands' axes in memory, where the program reads some as they stand.  Floats
    among the operands that are heard are operands of the program, too: `numbers`, each with its dtype; with `any_whole`
    integers are those of kernels.
    """

    operands: tuple[Any, ...]
    steps: list[Step]
    results: list[Tensor]
    returned: list[Tensor]
    structure: Any
    written: Sequence[Written] = ()
    literals: Sequence[Tensor] = ()
    copies: Sequence[tuple[np.ndarray, np.ndarray]] = ()
    any_size: AnySize | None = None
    any_whole: bool = False
    numbers: dict[tuple[int, DType], Value] = field(default_factory=dict)
    orders: Sequence[tuple[int, ...] | None] = ()
    kept: list[Any] = field(default_factory=list)
    extra: list[tuple[np.ndarray, TensorType]] = field(default_factory=list)

    def position(self, value: Any) -> int | None:
        """Which operand of the call an object is."""
        return next((i for i, x in enumerate(self.operands) if x is value), None)

    def converted(self) -> set[type]:
        """The types of numbers among the operands that are not these alone, and that the call reads or passes over.

        An integer may be another that happens to be equal, where there are steps besides the one that it is for, or
        another of the operands.
        """
        taken = {id(x) for step in self.steps for x in (*step.operands, step.attributes.get("value"))}
        heard = [x for x in self.operands if isinstance(x, Heard)]
        kinds: set[type] = {float} if any(x.is_read or id(x) not in taken for x in heard) else set()
        if not self.any_whole:
            return kinds
        integers = [id(x) for x in self.operands if type(x) is int]
        whole = len({*integers}) < len(integers) or any(len(self.steps) > 1 or x not in taken for x in integers)
        return kinds | ({int} if whole else set())

    def plan(self) -> list[int] | None:
        """The plan of what the call returns; None for nodes that only Python puts together."""
        plan = plan_of(self.structure, [self._source(tensor) for tensor in self.returned], self.kept)
        several = self.results[0].__dict__.get("_several") if self.results else None
        if several is None or plan is None:
            return plan
        self.kept.append(partial(_marked, several.rpartition(" of ")[2]))
        return [k.MADE_BY, 1, id(self.kept[-1]), *plan]

    def _source(self, tensor: Tensor) -> tuple[int, int, int]:
        """Where a tensor that the call returns comes from."""
        number = next((n for n, result in enumerate(self.results) if result is tensor), None)
        if number is not None:
            return k.A_RESULT, number, 0
        position = self.position(tensor)
        assert position is not None
        return k.AN_OPERAND, position, 0

    # -- the program ------------------------------------------------------------------------------------------------
    @property
    def keys(self) -> list[Tensor]:
        """The generators' states that the call moves on."""
        return [each.target for each in self.written if self.position(each.target) is None]

    def graph(self) -> Graph | None:
        """All steps as a graph over the operands' tensors, the keys and the literals; None if a value is foreign."""
        graph = Graph("eager")
        builder = Builder(graph)
        tensors = [*(x for x in self.operands if isinstance(x, Tensor)), *self.keys, *self.literals]
        type_of = attrgetter("_tensor_type") if self.any_size is None else self.any_size.type_of
        values: dict[int, Value] = {id(x): builder.input(type_of(x)) for x in tensors}
        arrays: dict[int, Value] = {}
        for step in self.steps:
            found = self._emit(builder, step, values)
            if found is None:
                return None
            for tensor, value in zip(step.results, found, strict=False):
                values[id(tensor)] = arrays[id(tensor._array)] = value
            arrays.update(self._residuals(step, found[len(step.results) :]))
        arrays |= {id(copy): values[id(x)] for array, copy in self.copies for x in tensors if x._array is array}
        wanted = [*(tensor._array for tensor in self.results), *(array for array, _ in self.extra)]
        outputs = [arrays.get(id(array)) for array in wanted]
        places = {id(tensor): place for place, tensor in enumerate(tensors)}
        graph.writes = tuple((places[id(each.target)], len(outputs) + n) for n, each in enumerate(self.written))
        outputs += [arrays.get(id(each.value._array)) for each in self.written]
        if any(value is None for value in outputs):
            return None
        graph.outputs = tuple(outputs)  # type: ignore[arg-type]
        return graph

    def _emit(self, builder: Builder, step: Step, values: dict[int, Value]) -> tuple[Value, ...] | None:
        if step.op.name == "const":
            if isinstance(step.attributes["value"], complex):
                return None
            return (self._constant(builder, step.attributes["value"], step.attributes["dtype"]),)
        operands: list[Value] = []
        for x in step.operands:
            if isinstance(x, Tensor):
                if id(x) not in values:
                    return None
                operands.append(values[id(x)])
            else:
                operands.append(self._constant(builder, x, number_dtype(step)))
        attributes = step.attributes if self.any_size is None else self.any_size.attributes_of(step)
        entry = self._record(step)
        if entry is not None and is_composite(step.op, attributes):  # with what its backward takes
            needs = tuple(isinstance(x, Tensor) and x.requires_grad for x in step.operands)
            derivative = derivative_of if self.any_size is None else bare_derivative
            attributes = {"callee": derivative(attributes["callee"], needs).forward}
        return tuple(builder.emit(step.op, operands, attributes).outputs)

    def _constant(self, builder: Builder, number: Any, dtype: DType) -> Value:
        """A number: a constant, or an input where it is an operand of the call."""
        position = self.position(number) if isinstance(number, Heard) else None
        if position is None:
            return builder.constant(number, dtype)
        if (position, dtype) not in self.numbers:
            self.numbers[position, dtype] = builder.input(TensorType(dtype, ()))
        return self.numbers[position, dtype]

    def _residuals(self, step: Step, found: Sequence[Value]) -> dict[int, Value]:
        """The results of a composite that only its backward pass takes, by the array that is saved."""
        entry = self._record(step)
        if entry is None or not found:
            return {}
        needs = tuple(isinstance(x, Tensor) and x.requires_grad for x in step.operands)
        by_value = dict(zip(derivative_of(step.attributes["callee"], needs).residuals, found, strict=True))
        kept = (item for item in entry.saved if item.memory is None and item.value in by_value)
        return {id(item.array): by_value[item.value] for item in kept}

    def _record(self, step: Step) -> Recorded | None:
        node = node_of(step)
        return None if node is None else node.attached  # type: ignore[return-value]

    def recorded(self) -> np.ndarray | None:
        """The templates of the nodes that were recorded; None where they are not of the native entry's kind."""
        nodes = [node for node in map(node_of, self.steps) if node is not None]
        if any(node.attached.custom is not None for node in nodes):  # type: ignore[attr-defined]
            return None
        targets = {id(each.target._array) for each in self.written}
        if any(id(kept.array) in targets for node in nodes for kept in (*node.attached.saved, *node.attached.full)):  # type: ignore[attr-defined]
            return None  # overwritten after it was saved
        templates = Templates(
            self.operands, self.results, self.steps, any_size=self.any_size, any_whole=self.any_whole
        )
        found = templates.block(nodes)
        self.extra, self.kept = templates.extra, [*self.kept, templates]
        return found


def _marked(name: str, pieces: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Views that one function made together."""
    return several(pieces, name)


def number_operand(step: Step, x: Any) -> np.ndarray:
    """A number among a step's operands as the kernel takes it."""
    return number_array(x, number_dtype(step))


def number_dtype(step: Step) -> DType:
    """The dtype that numbers among a step's operands take; those of composites are float64."""
    if step.op.name == "call":
        return F64
    found = literal_dtype(step.op, [x._dtype if isinstance(x, Tensor) else None for x in step.operands])
    assert found is not None
    return found


# What gives each element from one at the same place, or from an operand of another size, and cannot fail.
_COPYING = frozenset(("const", "expand", "reshape", "cast"))


def how_written(watched: Watched) -> int:
    """How the result comes into the first operand: straight from a kernel that goes element by element.

    No other operand lies across that one's memory; one that is the same memory is read where it is written.
    """
    (step, *rest) = watched.steps
    straight = not rest and step.op.family == "scalar" and watched.results[0]._dtype.is_float
    straight = (straight or all(step.op.name in _COPYING for step in watched.steps)) and not watched.extra
    return k.STRAIGHT if straight else k.AFTERWARDS
