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
