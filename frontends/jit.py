"""`adjit.compile`: functions, modules and whole training steps as native programs.

A call looks for an entry whose signature and guards fit; without one the function is traced again.  A dimension whose
size changes from one call to the next is kept open in the second trace, so that one program serves all its sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import update_wrapper
from threading import RLock
from typing import Any

import numpy as np
import optree

from adjit.autograd.record import Record, Saved, link, mark_leaf, save, value_of
from adjit.composite import derivative_of, next_sequence
from adjit.environment import Environment
from adjit.epoch import EPOCH
from adjit.ir.errors import ShapeError
from adjit.ir.graph import Graph, Node, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.shape import Dim, Size
from adjit.ir.types import TensorType
from adjit.runtime.interpreter import bind_sizes
from adjit.state import STATE, user_location
from adjit.symbolic_size import Respecialize
from adjit.tensor import Tensor
from adjit.trace import Source, Tracer

_NAMES = ("n", "m", "p", "q", "r", "s")


@dataclass(slots=True)
class Output:
    """One leaf of the result: `kind` is graph (a computed tensor), input (a tensor given or captured, by way of views),
    or static (a Python value)."""

    kind: str
    index: int = -1
    tensor: Tensor | None = None
    value: Any = None
    requires_grad: bool = False


@dataclass(slots=True)
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
    executables: dict[Any, Any] = field(default_factory=dict)
    keep: list[Any] = field(default_factory=list)
    calls: int = 0


class CompiledFunction:
    """A function that runs as native code; made by `adjit.compile`.

    `graph`, `stages`, `llvm` and `asm` show the program for given arguments; `explain` says why each was made.
    """

    def __init__(self, function: Callable[..., Any], *, strict: bool, dynamic: bool | None, threads: int | None) -> None:
        self.function = function
        self.strict = strict
        self.dynamic = dynamic
        self.threads = threads
        self._entries: dict[Any, list[Entry]] = {}
        self._shapes: dict[Any, list[tuple[tuple[int, ...], ...]]] = {}
        self._fixed: dict[Any, set[tuple[int, int]]] = {}
        self._lock = RLock()
        update_wrapper(self, function, updated=())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and name != "__dict__":
            raise AttributeError(name)
        return getattr(self.__dict__["function"], name)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        from types import MethodType

        return MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if STATE.tracer is not None:
            return self.function(*args, **kwargs)
        call = _Call(args, kwargs)
        entry = self._entry(call)
        entry.calls += 1
        return _run(self, entry, call)

    # -- looking in -------------------------------------------------------------------------------------------------
    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The traced program for these arguments; the function is traced if need be, and not run."""
        return self._entry(_Call(args, kwargs)).graph

    def backward_graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The backward graph of the traced program, with respect to all its floating inputs."""
        from adjit.compiler.differentiate import differentiate

        return differentiate(self.graph(*args, **kwargs)).backward

    def stages(self, *args: Any, **kwargs: Any) -> dict[str, str]:
        """The program's text after each stage of the compiler, the last ones being LLVM and assembly."""
        from adjit.compiler.pipeline import assembly_of, llvm_of, stages

        graph = self.graph(*args, **kwargs)
        texts = {name: str(stage) for name, stage in stages(graph)}
        texts["llvm"] = llvm_of(graph, strict=self.strict, threads=self.threads)
        texts["asm"] = assembly_of(graph, strict=self.strict, threads=self.threads)
        return texts

    def llvm(self, *args: Any, optimized: bool = False, **kwargs: Any) -> str:
        """The LLVM text of the program for these arguments."""
        from adjit.compiler.pipeline import llvm_of

        return llvm_of(self.graph(*args, **kwargs), strict=self.strict, threads=self.threads, optimized=optimized)

    def asm(self, *args: Any, **kwargs: Any) -> str:
        """The assembly of the program for these arguments."""
        from adjit.compiler.pipeline import assembly_of

        return assembly_of(self.graph(*args, **kwargs), strict=self.strict, threads=self.threads)

    def explain(self) -> str:
        """The programs in the cache, why each was made, and how often each was called."""
        lines = []
        for entries in self._entries.values():
            for entry in entries:
                guards = " where " + ", ".join(map(str, entry.graph.guards)) if entry.graph.guards else ""
                types = ", ".join(f"{v.name}: {v.type}" for v in entry.graph.inputs)
                lines.append(f"@{entry.graph.name}({types}){guards}: {entry.reason}; {entry.calls} calls")
        return "\n".join(lines) or f"@{self.__name__}: not called yet"

    @property
    def compile_count(self) -> int:
        """How many programs were traced."""
        return sum(len(entries) for entries in self._entries.values())

    # -- entries ----------------------------------------------------------------------------------------------------
    def _entry(self, call: _Call) -> Entry:
        for entry in self._entries.get(call.key, ()):
            if _fits(entry, call):
                return entry
        with self._lock:
            for entry in self._entries.get(call.key, ()):
                if _fits(entry, call):
                    return entry
            entry = self._trace(call)
            self._entries.setdefault(call.key, []).insert(0, entry)
            self._shapes.setdefault(call.key, []).append(call.shapes)
            return entry

    def _trace(self, call: _Call) -> Entry:
        seen = self._shapes.get(call.key, [])
        fixed = self._fixed.setdefault(call.key, set())
        reason = "first call" if not self._entries else "other argument types or values"
        if seen:
            reason = _difference(seen[-1], call)
        while True:
            dims, hints = _open_dims(call, seen, fixed, self.dynamic)
            try:
                return _trace_entry(self.function, call, dims, hints, reason)
            except Respecialize as request:
                if not hints:
                    raise ShapeError(f"sizes {request} could not be fixed") from request
                for index, own in enumerate(dims):
                    for axis, dim in enumerate(own):
                        if isinstance(dim, Dim) and dim.names & request.names:
                            fixed.add((index, axis))


