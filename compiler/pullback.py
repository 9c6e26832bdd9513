"""Pulling cotangents back through nodes, one rule at a time: the heart of reverse mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from adjit.ir.analysis import varies_with
from adjit.ir.builder import Builder, Expr
from adjit.ir.errors import DifferentiationError
from adjit.ir.graph import Node, Value
from adjit.ir.ops.chain import conjugated, scalar_vjp
from adjit.ir.primitive import primitive_named
from adjit.ir.types import TensorType

# Sees each finished cotangent of a value, and may replace it: how hooks take part.
Observer: TypeAlias = Callable[[Value, Expr], Expr]
# Sees the cotangents of a node's results and operands, and may replace the operands'.
NodeObserver: TypeAlias = Callable[[Node, Sequence[Expr | None], Sequence[Expr | None]], Sequence[Expr | None]]
# Gives the cotangents of a node's operands in place of its op's rule, or None to leave them to it; may replace those of
# its results in the list.
NodeRule: TypeAlias = Callable[[Node, "list[Expr | None]", set[Value]], "Sequence[Expr | None] | None"]

# Families whose written rules are adjoints of complex maps as they stand; others are for multiplying by derivatives.
ADJOINTS = ("linalg",)

# The note at a sum of cotangents.
SUM_OF_USES = "sum of the uses' cotangents"


def pull_back(
    builder: Builder,
    nodes: Sequence[Node],
    outputs: Sequence[Value],
    cotangents: Sequence[Expr],
    inputs: Sequence[Value],
    names: Mapping[Value, str],
    observe: Observer | None = None,
    observe_node: NodeObserver | None = None,
    rule: NodeRule | None = None,
) -> list[Expr | None]:
    """Emit the cotangents of `inputs`, given those of `outputs`; None where no path leads.

    `nodes` computed `outputs` from `inputs`, in order.  Nodes are emitted into `builder` and use forward values freely.
    """
    active = active_values(nodes, inputs)
    wanted = set(inputs)
    complete: dict[Value, Expr | None] = {}
    pending: dict[Value, list[Expr]] = {}
    for value, cotangent in zip(outputs, cotangents, strict=True):
        if value in active:
            pending.setdefault(value, []).append(cotangent)
    for node in reversed(nodes):
        if not any(value in pending for value in node.outputs):
            continue
        arriving = [_settle(builder, value, pending, names, node, observe) for value in node.outputs]
        complete.update((value, c) for value, c in zip(node.outputs, arriving, strict=True) if value in wanted)
        builder.location = node.location.derived("∂", _note(node), f"cotangents of what {node.op.name} takes")
        own = None if rule is None else rule(node, arriving, active)
        found = _cotangents(builder, node, arriving, active) if own is None else own
        if observe_node is not None and node.attached is not None:
            found = observe_node(node, arriving, found)
        varying = {*varies_with(node)} & active
        for value, contribution in zip(node.inputs, found, strict=True):
            if contribution is not None and value in varying:
                pending.setdefault(value, []).append(contribution)
    for value in inputs:
        if value not in complete:
            complete[value] = _settle(builder, value, pending, names, None, observe)
    return [complete[value] for value in inputs]


def pull_back_since(
    builder: Builder,
    start: int,
    outputs: Sequence[Value],
    cotangents: Sequence[Expr | None],
    inputs: Sequence[Value],
) -> list[Expr | None]:
    """The same through the builder's nodes from number `start` on; None stands for a cotangent of 0.

    What is emitted afterwards has the location of before.
    """
    given = [(value, c) for value, c in zip(outputs, cotangents, strict=True) if c is not None]
    location = builder.location
    nodes = builder.region.nodes[start:]
    found = pull_back(builder, nodes, [value for value, _ in given], [c for _, c in given], inputs, {})
    builder.location = location
    return found


def active_values(nodes: Sequence[Node], inputs: Sequence[Value]) -> set[Value]:
    """The floating values that vary with `inputs`."""
    active = {value for value in inputs if value.dtype.is_continuous}
    for node in nodes:
        if any(value in active for value in varies_with(node)):
            active.update(value for value in node.outputs if value.dtype.is_continuous)
    return active


def values_behind(nodes: Sequence[Node], results: Sequence[Value]) -> set[Value]:
    """The floating values that `results` vary with."""
    found = {value for value in results if value.dtype.is_continuous}
    for node in reversed(nodes):
        if not found.isdisjoint(node.outputs):
            found.update(value for value in varies_with(node) if value.dtype.is_continuous)
    return found


def _settle(
    builder: Builder,
    value: Value,
    pending: dict[Value, list[Expr]],
    names: Mapping[Value, str],
    node: Node | None,
    observe: Observer | None,
) -> Expr | None:
    """The sum of the contributions that reached `value`, named after it."""
    contributions = pending.pop(value, None)
    if contributions is None:
        return None
    if len(contributions) > 1:
        before = builder.location
        builder.location = (
            replace(before, note=SUM_OF_USES) if node is None else node.location.derived("∂", SUM_OF_USES)
        )
    total = contributions[0]
    for contribution in contributions[1:]:
        total = total + contribution
    name = names.get(value, value.name)
    if name and total.value.name is None and total.value.constant is None:
        total.value.name = f"d{name}"
    return total if observe is None else observe(value, total)


def _cotangents(
    builder: Builder, node: Node, arriving: Sequence[Expr | None], active: set[Value]
) -> Sequence[Expr | None]:
    """One cotangent (or None) per operand of `node`."""
    op = node.op
    if op.family == "control":
        from adjit.compiler.pullback_control import control_cotangents

        return control_cotangents(builder, node, arriving, active)
    operands = builder.exprs(node.inputs)
    attributes: dict[str, Any] = dict(node.attributes)
    if len(node.outputs) == 1:
        g: Any = arriving[0]
        out: Any = builder.expr(node.outputs[0])
    else:
        g = tuple(
            zeros(builder, value.type) if cotangent is None and value.dtype.is_continuous else cotangent
            for value, cotangent in zip(node.outputs, arriving, strict=True)
        )
        out = builder.exprs(node.outputs)
    if op.family == "scalar":
        found = scalar_vjp(op, g, out, *operands, **attributes)
    elif op.vjp_rule is not None:
        rule = partial(op.vjp_rule, **attributes)
        found = rule(g, out, *operands) if op.family in ADJOINTS else conjugated(rule, g, out, *operands)
    elif op.transpose_rule is not None:
        rule = partial(op.transpose_rule, **attributes)
        found = conjugated(rule, g, *operands) if op.multilinear else rule(g, *operands)
    else:
        raise DifferentiationError(f"{op.name} has no derivative ({node.location})")
    return found if isinstance(found, (tuple, list)) else (found,)


def zeros(builder: Builder, type: TensorType) -> Expr:
    """A zero of `type`."""
    zero = builder.expr(builder.constant(0, type.dtype))
    if not type.dims:
        return zero
    result = primitive_named("expand")(zero, shape=type.dims)
    assert isinstance(result, Expr)
    return result


def seed(builder: Builder, type: TensorType) -> Value:
    """A zero to transpose a linear program at: a node of its own, so that a pass tells it from other zeros."""
    return builder.emit(primitive_named("detach"), [zeros(builder, type).value]).output


def _note(node: Node) -> str:
    """What the reader of a backward line wants to know: the derivative's formula, for a scalar function."""
    if node.op.family != "scalar" or node.op.name in ("add", "sub", "mul", "div", "neg", "where", "cast", "safe_mul"):
        return ""
    from adjit.ir.partials import partial_text

    texts = [partial_text(node.op, index) for index in range(len(node.inputs))]
    return "; ".join(f"{node.op.name}' = {text}" for text in texts if text)
