"""Spots of the user's program, and which of them each line of a text comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from adjit.ir.graph import Location


@dataclass(frozen=True, slots=True)
class Spot:
    """An expression of the user's program, or a whole line (columns 0); `path` is the file's name where that is all."""

    path: str
    line: int
    column: int = 0
    end_column: int = 0

    @staticmethod
    def of(location: Location) -> Spot:
        """Where a node stands."""
        return Spot(location.path or location.file, location.line, location.column, location.end_column)


@dataclass(slots=True)
class Links:
    """Tables that the page's lines refer to by number.

    A place is (spot, whether backward, why it was made); a set is some places and the kernels that compute a line, and
    set 0 is the empty one.
    """

    files: dict[str, int] = field(default_factory=dict)
    spots: dict[tuple[int, int, int, int], int] = field(default_factory=dict)
    places: dict[tuple[int, int, str], int] = field(default_factory=dict)
    sets: dict[tuple[tuple[int, ...], tuple[str, ...]], int] = field(default_factory=lambda: {((), ()): 0})

    def place(self, spot: Spot, backward: bool, note: str = "") -> int:
        """The number of a place."""
        file = self.files.setdefault(spot.path, len(self.files))
        number = self.spots.setdefault((file, spot.line, spot.column, spot.end_column), len(self.spots))
        return self.places.setdefault((number, int(backward), note), len(self.places))

    def set_of(self, places: Iterable[int], kernels: Sequence[str] = ()) -> int:
        """The number of a set."""
        return self.sets.setdefault((tuple(dict.fromkeys(places)), tuple(kernels)), len(self.sets))

    def set_at(self, locations: Iterable[Location]) -> int:
        """The set of some locations, without those that know no line."""
        return self.set_of(
            self.place(Spot.of(location), "∂" in location.origin, str(location.steps[-1]) if location.steps else "")
            for location in locations
            if location.line
        )

    def sets_by_line(self, path: str) -> dict[int, int]:
        """The set of everything that comes from each line of a file."""
        found: dict[int, list[int]] = {}
        spots = list(self.spots)
        for (number, _, _), place in self.places.items():
            file, line, _, _ = spots[number]
            if file == self.files[path]:
                found.setdefault(line, []).append(place)
        return {line: self.set_of(places) for line, places in found.items()}


def runs(sets: Sequence[int]) -> list[int]:
    """Numbers as length and number of each run.

    >>> runs([5, 5, 0, 7])
    [2, 5, 1, 0, 1, 7]
    """
    return [number for key, group in groupby(sets) for number in (len(list(group)), key)]
