"""The greatest and least element along rows: NaN wins, then +0 over -0, whatever the width of the vectors."""

from __future__ import annotations

import numpy as np
import pytest

import adjit
from adjit.compiler.legalize import legalize
from adjit.compiler.simplify import simplify


def rows(dtype: str, length: int, seed: int) -> np.ndarray:  # type: ignore[type-arg]
    random = np.random.default_rng(seed)
    if seed == 0:
        return random.standard_normal((7, length)).astype(dtype)
    others = [-2.0, np.nan, -np.inf][:seed]
    return random.choice(np.array([-0.0, 0.0, -1.0, *others]), size=(7, length)).astype(dtype)


@pytest.mark.parametrize("name", ["amax", "amin"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [5, 16, 37, 64, 100, 1027])
def test_nan_wins_and_zeros_have_an_order(name: str, dtype: str, length: int) -> None:
    found = adjit.compile(lambda x: getattr(x, name)(1))
    for seed in range(4):
        x = rows(dtype, length, seed)
        y = np.asarray(found(adjit.from_numpy(x)))
        np.testing.assert_array_equal(y, (np.maximum if name == "amax" else np.minimum).reduce(x, axis=1))
        for row, value in zip(x, y, strict=True):
            signs = np.signbit(row[row == 0])
            if value == 0:
                assert np.signbit(value) == (signs.all() if name == "amax" else signs.any())


@pytest.mark.parametrize("name", ["maximum", "minimum"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pairs_have_the_same_extremes_alone_and_in_vectors(name: str, dtype: str) -> None:
    edges = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, -np.nan, np.finfo(dtype).tiny, 5e-324], dtype)
    x, y = (side.ravel() for side in np.meshgrid(edges, edges))
    found = np.asarray(adjit.compile(getattr(adjit, name))(adjit.from_numpy(x), adjit.from_numpy(y)))
    alone = adjit.compile(getattr(adjit, name))
    for a, b, both in zip(x, y, found, strict=True):
        one = np.asarray(alone(adjit.tensor(a), adjit.tensor(b)))
        np.testing.assert_array_equal(one, both)
        np.testing.assert_array_equal(both, getattr(np, name)(a, b))
        assert np.signbit(one) == np.signbit(both) or np.isnan(both)
        if a == b == 0:
            assert np.signbit(both) == (np.signbit([a, b]).all() if name == "maximum" else np.signbit([a, b]).any())


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_loops_take_what_the_turn_before_gives_last(name: str) -> None:
    extreme = getattr(adjit, name)

    def running(x, y):  # type: ignore[no-untyped-def]
        def turn(carry, pair):  # type: ignore[no-untyped-def]
            found = extreme(extreme(carry - 0.25, pair[0]), pair[1])
            return found, found

        return adjit.scan(turn, x[0], (x, y))[1]

    random = np.random.default_rng(3)
    edges = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, 3.0])
    x, y = random.choice(edges, size=(2, 300))
    x[280] = np.nan
    given = adjit.from_numpy(x), adjit.from_numpy(y)
    graph = simplify(legalize(adjit.compile(running).graph(*given)))
    scan = next(node for node in graph.walk() if node.op.name == "scan")
    last = scan.regions[0].outputs[0].node
    assert last is not None and "sub" in {value.node.op.name for value in last.inputs if value.node is not None}
    found, wanted = np.asarray(adjit.compile(running)(*given)), np.asarray(running(*given))
    np.testing.assert_array_equal(found.view(np.int64), wanted.view(np.int64))


def test_the_element_at_the_extreme_is_the_extreme() -> None:
    def best(x):  # type: ignore[no-untyped-def]
        return x.max(1).values, x.min(0, keepdim=True).values

    x = adjit.from_numpy(rows("float64", 9, 2))
    graph = simplify(legalize(adjit.compile(best).graph(x)))
    assert not [node for node in graph.walk() if node.op.name in ("gather", "argmax", "argmin")]
    for found, wanted in zip(adjit.compile(best)(x), best(x), strict=True):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [512, 513, 700, 1027])
def test_long_rows_find_the_first_of_equals_and_the_first_nan(name: str, dtype: str, length: int) -> None:
    """The greatest of a row is found block by block; its place, and the sign of a zero there, in one of them."""
    found = adjit.compile(lambda x: (getattr(x, "arg" + name)(1), *getattr(x, name)(1)))
    for seed in range(4):
        x = rows(dtype, length, seed)
        for row, place in enumerate((0, 255, 256, 300, length - 1)):
            x[row, place:] = np.nan if seed == 3 else x[row, place]
        x[5], x[6, :] = -np.inf if name == "max" else np.inf, np.random.default_rng(5).permutation(length)
        alone, values, places = (np.asarray(each) for each in found(adjit.from_numpy(x)))
        wanted = getattr(np, "arg" + name)(x, 1)
        np.testing.assert_array_equal(alone, wanted)
        np.testing.assert_array_equal(places, wanted)
        np.testing.assert_array_equal(values.view(np.uint8), x[np.arange(7), wanted].view(np.uint8))
