"""One traced program of a compiled function, and what it takes to use it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from adjit import trees
from adjit.call import Aliases, Call, aliases_among
from adjit.capture.numbers import kind_of, number
from adjit.captured import Joined, shared_gradient
from adjit.effects import Changes, Effect, Refill
from adjit.environment import Environment
from adjit.errors import tell
from adjit.ir.frozen import record
from adjit.ir.graph import Graph, Value, from_outputs
from adjit.ir.shape import Size
from adjit.ir.types import F64, TensorType
from adjit.links import agree_outside
from adjit.memory import Memory
from adjit.state import epoch_here
from adjit.tensor import Tensor
from adjit.trace import Tracer
from adjit.trace_arguments import check_aliases, shared_argument
from adjit.trace_parts import Explanation, Source, more_writes

if TYPE_CHECKING:
    from adjit.compiler.differentiate import Derivative
    from adjit.running import CompiledPullback
    from adjit.told_numbers import Asked
    from adjit.view_results import Step


@record
class Output:
    """One leaf of the result: `kind` is graph (a computed tensor), number (one as a Python number), argument or tensor
    (one that was given or captured), view (of one of these, by `steps`), or static (a Python value).  `fault` is set
    where autograd could not go back from the tensor, and says why; then `name` is that of its `grad_fn`.

    `places` are the program's outputs that say where the steps lead.  `choices` are what a computed tensor is instead,
    each where the program's output beside it is true.
    """

    kind: str
    index: int = -1
    tensor: Tensor | None = None
    value: Any = None
    requires_grad: bool = False
    fault: str | None = None
    name: str = ""
    steps: tuple[Step, ...] = ()
    places: tuple[int, ...] = ()
    choices: tuple[tuple[int, Output], ...] = ()


@record
class Entry:
    """One traced program and what it takes to use it again."""

    graph: Graph
    sources: list[Source]
    outputs: list[Output]
    structure: Any
    checks: list[Callable[[], bool]]
    grads: list[tuple[Tensor | int, int | None]]
    environment: Environment
    reason: str
    epoch: int = -1
    differentiable: bool = False
    onward: list[tuple[Tensor | int, int]] = field(default_factory=list)  # gradients for what computed these tensors
    fixed: list[tuple[Tensor | int, Tensor]] = field(default_factory=list)  # gradients that must be these very tensors
    retain_graph: bool = False  # whether that is kept
    takes_gradients: bool = False  # whether the function looked at gradients of its arguments
    executables: dict[Any, Any] = field(default_factory=dict)
    pullbacks: dict[tuple[bool, ...], CompiledPullback] = field(default_factory=dict)
    keep: list[Any] = field(default_factory=list)
    hooked: Derivative | None = None  # where hooks in the function see gradients that come from outside
    explanations: list[Explanation] = field(default_factory=list)
    memories: frozenset[Memory] = frozenset()  # of captured tensors
    coinciding: list[int] = field(default_factory=list)  # the tensor arguments that stand in one of them
    changed: frozenset[int] = frozenset()  # the tensor arguments that are written, or begin to require grad
    aliases: tuple[Aliases, ...] = ()  # what shares memory with these
    layouts: dict[int, bool] = field(default_factory=dict)  # whether the program relies on arguments being contiguous
    turned: list[tuple[int, tuple[Step, ...]]] = field(default_factory=list)  # arguments that t_() and the like change
    # Arguments (their numbers) and captured tensors that get the history of an output.
    histories: list[tuple[Tensor | int, int]] = field(default_factory=list)
    marked: list[tuple[int, bool]] = field(default_factory=list)  # arguments whose `requires_grad` the function sets
    effects: list[Effect | Refill] = field(default_factory=list)
    calls: int = 0
    memory_budget: int | None = None  # of bytes kept for a backward pass
    nan_checks: Any = None  # what the function itself asked to be looked for: NaN
    number: int = 0  # in the order in which programs were made
    call: Call | None = None  # the one that it was traced for
    asked: Sequence[Asked] = ()  # of floats among the call's tensors
    profile: dict[str, list[float]] | None = None  # measured seconds of the kernels of its programs

    def all_outputs(self) -> list[Output]:
        """The leaves of the result and of what a call puts elsewhere."""
        found = list(self.outputs)
        for effect in self.effects:
            if isinstance(effect, Effect):
                found += effect.outputs
            else:
                found += [output for item in effect.items if not isinstance(item, int) for output in item[0]]
        return found

    def open_outputs(self) -> list[int]:
        """The program's outputs that autograd can go back from."""
        found = [output.index for output in self.all_outputs() if output.kind == "graph" and output.requires_grad]
        return [*found, *(output for _, output in self.histories)]


