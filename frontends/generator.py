"""Generators: a key (seed, offset) that each draw moves on.

The bits are counter-based, so a seed gives the same numbers in eager and compiled code.  In a trace the key is read and
written like any other state, and every call of the program draws anew.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from adjit.dims import numel_of
from adjit.dispatch import apply
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import I64, DType
from adjit.random_words import drawn
from adjit.runtime.fork_locks import ForkLock
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.views import write

# PyTorch's seed of a generator that was never seeded.
_FIRST_SEED = 67280421310721


class _Drawing(ForkLock):
    """Held while a generator draws and moves on; native code reads in `held` whether it is."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = array("q", (0,))
        super().__init__()

    def __enter__(self) -> None:
        super().__enter__()
        self.held[0] = self.depth

    def __exit__(self, *_: object) -> None:
        self.held[0] -= 1
        super().__exit__()

    def renew(self) -> None:
        super().renew()
        self.held[0] = self.depth


DRAWING = _Drawing()


def _signed(seed: int) -> int:
    """The seed as the 64 bits of an int64."""
    bits = seed % (1 << 64)
    return bits - (1 << 64) if bits >= 1 << 63 else bits


class Generator:
    """A source of random numbers with a state of its own."""

    def __init__(self, device: Any = "cpu") -> None:
        from adjit.device import device as as_device

        self.device = as_device(device)
        self.device.require()
        self._key = Tensor._wrap(np.array([_FIRST_SEED, 0], np.int64), I64)
        self._key._memory.version = 0  # it is written in and out of inference mode
        self._key.__dict__["_is_key"] = True

    def manual_seed(self, seed: int) -> Generator:
        """Start again from a seed.  ValueError where it does not fit in 64 bits."""
        seed = int(seed)
        if not -(1 << 63) <= seed < 1 << 64:
            raise ValueError("Overflow when unpacking long long")
        self._set(np.array([_signed(seed), 0], np.int64))
        return self

    def initial_seed(self) -> int:
        """The seed that was set."""
        return int(self._numbers()[0]) % (1 << 64)

    def seed(self) -> int:
        """Start again from a seed of the operating system's choice."""
        chosen = int.from_bytes(os.urandom(7), "little")
        self.manual_seed(chosen)
        return chosen

    def get_state(self) -> Tensor:
        """The key, as a new tensor."""
        from adjit.shaping import clone

        return clone(self._key)

    def set_state(self, new_state: Tensor) -> Generator:
        """Set the key to one that `get_state` gave, and give the generator.  TypeError for anything else."""
        if not isinstance(new_state, Tensor) or new_state._tensor_type != self._key._tensor_type:
            raise TypeError("expected the state that get_state() of a Generator gave")
        if STATE.tracer is not None:
            write(self._key, new_state)
        else:
            assert new_state._array is not None
            self._set(new_state._array)
        return self

    def clone_state(self) -> Generator:
        """A generator that goes on from the same state."""
        made = Generator(self.device)
        made._set(self._numbers())
        return made

    def drawn(
        self,
        function: Callable[..., Tensor],
        draws: int,
        dtype: DType,
        shape: tuple[Any, ...],
        numbers: Sequence[float] = (),
    ) -> Tensor:
        """What `function` makes of so many draws of int32 words of `shape`, and of numbers; the offset moves on."""
        used = (numel_of(shape) + 3) // 4
        recording, STATE.recording = STATE.recording, False
        try:
            with DRAWING:
                if STATE.tracer is not None:
                    words = []
                    for _ in range(draws):
                        words.append(apply(PRIMITIVES["random_bits"], (self._key,), {"shape": shape}))
                        write(self._key, _advanced(self._key, used))
                    return function(*words, *numbers)
                key = self._key._array
                assert key is not None
                keys = [key + np.array((0, place * used)) for place in range(draws)]
                found = drawn(function, dtype, keys, shape, numbers)
                key[1] += draws * used
                self._key._memory.version += draws
                return found
        finally:
            STATE.recording = recording

    def _numbers(self) -> np.ndarray:
        """The key's numbers.  TraceError in a trace, where they are unknown."""
        from adjit.conversion import concrete

        return concrete(self._key, "the state of a random generator")

    def _set(self, numbers: np.ndarray) -> None:
        if STATE.tracer is not None:
            from adjit.creation import of_array

            write(self._key, of_array(numbers, I64))
            return
        assert self._key._array is not None
        self._key._array[:] = numbers
        self._key._memory.version += 1


def is_key(tensor: Tensor) -> bool:
    """Whether a tensor is a generator's state."""
    return "_is_key" in tensor.__dict__


def _advanced(key: Tensor, used: Any) -> Tensor:
    """The key with `used` added to its offset."""
    place = apply(PRIMITIVES["iota"], (), {"shape": (2,), "axis": 0, "dtype": I64})
    result = apply(PRIMITIVES["add"], (key, apply(PRIMITIVES["mul"], (place, used))))
    assert isinstance(result, Tensor)
    return result


default_generator = Generator()


def generator_or_default(generator: Generator | None, function: str) -> Generator:
    """The generator to draw from.  TypeError for what is none."""
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(f"{function}(): argument 'generator' must be torch.Generator, not {type(generator).__name__}")
    return generator


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


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True) -> Iterator[None]:
    """Restore the default generator's state at the end of the block."""
    if not enabled:
        yield
        return
    state = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(state)
