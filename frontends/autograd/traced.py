"""Backward inside a trace: cotangents are emitted into the running program, last node first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from adjit.autograd.record import outer_watch, run_post_hooks, value_of
from adjit.autograd.tape import TraceNode, Watch, edges_of
from adjit.compiler.pullback import active_values, pull_back
from adjit.ir.analysis import has_rule
from adjit.ir.builder import Expr
from adjit.ir.errors import TraceError
from adjit.ir.graph import Graph, Node, Region, Value, from_outputs
from adjit.ir.primitive import primitive_named
from adjit.ir.printer import value_names
from adjit.ir.rewrite import inline
from adjit.ir.shape import Size
from adjit.ir.types import TensorType
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.utils.hooks import Prehook

if TYPE_CHECKING:
    from adjit.compiler.differentiate import Derivative
    from adjit.trace import Tracer


def backward(
    tracer: Tracer,
    outputs: Sequence[Tensor],
    seeds: Sequence[Tensor],
    retain_graph: bool,
    create_graph: bool,
    inputs: Sequence[Tensor] | None,
) -> None:
    """Emit the backward pass, and accumulate into the leaves' gradients."""
    chosen = None if inputs is None else {tracer.inside(leaf) for leaf in inputs}
    levels = list(_around(tracer))
    _check_onward(tracer, levels, outputs, inputs, retain_graph, create_graph)
    values = {leaf: value for level in reversed(levels) for value, leaf in level.leaves.items()}
    leaves = [leaf for leaf in values if chosen is None or leaf in chosen]
    of_level = [{leaf: value for value, leaf in level.leaves.items()} for level in levels]
    wanted = [[known.get(leaf) for leaf in leaves] for known in of_level]
    found = _gradients_outward(tracer, levels, outputs, seeds, wanted, retain_graph, create_graph)
    for leaf, gradient in zip(leaves, found, strict=True):
        if gradient is None:
            continue
        value = values[leaf]
        if chosen is None and _goes_on(tracer, leaf):
            known = tracer.captured.onward.get(leaf)
            total = gradient if known is None else tracer.apply(primitive_named("add"), (known, gradient), {}, "Add")
            tracer.captured.goes_on(tracer, leaf, total)
            tracer.captured.retain_graph |= retain_graph
            continue
        present = tracer.gradient_slot(leaf)
        if present is not None and not isinstance(present, Tensor):
            gradient = _sum(tracer, (present.gradient, gradient))  # zeros where there is none
            present = None
        if present is None:
            tracer.set_grad(leaf, gradient)
        else:
            total = tracer.apply(primitive_named("add"), (present, gradient), {}, "Add")
            if create_graph:
                tracer.set_grad(leaf, total)
            else:
                tracer.write(present, total)
        for watch in _watches(next(level for level in levels if value in level.leaves), value):
            run_post_hooks(leaf, watch)


def _check_onward(
    tracer: Tracer,
    levels: Sequence[Tracer],
    outputs: Sequence[Tensor],
    targets: Sequence[Tensor] | None,
    retain_graph: bool,
    create_graph: bool,
) -> None:
    """Errors: where the pass meets what was computed outside, and would differ there from eager mode (`onward`)."""
    from adjit.autograd import onward

    level = levels[0]
    roots = [level.operand(output, True) for output in outputs]
    leaves = {value: onward.outside_of(levels, leaf) for around in levels for value, leaf in around.leaves.items()}
    if not any(onward.goes_outside(leaf) for leaf in leaves.values()):
        return
    values = list(level.leaves)
    found = set(roots)
    for node, needs in _passed(from_outputs("", values, roots).nodes, roots, values):
        found.update(value for value, need in zip(node.inputs, needs, strict=True) if need)
    reached = [leaf for value, leaf in leaves.items() if value in found or value not in level.leaves]
    if targets is None:
        onward.check_roots(tracer, reached, retain_graph, create_graph)
    else:
        onward.check_targets(levels, reached, targets)


def _goes_on(tracer: Tracer, leaf: Tensor) -> bool:
    """Whether a tensor was computed outside the trace, so that its gradient goes on there after the call."""
    origin = tracer.arguments[leaf][1] if leaf in tracer.arguments else leaf
    return tracer.parent is None and origin._tracer is None and not origin.is_leaf


