"""What native calls write, give and return beside new tensors: arguments, gradients, views, Python numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.native import install
from adjit.runtime import layout
from tests.frontends.natively import calls_without_python

pytestmark = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
install.install()


def plain(item: Any) -> Any:
    """What can be compared: tensors as lists with what they are, numbers with their types."""
    if isinstance(item, torch.Tensor):
        grad = None if item.grad is None else plain(item.grad)
        return (item.tolist(), item.dtype, item.requires_grad, item.is_leaf, item.stride(), item._version, grad)
    if isinstance(item, np.ndarray):
        return item.tolist()
    if isinstance(item, (tuple, list)):
        return [plain(part) for part in item]
    if is_dataclass(item):
        return plain(vars(item))
    if isinstance(item, dict):
        return {key: plain(part) for key, part in item.items()}
    return (type(item), item)


def law(
    function: Callable[..., Any], make: Callable[[], tuple[Any, ...]], *, native: bool = True, calls: int = 6
) -> None:
    """Calls one after another on the same arguments: compiled as eager; the last ones natively."""
    compiled = torch.compile(function)
    mine, its = make(), make()
    for number in range(calls):
        expected = function(*its)
        if native and number >= 3:
            with calls_without_python():
                found = compiled(*mine)
        else:
            found = compiled(*mine)
        assert plain(found) == plain(expected)
        assert plain(mine) == plain(its)


def vector() -> Any:
    return torch.arange(6.0) + 0.5


def tensors(*shapes: tuple[int, ...]) -> Callable[[], tuple[Any, ...]]:
    return lambda: tuple(torch.arange(float(np.prod(shape))).reshape(shape).clone() + 0.25 for shape in shapes)


def _update(weight: Any, gradient: Any) -> None:
    weight.mul_(0.5)
    weight.sub_(gradient * 0.25)


def _set_row(target: Any, row: Any) -> Any:
    target[1] = row * 2
    return target.sum(0)


def _update_all(weights: Any, by: Any) -> Any:
    for weight in weights:
        weight.add_(by)
    return weights[0] * 2, weights[1]


def _put(table: Any, index: Any, row: Any) -> None:
    table[index] = row


@pytest.mark.parametrize("function, make", [
    (_update, tensors((6,), (6,))),
    (lambda w, g: w.mul_(0.5).add_(g), tensors((2, 3), (2, 3))),
    (_set_row, tensors((3, 4), (4,))),
    (_update_all, lambda: ([vector(), vector() * 2], vector())),
    (_put, lambda: (torch.zeros(4, 3), torch.tensor(2), torch.ones(3))),
    (lambda v, x: v.add_(x).sum(), lambda: (torch.zeros(4, 3)[1:3], torch.ones(3))),
    (lambda w, x: w.add_(1) + x.t().sum(), lambda: (vector(), torch.ones(2, 3).t())),
    (lambda w: w.zero_(), lambda: (torch.zeros(0, 3),)),
])  # fmt: skip
def test_arguments_are_written(function: Callable[..., Any], make: Callable[[], tuple[Any, ...]]) -> None:
    law(function, make)


def test_arrays_are_written() -> None:
    compiled, target = torch.compile(lambda a, x: a.add_(x).sum().item()), np.zeros(3)
    for number in range(5):
        if number < 3:
            total = compiled(target, np.ones(3))
        else:
            with calls_without_python():
                total = compiled(target, np.ones(3))
        assert target.tolist() == [number + 1.0] * 3 and total == 3 * (number + 1)


def test_targets_that_stand_otherwise() -> None:
    shared = np.arange(6.0)
    law(lambda w, g: w.add_(g), lambda: (torch.zeros(3, 2).t(), torch.ones(2, 3)), native=False)
    compiled = torch.compile(_update)
    for _ in range(4):
        compiled(torch.ones(4), torch.ones(4))
    overlapping = torch.from_numpy(shared[:4]), torch.from_numpy(shared[2:])
    compiled(*overlapping)
    assert shared.tolist() == [-0.5, -0.25, 0.0, 0.25, 4.0, 5.0]
    same = torch.ones(4)
    compiled(same, same)
    assert same.tolist() == [0.375] * 4 and same._version == 2
    strided = torch.ones(4, 2)
    compiled(strided[:, 0], torch.ones(4))
    assert strided.tolist() == [[0.25, 1.0]] * 4
    frozen = np.ones(4)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        compiled(frozen, np.ones(4))


def test_a_written_argument_beside_recorded_results() -> None:
    def function(state: Any, x: Any, weight: Any) -> Any:
        with torch.no_grad():
            state.add_(x)
        return (state * weight).sum()

    compiled = torch.compile(function)
    x, weight, state, expected = vector(), vector().requires_grad_(), torch.zeros(6), torch.zeros(6)
    for number in range(6):
        if number < 3:
            loss = compiled(state, x, weight)
        else:
            with calls_without_python():
                loss = compiled(state, x, weight)
        weight.grad = None
        state_then = state.clone()
        loss.backward()
        expected = expected + x
        assert weight.grad.tolist() == expected.tolist() == state_then.tolist()
        assert loss.item() == pytest.approx((expected * weight).sum().item())


@pytest.mark.parametrize("zero", ["never", "to none", "in place"])
def test_gradients_add_up(zero: str) -> None:
    def run(compile: Callable[..., Any]) -> tuple[Any, list[Any]]:
        torch.manual_seed(0)
        net = torch.nn.Linear(4, 2)
        x = torch.randn(3, 4)

        def step(x: Any) -> Any:
            loss = (net(x) ** 2).sum()
            loss.backward()
            return loss

        called, seen = compile(step), []
        for number in range(9):
            if zero != "never" and number % 4 == 0:
                net.zero_grad(set_to_none=zero == "to none")
            if compile is torch.compile and number in (3, 6, 7):
                with calls_without_python():
                    loss = called(x)
            else:
                loss = called(x)
            seen.append([loss.item(), *(p.grad.tolist() for p in net.parameters())])
            seen.append([p.grad._version for p in net.parameters()])
        return called, seen

    compiled, found = run(torch.compile)
    for mine, its in zip(found, run(lambda function: function)[1], strict=True):
        assert np.allclose(np.concatenate([np.ravel(x) for x in mine]), np.concatenate([np.ravel(x) for x in its]))
    assert compiled.compile_count <= 2


def test_gradients_of_arguments_add_up() -> None:
    def step(weight: Any, x: Any) -> Any:
        loss = (weight * x).sum()
        loss.backward()
        return loss.detach()

    law(step, lambda: (vector().requires_grad_(), vector()), calls=8)


def test_a_gradient_taken_away_is_not_added_to() -> None:
    net = torch.nn.Linear(3, 1)
    x = torch.ones(2, 3)
    compiled = torch.compile(lambda x: net(x).sum().backward())
    for _ in range(5):
        compiled(x)
    assert net.weight.grad.tolist() == [[10.0] * 3]
    net.weight.grad = torch.ones(1, 3)
    compiled(x)
    assert net.weight.grad.tolist() == [[3.0] * 3] and net.bias.grad.tolist() == [12.0]
    net.bias.grad = None
    compiled(x)
    assert net.weight.grad.tolist() == [[5.0] * 3] and net.bias.grad.tolist() == [2.0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "bool", "uint8"])
def test_results_are_numbers(dtype: str) -> None:
    law(
        lambda x, y: {"first": x[0].item(), "all": (y * 2, y.sum().item()), "n": 3},
        lambda: (torch.tensor([1, 0, 1]).to(getattr(torch, dtype)), vector()),
    )


def test_numbers_beside_recorded_results() -> None:
    def function(x: Any) -> Any:
        loss = (x * x).sum()
        return loss, loss.item(), x.detach().max().item()

    compiled, x = torch.compile(function), vector().requires_grad_()
    for number in range(5):
        if number < 3:
            found = compiled(x)
        else:
            with calls_without_python():
                found = compiled(x)
        assert found[1:] == (found[0].item(), 5.5) and type(found[1]) is float
        x.grad = None
        found[0].backward()
        assert x.grad.tolist() == (x * 2).tolist()


@pytest.mark.parametrize("function", [
    lambda x: x.view(3, 4),
    lambda x: (x[1:], x.sum(), x.t()),
    lambda x: x[:, ::2].unsqueeze(0),
    lambda x: {"rows": list(x.unbind(0)), "flat": x.reshape(-1)},
    lambda x: (x.add_(1)[0], x[:0], x.expand(2, 2, 6)),
    lambda x: x.detach(),
    lambda x: x.reshape(4, 3).t().reshape(12),
])  # fmt: skip
@pytest.mark.parametrize("part", [False, True])
def test_results_are_views(function: Callable[..., Any], part: bool) -> None:
    law(function, lambda: (torch.arange(36.0).reshape(6, 6)[2:4] if part else torch.arange(12.0).reshape(2, 6),))


def test_a_view_is_on_the_arguments_memory() -> None:
    compiled = torch.compile(lambda x: (x[1], x.sum()))
    for number in range(5):
        x = torch.zeros(3, 4)
        if number < 3:
            row, _ = compiled(x)
        else:
            with calls_without_python():
                row, _ = compiled(x)
        row += 2
        assert x.tolist() == [[0.0] * 4, [2.0] * 4, [0.0] * 4] and x._version == row._version == 1
        assert row._base is x


def test_views_of_what_requires_grad_have_a_history() -> None:
    compiled, x = torch.compile(lambda x: (x[1:], x[0] * 2)), vector().requires_grad_()
    for _ in range(5):
        part, first = compiled(x)
        x.grad = None
        (part.sum() * 3 + first).backward()
        assert x.grad.tolist() == [2.0, 3.0, 3.0, 3.0, 3.0, 3.0]


def test_many_arguments() -> None:
    names = [f"w{n}" for n in range(90)]
    law(
        lambda params, x: ({name: item * x for name, item in params.items()}, sum(params.values())),
        lambda: ({name: torch.ones(2) * n for n, name in enumerate(names)}, torch.ones(2)),
    )
    law(
        lambda params: [item.add_(1) for item in params],
        lambda: ([torch.ones(2) * n for n in range(90)],),
    )


@dataclass
class _Batch:
    x: Any
    y: Any
    name: str = "one"


def _loss(batch: _Batch) -> Any:
    extra = getattr(batch, "extra", None)
    found = (batch.x * batch.y).sum() * (2 if batch.name == "two" else 1)
    return found if extra is None else found + extra.sum()


def test_dataclasses_are_taken_apart() -> None:
    law(_loss, lambda: (_Batch(vector(), vector() * 2),))
    batches = [_Batch(vector(), vector()), _Batch(vector(), vector() * 2)]
    law(lambda batches, by: [_Batch(b.x * by, b.y) for b in batches][1].x, lambda: (batches, 3.0))
    compiled = torch.compile(_loss)
    for _ in range(5):
        compiled(_Batch(vector(), vector()))
    others = [_Batch(vector(), vector() * 3), _Batch(vector(), vector(), "two"), _Batch(vector()[:3], vector()[:3])]
    others.append(_Batch(vector(), vector()))
    others[-1].extra = vector()  # type: ignore[attr-defined]
    others.append(_Batch(y=vector() * 5, x=vector()))
    for _ in range(4):
        for batch in others:
            assert compiled(batch).item() == _loss(batch).item()


def test_many_sizes() -> None:
    compiled = torch.compile(lambda x: (x * 2).sum())
    tensors = [torch.arange(float(n)) for n in range(1, 120)]
    for _ in range(3):
        for tensor in tensors:
            compiled(tensor)
    with calls_without_python():
        assert [compiled(tensor).item() for tensor in tensors] == [(x * 2).sum().item() for x in tensors]


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
    import gc
    import sys

    at, chosen = torch.compile(lambda x, i: x[i]), torch.compile(_either)
    x, y, i = torch.ones(5, 2), torch.ones(5, 2), torch.tensor(3)
    for _ in range(5):
        at(x, i), chosen(x, y), chosen(-x, y)
    gc.collect()
    counts = [sys.getrefcount(item) for item in (x, y, i, x._memory, y._memory, x._array, y._array)]
    for _ in range(50):
        at(x, i), chosen(x, y), chosen(-x, y)
    assert [sys.getrefcount(item) for item in (x, y, i, x._memory, y._memory, x._array, y._array)] == counts
