"""Composites: functions of several primitives that the graph shows as one `call`.

The function is ordinary tensor code.  It is traced once per signature; in eager mode the traced body runs and one node
is recorded, in a trace one `call @name` is emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any

from adjit.autograd.record import keep, link, literal, mark_leaf, pack, save, value_of
from adjit.autograd.tape import Recorded, Saved, result_of
from adjit.bodies import run_body
from adjit.body_derivative import derivative_of, with_numbers
from adjit.compiler.particular import particular
from adjit.execute import number_array, owned
from adjit.heard_numbers import is_heard
from adjit.ir.analysis import tell_their_sizes
from adjit.ir.errors import AdjitError, asks_memory
from adjit.ir.graph import UNKNOWN, Graph
from adjit.ir.primitive import primitive_named
from adjit.ir.shape import Dim
from adjit.ir.types import F32, F64, TensorType
from adjit.state import STATE, is_traced, user_location
from adjit.symbolic_size import Respecialize, as_dim
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.told_numbers import Asked

_cache: dict[Any, tuple[Graph, Any]] = {}
_LIMIT = 4096
# How often a kind of call came with other sizes: at so many there is one body for all, if its sizes may be open; the
# names of those that it needs as numbers; and the bodies.
_open: dict[Any, int] = {}
_needed: dict[Any, frozenset[str]] = {}
_open_bodies: dict[Any, tuple[Graph, bool] | None] = {}
_CHANGES = 4
# The numbers that calls of each kind came with: from so many on, they are operands of a body that serves all for which
# what it asked of them has the same answers.  There are so many such bodies of a kind; None for one that must know its
# numbers.
_told: dict[Any, set[Any]] = {}
_for_any: dict[Any, list[tuple[list[Asked], tuple[Graph, bool]]] | None] = {}
_FEW, _MOST_BODIES = 3, 8


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
            if STATE.tracer is not None and not tell_their_sizes(types):  # a body would not know the k of n - k + 1
                return function(**bound.arguments)
            recorded = STATE.recording and any(tensor.requires_grad for tensor in tensors)
            key = (function, pattern, types, _hint_key(types), recorded)
            found = None if any(map(is_heard, bound.arguments.values())) else _cache.get(key)
            operands: list[Any] = tensors
            if found is None:
                given = _with_numbers(function, shown, bound.arguments, types, recorded=recorded)
                found, operands = (None, tensors) if given is None else given
            if found is None:
                if len(_cache) > _LIMIT:
                    _cache.clear()
                names = list(bound.arguments)
                found = _particular(function, shown, names, pattern, types, recorded=recorded)
                found = _cache[key] = found or _trace(function, shown, names, pattern, types)
            graph, single = found
            results = apply_callee(graph, operands, name)
            return results[0] if single else tuple(results)

        function.__name__ = shown
        made.append(wrapped)
        return wrapped if serve is None else serve(wrapped)

    return decorate


def _hint_key(types: Sequence[TensorType]) -> Any:
    """Open sizes belong to one trace: bodies traced with them are not shared with another."""
    tracer = STATE.tracer
    return None if tracer is None or all(type.is_static for type in types) else id(tracer)


def _flatten(value: Any, tensors: list[Any]) -> Any:
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
        # 0.0 == -0.0, and NaN is not itself
        self._told = value.hex() if isinstance(value, float) and not is_heard(value) else value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and type(other.value) is type(self.value) and other._told == self._told

    def __hash__(self) -> int:
        return hash((type(self.value), self._told))


_PLACE, _NUMBER = _Place(), _Place()
# What a body raises that needs plain numbers for its sizes, whichever they are.
_OF_OPEN_SIZES = (AdjitError, TypeError, AttributeError, AssertionError)
# And one that must know its numbers, or finds them wrong.
_OF_CONSTANTS = (*_OF_OPEN_SIZES, RuntimeError, ValueError)


def _restore(pattern: Any, tensors: Any, tracer: Any) -> Any:
    from adjit.symbolic_size import as_size

    if pattern is _PLACE or pattern is _NUMBER:
        return next(tensors)
    if isinstance(pattern, tuple):
        return tuple(_restore(item, tensors, tracer) for item in pattern)
    return as_size(pattern.value, tracer) if isinstance(pattern.value, Dim) else pattern.value


def _with_numbers(
    function: Callable[..., Any],
    title: str,
    arguments: Mapping[str, Any],
    types: Sequence[TensorType],
    *,
    recorded: bool,
) -> tuple[tuple[Graph, bool], list[Any]] | None:
    """The body for any floats among the arguments, and its operands, these among them; None where there are none, they
    did not change often yet, or the body is another one for each."""
    numbers = [value for value in arguments.values() if _is_open(value)]
    plain = [number for number in numbers if not is_heard(number)]
    if not numbers or not all(t.is_static and (t.dtype in (F32, F64) or not t.dtype.is_continuous) for t in types):
        return None
    if plain and is_traced():
        return None
    operands: list[Any] = []
    pattern = tuple(_open_number(value, operands) for value in arguments.values())
    form = (function, pattern)
    if len(_told) > _LIMIT or len(_for_any) > _LIMIT:
        _told.clear()
        _for_any.clear()
    if len(plain) == len(numbers):
        seen = _told.setdefault(form, set())
        if len(seen) < _FEW:
            seen.add(tuple(number.hex() for number in plain))
        if len(seen) < _FEW:
            return None
    found = _body_for(function, title, (list(arguments), pattern), operands, numbers, recorded=recorded)
    return None if found is None else (found, operands)


def _body_for(
    function: Callable[..., Any],
    title: str,
    form: tuple[list[str], tuple[Any, ...]],
    operands: Sequence[Any],
    numbers: Sequence[Any],
    *,
    recorded: bool,
) -> tuple[Graph, bool] | None:
    """The body for operands with such numbers among them; None for one that needs these as constants."""
    from adjit.told_numbers import hold

    types = [TensorType(F64, ()) if isinstance(x, float) else x._tensor_type for x in operands]
    key = (function, form[1], *types, recorded)
    bodies = _for_any.setdefault(key, [])
    if bodies is None:
        return None
    found = next((body for asked, body in bodies if hold(asked, numbers)), None)
    if found is None and len(bodies) < _MOST_BODIES:
        asked: list[Asked] = []
        try:
            found = _trace(function, title, *form, types, numbers=(numbers, asked, recorded))
        except _OF_CONSTANTS:
            _for_any[key] = None
            return None
        with_numbers(found[0], tuple(place for place, operand in enumerate(operands) if _is_open(operand)))
        bodies.append((asked, found))
    return found


def _is_open(value: Any) -> bool:
    """Whether an argument may be a number that differs from call to call."""
    return isinstance(value, float) or (isinstance(value, Tensor) and value._answers)


def _open_number(value: Any, operands: list[Any]) -> Any:
    """The pattern of an argument that is an operand where it is such a number."""
    if not _is_open(value):
        return _flatten(value, operands)
    operands.append(value)
    return _NUMBER


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
    numbers: tuple[Sequence[Any], list[Asked], bool] | None = None,
) -> tuple[Graph, bool]:
    """The body of a call; what it asks of its `numbers` is noted beside them."""
    results: list[Any] = []

    def body(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors if numbers is None else _as_told(tensors, pattern, *numbers))
        arguments = [_restore(item, given, STATE.tracer) for item in pattern]
        results.append(function(**dict(zip(names, arguments, strict=True))))
        return (results[0],) if isinstance(results[0], Tensor) else tuple(results[0])

    graph = trace_function(body, title, types, hints)
    for value, tensor_name in zip(graph.inputs, _input_names(names, pattern), strict=False):
        value.name = tensor_name
    return graph, isinstance(results[0], Tensor)


def _as_told(
    tensors: Sequence[Tensor],
    pattern: tuple[Any, ...],
    numbers: Sequence[Any],
    asked: list[Asked],
    recorded: bool,
) -> Sequence[Tensor]:
    """The operands of a body, its numbers as such."""
    from adjit.told_numbers import told

    given, rest = iter(tensors), iter(enumerate(numbers))
    return [
        told(next(given), *next(rest), asked, recorded=recorded) if part is _NUMBER else next(given)
        for item in pattern for part in _parts(item) if part is _PLACE or part is _NUMBER
    ]  # fmt: skip


def _parts(pattern: Any) -> Iterator[Any]:
    """The leaves of a pattern."""
    if isinstance(pattern, tuple):
        for item in pattern:
            yield from _parts(item)
    else:
        yield pattern


def trace_function(
    function: Callable[..., tuple[Tensor, ...]],
    title: str,
    types: Sequence[TensorType],
    hints: dict[str, int] | None = None,
) -> Graph:
    """The graph of a pure function of tensors of these types, without locations; `hints` are examples of open sizes."""
    from adjit.trace import Tracer

    around = STATE.tracer
    outer = around if is_traced() else None
    tracer = Tracer(title, (hints or {}) if outer is None else outer.hints)
    if outer is not None:
        tracer.guards = outer.guards
    recording, STATE.recording = STATE.recording, False
    STATE.tracer = outer  # what is only watched is no trace around this one
    try:
        with tracer:
            inputs = [tracer.argument(type, f"a{index}", index) for index, type in enumerate(types)]
            tracer.graph.outputs = tuple(tracer.value_of(tensor) for tensor in function(*inputs))
    finally:
        STATE.recording, STATE.tracer = recording, around
    for node in tracer.graph.walk():  # the body serves many callers: each call's line stands on its `call`
        node.location = UNKNOWN
    if hints:
        tracer.graph.guards = tuple(tracer.guards)
    return tracer.graph


def _input_names(names: Sequence[str], pattern: tuple[Any, ...]) -> list[str]:
    found: list[str] = []
    for name, item in zip(names, pattern, strict=True):
        if item is _PLACE or item is _NUMBER:
            found.append(name)
        elif isinstance(item, tuple):
            found.extend(f"{name}{index}" for index, part in enumerate(item) if part is _PLACE)
    return found


# -- applying -------------------------------------------------------------------------------------------------------
def apply_callee(callee: Graph, operands: Sequence[Any], name: str) -> list[Tensor]:
    """Apply a traced body as one `call` node; floats may be among its operands."""
    call = primitive_named("call")
    tracer = STATE.tracer
    if tracer is not None:
        found = tracer.apply(call, operands, {"callee": callee}, name)
        return [found] if isinstance(found, Tensor) else list(found)
    needs = tuple(not isinstance(operand, float) and operand.requires_grad for operand in operands)
    arrays = [*map(_array_of, operands)]
    if STATE.recording and any(needs) and any(value.dtype.is_continuous for value in callee.outputs):
        return _recorded(callee, operands, arrays, needs, name)
    return [
        Tensor._wrap(owned(array, arrays), value.dtype, type=None if value.type.names else value.type)
        for array, value in zip(_run(callee, arrays), callee.outputs, strict=True)
    ]


def _array_of(operand: Any) -> Any:
    if isinstance(operand, float):
        return number_array(operand, F64)
    if operand._array is None:
        from adjit.dispatch import leaked

        raise leaked(operand)
    return operand._array


@asks_memory
def _run(callee: Graph, arrays: Sequence[Any]) -> Sequence[Any]:
    found = run_body(callee, arrays)
    if STATE.checks is not None:
        from adjit.nan_checks import check_graph

        check_graph(callee, arrays, found)
    return found


def _recorded(
    callee: Graph, operands: Sequence[Any], arrays: Sequence[Any], needs: tuple[bool, ...], name: str
) -> list[Tensor]:
    """Run the body together with what its backward graph takes, and record one node."""
    derivative = derivative_of(callee, needs)
    found = _run(derivative.forward, arrays)
    count = len(callee.outputs)
    results = [
        Tensor._wrap(owned(array, arrays), value.dtype, type=None if value.type.names else value.type)
        for array, value in zip(found[:count], callee.outputs, strict=True)
    ]
    node = _linked(callee, operands, derivative, results, name)
    values = node.inputs
    node.full = (
        *(
            Saved(array, F64, held, False, None, 0) if isinstance(operand, float) else keep(operand, held, need)
            for operand, array, held, need in zip(operands, arrays, values, needs, strict=True)
        ),
        *(keep(result, result_of(node, index), True) for index, result in enumerate(results)),
    )
    place = {value: index for index, value in enumerate(callee.inputs)}
    saved: list[Saved] = []
    for value, array in zip(derivative.residuals, found[count:], strict=True):
        if value in place:
            index = place[value]
            is_number = isinstance(operands[index], float)
            saved.append(node.full[index] if is_number else save(operands[index], values[index], needs[index]))
        else:
            kept = Saved(array, value.dtype, value, False, None, 0)
            saved.append(pack(Tensor._wrap(array, value.dtype), kept) if STATE.packing else kept)
    node.saved = tuple(saved)
    return results


def _linked(
    callee: Graph, operands: Sequence[Any], derivative: Any, results: Sequence[Tensor], name: str
) -> Recorded:
    """The node of a body's results on the tape, which saves nothing yet."""
    location = user_location()
    values = [
        literal(o, F64, location) if isinstance(o, float) else
        mark_leaf(o) if o.requires_grad and o._leaf else value_of(o)
        for o in operands
    ]  # fmt: skip
    types = [value.type for value in callee.outputs]
    node = Recorded(name, primitive_named("call"), values, {"callee": callee}, types, location)
    node.leaves = tuple(o for o in operands if isinstance(o, Tensor) and o.requires_grad and o._leaf)
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
