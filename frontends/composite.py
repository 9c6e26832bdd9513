"""Composites: functions of several primitives that the graph shows as one `call`.

The function is ordinary tensor code.  It is traced once per signature; in eager mode the traced body runs and one node
is recorded, in a trace one `call @name` is emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from inspect import signature
from typing import Any

from adjit.autograd.record import link, mark_leaf, pack, save, value_of
from adjit.autograd.tape import Recorded, Saved, result_of
from adjit.bodies import run_body
from adjit.compiler.particular import common_form, has_sizes_told, particular, without_carriers
from adjit.execute import owned
from adjit.ir.errors import AdjitError, asks_memory
from adjit.ir.frozen import changed
from adjit.ir.graph import UNKNOWN, Graph
from adjit.ir.primitive import primitive_named
from adjit.ir.shape import Dim
from adjit.ir.types import TensorType
from adjit.state import STATE, user_location
from adjit.symbolic_size import Respecialize, as_dim
from adjit.tensor import Tensor

_cache: dict[Any, tuple[Graph, Any]] = {}
_LIMIT = 4096
# How often a kind of call came with other sizes: at so many there is one body for all, if its sizes may be open; the
# names of those that it needs as numbers; and the bodies.
_open: dict[Any, int] = {}
_needed: dict[Any, frozenset[str]] = {}
_open_bodies: dict[Any, tuple[Graph, bool] | None] = {}
_CHANGES = 4


# What takes the place of a composite in eager mode: itself, as long as no native entry is there to serve it.
serve: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None
made: list[Callable[..., Any]] = []


def composite(name: str, title: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function over tensors a composite; `name` is PyTorch's name of the operation in `grad_fn`, `title` the
    body's name in the IR (by default the function's).

    Arguments are tensors, None, tuples and lists of tensors, or static values (hashable).  Results are a tensor or a
    tuple of tensors.  The function must be pure.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        parameters = signature(function)
        shown = function.__name__.strip("_") if title is None else title

        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            bound = parameters.bind(*args, **kwargs)
            bound.apply_defaults()
            tensors: list[Tensor] = []
            pattern = tuple(_flatten(value, tensors) for value in bound.arguments.values())
            types = tuple(tensor._tensor_type for tensor in tensors)
            recorded = STATE.recording and any(tensor.requires_grad for tensor in tensors)
            key = (function, pattern, types, _hint_key(types), recorded)
            found = _cache.get(key)
            if found is None:
                if len(_cache) > _LIMIT:
                    _cache.clear()
                names = list(bound.arguments)
                found = _particular(function, shown, names, pattern, types, recorded=recorded)
                found = _cache[key] = found or _trace(function, shown, names, pattern, types)
            graph, single = found
            results = apply_callee(graph, tensors, name)
            return results[0] if single else tuple(results)

        function.__name__ = shown
        made.append(wrapped)
        return wrapped if serve is None else serve(wrapped)

    return decorate


def _hint_key(types: Sequence[TensorType]) -> Any:
    """Open sizes belong to one trace: bodies traced with them are not shared with another."""
    tracer = STATE.tracer
    return None if tracer is None or all(type.is_static for type in types) else id(tracer)


def _flatten(value: Any, tensors: list[Tensor]) -> Any:
    """The static pattern of an argument; its tensors are appended to `tensors`."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return _PLACE
    if isinstance(value, (tuple, list)):
        return tuple(_flatten(item, tensors) for item in value)
    return _Static(as_dim(value))


class _Place:
    __slots__ = ()


