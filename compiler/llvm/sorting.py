"""Word functions that sort a row of entries by bytes of their keys, least first (a stable radix sort).

An entry is one word, a key above the element's index; or, with `wide`, two, a key and the index.  Keys are ordered as
numbers without sign.  A few entries are sorted by insertion.
"""

from __future__ import annotations

from adjit.compiler.llvm.words import set_word, word

# Fewer entries than this are sorted by insertion, more than the other by digits of 11 bits.
FEW, MANY = 64, 8192
BUCKETS, BYTE, DIGIT = 2048, 8, 11
SIGN = -(1 << 63)


def radix_inserted(entries: int, count: int, wide: int) -> int:
    """Sort a few entries where they stand."""
    step = 8 << wide
    place = entries + step
    stop = entries + count * step
    while place < stop:
        key = word(place)
        index = 0
        if wide:
            index = word(place + 8)
        free = place
        while free > entries and (key ^ SIGN) < (word(free - step) ^ SIGN):
            set_word(free, word(free - step))
            if wide:
                set_word(free + 8, word(free - 8))
            free -= step
        set_word(free, key)
        if wide:
            set_word(free + 8, index)
        place += step
    return 0


def radix_counted(entries: int, count: int, wide: int, shift: int, mask: int, buckets: int) -> int:
    """How many entries have each digit."""
    k = 0
    while k <= mask:
        set_word(buckets + 8 * k, 0)
        k += 1
    step = 8 << wide
    stop = entries + count * step
    while entries < stop:
        bucket = buckets + 8 * ((word(entries) >> shift) & mask)
        set_word(bucket, word(bucket) + 1)
        entries += step
    return 0


def radix_moved(entries: int, spare: int, count: int, wide: int, shift: int, mask: int, buckets: int) -> int:
    """Move the entries to `spare` in the order of their digits; 0 if all have the same, and none is moved."""
    radix_counted(entries, count, wide, shift, mask, buckets)
    if word(buckets + 8 * ((word(entries) >> shift) & mask)) == count:
        return 0
    step = 8 << wide
    next = spare
    k = 0
    while k <= mask:
        found = word(buckets + 8 * k)
        set_word(buckets + 8 * k, next)
        next += found * step
        k += 1
    stop = entries + count * step
    while entries < stop:
        key = word(entries)
        bucket = buckets + 8 * ((key >> shift) & mask)
        to = word(bucket)
        set_word(bucket, to + step)
        set_word(to, key)
        if wide:
            set_word(to + 8, word(entries + 8))
        entries += step
    return 1


def radix_sorted(entries: int, spare: int, count: int, wide: int, low: int, high: int, buckets: int) -> int:
    """Sort by bits low..high-1 of the keys; where the sorted entries stand, one of `entries` and `spare`."""
    if count < FEW:
        radix_inserted(entries, count, wide)
        return entries
    bits = BYTE
    if count > MANY:
        bits = DIGIT
    mask = (1 << bits) - 1
    while low < high:
        if radix_moved(entries, spare, count, wide, low, mask, buckets):
            moved = spare
            spare = entries
            entries = moved
        low += bits
    return entries


def ties_sorted(entries: int, keys: int, count: int, bits: int, room: int, buckets: int) -> int:
    """Sort runs of entries that agree above their lowest `bits`, an index, by keys: those of the entries, by place.

    In a run only the indices are kept.  `room` is for four words an entry.
    """
    mask = (1 << bits) - 1
    start = 0
    while start < count:
        front = word(entries + 8 * start) >> bits
        stop = start + 1
        disorder = 0
        while stop < count and (word(entries + 8 * stop) >> bits) == front:
            place = keys + 8 * stop
            if (word(place) ^ SIGN) < (word(place - 8) ^ SIGN):
                disorder = 1
            stop += 1
        if disorder:
            k = start
            while k < stop:
                set_word(room + 16 * (k - start), word(keys + 8 * k))
                set_word(room + 16 * (k - start) + 8, word(entries + 8 * k) & mask)
                k += 1
            length = stop - start
            found = radix_sorted(room, room + 16 * length, length, 1, 0, 64, buckets)
            k = start
            while k < stop:
                set_word(entries + 8 * k, word(found + 16 * (k - start) + 8))
                k += 1
        start = stop
    return 0


FUNCTIONS = (radix_inserted, radix_counted, radix_moved, radix_sorted, ties_sorted)