def gradients(
    tracer: Tracer,
    outputs: Sequence[Tensor],
    seeds: Sequence[Tensor],
    targets: Sequence[Tensor],
    retain_graph: bool,
    create_graph: bool,
) -> list[Tensor | None]:
    """The gradients of `outputs` with respect to `targets`."""
    levels = list(_around(tracer))
    if not levels[-1].bridged:
        _check_onward(tracer, levels, outputs, targets, retain_graph, create_graph)
    wanted = [[level.gradient_value(t) if level.holds(t) else None for t in targets] for level in levels]
    return _gradients_outward(tracer, levels, outputs, seeds, wanted, retain_graph, create_graph, targets)


def _around(tracer: Tracer) -> Iterator[Tracer]:
    """The trace and, for one of a branch or a loop, those around it."""
    level: Tracer | None = tracer
    while level is not None:
        yield level
        level = level.parent if level.bridged else None


def _gradients_outward(
    tracer: Tracer,
    levels: Sequence[Tracer],
    outputs: Sequence[Tensor],
    seeds: Sequence[Tensor],
    wanted: Sequence[Sequence[Value | None]],
    retain_graph: bool,
    create_graph: bool,
    targets: Sequence[Tensor] = (),
) -> list[Tensor | None]:
    """The gradients of what each level wants, together: the pass goes on in the traces around this one.

    `wanted` has a value, or None, for each target at each level.  Where no trace is left it goes on on the tape, to
    `targets`.
    """
    level, here = levels[0], wanted[0]
    roots = [level.operand(output, True) for output in outputs]  # which may bring in what they stand for outside
    on_tape = len(levels) == 1 and level.bridged
    bridges = level.bridges() if len(levels) > 1 or on_tape else []
    passed = {value for value, outer in bridges if outer is not None}
    here = [None if value in passed else value for value in here]  # it is found where the bridge leads to
    values = [*(value for value in here if value is not None), *(value for value, _ in bridges)]
    cotangents = iter(gradients_of_values(tracer, roots, seeds, values, retain_graph, create_graph, level))
    found = [None if value is None else next(cotangents) for value in here]
    arrived = [(outer, c) for (_, outer), c in zip(bridges, cotangents, strict=True) if c is not None]
    if any(outer is None for outer, _ in arrived):
        raise TraceError(
            "backward() in a loop on a traced tensor goes back into the steps before\n"
            "  hint: detach() what one step hands to the next, or call backward() after the loop"
        )
    if not arrived:
        return found
    outer, further = [x for x, _ in arrived if x is not None], [c for _, c in arrived]
    if on_tape:
        if not targets:
            raise RuntimeError(
                "backward() called inside a functorch transform. This is not supported, please use functorch.grad or "
                "functorch.vjp instead or call backward() outside of functorch transforms."
            )
        more = _gradients_on_tape(tracer, outer, further, targets, retain_graph, create_graph)
    else:
        more = _gradients_outward(tracer, levels[1:], outer, further, wanted[1:], retain_graph, create_graph, targets)
    return [_sum(tracer, pair) for pair in zip(found, more, strict=True)]


def _gradients_on_tape(
    tracer: Tracer,
    outputs: Sequence[Tensor],
    seeds: Sequence[Tensor],
    targets: Sequence[Tensor],
    retain_graph: bool,
    create_graph: bool,
) -> list[Tensor | None]:
    """The gradients of what was recorded outside every trace, given traced ones: the pass is a part of the trace."""
    from adjit.autograd.engine import run_pass

    values = [value_of(target) if target._tracer is None else None for target in targets]
    wanted = [value for value in values if value is not None]
    found = run_pass([value_of(output) for output in outputs], seeds, retain_graph, True, wanted)
    given = [None if value is None else found.get(value) for value in values]
    return [None if g is None else _gradient(tracer, tracer.value_of(g), create_graph) for g in given]


def _sum(tracer: Tracer, pair: tuple[Tensor | None, Tensor | None]) -> Tensor | None:
    one, other = pair
    if one is None or other is None:
        return other if one is None else one
    total: Tensor = tracer.apply(primitive_named("add"), (one, other), {}, "Add")
    return total


