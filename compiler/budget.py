"""Save or recompute: the values kept from forward to backward, brought within a budget of bytes.

Of what a derivative keeps, the value with the most bytes for the least work is left out, again and again; backward runs
the nodes that lead to it just before it is used.  Inputs and results of the program cost nothing: the caller has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import inf

from adjit.compiler.differentiate import Derivative, binding
from adjit.compiler.fuse_cost import estimate
from adjit.ir.analysis import has_effect, size_names_used
from adjit.ir.graph import Node, Region, Value
from adjit.ir.rewrite import copied
from adjit.ir.shape import product

# What a step of a loop, or a callee, is taken to cost: nothing is known of its length here.
REGION = 100.0


@lru_cache(maxsize=256)
def within(derivative: Derivative, budget: int) -> Derivative:
    """The derivative with at most `budget` bytes kept, or as few as there can be."""
    forward, residuals = derivative.forward, derivative.residuals
    results = forward.outputs[: len(forward.outputs) - len(residuals)]
    written = {forward.inputs[place] for place, _ in forward.writes}
    free = ({*forward.inputs, *results} - written) | (written & {*residuals})
    kept = [value for value in residuals if value not in free]
    total = sum(map(_bytes, kept))
    if total <= budget:
        return derivative
    while total > budget:
        scores = [_bytes(value) / _work(value, free.union(kept) - {value}) for value in kept]
        best = max(range(len(kept)), key=scores.__getitem__, default=None)
        if best is None or scores[best] == 0:
            break
        total -= _bytes(kept.pop(best))
    return _recomputing(derivative, free.union(kept), results)


def _bytes(value: Value) -> float:
    return estimate(value.type.size) * value.dtype.storage.itemsize


def _leading(value: Value, known: set[Value]) -> list[Node]:
    """The nodes that compute `value` from known values, operands first."""
    order: list[Node] = []
    state: dict[Node, bool] = {}
    stack = [value.node]
    while stack:
        node = stack[-1]
        if node is None or state.get(node):
            stack.pop()
        elif node in state:
            state[node] = True
            order.append(node)
            stack.pop()
        else:
            state[node] = False
            stack += [operand.node for operand in node.inputs if operand not in known]
    return order


def _work(value: Value, known: set[Value]) -> float:
    """About how many operations it takes to find `value` again; infinitely many where that cannot be."""
    total = 1.0
    for node in _leading(value, known):
        if has_effect(node) or any(operand.node is None and operand not in known for operand in node.inputs):
            return inf
        size = sum(estimate(output.type.size) for output in node.outputs)
        if node.op.name == "dot":
            axes: tuple[tuple[int, ...], ...] = node.attributes["contract"]  # type: ignore[assignment]
            size *= 2 * estimate(product(node.inputs[0].dims[axis] for axis in axes[0]))
        elif node.op.name == "conv":
            size *= 2 * estimate(product(node.inputs[1].dims[1:]))
        elif node.regions or node.op.name == "call":
            size *= REGION
        total += size
    return total


def _recomputing(derivative: Derivative, known: set[Value], results: Sequence[Value]) -> Derivative:
    """The derivative that keeps of its residuals those in `known`, and what leads to the others from there."""
    forward, backward = derivative.forward, derivative.backward
    count = len(backward.inputs) - len(derivative.residuals)
    place = dict(zip(backward.inputs[count:], derivative.residuals, strict=True))
    there: dict[Value, Value] = {outer: inner for inner, outer in place.items() if outer in known}
    nodes: list[Node] = []

    def available(value: Value) -> Value:
        """A forward value in the backward program."""
        if value in known and value not in there:
            there[value] = Value(value.type, value.name)
        if value not in there:
            for node in _leading(value, {*known, *there}):
                inputs = [available(operand) for operand in node.inputs]
                types = [output.type for output in node.outputs]
                regions = [copied(region) for region in node.regions]
                again = Node(node.op, inputs, node.attributes, types, node.location.again(), regions)
                nodes.append(again)
                made = zip(node.outputs, again.outputs, strict=True)
                there.update((old, new) for old, new in made if old not in known)
        return there[value]

    mapping: dict[Value, Value] = {}

    def used(value: Value) -> Value:
        return available(place[value]) if value in place else mapping.get(value, value)

    for node in backward.nodes:
        inputs = tuple(used(value) for value in node.inputs)
        if inputs != node.inputs:
            copy = Node(node.op, inputs, node.attributes, [v.type for v in node.outputs], node.location, node.regions)
            for old, new in zip(node.outputs, copy.outputs, strict=True):
                new.name = old.name
                mapping[old] = new
            node = copy
        nodes.append(node)
    outputs = [used(value) for value in backward.outputs]
    residuals = [value for value in there if value in known]
    names = size_names_used(Region(backward.inputs[:count], nodes))
    for value in binding(forward, [*backward.inputs[:count], *residuals], names):
        residuals.append(value)
        there[value] = Value(value.type, value.name)
    inputs = (*backward.inputs[:count], *(there[value] for value in residuals))
    back = backward.with_parts(inputs, nodes, outputs)
    whole = forward.with_parts(forward.inputs, forward.nodes, (*results, *residuals))
    return Derivative(whole, back, tuple(residuals), derivative.seeded, derivative.reached)
