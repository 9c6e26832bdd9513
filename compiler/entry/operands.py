"""Word functions over a call's operands: what they are, whether a signature takes them, and their data."""

from __future__ import annotations

from adjit.compiler.entry.guards import ASKED, asked, guards_hold, item_of
from adjit.compiler.entry.interpreter import (
    Py_DecRef,
    PyErr_Clear,
)
from adjit.compiler.entry.known import (
    ALWAYS,
    APART,
    ARRAY,
    AS_IT_STANDS,
    BUCKET_COUNT,
    BUCKETS,
    BY_MODE,
    CALLS,
    FIXED,
    FLOAT,
    FROM_ADDRESS,
    FROM_ITEM,
    FROM_OPERAND,
    FROM_READER,
    GUARDS,
    IN_ORDER,
    IN_RECORDING,
    INPUT_LIST,
    INPUT_WORDS,
    INPUTS,
    INTEGER,
    IS_ANYTHING,
    IS_ARRAY,
    IS_FIXED_FLOAT,
    IS_FIXED_INTEGER,
    IS_FLOAT,
    IS_FLOAT_WITHIN,
    IS_INTEGER,
    IS_OBJECT,
    IS_SAME,
    IS_TENSOR,
    LIFTED,
    MOST_MARKED,
    NAMES,
    NEEDS,
    NEXT,
    NONE,
    NUMBER_F32,
    NUMBER_I64,
    OPERAND_LIST,
    OPERAND_WORDS,
    OPERANDS,
    STRUCTURE,
    T_BASE,
    T_DTYPE,
    T_GRAD,
    T_HISTORY,
    T_LEAF,
    T_REQUIRES,
    T_SEEN,
    TRUE,
    WHERE_RECORDED,
)
from adjit.compiler.entry.making import copied
from adjit.compiler.entry.objects import OUTSIDE, array_of, in_order, integer, is_shaped, is_tensor, mixed
from adjit.compiler.entry.overlap import stand_apart
from adjit.compiler.llvm.words import double, half, known, set_word, single, word
from adjit.runtime.layout import (
    CONTENT,
    DATA,
    DESCRIPTION,
    DIMENSIONS,
    NDIM,
    STRIDES,
    TYPE,
)

# A float64 without its sign bit; the greatest finite float32, and infinity, as float64 bits; the integers that float64
# holds exactly.
MAGNITUDE, GREATEST_SINGLE, INFINITY, EXACT = 2**63 - 1, 0x47EFFFFFE0000000, 0x7FF0000000000000, 2**53
# What `needed` answers for a view whose base was written since.
STALE = -1


def needed(table: int, operands: int, count: int, recording: int) -> int:
    """A bit for each operand whose gradient is wanted; STALE for a view that must look at its base."""
    found = 0
    if recording and word(table + 8 * BY_MODE):
        found = IN_RECORDING
    k = 0
    while k < count:
        value = word(operands + 8 * k)
        if is_tensor(value):
            base = word(value + known(T_BASE))
            if base != known(NONE) and word(base + known(T_HISTORY)) != word(value + known(T_SEEN)):
                return STALE
            if recording and k < MOST_MARKED and word(value + known(T_REQUIRES)) == known(TRUE):
                found = found | (1 << k)
        k += 1
    return found


def bucket(table: int, operands: int, count: int, needs: int, names: int) -> int:
    """The address of the list of signatures that may take these operands."""
    kind = word(table + 8 * FIXED)
    fixed = kind == ALWAYS or (kind == WHERE_RECORDED and needs != 0)
    code = needs + count * 64 + (names >> 4)
    k = 0
    while k < count:
        value = word(operands + 8 * k)
        array = array_of(value)
        if array != 0:
            code = mixed(code, word(array + DESCRIPTION) >> 4)
            rank = half(array + NDIM)
            dims = word(array + DIMENSIONS)
            axis = 0
            while axis < rank:
                code = mixed(code, word(dims + 8 * axis))
                axis += 1
        elif fixed and word(value + TYPE) == known(FLOAT):
            code = mixed(code, word(value + CONTENT))
        elif fixed and word(value + TYPE) == known(INTEGER):
            code = mixed(code, integer(value))
        k += 1
    return table + 8 * BUCKETS + 8 * (code & (BUCKET_COUNT - 1))