class _Call:
    """The arguments of one call, split into tensors and the static rest."""

    __slots__ = ("arrays", "key", "leaves", "shapes", "structure", "tensors")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.leaves, self.structure = optree.tree_flatten((args, kwargs), none_is_leaf=True)  # type: ignore[arg-type]
        self.tensors: list[Tensor] = []
        signature: list[Any] = []
        for index, leaf in enumerate(self.leaves):
            if isinstance(leaf, np.ndarray):
                from adjit.creation import from_numpy

                leaf = self.leaves[index] = from_numpy(leaf)
            if isinstance(leaf, Tensor):
                if leaf._array is None:
                    from adjit.dispatch import leaked

                    raise leaked(leaf)
                self.tensors.append(leaf)
                signature.append((leaf._dtype, leaf._array.ndim, leaf.requires_grad, leaf._leaf))
            else:
                signature.append((type(leaf), leaf if _is_value(leaf) else id(leaf)))
        self.arrays = [tensor._array for tensor in self.tensors]
        self.shapes = tuple(array.shape for array in self.arrays if array is not None)
        self.key = (self.structure, tuple(signature), STATE.recording)


def _is_value(leaf: Any) -> bool:
    """Whether equality says that two static arguments are the same; others are told apart by identity."""
    if isinstance(leaf, (tuple, frozenset)):
        return all(_is_value(item) for item in leaf)
    return leaf is None or isinstance(leaf, (bool, int, float, complex, str, bytes))


def _fits(entry: Entry, call: _Call) -> bool:
    shapes = iter(call.shapes)
    for value, source in zip(entry.graph.inputs, entry.sources, strict=True):
        if source.kind == "argument":
            shape = next(shapes)
            if any(isinstance(d, int) and d != extent for d, extent in zip(value.dims, shape, strict=True)):
                return False
        elif source.kind == "tensor":
            assert source.tensor is not None
            if source.tensor._memory is not source.memory:
                return False
    if entry.graph.size_names:
        try:
            bind_sizes(entry.graph, _all_shapes(entry, call))
        except ShapeError:
            return False
    if not all(check() for check in entry.checks):
        return False
    if entry.epoch != EPOCH.count or entry.environment.volatile:
        if not entry.environment.holds():
            return False
        entry.epoch = EPOCH.count
    return True


def _all_shapes(entry: Entry, call: _Call) -> list[Sequence[int]]:
    shapes = iter(call.shapes)
    return [
        next(shapes) if source.kind == "argument" else tuple(v.dims)  # type: ignore[misc]
        for v, source in zip(entry.graph.inputs, entry.sources, strict=True)
    ]


def _difference(before: tuple[tuple[int, ...], ...], call: _Call) -> str:
    for index, (old, new) in enumerate(zip(before, call.shapes, strict=True)):
        for axis, (a, b) in enumerate(zip(old, new, strict=True)):
            if a != b:
                return f"size of tensor argument {index}, axis {axis}: {a} -> {b}"
    return "a guard on captured state failed"


