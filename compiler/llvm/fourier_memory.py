"""Where the stages of Fourier transforms read points and write them: real and imaginary parts apart, or interleaved.

A place is a number of points; vectors are of points that stand side by side in a row.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.llvm.sequences import below, masked_load, masked_store, offset
from adjit.compiler.llvm.text import Function, LLType

# Kinds of memory: scratch memory, with the parts apart; complex numbers; complex numbers whose parts are swapped (the
# inverse transform is the transform of swapped numbers); real numbers, which are read as the first parts of points
# whose second parts are 0, and written from the second parts, as what is swapped has its real parts there.
SPLIT, COMPLEX, SWAPPED, REAL = "split", "complex", "swapped", "real"


class Points:
    """Points at two pointers, or all at the first, `kind` says how.

    With `count`, an i64, they are rows of that many which are `pitch` apart, each row a vector: place i is that of row
    i/lanes.
    """

    def __init__(
        self, f: Function, type: LLType, kind: str, pointers: tuple[str, str], count: str = "", pitch: str = ""
    ) -> None:
        self.f, self.type, self.kind, self.pointers, self.pitch = f, type, kind, pointers, pitch
        self.pair = LLType(type.dtype, 2 * type.lanes)
        self.mask = below(f, 2 * type.lanes, f.let(f"shl i64 {count}, 1")) if count else ""

    def _at(self, place: str) -> str:
        """The address of interleaved points."""
        f = self.f
        if self.pitch:
            row = f.let(f"lshr i64 {place}, {self.type.lanes.bit_length() - 1}")
            place = f.let(f"mul i64 {row}, {self.pitch}")
        return offset(f, self.type.element, self.pointers[0], f.let(f"shl i64 {place}, 1"))

    def load(self, place: str) -> tuple[str, str]:
        f, type, align = self.f, self.type, self.type.dtype.itemsize
        if self.kind in (SPLIT, REAL):
            first, second = (
                f.let(f"load {type.llvm}, ptr {offset(f, type.element, pointer, place)}, align {align}")
                for pointer in (self.pointers if self.kind == SPLIT else self.pointers[:1] * 2)
            )
            return first, second if self.kind == SPLIT else type.constant(0.0)
        at = self._at(place)
        if type.lanes == 1:
            places = (at, offset(f, type.llvm, at, 1))
            first, second = (f.let(f"load {type.llvm}, ptr {each}, align {align}") for each in places)
        else:
            if self.mask:
                pair = masked_load(f, self.pair, at, self.mask, "zeroinitializer")
            else:
                pair = f.let(f"load {self.pair.llvm}, ptr {at}, align {align}")
            first, second = (
                f.shuffle(self.pair, range(part, 2 * type.lanes, 2), pair) for part in (0, 1)
            )
        return (first, second) if self.kind == COMPLEX else (second, first)

    def store(self, place: str, point: tuple[str, str]) -> None:
        f, type, align = self.f, self.type, self.type.dtype.itemsize
        if self.kind in (SPLIT, REAL):
            split = zip(self.pointers, point, strict=True)
            for pointer, part in split if self.kind == SPLIT else ((self.pointers[0], point[1]),):
                f.line(f"store {type.llvm} {part}, ptr {offset(f, type.element, pointer, place)}, align {align}")
            return
        first, second = point if self.kind == COMPLEX else (point[1], point[0])
        at = self._at(place)
        if type.lanes == 1:
            for part, each in ((first, at), (second, offset(f, type.llvm, at, 1))):
                f.line(f"store {type.llvm} {part}, ptr {each}, align {align}")
            return
        order = [lane + side * type.lanes for lane in range(type.lanes) for side in (0, 1)]
        pair = f.shuffle(type, order, first, second)
        if self.mask:
            masked_store(f, self.pair, pair, at, self.mask)
        else:
            f.line(f"store {self.pair.llvm} {pair}, ptr {at}, align {align}")


def dealt(f: Function, type: LLType, sources: Sequence[str], run: int) -> list[str]:
    """Vectors in a row of which each has groups of `run` lanes, dealt out in turn: one of each, then the next of each.

    A power of two of them is merged by pairs, others one after another.
    """
    lanes, count = type.lanes, len(sources)
    if lanes == 1 or count == 1:
        return list(sources)
    if count & (count - 1):
        return [_gathered(f, type, sources, run, place * lanes) for place in range(count)]
    rows = [[source] for source in sources]
    while len(rows) > 1:
        # Neighbours differ in the lowest bit of their number, which the groups so far are to be told apart by.
        rows = [_merged(f, type, first, second, run) for first, second in zip(rows[::2], rows[1::2], strict=True)]
        run *= 2
    return rows[0]


def _merged(f: Function, type: LLType, first: Sequence[str], second: Sequence[str], run: int) -> list[str]:
    """Two rows of vectors as one, in turns of `run` lanes."""
    lanes = type.lanes
    if run >= lanes:
        many = run // lanes
        return [x for at in range(0, len(first), many) for x in (*first[at : at + many], *second[at : at + many])]
    order = [start + side * lanes + lane for start in range(0, lanes, run) for side in (0, 1) for lane in range(run)]
    halves = order[:lanes], order[lanes:]
    return [f.shuffle(type, half, a, b) for a, b in zip(first, second, strict=True) for half in halves]


def _gathered(f: Function, type: LLType, sources: Sequence[str], run: int, start: int) -> str:
    """The vector of the dealt row that begins at element `start`."""
    lanes, count = type.lanes, len(sources)
    wanted = []
    for element in range(start, start + lanes):
        group, rest = divmod(element, run * count)
        wanted.append((rest // run, group * run + rest % run))
    found = sources[0]
    for number in range(1, count):
        # What came before stands at its place, but for the first vector's at first; what comes later may be anything.
        own = [
            lanes + lane if source == number else lane if number == 1 and source == 0 else place
            for place, (source, lane) in enumerate(wanted)
        ]
        found = f.shuffle(type, own, found, sources[number])
    return found