def takes_array(wanted: int, array: int) -> int:
    """Whether an array is as a signature wants it."""
    order = word(wanted + 72)
    if not is_shaped(wanted, array):
        return 0
    if order <= IN_ORDER:
        return order == 0 or in_order(array)
    return has_strides(array, order)


def has_strides(array: int, wanted: int) -> int:
    """Whether the elements of an array stand so many bytes apart along each axis."""
    axis = half(array + NDIM)
    strides = word(array + STRIDES)
    while axis > 0:
        axis -= 1
        if word(strides + 8 * axis) != word(wanted + 8 * axis):
            return 0
    return 1


def takes_leaf(wanted: int, tensor: int) -> int:
    """Whether autograd sees a tensor as a signature wants it."""
    if word(tensor + known(T_REQUIRES)) != word(wanted + 40) or word(tensor + known(T_LEAF)) != word(wanted + 48):
        return 0
    return word(wanted + 64) == 0 or word(tensor + known(T_GRAD)) == word(wanted + 64)


def lies_within(wanted: int, bits: int) -> int:
    """Whether a float lies between the two that a signature wants, zeros of both signs apart; no NaN does."""
    order = bits
    if bits < 0:
        order = -1 - (bits & MAGNITUDE)
    return word(wanted + 8) <= order and order <= word(wanted + 16)


def takes(wanted: int, value: int) -> int:
    """Whether an operand is what a signature wants."""
    kind = word(wanted)
    type = word(value + TYPE)
    if kind == IS_TENSOR:
        if not is_tensor(value) or word(value + known(T_DTYPE)) != word(wanted + 8):
            return 0
        if word(wanted + 40) != 0 and not takes_leaf(wanted, value):
            return 0
        return takes_array(wanted, array_of(value))
    if kind == IS_ARRAY:
        return type == known(ARRAY) and takes_array(wanted, value)
    if kind == IS_FLOAT:
        return type == known(FLOAT)
    if kind == IS_FLOAT_WITHIN:
        return type == known(FLOAT) and lies_within(wanted, word(value + CONTENT))
    if kind == IS_FIXED_FLOAT:
        return type == known(FLOAT) and word(value + CONTENT) == word(wanted + 8)
    if kind == IS_INTEGER:
        return type == known(INTEGER)
    if kind == IS_FIXED_INTEGER:
        return type == known(INTEGER) and integer(value) == word(wanted + 8)
    return kind == IS_ANYTHING or (kind == IS_OBJECT and value == word(wanted + 8))


def has_structure(signature: int, words: int) -> int:
    """Whether a signature is one for these words, of which there may be none."""
    wanted = word(signature + 8 * STRUCTURE)
    if wanted == 0 or words == 0:
        return wanted == words
    count = word(wanted)
    while count >= 0:
        if word(wanted + 8 * count) != word(words + 8 * count):
            return 0
        count -= 1
    return 1


def is_for_kind(signature: int, count: int, needs: int, names: int, words: int) -> int:
    """Whether a signature is one for calls with so many operands, names and words, of which these are needed."""
    counted = word(signature + 8 * OPERANDS) == count and word(signature + 8 * NEEDS) == needs
    return counted and word(signature + 8 * NAMES) == names and has_structure(signature, words)


def fits(signature: int, operands: int, count: int) -> int:
    """Whether a signature takes these operands, as many as it has, and what its trace relied on is as it was."""
    if not takes_all(signature, operands, count):
        return 0
    found = guards_hold(word(signature + 8 * GUARDS))
    if found == ASKED:  # Python may have given an operand other data, in another thread, too
        return takes_all(signature, operands, count)
    return found


def takes_all(signature: int, operands: int, count: int) -> int:
    """Whether the operands are those of a signature."""
    wanted = signature + 8 * OPERAND_LIST
    k = 0
    while k < count:
        if word(wanted) == IS_SAME:
            if word(operands + 8 * k) != word(operands + 8 * word(wanted + 8)):
                return 0
        elif not takes(wanted, word(operands + 8 * k)):
            return 0
        wanted += 8 * OPERAND_WORDS
        k += 1
    memories = word(signature + 8 * APART)
    return memories == 0 or stand_apart(memories, signature + 8 * OPERAND_LIST, operands, count)


