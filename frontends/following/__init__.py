"""Traces that follow an earlier one: the function runs, and each of its steps is looked up instead of being emitted.

What a transformation traces at every call mostly comes down to the same steps: operations on the tensors that it was
given or made, with the same numbers.  A trace writes such steps down.  The next trace of the function follows them: as
long as each step is the one that was written down, its results are tensors that stand for the ones of then, and where
the function ends as it did, the graph of then is its graph, and what was derived from it stays derived.  With the first
step that is another one, all steps so far are made, and the trace goes on as if it had been an ordinary one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from types import CodeType, MethodType
from typing import Any

from adjit import trees
from adjit.following.follow import Follower
from adjit.following.log import Log, Logs
from adjit.following.write import Writer, give_up, written_down
from adjit.inner_trace import InnerTracer, Other, Traced, finished, shared, trace_inner
from adjit.ir.types import TensorType
from adjit.runtime.fork_locks import ForkLock
from adjit.state import STATE

# The most functions of which logs are kept.
_MOST = 256
_logs: OrderedDict[Any, Logs] = OrderedDict()
_lock = ForkLock()
# What stands for the leaves of a result that are no tensors.
_OTHER = Other(None)


def trace_followed(
    name: str,
    key: Any,
    function: Callable[..., Any],
    types: Sequence[TensorType],
    flags: Sequence[bool],
    keeps_rules: int = 0,
) -> Traced:
    """As `trace_inner`: the trace of `function`, which `key` tells from others; where an earlier one took the same
    course, what it left."""
    logs = _logs_of((key, *types, *flags, keeps_rules))
    if logs is None:
        return shared(trace_inner(name, function, types, flags, is_region=False, keeps_rules=keeps_rules))
    if logs.kept:
        tracer: Any = Follower(name, logs, types, flags, keeps_rules)
    else:
        tracer = written_down(object.__new__(InnerTracer), name, logs, keeps_rules)
    with tracer:
        if type(tracer) is Follower:
            inputs = list(tracer.given)
        else:
            with tracer.within_step():
                inputs = tracer.arguments_of(types, flags, False)
            tracer.note([], list(inputs))
        leaves, structure = trees.flatten(function(*inputs), none_is_leaf=True)
        if type(tracer) is Follower:
            found = tracer.arrived(leaves, structure)
            if found is not None:
                return found
        ends = tracer.concluded(leaves) if type(tracer) is Writer else None
        if ends is None:
            give_up(tracer)
            logs.failed()
            traced = finished(tracer, leaves, structure, types)
        else:
            with tracer.within_step():
                traced = finished(tracer, leaves, structure, types)
            tracer.__class__ = InnerTracer
    traced = shared(traced)
    if ends is not None and tracer.steps is not None and not traced.written:
        captured = [tracer.numbers.get(id(tensor)) for tensor in traced.captured]
        if None not in captured:
            marks = [None if leaf is None else _OTHER for leaf in traced.leaves]
            logs.add(Log(tracer.steps, ends, structure, traced.again([], marks, structure), captured))
    return traced


def _logs_of(key: Any) -> Logs | None:
    """The logs of a function; None where it is traced as ever."""
    outer: Any = STATE.tracer
    if outer is not None and not outer.by_steps:
        return None
    if STATE.checks is not None or STATE.packing or STATE.anomaly[0] or STATE.inference:
        return None
    with _lock:
        logs = _logs.pop(key, None)
        _logs[key] = logs = Logs() if logs is None else logs
        if len(_logs) > _MOST:
            _logs.popitem(last=False)
    return logs if logs.is_worth_it else None


_DEPTH = 16  # of functions that wrap others


def identity_of(function: Any) -> tuple[Any, ...]:
    """What tells a function from others that do other things, though it may be made anew at each call."""
    found: list[Any] = []
    while function is not None and len(found) < _DEPTH:
        if isinstance(function, MethodType):
            function = function.__func__
        if isinstance(function, partial):
            function = function.func
            continue
        code = getattr(function, "__code__", None)
        found.append(code if isinstance(code, CodeType) else type(function))
        function = getattr(function, "__wrapped__", None)
    return tuple(found)


def runs(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Say of a function that it is one for each `function` that it runs."""

    def mark(outer: Callable[..., Any]) -> Callable[..., Any]:
        outer.__wrapped__ = function  # type: ignore[attr-defined]
        return outer

    return mark
