"""Random numbers: counter-based, so that a seed gives the same bits in eager and compiled code.

A generator is a key (seed, offset) in a tensor.  A draw of n numbers takes the words at the key and moves the offset on;
in a trace the key is read and written like any other state.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.composite import composite
from adjit.dims import numel_of, shape_of, sizes_argument
from adjit.dispatch import apply
from adjit.dtypes import default_float, to_ir
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BF16, F16, F32, F64, I64, DType
from adjit.promotion import cast_to
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.views import check_writable, write


class Generator:
    """A source of random numbers with a state of its own."""

    def __init__(self, device: Any = "cpu") -> None:
        self._key = Tensor._wrap(np.array([67280421310721, 0], np.int64), I64)

    def manual_seed(self, seed: int) -> Generator:
        """Start again from a seed."""
        if not isinstance(seed, int):
            seed = int(seed)
        assert self._key._array is not None
        self._key._array[:] = [seed % (1 << 64) - (1 << 64 if seed % (1 << 64) >= 1 << 63 else 0), 0]
        self._key._memory.version += 1
        return self

    def initial_seed(self) -> int:
        """The seed that was set."""
        assert self._key._array is not None
        return int(self._key._array[0]) % (1 << 64)

    def seed(self) -> int:
        """Start again from a seed of the operating system's choice."""
        chosen = int.from_bytes(os.urandom(7), "little")
        self.manual_seed(chosen)
        return chosen

    def get_state(self) -> Tensor:
        """The key."""
        assert self._key._array is not None
        return Tensor._wrap(self._key._array.copy(), I64)

    def set_state(self, new_state: Tensor) -> None:
        """Set the key."""
        assert self._key._array is not None and new_state._array is not None
        self._key._array[:] = new_state._array
        self._key._memory.version += 1

    def words(self, shape: tuple[Any, ...]) -> Tensor:
        """Random int32 words; the offset moves on."""
        recording, STATE.recording = STATE.recording, False
        try:
            found = apply(PRIMITIVES["random_bits"], (self._key,), {"shape": shape})
            used = (numel_of(shape) + 3) // 4
            if STATE.tracer is None:
                assert self._key._array is not None
                self._key._array[1] += used
                self._key._memory.version += 1
            else:
                write(self._key, _advanced(self._key, used))
        finally:
            STATE.recording = recording
        assert isinstance(found, Tensor)
        return found


def _advanced(key: Tensor, used: Any) -> Tensor:
    """The key with `used` added to its offset."""
    place = apply(PRIMITIVES["iota"], (), {"shape": (2,), "axis": 0, "dtype": I64})
    result = apply(PRIMITIVES["add"], (key, apply(PRIMITIVES["mul"], (place, used))))
    assert isinstance(result, Tensor)
    return result


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator."""
    return default_generator.manual_seed(seed)


def initial_seed() -> int:
    """The default generator's seed."""
    return default_generator.initial_seed()


def seed() -> int:
    """Seed the default generator by chance."""
    return default_generator.seed()


def get_rng_state() -> Tensor:
    """The default generator's state."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Set the default generator's state."""
    default_generator.set_state(new_state)


# -- distributions --------------------------------------------------------------------------------------------------
@composite("")
def _unit(words: Tensor) -> Tensor:
    """Uniform in [0, 1), from the top 24 bits of a word."""
    top = apply(PRIMITIVES["and"], (apply(PRIMITIVES["shr"], (words, 8)), 0xFFFFFF))
    return apply(PRIMITIVES["mul"], (apply(PRIMITIVES["cast"], (top,), {"dtype": F32}), 2.0**-24))  # type: ignore[no-any-return]


@composite("")
def _unit_double(high: Tensor, low: Tensor) -> Tensor:
    """Uniform in [0, 1), from 53 bits of two words."""
    op = PRIMITIVES
    a = apply(op["cast"], (apply(op["and"], (apply(op["shr"], (high, 6)), 0x3FFFFFF)),), {"dtype": F64})
    b = apply(op["cast"], (apply(op["and"], (apply(op["shr"], (low, 5)), 0x7FFFFFF)),), {"dtype": F64})
    scaled = apply(op["add"], (apply(op["mul"], (a, 2.0**27)), b))
    return apply(op["mul"], (scaled, 2.0**-53))  # type: ignore[no-any-return]


@composite("")
def _gauss(first: Tensor, second: Tensor) -> Tensor:
    """Standard normal, by Box and Muller: sqrt(-2 log(1 - u)) cos(2 pi v)."""
    op = PRIMITIVES
    radius = apply(op["sqrt"], (apply(op["mul"], (apply(op["log1p"], (apply(op["neg"], (first,)),)), -2.0)),))
    return apply(op["mul"], (radius, apply(op["cos"], (apply(op["mul"], (second, 2 * math.pi)),))))  # type: ignore[no-any-return]


def uniform(shape: tuple[Any, ...], dtype: DType, generator: Generator | None) -> Tensor:
    """Uniform numbers in [0, 1)."""
    source = default_generator if generator is None else generator
    if dtype is F64:
        return _unit_double(source.words(shape), source.words(shape))  # type: ignore[no-any-return]
    found = _unit(source.words(shape))
    return found if dtype is F32 else _below_one(found, dtype)


