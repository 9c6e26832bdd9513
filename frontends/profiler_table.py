"""Events of a profile, their sums by name, and the table of them."""

from __future__ import annotations

from typing import Any

__all__ = ["Average", "Event", "EventList"]


class Event:
    """One call or range: its name, when it began and ended (us), and what it stands in."""

    def __init__(self, name: str, input_shapes: list[Any], start: float, thread: int) -> None:
        self.name = self.key = name
        self.input_shapes = input_shapes
        self.start = self.stop = start
        self.thread = thread
        self.count = 1
        self.cpu_parent: Event | None = None
        self.cpu_children: list[Event] = []

    @property
    def cpu_time_total(self) -> float:
        """Its time in microseconds."""
        return self.stop - self.start

    cpu_time = cpu_time_total

    @property
    def self_cpu_time_total(self) -> float:
        """Its time without that of the events in it."""
        return self.cpu_time_total - sum(child.cpu_time_total for child in self.cpu_children)

    def __repr__(self) -> str:
        total, own = _text(self.cpu_time_total), _text(self.self_cpu_time_total)
        return f"<FunctionEvent name={self.name} cpu_time={total} self_cpu_time={own} input_shapes={self.input_shapes}>"


class Average:
    """The sum over events with one key."""

    def __init__(self, key: str, input_shapes: Any = "") -> None:
        self.key = self.name = key
        self.input_shapes = input_shapes
        self.count = 0
        self.cpu_time_total = 0.0
        self.self_cpu_time_total = 0.0

    def add(self, event: Event) -> Average:
        """With one more event."""
        self.count += event.count
        self.cpu_time_total += event.cpu_time_total
        self.self_cpu_time_total += event.self_cpu_time_total
        return self

    @property
    def cpu_time(self) -> float:
        """The time of one event in microseconds."""
        return self.cpu_time_total / self.count if self.count else 0.0

    cpu_time_total_str = property(lambda self: _text(self.cpu_time_total))
    cpu_time_str = property(lambda self: _text(self.cpu_time))
    self_cpu_time_total_str = property(lambda self: _text(self.self_cpu_time_total))

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} self_cpu_time={_text(self.self_cpu_time_total)} "
            f"cpu_time={_text(self.cpu_time)} input_shapes={self.input_shapes}>"
        )


class EventList(list[Any]):
    """Events, or sums of them; printed, a table."""

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all in microseconds, none counted twice."""
        return float(sum(event.self_cpu_time_total for event in self))

    def key_averages(self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0) -> EventList:
        """The sums over events of one name, and of one set of shapes where these are asked for."""
        found: dict[tuple[str, str], Average] = {}
        for event in self:
            shapes = event.input_shapes if group_by_input_shapes else ""
            found.setdefault((event.name, str(shapes)), Average(event.name, shapes)).add(event)
        return EventList(found.values())

    def total_average(self) -> Average:
        """The sum over all events."""
        total = Average("Total", [])
        for event in self:
            total.add(event)
            total.key = "Total"
        return total

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_src_column_width: int = 75,
        max_name_column_width: int = 55,
        max_shapes_column_width: int = 80,
        header: str | None = None,
        top_level_events_only: bool = False,
        time_unit: str | None = None,
    ) -> str:
        """The events as lines, `row_limit` of them, the greatest `sort_by` first.

        Errors: AttributeError for a `sort_by` that events do not have.
        """
        rows = list(self)
        if sort_by is not None:
            rows.sort(key=lambda event: getattr(event, _CALLED.get(sort_by, sort_by)), reverse=True)
        if top_level_events_only:
            rows = [event for event in rows if getattr(event, "cpu_parent", None) is None]
        shaped = any(event.input_shapes for event in rows)
        name_width = min(max((len(event.key) for event in rows), default=4) + 4, max_name_column_width)
        shapes = [_cut(str(event.input_shapes), max_shapes_column_width) for event in rows] if shaped else []
        widths = [name_width, 12, 12, 12, 12, 12, 12, *([max(map(len, shapes)) + 4] if shapes else [])]
        titles = ["Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls"]
        ruler = "".join("-" * width + "  " for width in widths)
        lines = [ruler, _line(titles + ["Input Shapes"] * shaped, widths), ruler]
        if header is not None:
            lines[:0] = ["=" * len(ruler), header]
        total = self.self_cpu_time_total
        for index, event in enumerate(rows[: None if row_limit < 0 else row_limit]):
            cells = [_cut(event.key, max_name_column_width), *_cells(event, total, time_unit)]
            lines.append(_line(cells + shapes[index : index + 1], widths))
        lines += [ruler, f"Self CPU time total: {_text(total)}", ""]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


# The names that PyTorch had before, and those of times on another device, which is none.
_CALLED = {"cuda_time_total": "cpu_time_total", "self_cuda_time_total": "self_cpu_time_total"}
_UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0}


def _cells(event: Any, total: float, unit: str | None) -> list[str]:
    own, whole = event.self_cpu_time_total, event.cpu_time_total
    own_part, part = (f"{100 * time / total if total else 0.0:.2f}%" for time in (own, whole))
    return [own_part, _text(own, unit), part, _text(whole, unit), _text(event.cpu_time, unit), str(event.count)]


def _line(cells: list[str], widths: list[int]) -> str:
    return "".join(f"{cell:>{width}}  " for cell, width in zip(cells, widths, strict=True))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _text(microseconds: float, unit: str | None = None) -> str:
    """A time in the given unit, or in the greatest that leaves a digit before the point."""
    if unit is None:
        unit = next((name for name, size in _UNITS.items() if abs(microseconds) >= size), "us")
    return f"{microseconds / _UNITS[unit]:.3f}{unit}"
