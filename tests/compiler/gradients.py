"""What tests of differentiation share: a program with its gradient as one graph, and control flow unrolled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adjit.compiler.differentiate import differentiate
from adjit.compiler.pullback import zeros
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.rewrite import inline
from adjit.ir.types import F64
from adjit.runtime.interpreter import run_node
from tests.sampling import Array


def with_gradient(graph: Graph) -> Graph:
    """(inputs, cotangents of the floating outputs) -> (outputs, cotangents of the floating inputs), as one graph."""
    derivative = differentiate(graph)
    result = Graph(f"{graph.name}.with_gradient", guards=graph.guards)
    builder = Builder(result)
    inputs = [builder.input(value.type) for value in graph.inputs]
    seeds = [builder.input(graph.outputs[index].type) for index in derivative.seeded]
    found = inline(builder, derivative.forward, inputs)
    count = len(graph.outputs)
    cotangents = inline(builder, derivative.backward, [*seeds, *found[count:]])
    of_input = dict(zip(derivative.reached, cotangents, strict=True))
    floating = [index for index, value in enumerate(graph.inputs) if value.dtype.is_float]
    result.outputs = (
        *found[:count],
        *(of_input.get(index) or zeros(builder, graph.inputs[index].type).value for index in floating),
    )
    return result


def seeds_for(graph: Graph, arrays: Sequence[Array], random: np.random.Generator) -> list[Array]:
    """A random cotangent of each floating output, given what `graph` computes; floats are of float64."""
    outputs = zip(graph.outputs, arrays, strict=True)
    return [random.standard_normal(array.shape) for value, array in outputs if value.dtype is F64]


@dataclass(frozen=True)
class _Known:
    """A value of the unrolled program, and what it is for the operands at hand."""

    value: Value
    array: Array


def unrolled(graph: Graph, *arrays: Array) -> Graph:
    """`graph` as it runs on `arrays`, without control flow: branches taken, steps one after the other."""
    result = Graph(f"{graph.name}.unrolled")
    builder = Builder(result)
    inputs = [
        _Known(builder.input(value.type.with_dims(array.shape)), array)
        for value, array in zip(graph.inputs, arrays, strict=True)
    ]
    result.outputs = tuple(known.value for known in _region(builder, graph, inputs))
    return result


def _region(builder: Builder, region: Region, inputs: Sequence[_Known]) -> list[_Known]:
    known = dict(zip(region.inputs, inputs, strict=True))
    for node in region.nodes:
        results = _node(builder, node, [known[value] for value in node.inputs])
        known.update(zip(node.outputs, results, strict=True))
    return [known[value] for value in region.outputs]


def _node(builder: Builder, node: Node, operands: list[_Known]) -> list[_Known]:
    attributes = node.attributes
    match node.op.name:
        case "call":
            callee = attributes["callee"]
            assert isinstance(callee, Graph)
            return _region(builder, callee, operands)
        case "cond":
            return _region(builder, node.regions[0 if operands[0].array else 1], operands[1:])
        case "while":
            split = attributes["invariants"]
            assert isinstance(split, int)
            fixed, carries = operands[:split], operands[split:]
            while _region(Builder(Region()), node.regions[0], [*fixed, *carries])[0].array:
                carries = _region(builder, node.regions[1], [*fixed, *carries])
            return carries
        case "linear_solve":
            return _region(builder, node.regions[1], operands)
        case "scan":
            return _scan(builder, node, operands)
    return _plain(builder, node, operands)


def _plain(builder: Builder, node: Node, operands: Sequence[_Known]) -> list[_Known]:
    copy = builder.emit(node.op, [known.value for known in operands], node.attributes)
    types = [value.type for value in copy.outputs]
    arrays = run_node(node.op, [known.array for known in operands], types, node.attributes)
    return [_Known(value, array) for value, array in zip(copy.outputs, arrays, strict=True)]


def _emitted(builder: Builder, name: str, operands: Sequence[_Known], **attributes: object) -> _Known:
    types = [known.value.type for known in operands]
    op = primitive_named(name)
    node = Node(op, [known.value for known in operands], attributes, op.infer(types, attributes))  # type: ignore[arg-type]
    return _plain(builder, node, operands)[0]


def _scan(builder: Builder, node: Node, operands: Sequence[_Known]) -> list[_Known]:
    invariants, count, length, reverse = (
        node.attributes[name] for name in ("invariants", "carries", "length", "reverse")
    )
    assert isinstance(invariants, int) and isinstance(count, int) and isinstance(length, int)
    fixed, carries = operands[:invariants], list(operands[invariants : invariants + count])
    columns: list[list[_Known]] = [[] for _ in node.outputs[count:]]
    for place in reversed(range(length)) if reverse else range(length):
        slices = [_row(builder, x, place) for x in operands[invariants + count :]]
        results = _region(builder, node.regions[0], [*fixed, *carries, *slices])
        carries = results[:count]
        for column, y in zip(columns, results[count:], strict=True):
            column.append(_emitted(builder, "reshape", [y], shape=(1, *y.value.dims)))
    stacked = []
    for column, value in zip(columns, node.outputs[count:], strict=True):
        if column:
            stacked.append(_emitted(builder, "concat", column[::-1] if reverse else column, axis=0))
        else:
            stacked.append(_Known(zeros(builder, value.type).value, np.zeros(value.dims, value.dtype.storage)))
    return [*carries, *stacked]


def _row(builder: Builder, x: _Known, place: int) -> _Known:
    rest = x.value.dims[1:]
    start, size, step = (place, *[0] * len(rest)), (1, *rest), (1,) * (1 + len(rest))
    row = _emitted(builder, "slice", [x], start=start, size=size, step=step)
    return _emitted(builder, "reshape", [row], shape=rest)