def trace_entry(
    function: Callable[..., Any],
    call: Call,
    environment: Environment,
    dims: list[tuple[Size, ...]],
    hints: dict[str, int],
    reason: str,
    strict: bool,
    apart: set[Memory],
    together: set[Memory],
    joined: set[Memory],
) -> Entry:
    """Trace a function on a call's arguments, with `dims` for its tensors (open ones have the value in `hints`).

    Tensors without gradients on the memories in `apart` are cut off from the others; those in `together` are one input
    for all arguments on them, where other arguments have one each; gradients in `joined` are the tensors that they are.
    """
    name = getattr(function, "__name__", type(function).__name__)
    tracer = Tracer(name if name.isidentifier() else "function", hints, strict=strict)
    tracer.captured.apart, tracer.captured.joined = apart, joined
    own = [n for n, leaf in zip(argument_names(function, call), call.leaves, strict=True) if isinstance(leaf, Tensor)]
    names = [*own, *(_plain_name(str(place)) for place, _ in call.lifted)]
    tracer.spaces = list(environment.reach.spaces.values())
    changes = tracer.changes = Changes(tracer.spaces)
    held = [(place, place.read()) for place, _ in call.lifted]
    asked: list[Asked] = []
    try:
        with tracer:
            proxies = _proxies(tracer, call, dims, names, together)
            rest = iter(proxies)
            leaves = [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in call.leaves]
            for index in call.numbers:
                leaves[index] = _as_number(leaves[index], call, call.leaves[index], asked)
            for place, item in call.lifted:
                if isinstance(item, Tensor):
                    proxy, found = next(rest), place.read()
                    place.write(proxy if isinstance(found, Tensor) else _as_number(proxy, call, item, asked))
            args, kwargs = trees.unflatten(call.structure, leaves)
            changes.begin((args, kwargs))
            try:
                result = function(*args, **kwargs)
            except Exception as error:
                tell(error)
                raise
            if tracer.captured.unanswered is not None:  # which the function has caught: eager mode raises no such error
                raise tracer.captured.unanswered
            values: list[Value] = []
            found, structure = trees.flatten(result, none_is_leaf=True)
            agree_outside(tracer, [memory for memory, cell in tracer.cells.items() if cell.original is not None])
            outputs = _outputs(tracer, found, proxies, values)
            effects = changes.found(lambda leaves: _outputs(tracer, leaves, proxies, values))
            grads, onward = _grads(tracer, proxies, values), _onward(tracer, proxies, values)
            unsure = _unsure_grads(tracer, proxies, values)
            check_aliases(tracer)
            _check_gradients(tracer, call)
            writes = []
            for position, value in tracer.written():
                writes.append((position, len(values)))
                values.append(value)
            for source, more in more_writes(tracer.cells.values(), tracer.sources, tracer.graph.inputs):
                source.more_writes = len(values)
                values.append(tracer.value_of(more))
            histories = _histories(tracer, proxies, writes, values)
    finally:
        changes.undo()
        for place, item in held:  # places of adjit's own layers are in no space
            if place.read() is not item:
                place.write(item)
    graph = tracer.graph
    graph.outputs = tuple(values)
    graph.writes = tuple(writes)
    graph.guards = tuple(tracer.guards)
    keep = _drop_unused_inputs(tracer, graph)
    environment.ignore([*environment.reach.grown(), *tracer.captured.arrays])
    environment.add(effect.place for effect in effects if isinstance(effect, Effect) and effect.owner < 0)
    environment.watch(tracer.captured.read)
    checks = [*tracer.checks, *tracer.captured.checks(tracer.sources)]
    entry = Entry(graph, tracer.sources, outputs, structure, checks, grads, environment, reason)
    places = tracer.arguments
    entry.fixed = [(places[t][0] if t in places else t, gradient) for t, gradient in tracer.captured.fixed.items()]
    entry.onward, entry.retain_graph = onward, tracer.captured.retain_graph
    entry.keep = [keep, list(tracer._views.values())]
    entry.call, entry.asked = call, asked
    entry.effects, entry.histories = effects, histories
    lifted = {place.identity for place, _ in call.lifted}
    for effect in effects:
        if isinstance(effect, Effect):
            effect.lifted = effect.place.identity in lifted
    entry.effects += unsure
    entry.explanations = tracer.explanations
    entry.memories = frozenset(source.memory for source in tracer.sources if source.memory is not None)
    entry.coinciding = [i for i, tensor in enumerate(call.tensors) if tensor._memory in tracer.coinciding]
    entry.memories |= tracer.coinciding
    entry.layouts = tracer.layouts
    entry.turned = _turned(tracer, proxies)
    pairs = enumerate(zip(proxies, call.tensors, strict=True))
    entry.marked = [(index, proxy._requires_grad) for index, (proxy, tensor) in pairs if _is_marked(proxy, tensor)]
    entry.epoch = epoch_here()
    for source in tracer.sources:
        if source.tensor is not None:
            source.requires_grad, source.chain = source.tensor.requires_grad, source.tensor._chain
    marked = {index for index, _ in entry.marked}
    cells = [tracer.cells[proxy._memory] for proxy in proxies]
    entry.changed = frozenset(i for i, cell in enumerate(cells) if cell.value is not cell.original or i in marked)
    entry.aliases = aliases_among(call, entry.changed)
    entry.takes_gradients = any(proxy in tracer.grads for proxy in proxies)
    entry.nan_checks = tracer.nan_checks
    open_outputs = entry.open_outputs()
    entry.differentiable = bool(open_outputs)
    if entry.differentiable:
        from adjit.autograd.hooked import derivative_with_hooks

        entry.hooked = derivative_with_hooks(tracer, call.tensors, open_outputs)
    return entry


