"""Random words in kernels: those of the reference wherever lanes begin, whatever a kernel does with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.dispatch import apply
from adjit.ir.primitive import primitive_named

RANDOM_BITS = primitive_named("random_bits")
USES: dict[str, Callable[[Any], Any]] = {
    "alone": lambda words: words,
    "with a row": lambda words: words.float() + torch.arange(words.shape[-1]),
    "turned": lambda words: words.t().contiguous(),
    "a window": lambda words: words[1:, 3:],
    "summed": lambda words: words.sum(1),
}


@pytest.mark.parametrize("key", [(0, 0), (-5, 7), (123456789012345, 1 << 62)], ids=str)
def test_kernels_have_the_words_of_the_reference(key: tuple[int, int]) -> None:
    words = np.array(key)
    for shape in ((33, 16), (5, 7), (20, 1001)):
        expected = torch.from_numpy(RANDOM_BITS.reference(words, shape=shape))
        for name, use in USES.items():
            if key != (-5, 7) and name != "alone":
                continue
            program = torch.compile(lambda k: use(apply(RANDOM_BITS, (k,), {"shape": shape}, name="")))  # noqa: B023
            found = program(torch.from_numpy(words)).numpy()
            assert np.array_equal(found, use(expected).numpy()), (name, shape)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_begin_anywhere(threads: int) -> None:
    words, shape = np.array([3, 4]), (1001, 333)
    program = torch.compile(lambda k: apply(RANDOM_BITS, (k,), {"shape": shape}, name="").double() * 2, threads=threads)
    assert np.array_equal(program(torch.from_numpy(words)).numpy(), RANDOM_BITS.reference(words, shape=shape) * 2.0)
