"""Random words for eager mode: by the reference at first, by native code where many are drawn.

A kernel of `random_bits` has a fixed length.  The words of a shorter draw are the first of a longer one, so one kernel
for each power of two serves all lengths, and the bits do not depend on which way was taken.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from adjit.ir.errors import asks_memory
from adjit.ir.primitive import PRIMITIVES

# Microseconds, as measured: what a draw costs the reference, and what compiling a kernel costs once.
_DRAW, _WORD, _COMPILE = 90.0, 0.022, 40_000.0
_SHORTEST = 256
_spent: Counter[int] = Counter()  # by length of kernel: microseconds that the reference took


@asks_memory
def random_words(key: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The words of `random_bits(key, shape=shape)`."""
    op = PRIMITIVES["random_bits"]
    count = math.prod(shape)
    length = 1 << max(count - 1, _SHORTEST - 1).bit_length()
    if _spent[length] < _COMPILE:
        _spent[length] += int(_DRAW + _WORD * count)
        found: np.ndarray = op.reference(key, shape=shape)
        return found
    from adjit.compiler.single import run_single

    (words,) = run_single(op, [key], {"shape": (length,)})
    return words[:count].reshape(shape)
