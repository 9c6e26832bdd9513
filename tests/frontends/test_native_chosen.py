"""Results that hang on what a program computes, and NumPy's scalars as operands: served natively as Python serves them.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.native import install
from adjit.runtime import layout
from tests.frontends.natively import calls_without_python
from tests.frontends.test_native_operations import without_python
from tests.frontends.test_native_outcomes import plain, vector

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()


def _place_facts(found: Any, x: Any) -> Any:
    return plain(found), found._base is x, found._is_view(), found.data_ptr() - x.data_ptr(), found._memory is x._memory


@pytest.mark.parametrize("function", [
    lambda x, i: x[i],
    lambda x, i: x[:, i],
    lambda x, i: x[1:, ::2].t()[i, i],
    lambda x, i: x[i].unsqueeze(0)[:, 1:],
    lambda x, i: x[i][i - 1],
    lambda x, i: x[i:i + 2],
    lambda x, i: x[:, i:i + 1],
    lambda x, i: x[i, 1:3],
], ids=range(8))  # fmt: skip
def test_views_at_computed_places_need_no_python(function: Callable[..., Any]) -> None:
    compiled, x = torch.compile(function), torch.arange(16.0).reshape(4, 4).clone()
    places = [torch.tensor(number) for number in range(2)]
    for _ in range(4):
        for place in places:
            compiled(x, place)
    for _ in range(2):
        for number, place in enumerate(places):
            with calls_without_python():
                found = compiled(x, place)
            expected = function(x, number)
            assert _place_facts(found, x) == _place_facts(expected, x)
            found += 1
            assert plain(found) == plain(expected)


def test_places_beyond_an_axis_are_errors_after_native_calls() -> None:
    compiled, x = torch.compile(lambda x, i: (x[i], x.sum())), torch.arange(12.0).reshape(4, 3).clone()
    for _ in range(3):
        for number in range(-4, 4):
            assert compiled(x, torch.tensor(number))[0].tolist() == x[number].tolist()
    for number in (4, -5, 2**62, -(2**63)):
        with pytest.raises(IndexError, match="out of bounds"):
            compiled(x, torch.tensor(number))
    assert compiled(x, torch.tensor(-1))[0].tolist() == x[-1].tolist()


def test_views_at_places_of_views_and_of_what_stands_otherwise() -> None:
    """Views, tensors out of order, written bases: what stood in order at first need not in the next call."""
    compiled, base = torch.compile(lambda x, i: x[i]), torch.arange(24.0).reshape(4, 6).clone()
    whole = torch.arange(12.0).reshape(2, 6).clone()
    for _ in range(4):
        for x in (whole, base[1:3], base.t()[:2], base[::2], base[:2].t().contiguous().t()):
            for number in range(2):
                x = x[:, :6] if x.shape[1] == 6 else x[:, :4]
                found = compiled(x, torch.tensor(number))
                assert plain(found) == plain(x[number]) and found.data_ptr() == x[number].data_ptr()
    row = compiled(whole, torch.tensor(1))
    row.mul_(torch.ones(6, requires_grad=True))
    assert whole.requires_grad and compiled(whole, torch.tensor(1)).requires_grad


def test_more_places_than_chains_are_kept() -> None:
    from adjit import view_results

    compiled, x = torch.compile(lambda x, i: x[i]), torch.arange(30.0).clone()
    before, view_results._MOST_CHAINS = view_results._MOST_CHAINS, 7
    try:
        for _ in range(4):
            assert [compiled(x, torch.tensor(k)).item() for k in range(30)] == x.tolist()
    finally:
        view_results._MOST_CHAINS = before


_table = torch.arange(8.0).reshape(4, 2).clone()


def test_views_of_captured_tensors_at_computed_places() -> None:
    global _table
    compiled = torch.compile(lambda i: _table[i])
    for _ in range(5):
        compiled(torch.tensor(2))
    with calls_without_python():
        found = compiled(torch.tensor(2))
    assert found._base is _table and found.tolist() == [4.0, 5.0]
    _table.add_(1)
    assert compiled(torch.tensor(2)).tolist() == [5.0, 6.0] and found._version == 1
    _table.data = torch.zeros(4, 2)
    assert compiled(torch.tensor(2)).data_ptr() == _table[2].data_ptr()
    _table.requires_grad_()
    assert compiled(torch.tensor(2)).requires_grad
    _table = torch.ones(3, 2)
    assert compiled(torch.tensor(2))._base is _table
    with pytest.raises(IndexError, match="out of bounds"):
        compiled(torch.tensor(3))


def _either(x: Any, y: Any) -> Any:
    found = x * 2
    if x.sum() > 0:
        found = y
    return found, x.max()


def _part(x: Any, y: Any) -> Any:
    if x.sum() > 0:
        found = y[1:3]
    elif x.sum() < -100:
        found = x[:2]
    else:
        found = y[3:5]
    return {"found": found, "x": x}


def _written(x: Any, y: Any) -> Any:
    if x.sum() > 0:
        y.add_(1)
        y.mul_(2)
    return x + 1


@pytest.mark.parametrize("function", [_either, _part, _written])
def test_what_a_branch_chose_needs_no_python(function: Callable[..., Any]) -> None:
    compiled = torch.compile(function)
    signs = (1.0, -1.0, -1000.0, float("nan"))
    mine, its = (([vector() * sign for sign in signs], torch.arange(6.0).clone()) for _ in range(2))
    for number in range(5):
        for x, same in zip(mine[0], its[0], strict=True):
            if number >= 3:
                with calls_without_python():
                    found = compiled(x, mine[1])
            else:
                found = compiled(x, mine[1])
            expected = function(same, its[1])
            assert str(plain(found)) == str(plain(expected)) and str(plain(mine)) == str(plain(its))
            parts = found["found"] if isinstance(found, dict) else found[0]
            others = expected["found"] if isinstance(expected, dict) else expected[0]
            assert (parts is mine[1], parts._base is mine[1]) == (others is its[1], others._base is its[1])


def test_writes_that_a_branch_counted_to_arrays_and_inference_tensors() -> None:
    compiled, array = torch.compile(_written), np.arange(6.0, dtype=np.float32)
    for number in range(5):
        compiled(vector() * (1 - 2 * (number % 2)), array)
    assert array.tolist() == [14.0 + 8 * n for n in range(6)]
    with torch.inference_mode():
        inner = torch.arange(6.0).clone()
        for _ in range(5):
            compiled(vector(), inner)
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor outside InferenceMode"):
        for _ in range(5):
            compiled(vector(), inner)


def test_objects_of_views_and_choices_are_freed() -> None:
    at, chosen = torch.compile(lambda x, i: x[i]), torch.compile(_either)
    x, y, i = torch.ones(5, 2), torch.ones(5, 2), torch.tensor(3)
    for _ in range(5):
        at(x, i), chosen(x, y), chosen(-x, y)
    gc.collect()
    counts = [sys.getrefcount(item) for item in (x, y, i, x._memory, y._memory, x._array, y._array)]
    for _ in range(50):
        at(x, i), chosen(x, y), chosen(-x, y)
    assert [sys.getrefcount(item) for item in (x, y, i, x._memory, y._memory, x._array, y._array)] == counts


@pytest.mark.parametrize("make", [np.float32, np.float64, np.int64])
def test_scalars_of_numpy_are_numbers(make: Callable[[float], Any]) -> None:
    compiled = torch.compile(lambda a, b=1.0: a * a + 3 * b)
    beside = torch.compile(lambda x, a, k=2: (x * a + k, [a * 2]))
    x, numbers = vector(), [make(value) for value in (2, 3, -1, 7, 2)]
    expected = [(a.item() * a.item() + 3.0, a.item() * a.item() + 3 * a.item()) for a in numbers]
    for turn in range(5):
        for a, (alone, named) in zip(numbers, expected, strict=True):
            if turn >= 3:
                with calls_without_python():
                    found = compiled(a), compiled(a, b=a), beside(x, a, k=a)
            else:
                found = compiled(a), compiled(a, b=a), beside(x, a, k=a)
            assert plain(found) == plain((alone, named, (x * a.item() + a.item(), [a.item() * 2])))


def test_scalars_of_numpy_at_the_ends_of_their_ranges() -> None:
    compiled = torch.compile(lambda a: a * 1.0)
    for value in (np.float32("nan"), np.float32("inf"), np.float32(-0.0), np.float32(1e-45), np.float64(1e308),
                  np.float64("-inf"), np.float16(1.5), np.int32(7), np.int8(-3), np.longlong(5), np.bool_(True),
                  np.int64(2**63 - 1), np.int64(-(2**63)), np.uint64(2**64 - 1)):  # fmt: skip
        for _ in range(4):
            assert plain(compiled(value)).__repr__() == plain(value.item() * 1.0).__repr__()


def test_scalars_of_numpy_are_freed() -> None:
    compiled, x, a = torch.compile(lambda x, a: x * a), vector(), np.float32(2)
    for _ in range(5):
        compiled(x, a)
    before = sys.getrefcount(a), sys.getrefcount(x), sys.getrefcount(np.float32)
    for _ in range(50):
        compiled(x, a)
    assert (sys.getrefcount(a), sys.getrefcount(x), sys.getrefcount(np.float32)) == before


def test_a_standing_number_is_made_anew_for_calls_inside_calls() -> None:
    """What a call frees may call the same function again, before the numbers of the first one were read."""
    compiled = torch.compile(lambda a, x: (a * 2.0, a * 3.0, x + 1, a * 5.0))
    x = vector()
    for number in (1.0, 2.0, 3.0, 4.0, 5.0):
        compiled(number, x)
    gc.collect()
    inner: list[Any] = []

    class Calls:
        def __del__(self) -> None:
            inner.append(compiled(7.0, x)[0])

    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(1)  # a collection wherever an object is made
    try:
        for number in range(100):
            calls = Calls()
            calls.own = calls  # type: ignore[attr-defined]
            del calls
            first, second, _, last = compiled(float(number), x)
            assert (first, second, last) == (2.0 * number, 3.0 * number, 5.0 * number)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
    assert len(inner) > 50 and set(inner) == {14.0}
    counts = sys.getrefcount(x), sys.getrefcount(x._array)
    for number in range(100):
        compiled(float(number), x)
    assert (sys.getrefcount(x), sys.getrefcount(x._array)) == counts


def test_methods_named_type_convert_natively() -> None:
    x, xs = vector(), torch.arange(3)
    for _ in range(60):
        assert x.type() == "torch.FloatTensor" and x.type(torch.float32) is x
        x.type(torch.float64), x.type("torch.DoubleTensor"), xs.type(dtype=torch.float32)
    with without_python("type"):
        assert plain(x.type(torch.float64)) == plain(x.to(torch.float64))
    with pytest.raises(ValueError, match="invalid type: 'foo'"):
        x.type("foo")
