"""Which results of kernels may be computed in the memory of an operand that nothing reads afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from adjit.compiler.loops.ir import AS_COMPLEX, AS_REAL, FOR, KERNEL, LOAD, STORE, UPDATE, address
from adjit.ir.analysis import CONTROL, carries_of, invariants_of
from adjit.ir.graph import Node, Region, Value
from adjit.ir.types import TensorType

# Gives what `dying_operands` finds for a region.
Dying = Callable[[Region], Mapping[Node, Sequence[Value]]]


def dying_operands(region: Region) -> dict[Node, list[Value]]:
    """By kernel, loop and branch of a region: what it reads last, and no view shares memory with."""
    viewed = {v for node in region.nodes if node.op in (AS_REAL, AS_COMPLEX) for v in (*node.inputs, *node.outputs)}
    last = {value: node for node in region.nodes for value in node.inputs}
    kept = {*viewed, *region.outputs}
    found: dict[Node, list[Value]] = {}
    for value, node in last.items():
        if (node.op is KERNEL or node.op.name in CONTROL) and value not in kept:
            found.setdefault(node, []).append(value)
    return found


def taken_over(node: Node, result: Value, dying: Dying) -> Value | None:
    """The operand of a loop or branch in whose memory it may compute a result if nothing reads the operand later."""
    if node.op.name == "cond":
        places = [origin(region, result.index, dying) for region in node.regions]
        if places[0] is None or places[0] != places[1]:
            return None
        found = node.inputs[1 + places[0]]
    elif result.index < carries_of(node):
        found = node.inputs[invariants_of(node) + result.index]
    else:
        return None
    return found if node.inputs.count(found) == 1 else None


def stays(node: Node, operand: Value, result: Value, dying: Dying) -> bool:
    """Whether a node that is the last to read `operand` may compute `result` in its memory, a loop in every turn."""
    if node.op is KERNEL:
        return may_replace(node, operand, result)
    if node.op.name not in CONTROL or taken_over(node, result, dying) is not operand:
        return False
    return node.op.name == "cond" or origin(node.regions[-1], result.index, dying) == node.inputs.index(operand)


def origin(region: Region, output: int, dying: Dying) -> int | None:
    """The number of the input in whose memory a region's output may be computed, step by step, or None."""
    first = steps_in_place(region, output, dying)[-1]
    return region.inputs.index(first) if first in region.inputs else None


def steps_in_place(region: Region, output: int, dying: Dying) -> list[Value]:
    """A region's output, what it may be computed in the memory of, what that may be, and so on."""
    steps = [region.outputs[output]]
    last = dying(region)
    while steps[-1].node is not None and region.outputs.count(steps[-1]) <= 1:
        value, node = steps[-1], steps[-1].node
        operands = (v for v in last.get(node, ()) if v.type == value.type)
        found = next((v for v in operands if stays(node, v, value, dying)), None)
        if found is None:
            break
        steps.append(found)
    return steps


def may_replace(kernel: Node, operand: Value, result: Value) -> bool:
    """Whether a kernel may compute `result` in the memory of `operand`, which has as many elements of that size."""
    before, after = operand.type, result.type
    if before.size != after.size or before.dtype.itemsize != after.dtype.itemsize:
        return False
    places = [number for number, value in enumerate(kernel.inputs) if value is operand]
    if len(places) == 1 and _is_updated_copy(kernel, places[0], result.index):
        return True
    return all(same_element(kernel, number, result.index) for number in places)


def same_element(kernel: Node, operand: int, result: int) -> bool:
    """Whether a kernel reads an operand only where, and just before, it stores that element of a result."""
    (region,) = kernel.regions
    source, target = region.inputs[operand], region.inputs[len(kernel.inputs) + result]
    stores = [node for node in region.walk() if target in node.inputs]
    if len(stores) != 1 or stores[0].op is not STORE or stores[0].attributes["masked"]:
        return False
    (store,) = stores
    body = next((r for r in _regions(region) if store in r.nodes), None)
    if body is None:
        return False
    before = set(body.nodes[: body.nodes.index(store)])
    where = _flat(target.type, store)
    for node in region.walk():
        if source not in node.inputs:
            continue
        if node.op is not LOAD or node not in before or len(node.inputs) != 1:
            return False
        if _flat(source.type, node) != where:
            return False
    return not any(node.op is UPDATE and source in node.inputs for node in region.walk())


def _is_updated_copy(kernel: Node, operand: int, result: int) -> bool:
    """Whether a kernel copies an operand whole to a result, reads it once more at most, and then writes the result."""
    (region,) = kernel.regions
    source, target = region.inputs[operand], region.inputs[len(kernel.inputs) + result]
    copies = [node for node in region.nodes if copied(node) == (source, target)]
    if len(copies) != 1:
        return False
    others = [node for node in region.nodes if node is not copies[0]]
    first = next((n for n, node in enumerate(others) if target in _operands([node])), len(others))
    return source not in _operands(others[first + 1 :]) and (
        first == len(others) or not others[first].regions or source not in _operands([others[first]])
    )


def copied(node: Node) -> tuple[Value, Value] | None:
    """The buffers (source, target) if a `for` does nothing but copy the one to the other, element by element."""
    if node.op is not FOR or len(node.regions[0].nodes) != 2:
        return None
    load, store = node.regions[0].nodes
    if load.op is not LOAD or store.op is not STORE or store.inputs[1:] != (load.output,) or len(load.inputs) != 1:
        return None
    source, target = load.inputs[0], store.inputs[0]
    same = source.type == target.type and _flat(source.type, load) == _flat(target.type, store)
    return (source, target) if same else None


def _operands(nodes: Iterable[Node]) -> set[Value]:
    """What nodes and those in their regions take."""
    return {
        value
        for outer in nodes
        for node in (outer, *(inner for region in outer.regions for inner in region.walk()))
        for value in node.inputs
    }


def _flat(type: TensorType, node: Node) -> object:
    at: Sequence[int] = node.attributes["at"]  # type: ignore[assignment]
    return address(type, at)


def _regions(region: Region) -> Iterator[Region]:
    yield region
    for node in region.walk():
        yield from node.regions