def gradients_of_values(
    tracer: Tracer,
    roots: Sequence[Value],
    seeds: Sequence[Tensor],
    wanted: Sequence[Value],
    retain_graph: bool,
    create_graph: bool,
    level: Tracer,
) -> list[Tensor | None]:
    """The cotangents of `wanted`, given those of `roots`, as traced tensors.

    `level` is the trace that computed the roots: `tracer`, which the pass is emitted into, or one around it.
    """
    nodes = from_outputs("", list(level.leaves), roots).nodes
    found_fault = fault(level, nodes, roots, wanted)
    if found_fault is not None:
        raise RuntimeError(found_fault)
    _keep_steps(tracer, nodes, wanted)
    start = len(tracer.graph.nodes)
    before, outer = STATE.recording, STATE.sweep
    STATE.recording, STATE.sweep = create_graph, Sweep(level, nodes, roots, wanted)
    try:
        found = pull_back(
            tracer.builder,
            nodes,
            roots,
            [tracer.builder.expr(tracer.value_of(seed)) for seed in seeds],
            wanted,
            value_names(level.graph),
            lambda value, cotangent: observe(tracer, value, cotangent, create_graph, level),
            lambda node, arriving, found: observe_node(tracer, node, arriving, found, create_graph),
            lambda node, arriving, active: before_node(tracer, node, arriving, active, create_graph),
        )
    finally:
        STATE.recording, STATE.sweep = before, outer
    if not retain_graph:
        tracer.freed.update(node for node, _ in _passed(nodes, roots, wanted))
    if not tracer.strict and (create_graph or any(node.location.origin for node in nodes)):
        found = _collected(tracer, nodes, start, wanted, found)
    tracer.note_dependence(start)
    return [None if c is None else _gradient(tracer, c.value, create_graph) for c in found]


def _collected(
    tracer: Tracer, nodes: Sequence[Node], start: int, wanted: Sequence[Value], found: Sequence[Expr | None]
) -> list[Expr | None]:
    """The cotangents with like terms collected."""
    from adjit.compiler.collect import collect

    outputs = [c.value for c in found if c is not None]
    new = iter(tracer.builder.exprs(collect(tracer.builder, nodes, start, wanted, outputs)))
    return [None if c is None else next(new) for c in found]


class Sweep:
    """What hooks on several gradients ask of a backward pass."""

    def __init__(self, tracer: Tracer, nodes: Sequence[Node], roots: Sequence[Value], wanted: Sequence[Value]) -> None:
        self.tracer = tracer
        self.parts = (nodes, roots, wanted)

    def reaches(self, tensor: Tensor) -> bool:
        """Whether this pass computes the tensor's gradient."""
        found = set(self.parts[1])
        for node, needs in _passed(*self.parts):
            found.update(value for value, need in zip(node.inputs, needs, strict=True) if need)
        return self.tracer.gradient_value(tensor) in found


# -- calls ------------------------------------------------------------------------------------------------------------
def _through_call(
    tracer: Tracer, node: Node, arriving: Sequence[Expr | None], active: set[Value]
) -> Sequence[Expr | None] | None:
    """The cotangents of a composite's operands; the call is made to return also what its backward body takes."""
    callee = node.attributes.get("callee")
    if not isinstance(callee, Graph) or has_rule(node):
        return None
    wrt = tuple(index for index, value in enumerate(node.inputs) if value in active)
    seeded = tuple(index for index, cotangent in enumerate(arriving) if cotangent is not None)
    derivative = _derivative(callee, wrt, seeded)
    source = derivative.forward
    count = len(callee.outputs)
    place = dict(zip((*source.inputs, *source.outputs[:count]), (*node.inputs, *node.outputs), strict=True))
    more = [value for value in dict.fromkeys(derivative.residuals) if value not in place]
    if more:
        outputs = (*source.outputs[:count], *more)
        longer = Graph(callee.name, source.inputs, source.nodes, outputs, callee.guards)
        node.attributes = {**node.attributes, "callee": longer}
        place.update(zip(more, _more_results(tracer, node, [value.type for value in more]), strict=True))
    builder = tracer.builder
    start, location = len(tracer.graph.nodes), builder.location
    given = [c.value for c in arriving if c is not None]
    reached = inline(builder, derivative.backward, [*given, *(place[value] for value in derivative.residuals)])
    for each in tracer.graph.nodes[start:]:  # the body serves many callers: its lines get this call's place
        own = each.location
        each.location = location.renewed(location.origin, own.note, (*location.steps, *own.steps))
        for value in each.outputs:
            value.name = None
    found: list[Expr | None] = [None] * len(node.inputs)
    for index, value in zip(derivative.reached, reached, strict=True):
        found[index] = builder.expr(value)
    return found


