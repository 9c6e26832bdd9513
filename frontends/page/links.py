"""Spots of the user's program, and which of them each line of a text comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from adjit.ir.graph import Location


@dataclass(slots=True)
class Links:
    """Tables that the page's lines refer to by number.

    A spot is (file, line, column, end); a place is (spot, whether backward, note); a set is a group of places, and
    set 0 is the empty one.
    """

    files: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    spots: dict[tuple[int, int, int, int], int] = field(default_factory=dict)
    places: dict[tuple[int, int, str], int] = field(default_factory=dict)
    sets: dict[tuple[int, ...], int] = field(default_factory=lambda: {(): 0})

    def place(self, location: Location) -> int:
        """The number of a location's place."""
        key = location.path or location.file
        if key not in self.files:
            self.files[key] = len(self.files)
            self.names.append(location.file)
        spot = (self.files[key], location.line, getattr(location, "column", 0), getattr(location, "end_column", 0))
        number = self.spots.setdefault(spot, len(self.spots))
        return self.places.setdefault((number, int("∂" in location.origin), location.note), len(self.places))

    def set_of(self, locations: Iterable[Location]) -> int:
        """The number of the set of some locations; those that know no line are left out."""
        places = tuple(dict.fromkeys(self.place(location) for location in locations if location.line))
        return self.sets.setdefault(places, len(self.sets))

    def lines_of(self, file: int) -> dict[int, int]:
        """The set of everything that comes from each line of a file."""
        found: dict[int, list[int]] = {}
        spots = list(self.spots)
        for (spot, _, _), place in self.places.items():
            if spots[spot][0] == file:
                found.setdefault(spots[spot][1], []).append(place)
        return {line: self.sets.setdefault(tuple(places), len(self.sets)) for line, places in found.items()}


def runs(sets: Sequence[int]) -> list[int]:
    """Numbers as length and number of each run.

    >>> runs([5, 5, 0, 7])
    [2, 5, 1, 0, 1, 7]
    """
    return [number for key, group in groupby(sets) for number in (len(list(group)), key)]
