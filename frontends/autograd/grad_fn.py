"""`grad_fn`: a thin view of a recorded node, named as PyTorch names it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from adjit.autograd.engine import check_version, freed, revive
from adjit.autograd.record import value_of
from adjit.autograd.tape import Recorded, TraceNode, Watch, edges_of
from adjit.execute import title
from adjit.ir.graph import Node, Value
from adjit.tensor import Tensor
from adjit.utils.hooks import Handles, Hooks, Prehook, RemovableHandle

# What PyTorch calls a function's second operand, where it is not `_saved_other`.
_SECOND = {"PowBackward0": "_saved_exponent", "PowBackward1": "_saved_exponent", "MmBackward0": "_saved_mat2"}


class GradFn:
    """A node of the backward graph; its class is called after the operation, as in `MulBackward0`."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def name(self) -> str:
        """The class's name; in PyTorch's namespaces for what the engine itself has made."""
        name = type(self).__name__
        return f"torch::autograd::{name}" if name == "CopySlices" else name

    @property
    def next_functions(self) -> tuple[tuple[GradFn | None, int], ...]:
        """For each operand: the function its gradient goes to, and which of that function's results it is.

        An operand that has no gradient, as a number, has (None, 0).
        """
        inputs = self.node.inputs
        return tuple((None, 0) if place is None else _function_of(inputs[place]) for place in edges_of(self.node))

    @property
    def metadata(self) -> dict[str, Any]:
        """What is noted of the function; anomaly detection puts the forward's lines there."""
        from adjit.autograd.anomaly import METADATA

        return METADATA.setdefault(self.node, {})

    def register_hook(self, hook: Callable[[Any, Any], Any]) -> RemovableHandle:
        """Call `hook(grad_inputs, grad_outputs)` when this function has been pulled back.

        `grad_inputs` has an entry for each operand; a returned tuple replaces it.
        """
        return RemovableHandle(self._hooks(), hook)

    def register_prehook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Call `hook(grad_outputs)` before this function is pulled back; a returned tuple replaces them."""
        return RemovableHandle(self._hooks(), Prehook(hook))

    def _hooks(self) -> Hooks:
        attached = self.node.attached
        if attached is None:
            attached = self.node.attached = TraceNode("")
        assert isinstance(attached, (Recorded, TraceNode))
        if attached.hooks is None:
            attached.hooks = Hooks()
        return attached.hooks

    def __getattr__(self, name: str) -> Any:
        """What `forward` left on the context of a user's function; `_saved_self` and its like of other functions.

        Those are the operands and results that the function has saved for its pullback.  Errors: RuntimeError where
        they were freed or overwritten, AttributeError where it saved no such one.
        """
        if name.startswith("_saved_") and isinstance(self.node, Recorded) and self.node.custom is None:
            found = _saved_of(self.node, name, _SECOND.get(self.name(), "_saved_other"))
            if found is not None:
                return found
        rule = None if name.startswith("__") else getattr(self.node.attached, "custom", None)
        if rule is not None and hasattr(rule, "ctx"):
            return getattr(rule.ctx, name)
        raise AttributeError(f"{self.name()!r} object has no attribute {name!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GradFn) and other.node is self.node

    def __hash__(self) -> int:
        return hash(self.node)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self.node):#x}>"


class AccumulateGrad(GradFn):
    """Where a leaf's gradient is accumulated; `variable` is the leaf."""

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable

    def name(self) -> str:
        """The class's name in PyTorch's namespaces."""
        return "torch::autograd::AccumulateGrad"

    @property
    def next_functions(self) -> tuple[tuple[GradFn | None, int], ...]:
        return ()

    @property
    def metadata(self) -> dict[str, Any]:
        return {}

    def register_hook(self, hook: Callable[[Any, Any], Any]) -> RemovableHandle:
        """Call `hook((), grad_outputs)` when the gradient has been accumulated."""
        arrived: list[Tensor] = []
        first = self.variable.register_hook(lambda gradient: arrived.append(gradient))
        last = self.variable.register_post_accumulate_grad_hook(lambda leaf: hook((), (arrived.pop(),)))
        return Handles((first, last))

    def register_prehook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Call `hook(grad_outputs)` before the gradient is accumulated; a returned tuple replaces it."""

        def before(gradient: Tensor) -> Tensor | None:
            found: Tensor = Prehook(hook)((gradient,))[0]
            return found

        return self.variable.register_hook(before)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccumulateGrad) and other.variable is self.variable

    def __hash__(self) -> int:
        return id(self.variable)

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self.variable):#x}>"


def _saved_of(node: Recorded, name: str, second: str) -> Any:
    """A value that a node saved, or a number among its operands; None where it saved no such one."""
    values = node.outputs if name == "_saved_result" else node.inputs
    index = {"_saved_self": 0, second: 1, "_saved_result": 0}.get(name, len(values))
    if index >= len(values):
        return None
    if values[index].constant is not None:
        return values[index].constant
    if node.freed:
        raise freed(node)
    kept = next((each for each in (*node.saved, *node.full) if each.value is values[index]), None)
    if kept is None:
        return None
    check_version(kept, node)
    watch = kept.value.attached
    leaf = watch.leaf() if isinstance(watch, Watch) and watch.leaf is not None else None
    return revive(kept) if leaf is None else leaf


@cache
def _class_named(name: str) -> type[GradFn]:
    return type(name, (GradFn,), {"__slots__": ()})


def grad_fn_of(tensor: Tensor) -> GradFn | None:
    """The view of the node that computed `tensor`, which is no leaf."""
    value = value_of(tensor)
    found = _function_of(value)[0]
    if (found is None or isinstance(found, AccumulateGrad)) and value.node is not None:  # steps without a name alone
        return _class_named(title(value.node.op.name) + "Backward0")(value.node)
    return found


def _function_of(value: Value) -> tuple[GradFn | None, int]:
    """The function of a value; steps that the user did not write are passed over."""
    node = value.node
    while node is not None and node.inputs:
        if not isinstance(node.attached, (Recorded, TraceNode)) or node.attached.name:
            break
        value = node.inputs[0]
        node = value.node
    if node is None:
        leaf = value.attached.leaf if isinstance(value.attached, Watch) else None
        variable = None if leaf is None else leaf()
        return (None if variable is None or not variable.requires_grad else AccumulateGrad(variable)), 0
    record = node.attached
    if not isinstance(record, (Recorded, TraceNode)):
        return None, 0
    whole = "Backward" in record.name or record.name == "CopySlices"
    name = record.name if whole else record.name + "Backward0"
    return _class_named(name)(node), value.index
