"""Sorts of keys in vectors of AVX-512 or AVX2: quicksort, with networks for the parts that fit the registers.

A vector is parted by compressing the lanes below the pivot and the others.  The keys are ordered as numbers without
sign, and equal keys cannot be told from each other, so that the order is the same however it is found.
"""

from __future__ import annotations

from adjit.compiler.llvm.sequences import below, counted, masked_load, masked_store, offset, splat, unless, when
from adjit.compiler.llvm.sorting_lanes import compressed, counted_lanes
from adjit.compiler.llvm.sorting_network import MOST_ROWS, small_sort
from adjit.compiler.llvm.text import Function, LLType, Module

_ATTRIBUTES = 'noinline nounwind "best" "prefer-vector-width"="512"'
# Vectors parted at a time: what they wait for overlaps.
_TOGETHER = 4
# The median of so many keys is the pivot of a short part, and of a long one.
_SAMPLE, _LONG_SAMPLE, _LONG = 16, 128, 1 << 14


def sort_window(module: Module, type: LLType) -> str:
    """`void @...(ptr data, ptr out, ptr other, i64 n, i64 first, i64 last, i64 depth)`: put keys in order into `out`.

    `data` is `out` or `other`, each with room for n keys.  Only the places first..last-1 of `out` must be right.
    After `depth` parts of parts the pivot is no longer the median of a sample but the middle between the least and the
    greatest key, which ends whatever the keys are.
    """
    name = module.shared(f"adjit.sort.window.{type.suffix}")
    if module.has(name):
        return name
    small, part = small_sort(module, type), _part(module, type)
    sampled, middle = _sampled(module, type), _middle(module, type)
    parameters = "ptr %data, ptr %out, ptr %other, i64 %n, i64 %first, i64 %last, i64 %depth"
    f = Function(module, name, parameters, attributes=_ATTRIBUTES)
    key, head, again = type.element, f.label("head"), f.label("again")
    n, data, depth = f.reserve(), f.reserve(), f.reserve()
    count, left = f.reserve(), f.reserve()
    f.jump(head)
    f.start(head)
    f.set(n, f"phi i64 [ %n, %entry ], [ {count}, %{again} ]")
    f.set(data, f"phi ptr [ %data, %entry ], [ %out, %{again} ]")
    f.set(depth, f"phi i64 [ %depth, %entry ], [ {left}, %{again} ]")
    wanted = f.let(f"and i1 {f.let('icmp sgt i64 %last, 0')}, {f.let(f'icmp slt i64 %first, {n}')}")
    with unless(f, wanted):
        f.line("ret void")
    with when(f, f.let(f"icmp sle i64 {n}, {MOST_ROWS * type.lanes}")):
        f.line(f"call void @{small}(ptr {data}, ptr %out, i64 {n})")
        f.line("ret void")
        f.start(f.label("never"))
    by_sample, by_range, parting = f.label("sample"), f.label("range"), f.label("parting")
    f.branch(f.let(f"icmp sgt i64 {depth}, 0"), by_sample, by_range)
    f.start(by_sample)
    likely = f.let(f"call {key} @{sampled}(ptr {data}, i64 {n})")
    f.jump(parting)
    f.start(by_range)
    sure = f.let(f"call {key} @{middle}(ptr {data}, i64 {n})")
    f.jump(parting)
    f.start(parting)
    pivot = f.let(f"phi {key} [ {likely}, %{by_sample} ], [ {sure}, %{by_range} ]")
    f.set(count, f"call i64 @{part}(ptr {data}, i64 {n}, {key} {pivot}, ptr %out, ptr %other)")
    f.set(left, f"sub i64 {depth}, 1")
    # Nothing is below the pivot: it is the least key, and its equals are in place once they are parted from the others.
    least = f.let(f"icmp eq i64 {count}, 0")
    with when(f, least):
        next = f.let(f"add {key} {pivot}, 1")
        with when(f, f.let(f"icmp eq {key} {next}, 0")):
            size = f.let(f"mul i64 {n}, {type.dtype.itemsize}")
            f.copy("%out", "%other", size)
            f.line("ret void")
            f.start(f.label("never"))
        equal = f.let(f"call i64 @{part}(ptr %other, i64 {n}, {key} {next}, ptr %out, ptr %other)")
        _sort_greater(f, name, type, n, equal, left)
        f.line("ret void")
        f.start(f.label("never"))
    _sort_greater(f, name, type, n, count, left)
    f.jump(again)
    f.start(again)
    f.jump(head)
    f.finish()
    return name


def _sort_greater(f: Function, name: str, type: LLType, n: str, count: str, depth: str) -> None:
    """Sort the keys that were parted from the first `count`."""
    places = (f.let(f"sub i64 {place}, {count}") for place in (n, "%first", "%last"))
    numbers = ", ".join(f"i64 {number}" for number in (*places, depth))
    f.line(f"call void @{name}(ptr %other, ptr {offset(f, type.element, '%out', count)}, ptr %other, {numbers})")


