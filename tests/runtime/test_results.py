"""Memory of large results is used again when nothing refers to it any more, and never before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjit
from adjit.runtime.results import LEAST, ResultPool
from tests.threads import in_threads

SHAPE = (LEAST // 4 + 100,)
F32 = np.dtype(np.float32)


def place(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def bytes_held(pool: ResultPool) -> int:
    """The bytes of all blocks, free or not."""
    return sum(block.memory.nbytes for block in pool._blocks)


def test_memory_of_a_dropped_result_is_used_again() -> None:
    pool = ResultPool(1 << 28)
    first = pool.array(SHAPE, F32)
    address = place(first)
    assert address % 64 == 0
    assert first.shape == SHAPE
    assert first.dtype == F32
    assert first.flags.c_contiguous
    assert first.flags.writeable
    del first
    assert place(pool.array(SHAPE, F32)) == address


@pytest.mark.parametrize("keep", [lambda x: x, lambda x: x[5:7], lambda x: x.reshape(2, -1), memoryview, np.ravel])
def test_memory_that_anything_refers_to_is_left_alone(keep: Any) -> None:
    pool = ResultPool(1 << 28)
    first = pool.array(SHAPE, F32)
    first[...] = 1
    address = place(first)
    kept = keep(first)
    del first
    assert place(pool.array(SHAPE, F32)) != address
    assert (np.asarray(kept) == 1).all()
    del kept
    places = [place(pool.array(SHAPE, F32)) for _ in range(2)]
    assert address in places or places[0] == places[1]


def test_small_results_are_ordinary_arrays() -> None:
    pool = ResultPool(1 << 28)
    assert pool.array((10,), F32).flags.owndata
    assert pool.array((), F32).shape == ()
    assert bytes_held(pool) == 0


def test_free_memory_is_bounded_and_given_back() -> None:
    pool = ResultPool(10 * LEAST)
    held = [pool.array((LEAST,), F32) for _ in range(6)]
    del held
    pool.array((LEAST,), F32)
    assert bytes_held(pool) <= 15 * LEAST
    for _ in range(200):  # other sizes are asked for: the blocks grow old
        pool.array((LEAST // 2,), F32)
    assert bytes_held(pool) <= 3 * LEAST
    pool.clear()
    assert bytes_held(pool) == 0
    assert pool.array((4 * LEAST,), F32).flags.owndata


def test_threads_do_not_share_a_block() -> None:
    pool = ResultPool(1 << 28)

    def is_its_own(number: int) -> bool:
        array = pool.array((LEAST // 4,), F32)
        array[::4096] = number
        return bool((array[::4096] == number).all())

    assert in_threads(lambda number: all(is_its_own(number) for _ in range(200))) == [True] * 4


def test_results_of_compiled_programs_stay_what_they_were() -> None:
    program = adjit.compile(lambda x: x * 2 + 1)
    x = adjit.ones(600_000)
    first = program(x)
    view, array = first[3:9], first.numpy()
    second = program(x + 1)
    assert (array == 3).all()
    assert (second.numpy() == 5).all()
    del first, second
    for value in range(5):
        program(x * value)
    assert (array == 3).all()
    assert (view.numpy() == 3).all()