def argument_names(function: Callable[..., Any], call: Call) -> list[str]:
    """Names for all leaves of the arguments, from the function's parameters."""
    from inspect import signature

    try:
        # A module's own call takes anything.
        declared = signature(getattr(function, "forward", function)).parameters.values()
        parameters = [p for p in declared if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    except (TypeError, ValueError):
        parameters = []
    names: list[str] = []
    for kind, *rest in trees.paths_of(trees.unflatten(call.structure, call.leaves)):
        if kind == 0 and rest and isinstance(rest[0], int):
            first = parameters[rest[0]].name if rest[0] < len(parameters) else f"x{rest[0]}"
            rest = rest[1:]
        else:
            first = str(rest[0]) if rest else "x"
            rest = rest[1:]
        names.append(_plain_name("_".join([first, *map(str, rest)])))
    return names


def _plain_name(text: str) -> str:
    return "".join(c if c.isalnum() or c == "_" else "_" for c in text)


def _proxies(
    tracer: Tracer, call: Call, dims: Sequence[tuple[Size, ...]], names: Sequence[str], together: set[Memory]
) -> list[Tensor]:
    """The traced tensors that stand for a call's tensors."""
    proxies: list[Tensor] = []
    repeats = dict(call.repeats)
    for index, tensor in enumerate(call.tensors):
        if index in repeats:
            proxies.append(proxies[repeats[index]])
        elif tensor._memory in together:
            proxies.append(shared_argument(tracer, tensor, names[index], index))
        else:
            proxies.append(tracer.argument(TensorType(tensor._dtype, dims[index]), names[index], index, tensor))
    return proxies


def _as_number(proxy: Tensor, call: Call, tensor: Tensor, asked: list[Asked]) -> Tensor:
    """What a traced function finds where a number stood that counts as a tensor of the call."""
    if tensor._dtype is not F64:
        return number(proxy)
    from adjit.told_numbers import told

    assert tensor._array is not None
    place = next(place for place, own in enumerate(call.tensors) if own is tensor)
    return told(proxy, place, tensor._array.item(), asked, recorded=False)


def _outputs(tracer: Tracer, found: Sequence[Any], proxies: Sequence[Tensor], values: list[Value]) -> list[Output]:
    """What each leaf of a result is; what the graph returns for them joins `values`."""
    outputs: list[Output] = []
    places = {id(proxy): index for index, proxy in reversed(list(enumerate(proxies)))}
    for leaf in found:
        if not isinstance(leaf, Tensor):
            outputs.append(Output("static", value=leaf))
        elif kind_of(leaf) is not None:
            outputs.append(Output("number", len(values)))
            values.append(tracer.value_of(leaf))
        elif id(leaf) in places:
            outputs.append(Output("argument", places[id(leaf)]))
        elif leaf._tracer is not tracer:
            outputs.append(Output("tensor", tensor=leaf))
        else:
            value = tracer.operand(leaf, leaf.requires_grad)
            shown = _view(tracer, leaf, places, values)
            outputs.append(_output(tracer, leaf, value, len(values)) if shown is None else shown)
            values.append(value)
            if shown is None:
                outputs[-1].choices = _choices(tracer, leaf, places, values)
    return outputs


def _histories(
    tracer: Tracer, proxies: Sequence[Tensor], writes: Sequence[tuple[int, int]], values: list[Value]
) -> list[tuple[Tensor | int, int]]:
    """The arguments and captured tensors that took values which require grad in place, with the outputs that these are.

    Where another value was written since, outside autograd, the one with the history joins `values`.
    """
    outputs = {}
    for position, output in writes:
        source = tracer.sources[position]
        if source.kind == "argument":
            outputs[id(proxies[source.index]._memory)] = output
        elif source.memory is not None:
            outputs[id(source.memory)] = output
    taken: dict[Tensor, Tensor | int] = {tensor: tensor for tensor, *_ in tracer._undo if tensor._tracer is None}
    for index, proxy in enumerate(proxies):
        if proxy._requires_grad and not proxy._leaf:
            taken.setdefault(proxy, index)
    found: list[tuple[Tensor | int, int]] = []
    for tensor, target in taken.items():
        memory = tensor._memory
        if id(memory) not in outputs or tensor._base is not None:
            continue
        history = tracer.cells[memory].history
        found.append((target, outputs[id(memory)] if history is None else len(values)))
        if history is not None:
            values.append(history)
    return found


def _check_gradients(tracer: Tracer, call: Call) -> None:
    """Joined where a gradient shares memory with another tensor of a program that writes."""
    if tracer.written():
        memories = {source.memory for source in tracer.sources if source.kind == "tensor" and source.memory is not None}
        memory = shared_gradient(tracer.sources, call.tensors, memories)
        if memory is not None:
            raise Joined(memory)


def _is_marked(proxy: Tensor, tensor: Tensor) -> bool:
    """Whether the function has set the `requires_grad` of an argument that is no result."""
    return proxy._leaf and tensor._leaf and proxy._requires_grad is not tensor._requires_grad


def _turned(tracer: Tracer, proxies: Sequence[Tensor]) -> list[tuple[int, tuple[Step, ...]]]:
    """The arguments that the function made views of themselves, as `t_()` does, by these steps."""
    found: dict[Tensor, tuple[int, tuple[Step, ...]]] = {}
    for index, proxy in enumerate(proxies):
        if proxy._chain and proxy not in found:
            from adjit.view_results import first_chain, steps_of

            recording = proxy._requires_grad and not proxy._leaf
            if steps := steps_of(proxy._chain[len(first_chain(tracer, proxy)) :], recording):
                found[proxy] = index, steps
    return list(found.values())


def _view(tracer: Tracer, leaf: Tensor, places: dict[int, int], values: list[Value]) -> Output | None:
    """A result on the memory of an argument or a captured tensor, whose numbers the graph has for those who read it."""
    if "_made_by" not in leaf.__dict__:
        return None
    from adjit.view_results import steps_from_outside

    found = steps_from_outside(tracer, leaf)
    return None if found is None else _shown(tracer, *found, places, values)


def _shown(
    tracer: Tracer, root: Tensor, steps: tuple[Step, ...], places: dict[int, int], values: list[Value]
) -> Output | None:
    """What some steps show of an argument or a captured tensor; None where it is neither."""
    root = tracer.proxies.get(root, root)
    index = places.get(id(root), -1)
    if index < 0 and root._tracer is tracer:
        return None
    at = [place for step in steps for place in step.places]
    outputs = tuple(range(len(values), len(values) + len(at)))
    values += at
    tensor = root if index < 0 else None
    if steps:
        return Output("view", index, tensor, steps=steps, places=outputs)
    return Output("tensor", tensor=tensor) if index < 0 else Output("argument", index)


def _choices(
    tracer: Tracer, leaf: Tensor, places: dict[int, int], values: list[Value]
) -> tuple[tuple[int, Output], ...]:
    """What a computed result is instead, where the program's outputs say so."""
    if not any(cell.links for cell in tracer.cells.values()):
        return ()
    from adjit.view_results import choices

    found: list[tuple[int, Output]] = []
    for flag, root, steps in choices(tracer, leaf):
        shown = _shown(tracer, root, steps, places, values)
        if shown is not None:
            found.append((len(values), shown))
            values.append(tracer.value_of(flag))
    return tuple(found)


def _output(tracer: Tracer, tensor: Tensor, value: Value, index: int) -> Output:
    """A computed result; nothing is saved for a loss that the step itself went back from."""
    if not tensor.requires_grad:
        return Output("graph", index)
    from adjit.autograd.traced import fault

    leaves = list(tracer.leaves)
    found = fault(tracer, from_outputs("", leaves, [value]).nodes, [value], leaves)
    if found is None:
        return Output("graph", index, requires_grad=True)
    function = tensor.grad_fn
    return Output("graph", index, fault=found, name="" if function is None else function.name())


def _onward(tracer: Tracer, proxies: Sequence[Tensor], values: list[Value]) -> list[tuple[Tensor | int, int]]:
    """The gradients that go on outside: (tensor or argument index, graph output)."""
    places = {id(proxy): index for index, proxy in reversed(list(enumerate(proxies)))}
    found: list[tuple[Tensor | int, int]] = []
    for tensor, gradient in tracer.captured.onward.items():
        found.append((places.get(id(tensor), tensor), len(values)))
        values.append(tracer.value_of(gradient))
    return found


def _grads(tracer: Tracer, proxies: Sequence[Tensor], values: list[Value]) -> list[tuple[Tensor | int, int | None]]:
    """The gradients to hand to tensors after a call: (tensor or argument index, graph output or None)."""
    found: list[tuple[Tensor | int, int | None]] = []
    places = {id(proxy): index for index, proxy in reversed(list(enumerate(proxies)))}
    for tensor, gradient in tracer.grads.items():
        if gradient is not None and gradient is tracer.first_grads.get(tensor):
            continue
        if gradient is None and tensor in tracer.first_grads and tracer.first_grads[tensor] is None:
            continue
        if gradient is not None and not isinstance(gradient, Tensor):  # see _unsure_grads
            continue
        target: Tensor | int
        if id(tensor) in places:
            target = places[id(tensor)]
        elif tensor._tracer is None:
            target = tensor
        else:
            continue
        if gradient is None:
            found.append((target, None))
        else:
            found.append((target, len(values)))
            values.append(tracer.value_of(gradient))
    return found


def _unsure_grads(tracer: Tracer, proxies: Sequence[Tensor], values: list[Value]) -> list[Effect]:
    """The gradients that a branch may have set or not: after a call they are given, or None."""
    found: list[Effect] = []
    arguments = {id(proxy) for proxy in proxies}
    for tensor, gradient in tracer.grads.items():
        if gradient is None or isinstance(gradient, Tensor):
            continue
        from adjit.capture.gradients import GradPlace

        if id(tensor) in arguments:
            gradient.refuse()
        leaves, structure = trees.flatten((gradient.present, gradient.gradient))
        found.append(Effect(-1, GradPlace(tensor), _outputs(tracer, leaves, proxies, values), structure, lifted=True))
    return found


def _drop_unused_inputs(tracer: Tracer, graph: Graph) -> list[Any]:
    """Remove captured inputs that nothing reads (a gradient that was only looked at).

    Nodes that stay are those of the trace, on which hooks are.  What nothing reads and may fail is an output, too.
    """
    from adjit.ir.analysis import uses
    from adjit.ir.dead_code import dead_checks, live_nodes

    graph.outputs = (*graph.outputs, *dead_checks(graph))
    graph.nodes = live_nodes(graph)
    used = {value for node in graph.nodes for value in uses(node)}.union(graph.outputs)
    written = {source for source, _ in graph.writes}
    mapping = [
        index
        for index, (value, source) in enumerate(zip(graph.inputs, tracer.sources, strict=True))
        if source.kind == "argument" or value in used or index in written
    ]
    renumbered = {old: new for new, old in enumerate(mapping)}
    graph.inputs = tuple(graph.inputs[index] for index in mapping)
    graph.writes = tuple((renumbered[source], output) for source, output in graph.writes)
    tracer.sources = [tracer.sources[index] for index in mapping]
    return [source.tensor for source in tracer.sources]
