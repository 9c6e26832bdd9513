"""Ops without tensor operands: constants, counting, tables of numbers, and random bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjit.ir.errors import ShapeError
from adjit.ir.index import Element, ElementFunction, Scalars
from adjit.ir.ops.arrays import Array, Shape, cast, counted, equal, expand, full, reshape, where, window_of
from adjit.ir.ops.checks import require, require_axes, require_extents, require_kind
from adjit.ir.primitive import primitive, primitive_named
from adjit.ir.shape import Dim, Size, product, strides_of
from adjit.ir.types import I32, I64, DType, TensorType

# -- const -------------------------------------------------------------------------------------------------------------


@primitive("source")
def const(*, value: int | float | bool | Dim, dtype: DType) -> Array:
    """out[] = value.

    Shapes: -> [].  A named size as the value is replaced by its number before this runs.
    """
    if isinstance(value, Dim):
        raise ShapeError(f"const: the size {value} has no number yet")
    return np.asarray(value, dtype.storage)


const.constant()


@const.infers
def _(*, value: int | float | bool | Dim, dtype: DType) -> TensorType:
    return TensorType(dtype, ())


@const.indexes
def _(k: Scalars, index: Sequence[Size], *, value: int | float | bool | Dim, dtype: DType) -> Element:
    return k.index(value, dtype) if isinstance(value, Dim) else k.constant(value, dtype)


# -- iota --------------------------------------------------------------------------------------------------------------


@primitive("source")
def iota(*, shape: tuple[int, ...], axis: int, dtype: DType) -> Array:
    """out[i...] = i[axis].

    Shapes: -> [*shape].
    """
    column = [1] * len(shape)
    column[axis] = shape[axis]
    return np.broadcast_to(np.arange(shape[axis]).astype(dtype.storage).reshape(column), shape)


iota.constant()


@iota.infers
def _(*, shape: Shape, axis: int, dtype: DType) -> TensorType:
    require_axes("iota", (axis,), len(shape))
    require_extents("iota", "extent", shape)
    type = TensorType(dtype, tuple(shape))
    require_kind("iota", type, "uint", "int", "float")
    return type


@iota.indexes
def _(k: Scalars, index: Sequence[Size], *, shape: Shape, axis: int, dtype: DType) -> Element:
    return k.index(index[axis], dtype)


# -- table -------------------------------------------------------------------------------------------------------------


@primitive("source")
def table(*, values: tuple[int | float | bool, ...], dtype: DType) -> Array:
    """out[i] = values[i].

    Shapes: -> [n].
    """
    return np.array(values, dtype.storage)


table.constant()


@table.infers
def _(*, values: tuple[int | float | bool, ...], dtype: DType) -> TensorType:
    type = TensorType(dtype, (len(values),))
    require_kind("table", type, "uint", "int", "float", "bool")
    return type


@table.indexes
def _(k: Scalars, index: Sequence[Size], *, values: tuple[int | float | bool, ...], dtype: DType) -> Element:
    return k.listed(values, dtype, index[0])


# -- random bits -------------------------------------------------------------------------------------------------------

# Multipliers and key increments of Philox4x32, and its number of rounds.  Source: Salmon, Moraes, Dror and Shaw,
# "Parallel random numbers: as easy as 1, 2, 3", 2011.
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
INCREMENTS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW_32 = 0xFFFFFFFF


def philox(key: tuple[Any, Any], counter: tuple[Any, ...], multiply: Callable[[Any, int], tuple[Any, Any]],
           bump: Callable[[Any, int], Any]) -> tuple[Any, ...]:  # fmt: skip
    """The four words of Philox4x32-10 at `counter` (four words) under `key` (two words).

    `multiply(word, m)` gives the high and low words of word*m; `bump(word, w)` the low word of word + w.
    """
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for number in range(ROUNDS):
        r0, r1 = bump(k0, number * INCREMENTS[0] & LOW_32), bump(k1, number * INCREMENTS[1] & LOW_32)
        high0, low0 = multiply(c0, MULTIPLIERS[0])
        high1, low1 = multiply(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ r0, low1, high0 ^ c3 ^ r1, low0
    return c0, c1, c2, c3


class Words:
    """32-bit words held in i64 scalars, as an index form or a rule over arrays computes with them.

    Products wrap modulo 2^64, which leaves their 64 bits; masks take the words out.
    """

    __slots__ = ("literal", "value")

    def __init__(self, value: Any, literal: Callable[[int], Any]) -> None:
        self.value = value
        self.literal = literal

    def apply(self, name: str, other: Any) -> Words:
        """`name` of this word and another, or a literal."""
        right = other.value if isinstance(other, Words) else self.literal(other)
        return Words(primitive_named(name)(self.value, right), self.literal)

    def __xor__(self, other: Words) -> Words:
        return self.apply("xor", other)

    def low(self) -> Words:
        """The lower 32 bits."""
        return self.apply("and", LOW_32)

    def high(self) -> Words:
        """The upper 32 bits."""
        return self.apply("shr", 32).low()

    def multiply(self, factor: int) -> tuple[Words, Words]:
        """High and low word of the product."""
        whole = self.apply("mul", factor)
        return whole.high(), whole.low()

    def bump(self, increment: int) -> Words:
        """The low word of the sum."""
        return self.apply("add", increment).low()


def random_word(seed: Any, offset: Any, block: Any, place: Any, literal: Callable[[int], Any]) -> Any:
    """Word `place` of block `block` of the stream (seed, offset), as an i32 scalar; all arguments are i64 scalars."""
    key, high = Words(seed, literal), Words(offset, literal)
    low = Words(block, literal)
    words = philox(
        (key.low(), key.high()), (low.low(), low.high(), high.low(), high.high()), Words.multiply, Words.bump
    )
    chosen = words[3].value
    for number in (2, 1, 0):
        chosen = where(equal(place, literal(number)), words[number].value, chosen)
    return cast(chosen, I32)


@primitive("source")
def random_bits(key: Array, *, shape: tuple[int, ...]) -> Array:
    """out[i...] = word p%4 of Philox4x32-10 at counter (p//4, offset) under key seed, with p the row-major position.

    Shapes: key i64[2] = (seed, offset) -> i32[*shape].  Counter and key are 64-bit numbers, low word first.
    """
    seed, offset = (int(word) & 0xFFFFFFFFFFFFFFFF for word in np.asarray(key))
    count = int(np.prod(shape, dtype=np.int64))
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    mask, half = np.uint64(LOW_32), np.uint64(32)

    def word(number: int) -> Any:
        return np.full_like(blocks, number & LOW_32)

    def multiply(x: Any, factor: int) -> tuple[Any, Any]:
        whole = x * np.uint64(factor)
        return whole >> half, whole & mask

    words = philox(
        (word(seed), word(seed >> 32)),
        (blocks & mask, blocks >> half, word(offset), word(offset >> 32)),
        multiply,
        lambda x, increment: (x + np.uint64(increment)) & mask,
    )
    bits = np.stack(words, axis=1).astype(np.uint32).reshape(-1)[:count]
    return bits.view(np.int32).reshape(shape)


random_bits.constant()


@random_bits.infers
def _(key: TensorType, *, shape: Shape) -> TensorType:
    require(key == TensorType(I64, (2,)), f"random_bits: the key is {key}, not i64[2]")
    require_extents("random_bits", "extent", shape)
    return TensorType(I32, tuple(shape))


@random_bits.batches
def _(batched: Sequence[bool], key: Array, *, shape: Shape) -> Array:
    extent = key.shape[0]
    count = product(shape)
    column = tuple(reshape(window_of(key, (0, word), (extent, 1)), (extent, 1)) for word in (0, 1))
    seed, offset = (expand(word, (extent, count)) for word in column)
    position = counted(key, (extent, count), 1)

    def literal(value: int) -> Array:
        return full(key, value, (), I64)

    four = literal(4)
    block = primitive_named("div")(position, four)
    place = primitive_named("mod")(position, four)
    return reshape(random_word(seed, offset, block, place, literal), (extent, *shape))


@random_bits.indexes
def _(k: Scalars, index: Sequence[Size], key: ElementFunction, *, shape: Shape) -> Element:
    position: Size = 0
    for place, stride in zip(index, strides_of(tuple(shape)), strict=True):
        position = position + place * stride
    return k.random_word(key(0), key(1), position)