def _open_dims(
    call: _Call, seen: list[tuple[tuple[int, ...], ...]], fixed: set[tuple[int, int]], dynamic: bool | None
) -> tuple[list[tuple[Size, ...]], dict[str, int]]:
    """The dims to trace with: a size that has changed between calls gets a name; equal histories share one.

    Sizes 0 and 1 stay numbers: they broadcast, and programs differ.
    """
    names: dict[tuple[int, ...], str] = {}
    hints: dict[str, int] = {}
    dims: list[tuple[Size, ...]] = []
    for index, shape in enumerate(call.shapes):
        own: list[Size] = []
        for axis, extent in enumerate(shape):
            history = (*(earlier[index][axis] for earlier in seen), extent)
            changed = dynamic is True or (dynamic is None and len(set(history)) > 1)
            if not changed or extent < 2 or (index, axis) in fixed:
                own.append(extent)
                continue
            name = names.get(history)
            if name is None:
                count = len(names)
                name = names[history] = _NAMES[count] if count < len(_NAMES) else f"n{count}"
                hints[name] = extent
            own.append(Dim.named(name))
        dims.append(tuple(own))
    return dims, hints


# -- tracing --------------------------------------------------------------------------------------------------------
def _trace_entry(
    function: Callable[..., Any], call: _Call, dims: list[tuple[Size, ...]], hints: dict[str, int], reason: str
) -> Entry:
    name = getattr(function, "__name__", type(function).__name__)
    tracer = Tracer(name if name.isidentifier() else "function", hints)
    environment = Environment(function, [leaf for leaf in call.leaves if not isinstance(leaf, Tensor)])
    environment.name_tensors()
    names = _argument_names(function, call)
    with tracer:
        leaves: list[Any] = []
        proxies: list[Tensor] = []
        for leaf in call.leaves:
            if isinstance(leaf, Tensor):
                index = len(proxies)
                type = TensorType(leaf._dtype, dims[index])
                leaf = tracer.argument(type, names[index], index, leaf)
                proxies.append(leaf)
            leaves.append(leaf)
        args, kwargs = optree.tree_unflatten(call.structure, leaves)  # type: ignore[misc]
        result = function(*args, **kwargs)
        found, structure = optree.tree_flatten(result, none_is_leaf=True)
        outputs, values = _outputs(tracer, found, proxies)
        grads = _grads(tracer, proxies, values)
        writes = []
        for position, value in tracer.written():
            writes.append((position, len(values)))
            values.append(value)
    graph = tracer.graph
    graph.outputs = tuple(values)
    graph.writes = tuple(writes)
    graph.guards = tuple(tracer.guards)
    keep = _drop_unused_inputs(tracer, graph)
    environment.freeze()
    entry = Entry(graph, tracer.sources, outputs, structure, tracer.checks, grads, environment, reason)
    entry.keep = [keep, list(tracer._views.values()), call.leaves]
    entry.epoch = EPOCH.count
    entry.differentiable = any(output.requires_grad for output in outputs)
    return entry


def _argument_names(function: Callable[..., Any], call: _Call) -> list[str]:
    """Names for the tensor arguments, from the function's parameters."""
    from inspect import signature

    try:
        parameters = [p for p in signature(function).parameters.values() if p.kind is not p.VAR_POSITIONAL]
    except (TypeError, ValueError):
        parameters = []
    names: list[str] = []
    paths = optree.tree_paths(optree.tree_unflatten(call.structure, call.leaves), none_is_leaf=True)  # type: ignore[arg-type]
    for path, leaf in zip(paths, call.leaves, strict=True):
        if not isinstance(leaf, Tensor):
            continue
        kind, *rest = path
        if kind == 0 and rest and isinstance(rest[0], int):
            first = parameters[rest[0]].name if rest[0] < len(parameters) else f"x{rest[0]}"
            rest = rest[1:]
        else:
            first = str(rest[0]) if rest else "x"
            rest = rest[1:]
        text = "_".join([first, *map(str, rest)])
        names.append("".join(c if c.isalnum() or c == "_" else "_" for c in text))
    return names


def _outputs(tracer: Tracer, found: Sequence[Any], proxies: Sequence[Tensor]) -> tuple[list[Output], list[Value]]:
    """What each leaf of the result is, and the values that the graph returns for them."""
    outputs: list[Output] = []
    values: list[Value] = []
    places = {id(proxy): index for index, proxy in enumerate(proxies)}
    for leaf in found:
        if not isinstance(leaf, Tensor):
            outputs.append(Output("static", value=leaf))
        elif id(leaf) in places:
            outputs.append(Output("argument", places[id(leaf)]))
        elif leaf._tracer is not tracer:
            outputs.append(Output("tensor", tensor=leaf))
        else:
            outputs.append(Output("graph", len(values), requires_grad=leaf.requires_grad))
            values.append(tracer.value_of(leaf))
    return outputs, values