def fitting(table: int, operands: int, count: int, needs: int, names: int, words: int) -> int:
    """The signature that takes these operands, or 0; `words` is the structure that they were taken from, or 0."""
    hashed = count
    if word(table + 8 * LIFTED) != 0:  # what stands at places may differ, where a program does not look at it
        hashed -= word(word(table + 8 * LIFTED))
    signature = word(bucket(table, operands, hashed, needs, names))
    while signature != 0:
        if is_for_kind(signature, count, needs, names, words) and fits(signature, operands, count):
            set_word(signature + 8 * CALLS, word(signature + 8 * CALLS) + 1)
            return signature
        signature = word(signature + 8 * NEXT)
    return 0


def number(kind: int, value: int, cell: int) -> int:
    """Put a Python number into `cell` in the program's dtype; 0 where Python must decide what it becomes."""
    if word(value + TYPE) == known(FLOAT):
        bits = word(value + CONTENT)
        size = bits & MAGNITUDE
        if kind == NUMBER_F32 and size > GREATEST_SINGLE and size < INFINITY:
            return 0
    else:
        whole = integer(value)
        if kind == NUMBER_I64:
            set_word(cell, whole)
            return whole != OUTSIDE
        if whole < -EXACT or whole > EXACT:
            return 0
        bits = double(whole)
    if kind == NUMBER_F32:
        bits = single(bits)
    set_word(cell, bits)
    return 1


def read(function: int, cell: int) -> int:
    """Put the float that a Python function gives into `cell`; 0 where it gives none."""
    found = asked(function)
    if found == 0:
        return 0
    is_float = word(found + TYPE) == known(FLOAT)
    if is_float:
        set_word(cell, word(found + CONTENT))
    Py_DecRef(found)
    return is_float


def number_at(item: int, cell: int) -> int:
    """Put the number that a dict has into `cell` as float64: a dict, a key, and a function that gives it otherwise."""
    found = item_of(word(item), word(item + 8))
    if found != 0 and word(found + TYPE) == known(FLOAT):
        set_word(cell, word(found + CONTENT))
        return 1
    return read(word(item + 16), cell)


def ordered(array: int, copies: int) -> int:
    """An array itself, or a copy whose elements stand in order, which joins a counted list; 0 where there is none."""
    if in_order(array):
        return array
    copy = copied(array)
    if copy == 0:
        PyErr_Clear()
        return 0
    count = word(copies) + 1
    set_word(copies, count)
    set_word(copies + 8 * count, copy)
    return copy


def place_inputs(signature: int, operands: int, held: int, buffers: int, cells: int, copies: int) -> int:
    """Fill a program's table with the addresses of its inputs; 0 where a number does not fit.

    `held` are the arrays behind the operands, with references.  Copies of those that are not in order join the counted
    list `copies`.
    """
    source = word(signature + 8 * INPUT_LIST)
    count = word(signature + 8 * INPUTS)
    k = 0
    while k < count:
        kind = word(source)
        which = word(source + 8)
        if kind == FROM_OPERAND:
            array = ordered(word(held + 8 * which), copies)
            if array == 0:
                return 0
            which = word(array + DATA)
        elif kind == AS_IT_STANDS:
            which = word(word(held + 8 * which) + DATA)
        elif kind == FROM_READER:
            if not read(which, cells):
                return 0
            which = cells
            cells += 8
        elif kind == FROM_ITEM:
            if not number_at(which, cells):
                return 0
            which = cells
            cells += 8
        elif kind != FROM_ADDRESS:
            if not number(kind, word(operands + 8 * which), cells):
                return 0
            which = cells
            cells += 8
        set_word(buffers + 8 * k, which)
        source += 8 * INPUT_WORDS
        k += 1
    return 1


FUNCTIONS = (
    needed, bucket, takes_array, has_strides, takes_leaf, lies_within, takes, has_structure, is_for_kind, fits,
    takes_all, fitting, number, read, number_at, ordered, place_inputs,
)  # fmt: skip