class _Static:
    """A static argument; equal only to one of the same type (1, 1.0 and True are different programs), and sign."""

    __slots__ = ("_told", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self._told = value.hex() if type(value) is float else value  # 0.0 == -0.0, and NaN is not itself

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and type(other.value) is type(self.value) and other._told == self._told

    def __hash__(self) -> int:
        return hash((type(self.value), self._told))


_PLACE = _Place()
# What a body raises that needs plain numbers for its sizes, whichever they are.
_OF_OPEN_SIZES = (AdjitError, TypeError, AttributeError, AssertionError)


def _restore(pattern: Any, tensors: Any, tracer: Any) -> Any:
    from adjit.symbolic_size import as_size

    if pattern is _PLACE:
        return next(tensors)
    if isinstance(pattern, tuple):
        return tuple(_restore(item, tensors, tracer) for item in pattern)
    return as_size(pattern.value, tracer) if isinstance(pattern.value, Dim) else pattern.value


def _particular(
    function: Callable[..., Any],
    title: str,
    names: Sequence[str],
    pattern: tuple[Any, ...],
    types: Sequence[TensorType],
    *,
    recorded: bool,
) -> tuple[Graph, bool] | None:
    """What `_trace` gives, made from a body that is open in its sizes; None where sizes did not change often yet.

    Sizes that are equal have one name, and those that are among the static arguments none.  What is only run, not
    `recorded`, and takes any sizes, stays open.
    """
    if STATE.tracer is not None or STATE.checks is not None or not all(type.is_static for type in types):
        return None
    sizes: dict[str, Any] = {}
    fixed = {0, 1, *_numbers(pattern)}
    by_size: dict[Any, Dim] = {}
    for size in (size for type in types for size in type.dims if size not in fixed):
        if size not in by_size:
            by_size[size] = Dim.named(f"n{len(by_size)}")
            sizes[f"n{len(by_size) - 1}"] = size
    form = (function, pattern, _with_names(types, by_size))
    if len(_open) > _LIMIT:
        _open.clear()
        _needed.clear()
        _open_bodies.clear()
    _open[form] = count = _open.get(form, 0) + 1
    if count < _CHANGES:
        return None
    while True:
        needed = _needed.get(form, frozenset())
        sizes = {name: size for name, size in sizes.items() if name not in needed}
        opened = _with_names(types, {size: name for size, name in by_size.items() if str(name) in sizes})
        key = (function, pattern, opened, needed)
        if not sizes:
            return None
        try:
            if key not in _open_bodies:
                _open_bodies[key] = _open_trace(function, title, names, pattern, opened, sizes)
            body = _open_bodies[key]
            if body is None or (not recorded and not all(guard.holds(sizes) for guard in body[0].guards)):
                return None
            return (particular(body[0], sizes) if recorded else body[0]), body[1]
        except Respecialize as request:
            if not request.names & sizes.keys():
                return None
            _needed[form] = needed | request.names
        except (RuntimeError, ValueError, IndexError):
            return None  # its course is another at these sizes, or they are wrong: the trace for them says how


def _with_names(types: Sequence[TensorType], names: Mapping[Any, Dim]) -> tuple[TensorType, ...]:
    """Types with names for some sizes."""
    return tuple(type.with_dims(tuple(names.get(size, size) for size in type.dims)) for type in types)


def _open_trace(
    function: Callable[..., Any],
    title: str,
    names: Sequence[str],
    pattern: tuple[Any, ...],
    types: Sequence[TensorType],
    sizes: dict[str, int],
) -> tuple[Graph, bool] | None:
    """The body for types with open sizes; None where it needs all as numbers.

    Errors: Respecialize where it needs some as numbers; its own, where these sizes are wrong.
    """
    try:
        return _trace(function, title, names, pattern, types, sizes)
    except _OF_OPEN_SIZES:
        return None


def _numbers(pattern: Any) -> set[int]:
    """The integers among static arguments."""
    if isinstance(pattern, tuple):
        return set().union(*map(_numbers, pattern))
    value = getattr(pattern, "value", None)
    parts = value if isinstance(value, tuple) else (value,)
    return {part for part in parts if type(part) is int}


def _trace(
    function: Callable[..., Any],
    title: str,
    names: Sequence[str],
    pattern: tuple[Any, ...],
    types: Sequence[TensorType],
    hints: dict[str, int] | None = None,
) -> tuple[Graph, bool]:
    results: list[Any] = []

    def body(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        arguments = [_restore(item, given, STATE.tracer) for item in pattern]
        results.append(function(**dict(zip(names, arguments, strict=True))))
        return (results[0],) if isinstance(results[0], Tensor) else tuple(results[0])

    graph = trace_function(body, title, types, hints)
    for value, tensor_name in zip(graph.inputs, _input_names(names, pattern), strict=False):
        value.name = tensor_name
    return graph, isinstance(results[0], Tensor)


def trace_function(
    function: Callable[..., tuple[Tensor, ...]],
    title: str,
    types: Sequence[TensorType],
    hints: dict[str, int] | None = None,
) -> Graph:
    """The graph of a pure function of tensors of these types, without locations; `hints` are examples of open sizes."""
    from adjit.trace import Tracer

    outer = STATE.tracer
    tracer = Tracer(title, (hints or {}) if outer is None else outer.hints)
    if outer is not None:
        tracer.guards = outer.guards
    recording, STATE.recording = STATE.recording, False
    try:
        with tracer:
            inputs = [tracer.argument(type, f"a{index}", index) for index, type in enumerate(types)]
            tracer.graph.outputs = tuple(tracer.value_of(tensor) for tensor in function(*inputs))
    finally:
        STATE.recording = recording
    for node in tracer.graph.walk():  # the body serves many callers: each call's line stands on its `call`
        node.location = UNKNOWN
    if hints:
        tracer.graph.guards = tuple(tracer.guards)
    return tracer.graph


def _input_names(names: Sequence[str], pattern: tuple[Any, ...]) -> list[str]:
    found: list[str] = []
    for name, item in zip(names, pattern, strict=True):
        if item is _PLACE:
            found.append(name)
        elif isinstance(item, tuple):
            found.extend(f"{name}{index}" for index, part in enumerate(item) if part is _PLACE)
    return found


# -- applying -------------------------------------------------------------------------------------------------------
def apply_callee(callee: Graph, operands: Sequence[Tensor], name: str) -> list[Tensor]:
    """Apply a traced body as one `call` node."""
    call = primitive_named("call")
    tracer = STATE.tracer
    if tracer is not None:
        found = tracer.apply(call, operands, {"callee": callee}, name)
        return [found] if isinstance(found, Tensor) else list(found)
    needs = tuple(operand.requires_grad for operand in operands)
    arrays = []
    for operand in operands:
        if operand._array is None:
            from adjit.dispatch import leaked

            raise leaked(operand)
        arrays.append(operand._array)
    if STATE.recording and any(needs) and any(value.dtype.is_continuous for value in callee.outputs):
        return _recorded(callee, operands, needs, name)
    return [
        Tensor._wrap(owned(array, arrays), value.dtype, type=None if value.type.names else value.type)
        for array, value in zip(_run(callee, arrays), callee.outputs, strict=True)
    ]


@asks_memory
def _run(callee: Graph, arrays: Sequence[Any]) -> Sequence[Any]:
    found = run_body(callee, arrays)
    if STATE.checks is not None:
        from adjit.nan_checks import check_graph

        check_graph(callee, arrays, found)
    return found


def _recorded(callee: Graph, operands: Sequence[Tensor], needs: tuple[bool, ...], name: str) -> list[Tensor]:
    """Run the body together with what its backward graph takes, and record one node."""
    derivative = derivative_of(callee, needs)
    arrays: list[Any] = [operand._array for operand in operands]
    found = _run(derivative.forward, arrays)
    count = len(callee.outputs)
    results = [
        Tensor._wrap(owned(array, arrays), value.dtype, type=None if value.type.names else value.type)
        for array, value in zip(found[:count], callee.outputs, strict=True)
    ]
    node = _linked(callee, operands, derivative, results, name)
    values = node.inputs
    place = {value: index for index, value in enumerate(callee.inputs)}
    saved: list[Saved] = []
    for value, array in zip(derivative.residuals, found[count:], strict=True):
        if value in place:
            index = place[value]
            saved.append(save(operands[index], values[index], needs[index]))
        else:
            kept = Saved(array, value.dtype, value, False, None, 0)
            saved.append(pack(Tensor._wrap(array, value.dtype), kept) if STATE.packing else kept)
    node.saved = tuple(saved)
    node.full = tuple(
        Saved(tensor._array, tensor._dtype, held, need, tensor._memory, tensor._memory.version)  # type: ignore[arg-type]
        for tensor, held, need in [
            *zip(operands, values, needs, strict=True),
            *((result, result_of(node, index), True) for index, result in enumerate(results)),
        ]
    )
    return results


def _linked(
    callee: Graph, operands: Sequence[Tensor], derivative: Any, results: Sequence[Tensor], name: str
) -> Recorded:
    """The node of a body's results on the tape, which saves nothing yet."""
    values = [mark_leaf(o) if o.requires_grad and o._leaf else value_of(o) for o in operands]
    types = [value.type for value in callee.outputs]
    node = Recorded(name, primitive_named("call"), values, {"callee": callee}, types, user_location())
    node.leaves = tuple(o for o in operands if o.requires_grad and o._leaf)
    node.pullback, node.seeded, node.reached = derivative.backward, derivative.seeded, derivative.reached
    link(node, results)
    return node


def give_history(callee: Graph, operands: Sequence[Tensor], result: Tensor, name: str) -> bool:
    """Record that `result`, which holds what the body gives already, comes from `operands`; whether that was possible:
    the cotangents must be all that its backward graph takes."""
    derivative = derivative_of(callee, tuple(operand.requires_grad for operand in operands))
    if derivative.residuals:
        return False
    _linked(callee, operands, derivative, [result], name)
    return True


@lru_cache(maxsize=4096)
def derivative_of(callee: Graph, needs: tuple[bool, ...], outputs: tuple[int, ...] | None = None) -> Any:
    """The derivative of a composite's body (of `outputs`) with respect to the operands that need it."""
    from adjit.compiler.differentiate import differentiate

    found = _derivative_of_particular(callee, needs, outputs)
    if found is not None:
        return found
    wanted = [i for i, (v, need) in enumerate(zip(callee.inputs, needs, strict=True)) if need and v.dtype.is_continuous]
    return differentiate(callee, wanted, outputs)


def _derivative_of_particular(callee: Graph, needs: tuple[bool, ...], outputs: tuple[int, ...] | None) -> Any:
    """The derivative of a body that was made from an open one, made from that one's; None where they differ.

    An open derivative may keep more, for the sizes that it tells.
    """
    common = common_form(callee)
    if common is None:
        return None
    body, sizes = common
    derivative = (bare_derivative if has_sizes_told(callee) else derivative_of)(body, needs, outputs)
    forward = particular(derivative.forward, sizes)
    backward = particular(derivative.backward, sizes)
    place = {value: index for index, value in enumerate(body.inputs)}
    count = len(body.outputs)
    residuals = tuple(
        callee.inputs[place[value]] if value in place else copy
        for value, copy in zip(derivative.residuals, forward.outputs[count:], strict=True)
    )
    inside = {value for node in backward.walk() for value in node.inputs} | set(backward.outputs)
    if any(value not in inside for value in backward.inputs[len(derivative.seeded) :]):
        return None
    return changed(derivative, forward=forward, backward=backward, residuals=residuals)


@lru_cache(maxsize=1024)
def bare_derivative(callee: Graph, needs: tuple[bool, ...], outputs: tuple[int, ...] | None = None) -> Any:
    """The derivative of an open body for who tells its sizes otherwise: no value is kept for them alone."""
    found = derivative_of(callee, needs, outputs)
    backward, kept = without_carriers(found.backward, len(found.seeded))
    count = len(callee.outputs)
    forward = found.forward
    residuals = tuple(found.residuals[number] for number in kept)
    ends = (*forward.outputs[:count], *(forward.outputs[count + number] for number in kept))
    forward = forward.with_parts(forward.inputs, forward.nodes, ends)
    return changed(found, forward=forward, backward=backward, residuals=residuals)
