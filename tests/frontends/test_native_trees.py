"""Nested and named arguments, nested results and varying numbers of compiled functions, served natively."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

import adjit as torch
from adjit.runtime import layout
from tests.frontends.test_native_compiled import by_python, native
from tests.threads import in_threads

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass
class Box:
    inside: Any
    label: str = "box"


TREES: list[tuple[Any, Any]] = [
    (lambda d: d["y"] - d["x"], lambda a, b: ({"y": a, "x": b},)),
    (lambda d: {"z": d[0] * 2, "a": [d[1], 3]}, lambda a, b: ([a, b],)),
    (lambda d, e: (d[0][0] + e["k"]["q"], [], {}), lambda a, b: (((a,), []), {"k": {"q": b}})),
    (lambda d: Pair(d[0], (d[1] * d[0],)), lambda a, b: ((a, b),)),
    (lambda d: [Box(d[0] + 1), Box(d[1], "other")], lambda a, b: ((a, b),)),
]


@pytest.mark.parametrize(("function", "arguments"), TREES)
def test_trees_are_taken_apart_and_built(function: Any, arguments: Any) -> None:
    compiled = torch.compile(function)
    for _ in range(3):
        compiled(*arguments(torch.rand(3), torch.rand(3)))
    given = arguments(torch.rand(3), torch.rand(3))
    found = native(compiled, *given)
    expected = function(*given)
    assert repr(found) == repr(expected)
    held = weakref.ref(found[0]) if isinstance(found, list) and isinstance(found[0], Box) else None
    del found
    assert held is None or held() is None


def test_structures_are_told_apart() -> None:
    """The same leaves in other containers, orders and keys are other calls, and so are names."""
    function = torch.compile(lambda d, w=None: (d if isinstance(d, (tuple, list)) else [*d.values()])[0] * (w or 1))
    a, b = torch.ones(2), torch.full((2,), 2.0)
    for _ in range(2):
        for _ in range(3):
            assert function((a, b)).tolist() == function([a, b]).tolist() == [1, 1]
            assert function({"p": a, "q": b}).tolist() == function({"p": a, "r": b}).tolist() == [1, 1]
            assert function({"q": b, "p": a}).tolist() == [2, 2]
            assert function((b,), w=3).tolist() == function((b,), 3).tolist() == [6, 6]
            assert function((b,), w=4).tolist() == [8, 8]
    own = {"".join(["k", "ey"]): b}  # another object as key than the one that was seen
    for _ in range(4):
        assert function({"key": b}).tolist() == function(own).tolist() == [2, 2]
    nested: Any = a
    for _ in range(300):
        nested = [nested]
    deep = torch.compile(lambda d: torch.ones(2))
    assert all(deep(nested).tolist() == [1, 1] for _ in range(3))


def test_numbers_that_vary_need_no_python() -> None:
    function = torch.compile(lambda a, k, n: a * k + n)
    x = torch.ones(3, dtype=torch.float64)
    for n in range(6):
        function(x, 0.5 + n, n)
    for n in range(3):
        assert native(function, x, 7.25 + n, 100 + n).tolist() == [107.25 + 2 * n] * 3
    assert by_python(function, x, 2**70 * 1.0, 2**64).tolist() == (x * 2.0**70 + 2**64).tolist()
    assert function.compile_count <= 4


def test_gradients_of_programs_with_open_sizes_have_their_own() -> None:
    function = torch.compile(lambda d, k: {"o": d["a"] * k, "l": [d["a"].sum()]})
    for size in (3, 5, 4):
        x = torch.rand(size, requires_grad=True)
        (gradient,) = torch.autograd.grad(function({"a": x}, 2.0)["o"].sum(), x)
        assert (gradient + torch.ones(size)).tolist() == [3.0] * size


def test_threads_call_one_function() -> None:
    function = torch.compile(lambda d, k: [d["a"] + k])
    tensors = {"a": torch.zeros(3)}

    def found(thread: int) -> list[list[float]]:
        return [function(tensors, float(1000 * thread + k))[0].tolist() for k in range(200)]

    assert in_threads(found) == [[[1000.0 * thread + k] * 3 for k in range(200)] for thread in range(4)]
