"""What each operand of a turn is: the same in all turns, made in the turn or in one before, or one of many."""

from __future__ import annotations

from dataclasses import field
from itertools import pairwise
from typing import Any

import numpy as np

from adjit.compiler.rolling.line import CONSTANT, Line
from adjit.compiler.rolling.periods import TURNS, Run
from adjit.ir.frozen import frozen, record
from adjit.ir.graph import Attribute, Value
from adjit.ir.literals import literal_key
from adjit.ir.ops.arrays import Array
from adjit.ir.shape import Size
from adjit.ir.types import DType

# How many turns back an operand may be made.
_OLDEST = 4
# To how many digits a step is rounded to find the program's.
_DIGITS = (17, 15, 12, 7)
# Elements up to which a loop stacks what few turns are asked for, and what it takes from here and there, unless that is
# no larger than their source.
LITTLE = 1 << 16
# The greatest number of turns that is exact in f64, in which floating series are worked out.
_EXACT = 2.0**53


@frozen
class Result:
    """Result `place` of the `node`th node of a turn."""

    node: int
    place: int


@frozen
class Carried:
    """A result of `lag` turns ago."""

    result: Result
    lag: int


@frozen
class Rows:
    """Slices of `source` of one size and with the same steps, which start at `start`, in each turn `advance` later."""

    source: Value
    start: tuple[int, ...]
    size: tuple[Size, ...]
    step: tuple[int, ...]
    axis: int
    advance: int


@frozen
class Picked:
    """Slices of `source` of one size and with the same steps, which start in each turn at one of `starts`."""

    source: Value
    starts: tuple[tuple[int, ...], ...]
    size: tuple[int, ...]
    step: tuple[int, ...]

    @property
    def moving(self) -> tuple[int, ...]:
        """The axes along which the starts differ."""
        return tuple(axis for axis, places in enumerate(zip(*self.starts, strict=True)) if len({*places}) > 1)


@frozen
class Pile:
    """Values that were made before the loop, one for each turn."""

    values: tuple[Value, ...]


@frozen
class Table:
    """Numbers, one for each turn; `key` tells them apart, zeros by their signs."""

    numbers: tuple[float | int, ...]
    dtype: DType
    key: object


@frozen
class Series:
    """Numbers: `start + (turn + shift) * step`."""

    start: float | int
    step: float | int
    shift: int
    dtype: DType

    def numbers(self, turn: Array) -> Array:
        """The numbers of turns that are counted in `turn`, f64 for floating ones."""
        moved = turn + self.shift if self.shift else turn
        return self.start + moved * self.step if self.start else moved * self.step


# The source of an operand of a turn; a bare result is one of the same turn, a value one from outside.
Source = Value | Result | Carried | Series | Table | Pile


@record
class Turns:
    """A run whose operands are known: by operand of the first turn its source, by node of a turn its slices."""

    run: Run
    sources: dict[int, Source]
    rows: dict[int, Rows | Picked] = field(default_factory=dict)


def read_turns(line: Line, run: Run) -> Turns | None:
    """The run, or the most of it that can be a loop; None if nothing can."""
    shorter: Run | None = _extended(line, _rotated(line, run))
    while shorter is not None and shorter.turns >= TURNS:
        found = _read(line, shorter)
        if not isinstance(found, int):
            return found
        # A value of the first turns that all others use: they stand before the loop.
        shorter = Run(shorter.start + found * shorter.period, shorter.period, shorter.turns - found) if found else None
    return None


