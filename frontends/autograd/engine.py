"""Backward: cotangents through the recorded nodes, last recorded first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit.autograd.record import run_post_hooks, value_of
from adjit.autograd.tape import Recorded, Rule, Saved, Watch, edges_of
from adjit.bodies import run_pullback
from adjit.compiler.nodewise import literal_of, pullback_of
from adjit.composite import apply_callee
from adjit.dtypes import title_of
from adjit.errors import explained, line_of, standing_at
from adjit.execute import run_graph_recorded, title
from adjit.ir.builder import Builder
from adjit.ir.graph import UNKNOWN, Graph, Location, Node, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.shape import evaluate
from adjit.ir.types import F32, TensorType
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.utils.hooks import Prehook

if TYPE_CHECKING:
    from adjit.runtime.executable import Executable

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify "
    "retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors "
    "after calling backward."
)


# Told of every pass that went node by node without a graph of its own: the nodes in order, the root, the targets if
# there were any, and whether the cotangent of the root was given.
watch: Callable[[list[Node], Value, Sequence[Value] | None, bool], None] | None = None
# Told of every node that is gone through whose pullback has a program.
learn: Callable[[Recorded, Graph, Executable], None] | None = None


class Pass:
    """One backward pass: pending cotangents by value, nodes by time of recording."""

    def __init__(self, retain_graph: bool, create_graph: bool, targets: set[Value] | None) -> None:
        self.retain_graph = retain_graph
        self.create_graph = create_graph
        self.targets = targets
        self.cotangents: dict[Value, Tensor] = {}
        self.results: dict[Value, Tensor] = {}
        self.heap: list[tuple[int, int, Recorded]] = []
        self.queued: set[Node] = set()
        self.useful: set[Node] | None = None
        self.order: list[Node] = []
        self.roots: tuple[Value, ...] = ()
        self.shown = False  # whether a hook was given a cotangent, and may have kept it
        self._reached: set[Value] | None = None

    def reaches(self, tensor: Tensor) -> bool:
        """Whether this pass computes the tensor's gradient."""
        if self._reached is None:
            self._reached = set(self.roots)
            stack = list(self.roots)
            while stack:
                node = stack.pop().node
                if node is not None and (self.useful is None or node in self.useful):
                    fresh = [value for value in node.inputs if value not in self._reached]
                    self._reached.update(fresh)
                    stack.extend(fresh)
        return value_of(tensor) in self._reached

    def add(self, value: Value, cotangent: Tensor) -> None:
        """Add a contribution to a value's cotangent."""
        present = self.cotangents.get(value)
        self.cotangents[value] = cotangent if present is None else _add(present, cotangent, self.create_graph)
        node = value.node
        if isinstance(node, Recorded) and node not in self.queued:
            self.queued.add(node)
            heappush(self.heap, (-node.sequence, id(node), node))

    def run(self) -> None:
        """Process all nodes, then the leaves."""
        if self.targets is not None:
            self.useful = nodes_leading_to(list(self.cotangents), self.targets)
        while self.heap:
            node = heappop(self.heap)[2]
            if self.useful is not None and node not in self.useful:
                for value in node.outputs:
                    self._finish_target(value)
                continue
            self.order.append(node)
            self._step(node)
        for value in list(self.cotangents):
            self._finish_target(value)

    def _finish_target(self, value: Value) -> None:
        """Finish a value behind which the pass does not go: without effect where it is none of the targets."""
        cotangent = self.cotangents.pop(value, None)
        if self.targets is None or value in self.targets:
            self._finish(value, cotangent)

    def _finish(self, value: Value, cotangent: Tensor | None) -> Tensor | None:
        """A value's cotangent is complete: hooks, retained gradients, results, leaves."""
        if cotangent is None:
            return None
        watch = value.attached
        if isinstance(watch, Watch):
            self.shown |= bool(watch.hooks)
            cotangent = watch.hooked(cotangent)
            shown = self.shown or value in self.roots
            tensor = None if watch.retained is None else watch.retained()
            if tensor is not None:
                retain(tensor, cotangent, self.create_graph)
            leaf = None if watch.leaf is None else watch.leaf()
            if leaf is not None and value.node is None and self.targets is None:
                accumulate(leaf, cotangent, self.create_graph, shown)
                run_post_hooks(leaf)
        if self.targets is not None and value in self.targets:
            self.results[value] = cotangent
        return cotangent

    def _step(self, node: Recorded) -> None:
        arriving = [self._finish(value, self.cotangents.pop(value, None)) for value in node.outputs]
        if node.freed or node.fault is not None:
            raise freed(node) if node.fault is None else RuntimeError(node.fault)
        for hook in tuple(node.hooks.values()) if node.hooks else ():
            if isinstance(hook, Prehook):
                arriving = list(hook(tuple(arriving)))
        found, reached = self._pull_back(node, arriving)
        if node.hooks:
            self.shown = True
            found, reached = _run_hooks(node, arriving, found, reached)
        for index, cotangent in zip(reached, found, strict=True):
            if cotangent is not None:
                self.add(node.inputs[index], cotangent)
        if not self.retain_graph:
            release(node)

    def _pull_back(
        self, node: Recorded, arriving: Sequence[Tensor | None]
    ) -> tuple[Sequence[Tensor | None], Sequence[int]]:
        if isinstance(node.custom, Rule):
            return node.custom.pull_back(node, arriving, self.create_graph)
        if self.create_graph and getattr(node.custom, "hooked", False):
            raise RuntimeError(
                "create_graph=True cannot go through a compiled function with hooks on tensors or modules inside it\n"
                "  hint: go back inside the compiled function, or leave out the hooks"
            )
        graph, saved, seeded, reached = node.pullback, node.saved, node.seeded, node.reached
        if self.create_graph and node.kept_full:
            graph, saved, seeded, reached = _differentiable_form(node)
        assert graph is not None
        for kept in saved:
            check_version(kept, node)
        given = [
            cotangent if cotangent is not None else _zeros(node.outputs[index])
            for index, cotangent in zip(seeded, [arriving[i] for i in seeded], strict=True)
        ]
        if self.create_graph:
            operands = [*given, *(revive(kept) for kept in saved)]
            # A compiled function's pullback is one node again, not one for each of its operations.
            whole = node.custom is not None and not isinstance(node.custom, Rule)
            found = apply_callee(graph, operands, "Compiled") if whole else run_graph_recorded(graph, operands)
            return _present(node, arriving, found, reached), reached
        arrays = self._compute(node, graph, [*(_data(g) for g in given), *(kept.array for kept in saved)])
        # The types of a compiled function's program may have open sizes.
        wrapped = [
            Tensor._wrap(array, value.dtype, type=None if value.type.names else value.type)
            for array, value in zip(arrays, graph.outputs, strict=True)
        ]
        return _present(node, arriving, wrapped, reached), reached

    def _compute(self, node: Recorded, graph: Graph, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The results of a node's pullback."""
        found: Sequence[np.ndarray]
        if node.custom is not None:
            found = node.custom.run(graph, arrays)
            return found
        found, program = run_pullback(graph, arrays)
        if program is not None and learn is not None:
            learn(node, graph, program)
        return found


def _present(
    node: Recorded, arriving: Sequence[Tensor | None], found: Sequence[Tensor], reached: Sequence[int]
) -> Sequence[Tensor | None]:
    """The cotangents that a compiled function's operands have: none where no result that has one varies with them."""
    if node.custom is None or all(arriving[index] is not None for index in node.seeded):
        return found
    depends = node.custom.depends(arriving)
    return [cotangent if depends[index] else None for cotangent, index in zip(found, reached, strict=True)]


def _run_hooks(
    node: Recorded,
    arriving: Sequence[Tensor | None],
    found: Sequence[Tensor | None],
    reached: Sequence[int],
) -> tuple[Sequence[Tensor | None], Sequence[int]]:
    """Show a node's hooks the cotangents of its operands and results; a returned tuple replaces the operands'."""
    places = edges_of(node)
    by_place: dict[int | None, Tensor | None] = dict(zip(reached, found, strict=True))
    given: tuple[Tensor | None, ...] = tuple(map(by_place.get, places))
    for hook in tuple((node.hooks or {}).values()):
        if isinstance(hook, Prehook):
            continue
        replaced = hook(given, tuple(arriving))
        if replaced is not None:
            given = (replaced,) if isinstance(replaced, Tensor) else tuple(replaced)
            if len(given) != len(places):
                raise RuntimeError(
                    f"hook has returned an incorrect number of values (got {len(given)}, but expected {len(places)})"
                )
    kept = [(gradient, place) for gradient, place in zip(given, places, strict=True) if place is not None]
    return [gradient for gradient, _ in kept], [place for _, place in kept]


def _differentiable_form(node: Recorded) -> tuple[Graph, tuple[Saved, ...], tuple[int, ...], tuple[int, ...]]:
    """A composite's pullback in terms of its operands and results alone, which have histories."""
    needs = [index in node.reached for index in range(len(node.inputs))]
    found = pullback_of(
        node.op,
        [v.type for v in node.inputs],
        node.attributes,
        [literal_of(v.constant) for v in node.inputs],  # type: ignore[arg-type]
        needs,
        [v.type for v in node.outputs],
        node.regions,
    )
    by_value = {kept.value: kept for kept in node.full}
    sides = {"in": node.inputs, "out": node.outputs}
    saved = tuple(by_value[sides[side][index]] for side, index in found.saved)
    return found.graph, saved, found.seeded, found.reached


# Operations of whose operands nothing is left: they have no values to free.
OVERWRITES = ("Zero", "FillBackward0", "FillBackward1", "FillBackward2")


def release(node: Recorded) -> None:
    """Free what a node saved; a node that saved nothing can be passed again."""
    if isinstance(node.custom, Rule):
        node.custom.release()
    elif node.name not in OVERWRITES and (node.kept or saves_number(node)):
        node.freed = True
        node.kept = node.kept_full = ()


def saves_number(node: Node) -> bool:
    """Whether a number beside a tensor counts as saved: the 3 of `3 * x`, but not where it is only added."""
    return node.op.name not in ("add", "sub") and any(value.constant is not None for value in node.inputs)


def freed(node: Node) -> RuntimeError:
    """The error for a second pass through a node, at the line that recorded it."""
    with standing_at(node.location):
        return explained(
            RuntimeError,
            FREED,
            node.name if isinstance(node, Recorded) else title(node.op.name),
            {},
            "loss.backward(retain_graph=True) keeps them for another pass; a state that one step hands to the next "
            "wants state.detach() between",
        )


def check_version(kept: Saved, node: Node) -> None:
    """RuntimeError if a saved value was overwritten since."""
    if kept.memory is None or kept.memory.version == kept.version:
        return
    from adjit.autograd.grad_fn import _function_of

    producer = _function_of(kept.value)[0] if kept.value.node is not None else None
    name = "" if producer is None else producer.name()
    from adjit.autograd.overwriting import line_of_write

    by = line_of_write(kept.memory, kept.version)
    raise RuntimeError(modified(kept.value, name, kept.memory.version, kept.version, node, by))


def modified(value: Value, producer: str, version: int, expected: int, node: Node, by: Location | None) -> str:
    """The text of the error for a saved value that was overwritten at the line `by`; `producer` names its function."""
    made = f", which is output {value.index} of {producer.removesuffix('Backward0')}," if producer else ""
    first = (
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[torch.{title_of(value.dtype)}Tensor {list(value.dims)}]{made} is at version {version}; expected version "
        f"{expected} instead. Hint: "
        "enable anomaly detection to find the operation that failed to compute its gradient, with "
        "torch.autograd.set_detect_anomaly(True, check_nan=False)."
    )
    lines = [first, *line_of(node.location, node.op.name, "saved by"), *line_of(by or UNKNOWN, "", "overwritten in")]
    if by is None:
        lines.append("  hint: with torch.autograd.set_detect_anomaly(True) the line that overwrote it is named, too")
    else:
        lines.append("  hint: an operation that makes a new tensor leaves it as it was: y = y + 1 instead of y += 1, "
                     "or let the operation that saved it take y.clone()")  # fmt: skip
    return "\n".join(lines)


def accumulate(leaf: Tensor, cotangent: Tensor, create_graph: bool, shown: bool = True) -> None:
    """Add to a leaf's `.grad`; in place where no graph is made of it. A first gradient is nobody else's.

    `shown` tells that the caller's code may hold the cotangent.
    """
    present = leaf._grad
    if present is None:
        leaf._grad = cotangent.clone() if create_graph else owned_cotangent(cotangent, shown)
    elif create_graph:
        leaf._grad = _add(present, cotangent, create_graph)
    else:
        assert present._array is not None and cotangent._array is not None
        np.add(present._array, cotangent._array, out=present._array)
        present._memory.version += 1


def retain(tensor: Tensor, cotangent: Tensor, create_graph: bool) -> None:
    """Add to the `.grad` of a tensor that is no leaf and retains it; always a new tensor."""
    if tensor._grad is not None:
        tensor._grad = _add(tensor._grad, cotangent, create_graph)
    else:
        tensor._grad = cotangent.clone() if create_graph else owned_cotangent(cotangent, True)


def owned_cotangent(cotangent: Tensor, shown: bool = False) -> Tensor:
    """A gradient that nobody else holds: copied where it is a view or shared, or `shown` to the caller's code."""
    assert cotangent._array is not None
    array = cotangent._array
    if shown or array.base is not None or not array.flags.writeable or not array.flags.owndata:
        array = np.array(array, order="C")
    return Tensor._wrap(array, cotangent._dtype, type=cotangent._tensor_type)


def _add(left: Tensor, right: Tensor, create_graph: bool) -> Tensor:
    if create_graph:
        return run_graph_recorded(_addition(), (left, right))[0]
    assert left._array is not None and right._array is not None
    from adjit.execute import add_arrays

    return Tensor._wrap(add_arrays(left._array, right._array, left._dtype), left._dtype, type=left._tensor_type)


@cache
def _addition() -> Graph:
    """left + right; when it runs, the types are those of its operands."""
    left, right = Value(TensorType(F32, ())), Value(TensorType(F32, ()))
    graph = Graph("addition", (left, right))
    graph.outputs = Builder(graph).emit(primitive_named("add"), (left, right), {}).outputs
    return graph


def _data(tensor: Tensor) -> np.ndarray:
    assert tensor._array is not None
    return tensor._array


def _zeros(value: Value) -> Tensor:
    dims = tuple(evaluate(dim, {}) for dim in value.dims)
    return Tensor._wrap(np.zeros(dims, value.dtype.storage), value.dtype, type=value.type)


def revive(kept: Saved) -> Tensor:
    """A saved value as a tensor with its history; of a leaf that is still there, the leaf."""
    watch = kept.value.attached
    leaf = watch.leaf() if isinstance(watch, Watch) and watch.leaf is not None else None
    if leaf is not None and leaf._memory is kept.memory and leaf._value is kept.value and leaf._array is kept.array:
        return leaf
    tensor = Tensor._wrap(kept.array, kept.dtype, memory=kept.memory, type=kept.value.type)
    tensor._value = kept.value
    tensor._requires_grad = kept.requires_grad
    tensor._leaf = kept.value.node is None
    return tensor


def nodes_leading_to(roots: Sequence[Value], targets: set[Value]) -> set[Node]:
    """The recorded nodes on a path from a root to a target."""
    useful: dict[Node, bool] = {}
    stack: list[tuple[Node, bool]] = [(v.node, False) for v in roots if v.node is not None]
    while stack:
        node, done = stack.pop()
        if done:
            useful[node] = any(v in targets or (v.node is not None and useful.get(v.node, False)) for v in node.inputs)
        elif node not in useful:
            useful[node] = False
            stack.append((node, True))
            stack.extend((v.node, False) for v in node.inputs if v.node is not None and v.node not in useful)
    return {node for node, flag in useful.items() if flag}


def run_pass(
    roots: Sequence[Value],
    cotangents: Sequence[Tensor],
    retain_graph: bool,
    create_graph: bool,
    targets: Sequence[Value] | None = None,
    seeded: bool | None = None,
) -> dict[Value, Any]:
    """One backward pass from `roots`; the targets' cotangents, or nothing when it accumulates into leaves.

    `seeded` tells whoever watches passes whether the cotangents were given; of a pass without it nobody is told.
    """
    kind = Pass
    if STATE.anomaly[0] or STATE.checks is not None:
        from adjit.autograd.anomaly import WatchedPass

        kind = WatchedPass
    sweep = kind(retain_graph, create_graph, None if targets is None else set(targets))
    sweep.roots = tuple(roots)
    before, outer = STATE.recording, STATE.sweep
    STATE.recording, STATE.sweep = create_graph, sweep
    try:
        for value, cotangent in zip(roots, cotangents, strict=True):
            sweep.add(value, cotangent)
        sweep.run()
    finally:
        STATE.recording, STATE.sweep = before, outer
    if watch is not None and seeded is not None and not create_graph and len(roots) == 1:
        watch(sweep.order, roots[0], targets, seeded)
    return sweep.results
