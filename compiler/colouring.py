"""Colourings of patterns: columns of one colour can be computed by one product with a sum of unit vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from adjit.compiler.pattern import Integers, Pattern


def colour_columns(pattern: Pattern) -> Integers:
    """A colour for each column, such that no row has two columns of one colour (a distance-2 colouring, greedy).

    Source: Curtis, Powell and Reid, 1974.
    """
    rows_of = pattern.transposed()
    starts, rows = rows_of.indptr.tolist(), rows_of.indices.tolist()
    taken = [0] * pattern.rows  # the colours in a row, as bits
    colours = np.zeros(pattern.columns, np.int64)
    for column in range(pattern.columns):
        own = rows[starts[column] : starts[column + 1]]
        bits = 0
        for row in own:
            bits |= taken[row]
        free = ~bits & (bits + 1)
        colours[column] = free.bit_length() - 1
        for row in own:
            taken[row] |= free
    return colours


class _Stars:
    """A partial colouring: for each vertex, how many neighbours of each colour it has, and one of them."""

    def __init__(self, neighbours: Sequence[Sequence[int]]) -> None:
        self.neighbours = neighbours
        self.colours = [-1] * len(neighbours)
        self.counts: list[dict[int, int]] = [{} for _ in neighbours]
        self.one: list[dict[int, int]] = [{} for _ in neighbours]

    def forbidden(self, vertex: int) -> Iterable[int]:
        """The colours that `vertex` cannot have: a neighbour's, and those that make a path of four of two colours."""
        colours, counts = self.colours, self.counts
        for near in self.neighbours[vertex]:
            colour = colours[near]
            if colour < 0:
                continue
            yield colour
            inside = counts[vertex][colour] > 1  # vertex would stand between two of that colour
            for other, count in counts[near].items():
                # A path far - x - near - vertex, or - near - vertex - another of near's colour.
                if inside or (count == 1 and counts[self.one[near][other]].get(colour, 0) > 1):
                    yield other

    def give(self, vertex: int, colour: int) -> None:
        """Colour a vertex."""
        self.colours[vertex] = colour
        for near in self.neighbours[vertex]:
            self.counts[near][colour] = self.counts[near].get(colour, 0) + 1
            self.one[near][colour] = vertex


def colour_symmetric(pattern: Pattern) -> Integers:
    """A colour for each row and column of a symmetric pattern, such that every entry can be read off a product.

    A star colouring, greedy from the largest degree: neighbours differ, and no path of four vertices has two colours.
    Source: Gebremedhin, Tarafdar, Manne and Pothen, 2007.
    """
    starts, indices = pattern.indptr.tolist(), pattern.indices.tolist()
    neighbours = [
        [column for column in indices[starts[row] : starts[row + 1]] if column != row] for row in range(pattern.rows)
    ]
    stars = _Stars(neighbours)
    for vertex in sorted(range(pattern.rows), key=lambda vertex: -len(neighbours[vertex])):
        taken = set(stars.forbidden(vertex))
        stars.give(vertex, next(colour for colour in range(len(taken) + 1) if colour not in taken))
    return np.array(stars.colours, np.int64)


def read_symmetric(pattern: Pattern, colours: Integers) -> tuple[Integers, Integers]:
    """For each entry (i, j), the row and the colour of the product in which it stands alone: (i, colour of j), or by
    symmetry (j, colour of i)."""
    rows, columns = pattern.pairs()
    width = int(colours.max(initial=-1)) + 1
    keys = rows * width + colours[columns]
    counts = np.bincount(keys, minlength=pattern.rows * width)
    alone = counts[keys] == 1
    return np.where(alone, rows, columns), np.where(alone, colours[columns], colours[rows])