def _part(module: Module, type: LLType) -> str:
    """`i64 @...(ptr data, i64 n, key pivot, ptr lows, ptr highs)`: keys below the pivot to lows, the others to highs.

    Returns how many are below.  Both have room for n keys; one of them may be data.
    """
    name = module.shared(f"adjit.sort.part.{type.suffix}")
    if module.has(name):
        return name
    key, lanes, flags = type.element, type.lanes, f"<{type.lanes} x i1>"
    parameters = f"ptr %data, i64 %n, {key} %pivot, ptr %lows, ptr %highs"
    f = Function(module, name, parameters, result="i64", attributes=_ATTRIBUTES)
    pivot = splat(f, type, "%pivot")
    found = f.let("alloca i64, align 8")
    f.line(f"store i64 0, ptr {found}, align 8")
    stop = "0"
    for together in (_TOGETHER, 1):
        start, stop = stop, f.let(f"and i64 %n, {-together * lanes}")
        with counted(f, start, stop, together * lanes) as at:
            low = f.let(f"load i64, ptr {found}, align 8")
            rows = [
                f.let(f"load {type.llvm}, ptr {offset(f, key, '%data', place)}, align {type.dtype.itemsize}")
                for place in _places(f, at, together, lanes)
            ]
            for row, place in zip(rows, _places(f, at, together, lanes), strict=True):
                is_low = f.let(f"icmp ult {type.llvm} {row}, {pivot}")
                is_high = f.let(f"xor {flags} {is_low}, splat (i1 true)")
                high = f.let(f"sub i64 {place}, {low}")
                for mask, pointer, to in ((is_low, "%lows", low), (is_high, "%highs", high)):
                    kept = compressed(f, type, row, mask)
                    f.line(f"store {type.llvm} {kept}, ptr {offset(f, key, pointer, to)}, align {type.dtype.itemsize}")
                low = f.let(f"add i64 {low}, {counted_lanes(f, lanes, is_low)}")
            f.line(f"store i64 {low}, ptr {found}, align 8")
    low = f.let(f"load i64, ptr {found}, align 8")
    exists = below(f, lanes, f.let(f"sub i64 %n, {stop}"))
    row = masked_load(f, type, offset(f, key, "%data", stop), exists, type.constant(0))
    is_below = f.let(f"icmp ult {type.llvm} {row}, {pivot}")
    is_low = f.let(f"and {flags} {is_below}, {exists}")
    is_high = f.let(f"xor {flags} {is_low}, {exists}")
    high = f.let(f"sub i64 {stop}, {low}")
    some = counted_lanes(f, lanes, is_low)
    for mask, pointer, to in ((is_low, "%lows", low), (is_high, "%highs", high)):
        there = below(f, lanes, counted_lanes(f, lanes, mask))
        masked_store(f, type, compressed(f, type, row, mask), offset(f, key, pointer, to), there)
    f.line(f"ret i64 {f.let(f'add i64 {low}, {some}')}")
    f.finish()
    return name


def _places(f: Function, start: str, count: int, lanes: int) -> list[str]:
    return [start, *(f.let(f"add nuw nsw i64 {start}, {number * lanes}") for number in range(1, count))]


def _sampled(module: Module, type: LLType) -> str:
    """`key @...(ptr data, i64 n)`: the median of keys at equal distances."""
    name = module.shared(f"adjit.sort.sample.{type.suffix}")
    if module.has(name):
        return name
    key = type.element
    f = Function(module, name, "ptr %data, i64 %n", result=key, attributes=_ATTRIBUTES)
    most = min(_LONG_SAMPLE, MOST_ROWS * type.lanes)
    sample = f.let(f"alloca [{most} x {key}], align 64")
    is_long = f.let(f"icmp sgt i64 %n, {_LONG}")
    count = f.let(f"select i1 {is_long}, i64 {most}, i64 {_SAMPLE}")
    step = f.let(f"udiv i64 %n, {count}")
    with counted(f, "0", count, 1) as i:
        place = offset(f, key, "%data", f.let(f"mul nuw nsw i64 {i}, {step}"))
        item = f.let(f"load {key}, ptr {place}, align {type.dtype.itemsize}")
        f.line(f"store {key} {item}, ptr {offset(f, key, sample, i)}, align {type.dtype.itemsize}")
    f.line(f"call void @{small_sort(module, type)}(ptr {sample}, ptr {sample}, i64 {count})")
    half = offset(f, key, sample, f.let(f"lshr i64 {count}, 1"))
    f.line(f"ret {key} {f.let(f'load {key}, ptr {half}, align {type.dtype.itemsize}')}")
    f.finish()
    return name


def _middle(module: Module, type: LLType) -> str:
    """`key @...(ptr data, i64 n)`: between the least and the greatest key, above the least if they differ."""
    name = module.shared(f"adjit.sort.middle.{type.suffix}")
    if module.has(name):
        return name
    key, scalar = type.element, LLType(type.dtype)
    f = Function(module, name, "ptr %data, i64 %n", result=key, attributes=_ATTRIBUTES)
    ends = [(kind, f.let(f"alloca {key}, align 8")) for kind in ("umin", "umax")]
    first = f.let(f"load {key}, ptr %data, align {type.dtype.itemsize}")
    for _, place in ends:
        f.line(f"store {key} {first}, ptr {place}, align 8")
    with counted(f, "0", "%n", 1) as i:
        item = f.let(f"load {key}, ptr {offset(f, key, '%data', i)}, align {type.dtype.itemsize}")
        for kind, place in ends:
            before = f.let(f"load {key}, ptr {place}, align 8")
            f.line(f"store {key} {f.intrinsic(kind, scalar, before, item)}, ptr {place}, align 8")
    least, most = (f.let(f"load {key}, ptr {place}, align 8") for _, place in ends)
    apart = f.let(f"sub {key} {most}, {least}")
    up = f.let(f"sub {key} {apart}, {f.let(f'lshr {key} {apart}, 1')}")
    f.line(f"ret {key} {f.let(f'add {key} {least}, {up}')}")
    f.finish()
    return name
