"""PyTorch's `torch.autograd.profiler`: `adjit.profiler` under its former names."""

from __future__ import annotations

from typing import Any

from adjit import profiler
from adjit.profiler import Average as FunctionEventAvg
from adjit.profiler import Event as FunctionEvent
from adjit.profiler import EventList, record_function

__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "profile", "record_function"]


class profile(profiler.profile):
    """Measures what runs inside the context, if it is enabled; `table` and its like are those of its events."""

    def __init__(self, enabled: bool = True, *, record_shapes: bool = False, **options: Any) -> None:
        super().__init__(record_shapes=record_shapes)
        self.enabled = enabled

    def start(self) -> None:
        """Begin, if it is enabled."""
        if self.enabled:
            super().start()

    def table(self, *args: Any, **kwargs: Any) -> str:
        """The table of the events."""
        return self.events().table(*args, **kwargs)

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all events in microseconds."""
        return self.events().self_cpu_time_total
