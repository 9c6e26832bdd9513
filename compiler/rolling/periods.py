"""Which parts of a straight program are the same turn again and again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adjit.compiler.rolling.line import CONSTANT, Line, Numbers
from adjit.ir.frozen import frozen

# The fewest turns that are worth a loop, and the fewest nodes that they have together; of fewer turns many nodes.
TURNS = 8
NODES = 128
_FEW_TURNS, _MANY_NODES = 16, 512
# Windows of labels by which turns are recognized, and how many periods are tried.
_WINDOWS = (1, 4, 16, 64)
_TRIED = 12
# Operands made so many nodes before count by their distance.
_NEAR = 512
_ODD = np.uint64(0x9E3779B97F4A7C15)


@frozen
class Run:
    """`turns` times `period` nodes from `start` on: equal nodes, whose operands are the same or move with the turns."""

    start: int
    period: int
    turns: int

    @property
    def stop(self) -> int:
        return self.start + self.period * self.turns


def runs(line: Line) -> Iterator[list[Run]]:
    """The runs of each period that a program may have, those that cover the most nodes first."""
    found = [each for period in _periods(line) if (each := _runs_of(line, period))]
    saved = {each[0].period: sum((run.turns - 1) * run.period for run in each) for each in found}
    yield from sorted(found, key=lambda each: (-saved[each[0].period], each[0].period))


def _periods(line: Line) -> list[int]:
    """Distances at which the same windows of labels occur often."""
    most = len(line.nodes) // TURNS
    if most == 0:
        return []
    total = np.zeros(most + 1, np.int64)
    for labels in (line.labels.astype(np.uint64), _with_distances(line)):
        window, width = labels * _ODD, 1
        for wanted in _WINDOWS:
            while width < wanted and len(window) > width:
                window = window[:-width] * _power(width + 1) + window[width:] * _ODD
                width *= 2
            total = np.maximum(total, _distances(window, most))
    often = np.flatnonzero(total >= TURNS - 1)
    return [int(period) for period in often[np.argsort(-total[often], kind="stable")][:_TRIED]]


def _with_distances(line: Line) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Labels that also say how far before it each operand was made."""
    distance = line.owner - line.made
    code = np.where((line.made >= 0) & (distance < _NEAR), distance, 0).astype(np.uint64)
    slot = np.arange(len(line.owner)) - line.first[line.owner]
    powers = np.array([_power(k + 2) for k in range(int(slot.max(initial=0)) + 1)], np.uint64)
    labels = line.labels.astype(np.uint64)
    np.add.at(labels, line.owner, code * powers[slot])
    return labels


def _power(exponent: int) -> np.uint64:
    return np.uint64(pow(int(_ODD), exponent, 1 << 64))


def _distances(window: np.ndarray[tuple[int], np.dtype[np.uint64]], most: int) -> Numbers:
    """How often each distance up to `most` lies between a window and the next one that is equal."""
    order = np.argsort(window, kind="stable")
    gaps = np.diff(order)[window[order][1:] == window[order][:-1]]
    return np.bincount(gaps[gaps <= most], minlength=most + 1)


def _runs_of(line: Line, period: int) -> list[Run]:
    """The runs of one period, each as long as it can be."""
    alike = line.labels[period:] == line.labels[:-period]
    found: list[Run] = []
    for begin, end in _spans(alike, period * (TURNS - 1)):
        stop = end + period
        first = int(line.first[begin])
        stride = int(line.first[begin + period]) - first
        last = int(line.first[stop])
        made, place = line.made[first:last], line.place[first:last]
        same = made[stride:] == made[:-stride] if stride else np.ones(0, bool)
        moves = (made[stride:] - made[:-stride] == period) & (made[stride:] > CONSTANT) & (made[:-stride] > CONSTANT)
        regular = (same | moves) & (place[stride:] == place[: len(place) - stride])
        # What is the same from one turn to the next, and moves with the turn after, ends a run.
        regular[stride:] &= same[stride:] == same[: len(same) - stride]
        bad = line.owner[first : last - stride][~regular]
        fits = np.ones(end - begin, bool)
        fits[bad - begin] = False
        for inner, outer in _spans(fits, period * (TURNS - 1)):
            run = Run(begin + inner, period, (outer - inner) // period + 1)
            if run.turns * period >= (NODES if run.turns >= _FEW_TURNS else _MANY_NODES):
                found.append(run)
    return found


def _spans(flags: np.ndarray[tuple[int], np.dtype[np.bool_]], least: int) -> list[tuple[int, int]]:
    """Where at least `least` flags in a row are true: first place and the one after the last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= least]