def _grads(tracer: Tracer, proxies: Sequence[Tensor], values: list[Value]) -> list[tuple[Tensor | int, int | None]]:
    """The gradients to hand to tensors after a call: (tensor or argument index, graph output or None)."""
    found: list[tuple[Tensor | int, int | None]] = []
    places = {id(proxy): index for index, proxy in enumerate(proxies)}
    for tensor, gradient in tracer.grads.items():
        if gradient is not None and gradient is tracer.first_grads.get(tensor):
            continue
        if gradient is None and tensor in tracer.first_grads and tracer.first_grads[tensor] is None:
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


def _drop_unused_inputs(tracer: Tracer, graph: Graph) -> list[Any]:
    """Remove captured inputs that nothing reads (a gradient that was only looked at)."""
    from adjit.ir.rewrite import eliminate_dead

    slim = eliminate_dead(graph)
    used = {value for node in slim.nodes for value in node.inputs} | set(slim.outputs)
    written = {source for source, _ in graph.writes}
    mapping = [
        index
        for index, (value, source) in enumerate(zip(graph.inputs, tracer.sources, strict=True))
        if source.kind == "argument" or value in used or index in written
    ]
    graph.nodes = slim.nodes
    renumbered = {old: new for new, old in enumerate(mapping)}
    graph.inputs = tuple(graph.inputs[index] for index in mapping)
    graph.writes = tuple((renumbered[source], output) for source, output in graph.writes)
    tracer.sources = [tracer.sources[index] for index in mapping]
    return [source.tensor for source in tracer.sources]


# -- running --------------------------------------------------------------------------------------------------------
def _inputs(entry: Entry, call: _Call) -> list[np.ndarray]:
    arrays: list[np.ndarray] = []
    given = iter(call.arrays)
    for source in entry.sources:
        array: np.ndarray | None
        match source.kind:
            case "argument":
                array = next(given)
            case "tensor":
                assert source.memory is not None
                array = source.memory.array
            case "grad":
                assert source.tensor is not None and source.tensor._grad is not None
                array = source.tensor._grad._array
            case _:
                assert source.read is not None
                array = np.asarray(source.read(), np.float64)
        assert array is not None
        arrays.append(array)
    return arrays


def _run(compiled: CompiledFunction, entry: Entry, call: _Call) -> Any:
    arrays = _inputs(entry, call)
    if entry.differentiable and STATE.recording:
        results, tensors = _run_recorded(compiled, entry, call, arrays)
    else:
        executable = entry.executables.get("forward")
        if executable is None:
            executable = entry.executables["forward"] = _compile(compiled, entry.graph)
        results = executable.run(arrays)
        tensors = [
            Tensor._wrap(array, value.dtype)
            for array, value in zip(results, entry.graph.outputs, strict=True)
        ]
    _after(entry, call, tensors)
    leaves = [_leaf(output, call, tensors) for output in entry.outputs]
    return optree.tree_unflatten(entry.structure, leaves)


def _compile(compiled: CompiledFunction, graph: Graph) -> Any:
    from adjit.compiler.pipeline import compile_graph

    return compile_graph(graph, strict=compiled.strict, threads=compiled.threads)


def _after(entry: Entry, call: _Call, tensors: Sequence[Tensor]) -> None:
    """Count the writes, hand over the gradients."""
    arguments = [i for i, source in enumerate(entry.sources) if source.kind == "argument"]
    for position, _ in entry.graph.writes:
        source = entry.sources[position]
        if source.kind == "argument":
            call.tensors[arguments.index(position)]._memory.version += 1
        elif source.memory is not None:
            source.memory.version += 1
        elif source.kind == "grad" and source.tensor is not None and source.tensor._grad is not None:
            source.tensor._grad._memory.version += 1
    for target, output in entry.grads:
        tensor = call.tensors[target] if isinstance(target, int) else target
        tensor._grad = None if output is None else tensors[output]


def _leaf(output: Output, call: _Call, tensors: Sequence[Tensor]) -> Any:
    match output.kind:
        case "graph":
            return tensors[output.index]
        case "argument":
            return call.tensors[output.index]
        case "tensor":
            return output.tensor
    return output.value


