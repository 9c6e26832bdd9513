"""Gradients of compiled functions that capture views, detached tensors and what they are views of: as in eager mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.ir.errors import TraceError

Function = Callable[[Any], Any]
_rng = np.random.default_rng(0)


def numbers(*shape: int) -> Any:
    return torch.from_numpy(_rng.standard_normal(shape))


DATA = numbers(4, 4)
WEIGHT = numbers(4, 4).requires_grad_()
PART = numbers(8, 4)[2:6].requires_grad_()  # a leaf that is a window of its memory
DETACHED, TRANSPOSED = WEIGHT.detach(), WEIGHT.T
COMPUTED = WEIGHT * 2
VIEWS = {
    "transposed": DATA.T, "row": DATA[1], "column": DATA[:, 1], "expanded": DATA[0].expand(4, 4), "last": DATA[-1],
    "rows": numbers(6, 4)[:4], "columns": numbers(4, 6)[:, 1:5], "number": torch.tensor(2.0).double().expand(4),
    "permuted": numbers(4, 4, 4).permute(2, 0, 1)[0], "detached": DATA.T.detach(), "part": PART,
    "of_a_parameter": TRANSPOSED, "of_a_result": COMPUTED.T, "row_of_a_result": COMPUTED[1],
    "detached_parameter": WEIGHT.detach().T,
}  # fmt: skip
TOGETHER: dict[str, Function] = {
    "detached_before": lambda x: (x * DETACHED).sin() + x @ WEIGHT,
    "detached_used_before": lambda x: DETACHED.exp() * x + x @ WEIGHT,
    "detached_after": lambda x: x @ WEIGHT + (x * DETACHED).sin(),
    "view_before": lambda x: (x * TRANSPOSED).sin() + x @ WEIGHT,
    "view_of_result_before": lambda x: (x * COMPUTED.T).sin() + x @ COMPUTED,
    "only_outside": lambda x: WEIGHT * TRANSPOSED * x.detach(),
}


def gradients(function: Function, x: Any, total: Function) -> list[Any]:
    leaves = x, WEIGHT, PART
    for leaf in leaves:
        leaf.grad = None
    total(function(x)).backward(retain_graph=True)
    return [None if leaf.grad is None else leaf.grad.numpy().copy() for leaf in leaves]


def agree(function: Function) -> None:
    x = numbers(4, 4).requires_grad_()
    expected = gradients(function, x, torch.sum)
    compiled = torch.compile(function)
    for _ in range(3):
        found = gradients(compiled, x, torch.sum)
        assert [f is None for f in found] == [e is None for e in expected]
        for f, e in zip(found, expected, strict=True):
            if e is not None:
                np.testing.assert_allclose(f, e, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", VIEWS)
def test_captured_view(name: str) -> None:
    view = VIEWS[name]
    agree(lambda x: (x * view).sin() + (x @ view) ** 2)


@pytest.mark.parametrize("name", TOGETHER)
def test_tensors_on_one_memory(name: str) -> None:
    agree(TOGETHER[name])


@pytest.mark.parametrize("name", ["detached_before", "detached_used_before", "view_before", "only_outside"])
def test_whole_steps(name: str) -> None:
    x = numbers(4, 4).requires_grad_()
    expected = gradients(TOGETHER[name], x, torch.sum)

    def step(x: Any) -> None:
        TOGETHER[name](x).sum().backward()

    x.grad = WEIGHT.grad = None
    torch.compile(step)(x)
    for leaf, e in zip((x, WEIGHT), expected, strict=False):
        assert (leaf.grad is None) == (e is None)
        if e is not None:
            np.testing.assert_allclose(leaf.grad.numpy(), e, rtol=1e-12, atol=1e-12)


def test_what_is_written_later_is_seen() -> None:
    data = numbers(4, 4)
    view = data.T
    compiled = torch.compile(lambda x: (x * view).sin().sum())
    for _ in range(3):
        x = numbers(4, 4).requires_grad_()
        compiled(x).backward()
        np.testing.assert_allclose(x.grad.numpy(), np.cos(x.detach() * view) * view, rtol=1e-12)
        data.mul_(1.5)


def test_writing_between_forward_and_backward_is_an_error() -> None:
    data = numbers(4, 4)
    view = data.T
    found = torch.compile(lambda x: (x * view).sin().sum())(numbers(4, 4).requires_grad_())
    data.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        found.backward()


@pytest.mark.parametrize("name", ["argument", "captured", "view"])
def test_gradients_go_on_in_what_was_computed_outside(name: str) -> None:
    encoder, head, x = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2), numbers(5, 3).float()

    def trained(wrap: Function) -> list[Any]:
        encoder.zero_grad()
        head.zero_grad()
        code = encoder(x).tanh()
        view = code.T
        given = {
            "argument": lambda code: head(code).square().sum().backward(),
            "captured": lambda _: head(code).square().sum().backward(),
            "view": lambda _: head(view.T).square().sum().backward(),
        }
        wrap(given[name])(code)
        assert code._grad is None
        return [parameter.grad.clone() for parameter in (*encoder.parameters(), *head.parameters())]

    for found, expected in zip(trained(torch.compile), trained(lambda f: f), strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_an_encoder_outside_a_compiled_step_trains() -> None:
    x = torch.ones(5, 3)
    losses = []
    for wrap in (torch.compile, lambda f: f):
        torch.manual_seed(0)
        encoder, head = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.1)

        @wrap
        def step(code: Any, head: Any = head) -> Any:
            loss = head(code).square().mean()
            loss.backward()
            return loss

        for _ in range(5):
            optimizer.zero_grad()
            loss = step(encoder(x).tanh())
            optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


@pytest.mark.parametrize("captured", [True, False])
def test_hooks_outside_see_the_gradient_once(captured: bool) -> None:
    weight, x = torch.ones(3, requires_grad=True), torch.ones(3)
    computed = weight * 2
    computed.register_hook(lambda gradient: gradient * 3)
    computed.retain_grad()
    torch.compile(lambda z: (x * (computed if captured else z)).sum().backward())(computed)
    assert weight.grad.tolist() == [6.0] * 3 and computed.grad.tolist() == [3.0] * 3


def test_an_optimizer_cannot_step_before_gradients_that_go_on_outside() -> None:
    encoder, head, x = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1), torch.ones(5, 3)
    optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.1)
    before = [parameter.detach().clone() for parameter in (*encoder.parameters(), *head.parameters())]

    def step(code: Any) -> None:
        optimizer.zero_grad()
        head(code).square().mean().backward()
        optimizer.step()

    with pytest.raises(TraceError, match=r"comes after the call.*\n.*hint: compute it in the compiled"):
        torch.compile(step)(encoder(x).tanh())
    after = [*encoder.parameters(), *head.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert all(parameter.grad is None for parameter in after)


def test_gradients_can_be_cleared_before_they_go_on_outside() -> None:
    weight = torch.ones(3, requires_grad=True)
    weight.grad = torch.ones(3)

    @torch.compile
    def step(code: Any) -> None:
        weight.grad = None
        code.sum().backward()

    step(weight * 2)
    assert weight.grad.tolist() == [2.0] * 3


def _halves() -> tuple[Any, Any]:
    whole = numbers(4, 4)
    return torch.nn.Parameter(whole[:2]), torch.nn.Parameter(whole[2:])


def _twins() -> tuple[Any, Any]:
    weight = numbers(2, 4).requires_grad_()
    return weight, weight.detach().requires_grad_()


def _leaf_view() -> tuple[Any, Any]:
    weight = numbers(8).reshape(2, 4).requires_grad_()
    return weight, weight[0]


@pytest.mark.parametrize("make", [_halves, _twins, _leaf_view])
def test_two_tensors_with_gradients_on_one_memory_are_refused(make: Callable[[], tuple[Any, Any]]) -> None:
    first, second = make()
    with pytest.raises(TraceError, match=r"two tensors on one memory(.|\n)*clone\(\)"):
        torch.compile(lambda x: (first * second * x).sum())(torch.ones(4).double())
    assert first.grad is None


@pytest.mark.parametrize("inside", [True, False])
def test_view_of_a_leaf_that_is_a_view(inside: bool) -> None:
    weight, part = _leaf_view()
    step = torch.compile(lambda x: (part * part * x).sum().backward() if inside else (part * part * x).sum())
    loss = step(torch.ones(4).double())
    if not inside:
        loss.backward()
    assert torch.equal(weight.grad[0], 2 * weight[0]) and not weight.grad[1].any()


def test_plain_base_after_a_view_that_is_a_leaf() -> None:
    whole = numbers(2, 4)
    part = whole[1].requires_grad_()
    torch.compile(lambda x: (part * x).sum() + (whole * x).sum())(torch.ones(4).double()).backward()
    assert part.grad.tolist() == [1.0] * 4


def test_captured_tensors_on_the_memory_of_an_argument() -> None:
    weight = torch.ones(3).requires_grad_()
    plain, twin = weight.detach(), weight.detach().requires_grad_()
    step = torch.compile(lambda a: (plain * a).sum().backward())
    torch.compile(lambda a: (plain.sum() + a.sum()).backward())(weight)
    assert weight.grad.tolist() == [1.0] * 3
    step(twin)
    assert twin.grad.tolist() == [1.0] * 3
    weight.grad = twin.grad = None
    torch.compile(lambda x: (x * weight * weight).sum())(twin).backward()
    assert weight.grad.tolist() == [2.0] * 3 and twin.grad.tolist() == [1.0] * 3


def test_argument_that_shares_memory_cannot_begin_to_require_grad() -> None:
    whole = numbers(2, 4)
    first, second = whole[0], whole[0]
    with pytest.raises(TraceError, match="makes an argument require grad that shares memory"):
        torch.compile(lambda x, z: (x.requires_grad_() * z).sum().backward())(first, second)
    assert not first.requires_grad and first.grad is None


@pytest.mark.parametrize("calls", [1, 3])
def test_each_captured_tensor_is_guarded(calls: int) -> None:
    first = torch.ones(3)
    second = first.detach()
    whole, scale = torch.ones(2, 3), torch.ones(3).requires_grad_()
    row, x = whole[1], torch.ones(3)
    both = torch.compile(lambda x: (first * x).sum() + (second * x).sum())
    of_row = torch.compile(lambda x: (row * x).sum())
    for _ in range(calls):
        assert both(x).item() == 6 and not of_row(x).requires_grad
    second.data = torch.full((3,), 9.0)
    assert both(x).item() == 30
    second.requires_grad_()
    both(x).backward()
    assert second.grad.tolist() == [1.0] * 3
    whole.mul_(scale)
    of_row(x).backward()
    assert scale.grad.tolist() == [1.0] * 3
