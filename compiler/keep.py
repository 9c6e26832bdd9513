"""Scans made to keep what their pullback reads: the values of each step, stacked, as further results.

Where a scan is marked `checkpoint`, the carries on entry of each step are kept, and steps run again.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.pullback import active_values
from adjit.ir.analysis import carries_of, invariants_of
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.rewrite import rewrite


def keeping(graph: Graph, inputs: Sequence[Value]) -> Graph:
    """`graph` with scans that keep what is needed to go back from all their results to `inputs`."""
    if not any(node.op.name == "scan" for node in graph.nodes):
        return graph
    active = active_values(graph.nodes, inputs)

    def rule(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name != "scan" or not any(value in active for value in node.outputs):
            return None
        region = extended(node, [value in active for value in node.inputs])
        return builder.emit(node.op, operands, node.attributes, [region]).outputs[: len(node.outputs)]

    return rewrite(graph, rule, follow_calls=False)


def extended(node: Node, active: Sequence[bool]) -> Region:
    """The body of a scan whose operands vary as `active` says, with further outputs: what a step's pullback reads."""
    from adjit.compiler.differentiate import backward_of

    body = node.regions[0]
    first, carries = invariants_of(node), carries_of(node)
    entries = body.inputs[first : first + carries]
    if node.attributes.get("checkpoint"):
        missing = [value for value in entries if value not in body.outputs[carries:]]
        return Region(body.inputs, body.nodes, (*body.outputs, *missing))
    wrt = wanted(node, active)
    step = keeping(Graph("step", body.inputs, body.nodes, body.outputs), [body.inputs[index] for index in wrt])
    seeds = [index for index, value in enumerate(step.outputs) if value.dtype.is_continuous]
    residuals = backward_of(step, wrt, seeds)[1]
    given = {*body.inputs, *from_invariants(step, first)} - {*entries}
    more = [v for v in residuals if v not in given and v not in step.outputs[carries:]]
    return Region(step.inputs, step.nodes, (*step.outputs, *more))


def from_invariants(body: Region, first: int) -> set[Value]:
    """The values of a scan's body that follow from its `first` invariants alone: they are the same in every step."""
    found = set(body.inputs[:first])
    for node in body.nodes:
        if all(value in found for value in node.inputs):
            found.update(node.outputs)
    return found


def wanted(node: Node, active: Sequence[bool]) -> list[int]:
    """The inputs of a scan's body that its pullback gives cotangents of: the carries, and what varies of the others."""
    first, carries = invariants_of(node), carries_of(node)
    return [
        index
        for index, value in enumerate(node.regions[0].inputs)
        if value.dtype.is_continuous and (active[index] or first <= index < first + carries)
    ]