def _rotated(line: Line, run: Run) -> Run:
    """The run with its turns cut where the fewest bytes are alive from one to the next."""
    period, middle = run.period, run.start + run.period * (run.turns // 2)
    alive = np.zeros(period + 1, np.int64)
    last: dict[tuple[int, int], int] = {}
    stop = min(middle + period * (_OLDEST + 1), run.stop)
    for operand in range(int(line.first[middle]), int(line.first[stop])):
        made = int(line.made[operand])
        if middle <= made < middle + period:
            last[made, int(line.place[operand])] = int(line.owner[operand])
    for (made, place), use in last.items():
        size = line.nodes[made].outputs[place].type.size
        for at in range(made + 1, min(use, made + period) + 1):
            alive[(at - middle) % period] += size if isinstance(size, int) else 1
    shift = int(np.argmin(alive[:period]))
    return run if shift == 0 else Run(run.start + shift, period, (run.stop - run.start - shift) // period)


def _extended(line: Line, run: Run) -> Run:
    """The run with the turn before it too, where that differs only in what it takes over from a turn before."""
    start, period = run.start, run.period
    before = start - period
    if before < 0 or not np.array_equal(line.labels[before:start], line.labels[start : start + period]):
        return run
    own, other = (slice(int(line.first[a]), int(line.first[a + period])) for a in (before, start))
    made, later = line.made[own], line.made[other]
    regular = (made == later) | ((later - made == period) & (made > CONSTANT))
    regular &= line.place[own] == line.place[other]
    taken_over = (later >= before) & (later < start) & (made < before)
    return Run(before, period, run.turns + 1) if bool((regular | taken_over).all()) else run


def _read(line: Line, run: Run) -> Turns | int | None:
    """The sources of all operands; a number of turns that must stand before the loop; None where it is no loop."""
    start, period, turns = run.start, run.period, run.turns
    found = Turns(run, {})
    for node in range(start, start + period):
        op = line.nodes[node].op
        if op.name == "host_call" or (line.nodes[node].regions and not op.isolated):
            return None
        for operand in line.operands(node):
            # What the first turn takes over from before the loop may be made anywhere: the second one tells the rule.
            before, made, after = (int(number) for number in line.column(start, period, 3, operand))
            source: Source | None
            if made == after and made != CONSTANT:
                if made >= start:
                    return 1 + (made - start) // period
                source = line.values(period, 1, operand)[0]
            elif made == CONSTANT:
                source = _numbers(line.values(period, turns, operand))
            elif (line.column(start, period, turns, operand) < start).all():
                source = _pile(line.values(period, turns, operand))
            else:
                second = operand + int(line.first[start + period] - line.first[start])
                result = Result((made - start) % period, int(line.place[second]))
                lag = 1 - (made - start) // period
                regular = before == made - period or (lag == 1 and before < start)
                source = (result if lag == 0 else Carried(result, lag)) if regular and 0 <= lag <= _OLDEST else None
            if source is None:
                return None
            found.sources[operand] = source
        if op.name == "slice" and not _read_slice(line, found, node):
            return None
    return found


def _read_slice(line: Line, turns: Turns, node: int) -> bool:
    """Enter where the slices of one node of a turn lie; False where they are no series of rows."""
    run = turns.run
    starts: list[Attribute] = [line.nodes[node + k * run.period].attributes["start"] for k in range(run.turns)]
    if all(start == starts[0] for start in starts):
        return True
    source = turns.sources[int(line.first[node])]
    size: Any = line.nodes[node].attributes["size"]
    step: Any = line.nodes[node].attributes["step"]
    places = np.array(starts, object)
    if not isinstance(source, Value) or not all(isinstance(place, int) for place in places.flat):
        return False
    moving = [axis for axis in range(places.shape[1]) if any(places[:, axis] != places[0, axis])]
    axis, first = moving[0], tuple(places[0].tolist())
    along = places[:, axis].tolist()
    advance = along[1] - along[0]
    is_even = len(moving) == 1 and all(b - a == advance for a, b in pairwise(along))
    if is_even and step[axis] == 1 and size[axis] in (1, abs(advance)):
        turns.rows[node - run.start] = Rows(source, first, size, step, axis, advance)
        return True
    total, whole = line.nodes[node].output.type.size * run.turns, source.type.size
    if not isinstance(total, int) or (total > LITTLE and not (isinstance(whole, int) and total <= whole)):
        return False
    turns.rows[node - run.start] = Picked(source, tuple(map(tuple, places.tolist())), size, step)
    return True


def _pile(values: list[Value]) -> Pile | None:
    """Values from before the loop, if they are small."""
    size = values[0].type.size
    return Pile(tuple(values)) if isinstance(size, int) and size * len(values) <= LITTLE else None


def _numbers(values: list[Value]) -> Source | None:
    """Constants: one, a series, or any."""
    first, dtype = values[0], values[0].dtype
    numbers = [number for value in values if isinstance(number := value.constant, int | float)]
    if len(numbers) < len(values):
        return None
    if all(repr(number) == repr(numbers[0]) for number in numbers):
        return first
    return _series(numbers, dtype) or Table(tuple(numbers), dtype, literal_key(tuple(numbers)))


def _series(numbers: list[int | float], dtype: DType) -> Series | None:
    """Constants that go up by equal steps to the last bit."""
    if not (dtype.is_integer or dtype.is_float):
        return None
    if dtype.is_integer:
        gap = numbers[1] - numbers[0]
        fits = numbers == [numbers[0] + k * gap for k in range(len(numbers))]
        return Series(numbers[0], gap, 0, dtype) if fits else None
    exact = np.array(numbers, np.float64)
    turns = np.arange(len(numbers), dtype=np.float64)
    step = float(exact[-1] - exact[0]) / turns[-1]
    if not np.isfinite(exact).all() or step == 0 or abs(exact[0] / step) > _EXACT:
        return None
    # Of the numbers that come close the program's are those of few digits.  It may have counted from some turns before
    # the first, or, backwards, from some turns after the last.
    begin = round(exact[0] / step)
    unit = exact[-1] / (begin + turns[-1]) if begin + turns[-1] else step
    candidates = [Series(0, _rounded(unit, digits), begin, dtype) for digits in _DIGITS]
    for digits in _DIGITS:
        near = _rounded(step, digits)
        for shift in (*range(_OLDEST + 1), *range(-len(numbers) - _OLDEST, 1 - len(numbers))):
            candidates.append(Series(_rounded(exact[0] - shift * near, digits), near, shift, dtype))
    storage = dtype.storage
    wanted = exact.astype(storage)
    return next((each for each in candidates if _same(each.numbers(turns).astype(storage), wanted)), None)


def _same(found: Array, wanted: Array) -> bool:
    """Whether numbers are the same, zeros with their signs."""
    return np.array_equal(found, wanted) and np.array_equal(np.signbit(found), np.signbit(wanted))


def _rounded(number: float, digits: int) -> float:
    return float(f"{number:.{digits}g}")
