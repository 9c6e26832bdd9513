"""Access to elements that stand close together: several lanes share one, or each second, third or fourth is meant.

A gather or scatter takes a step for each lane; these are a few plain vectors, rearranged in registers.  Accesses whose
elements stand between each other's, as the columns of a matrix of three do, share these vectors (see `emit_clusters`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adjit.compiler.llvm.emit_index import Place
from adjit.compiler.llvm.emit_state import Register, Writer
from adjit.compiler.llvm.sequences import masked_load, masked_store, offset, splat
from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_lanes import any_lane
from adjit.ir.types import BOOL


def load_repeated(
    w: Writer, pointer: str, type: LLType, where: Place, own: Register | None, lanes: str | None
) -> str:
    """Element `base + l // repeat` in lane l; zero where the access's own mask does not hold."""
    f, count = w.f, where.repeat
    narrow = LLType(type.dtype, type.lanes // count)
    at = offset(f, type.element, pointer, where.base)
    if lanes is None:
        name = f.let(f"load {narrow.llvm}, ptr {at}, align {type.dtype.itemsize}")
    elif narrow.lanes == 1:
        # One element for all lanes: taken as the first lane of a vector, which need not exist.
        wide = _any(w, type.lanes, 1, lanes, count)
        first = _first_lane(w, type.lanes, wide)
        name = f.let(f"extractelement {type.llvm} {masked_load(f, type, at, first, type.constant(0))}, i32 0")
    else:
        wanted = _any(w, type.lanes, narrow.lanes, lanes, count if own is not None else 1)
        name = masked_load(f, narrow, at, wanted, narrow.constant(0))
    if narrow.lanes == 1:
        value = splat(f, type, name)
    else:
        order = [lane // count for lane in range(type.lanes)]
        value = f.shuffle(narrow, order, name)
    if own is None:
        return value
    return f.let(f"select <{type.lanes} x i1> {lanes}, {type.llvm} {value}, {type.llvm} {type.constant(0)}")


def _any(w: Writer, lanes: int, groups: int, mask: str, looked: int) -> str:
    """For each group of neighbouring lanes, whether one of the first `looked` of them is in the mask."""
    f, bools, size = w.f, LLType(BOOL, lanes), lanes // groups
    if groups == 1:
        return any_lane(f, lanes, mask)
    total = f.shuffle(bools, [group * size for group in range(groups)], mask)
    for number in range(1, looked):
        other = f.shuffle(bools, [group * size + number for group in range(groups)], mask)
        total = f.let(f"or <{groups} x i1> {total}, {other}")
    return total


def _first_lane(w: Writer, lanes: int, condition: str) -> str:
    return w.f.let(f"insertelement <{lanes} x i1> zeroinitializer, i1 {condition}, i32 0")


def load_pattern(w: Writer, pointer: str, type: LLType, where: Place) -> str:
    """The elements at known distances from each other, which two vectors hold, each in its lane."""
    f, count, first = w.f, type.lanes, min(where.offsets)
    span = max(where.offsets) - first + 1
    at = offset(f, type.element, offset(f, type.element, pointer, where.base), first)
    order = [each - first for each in where.offsets]
    if span <= count:
        there = f"<{', '.join(f'i1 {place < span}'.lower() for place in range(count))}>"
        return f.shuffle(type, order, masked_load(f, type, at, there, type.constant(0)))
    # The second vector ends at the last element, for there need not be more.
    starts = (0, span - count)
    low, high = (
        f.let(f"load {type.llvm}, ptr {offset(f, type.element, at, start)}, align {type.dtype.itemsize}")
        for start in starts
    )
    return f.shuffle(type, [place if place < count else count + place - starts[1] for place in order], low, high)


def load_strided(
    w: Writer, pointer: str, type: LLType, base: str, stride: int, lanes: str | None, shift: int = 0, reach: int = 0
) -> str:
    """Element `base + shift + l * stride` in lane l, from vectors that end at `reach` after lane's last multiple.

    Loads with the same base and reach, which is at least the shift, share the vectors.
    """
    count = type.lanes
    span = stride * (count - 1) + 1 + reach
    starts = [*range(0, span - count, count), span - count]
    result, filled = "", 0
    for number, start in enumerate(starts):
        key = ("strided", pointer, base, stride, reach, lanes, start, type)
        vector = w.once(key, lambda: _part_of_span(w, pointer, type, base, stride, lanes, reach, start))  # noqa: B023
        stop = count if number + 1 == len(starts) else max(0, -(-(start + count - shift) // stride))
        places = [shift + lane * stride - start for lane in range(count)]
        if number:
            order = [count + places[lane] if filled <= lane < stop else lane for lane in range(count)]
            result = w.f.shuffle(type, order, result, vector)
        else:
            order = [places[lane] if lane < stop else 0 for lane in range(count)]
            result = w.f.shuffle(type, order, vector)
        filled = stop
    return result


def _part_of_span(
    w: Writer, pointer: str, type: LLType, base: str, stride: int, lanes: str | None, reach: int, start: int
) -> str:
    """The vector at `base + start`; of it the elements that stand 0 to `reach` after a lane's."""
    f, count = w.f, type.lanes
    at = offset(f, type.element, offset(f, type.element, pointer, base), start)
    if lanes is None:
        return f.let(f"load {type.llvm}, ptr {at}, align {type.dtype.itemsize}")
    # Lane `count` of the mask and an empty one is never set.
    wanted = [e // stride if e % stride <= reach else count for e in range(start, start + count)]
    mask = f.shuffle(LLType(BOOL, count), wanted, lanes, "zeroinitializer")
    return masked_load(f, type, at, mask, type.constant(0))


def store_strided(
    w: Writer, pointer: str, type: LLType, value: str, base: str, stride: int, lanes: str | None
) -> None:
    """Lane l to element `base + l * stride`; what stands between is not touched."""
    f, count = w.f, type.lanes
    first = offset(f, type.element, pointer, base)
    for number, (vector, places) in enumerate(spread_vectors(f, type, value, stride)):
        if lanes is None:
            mask = "<" + ", ".join(f"i1 {'false' if lane is None else 'true'}" for lane in places) + ">"
        else:  # lane `count` of the mask and an empty one is never set
            wanted = [count if lane is None else lane for lane in places]
            mask = f.shuffle(LLType(BOOL, count), wanted, lanes, "zeroinitializer")
        masked_store(f, type, vector, offset(f, type.element, first, number * count), mask)


def store_side_by_side(
    w: Writer, pointer: str, type: LLType, values: Sequence[str], base: str, lanes: str | None
) -> None:
    """Lane l of value m to element `base + l * len(values) + m`."""
    f, count, stride = w.f, type.lanes, len(values)
    first = offset(f, type.element, pointer, base)
    for number, vector in enumerate(_interleaved(w, type, values)):
        at = offset(f, type.element, first, number * count)
        if lanes is None:
            f.line(f"store {type.llvm} {vector}, ptr {at}, align {type.dtype.itemsize}")
        else:
            order = [element // stride for element in range(number * count, (number + 1) * count)]
            masked_store(f, type, vector, at, f.shuffle(LLType(BOOL, count), order, lanes))


def _interleaved(w: Writer, type: LLType, values: Sequence[str]) -> list[str]:
    """Vectors that hold lane 0 of all values, then lane 1 of all, and so on."""
    count, stride = type.lanes, len(values)
    if stride == 1:
        return list(values)
    if stride % 2 == 0:
        halves = zip(_interleaved(w, type, values[::2]), _interleaved(w, type, values[1::2]), strict=True)
        ends = (range(count // 2), range(count // 2, count))
        return [
            w.f.shuffle(type, [place for lane in end for place in (lane, count + lane)], even, odd)
            for even, odd in halves
            for end in ends
        ]
    found = []
    for start in range(0, stride * count, count):
        vector = w.f.shuffle(type, [(start + place) // stride for place in range(count)], values[0])
        for member in range(1, stride):
            own = [(start + place) % stride == member for place in range(count)]
            order = [count + (start + place) // stride if mine else place for place, mine in enumerate(own)]
            vector = w.f.shuffle(type, order, vector, values[member])
        found.append(vector)
    return found


def spread_vectors(f: Function, type: LLType, value: str, stride: int) -> Iterator[tuple[str, list[int | None]]]:
    """The `stride` vectors in which the lanes of `value` stand `stride` apart, and which lane stands where."""
    for start in range(0, stride * type.lanes, type.lanes):
        divided = [divmod(place, stride) for place in range(start, start + type.lanes)]
        places = [None if rest else lane for lane, rest in divided]
        yield f.shuffle(type, places, value), places
