"""Blocks of 64-bit words, as the native entry reads them: made, found, aligned, hashed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adjit.compiler.entry import known as k
from adjit.runtime.layout import address_of

# The bytes of a cache line.
LINE = 64


def words_of(words: Sequence[int]) -> np.ndarray:
    """A block of words, negative ones in two's complement."""
    return np.array([word % 2**64 for word in words], np.uint64)


def address(words: np.ndarray) -> int:
    """Where a block of words stands."""
    return address_of(words)


def aligned(memory: np.ndarray) -> int:
    """The first address in a block of bytes at which a cache line begins."""
    return -(-address(memory) // LINE) * LINE


def mixed(code: int, part: int) -> int:
    """As the native entry mixes hashes."""
    code = (code ^ part) * k.MIX % 2**64
    return code ^ (code >> 29)


def mixed_words(words: Sequence[int]) -> int:
    """As the native entry mixes the words of a structure."""
    code = 1
    for item in reversed(words):
        code = mixed(code, item)
    return code