def _run_recorded(
    compiled: CompiledFunction, entry: Entry, call: _Call, arrays: list[np.ndarray]
) -> tuple[list[np.ndarray], list[Tensor]]:
    """Run the forward program with its residuals, and record one node whose pullback is the compiled backward."""
    operands = _operands(entry, call)
    needs = tuple(operand is not None and operand.requires_grad for operand in operands)
    derivative = derivative_of(entry.graph, needs)
    executable = entry.executables.get(needs)
    if executable is None:
        executable = entry.executables[needs] = _compile(compiled, derivative.forward)
    written = {position for position, _ in entry.graph.writes}
    before = [array.copy() if index in written else array for index, array in enumerate(arrays)]
    found = executable.run(arrays)
    count = len(entry.graph.outputs)
    results = [Tensor._wrap(a, v.dtype) for a, v in zip(found[:count], entry.graph.outputs, strict=True)]
    values = [
        Value(v.type) if o is None else mark_leaf(o) if o.requires_grad and o._leaf else value_of(o)
        for o, v in zip(operands, entry.graph.inputs, strict=True)
    ]
    node = Node(
        primitive_named("call"),
        values,
        {"callee": entry.graph},
        [tensor._tensor_type for tensor in results],
        user_location(),
    )
    record = node.attached = Record("Compiled", next_sequence())
    record.leaves = tuple(o for o in operands if o is not None and o.requires_grad and o._leaf)
    record.pullback, record.seeded, record.reached = derivative.backward, derivative.seeded, derivative.reached
    record.custom = CompiledPullback(compiled, entry, needs)
    link(node, results)
    place = {value: index for index, value in enumerate(entry.graph.inputs)}
    saved: list[Saved] = []
    for value, array in zip(derivative.residuals, found[count:], strict=True):
        index = place.get(value)
        operand = None if index is None else operands[index]
        if index is None or operand is None or index in written:
            kept = array if index is None else before[index]
            saved.append(Saved(kept, value.dtype, value if index is None else values[index], False, None, 0))
        else:
            saved.append(save(operand, values[index], needs[index]))
    record.saved = tuple(saved)
    record.full = tuple(
        Saved(array, value.dtype, value, need, None, 0)
        for array, value, need in [
            *zip(before, values, needs, strict=True),
            *zip(found[:count], node.outputs, [True] * count, strict=True),
        ]
    )
    for output in entry.outputs:
        if output.kind == "graph" and not output.requires_grad:
            tensor = results[output.index]
            tensor._requires_grad, tensor._value, tensor._leaf = False, None, True
    for _, index in entry.graph.writes:
        results[index]._requires_grad, results[index]._value, results[index]._leaf = False, None, True
    return found, results


class CompiledPullback:
    """The native backward program of a compiled function."""

    __slots__ = ("compiled", "entry", "needs")

    def __init__(self, compiled: CompiledFunction, entry: Entry, needs: tuple[bool, ...]) -> None:
        self.compiled = compiled
        self.entry = entry
        self.needs = needs

    def run(self, graph: Graph, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The backward program's results."""
        key = ("backward", self.needs)
        executable = self.entry.executables.get(key)
        if executable is None:
            executable = self.entry.executables[key] = _compile(self.compiled, graph)
        found: Sequence[np.ndarray] = executable.run(list(arrays))
        return found


def _operands(entry: Entry, call: _Call) -> list[Tensor | None]:
    """The tensors behind the inputs, as autograd sees them."""
    given = iter(call.tensors)
    found: list[Tensor | None] = []
    for source in entry.sources:
        if source.kind == "argument":
            found.append(next(given))
        else:
            found.append(source.tensor if source.kind == "tensor" else None)
    return found


def compile(
    model: Callable[..., Any] | None = None,
    *,
    fullgraph: bool = True,
    dynamic: bool | None = None,
    backend: str = "llvm",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
    strict: bool = False,
    threads: int | None = None,
) -> Any:
    """Compile a function, a module, or a whole training step to native code; also a decorator.

    `dynamic`: None keeps a size open once it has changed, True from the first call, False never.  `strict`: no
    multiplication is fused with an addition, so that results equal eager mode's to the last bit.  `threads`: the most
    threads a call uses.  `fullgraph`, `backend`, `mode` and `options` are accepted as PyTorch has them: there is one
    backend, and it always compiles the full graph.
    """
    if model is None:
        return lambda function: compile(
            function, dynamic=dynamic, disable=disable, strict=strict, threads=threads
        )
    if disable:
        return model
    return CompiledFunction(model, strict=strict, dynamic=dynamic, threads=threads)
