"""PyTorch's `torch.utils.benchmark`: `Timer` measures a statement, `Compare` sets measurements beside each other.

Statements run with one thread unless `num_threads` says otherwise.
"""

from __future__ import annotations

import itertools
import math
import time
import timeit as clock
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjit.settings import get_num_threads, set_num_threads

__all__ = ["Compare", "Measurement", "TaskSpec", "Timer", "select_unit", "timer"]

timer = time.perf_counter
# The unit for times of at least so many seconds, with its name.
_UNITS = ((1.0, "s", "second"), (1e-3, "ms", "millisecond"), (1e-6, "us", "microsecond"), (1e-9, "ns", "nanosecond"))
# The spread of a measurement beside its median from which on it carries a warning.
_SPREAD = 0.1


def select_unit(t: float) -> tuple[str, float]:
    """The unit in which a time is told, and its seconds."""
    size, name, _ = next((unit for unit in _UNITS if t >= unit[0]), _UNITS[-1])
    return name, size


@dataclass(frozen=True)
class TaskSpec:
    """What was measured."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """The label with the sub label, or the statement."""
        if self.label is not None:
            return self.label + (f": {self.sub_label}" if self.sub_label else "")
        if "\n" not in self.stmt:
            return self.stmt
        head = f"stmt: {self.sub_label}" if self.sub_label else "stmt:"
        return "\n".join((head, *(f"  {line}" for line in self.stmt.splitlines())))

    def setup_str(self) -> str:
        """The setup as it is printed."""
        if self.setup in ("", "pass"):
            return ""
        lines = self.setup.splitlines()
        return f"setup: {lines[0]}" if len(lines) == 1 else "setup:\n" + "\n".join(f"  {line}" for line in lines)


@dataclass(repr=False)
class Measurement:
    """Times of a statement, in seconds: `raw_times` of `number_per_run` runs each."""

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "task_spec":
            raise AttributeError(name)
        return getattr(self.task_spec, name)

    @property
    def times(self) -> list[float]:
        """The times of one run."""
        return [total / self.number_per_run for total in self.raw_times]

    @property
    def median(self) -> float:
        """The median time of one run."""
        return float(np.median(self.times))

    @property
    def mean(self) -> float:
        """The mean time of one run."""
        return float(np.mean(self.times))

    @property
    def iqr(self) -> float:
        """The distance of the quartiles."""
        low, high = np.quantile(self.times, (0.25, 0.75))
        return float(high - low)

    @property
    def significant_figures(self) -> int:
        """How many digits of the median the spread leaves: 1 to 3."""
        if len(self.times) < 3 or not self.median:
            return 2
        spread = max(self.iqr / 1.349 / math.sqrt(len(self.times)) * 1.645 / self.median, 1e-9)
        return int(min(max(-math.floor(math.log10(spread)), 1), 3))

    @property
    def has_warnings(self) -> bool:
        """Whether the times differ by much."""
        return len(self.times) >= 2 and self.iqr / self.median > _SPREAD

    @property
    def as_row_name(self) -> str:
        """What a table of comparisons calls it."""
        return self.task_spec.sub_label or self.task_spec.stmt or "[Unknown]"

    def meets_confidence(self, threshold: float = 0.1) -> bool:
        """Whether the times differ by so little."""
        return self.iqr / self.median < threshold if self.median else True

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """One measurement for each task, with the times of all of it."""
        found: dict[tuple[TaskSpec, int], list[float]] = {}
        for one in measurements:
            found.setdefault((one.task_spec, one.number_per_run), []).extend(one.raw_times)
        return [Measurement(number, times, task) for (task, number), times in found.items()]

    def __repr__(self) -> str:
        unit, size = select_unit(self.median)
        task = self.task_spec
        lines = [f"<adjit.utils.benchmark.Measurement object at {id(self):#x}>", task.title]
        lines += [line for line in (task.description, task.setup_str()) if line]
        lines += self._told(unit, size)
        threads = f"{task.num_threads} thread{'s' if task.num_threads > 1 else ''}"
        count = len(self.raw_times)
        lines.append(
            f"  {count} measurement{'s' if count > 1 else ''}, {self.number_per_run} runs "
            f"{'per measurement' if count > 1 else ''}, {threads}"
        )
        if self.has_warnings:
            lines += [
                f"  WARNING: Interquartile range is {self.iqr / self.median * 100:.1f}% of the median measurement.",
                "           This suggests significant environmental influence.",
            ]
        return "\n".join(lines)

    def _told(self, unit: str, size: float) -> list[str]:
        if len(self.times) == 1:
            return [f"  {self.median / size:.2f} {unit}"]
        low, high = np.quantile(self.times, (0.25, 0.75)) / size
        return [
            f"  {'Median' if len(self.times) > 2 else 'Mean'}: {self.median / size:.2f} {unit}",
            *([f"  IQR:    {self.iqr / size:.2f} {unit} ({low:.2f} to {high:.2f})"] if len(self.times) >= 4 else []),
        ]


class Timer:
    """Measures `stmt`, which sees what `setup` makes and `globals`.

    >>> from adjit.utils.benchmark import Timer
    >>> found = Timer("x + 1", setup="x = 3", label="add").timeit(100)
    >>> found.number_per_run, len(found.times), found.title
    (100, 1, 'add')
    """

    def __init__(
        self,
        stmt: str = "pass",
        setup: str = "pass",
        global_setup: str = "",
        timer: Callable[[], float] = timer,
        globals: dict[str, Any] | None = None,
        label: str | None = None,
        sub_label: str | None = None,
        description: str | None = None,
        env: str | None = None,
        num_threads: int = 1,
        language: Any = "python",
    ) -> None:
        if str(getattr(language, "name", language)).lower() not in ("python", "py"):
            raise ValueError(f"Timer measures Python, not {language!r}")
        if global_setup:
            raise ValueError("global_setup is only used in C++: Timer measures Python")
        import textwrap

        stmt, setup = (textwrap.dedent(text).strip("\n") for text in (stmt, setup))
        known = {} if globals is None else dict(globals)
        if "torch" not in known:  # as PyTorch's has it
            known["torch"] = __import__("adjit")
        self._timer = clock.Timer(stmt, setup, timer, known)
        self._task = TaskSpec(stmt, setup, "", label, sub_label, description, env, num_threads)

    def _run(self, number: int) -> float:
        return max(self._timer.timeit(number), 1e-9)

    def timeit(self, number: int = 1000000) -> Measurement:
        """The time of `number` runs after some that are not counted."""
        with _threads(self._task.num_threads):
            self._run(max(number // 100, 2))
            return Measurement(number, [self._run(number)], self._task)

    def _block(self, min_run_time: float) -> int:
        """How many runs make the clock's own time small: at least 0.1 ms, and at most a thousandth of all."""
        number = 1
        while True:
            taken = min(self._run(number), self._run(number))  # the first may make native code
            if taken >= max(min_run_time / 1000, 1e-4):
                return number
            number *= 10

    def blocked_autorange(
        self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Times of blocks of runs, until they have taken `min_run_time` seconds."""
        return self._measured(min_run_time, min_run_time, lambda found: False, callback)

    def adaptive_autorange(
        self,
        threshold: float = 0.1,
        *,
        min_run_time: float = 0.01,
        max_run_time: float = 10.0,
        callback: Callable[[int, float], Any] | None = None,
    ) -> Measurement:
        """Times of blocks of runs, until they differ by less than `threshold` or have taken `max_run_time` seconds."""

        def agree(found: Measurement) -> bool:
            enough = len(found.raw_times) > 3 and sum(found.raw_times) >= min_run_time
            return enough and found.meets_confidence(threshold)

        return self._measured(min_run_time, max_run_time, agree, callback)

    def _measured(
        self,
        min_run_time: float,
        max_run_time: float,
        is_done: Callable[[Measurement], bool],
        callback: Callable[[int, float], Any] | None,
    ) -> Measurement:
        """Times of blocks of runs, until they are enough or have taken `max_run_time` seconds."""
        with _threads(self._task.num_threads):
            found = Measurement(self._block(min_run_time), [], self._task)
            while sum(found.raw_times) < max_run_time and not is_done(found):
                found.raw_times.append(self._run(found.number_per_run))
                if callback is not None:
                    callback(found.number_per_run, found.raw_times[-1])
        return found


class _threads:
    """The number of threads inside the context."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> None:
        self.before = get_num_threads()
        set_num_threads(self.number)

    def __exit__(self, *exception: Any) -> None:
        set_num_threads(self.before)


class Compare:
    """Measurements as a table: a row for each sub label and number of threads, a column for each description."""

    def __init__(self, results: Iterable[Measurement]) -> None:
        self._results: list[Measurement] = []
        self._trim = False
        self._colors = False
        self.extend_results(results)

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """Add measurements."""
        for one in results:
            if not isinstance(one, Measurement):
                raise ValueError(f"Expected an instance of `Measurement`, got {type(one)} instead.")
            self._results.append(one)

    def trim_significant_figures(self) -> None:
        """Show only digits that the spread leaves."""
        self._trim = True

    def colorize(self, rowwise: bool = False) -> None:
        """Mark the best time of each row in green."""
        self._colors = True

    def highlight_warnings(self) -> None:
        """Mark measurements whose times differ by much: they are marked in any case, by `(!)`."""

    def print(self) -> None:
        """Print the tables."""
        print(str(self))

    def __str__(self) -> str:
        merged = Measurement.merge(self._results)
        labels = dict.fromkeys(one.task_spec.label or one.task_spec.stmt for one in merged)
        tables = [self._table(name, [m for m in merged if (m.task_spec.label or m.task_spec.stmt) == name])
                  for name in labels]  # fmt: skip
        return "\n".join(tables)

    def _table(self, label: str, found: list[Measurement]) -> str:
        columns = list(dict.fromkeys(one.task_spec.description or "" for one in found))
        unit, size = select_unit(min(one.median for one in found))
        rows: list[tuple[str, list[str]]] = []
        for threads, group in itertools.groupby(
            sorted(found, key=lambda one: one.task_spec.num_threads), key=lambda one: one.task_spec.num_threads
        ):
            members = list(group)
            rows.append((f"{threads} threads: ", []))
            for name in dict.fromkeys(one.as_row_name for one in members):
                own = {one.task_spec.description or "": one for one in members if one.as_row_name == name}
                rows.append((f"      {name}", self._cells(own, columns, size)))
        return _lines(label, columns, rows, next(long for _, short, long in _UNITS if short == unit), unit)

    def _cells(self, row: dict[str, Measurement], columns: list[str], size: float) -> list[str]:
        best = min(one.median for one in row.values())
        return [self._cell(row[name], size, best) if name in row else "" for name in columns]

    def _cell(self, one: Measurement, size: float, best: float) -> str:
        value, digits = one.median / size, 1
        if self._trim and value:
            digits = max(one.significant_figures - 1 - math.floor(math.log10(value)), 0)
        text = f"{value:.{digits}f}" + (" (!)" if one.has_warnings else "")
        return f"\033[92m\033[1m{text}\033[0m\033[0m" if self._colors and one.median == best else text


def _lines(label: str, columns: list[str], rows: list[tuple[str, list[str]]], unit: str, short: str) -> str:
    """The text of one table."""
    first = max(len(name) for name, cells in rows if cells) + 2
    widths = [
        max([len(name), *(_length(cells[i]) for _, cells in rows if cells)]) for i, name in enumerate(columns)
    ]  # fmt: skip
    whole = first + sum(width + 5 for width in widths) - 2
    dashes = max((whole - len(label) - 4) // 2, 1)
    lines = [f"[{('-' * dashes + f' {label} ').ljust(whole - 2, '-')}]"]
    lines.append(" " * first + "".join(f"|  {name:^{w}}  " for name, w in zip(columns, widths, strict=True)).rstrip())
    for name, cells in rows:
        if not cells:
            lines.append(name + "-" * (whole - len(name)))
            continue
        padded = (cell.rjust(w + len(cell) - _length(cell)) for cell, w in zip(cells, widths, strict=True))
        lines.append(f"{name:<{first}}" + "  ".join(f"|  {cell}" for cell in padded))
    return "\n".join([*lines, "", f"Times are in {unit}s ({short}).", ""])


def _length(cell: str) -> int:
    """How wide a cell is on a terminal, which shows no colours' codes."""
    return len(cell) - (19 if cell.startswith("\033") else 0)