def _more_results(tracer: Tracer, node: Node, types: Sequence[TensorType]) -> tuple[Value, ...]:
    """Let a node of the trace have more results, of these types."""
    count = len(node.outputs)
    made = tuple(Value(type, None, node, count + index) for index, type in enumerate(types))
    node.outputs = (*node.outputs, *made)
    if any(tracer.depends(value) for value in node.inputs):
        tracer.note_values(made)
    return made


def _keep_steps(tracer: Tracer, nodes: Sequence[Node], wanted: Sequence[Value]) -> None:
    """Let scans keep of each step what going back to `wanted` reads."""
    scans = [node for node in nodes if node.op.name == "scan"]
    active = active_values(nodes, wanted) if scans else set()
    for node in scans:
        if not any(value in active for value in node.outputs):
            continue
        from adjit.compiler.keep import extended  # where a loop is gone back through

        region = extended(node, [value in active for value in node.inputs])
        more = region.outputs[len(node.outputs) :]
        node.regions = (region,)
        length: Size = node.attributes["length"]  # type: ignore[assignment]
        _more_results(tracer, node, [value.type.with_dims((length, *value.dims)) for value in more])


@lru_cache(maxsize=1024)
def _derivative(callee: Graph, wrt: tuple[int, ...], seeded: tuple[int, ...]) -> Derivative:
    from adjit.compiler.differentiate import differentiate

    return differentiate(callee, wrt, seeded)


# -- saved values -----------------------------------------------------------------------------------------------------
def fault(tracer: Tracer, nodes: Sequence[Node], roots: Sequence[Value], wanted: Sequence[Value]) -> str | None:
    """Why eager mode could not go back from `roots` to `wanted`: values it saved were freed, or overwritten since.

    A trace keeps every value, so this is a rule of the language, not a need.
    """
    if not tracer.freed and not tracer.has_writes:
        return None
    from adjit.autograd.engine import FREED, OVERWRITES, modified, saves_number

    for node, needs in _passed(nodes, roots, wanted):
        written = any(tracer.is_overwritten(value) for value in (*node.inputs, *node.outputs))
        if node not in tracer.freed and not written:
            continue
        saved = _saved_by(node, needs)
        if node in tracer.freed and _function_of(node.outputs[0]) not in OVERWRITES and (saved or saves_number(node)):
            return FREED
        for value in saved if written else ():
            if tracer.is_overwritten(value):
                made, expected, line = tracer.write_over(value)
                return modified(value, _function_of(value), made, expected, node, line)
    return None


def _passed(
    nodes: Sequence[Node], roots: Sequence[Value], wanted: Sequence[Value]
) -> Iterator[tuple[Node, tuple[bool, ...]]]:
    """The nodes that a backward pass goes through, last first, and which of their operands it goes on to."""
    active = active_values(nodes, wanted)
    reached = {value for value in roots if value in active}
    for node in reversed(nodes):
        if not any(value in reached for value in node.outputs):
            continue
        wrt = node.attributes["wrt"] if has_rule(node) else range(len(node.inputs))
        needs = tuple(value in active and index in wrt for index, value in enumerate(node.inputs))  # type: ignore[operator]
        reached.update(value for value, need in zip(node.inputs, needs, strict=True) if need)
        yield node, needs


def _saved_by(node: Node, needs: tuple[bool, ...]) -> list[Value]:
    """The values that eager mode keeps for a node's pullback."""
    callee, rule = node.attributes.get("callee"), node.attributes.get("vjp", node.attributes.get("jvp"))
    if isinstance(rule, Graph):
        return _read(rule, [*node.inputs, *node.outputs])
    if isinstance(callee, Graph):
        from adjit.body_derivative import derivative_of

        place = dict(zip((*callee.inputs, *callee.outputs), (*node.inputs, *node.outputs), strict=True))
        derivative = derivative_of(callee, needs)
        return [place.get(value, value) for value in _read(derivative.backward, derivative.residuals)]
    if node.regions:
        return [value for region in node.regions for value in _saved_inside(node, region)]
    from adjit.compiler.nodewise import literal_of, pullback_of

    found = pullback_of(
        node.op,
        [value.type for value in node.inputs],
        node.attributes,
        [literal_of(v.constant) for v in node.inputs],  # type: ignore[arg-type]
        needs,
        [value.type for value in node.outputs],
        node.regions,
    )
    return _read(found.graph, [(node.inputs if side == "in" else node.outputs)[index] for side, index in found.saved])


