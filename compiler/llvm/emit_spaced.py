"""Access to elements that stand close together: several lanes share one, or each second, third or fourth is meant.

A gather or scatter takes a step for each lane; these are a few plain vectors, rearranged in registers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adjit.compiler.llvm.emit_index import Place
from adjit.compiler.llvm.emit_state import Register, Writer
from adjit.compiler.llvm.gemm_tile import masked_load, masked_store, offset, splat
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
        value = _shuffle(w, narrow, name, "poison", order)
    if own is None:
        return value
    return f.let(f"select <{type.lanes} x i1> {lanes}, {type.llvm} {value}, {type.llvm} {type.constant(0)}")


def _any(w: Writer, lanes: int, groups: int, mask: str, looked: int) -> str:
    """For each group of neighbouring lanes, whether one of the first `looked` of them is in the mask."""
    f, bools, size = w.f, LLType(BOOL, lanes), lanes // groups
    if groups == 1:
        return any_lane(f, lanes, mask)
    total = _shuffle(w, bools, mask, "poison", [group * size for group in range(groups)])
    for number in range(1, looked):
        other = _shuffle(w, bools, mask, "poison", [group * size + number for group in range(groups)])
        total = f.let(f"or <{groups} x i1> {total}, {other}")
    return total


def _first_lane(w: Writer, lanes: int, condition: str) -> str:
    return w.f.let(f"insertelement <{lanes} x i1> zeroinitializer, i1 {condition}, i32 0")


def load_strided(w: Writer, pointer: str, type: LLType, base: str, stride: int, lanes: str | None) -> str:
    """Element `base + l * stride` in lane l: `stride` vectors, the last ending at the last element."""
    f, count = w.f, type.lanes
    starts = [number * count for number in range(stride)]
    starts[-1] = stride * (count - 1) + 1 - count
    result, filled = "", 0
    for number, start in enumerate(starts):
        at = offset(f, type.element, offset(f, type.element, pointer, base), start)
        if lanes is None:
            vector = f.let(f"load {type.llvm}, ptr {at}, align {type.dtype.itemsize}")
        else:
            # Lane `count` of the mask and an empty one is never set.
            wanted = [e // stride if e % stride == 0 else count for e in range(start, start + count)]
            mask = _shuffle(w, LLType(BOOL, count), lanes, "zeroinitializer", wanted)
            vector = masked_load(f, type, at, mask, type.constant(0))
        stop = count if number + 1 == stride else -(-(start + count) // stride)
        if number:
            order = [lane if lane < filled else count + lane * stride - start if lane < stop else lane
                     for lane in range(count)]  # fmt: skip
            result = _shuffle(w, type, result, vector, order)
        else:
            order = [lane * stride if lane < stop else 0 for lane in range(count)]
            result = _shuffle(w, type, vector, "poison", order)
        filled = stop
    return result


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
            mask = _shuffle(w, LLType(BOOL, count), lanes, "zeroinitializer", wanted)
        masked_store(f, type, vector, offset(f, type.element, first, number * count), mask)


def spread_vectors(f: Function, type: LLType, value: str, stride: int) -> Iterator[tuple[str, list[int | None]]]:
    """The `stride` vectors in which the lanes of `value` stand `stride` apart, and which lane stands where."""
    for start in range(0, stride * type.lanes, type.lanes):
        divided = [divmod(place, stride) for place in range(start, start + type.lanes)]
        places = [None if rest else lane for lane, rest in divided]
        order = ", ".join("i32 poison" if lane is None else f"i32 {lane}" for lane in places)
        operands = f"{type.llvm} {value}, {type.llvm} poison, <{type.lanes} x i32> <{order}>"
        yield f.let(f"shufflevector {operands}"), places


def _shuffle(w: Writer, type: LLType, left: str, right: str, order: Sequence[int]) -> str:
    places = ", ".join(f"i32 {place}" for place in order)
    return w.f.let(f"shufflevector {type.llvm} {left}, {type.llvm} {right}, <{len(order)} x i32> <{places}>")
