"""Gradients that go on after a compiled call, through what computed its operands outside: what is refused there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from adjit.autograd.record import value_of
from adjit.autograd.tape import Recorded, Rule, Watch
from adjit.ir.errors import TraceError
from adjit.ir.graph import Node, Value
from adjit.memory import Memory
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.trace import Tracer


def values_behind(tensors: Iterable[Tensor]) -> dict[Value, None]:
    """The values that tensors outside a trace were computed from, their own among them."""
    found: dict[Value, None] = {}
    values = [value_of(tensor) for tensor in tensors]
    while values:
        value = values.pop()
        if value not in found:
            found[value] = None
            if value.node is not None:
                values += value.node.inputs
    return found


def leaves_among(values: Iterable[Value]) -> set[Tensor]:
    """The leaves whose values are among these."""
    watches = (value.attached for value in values if isinstance(value.attached, Watch))
    leaves = (watch.leaf() for watch in watches if watch.leaf is not None)
    return {leaf for leaf in leaves if leaf is not None}


def outside_of(levels: Sequence[Tracer], tensor: Tensor) -> Tensor:
    """The tensor of the world outside that one of a trace stands for, if it is an argument; otherwise itself."""
    for level in levels:
        if tensor in level.arguments:
            tensor = level.arguments[tensor][1]
    return tensor


def goes_outside(tensor: Tensor) -> bool:
    """Whether a tensor was computed outside every trace."""
    return tensor._tracer is None and not tensor.is_leaf


def check_targets(levels: Sequence[Tracer], reached: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """TraceError where the gradient of a target has a part that comes through what was computed outside."""
    targets = [outside_of(levels, target) for target in targets]
    roots = [tensor for tensor in reached if goes_outside(tensor)]
    for root in roots:
        behind = values_behind([root])
        for target in targets:
            if target is not root and target._tracer is None and target.requires_grad and value_of(target) in behind:
                raise _refused(
                    "the gradient of a tensor outside was asked for that has a part in what was computed from it "
                    "outside",
                    "compute that in the compiled function, too, or ask for the gradient outside of it",
                )
    for target in targets:
        watch = value_of(target).attached if goes_outside(target) else None
        if isinstance(watch, Watch) and watch.hooks:
            raise _refused(
                "the gradient of a tensor was asked for that was computed outside and has hooks",
                "register the hooks in the compiled function, or ask for the gradient outside of it",
            )


def check_retained(tracer: Tracer, tensor: Tensor) -> None:
    """TraceError where the gradient of what was computed outside is to be kept, and is not outside already."""
    levels = [tracer]
    while levels[-1].parent is not None:
        levels.append(levels[-1].parent)
    tensor = outside_of(levels, tensor)
    if goes_outside(tensor):
        watch = value_of(tensor).attached
        if not isinstance(watch, Watch) or watch.retained is None:
            raise _refused(
                "retain_grad() was called on a tensor that was computed outside", "call it before the compiled function"
            )


def check_roots(tracer: Tracer, reached: Sequence[Tensor], retain_graph: bool, create_graph: bool) -> None:
    """Whether a backward pass can go on outside after the call, from those of the tensors that were computed there.

    Errors: TraceError where it would differ from eager mode; RuntimeError where a pass before has freed the way.
    """
    roots = [tensor for tensor in reached if goes_outside(tensor)]
    if not roots:
        return
    if tracer.parent is not None or create_graph:
        how = "with create_graph=True" if create_graph else "in a branch or a loop"
        raise _refused(
            f"backward() {how} reached a tensor that was computed outside",
            "compute it in the compiled function, too, or call backward() outside of it",
        )
    behind, spent = values_behind(roots), tracer.captured.spent
    nodes = dict.fromkeys(value.node for value in behind if value.node is not None)
    check_alive(nodes, spent)
    hooked = {v for v in behind if isinstance(v.attached, Watch) and (v.attached.hooks or v.attached.post_hooks)}
    again = tracer.captured.onward and any(isinstance(n.attached, Recorded) and n.attached.hooks for n in nodes)
    if again or (hooked and tracer.captured.onward) or leaves_among(hooked) & {t for t in reached if t.is_leaf}:
        raise _refused(
            "hooks outside would see parts of a gradient at other times than in eager mode, as backward() goes on in "
            "what was computed outside",
            "compute it in the compiled function, too, or call backward() outside of it",
        )
    if not retain_graph:
        spent.update(node for node in nodes if _is_freed_by_a_pass(node))


def check_alive(nodes: Iterable[Node], spent: set[Node], written: Iterable[Memory] = ()) -> None:
    """Errors: RuntimeError if a pass through the nodes would fail, TraceError if it would after these are written."""
    from adjit.autograd.engine import check_version, freed

    memories = set(written)
    for node in nodes:
        entry = node.attached
        if node in spent or (isinstance(entry, Recorded) and entry.freed):
            raise freed(node)
        if not isinstance(entry, Recorded):
            continue
        if entry.fault is not None:
            raise RuntimeError(entry.fault)
        for kept in entry.saved:
            check_version(kept, node)
            if kept.memory in memories:
                raise _refused(
                    "a tensor was written that backward() needs as it was, going on in what was computed outside",
                    "compute it in the compiled function, too, or write the tensor after the call",
                )


def check_call(roots: Sequence[Tensor], histories: Iterable[Tensor], written: Iterable[Memory]) -> None:
    """Raise, before anything is written, what a pass from the roots would raise after the call (`check_alive`)."""
    memories = {tensor._memory for tensor in histories}
    if any(root._memory in memories for root in roots):
        raise _refused(
            "a tensor that was computed outside was written in place, and backward() goes on in what computed it",
            "write into a clone() of it",
        )
    check_alive(dict.fromkeys(v.node for v in values_behind(roots) if v.node is not None), set(), written)


def _is_freed_by_a_pass(node: Node) -> bool:
    from adjit.autograd.engine import OVERWRITES, saves_number

    entry = node.attached
    if not isinstance(entry, Recorded):
        return False
    return isinstance(entry.custom, Rule) or (entry.name not in OVERWRITES and bool(entry.kept or saves_number(node)))


def _refused(cause: str, hint: str) -> TraceError:
    return TraceError(f"in a compiled function, {cause}\n  hint: {hint}")