def _read(graph: Graph, values: Sequence[Value]) -> list[Value]:
    """Those of some values, the last that a graph takes, whose numbers it reads: others only tell it open sizes."""
    used = {value for inner in graph.nodes for value in inner.inputs} | set(graph.outputs)
    own = graph.inputs[len(graph.inputs) - len(values) :]
    return [value for value, inner in zip(values, own, strict=True) if inner in used]


def _saved_inside(node: Node, region: Region) -> Iterator[Value]:
    """The operands and results of a branch or a loop that eager mode keeps for what its region computes of them."""
    given, made = node.inputs[-len(region.inputs) :] if region.inputs else (), node.outputs
    outside = dict([*zip(region.inputs, given, strict=True), *zip(region.outputs, made, strict=False)])
    wanted = [value for value in region.inputs if value.dtype.is_continuous]
    for inner, needs in _passed(region.nodes, region.outputs, wanted):
        yield from (outside[value] for value in _saved_by(inner, needs) if value in outside)


def _function_of(value: Value) -> str:
    attached = None if value.node is None else value.node.attached
    return attached.name if isinstance(attached, TraceNode) else ""


# -- hooks ------------------------------------------------------------------------------------------------------------
def _gradient(tracer: Tracer, value: Value, create_graph: bool) -> Tensor:
    return tracer.wrap(value, requires_grad=create_graph and tracer.depends(value))


def observe(
    tracer: Tracer, value: Value, cotangent: Expr, create_graph: bool, level: Tracer | None = None
) -> Expr:
    """Run the hooks of a value, which `level` computed, on its complete cotangent."""
    watches = _watches(tracer if level is None else level, value)
    if not watches:
        return cotangent
    gradient = _gradient(tracer, cotangent.value, create_graph)
    for watch in watches:
        gradient = watch.hooked(gradient)
        kept = None if watch.retained is None else watch.retained()
        if kept is not None:
            present = tracer.gradient_slot(kept)
            total = (present, gradient) if isinstance(present, Tensor) else None
            tracer.set_grad(kept, gradient if total is None else tracer.apply(primitive_named("add"), total, {}, "Add"))
    return tracer.builder.expr(tracer.value_of(gradient))


def _watches(tracer: Tracer, value: Value) -> list[Watch]:
    """What watches a value: in the trace, and for a leaf from outside also what was put there before; where gradients
    go on outside, that sees them there."""
    found = [value.attached] if isinstance(value.attached, Watch) else []
    leaf = tracer.leaves.get(value)
    if leaf is not None and not _goes_on(tracer, leaf):
        watch = outer_watch(tracer.arguments[leaf][1] if leaf in tracer.arguments else leaf)
        if watch is not None and watch not in found:
            found.insert(0, watch)
    return found


def before_node(
    tracer: Tracer, node: Node, arriving: list[Expr | None], active: set[Value], create_graph: bool
) -> Sequence[Expr | None] | None:
    """Let a node's prehooks replace the cotangents of its results; then those of a call's operands."""
    attached = node.attached
    for hook in tuple(attached.hooks.values()) if isinstance(attached, TraceNode) and attached.hooks else ():
        if isinstance(hook, Prehook):
            found = hook(tuple(None if c is None else _gradient(tracer, c.value, create_graph) for c in arriving))
            arriving[:] = [None if g is None else tracer.builder.expr(tracer.value_of(g)) for g in found]
    return _through_call(tracer, node, arriving, active)


def observe_node(
    tracer: Tracer, node: Node, arriving: Sequence[Expr | None], found: Sequence[Expr | None], create_graph: bool
) -> Sequence[Expr | None]:
    """Run the hooks of a node on the cotangents of its operands and results."""
    if not isinstance(node.attached, TraceNode) or not node.attached.hooks:
        return found
    result = [None if c is None else _gradient(tracer, c.value, create_graph) for c in arriving]
    places = edges_of(node)

    def gradient_of(place: int | None) -> Tensor | None:
        cotangent = None if place is None or not tracer.depends(node.inputs[place]) else found[place]
        return None if cotangent is None else _gradient(tracer, cotangent.value, create_graph)

    given = tuple(map(gradient_of, places))
    for hook in tuple(node.attached.hooks.values()):
        if isinstance(hook, Prehook):
            continue
        replaced = hook(given, tuple(result))
        if replaced is not None:
            given = (replaced,) if isinstance(replaced, Tensor) else tuple(replaced)
    changed = list(found)
    for place, gradient in zip(places, given, strict=True):
        if place is not None and found[place] is not None and gradient is not None:
            changed[place] = tracer.builder.expr(tracer.value_of(gradient))
    return changed