def _below_one(found: Tensor, dtype: DType) -> Tensor:
    """Rounded to half precision without reaching 1."""
    bits = {F16: 11, BF16: 8}[dtype]
    scale = 2.0**bits
    kept = apply(PRIMITIVES["floor"], (apply(PRIMITIVES["mul"], (found, scale)),))
    return cast_to(apply(PRIMITIVES["mul"], (kept, 1 / scale)), dtype)


def gaussian(shape: tuple[Any, ...], dtype: DType, generator: Generator | None) -> Tensor:
    """Standard normal numbers."""
    wide = F64 if dtype is F64 else F32
    found = _gauss(uniform(shape, wide, generator), uniform(shape, wide, generator))
    return cast_to(found, dtype)


def integers(low: int, high: int, shape: tuple[Any, ...], generator: Generator | None) -> Tensor:
    """Uniform integers in [low, high)."""
    if high <= low:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    source = default_generator if generator is None else generator
    op = PRIMITIVES
    high_word = apply(op["cast"], (source.words(shape),), {"dtype": I64})
    low_word = apply(op["cast"], (source.words(shape),), {"dtype": I64})
    word = apply(op["xor"], (apply(op["shl"], (high_word, 31)), apply(op["and"], (low_word, 0x7FFFFFFF))))
    positive = apply(op["and"], (word, (1 << 63) - 1))
    return apply(op["add"], (apply(op["mod"], (positive, high - low)), low))  # type: ignore[no-any-return]


def _finish(made: Tensor, requires_grad: bool) -> Tensor:
    if requires_grad:
        made.requires_grad = True
    return made


def _float_target(dtype: Any) -> DType:
    return default_float() if dtype is None else to_ir(dtype)


def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Uniform numbers in [0, 1)."""
    return _finish(uniform(sizes_argument(size), _float_target(dtype), generator), requires_grad)


def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Standard normal numbers."""
    return _finish(gaussian(sizes_argument(size), _float_target(dtype), generator), requires_grad)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform integers in [low, high), or [0, high)."""
    if size is None:
        low, high, size = 0, low, high
    found = integers(low, high, tuple(size), generator)
    return _finish(found if dtype is None else cast_to(found, to_ir(dtype)), requires_grad)


def randperm(
    n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """The integers below n in random order."""
    keys = integers(0, (1 << 62), (n,), generator)
    order = apply(PRIMITIVES["sort"], (keys,), {"axis": 0, "descending": False})[1] if n else keys
    return order if dtype is None else cast_to(order, to_ir(dtype))


def rand_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False, generator: Any = None) -> Tensor:
    """Uniform numbers in another tensor's shape."""
    target = input._dtype if dtype is None else to_ir(dtype)
    return _finish(uniform(tuple(shape_of(input)), target, generator), requires_grad)


def randn_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False, generator: Any = None) -> Tensor:
    """Standard normal numbers in another tensor's shape."""
    target = input._dtype if dtype is None else to_ir(dtype)
    return _finish(gaussian(tuple(shape_of(input)), target, generator), requires_grad)


def randint_like(input: Tensor, low: int, high: int | None = None, *, dtype: Any = None) -> Tensor:
    """Uniform integers in another tensor's shape."""
    if high is None:
        low, high = 0, low
    return cast_to(integers(low, high, tuple(shape_of(input)), None), input._dtype if dtype is None else to_ir(dtype))


def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None) -> Tensor:
    """Normal numbers with a mean and a standard deviation, given as numbers or tensors."""
    from adjit.promotion import broadcast_shapes

    shapes = [shape_of(x) for x in (mean, std) if isinstance(x, Tensor)]
    shape = tuple(size) if size is not None else tuple(broadcast_shapes(*shapes))
    return gaussian(shape, default_float(), generator) * std + mean  # type: ignore[no-any-return]


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that each element says, else 0."""
    drawn = uniform(tuple(shape_of(input)), F64 if input._dtype is F64 else F32, generator)
    return cast_to(drawn < input.detach(), input._dtype)


# -- in place -------------------------------------------------------------------------------------------------------
def uniform_(input: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Any = None, **given: float) -> Tensor:
    """Fill with uniform numbers in [from, to)."""
    low = given.get("a", given.get("from", from_))
    high = given.get("b", to)
    check_writable(input)
    return write(input, uniform(tuple(shape_of(input)), input._dtype, generator) * (high - low) + low)


def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with normal numbers."""
    check_writable(input)
    return write(input, gaussian(tuple(shape_of(input)), input._dtype, generator) * std + mean)


def bernoulli_(input: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Fill with 1 at probability p, else 0."""
    check_writable(input)
    drawn = uniform(tuple(shape_of(input)), F32, generator)
    return write(input, cast_to(drawn < p, input._dtype))


def random_(input: Tensor, from_: int = 0, to: int | None = None, *, generator: Any = None) -> Tensor:
    """Fill with uniform integers in [from, to), or [0, from)."""
    check_writable(input)
    low, high = (from_, to) if to is not None else (0, from_ or (1 << 24 if input._dtype.is_float else 127))
    return write(input, cast_to(integers(low, high, tuple(shape_of(input)), generator), input._dtype))


METHODS: dict[str, Callable[..., Any]] = {
    "bernoulli": bernoulli,
    "bernoulli_": bernoulli_,
    "normal_": normal_,
    "random_": random_,
    "uniform_": uniform_,
}
__all__ = [
    "Generator", "bernoulli", "default_generator", "get_rng_state", "initial_seed", "manual_seed", "normal", "rand",
    "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "seed", "set_rng_state",
]  # fmt: skip
