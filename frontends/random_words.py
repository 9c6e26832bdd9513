"""Random words for eager mode: by the reference at first, by native code where many are drawn.

A kernel of `random_bits` has a fixed length.  The words of a shorter draw are the first of a longer one, so one kernel
for each power of two, of the short ones for each power of four, serves all lengths, and the bits do not depend on which
way was taken.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from adjit.ir.errors import asks_memory
from adjit.ir.primitive import PRIMITIVES

# Microseconds, as measured: what a draw costs the reference, and what compiling a kernel costs once.
_DRAW, _WORD, _COMPILE = 90.0, 0.022, 40_000.0
_SHORTEST, _LONG = 256, 14  # the second as a power of two
_spent: Counter[int] = Counter()  # by length of kernel: microseconds that the reference took


@asks_memory
def random_words(key: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The words of `random_bits(key, shape=shape)`."""
    op = PRIMITIVES["random_bits"]
    count = math.prod(shape)
    bits = max(count - 1, _SHORTEST - 1).bit_length()
    length = 1 << (bits + bits % 2 if bits < _LONG else bits)
    if _spent[length] < _COMPILE:
        _spent[length] += int(_DRAW + _WORD * count)
        found: np.ndarray = op.reference(key, shape=shape)
        return found
    from adjit.compiler.single import run_single

    (words,) = run_single(op, [key], {"shape": (length,)})
    return words[:count].reshape(shape)
