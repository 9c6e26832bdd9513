"""PyTorch's `torch.profiler`: the time of each call of a public function or method, and of named ranges.

Calls are seen as a mode of `adjit.overrides` sees them: those that the program makes, and `backward` as one call; what
they call inside is their own time.  A compiled function is one native call, which ranges around it time and
`f.profile(...)` takes apart.  Nothing is measured, and nothing costs anything, while no profile is on.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ContextDecorator
from enum import Enum
from typing import Any

from adjit.overrides import TorchFunctionMode
from adjit.profiler_table import Average, Event, EventList
from adjit.tensor import Tensor
from adjit.warning import warn

__all__ = [
    "Average", "Event", "EventList", "ProfilerAction", "ProfilerActivity", "profile", "record_function", "schedule",
    "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip


class ProfilerActivity(Enum):
    """What can be measured: the CPU; the others exist to be asked for."""

    CPU = 0
    CUDA = 2
    XPU = 1


class ProfilerAction(Enum):
    """What a schedule says of a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def supported_activities() -> set[ProfilerActivity]:
    """The CPU."""
    return {ProfilerActivity.CPU}


class _Running(threading.local):
    profiles: tuple[profile, ...] = ()


_RUNNING = _Running()


class _Timing(TorchFunctionMode):
    """The mode that times calls for one profile."""

    def __init__(self, owner: profile) -> None:
        self.owner = owner

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.__name__ == "__get__":
            return func(*args, **kwargs)
        shapes = [_shape(value) for value in args] if self.owner.record_shapes else None
        event = self.owner._begin(f"aten::{func.__name__}", shapes)
        try:
            return func(*args, **kwargs)
        finally:
            self.owner._end(event)


def _shape(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Tensor):
        return [_shape(item) for item in value]
    return list(value.shape) if isinstance(value, Tensor) else []


class record_function(ContextDecorator):
    """A range with a name, timed by the profiles that are on; also a decorator.

    >>> import adjit as torch
    >>> from adjit.profiler import profile, record_function
    >>> with profile() as found:
    ...     with record_function("square"):
    ...         y = torch.ones(3) * 2
    >>> [event.name for event in found.events()]
    ['square', 'aten::ones', 'aten::mul']
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name
        self.args = args
        self._events: list[tuple[profile, Event]] = []

    def __enter__(self) -> record_function:
        self._events = [(owner, owner._begin(self.name, None)) for owner in _RUNNING.profiles]
        return self

    def __exit__(self, *exception: Any) -> None:
        for owner, event in reversed(self._events):
            owner._end(event)


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
) -> Callable[[int], ProfilerAction]:
    """A schedule of steps: `skip_first`, then cycles of `wait`, `warmup` and `active` ones; `repeat` of them, or 0 for
    no end.  `skip_first_wait` leaves the first wait out."""

    def action(step: int) -> ProfilerAction:
        if step < skip_first:
            return ProfilerAction.NONE
        step -= skip_first
        if skip_first_wait:
            step += wait
        length = wait + warmup + active
        if repeat > 0 and step // length >= repeat:
            return ProfilerAction.NONE
        place = step % length
        if place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if place < length - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


def _always(step: int) -> ProfilerAction:
    return ProfilerAction.RECORD


class profile:
    """Measures what runs between `start` and `stop`, or inside the context.

    With a `schedule`, `step()` goes to the next step, and `on_trace_ready(self)` is called after each cycle.  Time is
    all that is measured: who asks for memory, stacks or operations is warned that there are none.
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
        experimental_config: Any = None,
        execution_trace_observer: Any = None,
        acc_events: bool = False,
        use_cuda: bool | None = None,
        custom_trace_id_callback: Any = None,
    ) -> None:
        asked = {"profile_memory": profile_memory, "with_stack": with_stack, "with_flops": with_flops}
        for name in (name for name, wanted in asked.items() if wanted):
            warn(f"profile({name}=True): time is all that is measured", stacklevel=2)
        self.activities = supported_activities() if activities is None else set(activities)
        self.schedule = schedule or _always
        self.on_trace_ready = on_trace_ready
        self.record_shapes = record_shapes
        self.step_num = 0
        self._events: list[Event] = []
        self._open: list[Event] = []
        self._origin = 0.0
        self._mode: _Timing | None = None

    # -- steps ------------------------------------------------------------------------------------------------------
    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stop()

    def start(self) -> None:
        """Begin with step 0."""
        self._follow(self.schedule(self.step_num))

    def stop(self) -> None:
        """End; what was recorded is ready."""
        if self._mode is not None:
            self._off()
            if self.on_trace_ready is not None:
                self.on_trace_ready(self)

    def step(self) -> None:
        """Go to the next step of the schedule."""
        before = self.schedule(self.step_num)
        self.step_num += 1
        if before is ProfilerAction.RECORD_AND_SAVE:
            self.stop()
        self._follow(self.schedule(self.step_num))

    def _follow(self, action: ProfilerAction) -> None:
        wanted = action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
        if wanted and self._mode is None:
            self._events, self._open, self._origin = [], [], time.perf_counter()
            _RUNNING.profiles = (*_RUNNING.profiles, self)
            self._mode = _Timing(self)
            self._mode.__enter__()
        elif not wanted and self._mode is not None:
            self._off()

    def _off(self) -> None:
        assert self._mode is not None
        self._mode.__exit__(None, None, None)
        self._mode = None
        _RUNNING.profiles = tuple(other for other in _RUNNING.profiles if other is not self)

    # -- events -----------------------------------------------------------------------------------------------------
    def _begin(self, name: str, shapes: list[Any] | None) -> Event:
        event = Event(name, shapes or [], (time.perf_counter() - self._origin) * 1e6, threading.get_ident())
        if self._open:
            event.cpu_parent = self._open[-1]
            self._open[-1].cpu_children.append(event)
        self._open.append(event)
        self._events.append(event)
        return event

    def _end(self, event: Event) -> None:
        event.stop = (time.perf_counter() - self._origin) * 1e6
        if event in self._open:
            del self._open[self._open.index(event) :]

    def events(self) -> EventList:
        """What was measured, in the order in which it began."""
        return EventList(self._events)

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, **options: Any) -> EventList:
        """The sums over events of one name, and of one set of shapes where these are asked for."""
        return self.events().key_averages(group_by_input_shape)

    def total_average(self) -> Average:
        """The sum over all events."""
        return self.events().total_average()

    def export_chrome_trace(self, path: str) -> None:
        """Write the events as a file for chrome://tracing and Perfetto."""
        process = os.getpid()
        found = [
            {"ph": "X", "cat": "cpu_op", "name": event.name, "pid": process, "tid": event.thread,
             "ts": event.start, "dur": event.stop - event.start, "args": {"Input Dims": event.input_shapes}}
            for event in self._events
        ]  # fmt: skip
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"traceEvents": found, "displayTimeUnit": "ms"}, file)


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[profile], None]:
    """An `on_trace_ready` that writes each trace as a file of `dir_name`."""
    if use_gzip:
        raise NotImplementedError("tensorboard_trace_handler() writes plain files: leave use_gzip out")

    def write(owner: profile) -> None:
        os.makedirs(dir_name, exist_ok=True)
        name = worker_name or f"{platform.node()}_{os.getpid()}"
        owner.export_chrome_trace(os.path.join(dir_name, f"{name}.{time.time_ns()}.pt.trace.json"))

    return write
